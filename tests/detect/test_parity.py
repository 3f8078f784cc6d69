"""Each runtime sees what `ultralytics` sees: overlap >= 0.95 and confidence within 0.02 for every box above 0.3.

A box just above 0.3 on one side may be just below on the other, so its partner is looked for from 0.28 up
(`edge.detect.parity.compare`).
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.detect import Detector, load_detector
from edge.detect.parity import MAX_CONFIDENCE_GAP, MIN_IOU, SAME, THRESHOLD, Parity, compare, total
from edge.values import Detections
from tests.conftest import need
from tests.detect.conftest import EXPORTED, Photos
from tests.detect.shipped import CHECKPOINT, SHIPPED

pytestmark = pytest.mark.timeout(900)  # ultralytics itself looks at more than a hundred photos
NAMES = ("person", "helmet")
Row = tuple[float, float, float, float, float, int]


@pytest.fixture(scope="module")
def some_photos(photos: Photos, proof: bool) -> Photos:
    """Every photo in a full-size run, else every fifth: all sources, wide and high ones."""
    some = photos if proof else photos.every(5)
    shapes = {image.shape for _, image in some.images()}
    assert len(some.files) >= 100
    assert len({file.parent.parent for file in some.files}) >= 6
    assert any(h > w for h, w, _ in shapes)
    assert any(h < w for h, w, _ in shapes)
    return some


@pytest.fixture(scope="module")
def reference(some_photos: Photos) -> dict[Path, Detections]:
    """What `YOLO.predict` itself says of the `.pt`, once for all runtimes."""
    need(importlib.util.find_spec("ultralytics"), "ultralytics is not installed (make train-env)")
    detector = load_detector(CHECKPOINT, "ultralytics", 2)
    seen = {file: detector.detect(image, floor=0.2) for file, image in some_photos.images()}
    detector.close()
    return seen


@pytest.fixture(params=EXPORTED)
def detector(request: pytest.FixtureRequest) -> Iterator[Detector]:
    runtime = request.param
    package = {"onnx": "onnxruntime"}.get(runtime, runtime)
    need(importlib.util.find_spec(package), f"{package} is not installed")
    # One thread: torch is in this process, and its OpenMP, loaded first, would let NCNN's threads spin against others.
    detector = load_detector(SHIPPED, runtime, 1)
    yield detector
    detector.close()


def test_sees_what_ultralytics_sees(detector: Detector, reference: dict[Path, Detections], some_photos: Photos) -> None:
    per_photo = {file: compare(reference[file], detector.detect(image)) for file, image in some_photos.images()}
    worst = {file.stem: parity for file, parity in per_photo.items() if not parity.holds}
    assert not worst
    whole = total(per_photo.values())
    print(f"{detector.runtime}: {len(per_photo)} photos, {whole}")
    assert whole.pairs > 5 * len(per_photo) // 2  # not because nothing was seen
    seen = Counter(int(c) for d in reference.values() for c in d.class_id[d.confidence > THRESHOLD])
    assert set(seen) == set(range(len(detector.names)))  # every class took part


def test_ultralytics_reads_a_bare_pt(reference: dict[Path, Detections]) -> None:
    detector = load_detector(CHECKPOINT, "auto", 1)
    assert detector.runtime == "ultralytics"
    exported = load_detector(SHIPPED, "onnx", 1)
    assert detector.names == exported.names == next(iter(reference.values())).names
    assert detector.manifest.input == exported.manifest.input
    assert detector.manifest.output == exported.manifest.output
    assert detector.manifest.preprocessing == exported.manifest.preprocessing


def boxes(*rows: Row) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections.build(table[:, :4], table[:, 4], table[:, 5], NAMES)


A: Row = (10, 10, 110, 210, 0.8, 0)


@pytest.mark.parametrize(
    ("a", "b", "wanted", "holds"),
    [
        pytest.param([], [], SAME, True, id="nothing in either"),
        pytest.param([A], [A], Parity(1, 1.0, 0.0, 0), True, id="the same"),
        pytest.param([A], [], Parity(0, 1.0, 0.0, 1), False, id="lost"),
        pytest.param([], [A], Parity(0, 1.0, 0.0, 1), False, id="invented"),
        pytest.param([A], [(*A[:5], 1)], Parity(0, 1.0, 0.0, 2), False, id="of another class"),
        pytest.param([A], [(10, 10, 110, 190, 0.8, 0)], Parity(1, 0.9, 0.0, 0), False, id="shorter"),
        pytest.param([A], [(*A[:4], 0.77, 0)], Parity(1, 1.0, 0.03, 0), False, id="less sure"),
        pytest.param([A], [(*A[:4], 0.785, 0)], Parity(1, 1.0, 0.015, 0), True, id="a little less sure"),
        pytest.param(
            [(*A[:4], 0.305, 0)], [(*A[:4], 0.295, 0)], Parity(1, 1.0, 0.01, 0), True, id="about the threshold"
        ),
        pytest.param([(*A[:4], 0.305, 0)], [(*A[:4], 0.27, 0)], Parity(0, 1.0, 0.0, 1), False, id="far below it"),
        pytest.param([(*A[:4], 0.29, 0)], [], SAME, True, id="below it on one side only"),
        pytest.param([(*A[:4], 0.29, 0)], [(*A[:4], 0.289, 0)], SAME, True, id="below it on both"),
        pytest.param([A, A], [A], Parity(1, 1.0, 0.0, 1), False, id="one box is no partner for two"),
    ],
)
def test_parity_is(a: list[Row], b: list[Row], wanted: Parity, holds: bool) -> None:
    got = compare(boxes(*a), boxes(*b))
    assert (got.pairs, got.missing) == (wanted.pairs, wanted.missing)
    assert (got.worst_iou, got.worst_gap) == pytest.approx((wanted.worst_iou, wanted.worst_gap), abs=1e-5)
    assert got.holds is holds


def test_parity_of_crowds_pairs_the_nearest() -> None:
    crowd = [(x, 0.0, x + 40.0, 100.0, 0.5, 0) for x in range(0, 400, 10)]
    assert compare(boxes(*crowd), boxes(*reversed(crowd))) == Parity(len(crowd), 1.0, 0.0, 0)


def test_parity_of_different_models_is_an_error() -> None:
    with pytest.raises(ValueError, match="different models"):
        compare(boxes(A), Detections.empty(("cone",)))


def test_the_limits_are_those_that_were_promised() -> None:
    assert (MIN_IOU, MAX_CONFIDENCE_GAP, THRESHOLD) == (0.95, 0.02, 0.3)
