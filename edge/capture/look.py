"""What a camera's picture is like, at a glance: too dark, without structure, the same as before.

Looks at two small samples of the picture, half a millisecond for 720p; the limits were set on site photos,
drives and made covers (`tests/capture/test_look.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from edge.values import Image

# All levels are those of an 8-bit picture, 0..255. The second value holds once the condition holds (hysteresis).
DARK_LUMA = (18.0, 26.0)  # mean below, and
DARK_SPREAD = (8.0, 12.0)  # standard deviation below: a night scene with one lamp in it is not dark
COVERED_STRUCTURE = (30.0, 45.0)  # variance of the Laplacian below: no edge anywhere (site photos: 280 and more)
# A frozen picture still differs a little where it is encoded anew at each key frame; a sensor's noise moves single
# pixels by more, and everything that moves does.
SAME_MEAN = 0.6
SAME_MOST = 16

_THUMB = (80, 45)  # averaging so many pixels into one leaves structure, and none of the noise
_GRID = (64, 36)  # single pixels, as they came, with their noise


@dataclass(frozen=True, eq=False)
class Look:
    """thumb: (45, 80) uint8, luma, averaged. grid: about (36, 64) uint8, single pixels of the green channel."""

    thumb: npt.NDArray[np.uint8]
    grid: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, image: Image) -> Look:
        height, width = image.shape[:2]
        small = cv2.resize(image[::2], _THUMB, interpolation=cv2.INTER_AREA)  # every other row: half the time
        rows, columns = max(1, height // _GRID[1]), max(1, width // _GRID[0])
        return cls(
            thumb=np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8),
            grid=image[rows // 2 :: rows, columns // 2 :: columns, 1].copy(),
        )

    @cached_property
    def luma(self) -> float:
        return float(self.thumb.mean())

    @cached_property
    def spread(self) -> float:
        return float(self.thumb.std())

    @cached_property
    def structure(self) -> float:
        return float(cv2.Laplacian(self.thumb, cv2.CV_32F).var())

    def dark(self, already: bool) -> bool:
        return self.luma < DARK_LUMA[already] and self.spread < DARK_SPREAD[already]

    def covered(self, already: bool) -> bool:
        return self.structure < COVERED_STRUCTURE[already]

    def same(self, other: Look) -> bool:
        """Whether both show the very same picture, key frames of a video encoder forgiven."""
        if self.grid.shape != other.grid.shape:
            return False
        moved = cv2.absdiff(self.grid, other.grid)
        return float(moved.mean()) < SAME_MEAN and int(moved.max()) < SAME_MOST
