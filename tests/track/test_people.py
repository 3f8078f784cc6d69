"""Who wears what."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.track import Tracker, persons
from edge.track.people import MARGIN
from edge.values import NO_TRACK, UNSEEN, Box, Detections, Person, WearState
from tests.track.builders import HEIGHT, NAMES, WIDTH, Row, any_detections, at, hat, seen, upright, vest

ON, OFF = WearState.ON, WearState.OFF
BODY = upright(400)
BENT: Box = (300, 440, 460, 600)
SITTING: Box = (300, 460, 410, 600)
LYING: Box = (300, 520, 520, 600)
BUST: Box = (300, 480, 480, 720)


def people(*rows: Row, names: tuple[str, ...] = NAMES) -> tuple[Person, ...]:
    return persons(Tracker(names).update(seen(*rows, names=names), 0.0), WIDTH, HEIGHT)


def person(*rows: Row) -> Person:
    (one,) = people(*rows)
    return one


def by_box(*rows: Row) -> dict[Box, Person]:
    return {p.box: p for p in people(*rows)}


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (BODY, hat(BODY)),
        (BODY, hat(BODY, x=0.2)),
        (BODY, hat(BODY, y=-0.03)),  # the hat sticks out of the body's box
        (BODY, at(BODY, 0.5, 0.0, 38, 47)),  # a box around the whole head, as other data sets draw it
        (BODY, at(BODY, 0.5, 0.08, 35)),  # an arm is raised above the head
        (BENT, at(BENT, 0.12, 0.02, 55)),
        (BENT, at(BENT, 0.85, 0.15, 50)),
        (SITTING, at(SITTING, 0.4, 0.02, 45)),
        (LYING, at(LYING, 0.1, 0.2, 45)),
        (BUST, at(BUST, 0.5, 0.03, 120)),
        (upright(20), hat(upright(20))),  # at the frame's edge
        (upright(400, 60, 40), hat(upright(400, 60, 40))),  # far away
    ],
)
@pytest.mark.parametrize(("name", "state"), [("helmet", ON), ("no_helmet", OFF)])
def test_what_is_on_the_head_is_worn(body: Box, part: Box, name: str, state: WearState) -> None:
    one = person(("person", body, 0.9), (name, part, 0.7))
    assert one.helmet.state is state
    assert one.helmet.box == pytest.approx(part)
    assert one.helmet.confidence == pytest.approx(0.7)
    assert one.head == one.helmet.box


@pytest.mark.parametrize(
    "part",
    [
        at(BODY, 0.9, 0.5, 35),  # in the hand
        at(BODY, 0.15, 0.35, 35),  # under the arm
        at(BODY, 0.5, 0.3, 35),  # before the chest
        at(BODY, 0.5, 0.92, 35),  # on the ground
        at(BODY, 1.2, 0.0, 35),  # beside the person
        at(BODY, 0.5, -0.25, 35),  # above: on a shelf, or somebody behind
        at(BODY, 0.5, 0.0, 160),  # of somebody much nearer to the camera
        at(BODY, 0.5, 0.0, 8),  # of somebody far behind
    ],
    ids=["hand", "arm", "chest", "ground", "beside", "above", "too big", "too small"],
)
@pytest.mark.parametrize("name", ["helmet", "no_helmet"])
def test_what_is_elsewhere_is_not_worn(part: Box, name: str) -> None:
    one = person(("person", BODY, 0.9), (name, part, 0.9))
    assert one.helmet == UNSEEN
    assert one.head[1] == BODY[1]
    assert one.head[0] < 400 < one.head[2]


@pytest.mark.parametrize(
    ("body", "knees"), [(BENT, (300, 535, 350, 573)), (SITTING, (330, 530, 380, 568)), (BUST, (350, 640, 440, 708))]
)
def test_a_helmet_on_the_knees_is_not_worn(body: Box, knees: Box) -> None:
    assert person(("person", body, 0.9), ("helmet", knees, 0.9)).helmet == UNSEEN


def test_a_helmet_in_the_hand_does_not_hide_the_bare_head() -> None:
    rows: list[Row] = [("no_helmet", hat(BODY), 0.5), ("helmet", at(BODY, 0.8, 0.5, 35), 0.9)]
    assert person(("person", BODY, 0.9), *rows).helmet.state is OFF


@pytest.mark.parametrize("step", [45, 55, 75, 110])
def test_neighbours_do_not_take_each_others_helmet(step: float) -> None:
    """Five people side by side, up to half behind one another; one helmet is not seen: nobody else's fills the gap."""
    bodies = [upright(200 + step * k, foot=600 + 6 * k) for k in range(5)]
    for missing in range(5):
        rows: list[Row] = [("person", b, 0.9) for b in bodies]
        rows += [("helmet", hat(b), 0.8) for k, b in enumerate(bodies) if k != missing]
        worn = by_box(*rows)
        for k, body in enumerate(bodies):
            own = worn[tuple(float(np.float32(v)) for v in body)].helmet  # type: ignore[index]
            assert own.box == (None if k == missing else pytest.approx(hat(body)))


