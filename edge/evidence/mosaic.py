"""Faces made unrecognisable: a few cells of mean colour, smooth between them, take the place of a region.

How few: people and trained networks still recognise faces of 16 cells across and more (Bachmann, "Identification of
Spatially Quantised Tachistoscopic Images of Faces", 1991; McPherson and others, "Defeating Image Obfuscation with Deep
Learning", 2016). Here a region has at most `CELLS`, and is 1.4 times as wide as its head: less than six across a face.
Colours are rounded to `SHADES` a channel, so that the many pictures of a clip do not add up to one sharp one.

Smooth, not blocks: what is left is the same, but the hard edges of blocks disturb whoever judges the rest. With smooth
ones and eight cells a detector found two and a half times as many helmets again as with blocks and four.
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
_STEP = 256 // SHADES


def pixelate(image: Image, boxes: Sequence[Box]) -> Image:
    """A copy in which nothing finer than a few cells is left of each region.

    Enlarges nothing: whoever names the regions knows where a hat is that must stay in sight.
    image: (height, width, 3) uint8; not written to. boxes: pixels of `image`; parts outside of it are cut off, boxes
    without area do nothing. Raises ValueError for a box that is not finite: nobody would know what it was to hide.
    """
    out = image.copy()
    height, width = out.shape[:2]
    for box in boxes:
        if not np.isfinite(box).all():
            raise ValueError(f"a region to pixelate must be four finite numbers, got {box}")
        x1, y1, x2, y2 = clip_box(box, width, height)
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
