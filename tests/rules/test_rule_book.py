"""The rule book as a whole: every rule is found, has texts, and says so when the model cannot see what it needs."""

from __future__ import annotations

import re
import string
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import edge.rules
from edge import selfwatch
from edge.alarm.terms import FIXTURE_GAP_LOOKS, PERSON_GAP_S, terms_of
from edge.rules import RULES, Rule, discover
from edge.rules.night import NightState
from edge.site.model import RuleSettings
from edge.text import LANGUAGES, Catalogue, catalogue
from edge.values import Reason, Severity, Verdict
from tests.rules.builders import camera, fence, judge, lamp, scene, zone
from tests.rules.lamps import Sampler, dark

EVERY = camera([zone(id="work"), zone("no_entry", id="closed")], [fence(), lamp()])
"""A camera at which every rule has a place to look at."""


def test_the_rule_book() -> None:
    assert set(RULES) == {"helmet", "hi_vis", "night_reflective", "intrusion", "barrier", "warning_light"}


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_a_rule_names_its_clauses_and_can_be_confirmed(rule: Rule) -> None:
    assert rule.clauses
    for clause in rule.clauses:
        assert re.fullmatch(r"I\.\d+(\.\d+)?|II\.[HPD]\d", clause)
    # As often as it is looked at, a breach can be confirmed within the window that `edge.alarm.confirm` keeps.
    terms = terms_of(rule, RuleSettings())
    assert rule.every_s < terms.gap_s
    assert rule.every_s * (rule.min_looks - 1) <= rule.confirm_s
    assert len(rule.places(EVERY)) == 1


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_a_model_that_knows_nothing_makes_unknown_never_silence(rule: Rule) -> None:
    (place,) = rule.places(EVERY)
    found = judge(rule, scene(names=("cat",), lamps=[Sampler().watch(dark)]), place, NightState.NIGHT)
    assert len(found) == 1
    if rule.id == "warning_light":  # judged from brightness; the model has no part in it
        assert found[0].verdict is Verdict.VIOLATION
    else:
        assert (found[0].verdict, found[0].reason) == (Verdict.UNKNOWN, Reason.NO_CLASS)


# -- a new rule is a new file -------------------------------------------------------------------------------------

NEW_RULE = """
from dataclasses import replace
from edge.rules.helmet import RULE as HELMET
RULE = replace(HELMET, id={id!r})
"""


@pytest.fixture
def extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A second folder of the package `edge.rules`; modules that come from it are forgotten afterwards."""
    monkeypatch.setattr(edge.rules, "__path__", [*edge.rules.__path__, str(tmp_path)])
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def test_a_rule_is_found_by_its_file_alone(extra: Path) -> None:
    (extra / "goggles.py").write_text(NEW_RULE.format(id="goggles"))
    (extra / "helper.py").write_text("ANSWER = 42\n")
    found = discover(import_module("edge.rules"))
    assert set(found) - set(RULES) == {"goggles"}
    assert found["goggles"].id == "goggles"
    assert list(found) == sorted(found)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (NEW_RULE.format(id="gloves"), ValueError, r"edge\.rules\.goggles: the rule is called 'gloves'"),
        ("RULE = 'goggles'", TypeError, r"edge\.rules\.goggles: RULE must be a Rule, got str"),
    ],
)
def test_a_file_that_is_no_rule_says_so(extra: Path, source: str, error: type[Exception], message: str) -> None:
    (extra / "goggles.py").write_text(source)
    with pytest.raises(error, match=message):
        discover(import_module("edge.rules"))


# -- texts --------------------------------------------------------------------------------------------------------

KEYS = [
    *(f"rule.{rule}.{what}" for rule in (*RULES, selfwatch.RULE) for what in ("name", "alarm", "clause_text")),
    *(f"reason.{reason}" for reason in Reason),
    *(f"verdict.{verdict}" for verdict in Verdict),
    *(f"page.severity.{severity}" for severity in Severity),
]


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_rule_reason_verdict_and_severity_has_a_text(language: str) -> None:
    words: Catalogue = catalogue(language)
    assert [key for key in KEYS if not (key in words and words(key).strip())] == []


def test_texts_take_the_same_fields_in_every_language_and_none_is_left_over() -> None:
    texts = [catalogue(language).texts for language in LANGUAGES]
    for key in KEYS:
        assert len({frozenset(fields(t[key])) for t in texts}) == 1, key
    about_rules = [{k for k in t if k.startswith(("rule.", "reason.", "verdict."))} for t in texts]
    assert about_rules == [set(KEYS) - {k for k in KEYS if k.startswith("page.")}] * len(LANGUAGES)


# -- terms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_a_rule_brings_its_own_terms(rule: Rule) -> None:
    terms = terms_of(rule, RuleSettings())
    assert (terms.subject, terms.clauses, terms.severity) == (rule.subject, rule.clauses, rule.severity)
    assert (terms.confirm_s, terms.min_looks, terms.clear_s) == (rule.confirm_s, rule.min_looks, rule.clear_s)
    assert terms.empty_is_ok is rule.empty_is_ok
    assert terms.gap_s == (PERSON_GAP_S if rule.subject == "person" else FIXTURE_GAP_LOOKS * rule.every_s)


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_the_site_file_overrules_them(rule: Rule) -> None:
    settings = RuleSettings(severity=Severity.INFO, confirm_s=7.0, clear_s=8.0, quiet_s=9.0)
    terms = terms_of(rule, settings)
    assert (terms.severity, terms.confirm_s, terms.clear_s, terms.quiet_s) == (Severity.INFO, 7.0, 8.0, 9.0)


def test_design_says_how_long_a_breach_must_be_seen() -> None:
    assert {r.id: (r.confirm_s, r.min_looks) for r in RULES.values() if r.subject == "person"} == dict.fromkeys(
        ("helmet", "hi_vis", "night_reflective", "intrusion"), (1.0, 3)
    )
    assert {r.id: r.confirm_s for r in RULES.values() if r.subject == "fixture"} == {
        "barrier": 60.0,
        "warning_light": 60.0,
    }
