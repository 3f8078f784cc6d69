"""The good file that the tests change, and helpers that say where a problem must point."""

from __future__ import annotations

from pathlib import Path

from edge.site.load import Problem, SiteFileError
from edge.site.model import SiteFile
from edge.site.parse import parse

RULES = ("helmet", "hi_vis", "intrusion", "barrier", "warning_light", "night_reflective")
FULL = Path(__file__).with_name("full.yaml")
SECRETS = ("long%23phrase", "0123 hush", "hush-hush-page")
SITE = Path("site.yaml")
MINIMAL = """\
site: {id: north-yard, latitude: 39.91, longitude: 116.4}
node: {id: gate-03}
cameras:
  - id: gate
    source: {type: usb}
"""
MARK = "¦"  # stands in a text where a problem must point


def full(*changes: tuple[str, str]) -> str:
    """The full file with pieces replaced, each of which must be there."""
    text = FULL.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, f"{old!r} is not in full.yaml"
        text = text.replace(old, new, 1)
    return text


def pointed(text: str) -> tuple[str, int, int]:
    """The text without its mark; line and column of the mark, from 1."""
    before, mark, after = text.partition(MARK)
    assert mark, "the text needs a mark"
    return before + after, before.count("\n") + 1, len(before) - before.rfind("\n")


def site(text: str = MINIMAL, path: Path = SITE) -> SiteFile:
    return parse(text.encode(), path, RULES)


def problems(text: str | bytes, language: str = "en") -> tuple[Problem, ...]:
    """All that is wrong; empty for a good file."""
    try:
        parse(text.encode() if isinstance(text, str) else text, SITE, RULES, language)
    except SiteFileError as error:
        return error.problems
    return ()
