"""Catalogues of what the commands of `deploy/` say: `<language>/<topic>.toml`."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from broker.dispatch.text import LANGUAGES, Catalogue, load

__all__ = ["LANGUAGES", "Catalogue", "catalogue"]


@cache
def catalogue(language: str) -> Catalogue:
    """All topics of one language. Raises ValueError for a language that Banksman has not."""
    return load(files(__name__), language)
