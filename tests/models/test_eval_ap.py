"""Average precision by COCO's definition: worked examples, and what must hold whatever is seen."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.eval.ap import MOST, THRESHOLDS, Matches, Pool, match
from tests.conftest import need

Box = tuple[float, float, float, float]

A: Box = (0, 0, 100, 100)
B: Box = (200, 0, 300, 100)
SHIFTED: Box = (20, 0, 120, 100)  # overlaps A by 80 / 120
LOOSE: Box = (40, 0, 140, 100)  # by 60 / 140


def one(
    seen: list[tuple[Box, float]],
    labelled: list[Box],
    *,
    ignored: list[bool] | None = None,
    crowd: list[Box] | None = None,
) -> Matches:
    return match(
        np.array([box for box, _ in seen], float).reshape(-1, 4),
        np.array([confidence for _, confidence in seen], float),
        np.array(labelled, float).reshape(-1, 4),
        ignored=None if ignored is None else np.array(ignored, bool),
        crowd=None if crowd is None else np.array(crowd, float).reshape(-1, 4),
    )


def ap50(*photos: Matches) -> float | None:
    found = Pool(photos).precision()
    return None if found is None else float(found[0])


@pytest.mark.parametrize(
    ("seen", "labelled", "wanted"),
    [
        pytest.param([(A, 0.9)], [A], 1.0, id="found"),
        pytest.param([], [A], 0.0, id="nothing seen"),
        pytest.param([(B, 0.9)], [A], 0.0, id="only something else seen"),
        pytest.param([(A, 0.9)], [], None, id="nothing to be found"),
        pytest.param([(SHIFTED, 0.9)], [A], 1.0, id="overlaps enough"),
        pytest.param([(LOOSE, 0.9)], [A], 0.0, id="overlaps too little"),
        pytest.param([(B, 0.9), (A, 0.8)], [A], 0.5, id="a surer mistake halves it"),
        pytest.param([(A, 0.9), (B, 0.8)], [A], 1.0, id="a less sure mistake costs nothing"),
        pytest.param([(A, 0.9), (A, 0.8)], [A], 1.0, id="the second box on one object is wrong, but comes later"),
        pytest.param([(A, 0.9)], [A, B], 51 / 101, id="half of them: recalls 0.00 to 0.50"),
        pytest.param([(A, 0.9), (A, 0.8), (B, 0.7)], [A, B], (51 + 50 * 2 / 3) / 101, id="right, wrong, right"),
        pytest.param([(SHIFTED, 0.9), (A, 0.8)], [A], 1.0, id="the surer one takes it, though the other fits better"),
    ],
)
def test_of_one_photo(seen: list[tuple[Box, float]], labelled: list[Box], wanted: float | None) -> None:
    got = ap50(one(seen, labelled))
    assert got == (None if wanted is None else pytest.approx(wanted, abs=1e-9))


def test_the_overlap_that_is_asked_for_rises() -> None:
    found = Pool([one([(SHIFTED, 0.9)], [A])]).precision()
    assert found is not None
    assert found.tolist() == [float(least <= 80 / 120) for least in THRESHOLDS]
    assert THRESHOLDS.tolist() == pytest.approx([0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95])


@pytest.mark.parametrize(
    ("matches", "right", "wrong"),
    [
        pytest.param(one([(A, 0.9), (B, 0.8)], [A], crowd=[B]), 1, 0, id="in a region that is ignored"),
        pytest.param(one([(A, 0.9)], [A], crowd=[A]), 1, 0, id="a labelled object goes before a region"),
        pytest.param(one([(A, 0.9)], [A], ignored=[True]), 0, 0, id="an object that does not count"),
        pytest.param(one([(A, 0.9)], [A, SHIFTED], ignored=[True, False]), 1, 0, id="one that counts goes first"),
        pytest.param(one([(A, 0.9), (A, 0.8)], [A], ignored=[True]), 0, 1, id="ignored once only"),
    ],
)
def test_what_does_not_count(matches: Matches, right: int, wrong: int) -> None:
    assert Pool([matches]).at(0.5) == (right, wrong)


def test_detections_of_another_size_are_no_mistakes() -> None:
    seen, confidence = np.array([A, B], float), np.array([0.8, 0.9])
    alone = match(seen, confidence, np.array([A], float), aside=np.array([False, True]))
    assert Pool([alone]).at(0.5) == (1, 0)


def test_only_the_surest_hundred_count() -> None:
    many = one([(B, 0.9)] * MOST + [(A, 0.1)], [A])
    assert ap50(many) == 0.0
    assert len(many.confidence) == MOST


def test_confidences_are_compared_over_all_photos() -> None:
    found, invented = one([(A, 0.5)], [A]), one([(B, 0.9)], [])
    assert ap50(found) == 1.0
    assert ap50(found, invented) == 0.5


def test_a_photo_that_counts_twice_is_two_photos() -> None:
    first, second = one([(A, 0.5)], [A, B]), one([(B, 0.9), (A, 0.4)], [A])
    twice = Pool([first, second]).precision(np.array([2.0, 1.0]))
    assert twice is not None
    written_out = Pool([first, first, second]).precision()
    assert written_out is not None
    assert twice.tolist() == pytest.approx(written_out.tolist())
    assert Pool([first, second]).precision(np.zeros(2)) is None


boxes = st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(8, 60)] * 2).map(
    lambda b: (float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3]))
)
seen_boxes = st.lists(st.tuples(boxes, st.integers(1, 99).map(lambda n: n / 100)), max_size=8)


@given(seen_boxes, st.lists(boxes, max_size=6))
def test_always(seen: list[tuple[Box, float]], labelled: list[Box]) -> None:
    found = Pool([one(seen, labelled)]).precision()
    if not labelled:
        assert found is None
        return
    assert found is not None
    assert ((found >= 0) & (found <= 1)).all()
    right, wrong = Pool([one(seen, labelled)]).at(0.0)
    assert right <= len(labelled)
    assert right + wrong == len(seen)
    perfect = Pool([one([*((box, 1.0) for box in labelled), *seen], labelled)]).precision()
    assert perfect is not None
    assert (perfect == 1).all()  # whoever sees all of it first


def test_agrees_with_ultralytics() -> None:
    need(importlib.util.find_spec("ultralytics"), "ultralytics is not installed (make train-env)")
    from ultralytics.utils.metrics import ap_per_class  # noqa: PLC0415 - brings torch

    dice = np.random.default_rng(1)
    photos = []
    for _ in range(60):
        corners = dice.uniform(0, 400, (5, 2))
        labelled = np.concatenate((corners, corners + dice.uniform(20, 120, (5, 2))), axis=1)
        seen = np.concatenate((labelled[:4] + dice.normal(0, 8, (4, 4)), labelled[:2] + 300))
        photos.append(match(seen, dice.random(len(seen)), labelled))
    pool = Pool(photos)
    total = pool.labelled
    theirs = ap_per_class(pool.right.T, pool.confidence, np.zeros(len(pool.confidence)), np.zeros(total))[5][0]
    ours = pool.precision()
    assert ours is not None
    # They interpolate between recalls where COCO takes the next one, so they are equal only nearly.
    assert np.abs(ours - theirs).max() < 0.01
