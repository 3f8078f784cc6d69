"""The int8 folder: loads on a node as it is, sees nearly the same, and keeps exact what must be."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.detect import load_closer, load_detector, read_manifest
from edge.detect.parity import compare, total
from models.data import DataError, Photo
from models.quantize import drawn, kept_exact, quantise
from tests.conftest import need
from tests.detect.shipped import NAME, SHIPPED
from tests.models.photos import photo


@pytest.fixture(scope="module")
def street() -> list[Photo]:
    need(importlib.util.find_spec("onnx"), "onnx is not installed (make train-env)")
    spec = importlib.util.find_spec("ultralytics")
    need(spec, "ultralytics is not installed (make train-env)")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "assets"
    return [photo(folder / name) for name in ("bus.jpg", "zidane.jpg")]


@pytest.fixture(scope="module")
def int8(street: list[Photo], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "tiny-int8"
    quantise(SHIPPED, street, folder)
    return folder


def test_a_node_loads_it_and_sees_nearly_the_same(int8: Path, street: list[Photo]) -> None:
    exact, rounded = load_detector(SHIPPED, "onnx", 1), load_detector(int8, "onnx", 1)
    assert exact.names == rounded.names
    images = [np.asarray(cv2.imread(str(one.path)), np.uint8) for one in street]
    parity = total(compare(exact.detect(i), rounded.detect(i)) for i in images)
    assert parity.pairs >= 5
    assert parity.worst_gap > 1e-4  # it is not the same network
    strong = [exact.detect(i, 0.6) for i in images]
    for image, wanted in zip(images, strong, strict=True):
        seen = rounded.detect(image, 0.3)
        for row in range(len(wanted)):
            same = seen.of(wanted.names[wanted.class_id[row]]).xyxy
            corners = np.abs(same - wanted.xyxy[row]).max(axis=1)
            side = (wanted.xyxy[row, 2:] - wanted.xyxy[row, :2]).max()
            assert corners.min() < 0.1 * side
    for detector in (exact, rounded):
        detector.close()


def test_it_is_small_and_says_what_it_is(int8: Path) -> None:
    manifest, exact = read_manifest(int8), read_manifest(SHIPPED)
    assert manifest.name == "tiny-int8"
    assert set(manifest.files) == {"onnx"}
    assert load_closer(int8, "onnx").keys() == {one.on for one in exact.closer}
    (file,) = manifest.files["onnx"]
    assert (int8 / file).stat().st_size < 0.4 * (SHIPPED / "model.onnx").stat().st_size
    assert manifest.metrics.map50 == {}  # those of fp32 are not its own
    assert f"int8 of {NAME}" in manifest.metrics.caveat
    assert manifest.source.endswith("; int8, calibrated on 2 training photos")
    assert (manifest.classes, manifest.output, manifest.licence) == (exact.classes, exact.output, exact.licence)


def test_first_layer_and_last_ones_stay_exact(int8: Path) -> None:
    import onnx  # noqa: PLC0415 - of the train extra

    kept = kept_exact(onnx.load(SHIPPED / "model.onnx").graph)
    (file,) = read_manifest(int8).files["onnx"]
    graph = onnx.load(int8 / file).graph
    maker = {output: node.op_type for node in graph.node for output in node.output}
    convs = [node for node in graph.node if node.op_type == "Conv"]
    rounded = {node.name for node in convs if maker.get(node.input[1]) == "DequantizeLinear"}  # its weights are int8
    exact = {node.name for node in convs} & kept
    assert len(exact) == 1 + 2 * 3  # the first; of each of three scales the last of the boxes and of the classes
    assert rounded == {node.name for node in convs} - exact
    assert maker[graph.output[0].name] == "Concat"  # nothing was rounded behind it


def test_calibration_sees_training_photos_only() -> None:
    photos = [photo(Path(f"{n}.png"), split=("train", "val", "test")[n % 3]) for n in range(30)]
    chosen = drawn(photos, 5, 1)
    assert {one.split for one in chosen} == {"train"}
    assert len({one.name for one in chosen}) == 5
    assert chosen == drawn(photos, 5, 1)
    assert chosen != drawn(photos, 5, 2)
    assert len(drawn(photos, 99, 1)) == 10
    with pytest.raises(DataError, match="no photo is in the train split"):
        drawn(photos[1:3], 5, 1)


def test_what_cannot_be_quantised(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is the folder of the fp32 model"):
        quantise(SHIPPED, [photo(Path("a.png"))], SHIPPED)
    told = json.loads((SHIPPED / "manifest.json").read_text(encoding="utf-8"))
    del told["files"]["onnx"]
    (tmp_path / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(DataError, match="has no ONNX weights"):
        quantise(tmp_path, [photo(Path("a.png"))], tmp_path / "out")
