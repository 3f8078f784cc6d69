"""From labelled photos to the weights a node runs."""
