"""How many labelled faces the shipped detector leaves clear. The whole set and the tables: tests/bench/privacy.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.detect import Detector, load_detector
from edge.values import WearState
from tests.bench.privacy import Judged, Measured, face_and_hat, hidden_mask, measure, photos, share_of, unchanged
from tests.detect.shipped import SHIPPED

pytestmark = pytest.mark.timeout(600)  # some five hundred looks
PHOTOS = 120
TARGET = 0.02


@pytest.fixture(scope="module")
def detector() -> Iterator[Detector]:
    loaded = load_detector(SHIPPED, "onnx", 2)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def measured(detector: Detector, shared: Path) -> Measured:
    # Of the val split: the test split is for the final number only, and the rest was trained on.
    return measure(Judged(detector), photos(shared / "data", "val", PHOTOS))


def test_the_sample_means_something(measured: Measured) -> None:
    assert sum(f.width >= 12 for f in measured.faces) > 400
    assert len(measured.hats) > 150


def test_few_faces_are_left_clear(measured: Measured) -> None:
    assert measured.left_clear() <= TARGET


def test_the_rest_of_the_picture_stays(measured: Measured) -> None:
    assert np.mean(measured.pixelated) < 0.25


def test_hats_stay_in_sight(measured: Measured) -> None:
    assert measured.hats_in_sight() >= 0.6


def test_no_helmet_becomes_a_bare_head_and_no_bare_head_a_helmet(measured: Measured) -> None:
    """What cannot be judged any more is unknown; it is never judged the other way."""
    on = sum(n for (before, _), n in measured.verdicts.items() if before == WearState.ON)
    off = sum(n for (before, _), n in measured.verdicts.items() if before == WearState.OFF)
    assert measured.verdicts[WearState.ON, WearState.OFF] / on <= 0.02
    assert measured.verdicts[WearState.OFF, WearState.ON] / off <= 0.02


def test_many_helmets_are_judged_the_same(measured: Measured) -> None:
    assert unchanged(measured.noise, WearState.ON) > 0.9  # the measure itself holds
    assert unchanged(measured.verdicts, WearState.ON) >= 0.45


def test_the_measure_tells_hidden_from_clear() -> None:
    head = (100.0, 50.0, 140.0, 100.0)
    face, hat = face_and_hat("helmet", head)
    assert share_of(hidden_mask(320, 240, [face]), face) == pytest.approx(1, abs=0.02)
    assert share_of(hidden_mask(320, 240, [face]), hat) == 0
    assert share_of(hidden_mask(320, 240, []), face) == 0
    assert share_of(hidden_mask(320, 240, [face]), (400, 300, 420, 320)) is None
