"""`helmet`: everyone in a work zone wears a hard hat, on the head."""

from __future__ import annotations

from typing import Any

import pytest

from edge.rules.helmet import RULE
from edge.rules.rule import CAMERA, TOO_DARK
from edge.values import NO_TRACK, WHOLE_PICTURE, Reason, Verdict, Wear, WearState
from tests.rules.builders import LEFT, MODEL, OFF, ON, UNSEEN, camera, judge, only_place, person, said, scene, zone
from tests.rules.wearing import AT_THE_EDGE, BAD, COLUMNS, DIM, OK, TABLE

PLACE = only_place(RULE, camera([zone()]))


@pytest.mark.parametrize(COLUMNS, TABLE)
def test_a_head_is_covered_bare_or_unknown(
    wear: Wear, who: dict[str, Any], brightness: float, settings: dict[str, Any], expected: tuple[Verdict, Reason]
) -> None:
    seen = scene(person(helmet=wear, **who), brightness=brightness)
    assert said(judge(RULE, seen, PLACE, **settings)) == [expected]


@pytest.mark.parametrize("wear", [ON, OFF, UNSEEN])
@pytest.mark.parametrize("who", AT_THE_EDGE)
def test_a_head_beyond_the_edge_is_unknown(who: dict[str, Any], wear: Wear) -> None:
    assert said(judge(RULE, scene(person(helmet=wear, **who)), PLACE)) == [(DIM, Reason.CUT_OFF)]


@pytest.mark.parametrize(
    ("state", "box", "verdict", "reason"),
    [
        (WearState.ON, (10.0, 310.0, 70.0, 340.0), OK, Reason.SEEN),  # seen whole, though its wearer is cut off
        (WearState.OFF, (10.0, 310.0, 70.0, 370.0), BAD, Reason.BARE),
        (WearState.ON, (0.0, 310.0, 60.0, 340.0), DIM, Reason.CUT_OFF),
        (WearState.OFF, (20.0, 1.0, 80.0, 40.0), DIM, Reason.CUT_OFF),  # a chin; the hat may be above the picture
    ],
)
def test_what_was_seen_counts_not_where_the_head_should_be(
    state: WearState, box: tuple[float, float, float, float], verdict: Verdict, reason: Reason
) -> None:
    seen = scene(person(x=20, helmet=Wear(state, 0.8, box)))
    assert said(judge(RULE, seen, PLACE)) == [(verdict, reason)]


def test_everybody_at_the_place_is_a_subject_with_box_and_confidence() -> None:
    place = only_place(RULE, camera([zone(polygon=LEFT)]))
    people = [
        person(x=200, track=1, helmet=ON),
        person(x=500, track=2, helmet=OFF),
        person(x=900, track=3, helmet=OFF),  # outside
        person(x=400, track=NO_TRACK, helmet=OFF),  # not named yet
    ]
    found = judge(RULE, scene(*people), place)
    assert [(j.subject, j.verdict, j.confidence, j.box) for j in found] == [
        ("person:1", OK, 0.9, people[0].box),
        ("person:2", BAD, 0.8, people[1].box),
    ]


def test_the_feet_say_where_somebody_is() -> None:
    low = camera([zone(polygon=[(0.0, 0.8), (1.0, 0.8), (1.0, 1.0), (0.0, 1.0)])])
    place = only_place(RULE, low)
    assert judge(RULE, scene(person(foot=570, helmet=OFF)), place) == ()
    assert said(judge(RULE, scene(person(foot=580, helmet=OFF)), place)) == [(BAD, Reason.BARE)]
    assert said(judge(RULE, scene(person(foot=760, helmet=OFF)), place)) == [(BAD, Reason.BARE)]  # below the picture


def test_nobody_adds_nothing_unless_it_is_too_dark_to_see_anybody() -> None:
    assert judge(RULE, scene(), PLACE) == ()
    (blind,) = judge(RULE, scene(brightness=TOO_DARK - 0.01), PLACE)
    assert (blind.subject, blind.verdict, blind.reason) == (CAMERA, DIM, Reason.TOO_DARK)


@pytest.mark.parametrize("missing", ["person", "helmet", "no_helmet"])
def test_a_class_that_the_model_lacks_makes_it_unknown(missing: str) -> None:
    names = tuple(n for n in MODEL if n != missing)
    (judgement,) = judge(RULE, scene(names=names), PLACE)
    assert (judgement.subject, judgement.verdict, judgement.reason) == (CAMERA, DIM, Reason.NO_CLASS)


def test_it_looks_where_people_work() -> None:
    kinds = ["work", "at_height", "pit", "shoring", "passage", "no_entry"]
    corner = [(0.0, 0.0), (0.1, 0.0), (0.1, 0.1)]
    zones = [zone(kind, corner, id=kind.replace("_", "-")) for kind in kinds]
    assert {p.id for p in RULE.places(camera(zones))} == {"work", "at-height", "pit", "shoring"}


def test_without_any_zone_it_looks_everywhere() -> None:
    place = only_place(RULE, camera())
    assert place.id == WHOLE_PICTURE
    assert said(judge(RULE, scene(person(x=1200, foot=700, helmet=OFF)), place)) == [(BAD, Reason.BARE)]


def test_a_zone_of_another_kind_does_not_end_the_judging_of_helmets() -> None:
    left, right = [(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)], [(0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)]
    place = only_place(RULE, camera([zone("no_entry", right, id="pit"), zone("passage", left, id="footway")]))
    assert place.id == WHOLE_PICTURE
    assert said(judge(RULE, scene(person(x=1200, foot=700, helmet=OFF)), place)) == [(BAD, Reason.BARE)]
    assert said(judge(RULE, scene(person(x=200, foot=700, helmet=OFF)), place)) == []  # the public's
