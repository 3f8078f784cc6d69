"""How many boxes of which class each source has, and for which classes it is complete."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from rich.table import Table

from models.data.labels import CLASSES, Photo
from models.data.labelset import SPLITS


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one source in one split. boxes: by class; complete: in how many photos every object of the class is labelled.

    ignored: boxes in which nothing is to be learned. small: boxes below 0.02 of the photo's longer share, 8 px at 416.
    """

    photos: int
    empty: int
    boxes: dict[str, int]
    complete: dict[str, int]
    ignored: int
    small: int


def count(photos: Iterable[Photo]) -> dict[str, dict[str, Counts]]:
    """By source, then split."""
    gathered: dict[tuple[str, str], list[Photo]] = defaultdict(list)
    for photo in photos:
        gathered[photo.source, photo.split].append(photo)
    result: dict[str, dict[str, Counts]] = {}
    for (source, split), some in sorted(gathered.items(), key=lambda item: (item[0][0], SPLITS.index(item[0][1]))):
        boxes = Counter(CLASSES[kind] for photo in some for kind in photo.boxes.classes.tolist())
        complete = Counter(name for photo in some for name in photo.complete)
        result.setdefault(source, {})[split] = Counts(
            photos=len(some),
            empty=sum(not len(photo.boxes) for photo in some),
            boxes={name: boxes[name] for name in CLASSES if boxes[name]},
            complete={name: complete[name] for name in CLASSES if complete[name]},
            ignored=sum(len(photo.ignore) for photo in some),
            small=sum(int((photo.boxes.xywh[:, 2:].max(axis=1) < 0.02).sum()) for photo in some if len(photo.boxes)),
        )
    return result


def table(counts: dict[str, dict[str, Counts]]) -> Table:
    """A number in brackets: the source labels such objects, but not all of them; a dash: it does not label them."""
    result = Table(title="Boxes by source, split and class")
    for heading in ("source", "split", "photos", "empty", *CLASSES, "ignored"):
        result.add_column(heading, justify="left" if heading in {"source", "split"} else "right")
    totals: dict[str, Counter[str]] = defaultdict(Counter)
    for source, splits in counts.items():
        for split, one in splits.items():
            cells = [_cell(one, name) for name in CLASSES]
            result.add_row(source, split, str(one.photos), str(one.empty), *cells, str(one.ignored))
            totals[split].update(
                {**one.boxes, "photos": one.photos, "empty": one.empty, "ignored": one.ignored},
            )
    result.add_section()
    for split in SPLITS:
        if split in totals:
            result.add_row("all", split, *(str(totals[split][key]) for key in ("photos", "empty", *CLASSES, "ignored")))
    return result


def _cell(one: Counts, name: str) -> str:
    boxes = one.boxes.get(name, 0)
    if name in one.complete:
        return str(boxes)
    return f"({boxes})" if boxes else "–"
