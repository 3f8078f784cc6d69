"""Putting the parts together: the command line, the demo, the units."""
