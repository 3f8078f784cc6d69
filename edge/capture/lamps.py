"""Brightness of declared lamps at camera rate: blinking is too fast for the few frames that are judged."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from edge.geometry import clip_box, to_pixels
from edge.site.model import LampFixture
from edge.values import Image, LampSamples

WINDOW_S = 10.0
_BRIGHTEST = 10  # the core is the mean of one in so many pixels
_GLOW = 0.25  # of the region's size: so far around it belongs to neither core nor surround
_RING = 1.0  # of the region's size: so wide is the surround
_MIN_RING_PX = 4


class _Region:
    """Where one lamp is in pictures of one size."""

    def __init__(self, lamp: LampFixture, width: int, height: int) -> None:
        corners = to_pixels(lamp.polygon, width, height)
        low, high = corners.min(axis=0), corners.max(axis=0)
        size = float((high - low).max())
        glow = max(1, round(_GLOW * size))
        reach = glow + max(_MIN_RING_PX, round(_RING * size))
        box = (low[0] - reach, low[1] - reach, high[0] + reach, high[1] + reach)
        self._x1, self._y1, self._x2, self._y2 = clip_box(box, width, height)
        core = np.zeros((self._y2 - self._y1, self._x2 - self._x1), np.uint8)
        inside = np.rint(corners - np.array([self._x1, self._y1], np.float32)).astype(np.int32)
        cv2.fillPoly(core, [inside], 1)
        near = cv2.dilate(core, np.ones((2 * glow + 1, 2 * glow + 1), np.uint8))
        self._core = core.astype(bool)
        # A region that fills the whole picture has no surround but itself: it shows no contrast, thus never as lit.
        self._surround = near == 0 if (near == 0).any() else self._core

    def measure(self, image: Image) -> tuple[float, float]:
        """Core and surround, 0..1. A pixel is as bright as its strongest colour, so that red counts as white does."""
        crop = image[self._y1 : self._y2, self._x1 : self._x2]
        value = np.maximum(np.maximum(crop[..., 0], crop[..., 1]), crop[..., 2])
        core = value[self._core]
        top = max(1, core.size // _BRIGHTEST)
        brightest: npt.NDArray[np.uint8] = np.partition(core, core.size - top)[-top:]
        return float(brightest.mean()) / 255, float(np.median(value[self._surround])) / 255


class LampSampler:
    """The newest samples of all lamps of one camera. For one thread; a new one for each opening of the camera."""

    def __init__(self, lamps: Sequence[LampFixture], seconds: float = WINDOW_S) -> None:
        self._lamps = tuple(lamps)
        self._seconds = seconds
        self._size = (0, 0)
        self._regions: list[_Region] = []
        self._rows: deque[tuple[float, list[tuple[float, float]]]] = deque()

    def __bool__(self) -> bool:
        """Whether there is any lamp to sample."""
        return bool(self._lamps)

    def sample(self, image: Image, mono: float) -> None:
        """Add one picture; a picture that is not later than the one before adds nothing."""
        if self._rows and mono <= self._rows[-1][0]:
            return
        size = (image.shape[1], image.shape[0])
        if size != self._size:
            self._size = size
            self._regions = [_Region(lamp, *size) for lamp in self._lamps]
        self._rows.append((mono, [region.measure(image) for region in self._regions]))
        while self._rows[0][0] < mono - self._seconds:
            self._rows.popleft()

    def samples(self) -> tuple[LampSamples, ...]:
        """One value a lamp, in the order of the lamps."""
        if not self._rows:
            return ()
        mono = np.array([row[0] for row in self._rows], np.float64)
        levels = np.array([row[1] for row in self._rows], np.float32)
        return tuple(LampSamples(lamp.id, mono, levels[:, i, 0], levels[:, i, 1]) for i, lamp in enumerate(self._lamps))
