"""A token that lies in a file of its own: it is neither in the site file, which people send round, nor in a log."""

from __future__ import annotations

from pathlib import Path


class TokenError(Exception):
    """The file cannot be used; the text says why, in one line, and never what is in it."""


def read_token(path: Path) -> str:
    """The one word in the file. Raises TokenError."""
    try:
        words = path.read_text(encoding="ascii").split()
    except UnicodeDecodeError as error:
        raise TokenError(f"{path}: is no text file with a token") from error
    except OSError as error:
        raise TokenError(f"{path}: {error.strerror or error}") from error
    if len(words) != 1:
        raise TokenError(f"{path}: must hold the token alone, on one line; it holds {len(words)} words")
    return words[0]
