"""From raw output to boxes, on outputs made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.detect.decode import MOST, anchors, decode
from edge.geometry import iou
from edge.values import Floats

STRIDES = (8, 16, 32)
SIZE = (128, 96)
COUNT = 16 * 12 + 8 * 6 + 4 * 3
CLASSES = 3
NEVER = -20.0  # as a logit


def logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def raw_of(*seen: tuple[int, tuple[float, float, float, float], tuple[float, ...]]) -> Floats:
    """Raw output where the given anchors say a box (pixels of the input) and a confidence a class."""
    centres, steps = anchors(*SIZE, STRIDES)
    raw = np.zeros((4 + CLASSES, COUNT), np.float32)
    raw[4:] = NEVER
    for row, (x1, y1, x2, y2), confidences in seen:
        cx, cy = centres[:, row]
        step = steps[row]
        raw[:4, row] = cx - x1 / step, cy - y1 / step, x2 / step - cx, y2 / step - cy
        raw[4:, row] = [logit(c) if c else NEVER for c in confidences]
    return raw


def test_anchors_run_from_fine_to_coarse_row_by_row() -> None:
    centres, steps = anchors(*SIZE, STRIDES)
    assert centres.shape == (2, COUNT)
    assert steps.tolist() == [8] * 192 + [16] * 48 + [32] * 12
    assert centres[:, [0, 1, 16, 192, -1]].T.tolist() == [[0.5, 0.5], [1.5, 0.5], [0.5, 1.5], [0.5, 0.5], [3.5, 2.5]]


corner = st.floats(-20, 150, width=32)
seen_boxes = st.lists(
    st.tuples(
        st.integers(0, COUNT - 1),
        st.tuples(corner, corner, corner, corner),
        st.tuples(*[st.floats(0.01, 0.99)] * CLASSES),
    ),
    max_size=30,
    unique_by=lambda s: s[0],
)


@given(seen_boxes, st.floats(0.02, 0.9))
def test_without_nms_every_class_above_the_floor_comes_back(
    seen: list[tuple[int, tuple[float, float, float, float], tuple[float, ...]]], floor: float
) -> None:
    said = [(box, c, share) for _, box, confidences in seen for c, share in enumerate(confidences)]
    wanted = [(box, c) for box, c, share in said if share > floor + 1e-4]  # float32 cannot tell closer to the floor
    boxes, confidence, class_id = decode(raw_of(*seen), SIZE, STRIDES, None, floor)
    assert len(wanted) <= len(boxes) <= sum(share > floor - 1e-4 for _, _, share in said)
    assert (np.diff(confidence) <= 0).all()
    for box, c in wanted:
        near = (np.abs(boxes - np.array(box, np.float32)).max(axis=1) < 1e-2) & (class_id == c)
        assert near.any()


@given(seen_boxes, st.floats(0.02, 0.9), st.floats(0.1, 0.9))
def test_nms_keeps_the_best_of_what_overlaps(
    seen: list[tuple[int, tuple[float, float, float, float], tuple[float, ...]]], floor: float, limit: float
) -> None:
    seen = [(a, (min(x, u), min(y, v), max(x, u) + 1, max(y, v) + 1), c) for a, (x, y, u, v), c in seen]
    boxes, confidence, class_id = decode(raw_of(*seen), SIZE, STRIDES, limit, floor)
    best = [(box, max(c), np.flatnonzero(np.array(c) > max(c) - 1e-4)) for _, box, c in seen]  # float32 knows no better
    overlap = np.where(class_id[:, None] == class_id, iou(boxes, boxes), 0) - np.eye(len(boxes))
    assert (overlap <= limit + 1e-3).all()  # no two of a class that overlap are left
    for box, share, c in best:  # and what is gone was below the floor or overlapped a better one
        if share < floor + 1e-4:
            continue
        same = np.isin(class_id, c)
        covered = iou(np.array([box], np.float32), boxes[same])[0] > limit - 1e-3
        assert (covered & (confidence[same] >= share - 1e-4)).any()


def test_nms_leaves_other_classes_alone() -> None:
    box = (10.0, 10.0, 60.0, 60.0)
    raw = raw_of((3, box, (0.9, 0, 0)), (4, box, (0.8, 0, 0)), (5, box, (0, 0.7, 0)))
    boxes, confidence, class_id = decode(raw, SIZE, STRIDES, 0.5, 0.3)
    assert class_id.tolist() == [0, 1]
    np.testing.assert_allclose(confidence, [0.9, 0.7], atol=1e-5)
    np.testing.assert_allclose(boxes, [box, box], atol=1e-3)


def test_with_nms_an_anchor_is_of_its_best_class_only() -> None:
    raw = raw_of((7, (0, 0, 50, 50), (0.6, 0.9, 0.7)))
    assert decode(raw, SIZE, STRIDES, 0.7, 0.3)[2].tolist() == [1]
    assert decode(raw, SIZE, STRIDES, None, 0.3)[2].tolist() == [1, 2, 0]


@pytest.mark.parametrize("nms", [None, 0.7])
def test_nothing_seen(nms: float | None) -> None:
    boxes, confidence, class_id = decode(raw_of(), SIZE, STRIDES, nms, 0.1)
    assert boxes.shape == (0, 4)
    assert confidence.shape == class_id.shape == (0,)


@pytest.mark.parametrize("nms", [None, 0.7])
def test_no_more_than_the_most_confident(nms: float | None) -> None:
    count = len(anchors(416, 416, STRIDES)[1])
    raw = np.full((4 + CLASSES, count), 0.01, np.float32)  # boxes so small that none overlaps another
    raw[4:] = np.random.default_rng(1).normal(0, 1, (CLASSES, count))
    confidence = decode(raw, (416, 416), STRIDES, nms, 0.0)[1]
    asked = raw[4:] if nms is None else raw[4:].max(axis=0)
    best = np.sort(1 / (1 + np.exp(-asked)), axis=None)[::-1][:MOST]
    np.testing.assert_allclose(confidence, best, rtol=1e-5)
