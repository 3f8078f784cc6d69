"""Which faces are hidden, and which hats stay in sight."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.evidence.heads import HeadRegion, heads_of
from edge.geometry import area, as_array, intersection
from edge.track import Tracker, persons
from edge.values import NO_TRACK, Box, Detections, WearState
from tests.track.builders import HEIGHT, NAMES, WIDTH, Row, any_detections, at, hat, seen, upright

JUDGED = 0.35
BODY = upright(400)
HAT = hat(BODY)
FACE: Box = (388, 424, 412, 446)  # under that hat


def regions(*rows: Row) -> tuple[HeadRegion, ...]:
    return of(seen(*rows))


def of(detections: Detections) -> tuple[HeadRegion, ...]:
    tracked = Tracker(NAMES).update(detections, 0.0)
    judged = tracked[tracked.confidence >= np.float32(JUDGED)]
    return heads_of(tracked, persons(judged, WIDTH, HEIGHT), WIDTH, HEIGHT)


def covered(box: Box, found: tuple[HeadRegion, ...]) -> float:
    """Share of a box that lies in some region, on a grid of half pixels."""
    xs, ys = np.meshgrid(np.arange(box[0], box[2], 0.5) + 0.25, np.arange(box[1], box[3], 0.5) + 0.25)
    hidden = np.zeros(xs.shape, dtype=np.bool_)
    for x1, y1, x2, y2 in (r.box for r in found):
        hidden |= (xs >= x1) & (xs < x2) & (ys >= y1) & (ys < y2)
    return float(hidden.mean())


@pytest.mark.parametrize(
    ("what", "rows"),
    [
        ("hat and body", [("person", BODY, 0.9), ("helmet", HAT, 0.8)]),
        ("hat without a body", [("helmet", HAT, 0.8)]),
        ("hat hardly seen", [("helmet", HAT, 0.06)]),
        ("bare head", [("person", BODY, 0.9), ("no_helmet", HAT, 0.8)]),
        ("bare head hardly seen", [("no_helmet", HAT, 0.06)]),
        ("body alone", [("person", BODY, 0.9)]),
        ("body hardly seen", [("person", BODY, 0.06)]),
        ("hat in the hand", [("person", BODY, 0.9), ("helmet", at(BODY, 0.9, 0.5, 35), 0.8)]),
        ("two claims on one head", [("person", BODY, 0.9), ("helmet", HAT, 0.6), ("no_helmet", HAT, 0.5)]),
        ("box around the whole head", [("helmet", at(BODY, 0.5, 0.0, 35, 43), 0.8)]),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_the_face_is_hidden(what: str, rows: list[Row]) -> None:
    assert covered(FACE, regions(*rows)) > 0.95


@pytest.mark.parametrize(
    "rows",
    [
        [("person", BODY, 0.9), ("helmet", HAT, 0.8)],
        [("helmet", HAT, 0.8)],
        [("person", BODY, 0.9), ("helmet", HAT, 0.8), ("no_helmet", HAT, 0.3)],
        [
            ("person", BODY, 0.9),
            ("helmet", HAT, 0.8),
            ("person", upright(415, 650), 0.1),
        ],  # a body hardly seen beside it
        [("person", BODY, 0.9), ("helmet", HAT, 0.8), ("person", upright(400, 580), 0.9)],  # somebody right behind
        [("person", BODY, 0.9), ("helmet", HAT, 0.8), ("helmet", hat(upright(410, 575)), 0.1)],
    ],
    ids=["with a body", "alone", "doubted", "stray body", "somebody behind", "stray hat above"],
)
def test_a_hat_that_was_seen_stays_in_sight(rows: list[Row]) -> None:
    x1, y1, x2, _ = HAT
    crown = x1 + 4, y1, x2 - 4, y1 + 0.5 * (x2 - x1)
    assert covered(crown, regions(*rows)) == 0


def test_the_hair_of_a_bare_head_stays_in_sight() -> None:
    x1, y1, x2, _ = HAT
    assert covered((x1, y1, x2, y1 + 0.35 * (x2 - x1)), regions(("person", BODY, 0.9), ("no_helmet", HAT, 0.8))) == 0


def test_a_hat_that_is_rather_a_bare_head_hides_no_face() -> None:
    rows: list[Row] = [("person", BODY, 0.9), ("helmet", HAT, 0.4), ("no_helmet", HAT, 0.8)]
    x1, y1, x2, y2 = HAT
    assert covered((x1, y1 + 0.45 * (x2 - x1), x2, y2), regions(*rows)) == 1


def test_a_region_follows_the_body_that_wears_the_hat() -> None:
    left, right = upright(300), upright(600)
    rows: list[Row] = [("person", b, 0.9) for b in (left, right)]
    tracked = Tracker(NAMES).update(seen(*rows, ("helmet", hat(right), 0.8), ("no_helmet", hat(left), 0.1)), 0.0)
    track = {tracked.box(n): int(tracked.track_id[n]) for n in range(len(tracked))}
    found = heads_of(tracked, persons(tracked, WIDTH, HEIGHT), WIDTH, HEIGHT)
    centres = {r.track: (r.box[0] + r.box[2]) / 2 for r in found}
    assert centres == {
        track[tracked.box(n)]: pytest.approx((tracked.xyxy[n, 0] + tracked.xyxy[n, 2]) / 2, abs=1)
        for n in range(len(tracked))
        if NAMES[tracked.class_id[n]] == "person"
    }


def test_a_face_seen_three_times_is_hidden_once() -> None:
    rows: list[Row] = [("person", BODY, 0.9), ("helmet", HAT, 0.8), ("no_helmet", HAT, 0.1)]
    assert len(regions(*rows)) == 1


def test_what_has_no_face_is_left_alone() -> None:
    assert regions(*[(name, BODY, 0.9) for name in ("vest", "no_vest", "cone", "machinery", "vehicle")]) == ()


def test_most_of_a_body_stays_in_sight() -> None:
    assert covered(BODY, regions(("person", BODY, 0.9))) < 0.35


@settings(max_examples=100, deadline=None)
@given(frame=any_detections(), seed=st.integers(0, 2**31))
def test_any_frame(frame: Detections, seed: int) -> None:
    """Regions lie in the frame, no track twice, crowns of worn hats are free, and the order of rows does not matter."""
    tracked = Tracker(NAMES).update(frame, 0.0)
    people = persons(tracked[tracked.confidence >= np.float32(JUDGED)], WIDTH, HEIGHT)
    found = heads_of(tracked, people, WIDTH, HEIGHT)
    shuffled = tracked[np.random.default_rng(seed).permutation(len(tracked))]
    assert set(heads_of(shuffled, people[::-1], WIDTH, HEIGHT)) == set(found)
    for x1, y1, x2, y2 in (r.box for r in found):
        assert 0 <= x1 < x2 <= WIDTH
        assert 0 <= y1 < y2 <= HEIGHT
    tracks = [r.track for r in found if r.track != NO_TRACK]
    assert len(tracks) == len(set(tracks))
    worn = [p.helmet.box for p in people if p.helmet.state is WearState.ON and p.helmet.box is not None]
    if worn and found:
        hats = as_array(worn)
        wide = hats[:, 2] - hats[:, 0]
        hats[:, 0] += 0.11 * wide
        hats[:, 2] -= 0.11 * wide
        hats[:, 3] = np.minimum(hats[:, 3], hats[:, 1] + 0.54 * wide)
        hidden = intersection(hats, as_array([r.box for r in found]))
        assert (hidden <= 1e-3 * np.maximum(area(hats)[:, None], 1)).all()
