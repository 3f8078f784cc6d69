"""A camera that films one worker walking past: noise where the face is, so that what is left of it can be measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge.clock import Clock, ManualClock, Stamp
from edge.evidence.heads import HeadRegion
from edge.evidence.recorder import Recorder
from edge.journal.journal import Journal
from edge.site.model import Evidence
from edge.values import Box, Frame, Image

WIDTH, HEIGHT = 640, 360
FACE = 48
SPEED = 60.0
"""Pixels a second to the right."""


@dataclass
class Film:
    """Frames `fps` times a second in media time from `start` on; the face begins at x = 40."""

    camera: str = "gate"
    start: float = 5_000.0
    fps: float = 10.0
    width: int = WIDTH
    height: int = HEIGHT
    noise: npt.NDArray[np.uint8] = field(
        default_factory=lambda: np.random.default_rng(7).integers(0, 2, (FACE, FACE, 1), np.uint8).repeat(3, 2) * 255
    )

    def stamp(self, second: float) -> Stamp:
        return Stamp(1_800_000_000.0 + second, self.start + second, "media", True)

    def face(self, second: float) -> Box:
        x = round(40 + SPEED * second)
        return float(x), 100.0, float(x + FACE), float(100 + FACE)

    def image(self, second: float) -> Image:
        image = np.full((self.height, self.width, 3), 120, np.uint8)
        x1, y1, x2, y2 = (int(v) for v in self.face(second))
        visible = image[y1:y2, x1:x2]
        visible[:] = self.noise[: visible.shape[0], : visible.shape[1]]
        return image

    def frame(self, second: float) -> Frame:
        return Frame(self.camera, 1 + round(second * self.fps), self.stamp(second), self.image(second))

    def heads(self, second: float, track: int = 3) -> tuple[HeadRegion, ...]:
        return (HeadRegion(self.face(second), track),)

    def seconds(self, start: float, end: float) -> Iterator[float]:
        return (n / self.fps for n in range(round(start * self.fps), round(end * self.fps) + 1))

    def run(self, recorder: Recorder, start: float, end: float, look_every: int = 2) -> None:
        """Show it to a recorder; every `look_every`-th frame is judged, 0 for none."""
        for second in self.seconds(start, end):
            frame = self.frame(second)
            recorder.offer(frame)
            if look_every and (frame.seq - 1) % look_every == 0:
                recorder.judged(frame, self.heads(second))


def sharpness(image: Image, box: Box) -> float:
    """How much detail of the noise is left in a box: mean step between neighbouring pixels, grey levels."""
    x1, y1, x2, y2 = (round(v) for v in box)
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[max(0, y1) : y2, max(0, x1) : x2].astype(np.float64)
    return float(np.abs(np.diff(grey, axis=1)).mean())


SHARP = 60.0
"""The noise as it is has some 127; scaled, encoded and decoded still more than this."""
HIDDEN = 12.0
"""What a mosaic and the artefacts of its compression have at most."""


def recorder(journal: Journal, folder: Path, clock: Clock | None = None, **settings: int | float) -> Recorder:
    """Not started. Clips of 2 s before and 1 s after."""
    chosen = {"clip_before_s": 2, "clip_after_s": 1, "clip_height": HEIGHT, **settings}
    return Recorder(Evidence.model_validate(chosen), journal, clock or ManualClock(), folder)
