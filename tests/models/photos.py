"""Builders of labelled photos and data folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from models.data import Boxes, Photo
from models.data.labels import CLASS_ID

Mark = tuple[str, float, float, float, float]
"""Class name, centre x, centre y, width, height."""


def boxes(*marks: Mark) -> Boxes:
    return Boxes(
        np.array([CLASS_ID[mark[0]] for mark in marks], np.int64),
        np.array([mark[1:] for mark in marks], np.float64).reshape(-1, 4),
    )


def picture(path: Path, width: int = 64, height: int = 48, seed: int = 0) -> Path:
    """A photo of noise, so that no two seeds look alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert cv2.imwrite(str(path), noise)
    return path


def photo(
    path: Path,
    marks: Sequence[Mark] = (),
    *,
    source: str = "here",
    split: str = "train",
    group: str | None = None,
    complete: Iterable[str] = (),
    ignore: Sequence[Mark] = (),
) -> Photo:
    return Photo(path.stem, source, split, group or path.stem, path, boxes(*marks), frozenset(complete), boxes(*ignore))


def data_folder(root: Path, rows: Sequence[tuple[str, str, str, str, str]], labels: dict[str, str]) -> Path:
    """A data folder as the README of the data describes it.

    rows: name, source, split, group, twin. labels: YOLO text by photo, in the classes of its source.
    """
    names = {
        "rf100_cs": ["helmet", "no-helmet", "no-vest", "person", "vest"],
        "hhw": ["head", "helmet", "person"],
        "barrier_light": ["barrier", "cone", "warning_light", "sign"],
        "tracon": ["cone"],
        "css_v28": [
            *("Hardhat", "Mask", "NO-Hardhat", "NO-Mask", "NO-Safety Vest"),
            *("Person", "Safety Cone", "Safety Vest", "machinery", "vehicle"),
        ],
    }
    for source in {row[1] for row in rows}:
        (root / source / "labels").mkdir(parents=True, exist_ok=True)
        (root / source / "classes.txt").write_text("".join(f"{name}\n" for name in names[source]), encoding="utf-8")
    for number, (name, source, *_) in enumerate(rows):
        picture(root / source / "images" / f"{name}.webp", seed=number)
        (root / source / "labels" / f"{name}.txt").write_text(labels.get(name, ""), encoding="utf-8")
    table = "\n".join("\t".join(row) for row in (("name", "source", "split", "group", "twin"), *rows))
    (root / "images.tsv").write_text(f"{table}\n", encoding="utf-8")
    return root
