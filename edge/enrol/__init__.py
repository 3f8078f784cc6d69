"""A new box becomes its node: key, certificate, what it writes figures with, and a first site file."""
