"""What the node shows and sounds where it hangs: the board's light, a buzzer or siren."""
