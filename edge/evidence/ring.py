"""The last seconds of each camera in memory: small JPEGs, some ten a second, and where heads were judged to be."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from edge.evidence.between import Look
from edge.evidence.jpeg import encode
from edge.values import Frame, Image

FPS: Final = 10.0
_STEP_S = 1.0 / FPS
_EARLY_S = 0.005  # a frame this much before its turn takes it: cameras do not keep time to the millisecond
_QUALITY = 85


@dataclass(frozen=True, slots=True, eq=False)
class Small:
    """One frame, scaled down and encoded. `scale`: its size as a share of the camera's."""

    mono: float
    jpeg: bytes
    width: int
    height: int
    scale: float

    def image(self) -> Image:
        """Decoded again, BGR."""
        return np.asarray(cv2.imdecode(np.frombuffer(self.jpeg, np.uint8), cv2.IMREAD_COLOR), dtype=np.uint8)


def shrink(frame: Frame, height: int) -> Small:
    """At most `height` pixels high, never enlarged; even sides, because H.264 halves the colour planes."""
    scale = min(1.0, height / frame.height)
    size = tuple(max(2, 2 * round(side * scale / 2)) for side in (frame.width, frame.height))
    image = frame.image
    if size != (frame.width, frame.height):
        # A third of the time of INTER_AREA in the reader's thread; at most 1 : 2.25 from a 1080p camera.
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    return Small(frame.stamp.mono, encode(image, _QUALITY), size[0], size[1], scale)


class Ring:
    """Frames and looks of one camera, oldest first, `span_s` seconds of them. Not thread-safe.

    touched: the clock's monotonic time of the last frame, which is not the frame's own in a replay.
    """

    def __init__(self, span_s: float, touched: float) -> None:
        self.touched = touched
        self.bytes = 0
        self._span_s = span_s
        self._due = float("-inf")
        self._frames: deque[Small] = deque()
        self._looks: deque[Look] = deque()

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def newest(self) -> float:
        """Time of the newest frame; minus infinity without any."""
        return self._frames[-1].mono if self._frames else float("-inf")

    @property
    def looked(self) -> float:
        """Time of the newest look."""
        return self._looks[-1].mono if self._looks else float("-inf")

    def takes(self, mono: float) -> bool:
        """Whether it is time for another frame."""
        return mono >= self._due - _EARLY_S

    def add(self, small: Small, max_bytes: int) -> None:
        """Time rises: a frame that is not newer than the last is left out. The oldest go, by age and by size."""
        if small.mono <= self.newest:
            return
        # On a grid, so that 15 frames a second give 10 and not 7.5; a new grid after a pause, so that none bunch up.
        due = self._due + _STEP_S
        self._due = due if due > small.mono else small.mono + _STEP_S
        self._frames.append(small)
        self.bytes += len(small.jpeg)
        while self._frames[0].mono < small.mono - self._span_s or (self.bytes > max_bytes and len(self._frames) > 1):
            self.bytes -= len(self._frames.popleft().jpeg)

    def add_look(self, look: Look) -> None:
        if look.mono <= self.looked:
            return
        self._looks.append(look)
        while self._looks[0].mono < look.mono - self._span_s:
            self._looks.popleft()

    def clear(self) -> None:
        """Forget all: the camera's time has begun anew."""
        self._frames.clear()
        self._looks.clear()
        self.bytes = 0
        self._due = float("-inf")

    def frames(self, start: float, end: float) -> tuple[Small, ...]:
        """Those of the time from `start` to `end`, both included."""
        kept = tuple(self._frames)
        return kept[bisect_left(kept, start, key=_mono) : bisect_right(kept, end, key=_mono)]

    def looks(self) -> tuple[Look, ...]:
        return tuple(self._looks)


def _mono(small: Small) -> float:
    return small.mono
