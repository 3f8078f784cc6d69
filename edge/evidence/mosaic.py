"""Faces made unrecognisable: a few cells of mean colour, smooth between them, take the place of a region.

How few: people and trained networks still recognise faces of 16 cells across and more (Bachmann, "Identification of
Spatially Quantised Tachistoscopic Images of Faces", 1991; McPherson and others, "Defeating Image Obfuscation with Deep
Learning", 2016). Here a region has at most `CELLS`, and is a third wider than its face: six cells across a face.
Colours are rounded to `SHADES` a channel, so that the many pictures of a clip do not add up to one sharp one.

Smooth, not blocks: what is left is the same, but the hard edges of blocks disturb whoever judges the rest. A detector
found twice as many helmets again (`tests/bench/privacy.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edge.geometry import clip_box
from edge.values import Box, Image

CELLS = 8
SHADES = 32
MIN_CELL_PX = 4
"""Smaller cells would leave a small face as it is."""
_GROW = 0.1  # at the sides and below; above is the hat, which must stay judgeable
_STEP = 256 // SHADES


def pixelate(image: Image, boxes: Sequence[Box]) -> Image:
    """A copy in which nothing finer than a few cells is left of each region, slightly enlarged.

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
        region[:] = cv2.resize(means, (x2 - x1, y2 - y1), interpolation=cv2.INTER_CUBIC)
    return out


def scaled(box: Box, factor: float) -> Box:
    """The box in a picture that is `factor` times as large."""
    x1, y1, x2, y2 = box
    return x1 * factor, y1 * factor, x2 * factor, y2 * factor


def _grown(box: Box) -> Box:
    x1, y1, x2, y2 = box
    aside, down = _GROW * (x2 - x1), _GROW * (y2 - y1)
    return x1 - aside, y1, x2 + aside, y2 + down
