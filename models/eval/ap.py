"""Matching and average precision as COCO defines them (Lin and others, 2014; `cocoeval.py`), for one class at a time.

Detections of a photo, most confident first and the best `MOST` of them, each take the free labelled box that they
overlap most, if they overlap it enough. Objects that are not to be counted (`ignored`) are taken only where no other
fits, and who takes one counts neither as right nor as wrong; the same goes for who lies in a region that is ignored
(`crowd`). Average precision is the mean of the precision at 101 recalls, where precision is made to fall only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.data.labels import Floats, overlap

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Overlaps that mAP50-95 is the mean over; the first is that of mAP50."""
MOST = 100
"""Detections of a class and photo that count; COCO's maxDets."""
_RECALLS = np.linspace(0.0, 1.0, 101)

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Matches:
    """One class on one photo, t thresholds, n detections, m labelled boxes.

    confidence: (n,), falling. right, left_out: (t, n), whether the detection took a box that counts; whether it counts
    as neither. taken: (t, m). partner: (n,), of the box that was taken at the first threshold, -1 for none.
    counted: how many labelled boxes are to be found.
    """

    confidence: Floats
    right: Flags
    left_out: Flags
    taken: Flags
    partner: NDArray[np.int64]
    counted: int


def match(
    seen: Floats,
    confidence: Floats,
    labelled: Floats,
    *,
    ignored: Flags | None = None,
    crowd: Floats | None = None,
    aside: Flags | None = None,
    thresholds: Floats = THRESHOLDS,
) -> Matches:
    """Give detections (n, 4) to labelled boxes (m, 4), corners.

    ignored: (m,), labelled boxes that are not to be counted. crowd: (k, 4), regions in which a wrong detection counts
    as none. aside: (n,), detections that do not count where they take nothing: of another size than is asked for.
    """
    order = np.argsort(-confidence, kind="stable")[:MOST]
    seen, confidence = seen[order], confidence[order]
    n, m, t = len(seen), len(labelled), len(thresholds)
    ignored = np.zeros(m, bool) if ignored is None else ignored
    ious = overlap(seen, labelled)
    right, left_out, taken = np.zeros((t, n), bool), np.zeros((t, n), bool), np.zeros((t, m), bool)
    partner = np.full(n, -1, np.int64)
    for level, least in enumerate(thresholds):
        for d in range(n):
            for some in (~ignored, ignored):
                free = np.flatnonzero(some & ~taken[level])
                if len(free) and ious[d, free].max() >= least:
                    box = free[ious[d, free].argmax()]
                    taken[level, box] = True
                    right[level, d], left_out[level, d] = not ignored[box], ignored[box]
                    if level == 0:
                        partner[d] = box
                    break
        alone = ~right[level] & ~left_out[level]
        if crowd is not None and len(crowd):
            left_out[level] |= alone & (_covered(seen, crowd) >= least)
        if aside is not None:
            left_out[level] |= alone & aside[order]
    return Matches(confidence, right, left_out, taken, partner, int((~ignored).sum()))


def _covered(boxes: Floats, regions: Floats) -> Floats:
    """(n,): the largest share of each box that lies in one region."""
    low = np.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.asarray(np.clip(high - low, 0, None).prod(axis=2).max(axis=1) / np.maximum(areas, 1e-12), np.float64)


class Pool:
    """Matches of many photos, ready to be scored, also with each photo counted several times."""

    def __init__(self, photos: Sequence[Matches]) -> None:
        confidence = np.concatenate([p.confidence for p in photos]) if photos else np.zeros(0)
        order = np.argsort(-confidence, kind="stable")
        self.confidence: Floats = confidence[order]
        self._photo = np.repeat(np.arange(len(photos)), [len(p.confidence) for p in photos])[order]
        empty = np.zeros((len(THRESHOLDS), 0), bool)
        self.right: Flags = np.concatenate([empty, *(p.right for p in photos)], axis=1)[:, order]
        self.left_out: Flags = np.concatenate([empty, *(p.left_out for p in photos)], axis=1)[:, order]
        self._counted = np.array([p.counted for p in photos], np.float64)

    @property
    def labelled(self) -> int:
        """How many boxes are to be found."""
        return int(self._counted.sum())

    def precision(self, times: Floats | None = None, levels: Sequence[int] | None = None) -> Floats | None:
        """Average precision at each threshold; None where there is nothing to be found.

        times: (photos,), how often each photo counts; once unless given. levels: of `THRESHOLDS`; all unless given.
        """
        times = np.ones(len(self._counted)) if times is None else times
        total = float(times @ self._counted)
        if total == 0:
            return None
        weight = times[self._photo] if len(self._photo) else np.zeros(0)
        levels = range(len(self.right)) if levels is None else levels
        return np.array([_area(self.right[t], weight * ~self.left_out[t], total) for t in levels])

    def at(self, least: float) -> tuple[int, int]:
        """Right and wrong detections from a confidence on, at the first threshold."""
        chosen = (self.confidence >= least) & ~self.left_out[0]
        right = int((self.right[0] & chosen).sum())
        return right, int(chosen.sum()) - right


def _area(right: Flags, weight: Floats, total: float) -> float:
    hits, all_of_them = np.cumsum(weight * right), np.cumsum(weight)
    counts = weight > 0
    recall = hits[counts] / total
    precision = hits[counts] / all_of_them[counts]
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    # A hair below, so that a recall of 0.29 that came out as 0.29000000000000004 is still reached by 29 of 100.
    at = np.searchsorted(recall, _RECALLS - 1e-12, side="left")
    return float(np.append(falling, 0.0)[at].mean())