@pytest.mark.parametrize(
    ("on", "off", "state"),
    [
        (None, 0.56, OFF),
        (None, 0.54, WearState.UNSEEN),  # too little to blame somebody
        (0.4, 0.54, WearState.UNSEEN),  # but enough to doubt what speaks for them
        (0.4, None, ON),
    ],
)
def test_a_class_below_its_least_confidence_decides_nothing(
    on: float | None, off: float | None, state: WearState
) -> None:
    body = upright(400)
    rows: list[Row] = [("person", body, 0.9)]
    rows += [(name, vest(body), sure) for name, sure in (("vest", on), ("no_vest", off)) if sure is not None]
    names = ("person", "vest", "no_vest")
    tracked = Tracker(names).update(seen(*rows, names=names), 0.0)
    (person,) = persons(tracked, WIDTH, HEIGHT, {"no_vest": 0.55})
    assert person.vest.state is state


@pytest.mark.parametrize(
    ("seen_too", "hints", "state"),
    [
        ([("no_helmet", hat(BODY), 0.6)], [], OFF),
        ([("no_helmet", hat(BODY), 0.6)], [("helmet", hat(BODY), 0.31)], WearState.UNSEEN),
        ([("no_helmet", hat(BODY), 0.6)], [("helmet", hat(BODY), 0.29)], OFF),
        ([("no_helmet", hat(BODY), 0.15)], [("helmet", hat(BODY), 0.09)], OFF),  # too little to doubt anything
        ([("no_helmet", hat(BODY), 0.6)], [("helmet", at(BODY, 0.8, 0.5, 35), 0.31)], OFF),  # in the hand
        ([("no_helmet", hat(BODY), 0.6), ("helmet", hat(BODY), 0.4)], [("helmet", hat(BODY), 0.2)], WearState.UNSEEN),
        # A helmet that fits badly is no reason to forget one that fits.
        (
            [("no_helmet", hat(BODY), 0.6), ("helmet", hat(BODY, x=0.3), 0.36)],
            [("helmet", hat(BODY), 0.34)],
            WearState.UNSEEN,
        ),
        ([("helmet", hat(BODY), 0.6)], [("no_helmet", hat(BODY), 0.34)], ON),  # only blame is doubted
        ([("helmet", hat(BODY), 0.6)], [("helmet", hat(BODY, x=0.1), 0.34)], ON),
        ([], [("helmet", hat(BODY), 0.34)], WearState.UNSEEN),  # not seen for all that
    ],
)
def test_what_is_half_seen_speaks_against_blame(seen_too: list[Row], hints: list[Row], state: WearState) -> None:
    tracked = Tracker(NAMES).update(seen(("person", BODY, 0.9), *seen_too), 0.0)
    (one,) = persons(tracked, WIDTH, HEIGHT, hints=seen(*hints))
    assert one.helmet.state is state
    assert one.helmet.box is None or one.helmet.box == pytest.approx(hat(BODY))


HELMET, BARE = ("helmet", hat(BODY), 0.6), ("no_helmet", hat(BODY), 0.6)


