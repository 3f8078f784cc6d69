"""The worst mistakes: the surest detections that are wrong, and the largest objects that were not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from models.data.labels import CLASSES, DataError, Floats
from models.data.pictures import pixels_of
from models.eval.scores import OPERATING, Looked, matched

PER_CLASS = 4
"""Pictures of each kind and class."""
_SIDE = 240
_CONTEXT = 2.5  # shown around a box, in its longer side
_WRONG, _MISSED, _LABEL = (40, 40, 230), (0, 200, 255), (60, 200, 60)  # BGR
_LINE = 2
_QUALITY = 80


@dataclass(frozen=True, slots=True)
class Miss:
    """kind: `wrong` for a detection without an object, `missed` for an object without one. box: corners in pixels.

    confidence: of a wrong detection; of a missed object 0.
    """

    kind: Literal["wrong", "missed"]
    name: str
    looked: Looked
    box: Floats
    confidence: float


def worst(all_of_them: Sequence[Looked], knows: frozenset[str], per_class: int = PER_CLASS) -> list[Miss]:
    """Class by class, wrong ones first; of each kind at most `per_class`, one a photo."""
    found: list[Miss] = []
    for name in (c for c in CLASSES if c in knows):
        here = [one for one in all_of_them if name in one.photo.complete]
        wrong, missed = [], []
        for one in here:
            matches = matched(one, name)
            corners = one.pixels(one.of(name).boxes)
            mistaken = np.flatnonzero(~matches.right[0] & ~matches.left_out[0])
            if len(mistaken):
                surest = int(mistaken[0])
                wrong.append(Miss("wrong", name, one, corners[surest], float(matches.confidence[surest])))
            sure = matches.partner[(matches.confidence >= OPERATING) & (matches.partner >= 0)]
            labelled = one.pixels(one.photo.boxes.of(name))
            labelled = np.delete(labelled, sure, axis=0)
            if len(labelled):
                largest = labelled[(labelled[:, 2:] - labelled[:, :2]).prod(axis=1).argmax()]
                missed.append(Miss("missed", name, one, largest, 0.0))
        wrong.sort(key=lambda miss: -miss.confidence)
        missed.sort(key=lambda miss: -float((miss.box[2:] - miss.box[:2]).prod()))
        found += [m for m in wrong if m.confidence >= OPERATING][:per_class] + missed[:per_class]
    return found


def shown(miss: Miss) -> bytes:
    """JPEG of the surroundings. The mistake is red (wrong) or yellow (missed); labels of its class are green.

    Scaled first and drawn then, so that lines are as thick in all of them.
    """
    picture = pixels_of(miss.looked.photo.path)
    left, top, right, bottom = miss.box
    half = max(right - left, bottom - top, 24.0) * _CONTEXT / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    height, width = picture.shape[:2]
    corner = max(0, int(x - half)), max(0, int(y - half))
    part = picture[corner[1] : min(height, int(y + half) + 1), corner[0] : min(width, int(x + half) + 1)]
    factor = _SIDE / max(part.shape[:2])
    scaled = cv2.resize(
        part, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    )
    boxes = [(box, _LABEL) for box in miss.looked.pixels(miss.looked.photo.boxes.of(miss.name))]
    for box, colour in (*boxes, (miss.box, _WRONG if miss.kind == "wrong" else _MISSED)):
        x1, y1, x2, y2 = np.rint((box - np.tile(corner, 2)) * factor).astype(int).tolist()
        cv2.rectangle(scaled, (x1, y1), (x2, y2), colour, _LINE)
    done, data = cv2.imencode(".jpg", scaled, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise DataError(f"{miss.looked.photo.path}: a part of it cannot be written as JPEG")
    return data.tobytes()
