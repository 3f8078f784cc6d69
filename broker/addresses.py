"""What may be given as the address of a web server, and as the token for it.

Whoever refuses one does not repeat it: there may be a secret in it, and HTTP's own errors show it whole.
"""

from __future__ import annotations

from urllib.parse import urlsplit


def is_web_address(url: str) -> bool:
    """http or https with a host; no user and no password."""
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        )
    except ValueError:
        return False


def is_token(text: str) -> bool:
    """One word that an HTTP header can carry."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text
