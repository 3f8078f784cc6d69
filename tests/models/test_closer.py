"""The network of a closer look: learns from what is labelled, and a node uses it as it is written."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.detect import load_closer
from edge.detect.closer import blob_of, cut
from edge.values import WearState
from models.data import CLASSES, DataError, Photo, write_set
from tests.conftest import need
from tests.detect.conftest import EXPORTED
from tests.detect.shipped import CHECKPOINT, SHIPPED
from tests.models.command import model
from tests.models.photos import boxes, photo, picture

COMPLETE = ("helmet", "no_helmet")
RED, BLUE = (30, 30, 220), (220, 60, 30)


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    os.environ.setdefault("YOLO_OFFLINE", "true")
    for package in ("ultralytics", "pnnx", "onnxslim"):
        need(importlib.util.find_spec(package), f"{package} is not installed (make train-env)")


def heads(folder: Path, split: str, count: int, seed: int) -> list[Photo]:
    """Photos of noise with one disc each: a red one is labelled as a helmet, a blue one as a bare head."""
    photos = []
    for number in range(count):
        path = picture(folder / f"{split}{number}.png", 160, 120, seed=seed + number)
        image = cv2.imread(str(path))
        assert image is not None
        kind, colour = (("helmet", RED), ("no_helmet", BLUE))[number % 2]
        cv2.circle(image, (80, 60), 14, colour, -1)
        cv2.imwrite(str(path), image)
        marks = [(kind, 0.5, 0.5, 28 / 160, 28 / 120)]
        photos.append(photo(path, marks, split=split, complete=COMPLETE))
    return photos


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model folder whose closer look was trained on discs, and the numbers of it."""
    folder = tmp_path_factory.mktemp("closer")
    photos = [p for n, split in enumerate(("train", "val", "test")) for p in heads(folder / "from", split, 64, 100 * n)]
    write_set(photos, folder / "set")
    shutil.copytree(SHIPPED, folder / "model")
    done = model(
        "closer", folder / "set", CHECKPOINT, folder / "model", "helmet", "--epochs", "16", "--hard", "0",
        "--results", folder / "closer.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "model", folder / "closer.json"


@pytest.mark.parametrize("runtime", EXPORTED)
def test_a_node_sees_with_it_what_was_learned(made: tuple[Path, Path], tmp_path: Path, runtime: str) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(runtime, runtime))
    look = load_closer(made[0], runtime)["helmet"]  # type: ignore[arg-type]
    said = []
    for one in heads(tmp_path, "new", 20, 900):
        image = np.asarray(cv2.imread(str(one.path)), np.uint8)
        off, on, _ = look.chances(image, (66.0, 46.0, 94.0, 74.0))
        said.append(WearState.ON if on > off else WearState.OFF)
    assert said == 10 * [WearState.ON, WearState.OFF]


def test_it_takes_the_place_of_the_one_before_and_is_told_of(made: tuple[Path, Path]) -> None:
    before, after = (
        json.loads((folder / "manifest.json").read_text(encoding="utf-8")) for folder in (SHIPPED, made[0])
    )
    assert [one["on"] for one in after["closer"]] == ["helmet", "person"]
    assert after["closer"][1] == before["closer"][1]
    assert after["closer"][0]["files"] != before["closer"][0]["files"]
    assert {k: v for k, v in after.items() if k != "closer"} == {k: v for k, v in before.items() if k != "closer"}
    told = json.loads(made[1].read_text(encoding="utf-8"))["helmet"]
    assert told["trained_on"]["on"] == told["trained_on"]["off"] == 64  # in both framings
    for split in ("val", "test"):
        assert {label: told[split][label]["labelled"] for label in ("on", "off")} == {"on": 64, "off": 64}
        assert told[split]["on"]["called_off"] == told[split]["off"]["called_on"] == 0


