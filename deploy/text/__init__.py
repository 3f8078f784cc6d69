"""Catalogues of what the commands of `deploy/` say: `<language>/<topic>.toml`. Some of them run on a node, which has
nothing of dispatch."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from edge.text import LANGUAGES, Catalogue, load

__all__ = ["LANGUAGES", "Catalogue", "catalogue"]


@cache
def catalogue(language: str) -> Catalogue:
    """All topics of one language. Raises ValueError for a language that Banksman has not."""
    return load(files(__name__), language)
