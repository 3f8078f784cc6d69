"""`barrier`: the declared hoarding, guard rail or tape closes its line, without gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.geometry import as_array, to_pixels
from edge.rules import resting
from edge.rules.barrier import RULE, STEPS, Coverage, coverage, steps_of, verdict_on
from edge.rules.night import NightState
from edge.rules.rule import TOO_DARK
from edge.site.model import RuleSettings, TimeSpan
from edge.values import Box, Floats, Judgement, Reason, Rest, Verdict
from tests.rules.builders import LOST, MODEL, NOON, H, W, camera, fence, judge, lamp, only_place, scene, site_file

OK, BAD, DIM = Verdict.OK, Verdict.VIOLATION, Verdict.UNKNOWN
FOOT = 0.5 * H  # of the fence's line, which runs from x = 128 to x = 1152
LONG = 1024.0


def unit(start: float, end: float, foot: float = FOOT, height: float = 100) -> Box:
    """A barrier from `start` to `end`, shares of the fence's line."""
    return 128 + LONG * start, foot - height, 128 + LONG * end, foot


def barriers(*boxes: Box) -> list[tuple[str, Box]]:
    return [("barrier", b) for b in boxes]


def look(things: list[tuple[str, Box]], *, brightness: float = 0.5, names: tuple[str, ...] = MODEL,
         overlooked: tuple[str, ...] = (), **more: Any) -> Judgement:  # fmt: skip
    place = only_place(RULE, camera(fixtures=[fence(**more)]))
    shown = scene(things=things, brightness=brightness, names=names, overlooked=overlooked)
    (judgement,) = judge(RULE, shown, place)
    assert judgement.subject == "north-fence"
    assert 0 <= judgement.confidence <= 1
    return judgement


MAN = ("person", (600.0, 200.0, 680.0, 480.0))
"""Stands before the middle of the line and hides 0.42 to 0.58 of it."""

SEEN, ABSENT, OCCLUDED = (OK, Reason.SEEN), (BAD, Reason.ABSENT), (DIM, Reason.OCCLUDED)


@pytest.mark.parametrize(
    ("things", "expected"),
    [
        ([], ABSENT),
        (barriers(unit(0, 1)), SEEN),  # one run
        (barriers(unit(0, 0.3), unit(0.3, 0.6), unit(0.6, 1)), SEEN),  # units side by side
        (barriers(unit(0, 0.35), unit(0.3, 0.65), unit(0.6, 1)), SEEN),  # that overlap
        (barriers(unit(0, 0.3), unit(0.33, 0.63), unit(0.66, 1)), SEEN),  # small gaps
        (barriers(unit(0, 0.42), unit(0.56, 1)), SEEN),  # a gap just short enough
        (barriers(unit(0, 0.42), unit(0.58, 1)), ABSENT),  # and one too long
        (barriers(unit(0, 0.8)), ABSENT),  # the end is open
        (barriers(unit(0, 0.26), unit(0.36, 0.62), unit(0.72, 0.98)), ABSENT),  # no long gap, but too many
        (barriers(unit(0, 1, foot=FOOT + 30)), SEEN),  # within the tolerance
        (barriers(unit(0, 1, foot=FOOT - 30)), SEEN),
        (barriers(unit(0, 1, foot=FOOT - 50)), ABSENT),  # stands far behind the line
        (barriers(unit(0, 1, foot=FOOT + 90)), OCCLUDED),  # stands far before the line and hides it
        (barriers(unit(0, 1, foot=FOOT + 300)), ABSENT),  # so far that it does not even hide it
        ([("cone", unit(0, 1))], ABSENT),  # of a class that does not count
        ([("vehicle", unit(0, 1))], OCCLUDED),
        ([*barriers(unit(0, 0.42), unit(0.58, 1)), MAN], OCCLUDED),  # somebody stands in the gap
        ([*barriers(unit(0, 0.5), unit(0.5, 1)), MAN], SEEN),  # or before a closed fence
        ([*barriers(unit(0, 0.3), unit(0.58, 1)), MAN], OCCLUDED),  # what is open beside them is short enough
        ([*barriers(unit(0, 0.2), unit(0.58, 1)), MAN], ABSENT),  # what is open beside them is too long
        ([MAN], ABSENT),
        ([("person", (600.0, 100.0, 680.0, FOOT - 20)), *barriers(unit(0, 0.42), unit(0.58, 1))], ABSENT),  # behind it
        ([("machinery", unit(0.4, 0.6, foot=FOOT + 80)), *barriers(unit(0, 0.42), unit(0.58, 1))], OCCLUDED),
    ],
)
def test_a_line_is_closed_open_or_hidden(things: list[tuple[str, Box]], expected: tuple[Verdict, Reason]) -> None:
    judgement = look(things)
    assert (judgement.verdict, judgement.reason) == expected


