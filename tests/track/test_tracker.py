"""Who is who from frame to frame."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.track import Tracker
from edge.track.tracker import TRACKED
from edge.values import NO_TRACK, Detections
from tests.track.builders import NAMES, Walker, any_detections, ids_of, play, seen, unless, upright, walk

RATES = pytest.mark.parametrize("fps", [2, 5, 10, 30])
WALKING = 160.0  # pixels a second for somebody 200 pixels tall: 1.4 m/s


@RATES
@pytest.mark.parametrize("speed", [0, WALKING, -2 * WALKING], ids=["standing", "walking", "running"])
def test_who_is_in_sight_keeps_the_id(fps: float, speed: float) -> None:
    assert len(ids_of(play([Walker(walk(640, speed))], fps, 3), 0)) == 1


@RATES
@pytest.mark.parametrize("hidden", [0.5, 1.0, 1.5, 2.0])
def test_a_short_occlusion_does_not_change_the_id(fps: float, hidden: float) -> None:
    walker = Walker(walk(200, WALKING), unless(2, 2 + hidden))
    assert len(ids_of(play([walker], fps, 6), 0)) == 1


@RATES
def test_a_long_absence_does_and_the_old_id_never_comes_back(fps: float) -> None:
    story = play([Walker(walk(600, 0), unless(1, 5)), Walker(walk(900, 0), unless(3, 9))], fps, 12)
    had = [*ids_of(story, 0), *ids_of(story, 1)]
    assert len(had) == 4 == len(set(had))


@RATES
def test_low_confidence_keeps_an_id(fps: float) -> None:
    """Five seconds, longer than anything out of sight is remembered."""
    assert len(ids_of(play([Walker(walk(200, 50), unless(1, 6, instead=0.08))], fps, 8), 0)) == 1


def test_low_confidence_alone_starts_no_track() -> None:
    assert ids_of(play([Walker(walk(200, 50), unless(0, 9, instead=0.2))], 5, 2), 0) == [NO_TRACK]


@RATES
@pytest.mark.parametrize("overlap", ["both seen", "rear one hidden", "rear one unsure"])
@pytest.mark.parametrize("apart", [15, 40])
def test_people_who_cross_do_not_swap_ids(fps: float, overlap: str, apart: float) -> None:
    """Towards each other from 700 pixels apart; they are less than a body's width apart from 2.0 to 2.4 s."""
    sure = {"both seen": unless(0, 0), "rear one hidden": unless(1.9, 2.5), "rear one unsure": unless(1.9, 2.5, 0.1)}
    front = Walker(walk(290, WALKING, foot=600 + apart))
    rear = Walker(walk(990, -WALKING, foot=600), sure[overlap])
    story = play([front, rear], fps, 4.4)
    assert len(ids_of(story, 0)) == 1 == len(ids_of(story, 1))
    assert ids_of(story, 0) != ids_of(story, 1)


@RATES
def test_who_overtakes_does_not_take_the_id(fps: float) -> None:
    story = play([Walker(walk(200, 80)), Walker(walk(100, 240, foot=640), unless(0, 0))], fps, 3)
    assert [len(ids_of(story, k)) for k in range(2)] == [1, 1]


@RATES
def test_a_row_of_people_keeps_its_ids_while_one_of_them_is_hidden(fps: float) -> None:
    row = [Walker(walk(300 + 80 * k, 20), unless(1, 2.5) if k == 2 else unless(0, 0)) for k in range(5)]
    story = play(row, fps, 5)
    assert [len(ids_of(story, k)) for k in range(5)] == [1] * 5
    assert len({ids_of(story, k)[0] for k in range(5)}) == 5


def test_legs_that_vanish_behind_a_barrier_do_not_change_the_id() -> None:
    def box(t: float) -> tuple[float, float, float, float]:
        x1, y1, x2, y2 = walk(300, 60)(t)
        return x1, y1, x2, y2 if t < 2 or t > 4 else y1 + 0.5 * (y2 - y1)

    assert len(ids_of(play([Walker(box)], 5, 6), 0)) == 1


def test_everyone_confident_has_an_id_of_their_own_at_once() -> None:
    out = Tracker(NAMES).update(seen(*[("person", upright(100 + 90 * k), 0.36) for k in range(12)]), 0.0)
    assert sorted(out.track_id.tolist()) == list(range(1, 13))


@pytest.mark.parametrize("name", NAMES)
def test_only_what_moves_by_itself_is_tracked(name: str) -> None:
    out = Tracker(NAMES).update(seen((name, upright(300), 0.9)), 0.0)
    assert (out.track_id[0] > 0) == (name in TRACKED)


def test_a_machine_does_not_take_over_a_persons_id() -> None:
    tracker = Tracker(NAMES)
    (person,) = tracker.update(seen(("person", upright(300), 0.9)), 0.0).track_id
    (machine,) = tracker.update(seen(("machinery", upright(300), 0.9)), 0.2).track_id
    (again,) = tracker.update(seen(("person", upright(300), 0.9)), 0.4).track_id
    assert person == again != machine


