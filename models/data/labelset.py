"""A labelled set on disk: a YOLO data set that ultralytics opens as it is, and one table that knows more.

photos.tsv            name, source, split, group, file, complete (class names)
images/  labels/      a photo and its YOLO text
ignore/               YOLO text of what may be an object or not; only where there is such
train.txt val.txt test.txt  data.yaml
"""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from models.data.labels import CLASSES, Boxes, DataError, Photo, parse, render

TABLE = "photos.tsv"
SPLITS = ("train", "val", "test")

_COLUMNS = ("name", "source", "split", "group", "file", "complete")
_MADE = ("images", "labels", "ignore")


def write_set(photos: Sequence[Photo], folder: Path, *, copy: bool = False) -> Path:
    """Write the set; returns its `data.yaml`. What an earlier call wrote there is replaced.

    copy: put the photos themselves into the folder, so that it can be handed on; links to them otherwise.
    Raises `DataError` where the folder holds something else, or two photos have one name.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / TABLE).is_file():
        raise DataError(f"{folder}: is not empty and no labelled set; choose an empty folder")
    names = [photo.name for photo in photos]
    if len(set(names)) != len(names):
        raise DataError(f"{folder}: {len(names) - len(set(names))} photos have a name that another one has")
    pictures = {photo.name: photo.path.resolve() for photo in photos}
    within = [name for name, path in pictures.items() if path.is_relative_to(folder.resolve())]
    if within:
        raise DataError(f"{folder}: photo {within[0]} lies in the folder that would be replaced; choose another one")
    for made in _MADE:
        shutil.rmtree(folder / made, ignore_errors=True)
        (folder / made).mkdir(parents=True)
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(_COLUMNS)
        for photo in sorted(photos, key=lambda p: p.name):
            target = folder / "images" / f"{photo.name}{photo.path.suffix.lower()}"
            if copy:
                shutil.copyfile(pictures[photo.name], target)
            else:
                target.symlink_to(pictures[photo.name])
            (folder / "labels" / f"{photo.name}.txt").write_text(render(photo.boxes), encoding="utf-8")
            if len(photo.ignore):
                (folder / "ignore" / f"{photo.name}.txt").write_text(render(photo.ignore), encoding="utf-8")
            complete = ",".join(name for name in CLASSES if name in photo.complete)
            table.writerow((photo.name, photo.source, photo.split, photo.group, target.name, complete))
    for split in SPLITS:
        files = sorted(f"./images/{p.name}{p.path.suffix.lower()}" for p in photos if p.split == split)
        (folder / f"{split}.txt").write_text("".join(f"{file}\n" for file in files), encoding="utf-8")
    lines = [f"{split}: {split}.txt" for split in SPLITS] + ["names:"]
    lines += [f"  {number}: {name}" for number, name in enumerate(CLASSES)]
    (folder / "data.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "data.yaml"


def read_set(folder: Path) -> list[Photo]:
    """What `write_set` wrote, sorted by name; raises `DataError`."""
    path = folder / TABLE
    if not path.is_file():
        raise DataError(f"{path}: no such file; a labelled set has it (`banksman model data build` makes one)")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t")
        if tuple(reader.fieldnames or ()) != _COLUMNS:
            raise DataError(f"{path}: columns are {reader.fieldnames}, expected {list(_COLUMNS)}")
        rows = list(reader)
    photos = []
    for line, row in enumerate(rows, 2):
        complete = frozenset(filter(None, row["complete"].split(",")))
        if not complete <= set(CLASSES):
            raise DataError(f"{path}:{line}: unknown classes {sorted(complete - set(CLASSES))}")
        if row["split"] not in SPLITS:
            raise DataError(f"{path}:{line}: split {row['split']!r}; one of {', '.join(SPLITS)}")
        photos.append(
            Photo(
                row["name"],
                row["source"],
                row["split"],
                row["group"],
                folder / "images" / row["file"],
                _boxes(folder / "labels" / f"{row['name']}.txt"),
                complete,
                _boxes(folder / "ignore" / f"{row['name']}.txt", needed=False),
            )
        )
    return photos


def _boxes(path: Path, *, needed: bool = True) -> Boxes:
    if not path.is_file():
        if needed:
            raise DataError(f"{path}: no such file; a photo without objects has an empty one")
        return Boxes()
    return parse(path.read_text(encoding="utf-8"), str(path), len(CLASSES))


def joined(*sets: Sequence[Photo]) -> list[Photo]:
    """Several sets as one; each photo stays in its split. Raises `DataError` where two have photos of one name.

    Groups of one name are one group: near-duplicates in different sets are not looked for.
    """
    photos = [photo for one in sets for photo in one]
    twice = [name for name, count in Counter(photo.name for photo in photos).items() if count > 1]
    if twice:
        raise DataError(
            f"{len(twice)} photos are in two of the sets, the first is {twice[0]}; import with another source"
        )
    splits: dict[str, str] = {}
    for photo in photos:
        if splits.setdefault(photo.group, photo.split) != photo.split:
            raise DataError(f"group {photo.group} is in the splits {splits[photo.group]} and {photo.split}")
    return photos


def sources_of(photo: Photo) -> tuple[str, ...]:
    """The sources whose labels a photo has: one, or two where twins were joined."""
    return tuple(photo.source.split("+"))


def in_split(photos: Iterable[Photo], *splits: str) -> list[Photo]:
    return [photo for photo in photos if photo.split in splits]
