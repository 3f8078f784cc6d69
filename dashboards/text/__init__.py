"""Catalogues of what boards, alert rules and the report say: `<language>/<topic>.toml`; rules have dispatch's names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal

from broker.dispatch.text import Catalogue, load
from broker.dispatch.text import catalogue as of_dispatch

Language = Literal["zh-CN", "en"]


@cache
def catalogue(language: Language) -> Catalogue:
    """All topics of one language. Raises ValueError for a language that Banksman has not."""
    return load(files(__name__), language)


@cache
def rule_names(language: Language) -> Mapping[str, str]:
    """Every rule's name by its id."""
    texts = of_dispatch(language).texts.items()
    return {key.split(".")[1]: text for key, text in texts if key.startswith("rule.") and key.endswith(".name")}
