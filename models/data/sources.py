"""The sources of labelled photos: what each calls its classes, and of which classes it labels every object."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np

from models.data.heads import hats, whole_heads
from models.data.labels import CLASS_ID, Boxes, DataError, Photo, parse
from models.data.pictures import size_of

INDEX = "images.tsv"
"""name, source, split, group, twin: a row a photo."""

_COLUMNS = ("name", "source", "split", "group", "twin")


class HeadBox(Enum):
    """What a source's boxes of helmets and bare heads hold; see `models.data.heads`."""

    NONE = "it labels neither"
    WHOLE_HEAD = "both hold the whole head with face"
    UPPER_HEAD = "a helmet is the hat alone, a bare head its upper part"


@dataclass(frozen=True, slots=True)
class Source:
    """A set of photos that were labelled together.

    classes: its names to ours; a name that is not here is left out. Compared as they are written.
    complete: our classes of which it labels every object.
    mosaics: its training photos are ready-made mosaics. No further mosaic is made of them, and none is used for tuning,
        because their tiles come back in many of them.
    """

    name: str
    classes: Mapping[str, str]
    complete: frozenset[str]
    heads: HeadBox = HeadBox.NONE
    mosaics: bool = False


SOURCES = {
    source.name: source
    for source in (
        Source(
            "rf100_cs",
            {"person": "person", "helmet": "helmet", "no-helmet": "no_helmet", "vest": "vest", "no-vest": "no_vest"},
            frozenset({"person", "helmet", "no_helmet", "vest", "no_vest"}),
            HeadBox.UPPER_HEAD,
        ),
        Source(
            "hhw",
            {"person": "person", "helmet": "helmet", "head": "no_helmet"},
            frozenset({"helmet", "no_helmet"}),  # people are labelled in a few photos only, vests nowhere
            HeadBox.WHOLE_HEAD,
        ),
        Source(
            "css_v28",
            {
                "Hardhat": "helmet",
                "NO-Hardhat": "no_helmet",
                "NO-Safety Vest": "no_vest",
                "Person": "person",
                "Safety Cone": "cone",
                "Safety Vest": "vest",
                "machinery": "machinery",
                "vehicle": "vehicle",
            },
            frozenset({"person", "helmet", "no_helmet", "vest", "no_vest", "cone", "machinery", "vehicle"}),
            HeadBox.UPPER_HEAD,
            mosaics=True,
        ),
        Source("css_v1", {"machinery": "machinery"}, frozenset({"machinery"})),
        Source("tracon", {"cone": "cone"}, frozenset({"cone"})),
        Source("cones_fr50", {"Cone": "cone", "cone": "cone", "road-cone": "cone"}, frozenset({"cone"})),
        Source(
            "barrier_light",
            {name: name for name in ("barrier", "cone", "warning_light", "sign")},
            frozenset({"barrier", "cone", "warning_light", "sign"}),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the index. twin: the same photo in another source, or empty."""

    name: str
    source: str
    split: str
    group: str
    twin: str


def read_index(folder: Path) -> list[Entry]:
    """The rows of `images.tsv`, checked: known sources, splits `train` and `test`, no group in both, twins present."""
    path = folder / INDEX
    if not path.is_file():
        raise DataError(f"{path}: no such file; a data folder has it beside one folder a source")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t")
        if tuple(reader.fieldnames or ()) != _COLUMNS:
            raise DataError(f"{path}: columns are {reader.fieldnames}, expected {list(_COLUMNS)}, tab-separated")
        entries = [Entry(**{key: value or "" for key, value in row.items()}) for row in reader]
    by_name: dict[str, Entry] = {}
    split_of: dict[str, str] = {}
    for line, entry in enumerate(entries, 2):
        where = f"{path}:{line}: {entry.name}"
        if entry.source not in SOURCES:
            raise DataError(f"{where}: unknown source {entry.source!r}; described are {sorted(SOURCES)}")
        if entry.split not in {"train", "test"}:
            raise DataError(f"{where}: split {entry.split!r}; train or test")
        if entry.name in by_name:
            raise DataError(f"{where}: the name comes twice")
        if split_of.setdefault(entry.group, entry.split) != entry.split:
            raise DataError(f"{where}: group {entry.group} is in train and in test; near-duplicates must stay together")
        by_name[entry.name] = entry
    for entry in entries:
        if entry.twin and (entry.twin not in by_name or by_name[entry.twin].group != entry.group):
            raise DataError(f"{path}: {entry.name}: its twin {entry.twin!r} is not there, or in another group")
    return entries


def read_photos(folder: Path, entries: list[Entry]) -> Iterator[Photo]:
    """Each photo with the labels of its own source, in our classes and meaning of the head boxes."""
    names = {name: _class_names(folder / name) for name in {entry.source for entry in entries}}
    for entry in entries:
        source, home = SOURCES[entry.source], folder / entry.source
        picture, text = home / "images" / f"{entry.name}.webp", home / "labels" / f"{entry.name}.txt"
        for path in (picture, text):
            if not path.is_file():
                raise DataError(f"{path}: no such file, though {INDEX} names it")
        own = parse(text.read_text(encoding="utf-8"), str(text), len(names[entry.source]))
        boxes = _translate(own, names[entry.source], source)
        if source.heads is HeadBox.WHOLE_HEAD:
            boxes = hats(boxes)
        elif source.heads is HeadBox.UPPER_HEAD and len(boxes.of("no_helmet")):
            width, height = size_of(picture)
            boxes = whole_heads(boxes, width / height)
        yield Photo(entry.name, entry.source, entry.split, entry.group, picture, boxes, source.complete)


def _class_names(home: Path) -> list[str]:
    path = home / "classes.txt"
    if not path.is_file():
        raise DataError(f"{path}: no such file; a source names its classes there, one a line")
    names = path.read_text(encoding="utf-8").split("\n")
    names = names[:-1] if names and not names[-1] else names
    unknown = set(SOURCES[home.name].classes) - set(names)
    if unknown:
        raise DataError(f"{path}: lacks {sorted(unknown)}, which models/data/sources.py maps to classes of ours")
    return names


def _translate(boxes: Boxes, names: list[str], source: Source) -> Boxes:
    ours = np.array([CLASS_ID[source.classes[name]] if name in source.classes else -1 for name in names], np.int64)
    translated = Boxes(ours[boxes.classes], boxes.xywh)
    return translated.take(translated.classes >= 0)
