"""The one exception of the detector."""


class ModelError(Exception):
    """A model cannot be used. The text says what is wrong, in which file, and what would be right."""
