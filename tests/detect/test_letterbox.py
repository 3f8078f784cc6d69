"""Into the network's input and back."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.detect.letterbox import Letterbox, fit
from edge.detect.manifest import InputSize, Preprocessing
from tests.conftest import need

FREE = Preprocessing(resize="letterbox", free_shape=True, stride=32, padding=114, colour="RGB", scale=255)
SQUARE = FREE.model_copy(update={"free_shape": False})
SIZE = InputSize(width=416, height=416)

sides = st.integers(1, 4000)
rules = st.sampled_from([FREE, SQUARE])
sizes = st.builds(
    InputSize, width=st.integers(1, 40).map(lambda n: n * 32), height=st.integers(1, 40).map(lambda n: n * 32)
)


@given(sides, sides, sizes, rules)
def test_the_picture_fits(width: int, height: int, size: InputSize, how: Preprocessing) -> None:
    f = fit(width, height, size, how)
    assert f.width % how.stride == f.height % how.stride == 0
    assert 0 < f.width <= size.width
    assert 0 < f.height <= size.height
    assert 0 <= f.left <= f.left + f.inner_width <= f.width
    assert 0 <= f.top <= f.top + f.inner_height <= f.height
    assert f.inner_width == size.width or f.inner_height == size.height  # as large as it can be
    right, bottom = f.width - f.left - f.inner_width, f.height - f.top - f.inner_height
    assert right - f.left in {0, 1}  # centred, an odd pixel right and below
    assert bottom - f.top in {0, 1}
    if not how.free_shape:
        assert (f.width, f.height) == (size.width, size.height)


share = st.floats(0, 1, width=32)


@given(sides, sides, sizes, rules, st.lists(st.tuples(share, share, share, share), max_size=8))
def test_boxes_come_back_within_half_a_pixel(
    width: int, height: int, size: InputSize, how: Preprocessing, shares: list[tuple[float, float, float, float]]
) -> None:
    boxes = np.array(shares, np.float32).reshape(-1, 4) * np.array([width, height] * 2, np.float32)
    f = fit(width, height, size, how)
    there = f.to_input(boxes)
    inside = np.array([f.left, f.top] * 2), np.array([f.left + f.inner_width, f.top + f.inner_height] * 2)
    assert (there >= inside[0] - 0.01).all()
    assert (there <= inside[1] + 0.01).all()
    np.testing.assert_allclose(f.to_image(there), boxes, atol=0.5)


@given(sides, sides, sizes, rules)
def test_boxes_that_reach_into_the_padding_are_clipped(
    width: int, height: int, size: InputSize, how: Preprocessing
) -> None:
    f = fit(width, height, size, how)
    whole = f.to_image(np.array([[-50, -50, f.width + 50, f.height + 50]], np.float32))
    np.testing.assert_array_equal(whole, [[0, 0, width, height]])


@pytest.mark.parametrize(
    ("width", "height", "shape"),
    [
        (1920, 1080, (416, 256)),
        (1280, 720, (416, 256)),
        (640, 480, (416, 320)),
        (480, 640, (320, 416)),
        (9, 9, (416, 416)),
    ],
)
def test_a_camera_s_picture_costs_no_square(width: int, height: int, shape: tuple[int, int]) -> None:
    f = fit(width, height, SIZE, FREE)
    assert (f.width, f.height) == shape


def test_colours_and_padding_arrive_where_they_belong() -> None:
    image = np.zeros((416, 208, 3), np.uint8)
    image[:] = (255, 51, 0)  # blue, green, red
    blob, f = Letterbox(SIZE, SQUARE)(image)
    assert blob.shape == (1, 3, 416, 416)
    assert blob.dtype == np.float32
    np.testing.assert_allclose(blob[0, :, 200, 208], [0.0, 0.2, 1.0])
    np.testing.assert_allclose(blob[0, :, 200, [0, f.left - 1, f.left + 208, 415]], 114 / 255, rtol=1e-6)


def test_memory_is_used_again_and_nothing_is_left_over() -> None:
    letterbox = Letterbox(SIZE, FREE)
    bright, dark = np.full((90, 160, 3), 250, np.uint8), np.full((90, 160, 3), 3, np.uint8)
    first, _ = letterbox(bright)
    letterbox(np.full((160, 90, 3), 99, np.uint8))
    wanted = Letterbox(SIZE, FREE)(dark)[0].copy()
    again, _ = letterbox(dark)
    np.testing.assert_array_equal(again, wanted)
    third, _ = letterbox(bright)
    assert third is again
    np.testing.assert_array_equal(third, first)


@pytest.mark.parametrize("how", [FREE, SQUARE], ids=["free", "square"])
@pytest.mark.parametrize(
    ("width", "height"), [(1920, 1080), (722, 406), (480, 641), (416, 416), (416, 300), (33, 500), (1, 3000), (61, 47)]
)
def test_each_pixel_is_where_ultralytics_puts_it(width: int, height: int, how: Preprocessing) -> None:
    need(importlib.util.find_spec("ultralytics"), "ultralytics is not installed (make train-env)")
    os.environ.setdefault("YOLO_OFFLINE", "true")
    from ultralytics.data.augment import LetterBox  # noqa: PLC0415 - brings torch

    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    theirs = LetterBox((416, 416), auto=how.free_shape, stride=32)(image=image)
    ours, _ = Letterbox(SIZE, how)(image)
    wanted = theirs[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
    np.testing.assert_array_equal(ours, wanted)