@pytest.mark.parametrize(
    ("seen_too", "asked", "states"),
    [
        ([BARE], True, (OFF, WearState.UNSEEN, WearState.UNSEEN)),  # both must say so
        ([BARE, ("helmet", hat(BODY), 0.5)], False, 3 * (WearState.UNSEEN,)),  # who is in doubt is not blamed anyway
        ([HELMET], False, (ON, ON, ON)),  # nobody is blamed: the detector's word is enough
        ([("no_helmet", at(BODY, 0.8, 0.5, 35), 0.6)], False, 3 * (WearState.UNSEEN,)),  # no head of theirs
        ([], False, 3 * (WearState.UNSEEN,)),
    ],
)
def test_before_blame_somebody_looks_closer(seen_too: list[Row], asked: bool, states: tuple[WearState, ...]) -> None:
    tracked = Tracker(NAMES).update(seen(("person", BODY, 0.9), *seen_too), 0.0)
    for answer, state in zip((OFF, ON, WearState.UNSEEN), states, strict=True):
        places: list[Box] = []

        def look(box: Box, answer: WearState = answer, places: list[Box] = places) -> WearState:
            places.append(box)
            return answer

        (one,) = persons(tracked, WIDTH, HEIGHT, closely={"helmet": look})
        assert one.helmet.state is state
        assert places == ([pytest.approx(hat(BODY))] if asked else [])


def test_two_claims_on_one_head_leave_the_neighbour_alone() -> None:
    left, right = upright(400), upright(450)
    both = by_box(
        ("person", left, 0.9),
        ("person", right, 0.9),
        ("helmet", hat(left), 0.9),
        ("no_helmet", hat(left), 0.4),
    )
    assert [p.helmet.state for p in both.values()] == [ON, WearState.UNSEEN]


@pytest.mark.parametrize(
    ("on", "off", "state"),
    [
        (0.9, 0.4, ON),
        (0.4, 0.9, OFF),
        (0.81, 0.4, ON),
        (0.79, 0.4, WearState.UNSEEN),
        (0.4, 0.79, WearState.UNSEEN),
        (0.5, 0.5, WearState.UNSEEN),
    ],
)
@pytest.mark.parametrize(("part", "names"), [("helmet", ("helmet", "no_helmet")), ("vest", ("vest", "no_vest"))])
def test_claims_that_contradict_are_settled_by_their_margin(
    on: float, off: float, state: WearState, part: str, names: tuple[str, str]
) -> None:
    assert MARGIN == 2.0
    box = hat(BODY) if part == "helmet" else vest(BODY)
    one = person(("person", BODY, 0.9), (names[0], box, on), (names[1], box, off))
    assert getattr(one, part).state is state
    if part == "helmet":
        assert one.head == pytest.approx(box), "the head was seen, whatever is on it"


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (BODY, vest(BODY)),
        (BODY, at(BODY, 0.5, 0.12, 60, 130)),  # a long coat
        (BENT, at(BENT, 0.5, 0.1, 110, 80)),
        (SITTING, at(SITTING, 0.5, 0.3, 80, 70)),
        (BUST, at(BUST, 0.5, 0.4, 170, 144)),
    ],
)
@pytest.mark.parametrize(("name", "state"), [("vest", ON), ("no_vest", OFF)])
def test_what_is_on_the_body_is_worn(body: Box, part: Box, name: str, state: WearState) -> None:
    one = person(("person", body, 0.9), (name, part, 0.7))
    assert one.vest.state is state
    assert one.vest.box == pytest.approx(part)


@pytest.mark.parametrize(
    "part",
    [at(BODY, 0.5, 0.95, 60, 60), at(BODY, 1.3, 0.2, 60, 80), at(BODY, 0.5, -0.4, 60, 80), at(BODY, 0.5, 0.2, 15, 80)],
    ids=["on the ground", "beside", "above", "a strip"],
)
def test_a_vest_elsewhere_is_not_worn(part: Box) -> None:
    assert person(("person", BODY, 0.9), ("vest", part, 0.9)).vest == UNSEEN


