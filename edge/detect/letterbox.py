"""A picture of any size into the network's input and boxes back: pixel for pixel what ultralytics' `LetterBox` does."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge.detect.manifest import InputSize, Preprocessing
from edge.values import Floats, Image


@dataclass(frozen=True, slots=True)
class Fit:
    """Where a picture lies in the input, all in pixels.

    width, height: of the input. inner_width, inner_height: of the scaled picture. left, top: where it starts.
    image_width, image_height: of the picture as it came.
    """

    width: int
    height: int
    inner_width: int
    inner_height: int
    left: int
    top: int
    image_width: int
    image_height: int

    def to_input(self, boxes: Floats) -> Floats:
        """Boxes (n, 4) of the picture in pixels of the input."""
        return np.asarray(boxes * self._gain + self._shift, dtype=np.float32)

    def to_image(self, boxes: Floats) -> Floats:
        """Boxes (n, 4) of the input in pixels of the picture, clipped to it."""
        limit = np.array([self.image_width, self.image_height] * 2, dtype=np.float32)
        return np.asarray(np.clip((boxes - self._shift) / self._gain, 0, limit), dtype=np.float32)

    @property
    def _gain(self) -> Floats:
        # Each side is rounded to whole pixels by itself, so the two sides scale a little differently.
        x, y = self.inner_width / self.image_width, self.inner_height / self.image_height
        return np.array([x, y, x, y], dtype=np.float32)

    @property
    def _shift(self) -> Floats:
        return np.array([self.left, self.top] * 2, dtype=np.float32)


def fit(image_width: int, image_height: int, size: InputSize, how: Preprocessing) -> Fit:
    """How a picture is put into the input: scaled to fit, centred, each side at least one pixel."""
    ratio = min(size.height / image_height, size.width / image_width)
    inner_width, inner_height = max(round(image_width * ratio), 1), max(round(image_height * ratio), 1)
    spare_x, spare_y = size.width - inner_width, size.height - inner_height
    if how.free_shape:
        spare_x, spare_y = spare_x % how.stride, spare_y % how.stride
    return Fit(
        width=inner_width + spare_x,
        height=inner_height + spare_y,
        inner_width=inner_width,
        inner_height=inner_height,
        left=round(spare_x / 2 - 0.1),  # an odd spare pixel goes right and below
        top=round(spare_y / 2 - 0.1),
        image_width=image_width,
        image_height=image_height,
    )


class Letterbox:
    """Fills the network's input, over and over the same memory. Not for two threads at once."""

    def __init__(self, size: InputSize, how: Preprocessing) -> None:
        self._size = size
        self._how = how
        self._fit: Fit | None = None
        self._canvas: Image = np.empty((0, 0, 3), np.uint8)
        self._blob: Floats = np.empty((1, 3, 0, 0), np.float32)

    def __call__(self, image: Image) -> tuple[Floats, Fit]:
        """A BGR picture as (1, 3, height, width) float32 RGB 0..1, valid until the next call, and where it lies."""
        placed = fit(image.shape[1], image.shape[0], self._size, self._how)
        if placed != self._fit:  # only when a camera of another shape takes its turn
            self._fit = placed
            self._canvas = np.full((placed.height, placed.width, 3), self._how.padding, np.uint8)
            self._blob = np.empty((1, 3, placed.height, placed.width), np.float32)
        inner = self._canvas[
            placed.top : placed.top + placed.inner_height, placed.left : placed.left + placed.inner_width
        ]
        if inner.shape == image.shape:
            inner[:] = image
        else:
            inner[:] = cv2.resize(image, (placed.inner_width, placed.inner_height), interpolation=cv2.INTER_LINEAR)
        for channel, plane in enumerate(reversed(cv2.split(self._canvas))):
            np.divide(plane, np.float32(self._how.scale), out=self._blob[0, channel])
        return self._blob, placed
