"""Labels of this project for photos of other sources: what stands on the street (`street.tsv`, a row a photo).

The sources label barriers, cones, lamps and signs in few photos; these were labelled by eye, by the conventions of
`barrier_light`. The photos are not here, only where the objects are in them: shares of the photo's width and height.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from models.data.labels import CLASS_ID, Boxes, DataError, Photo, check_trained_on
from models.data.sources import SOURCES

TABLE = Path(__file__).with_name("street.tsv")
SOURCE = "street"
"""What `Photo.source` gets, after its own."""

_COLUMNS = ("photo", "boxes")
_COMPLETE = SOURCES["barrier_light"].complete


def read(path: Path = TABLE) -> dict[str, Boxes]:
    """Boxes by photo, none where nothing stands; raises `DataError` with the line.

    A row has the photo's name and its boxes, `class left top right bottom`, separated by semicolons.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, delimiter="\t")
        head = next(reader, [])
        if tuple(head) != _COLUMNS:
            raise DataError(f"{path}: columns are {head}, expected {list(_COLUMNS)}, tab-separated")
        found: dict[str, Boxes] = {}
        for line, row in enumerate(reader, 2):
            where = f"{path}:{line}"
            if len(row) != len(_COLUMNS):
                raise DataError(f"{where}: {len(row)} columns; a photo and its boxes, tab-separated")
            if row[0] in found:
                raise DataError(f"{where}: photo {row[0]} comes twice")
            found[row[0]] = _parse(row[1], where)
    return found


def _parse(text: str, where: str) -> Boxes:
    kinds, corners = [], []
    for part in filter(None, text.split(";")):
        words = part.split()
        try:
            kind, box = words[0], [float(word) for word in words[1:]]
        except ValueError:
            raise DataError(f"{where}: {part!r} is not `class left top right bottom`") from None
        if kind not in _COMPLETE:
            raise DataError(f"{where}: class {kind!r}; one of {', '.join(sorted(_COMPLETE))}")
        if len(box) != 4 or not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
            raise DataError(f"{where}: {part!r}: left < right and top < bottom, all from 0 to 1")
        kinds.append(CLASS_ID[kind])
        corners.append(box)
    return Boxes.of_xyxy(np.array(kinds, np.int64), np.array(corners, np.float64).reshape(-1, 4))


def add(photos: Sequence[Photo], labels: dict[str, Boxes]) -> list[Photo]:
    """The photos, those of them that are labelled here with these labels too; photos that are not there are no error,
    as a data folder may hold some of the sources only.

    Raises `DataError` where such a photo measures (`val`, `test`): these labels were made to be learned from.
    """
    made = []
    for photo in photos:
        if photo.name not in labels:
            made.append(photo)
            continue
        check_trained_on(photo, TABLE)
        own = photo.boxes.take(~np.isin(photo.boxes.classes, [CLASS_ID[name] for name in _COMPLETE]))
        made.append(
            replace(
                photo,
                source=f"{photo.source}+{SOURCE}",
                boxes=Boxes.join((own, labels[photo.name])),
                complete=photo.complete | _COMPLETE,
            )
        )
    return made
