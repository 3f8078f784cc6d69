"""Releases of the node: what is in them, how they are signed, how they are built."""