@pytest.mark.parametrize(
    ("things", "more", "expected"),
    [
        (barriers(unit(0, 0.6)), {"cover": 0.5, "max_gap": 0.5}, SEEN),
        (barriers(unit(0, 0.6)), {"cover": 0.7, "max_gap": 0.5}, ABSENT),
        (barriers(unit(0, 0.6)), {"cover": 0.5, "max_gap": 0.3}, ABSENT),
        (barriers(unit(0, 1, foot=FOOT - 50)), {"tolerance": 0.1}, SEEN),
        ([("cone", unit(0, 0.5)), *barriers(unit(0.5, 1))], {"classes": ["barrier", "cone"]}, SEEN),
        ([], {"cover": 0.0, "max_gap": 1.0}, SEEN),  # nothing is asked for
    ],
)
def test_what_is_asked_for_is_declared(
    things: list[tuple[str, Box]], more: dict[str, Any], expected: tuple[Verdict, Reason]
) -> None:
    judgement = look(things, **more)
    assert (judgement.verdict, judgement.reason) == expected


@pytest.mark.parametrize(
    ("line", "things", "verdict"),
    [
        # A run that recedes from the camera is one box; its foot touches the line at the near end only.
        ([(0.1, 0.9), (0.5, 0.5)], barriers((128, 250, 640, 648)), OK),
        ([(0.1, 0.9), (0.5, 0.5)], barriers((128, 250, 640, 710)), DIM),  # stands before it
        # Straight away from the camera.
        ([(0.5, 0.9), (0.5, 0.5)], barriers((600, 300, 680, 650)), OK),
        # Round a corner: a box a side.
        ([(0.1, 0.5), (0.5, 0.9), (0.9, 0.5)], barriers((128, 260, 640, 648), (640, 260, 1152, 648)), OK),
        ([(0.1, 0.5), (0.5, 0.9), (0.9, 0.5)], barriers((128, 260, 640, 648)), BAD),
        # Partly outside of what the camera sees: boxes end at its edge, and so does the line.
        ([(0.0, 0.7), (1.0, 0.7)], barriers((0, 300, 700, 504), (690, 300, 1280, 504)), OK),
    ],
)
def test_lines_of_any_shape(line: list[tuple[float, float]], things: list[tuple[str, Box]], verdict: Verdict) -> None:
    assert look(things, line=line).verdict is verdict


@pytest.mark.parametrize(
    ("things", "names", "brightness", "expected"),
    [
        ([], MODEL[:-1], 0.5, (DIM, Reason.NO_CLASS)),
        ([], MODEL, TOO_DARK - 0.01, (DIM, Reason.TOO_DARK)),
        (barriers(unit(0, 1)), MODEL, TOO_DARK - 0.01, SEEN),  # what is seen is there
    ],
)
def test_what_cannot_be_seen_is_not_absent(
    things: list[tuple[str, Box]], names: tuple[str, ...], brightness: float, expected: tuple[Verdict, Reason]
) -> None:
    judgement = look(things, names=names, brightness=brightness)
    assert (judgement.verdict, judgement.reason) == expected


@pytest.mark.parametrize(
    ("things", "overlooked", "expected"),
    [
        ([], ("barrier",), (DIM, Reason.OVERLOOKED)),
        (barriers(unit(0, 0.3)), ("barrier",), (DIM, Reason.OVERLOOKED)),  # what stands beside it may be overlooked
        (barriers(unit(0, 1)), ("barrier",), SEEN),  # what is seen is there
        ([], ("cone",), ABSENT),  # of a class that this fence does not ask for
    ],
)
def test_of_a_class_that_the_model_overlooks_only_its_presence_is_believed(
    things: list[tuple[str, Box]], overlooked: tuple[str, ...], expected: tuple[Verdict, Reason]
) -> None:
    judgement = look(things, overlooked=overlooked)
    assert (judgement.verdict, judgement.reason) == expected


def test_one_of_two_classes_is_enough_to_be_closed_but_not_to_be_open() -> None:
    both = ["barrier", "cone"]
    without_barrier = MODEL[:-1]
    closed = look([("cone", unit(0, 1))], names=without_barrier, classes=both)
    assert (closed.verdict, closed.reason) == SEEN
    gap = look([("cone", unit(0, 0.5))], names=without_barrier, classes=both)
    assert (gap.verdict, gap.reason) == (DIM, Reason.NO_CLASS)


