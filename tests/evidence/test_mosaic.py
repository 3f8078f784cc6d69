"""What a mosaic leaves, and what it leaves alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.evidence.mosaic import CELLS, pixelate
from edge.values import Box, Image

NOISE: Image = np.random.default_rng(1).integers(0, 256, (240, 320, 3), np.uint8)

anywhere = st.floats(-500, 900, allow_nan=False)
boxes = st.tuples(anywhere, anywhere, anywhere, anywhere)


def detail(image: Image) -> float:
    """Mean step between neighbouring pixels, grey levels; some 85 in noise."""
    values = image.astype(np.float64)
    steps = [np.abs(np.diff(values, axis=axis)).ravel() for axis in (0, 1)]
    return float(np.concatenate(steps).mean())


@pytest.mark.parametrize("size", [8, 12, 20, 37, 64, 200])
@pytest.mark.parametrize("aspect", [0.5, 1.0, 1.5])
def test_of_a_region_of_any_size_next_to_nothing_is_left(size: int, aspect: float) -> None:
    x1, y1, x2, y2 = box = (20, 10, 20 + round(size * aspect), 10 + size)
    assert detail(NOISE[y1:y2, x1:x2]) > 70
    assert detail(pixelate(NOISE, [box])[y1:y2, x1:x2]) < 15


def test_only_the_mean_of_each_cell_is_left() -> None:
    """Whatever is moved about within the cells, the picture that is stored is the same."""
    size = 10 * CELLS
    image = NOISE[:size, :size]
    cells = image.reshape(CELLS, 10, CELLS, 10, 3).transpose(0, 2, 1, 3, 4).reshape(CELLS, CELLS, 100, 3)
    moved = np.random.default_rng(2).permuted(cells, axis=2)
    shuffled = moved.reshape(CELLS, CELLS, 10, 10, 3).transpose(0, 2, 1, 3, 4).reshape(size, size, 3)
    everything = [(0.0, 0.0, float(size), float(size))]
    assert not np.array_equal(shuffled, image)
    assert np.array_equal(pixelate(np.ascontiguousarray(shuffled), everything), pixelate(image, everything))


@settings(deadline=None, max_examples=60)
@given(boxes)
def test_the_picture_outside_the_region_and_the_original_stay_as_they_are(box: Box) -> None:
    before = NOISE.copy()
    out = pixelate(NOISE, [box])
    assert np.array_equal(NOISE, before)
    assert out.shape == NOISE.shape
    x1, y1, x2, y2 = box
    rows, columns = np.mgrid[0:240, 0:320]
    far = (columns < x1 - 1) | (columns > x2) | (rows < y1 - 1) | (rows > y2)
    assert np.array_equal(out[far], NOISE[far])
    if x2 <= x1 or y2 <= y1:
        assert np.array_equal(out, NOISE)


@settings(deadline=None, max_examples=60)
@given(st.lists(boxes, max_size=6))
def test_no_region_keeps_its_detail_whatever_overlaps_it(many: list[Box]) -> None:
    out = pixelate(NOISE, many)
    for x1, y1, x2, y2 in many:
        inside = out[max(0, math.floor(y1)) : max(0, math.ceil(y2)), max(0, math.floor(x1)) : max(0, math.ceil(x2))]
        if x2 > x1 and y2 > y1 and min(inside.shape[:2]) >= 8:
            assert detail(inside) < 25


def test_a_face_at_the_edge_of_the_frame_is_hidden_up_to_the_edge() -> None:
    assert detail(pixelate(NOISE, [(-40, -30, 25, 25)])[:25, :25]) < 15


def test_the_copy_of_a_picture_without_faces_is_equal_but_its_own() -> None:
    out = pixelate(NOISE, [])
    assert np.array_equal(out, NOISE)
    assert not np.shares_memory(out, NOISE)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_box_that_is_not_finite_is_named(bad: float) -> None:
    with pytest.raises(ValueError, match="four finite numbers"):
        pixelate(NOISE, [(0, 0, bad, 10)])