@pytest.mark.parametrize(
    ("later", "kept"),
    [(0.0, True), (0.2, True), (2.9, True), (3.1, False), (10.0, False), (-5.0, False)],
    ids=["same time", "next frame", "short gap", "longer gap", "camera stalled", "replay starts over"],
)
def test_time_that_jumps_ends_all_tracks(later: float, kept: bool) -> None:
    tracker = Tracker(NAMES)
    (first,) = tracker.update(seen(("person", upright(300), 0.9)), 50.0).track_id
    (second,) = tracker.update(seen(("person", upright(300), 0.9)), 50.0 + later).track_id
    assert (first == second) == kept
    assert kept or second > first


@pytest.mark.parametrize(
    ("second", "left"),
    [
        (("person", (102, 203, 171, 398), 0.6), 1),  # nearly the same box
        (("person", (100, 202, 170, 300), 0.6), 1),  # a bust and the whole of one person
        (("person", (100, 250, 170, 400), 0.6), 2),  # somebody sits in front: the head is elsewhere
        (("person", (140, 205, 210, 405), 0.6), 2),  # a neighbour
        (("machinery", (100, 200, 170, 400), 0.6), 2),  # not the same class
        (("helmet", (115, 200, 150, 226), 0.6), 2),
    ],
)
def test_what_is_seen_twice_is_one(second: tuple[str, tuple[float, float, float, float], float], left: int) -> None:
    out = Tracker(NAMES).update(seen(("person", (100, 200, 170, 400), 0.9), second), 0.0)
    assert len(out) == left
    assert out.confidence[0] == np.float32(0.9)


def test_memory_stays_small_whatever_comes() -> None:
    tracker, rng = Tracker(NAMES), np.random.default_rng(1)
    for n in range(150):
        corner = rng.uniform(0, 1200, (40, 2))
        boxes = np.hstack([corner, corner + rng.uniform(5, 300, (40, 2))])
        tracker.update(Detections.build(boxes, rng.uniform(0.3, 1, 40), rng.integers(0, 8, 40), NAMES), n / 30)
        assert len(tracker) <= 256 + 40
    tracker.update(Detections.empty(NAMES), 150 / 30 + 3.01)
    assert len(tracker) == 0


@pytest.mark.parametrize("mono", [math.nan, math.inf, -math.inf])
def test_a_time_that_is_no_number_is_refused(mono: float) -> None:
    with pytest.raises(ValueError, match="mono must be a finite number"):
        Tracker(NAMES).update(Detections.empty(NAMES), mono)


def test_detections_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match="this tracker is for classes"):
        Tracker(("person", "cone")).update(Detections.empty(NAMES), 0.0)


@pytest.mark.parametrize(("confidence", "memory_s"), [(-0.1, 3), (1.1, 3), (math.nan, 3), (0.3, 0), (0.3, math.inf)])
def test_settings_that_make_no_sense_are_refused(confidence: float, memory_s: float) -> None:
    with pytest.raises(ValueError, match="a tracker's"):
        Tracker(NAMES, confidence, memory_s)


def test_a_model_without_people_is_tracked_by_nobody() -> None:
    names = ("cone", "sign")
    out = Tracker(names).update(seen(("cone", upright(300), 0.9), names=names), 0.0)
    assert out.track_id.tolist() == [NO_TRACK]


FILMS = st.lists(st.tuples(st.floats(0, 2), any_detections()), max_size=6)


@settings(max_examples=60, deadline=None)
@given(film=FILMS, confidence=st.sampled_from([0.1, 0.35, 0.9]))
def test_any_film(film: list[tuple[float, Detections]], confidence: float) -> None:
    """Ids above 0 and different, for everything sure enough that can be tracked; no row out of nowhere."""
    tracker, mono = Tracker(NAMES, confidence), 0.0
    last_seen: dict[int, float] = {}
    for dt, frame in film:
        mono += dt
        out = tracker.update(frame, mono)
        rows = {(*box, sure, cls) for box, sure, cls in zip(*_columns(frame), strict=True)}
        assert {(*box, sure, cls) for box, sure, cls in zip(*_columns(out), strict=True)} <= rows
        ids = [int(i) for i in out.track_id if i != NO_TRACK]
        assert len(ids) == len(set(ids))
        assert all(i > 0 for i in ids)
        can = np.array([NAMES[c] in TRACKED for c in out.class_id], dtype=bool)
        assert (out.track_id[can & (out.confidence >= np.float32(confidence))] > 0).all()
        assert (out.track_id[~can] == NO_TRACK).all()
        new = max(last_seen, default=0)
        for i in ids:
            assert i > new or mono - last_seen[i] <= 3.0
        last_seen |= dict.fromkeys(ids, mono)


def _columns(detections: Detections) -> tuple[list[list[float]], list[float], list[int]]:
    return detections.xyxy.tolist(), detections.confidence.tolist(), detections.class_id.tolist()


@settings(max_examples=60, deadline=None)
@given(film=FILMS, seed=st.integers(0, 2**31))
def test_the_order_of_rows_does_not_matter(film: list[tuple[float, Detections]], seed: int) -> None:
    rng, mono = np.random.default_rng(seed), 0.0
    one, other = Tracker(NAMES), Tracker(NAMES)
    for dt, frame in film:
        mono += dt
        a, b = one.update(frame, mono), other.update(frame[rng.permutation(len(frame))], mono)
        for field in ("xyxy", "confidence", "class_id", "track_id"):
            assert np.array_equal(getattr(a, field), getattr(b, field))
