"""The rules about what people wear, on real footage through the shipped detector, against what the eye sees."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from edge.clock import ManualClock
from edge.detect import Detector, load_closer, load_detector
from edge.line import TRACK_FLOOR
from edge.rules import RULES, Place
from edge.track import Tracker, persons
from edge.values import WHOLE_PICTURE, Scene, Verdict
from tests.conftest import need
from tests.detect.shipped import SHIPPED
from tests.rules.builders import judge

LOOKS_A_SECOND = 2.5
CONFIDENCE = np.float32(0.35)
OK, BAD = Verdict.OK, Verdict.VIOLATION


@pytest.fixture(scope="module")
def detector() -> Iterator[Detector]:
    model = load_detector(SHIPPED, "onnx", threads=1)
    yield model
    model.close()


def scenes(clip: Path, detector: Detector) -> Iterator[Scene]:
    """The looks of a clip, `LOOKS_A_SECOND` of them."""
    clock, tracker, closer = ManualClock(), Tracker(detector.names), load_closer(SHIPPED, detector.runtime)
    with av.open(str(clip)) as video:
        rate = video.streams.video[0].average_rate
        assert rate is not None
        step = round(float(rate) / LOOKS_A_SECOND)
        for frame in islice(video.decode(video=0), 0, None, step):
            stamp = clock.advance(1 / LOOKS_A_SECOND)
            image = np.ascontiguousarray(frame.to_ndarray(format="bgr24"), dtype=np.uint8)
            height, width = image.shape[:2]
            seen = tracker.update(detector.detect(image, TRACK_FLOOR), stamp.mono)
            sure = seen.confidence >= CONFIDENCE
            judged = seen[sure]
            closely = {part: partial(look, image) for part, look in closer.items()}
            people = persons(judged, width, height, hints=seen[~sure], closely=closely)
            yield Scene("gate", stamp, width, height, judged, people, brightness=float(image.mean()) / 255)


@pytest.mark.parametrize(
    ("clip", "left_vest", "right_vest"),
    [
        ("ppe-1", OK, OK),
        ("ppe-2", OK, BAD),  # a dark blue shirt
        ("worker-zone-fixed-camera", OK, OK),
    ],
)
def test_all_wear_helmets_and_one_wears_no_vest(
    clip: str, left_vest: Verdict, right_vest: Verdict, shared: Path, detector: Detector
) -> None:
    file = shared / "data" / "clips" / f"{clip}.mp4"
    need(file.is_file(), f"clip not found: {file}")
    place = Place(WHOLE_PICTURE)
    looks = 0
    for seen in scenes(file, detector):
        for judgement in judge(RULES["helmet"], seen, place):
            assert judgement.verdict is OK
        for judgement in judge(RULES["hi_vis"], seen, place):
            assert judgement.box is not None
            on_the_left = judgement.box[0] + judgement.box[2] < seen.width
            assert judgement.verdict is (left_vest if on_the_left else right_vest)
            looks += 1
    assert looks >= 10
