"""The node's own page."""
