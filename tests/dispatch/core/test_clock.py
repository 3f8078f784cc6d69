"""Time is a parameter everywhere in dispatch: only `clock.py` asks the machine."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPO

DISPATCH = REPO / "broker" / "dispatch"
FILES = sorted(path for path in DISPATCH.rglob("*.py") if path != DISPATCH / "clock.py")
ASKS = {"now", "utcnow", "today", "localtime", "gmtime", "ctime", "current_timestamp", "time_ns", "monotonic"}
SIGNERS = {"URLSafeTimedSerializer", "TimedSerializer", "TimestampSigner"}
"""Of itsdangerous: they date what they sign by the machine's clock."""


def readings(source: str) -> Iterator[str]:
    """Where a source asks for the time; `….clock.now()` is how it should."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names) if any(name.name == "time" for name in names):
                yield f"{node.lineno}: import time"
            case ast.ImportFrom(module="time"):
                yield f"{node.lineno}: from time import"
            case ast.Name(id=name) | ast.alias(name=name) if name in SIGNERS:
                yield f"{node.lineno}: {name}"
            case ast.Call(func=ast.Attribute(attr=name, value=of)) if name in ASKS:
                if not ast.unparse(of).endswith("clock"):
                    yield f"{node.lineno}: {ast.unparse(node)}"
            case _:
                pass


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DISPATCH)))
def test_nothing_reads_the_machine_s_clock(path: Path) -> None:
    assert list(readings(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time", True),
        ("from time import monotonic", True),
        ("at = dt.datetime.now(dt.UTC)", True),
        ("day = date.today()", True),
        ("statement = select(func.now())", True),
        ("from itsdangerous import URLSafeTimedSerializer", True),
        ("at = self._clock.now()", False),
        ("from datetime import time", False),
        ("at = datetime.fromtimestamp(now, zone)", False),
    ],
)
def test_the_test_finds_who_does(source: str, *, found: bool) -> None:
    assert bool(list(readings(source))) == found
