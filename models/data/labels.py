"""What a labelled photo is, and its YOLO text.

A photo says for which classes it is *complete*: every object of such a class is labelled. Of the other classes it says
nothing, so that neither training nor evaluation may take an unlabelled spot for "no such object here".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.errors import CommandError

CLASSES = (
    "person",
    "helmet",
    "no_helmet",
    "vest",
    "no_vest",
    "barrier",
    "cone",
    "warning_light",
    "sign",
    "machinery",
    "vehicle",
)
"""Of every data set and every model made here; the number of a class is its place."""

CLASS_ID = {name: number for number, name in enumerate(CLASSES)}

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

_SLACK = 0.02  # how far beyond the photo a side of a box may lie; labelling tools and rounding do that
_THIN = 1e-4  # of the photo's side; what is thinner after clipping lay outside


class DataError(CommandError):
    """Data that cannot be used; the text says which file, what is wrong, and what would be right."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """n labelled boxes: `classes` (n,) and `xywh` (n, 4), centre and size in shares of the photo's width and height."""

    classes: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    xywh: Floats = field(default_factory=lambda: np.zeros((0, 4), np.float64))

    def __post_init__(self) -> None:
        if self.xywh.shape != (len(self.classes), 4):
            raise ValueError(f"{len(self.classes)} classes need boxes of shape (n, 4), not {self.xywh.shape}")

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def xyxy(self) -> Floats:
        """(n, 4): left, top, right, bottom, in shares."""
        half = self.xywh[:, 2:] / 2
        return np.concatenate((self.xywh[:, :2] - half, self.xywh[:, :2] + half), axis=1)

    @staticmethod
    def of_xyxy(classes: Ints, xyxy: Floats) -> Boxes:
        """From corners; what lies outside the photo is cut off, and a box of which nothing is left goes."""
        inside = np.clip(xyxy, 0.0, 1.0)
        size = inside[:, 2:] - inside[:, :2]
        kept = (size > _THIN).all(axis=1)
        xywh = np.concatenate((inside[:, :2] + size / 2, size), axis=1)
        return Boxes(classes[kept], xywh[kept])

    def take(self, chosen: NDArray[np.bool_]) -> Boxes:
        return Boxes(self.classes[chosen], self.xywh[chosen])

    def of(self, *names: str) -> Boxes:
        return self.take(np.isin(self.classes, [CLASS_ID[name] for name in names]))

    @staticmethod
    def join(parts: Iterable[Boxes]) -> Boxes:
        each = list(parts)
        if not each:
            return Boxes()
        return Boxes(np.concatenate([b.classes for b in each]), np.concatenate([b.xywh for b in each]))


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo with its labels.

    name: unique in its set; also the stem of its files. split: `train`, `val` or `test`.
    group: near-duplicates and exports of one photo share it; a group never straddles splits.
    complete: names of the classes of which every object is labelled. Boxes of other classes are true all the same.
    ignore: where something of the named class may be or not; nothing is to be learned there.
    """

    name: str
    source: str
    split: str
    group: str
    path: Path
    boxes: Boxes
    complete: frozenset[str]
    ignore: Boxes = field(default_factory=Boxes)


def check_trained_on(photo: Photo, table: Path) -> None:
    """Raises `DataError` where a photo measures (`val`, `test`) that a table of the project labels for training."""
    if photo.split != "train":
        raise DataError(f"{table.name}: photo {photo.name} is in the {photo.split} split; only training photos are")


def parse(text: str, where: str, class_count: int) -> Boxes:
    """Boxes from YOLO text: a line a box, `class x y w h`; blank ones are skipped. Raises `DataError` with the line."""
    classes: list[int] = []
    rows: list[list[float]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        parts = line.split()
        try:
            kind, row = int(parts[0]), [float(part) for part in parts[1:]]
        except ValueError:
            raise DataError(f"{where}:{number}: {line!r} is not `class x y w h` in numbers") from None
        if len(row) != 4:
            raise DataError(f"{where}:{number}: {len(parts)} numbers; a box has 5: class x y w h")
        if not 0 <= kind < class_count:
            raise DataError(f"{where}:{number}: class {kind}; there are {class_count} classes, 0 to {class_count - 1}")
        if not np.isfinite(row).all() or row[2] <= 0 or row[3] <= 0:
            raise DataError(f"{where}:{number}: width and height must be above 0, all numbers finite: {line!r}")
        edges = (row[0] - row[2] / 2, row[1] - row[3] / 2, row[0] + row[2] / 2, row[1] + row[3] / 2)
        if min(edges) < -_SLACK or max(edges) > 1 + _SLACK:
            raise DataError(f"{where}:{number}: the box leaves the photo; numbers are shares of its width and height")
        classes.append(kind)
        rows.append(row)
    raw = Boxes(np.array(classes, np.int64), np.array(rows, np.float64).reshape(-1, 4))
    return Boxes.of_xyxy(raw.classes, raw.xyxy)


def render(boxes: Boxes) -> str:
    """YOLO text; `parse` gives the same boxes back, to 6 decimals."""
    return "".join(
        f"{kind} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n"
        for kind, (x, y, w, h) in zip(boxes.classes.tolist(), boxes.xywh.tolist(), strict=True)
    )


def overlap(a: Floats, b: Floats) -> Floats:
    """Intersection over union of each of a (n, 4) with each of b (m, 4), corners: (n, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = (a[:, 2:] - a[:, :2]).prod(axis=1)[:, None] + (b[:, 2:] - b[:, :2]).prod(axis=1)[None, :]
    union = areas - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0), np.float64)
