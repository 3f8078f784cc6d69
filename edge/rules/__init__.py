"""The rule book: one file a rule."""
