"""A slow pan and zoom over photos: a picture that moves where there is no camera. The same at every run."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge.capture.folder import pictures_in, read_picture
from edge.capture.source import Timing
from edge.site.model import PanSource
from edge.values import Image

ZOOM = 1.3  # at the middle of a photo; at its start and end the whole photo shows
REACH = 0.8  # share of the room that the zoom leaves which the pan uses
GREY = (114, 114, 114)  # beside a photo of another shape; what detectors are trained to see there


def window(share: float, photo: int, size: tuple[int, int], width: int, height: int) -> npt.NDArray[np.float64]:
    """The affine map (2, 3) from pixels of the photo to those of the frame.

    share: how much of the photo's time has passed, 0..1. photo: counts the photos; neighbours are panned differently.
    size: width and height of the photo.
    """
    whole = min(width / size[0], height / size[1])
    zoom = 1 + (ZOOM - 1) * (1 - math.cos(2 * math.pi * share)) / 2
    sway = REACH * math.sin(2 * math.pi * share) * (1 - 1 / zoom) / 2
    scale = whole * zoom
    # The photo's point that lies in the middle of the frame: off its own middle along one of four diagonals.
    x = size[0] * (0.5 + sway * (1, -1)[photo % 2])
    y = size[1] * (0.5 + sway * (1, -1)[photo // 2 % 2])
    return np.array([[scale, 0, width / 2 - scale * x], [0, scale, height / 2 - scale * y]])


class PhotoPan:
    """Photos of a folder one after the other, for ever."""

    timing = Timing.PACED

    def __init__(self, config: PanSource, base: Path) -> None:
        self._config = config
        self._folder = base / config.path
        self._photos: list[Path] = []
        self._shown = 0
        self._loaded: tuple[int, Image] | None = None

    def open(self) -> None:
        self._photos = pictures_in(self._folder)

    def advance(self) -> float:
        self._shown += 1
        return (self._shown - 1) / self._config.fps

    def picture(self) -> Image | None:
        number, passed = divmod((self._shown - 1) / self._config.fps, self._config.seconds)
        photo = self._photo(int(number))
        width, height = self._config.width, self._config.height
        size = (photo.shape[1], photo.shape[0])
        move = window(passed / self._config.seconds, int(number), size, width, height)
        return cv2.warpAffine(photo, move, (width, height), flags=cv2.INTER_LINEAR, borderValue=GREY)  # type: ignore[return-value]

    def _photo(self, number: int) -> Image:
        """The photo that is on; a large one is shrunk once, so that each frame costs the same."""
        if self._loaded is None or self._loaded[0] != number:
            photo = read_picture(self._photos[number % len(self._photos)])
            shrink = ZOOM * min(self._config.width / photo.shape[1], self._config.height / photo.shape[0])
            if shrink < 1:
                photo = cv2.resize(photo, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
            self._loaded = number, photo
        return self._loaded[1]

    def close(self) -> None:
        self._loaded = None
