"""One command from a training run to the shipped weights and all that is said of them."""

from __future__ import annotations

import importlib.util
import json
import os
import zipfile
from pathlib import Path

import pytest

from edge.detect import load_closer
from models.data import DataError, write_set
from models.data.labels import CLASSES
from models.eval.network import open_network, read_manifest
from models.export import ABOUT
from models.release import release
from tests.conftest import need
from tests.detect.shipped import CHECKPOINT, SHIPPED
from tests.models.command import model
from tests.models.photos import photo, picture

PEOPLE = ("person", "helmet", "no_helmet", "vest", "no_vest")


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    os.environ.setdefault("YOLO_OFFLINE", "true")
    for package in ("ultralytics", "pnnx", "onnxslim"):
        need(importlib.util.find_spec(package), f"{package} is not installed (make train-env)")


def labelled(folder: Path, *splits: str) -> Path:
    photos = [
        photo(
            picture(folder / "from" / f"{split}{number}.png", 128, 96, seed=number),
            [("person", 0.5, 0.5, 0.4, 0.8), ("helmet", 0.5, 0.2, 0.1, 0.1)],
            split=split,
            complete=PEOPLE,
        )
        for split in splits
        for number in range(3)
    ]
    return write_set(photos, folder / "set").parent


@pytest.mark.timeout(300)
def test_what_was_trained_is_shipped_with_numbers_of_its_own(tmp_path: Path) -> None:
    from models.closer import CloserError  # noqa: PLC0415 - brings torch

    about = read_manifest(SHIPPED) | {"source": "a trial", "version": "7"}
    home = tmp_path / "models"
    photos = labelled(tmp_path, "train", "val", "test")
    with pytest.raises(DataError, match="the model before looks closer at helmet, person; train that too"):
        release(CHECKPOINT, photos, "trial", about=about, home=home)
    with pytest.raises(CloserError, match="'boots': unknown; there are helmet, person"):
        release(CHECKPOINT, photos, "trial", about=about, home=home, closer=["helmet", "boots"])
    assert not home.exists()
    out = release(CHECKPOINT, photos, "trial", about=about, home=home, threads=1, closer=["helmet", "person"])
    card = out.read_text(encoding="utf-8")
    assert "# Model card: trial" in card
    assert "a trial. Version 7" in card
    assert "onnx int8" in card
    manifest = read_manifest(home / "weights" / "trial")
    assert "Trained for helmet: 8 epochs" in card
    assert "Trained for person: 8 epochs" in card
    assert "| no person | val |" in card
    for weights in ("trial", "trial-int8"):
        assert load_closer(home / "weights" / weights, "onnx").keys() == {"helmet", "person"}
    assert {key: manifest[key] for key in ABOUT if key != "metrics"} == {k: about[k] for k in ABOUT if k != "metrics"}
    told = json.loads((home / "results" / "trial" / "eval.json").read_text(encoding="utf-8"))
    assert set(manifest["metrics"]["map50"]) == {"person", "helmet"}  # what the test photos show
    assert manifest["metrics"]["map50"]["person"] == round(told["photos"]["classes"]["person"]["ap50"], 3)
    for weights in ("trial", "trial-int8"):
        assert open_network(home / "weights" / weights, "onnx", 1).name == weights
        assert read_manifest(home / "weights" / weights)["overlooked"] == list(CLASSES)  # of noise, or without a photo
    with zipfile.ZipFile(home / "checkpoints" / "trial.pt") as kept:
        inside = kept.read("trial/data.pkl")
    assert str(tmp_path).encode() not in inside
    assert b"optimizer" not in inside


@pytest.mark.parametrize("word", ["no_vest", "no_vest=", "no_vest=2", "boots=0.5", "no_vest=0"])
def test_a_floor_that_is_none_is_named(word: str, tmp_path: Path) -> None:
    done = model(
        "release", CHECKPOINT, tmp_path, "trial", "--version", "7", "--source", "a trial", "--about", SHIPPED,
        "--least", word,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"error: --least {word}: " in done.stderr


def test_without_photos_to_measure_nothing_is_shipped(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="test split"):
        release(CHECKPOINT, labelled(tmp_path, "train", "val"), "trial", about={}, home=tmp_path / "models")
    assert not (tmp_path / "models").exists()
