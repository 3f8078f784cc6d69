"""What commands of `banksman model` tell in one line."""


class CommandError(Exception):
    """Something that was given cannot be used; the text says what is wrong and what would be right."""
