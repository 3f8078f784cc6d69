"""The node: what runs on the Raspberry Pi beside the cameras."""
