"""What goes wrong with a model: when it is loaded, and when it looks."""


class ModelError(Exception):
    """A model cannot be used. The text says what is wrong, in which file, and what would be right."""


class LookError(RuntimeError):
    """A closer look came to nothing: the runtime failed, or gave what is no answer."""
