"""Catalogues of user-facing text: `edge/text/<language>/<topic>.toml`, flat dotted keys, `str.format` fields."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

LANGUAGES = ("zh-CN", "en")


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat


class Catalogue:
    """The texts of one language."""

    def __init__(self, language: str, texts: Mapping[str, str]) -> None:
        self.language = language
        self.texts = texts

    def __call__(self, key: str, /, **fields: object) -> str:
        """The text of a key. Raises KeyError where the catalogue lacks it: a missing text is a bug, found by test."""
        return self.texts[key].format(**fields)

    def __contains__(self, key: str) -> bool:
        return key in self.texts


@cache
def catalogue(language: str) -> Catalogue:
    """All topics of one language. Raises ValueError for a language that Banksman has not."""
    return load(files(__name__), language)


def load(folder: Traversable, language: str) -> Catalogue:
    """All topics of one language in a folder of catalogues. Raises ValueError as `catalogue` does."""
    if language not in LANGUAGES:
        raise ValueError(f"no catalogue for language {language!r}; there are {', '.join(LANGUAGES)}")
    texts: dict[str, str] = {}
    for file in sorted((folder / language).iterdir(), key=lambda f: f.name):
        if file.name.endswith(".toml"):
            texts |= _flatten(tomllib.loads(file.read_text(encoding="utf-8")))
    return Catalogue(language, texts)
