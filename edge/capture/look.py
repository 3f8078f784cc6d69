"""What a camera's picture is like, at a glance: too dark, without structure, one that was seen before.

Looks at two small samples of the picture, half a millisecond for 720p; the limits were set on site photos, drives and
made covers (`tests/capture/test_look.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2

from edge.values import Image

# All levels are those of an 8-bit picture, 0..255. The second value holds once the condition holds (hysteresis).
DARK_LUMA = (18.0, 26.0)  # mean below, and
DARK_SPREAD = (8.0, 12.0)  # standard deviation below: a night scene with one lamp in it is not dark
COVERED_STRUCTURE = (30.0, 45.0)  # variance of the Laplacian below: no edge anywhere (site photos: 340 and more)

_THUMB = (64, 36)  # averaging so many pixels into one leaves structure, and none of the noise
_GRID = (64, 36)  # single pixels, as they came, with their noise


@dataclass(frozen=True)
class Look:
    """luma: mean. spread: standard deviation. structure: variance of the Laplacian, of the averaged picture.

    fingerprint: of single pixels. Noise sees to it that no sensor gives the same ones twice; even behind an encoder
    that smooths noise away they are new with each key frame.
    """

    luma: float
    spread: float
    structure: float
    fingerprint: int

    @classmethod
    def of(cls, image: Image) -> Look:
        """image: (height, width, 3) uint8, BGR."""
        height, width = image.shape[:2]
        enough = image[:: max(1, height // 360)]  # averaging all rows of a large picture takes long and adds nothing
        thumb = cv2.cvtColor(cv2.resize(enough, _THUMB, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
        rows, columns = max(1, height // _GRID[1]), max(1, width // _GRID[0])
        grid = image[rows // 2 :: rows, columns // 2 :: columns, 1]
        return cls(
            luma=float(thumb.mean()),
            spread=float(thumb.std()),
            structure=float(cv2.Laplacian(thumb, cv2.CV_32F).var()),
            fingerprint=hash((grid.shape, grid.tobytes())),
        )

    def dark(self, already: bool) -> bool:
        return self.luma < DARK_LUMA[already] and self.spread < DARK_SPREAD[already]

    def covered(self, already: bool) -> bool:
        return self.structure < COVERED_STRUCTURE[already]
