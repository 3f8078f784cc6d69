"""Do two runtimes see the same? The tests ask it against `ultralytics`, `banksman doctor` on the node itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from edge.geometry import iou
from edge.values import Detections

MIN_IOU = 0.95
MAX_CONFIDENCE_GAP = 0.02
THRESHOLD = 0.3


@dataclass(frozen=True, slots=True)
class Parity:
    """How far two sets of detections are apart.

    pairs: boxes found in both. worst_iou: of a pair, 1 without pairs. worst_gap: difference of confidence of a pair.
    missing: boxes of either that have no partner of their class in the other.
    """

    pairs: int
    worst_iou: float
    worst_gap: float
    missing: int

    @property
    def holds(self) -> bool:
        """Whether the limits of the project are kept."""
        return self.missing == 0 and self.worst_iou >= MIN_IOU and self.worst_gap <= MAX_CONFIDENCE_GAP

    def __add__(self, other: Parity) -> Parity:
        """Both pictures together."""
        return Parity(
            self.pairs + other.pairs,
            min(self.worst_iou, other.worst_iou),
            max(self.worst_gap, other.worst_gap),
            self.missing + other.missing,
        )


SAME = Parity(pairs=0, worst_iou=1.0, worst_gap=0.0, missing=0)
"""Nothing compared yet; what `Parity` sums start from."""


def total(parities: Iterable[Parity]) -> Parity:
    """Of many pictures together."""
    return sum(parities, start=SAME)


def compare(a: Detections, b: Detections, threshold: float = THRESHOLD) -> Parity:
    """Pair every box above `threshold` in one with one box of its class in the other, best overlap first, one to one.

    A box just above the threshold may lie just below it on the other side. So partners are looked for down to the
    allowed difference of confidence below it; both must be given at least that deep.
    """
    if a.names != b.names:
        raise ValueError(f"the detections are of different models: classes {a.names} and {b.names}")
    deep = threshold - MAX_CONFIDENCE_GAP
    a, b = a[a.confidence >= deep], b[b.confidence >= deep]
    overlap = np.where(a.class_id[:, None] == b.class_id[None, :], iou(a.xyxy, b.xyxy), 0.0)
    free_a, free_b = set(range(len(a))), set(range(len(b)))
    pairs, worst_iou, worst_gap = 0, 1.0, 0.0
    for flat in np.argsort(-overlap, axis=None, kind="stable"):
        i, j = divmod(int(flat), len(b))
        if overlap[i, j] < 0.5:  # no longer the same thing
            break
        if i not in free_a or j not in free_b:
            continue
        free_a.remove(i)
        free_b.remove(j)
        if max(a.confidence[i], b.confidence[j]) <= threshold:
            continue  # both below: not asked
        pairs += 1
        worst_iou = min(worst_iou, float(overlap[i, j]))
        worst_gap = max(worst_gap, abs(float(a.confidence[i]) - float(b.confidence[j])))
    missing = sum(a.confidence[i] > threshold for i in free_a) + sum(b.confidence[j] > threshold for j in free_b)
    return Parity(pairs, worst_iou, worst_gap, int(missing))
