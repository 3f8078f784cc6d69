"""Updates of a node: `guard.py` checks, installs, switches and rolls back; the rest fetches, and says how it went."""
