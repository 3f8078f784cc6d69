"""False alarms become labels to be looked over: which pictures come in, what their labels are, and what stays out."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.evidence import pixelate
from edge.evidence import recorder as node
from edge.evidence.jpeg import encode
from edge.values import Box, Image
from models.data import DataError
from models.data.interchange import import_yolo
from models.data.pictures import Pixels
from models.eval.network import Seen
from models.harvest import SAME, Mark, clear_faces, harvest, perceptual_hash, read_marks, unmarked
from tests.models.photos import Mark as Label
from tests.models.photos import boxes

WIDE, HIGH = 320, 240
BODY: Label = ("person", 0.5, 0.6, 0.3, 0.7)
BARE: Label = ("no_helmet", 0.5, 0.35, 0.125, 0.2)  # 40 x 48 pixels
HAT: Label = ("helmet", 0.5, 0.3, 0.125, 0.1)
FACE: Box = (132.0, 60.0, 188.0, 118.0)


def scene(seed: int) -> Image:
    """Soft light and dark places, none of them red; another seed, another place."""
    coarse = np.random.default_rng(seed).integers(60, 170, (6, 8, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (WIDE, HIGH), interpolation=cv2.INTER_CUBIC), np.uint8)


def with_face(image: Image) -> Image:
    """A patch as finely structured as a face that was not hidden."""
    out = image.copy()
    x1, y1, x2, y2 = (int(v) for v in FACE)
    out[y1:y2, x1:x2] = np.random.default_rng(9).integers(40, 216, (y2 - y1, x2 - x1, 3), np.uint8)
    return out


def stored(folder: Path, image: Image) -> str:
    data = encode(image, 85)
    sha = hashlib.sha256(data).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{sha}.jpg").write_bytes(data)
    return sha


def saw(*seen: tuple[Label, float]) -> Callable[[Pixels, float], Seen]:
    def look(picture: Pixels, floor: float) -> Seen:
        kept = [pair for pair in seen if pair[1] >= floor]
        return Seen(boxes(*(mark for mark, _ in kept)), np.array([c for _, c in kept], float))

    return look


def test_what_was_accused_is_no_label_and_the_rest_is(tmp_path: Path) -> None:
    sha = stored(tmp_path / "evidence" / "2026", pixelate(with_face(scene(1)), [FACE]))
    look = saw((BODY, 0.9), (BARE, 0.6), (HAT, 0.2))
    queue = harvest(tmp_path / "evidence", [Mark(sha, "helmet", "wears one")], look, tmp_path / "queue")
    assert [(q.outcome, q.labels, q.accused) for q in queue] == [("queued", 1, 1)]
    (photo,) = import_yolo(tmp_path / "queue" / "set", source="yard", complete=frozenset({"helmet", "no_helmet"}))
    assert photo.name == f"yard_{sha[:16]}"
    assert photo.boxes.classes.tolist() == boxes(BODY).classes.tolist()
    assert photo.boxes.xywh == pytest.approx(boxes(BODY).xywh, abs=1e-6)
    assert photo.split == "train"
    assert photo.complete == {"helmet", "no_helmet"}
    with (tmp_path / "queue" / "queue.tsv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file, delimiter="\t")
    assert (row["sha256"], row["rule"], row["reason"], row["outcome"]) == (sha, "helmet", "wears one", "queued")
    assert cv2.imread(str(tmp_path / "queue" / "review.jpg")) is not None


@pytest.mark.parametrize(
    ("rule", "labels"),
    [("helmet", ["person"]), ("intrusion", ["no_helmet"]), ("hi_vis", ["person", "no_helmet"]), ("weather", None)],
)
def test_who_is_accused_depends_on_the_rule(rule: str, labels: list[str] | None, tmp_path: Path) -> None:
    sha = stored(tmp_path / "evidence", scene(1))
    look = saw((BODY, 0.9), (BARE, 0.6))
    (queued,) = harvest(tmp_path / "evidence", [Mark(sha, rule, "")], look, tmp_path / "queue")
    assert queued.labels == (2 if labels is None else len(labels))
    assert queued.labels + queued.accused == 2


def test_what_is_left_out_and_why(tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    first, again = stored(folder, scene(1)), stored(folder, np.clip(scene(1).astype(int) + 6, 0, 255).astype(np.uint8))
    other, sharp = stored(folder, scene(2)), stored(folder, with_face(scene(3)))
    marks = [Mark(sha, "intrusion", "") for sha in (first, again, other, sharp, "0" * 64)]
    queue = harvest(folder, marks, saw((BARE, 0.9)), tmp_path / "queue")
    assert [q.outcome for q in queue] == [
        "queued",
        f"same as {first[:16]}",
        "queued",
        "face not hidden",
        "no such picture",
    ]
    kept = {path.stem for path in (tmp_path / "queue" / "set" / "images").iterdir()}
    assert kept == {first[:16], other[:16]}


def test_a_folder_with_none_of_the_pictures_is_the_wrong_folder(tmp_path: Path) -> None:
    stored(tmp_path / "evidence", scene(1))
    marks = [Mark("0" * 64, "helmet", ""), Mark("1" * 64, "helmet", "")]
    with pytest.raises(DataError, match="has none of the 2 pictures"):
        harvest(tmp_path / "evidence", marks, saw(), tmp_path / "queue")
    assert not (tmp_path / "queue").exists()


def test_who_has_looked_decides_about_faces(tmp_path: Path) -> None:
    sha = stored(tmp_path / "evidence", with_face(scene(3)))
    marks = tmp_path / "marks.json"
    for number, (hidden, wanted) in enumerate([(False, "face not hidden"), (True, "queued")]):
        marks.write_text(json.dumps([GOOD | {"sha256": sha, "faces_hidden": hidden}]), encoding="utf-8")
        (queued,) = harvest(tmp_path / "evidence", read_marks(marks), saw((BARE, 0.9)), tmp_path / f"queue-{number}")
        assert queued.outcome == wanted


def test_a_face_hidden_as_a_node_does_it_is_let_through() -> None:
    seen = boxes(BARE)
    assert clear_faces(with_face(scene(1)), seen) == 1
    assert clear_faces(pixelate(with_face(scene(1)), [FACE]), seen) == 0
    far = boxes(("no_helmet", 0.5, 0.35, 0.04, 0.06))
    assert clear_faces(with_face(scene(1)), far) == 0  # nobody could be known by it


def test_the_red_outline_of_evidence_is_painted_over() -> None:
    clean = scene(4)
    outlined = clean.copy()
    cv2.rectangle(outlined, (100, 50), (220, 200), node._RED, 2)
    through_jpeg = np.asarray(cv2.imdecode(np.frombuffer(encode(outlined, node._QUALITY), np.uint8), 1), np.uint8)
    before = np.abs(through_jpeg.astype(int) - clean).max(axis=2)
    after = np.abs(unmarked(through_jpeg).astype(int) - clean).max(axis=2)
    assert (before > 60).sum() > 800
    assert (after > 60).sum() < 80


def test_red_things_stay() -> None:
    spotted, wall = scene(4), scene(4)
    cv2.circle(spotted, (100, 100), 8, node._RED, -1)
    wall[:, :160] = node._RED
    assert (unmarked(spotted) == spotted).all()
    assert (unmarked(wall) == wall).all()


def test_hashes_of_one_scene_are_near_and_of_two_are_not() -> None:
    first = scene(1)
    small = np.asarray(cv2.resize(first, (160, 120), interpolation=cv2.INTER_AREA), np.uint8)
    assert (perceptual_hash(first) ^ perceptual_hash(small)).bit_count() <= SAME
    others = [(perceptual_hash(first) ^ perceptual_hash(scene(seed))).bit_count() for seed in range(2, 12)]
    assert min(others) > SAME


def test_a_picture_that_was_changed_is_an_error(tmp_path: Path) -> None:
    sha = stored(tmp_path / "evidence", scene(1))
    (tmp_path / "evidence" / f"{sha}.jpg").write_bytes(encode(scene(2), 85))
    with pytest.raises(DataError, match="is not the picture that its name says"):
        harvest(tmp_path / "evidence", [Mark(sha, "helmet", "")], saw(), tmp_path / "queue")


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "labels-of-somebody.txt").touch()
    with pytest.raises(DataError, match="queue: is not empty"):
        harvest(tmp_path, [], saw(), tmp_path / "queue")


GOOD = {"sha256": "AB" * 32, "rule": "helmet", "reason": "cap"}


def test_marks_come_as_json_or_csv(tmp_path: Path) -> None:
    wanted = [Mark("ab" * 32, "helmet", "cap")]
    as_json, as_csv = tmp_path / "m.json", tmp_path / "m.csv"
    as_json.write_text(json.dumps([GOOD]), encoding="utf-8")
    as_csv.write_text(f"rule,reason,sha256,who\nhelmet,cap,{'ab' * 32},Li\n", encoding="utf-8")
    assert read_marks(as_json) == read_marks(as_csv) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        pytest.param("{", "no JSON", id="broken"),
        pytest.param("{}", "must be a list", id="no list"),
        pytest.param('[{"rule": "helmet"}]', "entry 1: needs sha256, rule and reason", id="lacks fields"),
        pytest.param(json.dumps([GOOD, GOOD | {"sha256": "../x"}]), "entry 2: sha256 must be 64 hex", id="a path"),
    ],
)
def test_marks_that_are_wrong(text: str, wanted: str, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=wanted):
        read_marks(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_marks(tmp_path / "gone.json")