def test_who_is_somebody_is_learned_from_things_and_empty_places(tmp_path: Path) -> None:
    """Red discs are people, blue ones cones; the network has two answers, and a node reads them."""
    names = {"helmet": "person", "no_helmet": "cone"}
    photos = [
        replace(
            one,
            boxes=boxes(
                *((names[CLASSES[k]], *xywh) for k, xywh in zip(one.boxes.classes, one.boxes.xywh, strict=True))
            ),
            complete=frozenset({"person", "cone"}),
        )
        for n, split in enumerate(("train", "val", "test"))
        for one in heads(tmp_path / "from", split, 48, 100 * n)
    ]
    write_set(photos, tmp_path / "set")
    folder = shutil.copytree(SHIPPED, tmp_path / "model")
    done = model(
        "closer", tmp_path / "set", CHECKPOINT, folder, "person", "--epochs", "12", "--hard", "0",
        "--results", tmp_path / "closer.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "closer.json").read_text(encoding="utf-8"))["person"]
    assert set(told["trained_on"]) == {"off", "on"}
    assert told["trained_on"]["on"] == 24
    assert told["trained_on"]["off"] >= 24 + 48  # the cones, and places on all photos
    (entry,) = [one for one in json.loads((folder / "manifest.json").read_text())["closer"] if one["on"] == "person"]
    assert entry["off"] is None
    look = load_closer(folder, "onnx")["person"]
    for one in heads(tmp_path, "new", 10, 900):
        image = np.asarray(cv2.imread(str(one.path)), np.uint8)
        off, on = look.chances(image, (66.0, 46.0, 94.0, 74.0))
        assert (on > off) == (CLASSES[int(one.boxes.classes[0])] == "helmet")


def test_what_cannot_be_trained_says_why(tmp_path: Path) -> None:
    from models.closer import CloserError, train  # noqa: PLC0415 - brings torch

    write_set(heads(tmp_path / "from", "val", 2, 0), tmp_path / "set")
    with pytest.raises(CloserError, match="'boots': unknown; there are helmet, person"):
        train(tmp_path / "set", CHECKPOINT, SHIPPED, "boots")
    with pytest.raises(DataError, match=r"manifest\.json: cannot be read"):
        train(tmp_path / "set", CHECKPOINT, tmp_path, "helmet")
    other = shutil.copytree(SHIPPED, tmp_path / "other")
    told = json.loads((other / "manifest.json").read_text(encoding="utf-8"))
    told["classes"][told["classes"].index("no_helmet")] = "cap"
    (other / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(CloserError, match="its detector does not know no_helmet, only person, helmet, cap"):
        train(tmp_path / "set", CHECKPOINT, other, "helmet")
    with pytest.raises(CloserError, match="no such file"):
        train(tmp_path / "set", tmp_path / "none.pt", SHIPPED, "helmet")
    with pytest.raises(DataError, match="no photo has a helmet or a no_helmet"):
        train(tmp_path / "set", CHECKPOINT, SHIPPED, "helmet")


corners = st.floats(-200, 400, allow_nan=False)


@given(
    st.tuples(corners, corners, st.floats(0, 300), st.floats(0, 300)), st.sampled_from([96, 125]), st.floats(1, 3)
)  # fmt: skip
def test_training_cuts_out_what_the_node_cuts_out(
    box: tuple[float, float, float, float], side: int, reach: float
) -> None:
    from models import closer  # noqa: PLC0415 - brings torch

    picture = np.random.default_rng(3).integers(0, 256, (120, 160, 3), np.uint8)
    x, y, wide, tall = box
    place = (x, y, x + wide, y + tall)
    square = cut(picture, place, side, reach)
    assert (closer.cut(picture, np.array(place), side, reach) == square).all()
    assert closer.blob_of([square]) == pytest.approx(blob_of(square), abs=1e-6)


def test_a_head_is_shown_in_the_box_of_either_answer() -> None:
    """A hat's box and a bare head's tell nothing of what is in them, once each is drawn both ways."""
    from models.closer import ANSWERS, hat_and_head  # noqa: PLC0415 - brings torch

    head = np.array([10.0, 20.0, 50.0, 70.0])
    as_bare = hat_and_head(head, ANSWERS.index("off"))
    assert as_bare[0] == pytest.approx(head)
    as_hat = hat_and_head(as_bare[1], ANSWERS.index("on"))
    assert np.stack(as_hat) == pytest.approx(np.stack(as_bare))
