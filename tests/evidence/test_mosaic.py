"""What a mosaic leaves, and what it leaves alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.evidence.mosaic import CELLS, MIN_CELL_PX, pixelate
from edge.values import Box, Image

NOISE: Image = np.random.default_rng(1).integers(0, 256, (240, 320, 3), np.uint8)

anywhere = st.floats(-500, 900, allow_nan=False)
boxes = st.tuples(anywhere, anywhere, anywhere, anywhere)


def colours(image: Image) -> int:
    return len(np.unique(image.reshape(-1, 3), axis=0))


@pytest.mark.parametrize("size", [1, 3, 8, 12, 20, 37, 64, 200])
@pytest.mark.parametrize("aspect", [0.5, 1.0, 2.0])
def test_a_region_of_any_size_keeps_at_most_a_few_colours(size: int, aspect: float) -> None:
    box = (30.3, 20.7, 30.3 + size * aspect, 20.7 + size)
    out = pixelate(NOISE, [box])
    x1, y1, x2, y2 = math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])
    left = colours(out[y1:y2, x1:x2])
    assert left <= CELLS**2
    assert left <= max(1, math.ceil(size * aspect * 1.3 / MIN_CELL_PX) * math.ceil(size * 1.3 / MIN_CELL_PX))


@given(boxes)
def test_the_picture_outside_the_region_and_the_original_stay_as_they_are(box: Box) -> None:
    before = NOISE.copy()
    out = pixelate(NOISE, [box])
    assert np.array_equal(NOISE, before)
    assert out.shape == NOISE.shape
    x1, y1, x2, y2 = box
    grow_x, grow_y = 0.1 * max(0, x2 - x1) + 1, 0.1 * max(0, y2 - y1) + 1
    rows, columns = np.mgrid[0:240, 0:320]
    far = (columns < x1 - grow_x) | (columns > x2 + grow_x) | (rows < y1 - grow_y) | (rows > y2 + grow_y)
    assert np.array_equal(out[far], NOISE[far])
    if x2 <= x1 or y2 <= y1:
        assert np.array_equal(out, NOISE)


@given(st.lists(boxes, max_size=6))
def test_each_row_of_each_region_is_a_few_runs_of_one_colour(many: list[Box]) -> None:
    out = pixelate(NOISE, many)
    for x1, y1, x2, y2 in many:
        inside = out[max(0, math.floor(y1)) : max(0, math.ceil(y2)), max(0, math.floor(x1)) : max(0, math.ceil(x2))]
        if inside.size and x2 > x1 and y2 > y1:
            # Where regions overlap, each edge of another one may cut a run in two.
            steps = (np.diff(inside.astype(int), axis=1) != 0).any(axis=2).sum(axis=1)
            assert steps.max(initial=0) < CELLS * (1 + 2 * len(many))


def test_a_face_at_the_edge_of_the_frame_is_hidden_up_to_the_edge() -> None:
    out = pixelate(NOISE, [(-40, -30, 25, 25)])
    assert colours(out[:25, :25]) <= CELLS**2


def test_the_copy_of_a_picture_without_faces_is_equal_but_its_own() -> None:
    out = pixelate(NOISE, [])
    assert np.array_equal(out, NOISE)
    assert not np.shares_memory(out, NOISE)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_box_that_is_not_finite_is_named(bad: float) -> None:
    with pytest.raises(ValueError, match="four finite numbers"):
        pixelate(NOISE, [(0, 0, bad, 10)])
