"""Labelled photos from and to other tools: YOLO folders and COCO JSON.

What a foreign set does not say must be told: for which classes it is complete. Our own exports say it: a YOLO export is
a labelled set (`photos.tsv`), a COCO export has it in each image's entry, under `banksman`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from models.data.labels import CLASS_ID, CLASSES, Boxes, DataError, Photo, parse
from models.data.labelset import SPLITS, TABLE, read_set, write_set
from models.data.pictures import photos_in, size_of


def import_yolo(
    folder: Path, *, source: str, complete: frozenset[str], renames: Mapping[str, str] | None = None
) -> list[Photo]:
    """Photos of a YOLO data set: `data.yaml`, pictures anywhere below `images`, labels in `labels` beside it.

    source: a name for where they come from; photos are named `source_stem`. complete: classes of which every object is
    labelled. renames: their class names to ours; other names must be ours, or `-` to leave such boxes out.
    A part of the picture's path that is `val`, `valid` or `test` gives the split, `train` otherwise.
    A photo has a group of its own: near-duplicates among them, or with other sources, are not looked for.
    """
    if (folder / TABLE).is_file():
        return read_set(folder)
    listing = folder / "data.yaml"
    if not listing.is_file():
        raise DataError(f"{listing}: no such file; a YOLO data set has it, with its class names under `names`")
    try:
        names = YAML(typ="safe").load(listing.read_text(encoding="utf-8"))["names"]
    except (YAMLError, KeyError, TypeError) as error:
        raise DataError(f"{listing}: has no class names under `names` ({error})") from error
    theirs = [names[number] for number in sorted(names)] if isinstance(names, dict) else list(names)
    numbers = _numbers(theirs, renames or {}, str(listing))
    photos = []
    for path in photos_in(folder):
        where = path.relative_to(folder).parts
        if "images" not in where:
            raise DataError(f"{path}: not below a folder `images`, so that its labels cannot be found")
        at = len(where) - 1 - where[::-1].index("images")
        text = folder.joinpath(*where[:at], "labels", *where[at + 1 :]).with_suffix(".txt")
        own = parse(text.read_text(encoding="utf-8"), str(text), len(theirs)) if text.is_file() else Boxes()
        photos.append(_photo(path, source, _split_of(where), _translated(own, numbers), complete=complete))
    return photos


def import_coco(
    listing: Path,
    pictures: Path,
    *,
    source: str,
    complete: frozenset[str],
    renames: Mapping[str, str] | None = None,
    split: str = "train",
) -> list[Photo]:
    """Photos of a COCO JSON; `pictures` is the folder that its file names are in. The rest as for `import_yolo`."""
    try:
        told: dict[str, Any] = json.loads(listing.read_text(encoding="utf-8"))
        categories = sorted(told["categories"], key=lambda category: category["id"])
        numbers = _numbers([category["name"] for category in categories], renames or {}, str(listing))
        place = {category["id"]: index for index, category in enumerate(categories)}
        rows: dict[int, list[tuple[int, bool, list[float]]]] = {image["id"]: [] for image in told["images"]}
        named = [(image, Path(image["file_name"]), (image["width"], image["height"])) for image in told["images"]]
        for mark in told["annotations"]:
            rows[mark["image_id"]].append((place[mark["category_id"]], bool(mark.get("iscrowd")), mark["bbox"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{listing}: not COCO with images, annotations and categories ({error!r})") from error
    photos = []
    for image, name, said in named:
        path = pictures / name
        if not path.is_file():
            raise DataError(f"{path}: no such file, though {listing} names it")
        width, height = size_of(path)
        if (width, height) != said:
            raise DataError(f"{path}: is {width}x{height}, but {listing} says {said[0]}x{said[1]}")
        boxes, ignore = (
            _translated(_of_ltwh([r for r in rows[image["id"]] if r[1] is crowd], width, height), numbers)
            for crowd in (False, True)
        )
        ours = image.get("banksman")
        if ours is None:
            photos.append(_photo(path, source, split, boxes, complete=complete, ignore=ignore))
        else:
            known = (ours["name"], ours["source"], ours["split"], ours["group"])
            photos.append(Photo(*known, path, boxes, frozenset(ours["complete"]), ignore))
    return photos


def export_yolo(photos: Sequence[Photo], folder: Path) -> Path:
    """A labelled set with the photos themselves, which any tool that reads YOLO can open. Returns its `data.yaml`."""
    return write_set(photos, folder, copy=True)


def export_coco(photos: Sequence[Photo], listing: Path) -> Path:
    """COCO JSON; file names are relative to its folder, ignore boxes have `iscrowd` 1."""
    images: list[dict[str, Any]] = []
    marks: list[dict[str, Any]] = []
    for number, photo in enumerate(photos, 1):
        width, height = size_of(photo.path)
        images.append(
            {
                "id": number,
                "file_name": os.path.relpath(photo.path.absolute(), listing.parent.absolute()),
                "width": width,
                "height": height,
                "banksman": {
                    "name": photo.name,
                    "source": photo.source,
                    "split": photo.split,
                    "group": photo.group,
                    "complete": [name for name in CLASSES if name in photo.complete],
                },
            }
        )
        for boxes, crowd in ((photo.boxes, 0), (photo.ignore, 1)):
            scaled = boxes.xyxy * [width, height, width, height]
            for kind, (left, top, right, bottom) in zip(boxes.classes.tolist(), scaled.tolist(), strict=True):
                sides = right - left, bottom - top
                marks.append(
                    {
                        "id": len(marks) + 1,
                        "image_id": number,
                        "category_id": kind + 1,
                        "bbox": [left, top, *sides],
                        "area": sides[0] * sides[1],
                        "iscrowd": crowd,
                    }
                )
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
    told = {"images": images, "annotations": marks, "categories": categories}
    listing.parent.mkdir(parents=True, exist_ok=True)
    listing.write_text(json.dumps(told), encoding="utf-8")
    return listing


def _numbers(theirs: Sequence[str], renames: Mapping[str, str], where: str) -> list[int]:
    """Our number for each of their classes, -1 for one to leave out."""
    ours = [renames.get(name, name) for name in theirs]
    unknown = sorted({name for name in ours if name not in CLASS_ID and name != "-"})
    if unknown:
        raise DataError(f"{where}: classes {unknown} are none of {', '.join(CLASSES)}; rename them, or to `-` to drop")
    return [CLASS_ID.get(name, -1) for name in ours]


def _translated(boxes: Boxes, numbers: Sequence[int]) -> Boxes:
    ours = Boxes(np.asarray(numbers, np.int64)[boxes.classes], boxes.xywh)
    return ours.take(ours.classes >= 0)


def _of_ltwh(rows: Sequence[tuple[int, bool, list[float]]], width: int, height: int) -> Boxes:
    raw = np.array([row[2] for row in rows], np.float64).reshape(-1, 4) / [width, height, width, height]
    corners = np.concatenate((raw[:, :2], raw[:, :2] + raw[:, 2:]), axis=1)
    return Boxes.of_xyxy(np.array([row[0] for row in rows], np.int64), corners)


def _split_of(parts: Sequence[str]) -> str:
    for part in parts[:-1]:
        name = {"valid": "val"}.get(part, part)
        if name in SPLITS:
            return name
    return "train"


def _photo(
    path: Path, source: str, split: str, boxes: Boxes, *, complete: frozenset[str], ignore: Boxes | None = None
) -> Photo:
    name = f"{source}_{path.stem}"
    return Photo(name, source, split, name, path, boxes, complete, ignore or Boxes())
