"""Boxes that show one thing twice. Detectors without non-maximum suppression leave some."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge.geometry import area, intersection
from edge.values import Detections, Floats

BODY_IOU = 0.75
"""Two boxes of one class that overlap more are one body. Labelled pairs of people above it: 0 of 2433 people in
`rf100_cs`; of 2815 in `css_v28` 18 overlap by more than 0.7, most of them one person labelled twice."""

PART_IOU = 0.5
"""The same for helmets, heads and vests: 2 labelled pairs of 4262 boxes in `rf100_cs`, 3 of 3792 in `css_v28`."""

_PARTS = ("helmet", "no_helmet", "vest", "no_vest")


def canonical(detections: Detections) -> Detections:
    """The same rows in an order that depends on what they say alone: most confident first."""
    x1, y1, x2, y2 = detections.xyxy.T
    keys = (detections.track_id, y2, x2, y1, x1, detections.class_id, -detections.confidence)
    return detections[np.lexsort(keys)]


def distinct(detections: Detections) -> Detections:
    """Without the less confident of two boxes that show one thing; the rest in `canonical` order."""
    ordered = canonical(detections)
    if len(ordered) < 2:
        return ordered
    surer, other = np.nonzero(np.triu(_same_thing(ordered), 1))
    if not len(surer):
        return ordered
    keep = np.ones(len(ordered), dtype=np.bool_)
    for row, again in zip(surer.tolist(), other.tolist(), strict=True):  # by rising row: a dropped box drops no other
        keep[again] &= not keep[row]
    return ordered[keep]


def _same_thing(detections: Detections) -> npt.NDArray[np.bool_]:
    """(n, n): same class, and so much in common that there is but one thing."""
    boxes = detections.xyxy
    areas = area(boxes)
    shared = intersection(boxes, boxes)
    overlap = shared / np.maximum(areas[:, None] + areas[None, :] - shared, 1e-9)
    limit = np.array([PART_IOU if name in _PARTS else BODY_IOU for name in detections.names], dtype=np.float32)
    person = np.array([name == "person" for name in detections.names], dtype=np.bool_)[detections.class_id]
    same = overlap > limit[detections.class_id][:, None]
    same |= person[:, None] & _one_head(boxes, shared / np.maximum(np.minimum(areas[:, None], areas[None, :]), 1e-9))
    return np.asarray(same & (detections.class_id[:, None] == detections.class_id[None, :]))


def _one_head(boxes: Floats, contained: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """(n, n): one box is the upper part of the other: a bust and a whole body of one person."""
    width = boxes[:, 2] - boxes[:, 0]
    centre = (boxes[:, 0] + boxes[:, 2]) / 2
    narrow = np.minimum(width[:, None], width[None, :])
    wide = np.maximum(width[:, None], width[None, :])
    beside = np.abs(centre[:, None] - centre[None, :])
    below = np.abs(boxes[:, None, 1] - boxes[None, :, 1])
    return np.asarray(
        (contained > 0.9) & (beside < 0.2 * narrow) & (below < 0.15 * narrow) & (narrow > 0.6 * wide), dtype=np.bool_
    )
