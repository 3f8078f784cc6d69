"""Real runtimes on real photos, and models that were tampered with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.detect import read_manifest
from edge.doctor.detector import examine_detector, examine_fixtures, examine_model
from edge.doctor.result import Result
from edge.doctor.trial import Trial, attempt, store
from edge.site.model import Detector, SiteFile
from edge.values import Image
from tests.detect.shipped import NAME, SHIPPED
from tests.doctor.builders import ModelFolder

PLACE = {"id": "north-yard", "latitude": 39.91, "longitude": 116.4}


@pytest.fixture(scope="session")
def people(street: Path) -> list[Image]:
    picture = cv2.imread(str(street / "bus.jpg"))
    assert picture is not None
    return [picture.astype(np.uint8)]


def detector(folder: Path, **more: Any) -> Detector:
    return Detector.model_validate({"model": str(folder), "threads": 1, **more})


def codes(results: list[Result]) -> list[str]:
    return [f"{r.about} {r.code}".strip() for r in results]


def tried(model: ModelFolder, pictures: list[Image], looks: float = 0.0, **more: Any) -> list[Result]:
    """With a look that is long enough to be right; how fast is no promise of a busy test machine."""
    return list(examine_detector(detector(model.path, **more), model.path, pictures, looks, measure_s=0.1))


# -- the folder --------------------------------------------------------------------------------------------------------


def test_the_shipped_model_is_whole(tmp_path: Path) -> None:
    results, folder = examine_model(Detector(), tmp_path)
    assert codes(results) == [f"{NAME} ok"]
    assert folder is not None


def flip(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


DAMAGE: dict[str, tuple[Callable[[ModelFolder], object], list[str]]] = {
    "a bit of the weights": (lambda m: m.change("model.ncnn.bin", flip, checksum=False), ["ncnn damaged"]),
    "a file is gone": (lambda m: (m.path / "model.onnx").unlink(), ["onnx damaged", "openvino damaged"]),
    "a closer look is damaged": (
        lambda m: m.change("closer-helmet.onnx", flip, checksum=False),
        ["onnx damaged", "openvino damaged"],
    ),
    "no manifest": (lambda m: (m.path / "manifest.json").unlink(), ["unusable"]),
    "half a manifest": (lambda m: (m.path / "manifest.json").write_text('{"format": 1'), ["unusable"]),
    "another manifest": (lambda m: m.write_manifest(format=2), ["unusable"]),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named(model: ModelFolder, case: str) -> None:
    damage, wanted = DAMAGE[case]
    damage(model)
    results, folder = examine_model(detector(model.path), model.path.parent)
    assert [c.removeprefix(f"{model.path} ") for c in codes(results)] == wanted
    assert (folder is None) == (wanted == ["unusable"])


@pytest.mark.parametrize(
    ("classes", "finding"),
    [
        (["barrier"], ["gate/fence overlooks"]),  # the shipped model misses most of them
        (["barrier", "cone"], ["gate/fence overlooks"]),
        (["cone"], []),
        (["barrier", "sandbag"], ["gate/fence lacks"]),
    ],
)
def test_a_barrier_whose_loss_nobody_would_be_told_of_is_named(classes: list[str], finding: list[str]) -> None:
    fence = {"kind": "barrier", "id": "fence", "line": [[0.1, 0.7], [0.9, 0.7]], "classes": classes}
    lamp = {"kind": "warning_light", "id": "lamp", "polygon": [[0.1, 0.1], [0.2, 0.1], [0.2, 0.2]]}
    camera = {"id": "gate", "source": {"type": "usb"}, "fixtures": [fence, lamp]}
    site = SiteFile.model_validate({"site": PLACE, "node": {"id": "n"}, "cameras": [camera]})
    assert codes(list(examine_fixtures(SHIPPED, site))) == finding


def test_of_a_model_that_nobody_measured_no_absence_is_believed(model: ModelFolder) -> None:
    manifest = {key: value for key, value in model.manifest.items() if key != "overlooked"}
    (model.path / "manifest.json").write_text(json.dumps(manifest))
    told = read_manifest(model.path)
    assert told.overlooks == set(told.classes)


def test_weights_for_developers_look_closer_at_nothing(model: ModelFolder) -> None:
    (model.path / "model.pt").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    model.write_manifest(files=model.manifest["files"] | {"ultralytics": {"model.pt": digest}})
    results, _ = examine_model(detector(model.path), model.path.parent)
    assert [result.code for result in results] == ["ok"]


def test_no_such_model(tmp_path: Path) -> None:
    results, folder = examine_model(Detector.model_validate({"model": "site-v99"}), tmp_path)
    assert (codes(results), folder) == (["site-v99 unusable"], None)


# -- the runtimes ------------------------------------------------------------------------------------------------------


def test_every_runtime_sees_the_same_and_one_is_chosen(model: ModelFolder, people: list[Image]) -> None:
    results = tried(model, people, runtime="onnx")
    runtimes = list(model.manifest["files"])
    assert results[0].code == "reference", "what the others are compared with comes first"
    assert {r.about: r.code for r in results[: len(runtimes)]} == dict.fromkeys(runtimes, "same") | {
        "onnx": "reference"
    }
    for result in results[: len(runtimes)]:
        assert result.fields["pairs"] > 3
        assert float(result.fields["p50"]) > 0
        assert 30 < float(result.fields["rss"]) < 1000
    assert results[len(runtimes)].code in ("chosen", "faster")


def louder(content: bytes) -> bytes:
    """All numbers of the weights two hundredths larger."""
    return (np.frombuffer(content, np.float32) * np.float32(1.02)).tobytes()


def test_a_runtime_that_sees_something_else_is_not_recommended(model: ModelFolder, people: list[Image]) -> None:
    model.only("onnx", "ncnn")
    model.change("model.ncnn.bin", louder)
    results = tried(model, people, runtime="ncnn")
    assert codes(results) == ["onnx reference", "ncnn differs", "ncnn unfit"]
    assert (results[-1].fields["best"], results[-1].bad) == ("onnx", True)


def test_weights_that_no_runtime_can_load(model: ModelFolder, people: list[Image]) -> None:
    model.only("onnx")
    model.change("model.onnx", lambda content: content[:1000])
    assert codes(tried(model, people, runtime="onnx")) == ["onnx broken", "none"]


def test_the_chosen_runtime_has_no_weights(model: ModelFolder, people: list[Image]) -> None:
    model.only("onnx")
    assert codes(tried(model, people, runtime="ncnn")) == ["onnx reference", "ncnn unfit"]


def test_a_runtime_that_is_not_installed(
    model: ModelFolder, people: list[Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ncnn.py").write_text("raise ModuleNotFoundError(\"No module named 'ncnn'\", name='ncnn')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    model.only("onnx", "ncnn")
    assert codes(tried(model, people, runtime="onnx")) == ["onnx reference", "ncnn absent", "onnx chosen"]


@pytest.mark.parametrize("pictures", [[], [np.full((240, 320, 3), 128, np.uint8)]])
def test_without_anything_to_compare_nothing_is_called_the_same(model: ModelFolder, pictures: list[Image]) -> None:
    model.only("onnx", "ncnn")
    results = tried(model, pictures, runtime="onnx")
    assert [r.code for r in results[:2]] == ["unproven", "unproven"]
    assert results[2].code in ("chosen", "uncertain"), "faster or not, none is recommended over the other"


def test_too_few_looks_for_the_cameras(model: ModelFolder, people: list[Image]) -> None:
    model.only("onnx")
    results = tried(model, people, looks=100_000.0, runtime="onnx")
    assert (results[-1].code, results[-1].fields["wanted"]) == ("too_few", "100000")


def test_no_room_for_the_pictures(model: ModelFolder, monkeypatch: pytest.MonkeyPatch, people: list[Image]) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc/self")
    assert codes(tried(model, people)) == ["no_room"]


# -- a process that does not come back ---------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path: Path, people: list[Image]) -> Path:
    path = tmp_path / "pictures.npz"
    store(people, path)
    return path


def test_a_runtime_that_hangs_is_given_up(model: ModelFolder, stored: Path) -> None:
    assert attempt(model.path, "onnx", 1, stored, patience_s=0.05) == Trial("onnx", trouble="hung")


def test_a_runtime_that_crashes_is_a_finding(
    model: ModelFolder, stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does whose package is built for a newer processor."""
    (tmp_path / "ncnn.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert attempt(model.path, "ncnn", 1, stored, measure_s=0.1) == Trial("ncnn", trouble="crashed", error="SIGILL")
