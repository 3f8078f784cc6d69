"""`night_reflective`: at night everyone on the job wears the reflective vest."""

from __future__ import annotations

from typing import Any

import pytest

from edge.rules import resting
from edge.rules.night import NightState
from edge.rules.night_reflective import RULE
from edge.rules.rule import CAMERA, TOO_DARK
from edge.site.model import RuleSettings
from edge.values import Reason, Verdict, Wear
from tests.rules.builders import (
    LOST,
    MODEL,
    NOON,
    OFF,
    ON,
    UNSEEN,
    camera,
    judge,
    only_place,
    person,
    said,
    scene,
    site_file,
    zone,
)
from tests.rules.wearing import AT_THE_EDGE, COLUMNS, DIM, TABLE

PLACE = only_place(RULE, camera([zone()]))


@pytest.mark.parametrize(COLUMNS, TABLE)
def test_at_night_a_vest_is_worn_not_or_unknown(
    wear: Wear, who: dict[str, Any], brightness: float, settings: dict[str, Any], expected: tuple[Verdict, Reason]
) -> None:
    seen = scene(person(vest=wear, **who), brightness=brightness)
    assert said(judge(RULE, seen, PLACE, NightState.NIGHT, **settings)) == [expected]


@pytest.mark.parametrize("who", AT_THE_EDGE)
def test_a_body_beyond_the_edge_is_unknown(who: dict[str, Any]) -> None:
    seen = scene(person(vest=OFF, **who))
    assert said(judge(RULE, seen, PLACE, NightState.NIGHT)) == [(DIM, Reason.CUT_OFF)]


@pytest.mark.parametrize(
    ("night", "stamp", "looks"),
    [
        (NightState.DAY, NOON, False),
        (NightState.NIGHT, NOON, True),
        (NightState.UNKNOWN, LOST, True),  # and says that it does not know
    ],
)
def test_it_applies_at_night_only(night: NightState, stamp: Any, looks: bool) -> None:
    assert (resting(RULE, PLACE, RuleSettings(), site_file(), stamp, night) is None) is looks


def test_without_a_clock_everybody_is_unknown_whatever_they_wear() -> None:
    seen = scene(person(track=1, vest=ON), person(x=900, track=2, vest=OFF), person(x=300, track=3, vest=UNSEEN))
    found = judge(RULE, seen, PLACE, NightState.UNKNOWN)
    assert said(found) == [(DIM, Reason.NO_CLOCK)] * 3
    assert [j.subject for j in found] == ["person:1", "person:2", "person:3"]
    assert judge(RULE, scene(), PLACE, NightState.UNKNOWN) == ()


def test_a_picture_too_dark_to_see_anybody_is_unknown() -> None:
    (blind,) = judge(RULE, scene(brightness=TOO_DARK - 0.01), PLACE, NightState.NIGHT)
    assert (blind.subject, blind.verdict, blind.reason) == (CAMERA, DIM, Reason.TOO_DARK)


@pytest.mark.parametrize("missing", ["person", "vest", "no_vest"])
def test_a_class_that_the_model_lacks_makes_it_unknown(missing: str) -> None:
    names = tuple(n for n in MODEL if n != missing)
    (judgement,) = judge(RULE, scene(names=names), PLACE, NightState.NIGHT)
    assert (judgement.subject, judgement.verdict, judgement.reason) == (CAMERA, DIM, Reason.NO_CLASS)
