"""Faces made unrecognisable: the mean colours of a few large cells take the place of a region. What is gone is gone.

Mosaics of 16 x 16 cells and more have been read by trained networks (McPherson, Shokri, Shmatikov, "Defeating Image
Obfuscation with Deep Learning", 2016), blurring even more so; and in a clip a face crosses the cells many times. Hence
at most `CELLS` x `CELLS` for a whole region, and colours rounded to `SHADES` levels a channel, so that the many
pictures of a clip do not add up to one sharp one.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edge.geometry import clip_box
from edge.values import Box, Image

CELLS = 4
SHADES = 32
MIN_CELL_PX = 6
"""Smaller cells would leave a small face as it is."""
_GROW_SIDE = 0.10
_GROW_UP = 0.04  # less: above a region is the hat, which must stay judgeable
_STEP = 256 // SHADES


def pixelate(image: Image, boxes: Sequence[Box]) -> Image:
    """A copy with each region, slightly enlarged, turned into a coarse mosaic.

    image: (height, width, 3) uint8; not written to. boxes: pixels of `image`; parts outside of it are cut off, boxes
    without area do nothing. Raises ValueError for a box that is not finite: nobody would know what it was to hide.
    """
    out = image.copy()
    height, width = out.shape[:2]
    for box in boxes:
        if not np.isfinite(box).all():
            raise ValueError(f"a region to pixelate must be four finite numbers, got {box}")
        x1, y1, x2, y2 = clip_box(_grown(box), width, height)
        if box[2] <= box[0] or box[3] <= box[1] or x2 <= x1 or y2 <= y1:
            continue
        region = out[y1:y2, x1:x2]
        cell = max(MIN_CELL_PX, max(x2 - x1, y2 - y1) / CELLS)
        across, down = max(1, int((x2 - x1) / cell)), max(1, int((y2 - y1) / cell))
        means = cv2.resize(region, (across, down), interpolation=cv2.INTER_AREA)
        means = means // _STEP * _STEP + _STEP // 2
        region[:] = cv2.resize(means, (x2 - x1, y2 - y1), interpolation=cv2.INTER_NEAREST)
    return out


def scaled(box: Box, factor: float) -> Box:
    """The box in a picture that is `factor` times as large."""
    x1, y1, x2, y2 = box
    return x1 * factor, y1 * factor, x2 * factor, y2 * factor


def _grown(box: Box) -> Box:
    x1, y1, x2, y2 = box
    side_x, side_y = _GROW_SIDE * (x2 - x1), _GROW_SIDE * (y2 - y1)
    return x1 - side_x, y1 - _GROW_UP * (y2 - y1), x2 + side_x, y2 + side_y
