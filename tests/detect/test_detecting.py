"""From a picture to boxes in its pixels, with the real network."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest

from edge.detect import Detector, load_detector
from edge.detect.decode import MOST
from edge.detect.parity import compare
from edge.detect.speed import measure
from edge.values import Image
from tests.detect.conftest import Photos
from tests.detect.shipped import SHIPPED


def black(height: int, width: int) -> Image:
    return np.zeros((height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def crowd(photos: Photos) -> Image:
    """A held-out photo with many people."""
    return next(image for file, image in photos.images() if file.stem == "hhw_05914")


@pytest.mark.parametrize(
    ("image", "text"),
    [
        pytest.param(black(4, 4).astype(np.float32), "uint8 array, got float32", id="float"),
        pytest.param([[0]], "uint8 array, got list", id="list"),
        pytest.param(None, "uint8 array, got NoneType", id="what a failed read gives"),
        pytest.param(np.zeros((4, 4), np.uint8), r"got \(4, 4\)", id="grey"),
        pytest.param(np.zeros((4, 4, 4), np.uint8), r"got \(4, 4, 4\)", id="with alpha"),
        pytest.param(np.zeros((1, 4, 4, 3), np.uint8), r"got \(1, 4, 4, 3\)", id="batch"),
        pytest.param(black(0, 4), r"not empty, got \(0, 4, 3\)", id="empty"),
        pytest.param(black(8, 8)[:, ::-1], "one piece in memory", id="flipped view"),
        pytest.param(black(8, 8)[:, 2:6], "one piece in memory", id="cropped view"),
    ],
)
def test_what_is_no_picture(onnx: Detector, image: Image, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        onnx.detect(image)


@pytest.mark.parametrize("floor", [-0.1, 1.0, float("nan")])
def test_what_is_no_floor(onnx: Detector, floor: float) -> None:
    with pytest.raises(ValueError, match="floor must lie"):
        onnx.detect(black(8, 8), floor)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (7, 5), (416, 416), (2160, 3840), (719, 1279)])
def test_any_shape_of_picture(onnx: Detector, shape: tuple[int, int]) -> None:
    assert len(onnx.detect(black(*shape), floor=0.5)) == 0


def test_boxes_lie_in_the_picture_and_fall_in_confidence(onnx: Detector, crowd: Image) -> None:
    height, width, _ = crowd.shape
    cut = np.ascontiguousarray(crowd[:, : width // 2])  # people at the edge reach out of the picture
    for image in (crowd, cut):
        found = onnx.detect(image, floor=0.05)
        x1, y1, x2, y2 = found.xyxy.T
        assert len(found) > 10
        assert (x1 >= 0).all()
        assert (y1 >= 0).all()
        assert (x2 <= image.shape[1]).all()
        assert (y2 <= height).all()
        assert (x1 < x2).all()
        assert (y1 < y2).all()
        assert (np.diff(found.confidence) <= 0).all()
        assert (found.confidence > 0.05).all()


def test_a_lower_floor_only_adds(onnx: Detector, crowd: Image) -> None:
    low, high = onnx.detect(crowd, floor=0.05), onnx.detect(crowd, floor=0.4)
    assert 0 < len(high) < len(low)
    np.testing.assert_array_equal(low[low.confidence > 0.4].xyxy, high.xyxy)
    assert len(onnx.detect(crowd, floor=0.0)) <= MOST


def test_cameras_that_take_turns_do_not_disturb_each_other(onnx: Detector, photos: Photos) -> None:
    mixed = [image for _, image in photos.every(60).images()]
    alone = [load_detector(SHIPPED, "onnx", 1).detect(image) for image in mixed[:3]]
    for _ in range(2):
        for image, wanted in zip(mixed[:3], alone, strict=True):
            assert compare(onnx.detect(image), wanted).holds


def test_the_picture_is_not_written_to(onnx: Detector, crowd: Image) -> None:
    frozen = crowd.copy()
    frozen.flags.writeable = False
    assert len(onnx.detect(frozen)) > 10
    np.testing.assert_array_equal(frozen, crowd)


def test_speed_is_measured_on_the_clock_that_is_given(onnx: Detector) -> None:
    ticks = count(step=0.010)
    speed = measure(onnx, [black(48, 64)], seconds=0.5, clock=lambda: next(ticks))
    # Three looks at the clock a picture: is there time, start, end.
    assert speed.frames == 17
    assert speed.ms_p50 == pytest.approx(10.0)
    assert speed.ms_p95 == pytest.approx(10.0)
    assert 50 < speed.rss_mb < 5000


def test_speed_looks_at_every_picture_once(onnx: Detector) -> None:
    assert measure(onnx, [black(48, 64)] * 3, seconds=0.0).frames == 3
    with pytest.raises(ValueError, match="at least one picture"):
        measure(onnx, [], seconds=1.0)
