"""Text from outside made harmless, before it stands in any message."""

from __future__ import annotations

import re
import unicodedata

MAX_WORD = 60
"""Characters of a name."""
MAX_RESULT = 200
"""Characters of a result that a person wrote."""

_WIDE = str.maketrans({c: chr(ord(c) + 0xFEE0) for c in "<>[]*_`~|\\@&"})
# The full-width twins say the same to a reader and nothing to Markdown, HTML or the robots' `<@all>`: how a robot
# understands a backslash differs from one to the next, so escaping is no way.
_SCHEME = re.compile(r"(?<=\w):(?=//)")
_DOMAIN = re.compile(r"(?<=\w)\.(?=[^\W\d_]{2})")


def harmless(text: str, limit: int = MAX_WORD) -> str:
    """One line of at most `limit` characters in which nothing is a link, a mention, markup or a control character.

    Control, format (also those that turn the direction of writing), line and paragraph separators become a space or
    nothing; what would be markup becomes its full-width twin; a dot inside what looks like a domain, too.
    """
    flat = "".join(
        " " if unicodedata.category(c) in {"Cc", "Zl", "Zp"} else c
        for c in text
        if unicodedata.category(c) not in {"Cf", "Cs", "Co", "Cn"}
    )
    flat = " ".join(flat.split()).translate(_WIDE)
    flat = _DOMAIN.sub("．", _SCHEME.sub("：", flat))
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