def test_the_box_frames_the_gap_and_confidence_is_what_is_in_clear_sight() -> None:
    gap = look(barriers(unit(0, 0.2), unit(0.6, 1)))
    assert gap.box is not None
    assert gap.box[0] == pytest.approx(128 + 0.2 * LONG, abs=5)
    assert gap.box[2] == pytest.approx(128 + 0.6 * LONG, abs=5)
    assert gap.box[3] == pytest.approx(FOOT)
    assert gap.confidence == pytest.approx(1.0)
    assert look([MAN]).confidence == pytest.approx(1 - 160 / LONG, abs=0.01)
    assert look([MAN, *barriers(unit(0.3, 0.7))]).confidence == pytest.approx(1.0)  # what is covered needs no sight


def test_it_applies_day_and_night_and_outside_of_working_hours() -> None:
    place = only_place(RULE, camera(fixtures=[fence()]))
    idle = site_file(
        site={"id": "a", "latitude": 0, "longitude": 0, "working_hours": [{"start": "03:00", "end": "03:01"}]}
    )
    for night in NightState:
        for stamp in (NOON, LOST):
            assert resting(RULE, place, RuleSettings(), idle, stamp, night) is None
    at_three = RuleSettings(hours=[TimeSpan.model_validate({"start": "03:00", "end": "03:01"})])
    assert resting(RULE, place, at_three, idle, NOON, NightState.DAY) is Rest.HOURS


def test_every_fence_is_a_place_of_its_own() -> None:
    two = camera(fixtures=[fence(), lamp(), fence(id="south-fence")])
    assert [p.id for p in RULE.places(two)] == ["north-fence", "south-fence"]


# -- what holds for any line and any boxes ----------------------------------------------------------------------

shares = st.floats(0, 1, allow_nan=False, width=32)
lines = st.lists(st.tuples(shares, shares), min_size=2, max_size=6)
boxes = st.builds(
    lambda x, y, w, h: (x * W, y * H, min((x + w) * W, W), min((y + h) * H, H)), shares, shares, shares, shares
)
crowds = st.lists(boxes, max_size=6)
limits = st.tuples(shares, shares)


def cover(line: list[tuple[float, float]], units: list[Box], others: list[Box]) -> Coverage:
    return coverage(to_pixels(line, W, H), as_array(units), as_array(others), tolerance=0.05 * H)


@given(lines, crowds, crowds, boxes)
def test_a_barrier_more_never_covers_less(
    line: list[tuple[float, float]], units: list[Box], others: list[Box], one_more: Box
) -> None:
    before, after = cover(line, units, others), cover(line, [*units, one_more], others)
    assert (after.covered | ~before.covered).all()
    assert after.share >= before.share
    assert after.longest_gap <= before.longest_gap


@given(lines, crowds, crowds, boxes, limits)
def test_somebody_more_in_front_never_makes_a_violation_nor_takes_back_what_is_seen(
    line: list[tuple[float, float]],
    units: list[Box],
    others: list[Box],
    one_more: Box,
    limits: tuple[float, float],
) -> None:
    before = verdict_on(cover(line, units, others), *limits)
    after = verdict_on(cover(line, units, [*others, one_more]), *limits)
    assert after is before or (before, after) == (BAD, DIM)


@given(lines, crowds, crowds, limits, limits)
def test_asking_for_more_never_makes_it_better(
    line: list[tuple[float, float]],
    units: list[Box],
    others: list[Box],
    limits: tuple[float, float],
    more: tuple[float, float],
) -> None:
    stands = cover(line, units, others)
    strict = (max(limits[0], more[0]), min(limits[1], more[1]))
    worse = (OK, DIM, BAD)
    assert worse.index(verdict_on(stands, *strict)) >= worse.index(verdict_on(stands, *limits))


@given(lines)
def test_steps_are_of_one_length_and_on_the_line(line: list[tuple[float, float]]) -> None:
    pixels: Floats = to_pixels(line, W, H)
    steps = steps_of(pixels)
    assert steps.shape == (STEPS, 2)
    assert np.isfinite(steps).all()
    total = float(np.linalg.norm(np.diff(pixels, axis=0), axis=1).sum())
    assert (np.linalg.norm(np.diff(steps, axis=0), axis=1) <= total / STEPS + 1e-2).all()
