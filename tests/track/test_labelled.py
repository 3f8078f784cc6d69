"""Helmets and vests given to people on labelled photos (`rf100_cs`, `train`): every fourth of those with people."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.geometry import area, as_array, intersection
from edge.track import persons
from edge.values import Box, Detections, Ints
from tests.track.builders import NAMES

SOURCE = "rf100_cs"
CLASSES = ("helmet", "no_helmet", "no_vest", "person", "vest")
PARTS = {"helmet": ("helmet", "no_helmet"), "vest": ("vest", "no_vest")}

Photo = tuple[Detections, int, int]


def photos(data: Path) -> Iterator[Photo]:
    with (data / "images.tsv").open(encoding="utf-8") as table:
        rows = [r for r in csv.DictReader(table, delimiter="\t") if (r["source"], r["split"]) == (SOURCE, "train")]
    for row in rows[::4]:
        image = cv2.imread(str(data / SOURCE / "images" / f"{row['name']}.webp"))
        assert image is not None
        height, width = image.shape[:2]
        label = np.loadtxt(data / SOURCE / "labels" / f"{row['name']}.txt", ndmin=2)
        if not label.size:
            continue
        centre, half = label[:, 1:3], label[:, 3:5] / 2
        boxes = np.hstack([centre - half, centre + half]) * [width, height, width, height]
        classes = [NAMES.index(CLASSES[int(c)]) for c in label[:, 0]]
        labelled = Detections.build(boxes, np.ones(len(boxes)), classes, NAMES)
        yield labelled.with_tracks(np.arange(len(boxes), dtype=np.int32)), width, height


@pytest.fixture(scope="module")
def labelled(shared: Path) -> list[Photo]:
    return list(photos(shared / "data"))


def worn(detections: Detections, width: int, height: int, part: str) -> dict[int, Box | None]:
    return {p.track: getattr(p, part).box for p in persons(detections, width, height)}


@pytest.mark.parametrize(("part", "least"), [("helmet", 0.97), ("vest", 0.98)])
def test_what_lies_in_a_body_is_given_to_one(labelled: list[Photo], part: str, least: float) -> None:
    """The rest is held in the hand, or far off the middle of somebody bent."""
    inside = given = 0
    for detections, width, height in labelled:
        parts = detections.of(*PARTS[part])
        shared_area = intersection(parts.xyxy, detections.of("person").xyxy)
        within = (shared_area > 0.7 * area(parts.xyxy)[:, None]).any(axis=1)
        boxes = set(worn(detections, width, height, part).values())
        inside += int(within.sum())
        given += sum(parts.box(n) in boxes for n in np.flatnonzero(within).tolist())
    assert inside > 400
    assert given / inside >= least


@pytest.mark.parametrize(("part", "most"), [("helmet", 0.02), ("vest", 0.01)])
def test_who_loses_theirs_gets_nobody_elses(labelled: list[Photo], part: str, most: float) -> None:
    tried = stolen = 0
    for detections, width, height in labelled:
        if len(detections.of("person")) < 2:
            continue
        for track, box in worn(detections, width, height, part).items():
            if box is None:
                continue
            others = ~(detections.xyxy == as_array([box])).all(axis=1) | (detections.track_id == track)
            tried += 1
            stolen += worn(detections[others], width, height, part)[track] is not None
    assert tried > 300
    assert stolen / tried <= most


@pytest.mark.parametrize(("part", "most"), [("helmet", 0.01), ("vest", 0.01)])
def test_who_is_not_detected_leaves_theirs_to_nobody(labelled: list[Photo], part: str, most: float) -> None:
    tried = taken = 0
    for detections, width, height in labelled:
        if len(detections.of("person")) < 2:
            continue
        for track, box in worn(detections, width, height, part).items():
            if box is not None:
                tried += 1
                taken += box in worn(detections[_not(detections.track_id, track)], width, height, part).values()
    assert tried > 300
    assert taken / tried <= most


def _not(track_id: Ints, track: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.asarray(track_id != track)
