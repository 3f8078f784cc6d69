"""The evaluation looks through a model as the node does, and says what is wrong with a model folder."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.detect import load_detector
from edge.detect.parity import compare, total
from edge.values import Detections, Image
from models.data import DataError
from models.data.labels import CLASSES
from models.eval.network import RUNTIMES, Runtime, Seen, open_network, read_manifest, resized
from models.eval.runtimes import compared, processor, speeds
from tests.conftest import need
from tests.detect.shipped import NAME, SHIPPED
from tests.models.photos import photo

PACKAGES = {"onnx": "onnxruntime"}


@pytest.fixture(scope="module")
def street() -> list[Image]:
    """The two photos that come inside the ultralytics wheel: a high and a wide one."""
    spec = importlib.util.find_spec("ultralytics")
    need(spec, "ultralytics is not installed (make train-env)")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "assets"
    return [np.asarray(cv2.imread(str(folder / name)), np.uint8) for name in ("bus.jpg", "zidane.jpg")]


def as_node_has_it(seen: Seen, image: Image, names: tuple[str, ...]) -> Detections:
    height, width = image.shape[:2]
    rows = [names.index(CLASSES[kind]) for kind in seen.boxes.classes.tolist()]
    return Detections.build(seen.boxes.xyxy * [width, height, width, height], seen.confidence, rows, names)


@pytest.mark.parametrize("runtime", ["onnx", "openvino", "ncnn"])
def test_sees_what_the_node_sees(runtime: Runtime, street: list[Image]) -> None:
    package = PACKAGES.get(runtime, runtime)
    need(importlib.util.find_spec(package), f"{package} is not installed")
    node, network = load_detector(SHIPPED, runtime, 1), open_network(SHIPPED, runtime, 1)
    parity = total(
        compare(node.detect(image), as_node_has_it(network.look(image, 0.1), image, node.names)) for image in street
    )
    node.close()
    assert parity.missing == 0
    assert parity.pairs >= 5
    assert parity.worst_iou > 0.9999
    assert parity.worst_gap < 1e-5


def test_the_surest_comes_first_and_all_lie_in_the_picture(street: list[Image]) -> None:
    seen = open_network(SHIPPED, "onnx", 1).look(street[0])
    assert len(seen.confidence) > 20
    assert (np.diff(seen.confidence) <= 0).all()
    assert seen.confidence.min() > 0.001
    assert seen.boxes.xyxy.min() >= -1e-9
    assert seen.boxes.xyxy.max() <= 1 + 1e-9


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        pytest.param(lambda m: m.update(format=2), "not of format 1", id="another format"),
        pytest.param(
            lambda m: m["files"].pop("onnx"), "no weights for runtime 'onnx'; it has ncnn, openvino", id="none"
        ),
        pytest.param(lambda m: m["files"]["onnx"].update({"model.onnx": "0" * 64}), "wrong checksum", id="damaged"),
    ],
)
def test_what_is_wrong_with_a_folder(tmp_path: Path, change: object, wanted: str) -> None:
    told = json.loads((SHIPPED / "manifest.json").read_text(encoding="utf-8"))
    assert callable(change)
    change(told)
    (tmp_path / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
    shutil.copyfile(SHIPPED / "model.onnx", tmp_path / "model.onnx")
    with pytest.raises(DataError, match=wanted):
        open_network(tmp_path)


def test_another_input_size(street: list[Image], tmp_path: Path) -> None:
    """The same weights, looked through at another size by the evaluation and by the node alike."""
    folder = resized(SHIPPED, 320, tmp_path / "small")
    whole, small = open_network(SHIPPED, "onnx", 1), open_network(folder, "onnx", 1)
    assert (whole.image_size, small.image_size, small.name) == (
        max(read_manifest(SHIPPED)["input"].values()),
        320,
        f"{NAME}@320",
    )
    assert small.eye is not None
    assert small.eye.blob(street[1]).shape[3] == 320
    node = load_detector(folder, "onnx", 1)
    parity = total(
        compare(node.detect(image), as_node_has_it(small.look(image, 0.1), image, node.names)) for image in street
    )
    node.close()
    assert parity.missing == 0
    assert parity.pairs >= 5
    assert not np.array_equal(whole.look(street[0]).confidence[:5], small.look(street[0]).confidence[:5])


@pytest.mark.parametrize("size", [300, 32, 1312])
def test_a_size_that_no_input_has(size: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"image size {size}: must be a multiple of 32 from 64 to 1280"):
        resized(SHIPPED, size, tmp_path / "x")


def test_an_input_of_one_shape_is_not_resized(tmp_path: Path) -> None:
    told = json.loads((SHIPPED / "manifest.json").read_text(encoding="utf-8"))
    told["preprocessing"]["free_shape"] = False
    (tmp_path / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(DataError, match="its input has one shape only"):
        resized(tmp_path, 320, tmp_path / "x")


def test_no_folder() -> None:
    with pytest.raises(DataError, match=r"gone.manifest\.json: cannot be read"):
        open_network(Path("gone"))
    with pytest.raises(DataError, match=r"gone\.pt: no such file"):
        open_network(Path("gone.pt"))
    assert set(RUNTIMES) == {"onnx", "openvino", "ncnn", "ultralytics"}


def test_speed_is_compared_round_by_round(street: list[Image]) -> None:
    """A machine that grows slower from round to round does not favour whoever came first."""
    ticks = iter(np.cumsum([step for n in range(6) for step in (0.0, 0.010 * 2**n, 0.0, 0.005 * 2**n)]).tolist())
    network = open_network(SHIPPED, "onnx", 1)
    found = speeds({"onnx": network, "other": network}, street, rounds=6, clock=lambda: next(ticks))
    assert found["onnx"]["times_as_fast"] == 1.0
    assert found["other"]["times_as_fast"] == pytest.approx(2.0)


def test_runtimes_are_compared_on_photos(street: list[Image], tmp_path: Path) -> None:
    file = tmp_path / "bus.png"
    cv2.imwrite(str(file), street[0])
    seen = open_network(SHIPPED, "onnx", 1).look(street[0], 0.5)
    marks = [
        (CLASSES[kind], *box) for kind, box in zip(seen.boxes.classes.tolist(), seen.boxes.xywh.tolist(), strict=True)
    ]
    told = compared(
        SHIPPED, [photo(file, marks, split="test", complete=["person"])], runtimes=("onnx",), threads=1, rounds=3
    )
    assert told["runtimes"]["onnx"]["map50"]["person"] == 1.0  # labelled with its own eyes
    assert told["runtimes"]["onnx"]["points"] == 0.0
    assert told["processor"] == processor()
    assert told["runtimes"]["onnx"]["mb"] == round((SHIPPED / "model.onnx").stat().st_size / 1e6, 2)
    with pytest.raises(DataError, match="no label of a class that the model knows"):
        compared(SHIPPED, [photo(file, [], complete=["sign"])], runtimes=("onnx",), threads=1, rounds=3)