@pytest.mark.parametrize("step", [50, 75])
def test_neighbours_do_not_take_each_others_vest(step: float) -> None:
    bodies = [upright(200 + step * k, foot=600 + 6 * k) for k in range(4)]
    rows: list[Row] = [("person", b, 0.9) for b in bodies] + [
        ("vest", vest(bodies[0]), 0.8),
        ("no_vest", vest(bodies[1]), 0.8),
    ]
    assert [p.vest.state for p in sorted(people(*rows), key=lambda p: p.box)] == [
        ON,
        OFF,
        WearState.UNSEEN,
        WearState.UNSEEN,
    ]


@pytest.mark.parametrize(
    ("body", "edge"),
    [((400, 0, 480, 300), 1), ((0, 200, 40, 400), 0), ((1250, 200, 1280, 400), 2), ((400, 690, 460, 720), 3)],
    ids=["above", "left", "right", "below"],
)
def test_the_head_of_who_is_cut_off_is_clipped_to_the_frame(body: Box, edge: int) -> None:
    one = person(("person", body, 0.9))
    assert one.helmet == UNSEEN
    assert one.vest == UNSEEN
    x1, y1, x2, y2 = one.head
    assert 0 <= x1 < x2 <= WIDTH
    assert 0 <= y1 < y2 <= HEIGHT
    if edge == 1:
        assert y1 == 0, "a head above the frame touches its edge"


@pytest.mark.parametrize(
    ("nearer", "occluded", "upper"),
    [
        ([], 0.0, 0.0),
        ([(335, 500, 465, 700)], 0.5, 0.0),  # in front of the legs
        ([(335, 300, 465, 700)], 1.0, 1.0),
        ([(335, 300, 400, 700)], 0.5, 0.5),  # in front of the left half
        ([(335, 300, 400, 700), (335, 500, 465, 710)], 0.75, 0.5),  # two that overlap are not counted twice
        ([(335, 300, 465, 590)], 0.0, 0.0),  # higher feet: behind
        ([(600, 300, 700, 700)], 0.0, 0.0),
    ],
)
def test_who_stands_lower_hides_who_stands_higher(nearer: list[Box], occluded: float, upper: float) -> None:
    body: Box = (365, 400, 435, 600)
    one = by_box(("person", body, 0.9), *[("person", b, 0.8) for b in nearer])[body]
    assert one.occluded == pytest.approx(occluded, abs=0.01)
    assert one.upper_hidden == pytest.approx(upper, abs=0.01)


def test_of_two_cut_off_by_the_lower_edge_the_taller_is_nearer() -> None:
    front, behind = (300, 300, 480, 720), (420, 500, 500, 720)
    found = by_box(("person", front, 0.9), ("person", behind, 0.9))
    assert found[front].occluded == 0
    assert found[behind].occluded == pytest.approx(0.75)


def test_a_model_without_vests_sees_none() -> None:
    (one,) = people(("person", BODY, 0.9), ("helmet", hat(BODY), 0.9), names=("person", "helmet"))
    assert one.helmet.state is ON
    assert one.vest == UNSEEN


@settings(max_examples=100, deadline=None)
@given(frame=any_detections(least_sure=0.375), seed=st.integers(0, 2**31))
def test_any_frame(frame: Detections, seed: int) -> None:
    """One person a row, nothing worn twice, nothing worn that was not seen; the order of rows does not matter."""
    tracked = Tracker(NAMES).update(frame, 0.0)
    found = persons(tracked, WIDTH, HEIGHT)
    assert found == persons(tracked[np.random.default_rng(seed).permutation(len(tracked))], WIDTH, HEIGHT)
    assert [p.track for p in found] == sorted(int(t) for t in tracked.of("person").track_id)
    for part, on, off in (("helmet", "helmet", "no_helmet"), ("vest", "vest", "no_vest")):
        for state, name in ((ON, on), (OFF, off)):
            worn = [w.box for p in found if (w := getattr(p, part)).state is state]
            rows = tracked.of(name)
            assert set(worn) <= {rows.box(n) for n in range(len(rows))}
            assert len(worn) == len(set(worn))
    for one in found:
        assert one.track != NO_TRACK
        assert 0 <= one.occluded <= 1
        assert 0 <= one.upper_hidden <= 1
        assert 0 <= one.helmet.confidence <= 1
