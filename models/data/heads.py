"""One meaning of `helmet` and `no_helmet`, whatever a source meant by them.

* `helmet` is the hat alone, worn, carried or lying about; whether it is on a head is for the node's rule to judge.
* `no_helmet` is the whole bare head, hair to chin.

Sources differ. `rf100_cs` and the `css` sets draw a helmet as the hat and a bare head as its upper part, where the hat
would be; `hhw` draws the whole head with face for both. So the helmets of `hhw` are cut to the hat, and the bare heads
of the others drawn down to the chin.

The shares below are medians over pairs of boxes of the same head in both conventions. On training photos of `hhw` the
hat or upper head as drawn by a detector that had learnt the other convention only (`site-v0`): 261 helmets, 189 bare
heads of at least 14 pixels. Quartiles in brackets. Seven photos that are in both `hhw` and `rf100_cs` agree (the hat
from 0.07 to 0.65, 10 hats).
"""

from __future__ import annotations

import numpy as np

from models.data.labels import CLASS_ID, Boxes

HAT_TOP = 0.02
"""Where the hat begins in a box around head and hat, from its top, in its height (-0.005 to 0.054)."""

HAT_BOTTOM = 0.65
"""And where it ends (0.61 to 0.75). Its sides are those of the head (medians 0.004 and 0.001 widths off)."""

HEAD_HEIGHT = 1.22
"""Height of a whole bare head in its widths: 1 / 0.82, the median of 5268 heads of `hhw` (0.75 to 0.89). The width is
taken because it is the same in both conventions (0.015 and -0.014 widths off), while the lower edge of an upper head is
drawn anywhere between brow and mouth (width : height 1.02 to 1.84, first to last tenth)."""


def hats(boxes: Boxes) -> Boxes:
    """Helmet boxes that hold the whole head, cut to the hat. Other classes stay as they are."""
    corners = boxes.xyxy
    helmets = boxes.classes == CLASS_ID["helmet"]
    top, height = corners[:, 1].copy(), corners[:, 3] - corners[:, 1]
    corners[helmets, 1] = (top + HAT_TOP * height)[helmets]
    corners[helmets, 3] = (top + HAT_BOTTOM * height)[helmets]
    return Boxes.of_xyxy(boxes.classes, corners)


def whole_heads(boxes: Boxes, aspect: float) -> Boxes:
    """Bare heads drawn from the hair to the brow, drawn down to the chin. Other classes stay as they are.

    A head never ends below its person: where the chin is hidden, or cut off by the edge of a ready-made mosaic, the
    person's box says so. aspect: width of the photo in its heights.
    """
    corners = boxes.xyxy
    people = corners[boxes.classes == CLASS_ID["person"]]
    for row in np.flatnonzero(boxes.classes == CLASS_ID["no_helmet"]):
        left, top, right, bottom = corners[row]
        chin = top + HEAD_HEIGHT * (right - left) * aspect
        middle = (left + right) / 2
        around = people[(people[:, 0] <= middle) & (middle <= people[:, 2])]
        around = around[(around[:, 1] <= (top + bottom) / 2) & (bottom <= around[:, 3] + 0.02)]
        limit = float(around[:, 3].max()) if len(around) else 1.0
        corners[row, 3] = max(bottom, min(chin, limit))
    return Boxes.of_xyxy(boxes.classes, corners)
