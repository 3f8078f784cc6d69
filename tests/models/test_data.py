"""Labelled photos: what is read, merged, split, counted and shown."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.data import CLASSES, Boxes, DataError, Photo, merge, nobody, read_set, write_set
from models.data.frames import extract, is_frame
from models.data.heads import HAT_BOTTOM, HAT_TOP, HEAD_HEIGHT, hats, whole_heads
from models.data.labels import overlap, parse, render
from models.data.labelset import joined
from models.data.merge import split
from models.data.pictures import pixels_of
from models.data.pseudo import add_pseudo_labels, taught
from models.data.report import count, table
from models.data.review import COLOURS, drawn, review
from models.data.sources import SOURCES, HeadBox
from models.data.street import add, read
from tests.models.command import model
from tests.models.photos import Mark, boxes, data_folder, photo, picture


def same(one: Boxes, other: Boxes, within: float = 2e-6) -> bool:
    return one.classes.tolist() == other.classes.tolist() and np.allclose(one.xywh, other.xywh, rtol=0, atol=within)


# Frames of drives


def drive(folder: Path, city: str, frames: int) -> None:
    """Frame n has the brightness 8 n."""
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    with av.open(folder / "clips" / f"workzone-{city}.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            grey = np.full((48, 64, 3), 8 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="bgr24")))
        container.mux(stream.encode())


def test_a_frame_of_a_drive_is_a_photo_of_its_group(tmp_path: Path) -> None:
    drive(tmp_path, "old_town", 20)
    named = ["clip_old_town_0012", "clip_old_town_0003", "clip_elsewhere_0001"]  # the last drive is not there
    photos = extract(tmp_path, named, tmp_path / "out", {"wz_old_town": "train"})
    assert [(one.name, one.split, one.group) for one in photos] == [
        ("clip_old_town_0003", "train", "wz_old_town"),
        ("clip_old_town_0012", "train", "wz_old_town"),
    ]
    for one, brightness in zip(photos, (24, 96), strict=True):
        assert abs(float(np.mean(pixels_of(one.path))) - brightness) < 4
    made = add(photos, {"clip_old_town_0003": boxes(("cone", 0.5, 0.5, 0.2, 0.2))})
    assert [sorted(one.complete) for one in made] == [["barrier", "cone", "sign", "warning_light"], []]


@pytest.mark.parametrize(
    ("name", "splits", "told"),
    [
        ("clip_here_0099", {"wz_here": "train"}, "ends before frame 99"),
        ("clip_here_0001", {"wz_there": "train"}, "no photo is of group wz_here"),
        ("here_0001", {"wz_here": "train"}, "no frame of a drive"),
    ],
)
def test_a_frame_that_cannot_be_had_is_named(tmp_path: Path, name: str, splits: dict[str, str], told: str) -> None:
    drive(tmp_path, "here", 5)
    with pytest.raises(DataError, match=told):
        extract(tmp_path, [name], tmp_path / "out", splits)


def test_labelled_frames_are_of_no_drive_that_measures(shared: Path, tmp_path: Path) -> None:
    photos = [one for one in merge(shared / "data", tmp_path) if is_frame(one.name)]
    assert len(photos) == sum(map(is_frame, read()))
    assert {one.split for one in photos} == {"train"}


# Labels of the project itself


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name\tboxes\n", "expected ['photo', 'boxes']"),
        ("photo\tboxes\na\n", ":2: 1 columns"),
        ("photo\tboxes\na\t\na\t\n", ":3: photo a comes twice"),
        ("photo\tboxes\na\tcone 0.1 0.1 x 0.2\n", ":2: 'cone 0.1 0.1 x 0.2' is not"),
        ("photo\tboxes\na\tcone 0.1 0.1 0.2\n", "left < right"),
        ("photo\tboxes\na\tcone 0.3 0.1 0.2 0.2\n", "left < right"),
        ("photo\tboxes\na\tcone 0.1 0.1 1.2 0.2\n", "from 0 to 1"),
        ("photo\tboxes\na\thelmet 0.1 0.1 0.2 0.2\n", "class 'helmet'"),
    ],
)
def test_a_bad_row_of_own_labels_is_named(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "street.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(told)):
        read(tmp_path / "street.tsv")


def test_own_labels_complete_a_training_photo(tmp_path: Path) -> None:
    (tmp_path / "street.tsv").write_text("photo\tboxes\na\tcone 0.1 0.1 0.3 0.5;sign 0 0 1 1\nb\t\n", encoding="utf-8")
    one = photo(tmp_path / "a", [("helmet", 0.5, 0.5, 0.1, 0.1), ("cone", 0.9, 0.9, 0.1, 0.1)], complete=("helmet",))
    two, three = photo(tmp_path / "b"), photo(tmp_path / "c")
    made = add([one, two, three], read(tmp_path / "street.tsv"))
    assert same(
        made[0].boxes,
        boxes(("helmet", 0.5, 0.5, 0.1, 0.1), ("cone", 0.2, 0.3, 0.2, 0.4), ("sign", 0.5, 0.5, 1, 1)),
    )
    street = {"barrier", "cone", "warning_light", "sign"}
    assert [set(one.complete) for one in made] == [street | {"helmet"}, street, set()]
    assert [one.source for one in made] == ["here+street", "here+street", "here"]


def test_where_the_eye_sees_nobody_people_are_complete(tmp_path: Path) -> None:
    (tmp_path / "nobody.tsv").write_text("photo\na\nelsewhere\n", encoding="utf-8")
    names = nobody.read(tmp_path / "nobody.tsv")
    made = nobody.add([photo(tmp_path / "a", complete=("cone",)), photo(tmp_path / "b")], names)
    assert [set(one.complete) for one in made] == [{"cone", "person", "helmet", "no_helmet", "vest", "no_vest"}, set()]


@pytest.mark.parametrize(("text", "told"), [("name\na\n", "column is 'name'"), ("photo\na\na\n", "a comes twice")])
def test_a_bad_list_of_nobody_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "nobody.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=told):
        nobody.read(tmp_path / "nobody.tsv")


@pytest.mark.parametrize(
    ("split", "marks", "told"),
    [
        ("val", [], "photo a is in the val split"),
        ("test", [], "photo a is in the test split"),
        ("train", [("vest", 0.5, 0.5, 0.1, 0.1)], "photo a has somebody labelled"),
    ],
)
def test_nobody_is_said_of_no_photo_that_measures_or_shows_somebody(
    tmp_path: Path, split: str, marks: list[Mark], told: str
) -> None:
    with pytest.raises(DataError, match=told):
        nobody.add([photo(tmp_path / "a", marks, split=split)], {"a"})


@pytest.mark.parametrize("measures", ["val", "test"])
def test_own_labels_are_never_of_what_measures(tmp_path: Path, measures: str) -> None:
    with pytest.raises(DataError, match=f"photo a is in the {measures} split"):
        add([photo(tmp_path / "a", split=measures)], {"a": Boxes()})


# YOLO text


@st.composite
def some_boxes(draw: st.DrawFn) -> Boxes:
    """Inside the photo, not thinner than a thousandth of it."""
    n = draw(st.integers(0, 6))
    side = st.floats(0.001, 1)
    sizes = [(draw(side), draw(side)) for _ in range(n)]
    rows = [
        [draw(st.floats(width / 2, 1 - width / 2)), draw(st.floats(height / 2, 1 - height / 2)), width, height]
        for width, height in sizes
    ]
    kinds = [draw(st.integers(0, len(CLASSES) - 1)) for _ in range(n)]
    return Boxes(np.array(kinds, np.int64), np.array(rows, np.float64).reshape(-1, 4))


@given(some_boxes())
def test_text_gives_the_same_boxes_back(some: Boxes) -> None:
    assert same(parse(render(some), "labels", len(CLASSES)), some)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("0 0.5 0.5 0.2", "a box has 5"),
        ("0 0.5 0.5 0.2 0.2 0.9", "a box has 5"),
        ("cone 0.5 0.5 0.2 0.2", "in numbers"),
        ("0.5 0.5 0.5 0.2 0.2", "in numbers"),
        ("11 0.5 0.5 0.2 0.2", "class 11"),
        ("-1 0.5 0.5 0.2 0.2", "class -1"),
        ("0 0.5 0.5 0 0.2", "above 0"),
        ("0 0.5 0.5 nan 0.2", "above 0"),
        ("0 208 208 64 64", "shares"),
        ("0 0.95 0.5 0.2 0.2", "leaves the photo"),
    ],
)
def test_a_bad_line_is_named(line: str, told: str) -> None:
    with pytest.raises(DataError, match=rf"some\.txt:2: .*{told}"):
        parse(f"0 0.5 0.5 0.2 0.2\n{line}\n", "some.txt", len(CLASSES))


def test_a_box_a_little_outside_is_cut() -> None:
    assert same(parse("3 0.995 0.5 0.02 0.2", "here", len(CLASSES)), boxes(("vest", 0.9925, 0.5, 0.015, 0.2)))


def test_overlap() -> None:
    square = boxes(("cone", 0.25, 0.25, 0.5, 0.5), ("cone", 0.5, 0.5, 1, 1), ("cone", 0.75, 0.75, 0.5, 0.5)).xyxy
    assert overlap(square, square).tolist() == [[1, 0.25, 0], [0.25, 1, 0.25], [0, 0.25, 1]]


# Heads


def test_a_helmet_around_the_whole_head_is_cut_to_the_hat() -> None:
    made = hats(boxes(("helmet", 0.5, 0.5, 0.2, 0.4), ("no_helmet", 0.2, 0.2, 0.1, 0.2)))
    assert np.allclose(made.xyxy[0], [0.4, 0.3 + 0.4 * HAT_TOP, 0.6, 0.3 + 0.4 * HAT_BOTTOM])
    assert np.allclose(made.xywh[1], [0.2, 0.2, 0.1, 0.2])


@pytest.mark.parametrize(
    ("person", "chin"),
    [
        (("person", 0.5, 0.5, 0.6, 0.9), 0.2 + 0.1 * HEAD_HEIGHT * 2),
        (("person", 0.5, 0.2, 0.6, 0.26), 0.33),  # the person is cut off there
        (("person", 0.1, 0.5, 0.1, 0.2), 0.2 + 0.1 * HEAD_HEIGHT * 2),  # somebody else
    ],
)
def test_a_bare_head_reaches_the_chin_but_not_below_its_person(
    person: tuple[str, float, float, float, float], chin: float
) -> None:
    made = whole_heads(boxes(("no_helmet", 0.5, 0.25, 0.1, 0.1), person), aspect=2.0)
    assert made.xyxy[0].tolist() == pytest.approx([0.45, 0.2, 0.55, chin])
    assert same(made.of("person"), boxes(person))


@given(some_boxes(), st.floats(0.3, 3))
def test_a_head_never_shrinks_and_hats_never_grow(some: Boxes, aspect: float) -> None:
    grown, cut = whole_heads(some, aspect), hats(some)
    assert (grown.xyxy[:, 3] >= some.xyxy[:, 3] - 1e-9).all()
    assert np.allclose(grown.xyxy[:, :3], some.xyxy[:, :3])
    assert (cut.xywh[:, 3] <= some.xywh[:, 3] + 1e-9).all()


# Sources and merging


def test_every_source_says_what_it_is_complete_for() -> None:
    for source in SOURCES.values():
        assert source.complete <= set(source.classes.values()) <= set(CLASSES)
        assert ("helmet" in source.complete) == (source.heads is not HeadBox.NONE)


ROWS = [
    ("rf_1", "rf100_cs", "train", "1", ""),
    ("bl_1", "barrier_light", "train", "1", "rf_1"),
    ("tr_2", "tracon", "test", "2", ""),
    ("bl_2", "barrier_light", "test", "2", "tr_2"),
    ("hh_3", "hhw", "train", "3", ""),
]
LABELS = {
    "rf_1": "0 0.5 0.2 0.1 0.1\n3 0.5 0.5 0.2 0.8\n",
    "bl_1": "0 0.2 0.8 0.4 0.2\n",
    "tr_2": "0 0.3 0.3 0.1 0.1\n",
    "bl_2": "1 0.6 0.6 0.1 0.1\n3 0.9 0.9 0.1 0.1\n",
    "hh_3": "2 0.5 0.5 0.2 0.8\n1 0.5 0.2 0.1 0.2\n",
}


def merged(root: Path) -> dict[str, Photo]:
    return {photo.name: photo for photo in merge(data_folder(root, ROWS, LABELS), val_share=0)}


def test_twins_become_one_photo_with_the_labels_of_both(tmp_path: Path) -> None:
    photos = merged(tmp_path)
    assert sorted(photos) == ["hh_3", "rf_1", "tr_2"]
    joined = photos["rf_1"]
    assert joined.source == "rf100_cs+barrier_light"
    assert same(joined.boxes.of("barrier"), boxes(("barrier", 0.2, 0.8, 0.4, 0.2)))
    assert len(joined.boxes.of("helmet")) == len(joined.boxes.of("person")) == 1
    assert joined.complete == SOURCES["rf100_cs"].complete | SOURCES["barrier_light"].complete


def test_where_both_label_a_class_the_later_one_is_right(tmp_path: Path) -> None:
    assert same(merged(tmp_path)["tr_2"].boxes.of("cone"), boxes(("cone", 0.6, 0.6, 0.1, 0.1)))


def test_labels_of_a_class_that_is_not_complete_are_kept_but_claim_nothing(tmp_path: Path) -> None:
    head = merged(tmp_path)["hh_3"]
    assert len(head.boxes.of("person")) == 1
    assert head.complete == {"helmet", "no_helmet"}
    assert head.boxes.of("helmet").xyxy[0].tolist() == pytest.approx([0.45, 0.104, 0.55, 0.23])


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (("x", "elsewhere", "train", "9", ""), "unknown source 'elsewhere'"),
        (("x", "hhw", "val", "9", ""), "split 'val'"),
        (("hh_3", "hhw", "train", "3", ""), "comes twice"),
        (("x", "hhw", "test", "1", ""), "group 1 is in train and in test"),
        (("x", "hhw", "train", "9", "rf_1"), "its twin 'rf_1'"),
    ],
)
def test_a_bad_index_is_named(tmp_path: Path, row: tuple[str, str, str, str, str], told: str) -> None:
    folder = data_folder(tmp_path, ROWS, LABELS)
    with (folder / "images.tsv").open("a", encoding="utf-8") as file:
        file.write("\t".join(row) + "\n")
    with pytest.raises(DataError, match=told):
        merge(folder)


@pytest.mark.parametrize("gone", ["images.tsv", "hhw/classes.txt", "hhw/labels/hh_3.txt", "hhw/images/hh_3.webp"])
def test_a_missing_file_is_named(tmp_path: Path, gone: str) -> None:
    folder = data_folder(tmp_path, ROWS, LABELS)
    (folder / gone).unlink()
    with pytest.raises(DataError, match=Path(gone).name):
        merge(folder)


# Splits


@st.composite
def crowd(draw: st.DrawFn) -> list[Photo]:
    count = draw(st.integers(1, 60))
    made = []
    for number in range(count):
        group = draw(st.integers(0, 20))
        source = ("rf100_cs", "hhw", "css_v28")[draw(st.integers(0, 2))]
        made.append(photo(Path(f"{number:03}.webp"), source=source, group=str(group), split="train"))
    tested = {str(group) for group in draw(st.sets(st.integers(0, 20), max_size=4))}
    return [replace(one, split="test") if one.group in tested else one for one in made]


@given(crowd(), st.sampled_from([0.0, 0.1, 0.3]), st.integers(0, 3), st.randoms())
def test_val_is_whole_groups_of_train_in_any_order(photos: list[Photo], share: float, seed: int, dice: object) -> None:
    done = split(photos, val_share=share, seed=seed)
    splits: dict[str, set[str]] = {}
    for one in done:
        splits.setdefault(one.group, set()).add(one.split)
    assert all(len(some) == 1 for some in splits.values())
    before = {one.name: one.split for one in photos}
    assert all(before[one.name] == ("train" if one.split == "val" else one.split) for one in done)
    assert not any(one.split == "val" and one.source == "css_v28" for one in done)
    dice.shuffle(photos)  # type: ignore[attr-defined]
    assert split(photos, val_share=share, seed=seed) == done


def test_what_was_labelled_to_be_learned_from_stays_in_training_whatever_is_drawn() -> None:
    photos = [photo(Path(f"rf100_cs_{n}.webp"), source="rf100_cs", group=f"g{n // 2}") for n in range(40)]
    drawn = {one.name for one in split(photos, val_share=0.3, seed=1) if one.split == "val"}
    kept = min(drawn)
    done = {one.name: one.split for one in split(photos, val_share=0.3, seed=1, kept=frozenset({kept}))}
    (group,) = {one.group for one in photos if one.name == kept}
    stayed = {one.name for one in photos if one.group == group}
    assert {name for name, where in done.items() if where == "val"} == drawn - stayed


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(DataError, match="val_share is"):
        split([], val_share=share, seed=0)


def test_val_has_its_share_of_each_source() -> None:
    photos = [
        photo(Path(f"{source}_{number}.webp"), source=source)
        for source, many in (("rf100_cs", 200), ("tracon", 40), ("css_v28", 100))
        for number in range(many)
    ]
    val = Counter(one.source for one in split(photos, val_share=0.1, seed=1) if one.split == "val")
    assert val == {"rf100_cs": 20, "tracon": 4}
    other = {one.name for one in split(photos, val_share=0.1, seed=2) if one.split == "val"}
    assert other != {one.name for one in split(photos, val_share=0.1, seed=1) if one.split == "val"}


# The set on disk


def test_a_set_is_read_as_it_was_written(tmp_path: Path) -> None:
    photos = [
        photo(
            picture(tmp_path / "from" / f"{name}.png", seed=number),
            [("cone", 0.5, 0.5, 0.2, 0.2)] * number,
            split=part,
            group="g",
            source="rf100_cs+barrier_light",
            complete=("cone", "sign"),
            ignore=[("person", 0.2, 0.2, 0.1, 0.1)] if number == 1 else (),
        )
        for number, (name, part) in enumerate([("a", "train"), ("b", "val"), ("c", "test")])
    ]
    listing = write_set(photos, tmp_path / "set")
    for before, after in zip(photos, read_set(tmp_path / "set"), strict=True):
        assert same(after.boxes, before.boxes)
        assert same(after.ignore, before.ignore)
        assert replace(after, path=before.path, boxes=before.boxes, ignore=before.ignore) == before
        assert after.path.read_bytes() == before.path.read_bytes()
    assert (listing.parent / "val.txt").read_text(encoding="utf-8") == "./images/b.png\n"


def test_writing_again_leaves_nothing_behind(tmp_path: Path) -> None:
    first, second = (photo(picture(tmp_path / "from" / f"{name}.png")) for name in "ab")
    write_set([first], tmp_path / "set")
    write_set([second], tmp_path / "set")
    assert [one.name for one in read_set(tmp_path / "set")] == ["b"]
    assert [path.name for path in (tmp_path / "set" / "labels").iterdir()] == ["b.txt"]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    precious = picture(tmp_path / "images" / "a.png")
    with pytest.raises(DataError, match="no labelled set"):
        write_set([photo(precious)], tmp_path)
    assert precious.is_file()


def test_a_set_is_not_replaced_by_photos_that_lie_in_it(tmp_path: Path) -> None:
    write_set([photo(picture(tmp_path / "from" / "a.png"))], tmp_path / "set", copy=True)
    with pytest.raises(DataError, match="lies in the folder"):
        write_set(read_set(tmp_path / "set"), tmp_path / "set")
    assert read_set(tmp_path / "set")[0].path.is_file()


def test_two_photos_of_one_name_are_refused(tmp_path: Path) -> None:
    one = photo(picture(tmp_path / "a" / "x.png"))
    with pytest.raises(DataError, match="1 photos have a name"):
        write_set([one, photo(picture(tmp_path / "b" / "x.png"))], tmp_path / "set")


# Several sets


def test_sets_are_joined_for_the_next_training(tmp_path: Path) -> None:
    first = [photo(picture(tmp_path / "from" / f"{name}.png"), split=name) for name in ("train", "val", "test")]
    more = [photo(picture(tmp_path / "more" / "yard_1.png"), [("cone", 0.5, 0.5, 0.2, 0.2)], source="yard")]
    for photos, folder in ((first, "a"), (more, "b")):
        write_set(photos, tmp_path / folder)
    done = model("data", "join", tmp_path / "out", tmp_path / "a", tmp_path / "b")
    assert done.returncode == 0, done.stderr
    found = {one.name: (one.split, one.source, len(one.boxes)) for one in read_set(tmp_path / "out")}
    assert found["yard_1"] == ("train", "yard", 1)
    assert {name: where for name, (where, _, _) in found.items() if name != "yard_1"} == {
        "train": "train", "val": "val", "test": "test"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "split_", "group", "says"),
    [
        ("a", "train", "g2", "1 photos are in two of the sets, the first is a"),
        ("b", "val", "g", "group g is in the splits"),
    ],
)
def test_sets_that_do_not_go_together_are_refused(name: str, split_: str, group: str, says: str) -> None:
    one, other = photo(Path("a.png"), group="g"), photo(Path(f"{name}.png"), split=split_, group=group)
    with pytest.raises(DataError, match=says):
        joined([one], [other])


# Report and review


def test_the_report_counts_and_says_what_is_not_labelled() -> None:
    photos = [
        photo(Path("a.png"), [("cone", 0.5, 0.5, 0.01, 0.01)], source="x", complete=["cone"]),
        photo(Path("b.png"), [("person", 0.5, 0.5, 0.3, 0.3)], source="x", complete=["cone"]),
        photo(Path("c.png"), [], source="y", split="test", complete=["sign"]),
    ]
    counts = count(photos)
    both = counts["x"]["train"]
    assert (both.photos, both.empty, both.small) == (2, 0, 1)
    assert both.boxes == {"person": 1, "cone": 1}
    assert both.complete == {"cone": 2}
    assert counts["y"]["test"].empty == 1
    cells = {str(column.header): list(column.cells) for column in table(counts).columns}
    assert cells["person"] == ["(1)", "–", "1", "0"]
    assert cells["cone"] == ["1", "–", "1", "0"]
    assert cells["sign"] == ["–", "0", "0", "0"]


def test_labels_are_drawn_in_their_colour_where_they_are() -> None:
    black = np.zeros((100, 200, 3), np.uint8)
    shown = drawn(black, boxes(("helmet", 0.5, 0.5, 0.5, 0.5)))
    assert shown[25, 100].tolist() == list(COLOURS["helmet"])
    assert not shown[50, 100].any()
    assert not black.any()


def test_a_contact_sheet_shows_what_was_asked_for(tmp_path: Path) -> None:
    photos = [
        photo(picture(tmp_path / f"{number}.png", seed=number), [("cone", 0.5, 0.5, 0.2, 0.2)] * (number % 2))
        for number in range(8)
    ]
    made = review(photos, tmp_path / "sheet.jpg", kind="cone", columns=3, side=100)
    shown = cv2.imread(str(made))
    assert shown is not None
    assert shown.shape == (2 * 114 + 18, 300, 3)  # four cones in two rows, and the legend
    again = review(photos, tmp_path / "again.jpg", kind="cone", columns=3, side=100)
    assert made.read_bytes() == again.read_bytes()
    with pytest.raises(DataError, match="no photo fits"):
        review(photos, tmp_path / "none.jpg", kind="sign")
    with pytest.raises(DataError, match="class 'hat'"):
        review(photos, tmp_path / "none.jpg", kind="hat")


# A teacher's labels


def test_a_sure_teacher_labels_a_half_sure_one_only_warns() -> None:
    one = photo(Path("a.png"), [("person", 0.3, 0.3, 0.2, 0.2)], complete=["cone"])
    found = boxes(
        ("person", 0.31, 0.3, 0.2, 0.2),  # labelled already
        ("person", 0.8, 0.3, 0.2, 0.2),
        ("vest", 0.8, 0.3, 0.1, 0.1),
        ("person", 0.8, 0.8, 0.1, 0.1),
        ("cone", 0.5, 0.9, 0.1, 0.1),  # the source is complete for cones
    )
    confidence = np.array([0.9, 0.9, 0.4, 0.1, 0.9])
    made = taught(one, found, confidence, frozenset({"person", "vest"}), sure=0.6, half_sure=0.2)
    assert same(made.boxes, boxes(("person", 0.3, 0.3, 0.2, 0.2), ("person", 0.8, 0.3, 0.2, 0.2)))
    assert same(made.ignore, boxes(("vest", 0.8, 0.3, 0.1, 0.1)))
    assert made.complete == {"cone", "person", "vest"}


def test_a_teacher_never_looks_at_what_measures(tmp_path: Path) -> None:
    photos = [photo(picture(tmp_path / f"{part}.png"), split=part) for part in ("train", "val", "test")]
    seen = []

    def teacher(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> tuple[Boxes, np.ndarray]:
        seen.append(pixels.shape)
        return boxes(("person", 0.5, 0.5, 0.2, 0.2)), np.array([0.9])

    made = list(add_pseudo_labels(photos, teacher, frozenset({"person"})))
    assert seen == [(48, 64, 3)]
    assert [len(one.boxes) for one in made] == [1, 0, 0]
    assert made[1:] == photos[1:]


# The command, and the data itself


def test_one_command_builds_the_set_and_another_reports_it(tmp_path: Path) -> None:
    folder = data_folder(tmp_path / "data", ROWS, LABELS)
    assert model("data", "build", folder, tmp_path / "set").returncode == 0
    told = json.loads(model("data", "report", tmp_path / "set", "--json").stdout)
    assert told["rf100_cs+barrier_light"]["train"]["boxes"] == {"person": 1, "helmet": 1, "barrier": 1}
    wrong = model("data", "report", tmp_path / "nowhere")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: ")
    assert "Traceback" not in wrong.stderr


def test_the_real_data_merges_as_described(shared: Path) -> None:
    photos = merge(shared / "data")
    index = (shared / "data" / "images.tsv").read_text(encoding="utf-8").splitlines()[1:]
    twins = sum(bool(line.split("\t")[4]) for line in index)
    assert len(photos) == len(index) - twins
    tested = {line.split("\t")[0] for line in index if line.split("\t")[2] == "test"}
    assert {one.name for one in photos if one.split == "test"} <= tested
    groups = [{one.group for one in photos if one.split == part} for part in ("train", "val", "test")]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    assert 0.08 < sum(one.split == "val" for one in photos) / sum(one.split == "train" for one in photos) < 0.12
    heads = np.concatenate([one.boxes.of("no_helmet").xywh for one in photos if one.source in {"hhw", "hhw+street"}])
    assert len(heads) > 5000
