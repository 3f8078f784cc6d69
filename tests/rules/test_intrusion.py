"""`intrusion`: nobody is in a `no_entry` zone, at the hours when it counts."""

from __future__ import annotations

from typing import Any

import pytest

from edge.rules import resting
from edge.rules.intrusion import RULE
from edge.rules.night import NightState
from edge.rules.rule import CAMERA, TOO_DARK
from edge.site.model import RuleSettings
from edge.values import Reason, Severity, Verdict
from tests.rules.builders import LEFT, MODEL, at, camera, judge, only_place, person, said, scene, site_file, zone

BAD, DIM = Verdict.VIOLATION, Verdict.UNKNOWN
NIGHTLY = {"hours": [{"start": "19:00", "end": "06:00"}]}
PLACE = only_place(RULE, camera([zone("no_entry", LEFT)]))
INSIDE = [(BAD, Reason.INSIDE)]


@pytest.mark.parametrize(
    ("who", "brightness", "settings", "expected"),
    [
        pytest.param({"x": 300}, 0.5, {}, INSIDE, id="inside"),
        pytest.param({"x": 700}, 0.5, {}, [], id="outside"),
        pytest.param({"x": 640}, 0.5, {}, INSIDE, id="on the line"),
        pytest.param({"x": 300, "height": 20}, 0.5, {}, INSIDE, id="far away"),
        pytest.param({"x": 300, "height": 20}, 0.5, {"min_height_px": 21}, [(DIM, Reason.TOO_SMALL)], id="declared"),
        pytest.param({"x": 300, "foot": 900}, 0.5, {}, INSIDE, id="feet below the picture"),
        pytest.param({"x": 10}, 0.5, {}, INSIDE, id="at the edge"),
        pytest.param({"x": 300, "upper_hidden": 1.0}, 0.5, {}, INSIDE, id="behind somebody"),
        pytest.param({"x": 300}, TOO_DARK - 0.01, {}, INSIDE, id="seen in the dark"),
    ],
)
def test_who_is_seen_inside_is_inside(
    who: dict[str, Any], brightness: float, settings: dict[str, Any], expected: list[tuple[Verdict, Reason]]
) -> None:
    found = judge(RULE, scene(person(**who), brightness=brightness), PLACE, **settings)
    # In the dark one unknown stands for whoever may not be seen.
    assert said(found) == expected


def test_each_intruder_is_a_subject() -> None:
    found = judge(RULE, scene(person(x=100, track=4), person(x=400, track=7), person(x=900, track=9)), PLACE)
    assert [(j.subject, j.confidence) for j in found] == [("person:4", 0.9), ("person:7", 0.9)]


def test_an_empty_zone_adds_nothing_unless_it_is_too_dark_to_see_anybody() -> None:
    assert judge(RULE, scene(), PLACE) == ()
    (blind,) = judge(RULE, scene(brightness=TOO_DARK - 0.01), PLACE)
    assert (blind.subject, blind.verdict, blind.reason) == (CAMERA, DIM, Reason.TOO_DARK)


@pytest.mark.parametrize(
    ("local", "zone_hours", "synced", "looks", "expected"),
    [
        ("2026-06-21 12:00", {}, True, True, INSIDE),
        ("2026-06-21 12:00", NIGHTLY, True, False, None),
        ("2026-06-21 19:00", NIGHTLY, True, True, INSIDE),
        ("2026-06-22 05:59", NIGHTLY, True, True, INSIDE),
        ("2026-06-22 06:00", NIGHTLY, True, False, None),
        ("2026-06-21 12:00", {}, False, True, INSIDE),  # no hours: no clock needed
        ("2026-06-21 12:00", NIGHTLY, False, True, [(DIM, Reason.NO_CLOCK)]),
        ("2026-06-21 23:00", NIGHTLY, False, True, [(DIM, Reason.NO_CLOCK)]),
    ],
)
def test_a_zone_counts_at_its_hours_even_outside_of_working_hours(
    local: str,
    zone_hours: dict[str, Any],
    synced: bool,
    looks: bool,
    expected: list[tuple[Verdict, Reason]] | None,
) -> None:
    idle = site_file(
        site={"id": "a", "latitude": 0, "longitude": 0, "working_hours": [{"start": "03:00", "end": "03:01"}]}
    )
    place = only_place(RULE, camera([zone("no_entry", **zone_hours)]))
    stamp = at(local, synced=synced)
    assert (resting(RULE, place, RuleSettings(), idle, stamp, NightState.DAY) is None) is looks
    if expected is not None:
        assert said(judge(RULE, scene(person(), stamp=stamp), place)) == expected


def test_a_class_that_the_model_lacks_makes_it_unknown() -> None:
    (judgement,) = judge(RULE, scene(names=MODEL[1:]), PLACE)
    assert (judgement.subject, judgement.verdict, judgement.reason) == (CAMERA, DIM, Reason.NO_CLASS)


def test_only_zones_that_nobody_may_enter_are_places() -> None:
    zones = [zone(), zone("no_entry", LEFT, id="pit"), zone("passage", id="footway")]
    assert [p.id for p in RULE.places(camera(zones))] == ["pit"]
    assert RULE.places(camera()) == ()


def test_it_is_critical_and_over_when_the_zone_is_empty() -> None:
    assert RULE.severity is Severity.CRITICAL
    assert RULE.empty_is_ok
