"""The rule book: one file a rule.

A rule is a module of this package with a constant `RULE`, named like its id, plus `tests/rules/test_<id>.py` and its
texts in `edge/text/*/rule.toml`. Nothing else knows the rules by name.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType, ModuleType

from edge.rules.rule import CAMERA, Circumstances, Place, Rule, resting

__all__ = ["CAMERA", "RULES", "Circumstances", "Place", "Rule", "discover", "resting"]


def discover(package: ModuleType) -> Mapping[str, Rule]:
    """The rules of a package by id, sorted. Raises TypeError or ValueError for a `RULE` that is none or is misnamed."""
    found: dict[str, Rule] = {}
    for name in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
        rule = getattr(import_module(f"{package.__name__}.{name}"), "RULE", None)
        if rule is None:
            continue  # a helper
        if not isinstance(rule, Rule):
            raise TypeError(f"{package.__name__}.{name}: RULE must be a Rule, got {type(rule).__name__}")
        if rule.id != name:
            raise ValueError(f"{package.__name__}.{name}: the rule is called {rule.id!r}; file and id must be the same")
        found[name] = rule
    return MappingProxyType(found)


RULES: Mapping[str, Rule] = discover(import_module(__name__))
