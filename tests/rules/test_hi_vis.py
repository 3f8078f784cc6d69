"""`hi_vis`: everyone outdoors on the job wears warning clothing."""

from __future__ import annotations

from typing import Any

import pytest

from edge.rules.helmet import RULE as HELMET
from edge.rules.hi_vis import RULE
from edge.rules.rule import CAMERA
from edge.values import Reason, Verdict, Wear, WearState
from tests.rules.builders import MODEL, OFF, ON, UNSEEN, camera, judge, only_place, person, said, scene, zone
from tests.rules.wearing import AT_THE_EDGE, BAD, COLUMNS, DIM, OK, TABLE

PLACE = only_place(RULE, camera([zone()]))


@pytest.mark.parametrize(COLUMNS, TABLE)
def test_a_body_is_in_warning_clothing_not_or_unknown(
    wear: Wear, who: dict[str, Any], brightness: float, settings: dict[str, Any], expected: tuple[Verdict, Reason]
) -> None:
    seen = scene(person(vest=wear, helmet=OFF, **who), brightness=brightness)
    assert said(judge(RULE, seen, PLACE, **settings)) == [expected]


@pytest.mark.parametrize("wear", [ON, OFF, UNSEEN])
@pytest.mark.parametrize("who", AT_THE_EDGE)
def test_a_body_beyond_the_edge_is_unknown(who: dict[str, Any], wear: Wear) -> None:
    assert said(judge(RULE, scene(person(vest=wear, **who)), PLACE)) == [(DIM, Reason.CUT_OFF)]


def test_a_vest_that_is_seen_whole_counts_though_the_head_is_cut_off() -> None:
    for state, verdict in ((WearState.ON, OK), (WearState.OFF, BAD)):
        somebody = person(foot=250, height=260, vest=Wear(state, 0.8, (560.0, 40.0, 640.0, 120.0)))
        assert [j.verdict for j in judge(RULE, scene(somebody), PLACE)] == [verdict]


@pytest.mark.parametrize("missing", ["person", "vest", "no_vest"])
def test_a_class_that_the_model_lacks_makes_it_unknown(missing: str) -> None:
    names = tuple(n for n in MODEL if n != missing)
    (judgement,) = judge(RULE, scene(names=names), PLACE)
    assert (judgement.subject, judgement.verdict, judgement.reason) == (CAMERA, DIM, Reason.NO_CLASS)


def test_it_looks_where_the_helmet_rule_looks() -> None:
    for zones in ([], [zone()], [zone("pit"), zone("passage", id="footway")]):
        assert RULE.places(camera(zones)) == HELMET.places(camera(zones))
