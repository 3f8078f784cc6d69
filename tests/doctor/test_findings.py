"""Every finding has its texts, in both languages, with the fields that it brings; and each can really be found."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

from edge import doctor, health
from edge.doctor.result import FINDINGS, Grade, fields_of, found, summary, tell, text_keys
from edge.text import LANGUAGES, catalogue

EVERY = [(organ, code) for organ, codes in FINDINGS.items() for code in (*codes, "endless")]
SOURCES = sorted(Path(doctor.__file__).parent.glob("*.py"))


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("organ", "code"), EVERY)
def test_every_finding_can_be_told_and_a_bad_one_says_what_to_do(organ: str, code: str, language: str) -> None:
    fields = {name: f"<{name}>" for name in fields_of(organ, code)}
    result = found(organ, code, "which", **fields)
    told = tell(result, language)
    assert told.finding
    assert bool(told.advice) == (result.grade in (Grade.WARN, Grade.BAD))
    said = told.finding + told.advice
    shown = {name for name, value in fields.items() if value in said}
    # Numbers may stay untold; what went wrong, and where, may not.
    assert shown >= {"error", "detail", "problems", "section"} & set(fields)


@pytest.mark.parametrize(("organ", "code"), EVERY)
def test_both_languages_tell_the_same(organ: str, code: str) -> None:
    for key in text_keys(organ, code):
        texts = [catalogue(language).texts.get(key) for language in LANGUAGES]
        assert [t is None for t in texts] in ([True, True], [False, False]), key
        zh, en = (placeholders(t or "") for t in texts)
        assert zh == en, key


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_is_left_over(language: str) -> None:
    wanted = {key for organ, code in EVERY for key in text_keys(organ, code)}
    wanted |= {f"doctor.organ.{organ}" for organ in FINDINGS}
    wanted |= {f"doctor.summary.{verdict}" for verdict in ("good", "warned", "bad")} | {"doctor.now"}
    there = {key for key in catalogue(language).texts if key.split(".")[0] in ("doctor", "doctor_do")}
    assert there <= wanted


def strings(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def calls_of_found() -> Iterator[tuple[str, str, set[str]]]:
    """Organ, code and fields of each call that writes them out."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id != "found":
                continue
            organ, code, *_ = [a.value if isinstance(a, ast.Constant) else None for a in node.args[:2]]
            if isinstance(organ, str) and isinstance(code, str):
                yield organ, code, {k.arg for k in node.keywords if k.arg}


def test_what_the_code_finds_is_declared() -> None:
    calls = list(calls_of_found())
    assert len(calls) > 30
    for organ, code, fields in calls:
        assert code in FINDINGS[organ], (organ, code)
        assert fields <= set(fields_of(organ, code)), (organ, code)


def test_what_is_declared_can_be_found() -> None:
    """A code that no examination writes is a text that nobody will ever read."""
    written = {path.stem: strings(path) for path in SOURCES if path.stem not in ("result", "__init__")}
    written["health"] = strings(Path(health.__file__))  # the machine's codes, which the page has too
    everywhere = set().union(*written.values())
    built = {"broker": {"login_password", "login_certificate", "login_nobody"}}  # put together from two words
    for organ, codes in FINDINGS.items():
        own = {c for c in codes if not text_keys(organ, c)[0].startswith(("cause.", "camera_state."))}
        assert own - everywhere - built.get(organ, set()) == set(), organ


@pytest.mark.parametrize(
    ("organ", "code", "fields"), [("clock", "blue", {}), ("clock", "ok", {"error": 1}), ("toe", "ok", {})]
)
def test_a_finding_that_is_not_declared_so_is_a_bug(organ: str, code: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{organ}.{code}"):
        found(organ, code, **fields)


@pytest.mark.parametrize(
    ("codes", "says"),
    [
        (["ok"], "All in order."),
        (["ok", "slow", "slow"], "It can work. To look at: 2."),
        (["full", "slow", "unwritable"], "To be mended: 2. To look at besides: 1."),
    ],
)
def test_the_last_line_says_how_it_stands(codes: list[str], says: str) -> None:
    results = [found("disk", code, **dict.fromkeys(fields_of("disk", code), "1")) for code in codes]
    assert summary(results, "en") == says
