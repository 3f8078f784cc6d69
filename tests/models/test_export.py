"""Training's `.pt` to a folder that a node loads."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import models
from edge.detect import load_detector, read_manifest
from edge.detect.parity import compare, total
from edge.values import Image
from models.export import ABOUT, ExportError, export
from tests.conftest import need
from tests.detect.shipped import CHECKPOINT, SHIPPED
from tests.models.command import model

PACKAGE = Path(models.__path__[0])
RUNTIMES = ("onnx", "ncnn", "openvino")


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    os.environ.setdefault("YOLO_OFFLINE", "true")
    for package in ("ultralytics", "pnnx", "onnxslim"):
        need(importlib.util.find_spec(package), f"{package} is not installed (make train-env)")


@pytest.fixture(scope="module")
def street() -> list[Image]:
    """The two photos that come inside the ultralytics wheel."""
    spec = importlib.util.find_spec("ultralytics")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "assets"
    return [np.asarray(cv2.imread(str(folder / name)), np.uint8) for name in ("bus.jpg", "zidane.jpg")]


def check(trained: Path, folder: Path, street: list[Image], *, nms_free: bool = False) -> None:
    """Export, and compare each runtime with what ultralytics sees with the same weights."""
    about = json.loads((SHIPPED / "manifest.json").read_text(encoding="utf-8"))
    export(trained, folder, name="made", image_size=416, nms_free=nms_free, keep_weights=True, about=about)
    manifest = read_manifest(folder)
    assert manifest.name == "made"
    assert (manifest.output.nms_iou is None) is nms_free
    told = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert {key: told[key] for key in ABOUT} == {key: about[key] for key in ABOUT}
    itself = load_detector(folder, "ultralytics", 1)
    assert itself.names == manifest.classes
    wanted = [itself.detect(image) for image in street]
    for runtime in RUNTIMES:
        detector = load_detector(folder, runtime, 1)
        parity = total(compare(w, detector.detect(i)) for w, i in zip(wanted, street, strict=True))
        assert parity.holds, (runtime, parity)
        assert parity.pairs >= 5
        detector.close()


def test_what_is_exported_sees_what_the_weights_see(tmp_path: Path, street: list[Image]) -> None:
    check(CHECKPOINT, tmp_path / "made", street)


@pytest.mark.proof
@pytest.mark.parametrize(
    ("weights", "nms_free"),
    [
        pytest.param("yolo26n-coco-deq", True, id="YOLO26, head without NMS"),
        pytest.param("yolo11n-coco-deq", False, id="YOLO11, distances as distributions"),
    ],
)
def test_other_networks(  # noqa: PLR0917 - fixtures
    shared: Path, tmp_path: Path, street: list[Image], proof: bool, weights: str, nms_free: bool
) -> None:
    if not proof:
        pytest.skip("a quarter of a minute each: in the full-size run only (make proof)")
    check(shared / "data/weights" / f"{weights}.pt", tmp_path / "made", street, nms_free=nms_free)


def test_the_shipped_manifest_is_right() -> None:
    told = json.loads((SHIPPED / "manifest.json").read_text(encoding="utf-8"))
    assert read_manifest(SHIPPED).model_dump(mode="json") == told
    files = [listed for network in (told, *told["closer"]) for listed in network["files"].values()]
    for listed in files:
        for name, checksum in listed.items():
            assert hashlib.sha256((SHIPPED / name).read_bytes()).hexdigest() == checksum
    assert {p.name for p in SHIPPED.iterdir()} == {"manifest.json"} | {name for listed in files for name in listed}
    assert told["licence"] == "AGPL-3.0-only"
    assert set(told["metrics"]["map50"]) == set(told["classes"])
    assert told["metrics"]["caveat"]


def test_weights_that_cannot_be_exported(shared: Path, tmp_path: Path) -> None:
    from ultralytics import YOLO  # noqa: PLC0415 - brings torch

    with pytest.raises(ExportError, match=r"gone\.pt: no such file; give the \.pt that training wrote"):
        export(tmp_path / "gone.pt", tmp_path / "x")
    for size in (400, 32, 4096):
        with pytest.raises(ExportError, match=f"image size {size}: must be a multiple of 32 from 64 to 1280"):
            export(CHECKPOINT, tmp_path / "x", image_size=size)
    other = tmp_path / "classify.pt"
    YOLO("yolo26n-cls.yaml").save(other)
    with pytest.raises(ExportError, match="the task is 'classify'; only `detect` weights"):
        export(other, tmp_path / "x")
    with pytest.raises(ExportError, match="has no one-to-one head; change nms_free"):
        export(shared / "data/weights/yolo11n-coco-deq.pt", tmp_path / "x", nms_free=True)
    noise = tmp_path / "noise.pt"
    noise.write_bytes(b"not weights")
    with pytest.raises(ExportError, match=r"noise\.pt: ultralytics cannot load it"):
        export(noise, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_the_command_line_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    done = model("export", tmp_path / "gone.pt", tmp_path / "x")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


def test_models_imports_nothing_of_the_node() -> None:
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"edge", "broker", "dashboards", "deploy"}, file


def test_importing_the_export_brings_no_torch() -> None:
    code = "import sys, models.export; print('torch' in sys.modules or 'ultralytics' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
