"""Labelled photos from and to other tools."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data import CLASSES, DataError, Photo
from models.data.interchange import export_coco, export_yolo, import_coco, import_yolo
from models.data.labelset import SPLITS
from tests.models.photos import boxes, photo, picture
from tests.models.test_data import same, some_boxes


@st.composite
def sets(draw: st.DrawFn) -> list[Photo]:
    """Photos without pictures; `at` gives them some."""
    return [
        replace(
            photo(
                Path(f"p{number}.png"),
                source=draw(st.sampled_from(["rf100_cs", "hhw+barrier_light"])),
                split=draw(st.sampled_from(SPLITS)),
                group=str(draw(st.integers(0, 3))),
                complete=draw(st.sets(st.sampled_from(CLASSES))),
            ),
            boxes=draw(some_boxes()),
            ignore=draw(some_boxes()),
        )
        for number in range(draw(st.integers(1, 3)))
    ]


def at(folder: Path, photos: list[Photo]) -> list[Photo]:
    return [
        replace(one, path=picture(folder / one.path, width=40 + seed, seed=seed)) for seed, one in enumerate(photos)
    ]


def check(before: list[Photo], after: list[Photo]) -> None:
    for one, other in zip(before, after, strict=True):
        assert same(one.boxes, other.boxes)
        assert same(one.ignore, other.ignore)
        assert replace(other, path=one.path, boxes=one.boxes, ignore=one.ignore) == one
        assert one.path.read_bytes() == other.path.read_bytes()


@settings(max_examples=25)
@given(sets())
def test_a_set_goes_to_yolo_and_back(photos: list[Photo]) -> None:
    with TemporaryDirectory() as name:
        before = at(Path(name), photos)
        listing = export_yolo(before, Path(name) / "out")
        check(before, import_yolo(listing.parent, source="unused", complete=frozenset()))


@settings(max_examples=25)
@given(sets())
def test_a_set_goes_to_coco_and_back(photos: list[Photo]) -> None:
    with TemporaryDirectory() as name:
        before = at(Path(name), photos)
        listing = export_coco(before, Path(name) / "all.json")
        check(before, import_coco(listing, Path(name), source="unused", complete=frozenset()))


def foreign_yolo(root: Path) -> Path:
    picture(root / "train" / "images" / "a.jpg")
    picture(root / "valid" / "images" / "b.jpg")
    (root / "train" / "labels").mkdir()
    (root / "train" / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n1 0.2 0.2 0.1 0.1\n", encoding="utf-8")
    (root / "data.yaml").write_text("names: [Hardhat, Mask]\n", encoding="utf-8")
    return root


def test_foreign_yolo_is_renamed_and_keeps_its_splits(tmp_path: Path) -> None:
    renames = {"Hardhat": "helmet", "Mask": "-"}
    first, second = import_yolo(foreign_yolo(tmp_path), source="web", complete=frozenset({"helmet"}), renames=renames)
    assert same(first.boxes, boxes(("helmet", 0.5, 0.5, 0.2, 0.2)))
    assert (first.name, first.split, sorted(first.complete)) == ("web_a", "train", ["helmet"])
    assert (second.name, second.split, len(second.boxes)) == ("web_b", "val", 0)


def test_classes_that_are_not_ours_are_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\['Hardhat', 'Mask'\] are none of person"):
        import_yolo(foreign_yolo(tmp_path), source="web", complete=frozenset())


def foreign_coco(root: Path) -> tuple[Path, dict[str, list[dict[str, object]]]]:
    picture(root / "a.png", width=100, height=50)
    told: dict[str, list[dict[str, object]]] = {
        "images": [{"id": 7, "file_name": "a.png", "width": 100, "height": 50}],
        "categories": [{"id": 40, "name": "dog"}, {"id": 3, "name": "cone"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 10, 20, 20]},
            {"id": 2, "image_id": 7, "category_id": 3, "bbox": [90, 40, 20, 20], "iscrowd": 1},
            {"id": 3, "image_id": 7, "category_id": 40, "bbox": [0, 0, 5, 5]},
        ],
    }
    return root / "marks.json", told


def test_a_coco_export_can_be_handed_on(tmp_path: Path) -> None:
    one = photo(picture(tmp_path / "here" / "images" / "a.png"), [("cone", 0.5, 0.5, 0.2, 0.2)])
    export_coco([one], tmp_path / "here" / "coco" / "marks.json")
    (tmp_path / "here").rename(tmp_path / "there")
    listing = tmp_path / "there" / "coco" / "marks.json"
    (again,) = import_coco(listing, listing.parent, source="unused", complete=frozenset())
    assert (again.name, again.path.resolve()) == ("a", tmp_path / "there" / "images" / "a.png")


def test_foreign_coco(tmp_path: Path) -> None:
    listing, told = foreign_coco(tmp_path)
    listing.write_text(json.dumps(told), encoding="utf-8")
    (one,) = import_coco(listing, tmp_path, source="web", complete=frozenset({"cone"}), renames={"dog": "-"})
    assert same(one.boxes, boxes(("cone", 0.2, 0.4, 0.2, 0.4)))
    assert np.allclose(one.ignore.xyxy, [[0.9, 0.8, 1, 1]])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda coco: coco.pop("categories"), "not COCO"),
        (lambda coco: coco["annotations"][0].update(image_id=8), "not COCO"),
        (lambda coco: coco["images"][0].pop("file_name"), "not COCO"),
        (lambda coco: coco["images"][0].pop("height"), "not COCO"),
        (lambda coco: coco["images"][0].update(width=99), "is 100x50, but"),
        (lambda coco: coco["images"][0].update(file_name="b.png"), "no such file"),
    ],
)
def test_bad_coco_is_named(tmp_path: Path, change: object, told: str) -> None:
    listing, coco = foreign_coco(tmp_path)
    assert callable(change)
    change(coco)
    listing.write_text(json.dumps(coco), encoding="utf-8")
    with pytest.raises(DataError, match=told):
        import_coco(listing, tmp_path, source="web", complete=frozenset(), renames={"dog": "-"})


def test_a_file_that_is_no_photo_is_named(tmp_path: Path) -> None:
    listing, coco = foreign_coco(tmp_path)
    listing.write_text(json.dumps(coco), encoding="utf-8")
    for content in (b"", b"text"):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(DataError, match=r"a\.png: not a photo"):
            import_coco(listing, tmp_path, source="web", complete=frozenset(), renames={"dog": "-"})
