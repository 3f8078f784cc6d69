"""A model that cannot be used says so at start: what is wrong, where, and what would be right."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.detect import Detector, ModelError, find_model, load_detector, read_manifest
from tests.detect.conftest import EXPORTED, Spoil
from tests.detect.shipped import NAME, SHIPPED

Change = Callable[[dict[str, Any]], object]
ONNX, PARAM, BIN = "model.onnx", "model.ncnn.param", "model.ncnn.bin"
COUNT, SIDE = len(read_manifest(SHIPPED).classes), read_manifest(SHIPPED).input.width


def anchors(*strides: int) -> int:
    return sum((SIDE // stride) ** 2 for stride in strides)


def flipped(name: str) -> bytes:
    """The shipped file with one bit turned over in its middle."""
    content = bytearray((SHIPPED / name).read_bytes())
    content[len(content) // 2] ^= 1
    return bytes(content)


@pytest.mark.parametrize("runtime", EXPORTED)
def test_the_shipped_model_runs(runtime: str) -> None:
    detector = load_detector(SHIPPED, runtime, 1)
    assert detector.runtime == runtime
    assert detector.names == detector.manifest.classes
    assert detector.names[:3] == ("person", "helmet", "no_helmet")
    assert len(detector.detect(np.full((48, 64, 3), 127, np.uint8), floor=0.9)) == 0
    detector.close()
    with pytest.raises(RuntimeError, match="closed"):
        detector.detect(np.zeros((48, 64, 3), np.uint8))
    detector.close()  # twice does no harm


def test_the_int8_model_blames_as_soon_as_the_other() -> None:
    int8, whole = (read_manifest(SHIPPED.with_name(name)) for name in (f"{NAME}-int8", NAME))
    assert (int8.version, int8.classes, int8.least_confidence) == (whole.version, whole.classes, whole.least_confidence)
    assert int8.overlooked == whole.overlooked
    assert [(one.on, one.least, one.files["onnx"]) for one in int8.closer] == [
        (one.on, one.least, one.files["onnx"]) for one in whole.closer
    ]


@pytest.mark.parametrize(("runtime", "file"), [("onnx", ONNX), ("openvino", ONNX), ("ncnn", PARAM), ("ncnn", BIN)])
def test_one_changed_bit_is_noticed(spoiled: Spoil, runtime: str, file: str) -> None:
    folder = spoiled(files={file: flipped(file)})
    with pytest.raises(ModelError, match=f"{file}: wrong checksum.*manifest.json says .*copy the model folder again"):
        load_detector(folder, runtime, 1)


@pytest.mark.parametrize(("runtime", "file"), [("onnx", ONNX), ("openvino", ONNX), ("ncnn", PARAM), ("ncnn", BIN)])
def test_a_missing_file_is_named(spoiled: Spoil, runtime: str, file: str) -> None:
    folder = spoiled(files={file: None})
    with pytest.raises(ModelError, match=re.escape(f"{folder / file}: named in manifest.json, but cannot be read")):
        load_detector(folder, runtime, 1)


@pytest.mark.parametrize(
    ("runtime", "file", "content", "text"),
    [
        pytest.param("onnx", ONNX, b"not a network", "ONNX Runtime cannot load it", id="onnx, text"),
        pytest.param("onnx", ONNX, b"", "ONNX Runtime cannot load it", id="onnx, empty"),
        pytest.param("onnx", ONNX, (SHIPPED / ONNX).read_bytes()[:200_000], "cannot load it", id="onnx, cut off"),
        pytest.param("openvino", ONNX, b"not a network", "OpenVINO cannot load it", id="openvino, text"),
        pytest.param("ncnn", PARAM, b"not a network", "NCNN cannot read the network", id="ncnn, text"),
        pytest.param("ncnn", PARAM, b"", "NCNN cannot read the network", id="ncnn, empty"),
        pytest.param(
            "ncnn", BIN, (SHIPPED / BIN).read_bytes()[:200_000], "cannot read the weights", id="ncnn, cut off"
        ),
    ],
)
def test_a_file_that_was_exported_broken(spoiled: Spoil, runtime: str, file: str, content: bytes, text: str) -> None:
    folder = spoiled(files={file: content}, resign=True)
    with pytest.raises(ModelError, match=re.escape(str(folder / file)) + f".*{text}"):
        load_detector(folder, runtime, 1)


def test_weights_that_give_no_numbers(spoiled: Spoil) -> None:
    content = bytearray((SHIPPED / BIN).read_bytes())
    content[4:4000] = np.full(999, np.nan, np.float32).tobytes()  # the first layer's weights, after its tag
    folder = spoiled(files={BIN: bytes(content)}, resign=True)
    with pytest.raises(ModelError, match="output is not finite"):
        load_detector(folder, "ncnn", 1)


def setting(*path: str, to: object) -> Change:
    def change(manifest: dict[str, Any]) -> None:
        part = manifest
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = to

    return change


def one_class_less(manifest: dict[str, Any]) -> None:
    gone = manifest["classes"].pop()
    manifest["overlooked"] = [name for name in manifest["overlooked"] if name != gone]


def without(key: str) -> Change:
    return lambda manifest: manifest.pop(key)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        pytest.param(
            one_class_less,
            rf"names {COUNT - 1} classes \(person, .*weights give {COUNT}",
            id="class too few",
        ),
        pytest.param(
            lambda m: m["classes"].append("crane"),
            f"names {COUNT + 1} classes .*weights give {COUNT}",
            id="class too many",
        ),
        pytest.param(
            setting("output", "strides", to=[8, 16]),
            rf"output is \({4 + COUNT}, {anchors(8, 16, 32)}\), .*\({4 + COUNT}, {anchors(8, 16)}\)",
            id="strides",
        ),
        pytest.param(lambda m: m["classes"].append("vest"), "classes: .*used twice: vest", id="class twice"),
        pytest.param(
            lambda m: m.update(least_confidence={"boots": 0.5}), "least_confidence: .*boots", id="least of no class"
        ),
        pytest.param(lambda m: m.update(overlooked=["boots"]), "overlooked: .*boots", id="overlooked class of none"),
        pytest.param(setting("classes", to=[]), "classes: .*at least 1", id="no classes"),
        pytest.param(without("classes"), "classes: Field required", id="classes missing"),
        pytest.param(setting("colour", to="BGR"), "colour: Extra inputs", id="unknown key"),
        pytest.param(
            setting("preprocessing", "colour", to="BGR"), "preprocessing.colour: Input should be 'RGB'", id="bgr"
        ),
        pytest.param(setting("input", "width", to=400), "multiples of the stride 32", id="odd width"),
        pytest.param(setting("output", "strides", to=[16, 8]), "output.strides: .*must rise", id="falling strides"),
        pytest.param(setting("output", "nms_iou", to=7), "output.nms_iou: .*less than or equal to 1", id="nms"),
        pytest.param(setting("format", to=2), "format: Input should be 1", id="newer format"),
        pytest.param(setting("task", to="segment"), "task: Input should be 'detect'", id="other task"),
        pytest.param(setting("files", "onnx", to={"../model.onnx": "0" * 64}), "files.onnx", id="out of the folder"),
        pytest.param(setting("files", "onnx", to={ONNX: "0" * 63}), "files.onnx", id="half a checksum"),
        pytest.param(setting("files", "tensorrt", to={ONNX: "0" * 64}), "files.tensorrt", id="unknown runtime"),
        pytest.param(
            lambda m: m["files"].pop("onnx"), "no weights for runtime 'onnx'.* ncnn, openvino", id="not there"
        ),
    ],
)
def test_a_wrong_manifest_says_what_would_be_right(spoiled: Spoil, change: Change, text: str) -> None:
    folder = spoiled(manifest=change)
    with pytest.raises(ModelError, match=text) as caught:
        load_detector(folder, "onnx", 1)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("runtime", ["ncnn", "openvino"])
def test_a_wrong_class_list_is_noticed_by_each_runtime(spoiled: Spoil, runtime: str) -> None:
    with pytest.raises(ModelError, match=f"names {COUNT - 1} classes .*weights give {COUNT}"):
        load_detector(spoiled(manifest=one_class_less), runtime, 1)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "missing"),
        (b"", "Invalid JSON"),
        (b"{", "Invalid JSON"),
        (b"[]", "an object"),
        (b"\xff\xfe", "Invalid JSON"),
    ],
)
def test_a_manifest_that_is_none(spoiled: Spoil, content: bytes | None, text: str) -> None:
    folder = spoiled(files={"manifest.json": content})
    with pytest.raises(ModelError, match=f"manifest.json: .*{text}"):
        read_manifest(folder)


def test_an_unknown_runtime_lists_the_known() -> None:
    with pytest.raises(ModelError, match="'tensorrt': unknown; choose auto, onnx, ncnn, openvino, ultralytics"):
        load_detector(SHIPPED, "tensorrt", 1)


@pytest.mark.parametrize("runtime", [*EXPORTED, "ultralytics"])
def test_a_runtime_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, runtime: str) -> None:
    package = {"onnx": "onnxruntime"}.get(runtime, runtime)
    monkeypatch.delitem(sys.modules, f"edge.detect.runtimes.{runtime}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)  # import then fails as if it were absent
    with pytest.raises(ModelError, match=rf"{runtime}.* needs the package {package} .*install banksman\["):
        load_detector(SHIPPED, runtime, 1)


@pytest.mark.parametrize(
    ("machine", "wanted"),
    [("aarch64", "ncnn"), ("arm64", "ncnn"), ("armv7l", "ncnn"), ("x86_64", "onnx"), ("AMD64", "onnx")],
)
def test_auto_is_the_fastest_of_the_processor(monkeypatch: pytest.MonkeyPatch, machine: str, wanted: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    detector: Detector = load_detector(SHIPPED, "auto", 1)
    assert detector.runtime == wanted


def test_models_are_found_by_name_and_by_path(spoiled: Spoil) -> None:
    folder = spoiled()
    assert read_manifest(find_model(Path(NAME), folder)).name == NAME
    assert find_model(Path("model"), folder.parent) == folder
    assert find_model(Path("../model"), folder) == folder / "../model"
    assert find_model(folder, Path("/nowhere")) == folder
    with pytest.raises(ModelError, match=f"'site-v9': no model folder at /nowhere/site-v9; shipped by name: {NAME}"):
        find_model(Path("site-v9"), Path("/nowhere"))
    with pytest.raises(ModelError, match=r"'best.pt': no model folder"):
        find_model(Path("best.pt"), folder)


LEAN = """
import json, sys
from pathlib import Path
import numpy as np
from edge.detect import find_model, load_detector
detector = load_detector(find_model(Path({name!r}), Path()), {runtime!r}, 1)
detector.detect(np.zeros((90, 160, 3), np.uint8))
print(json.dumps(sorted({{name.split(".")[0] for name in sys.modules}})))
"""


@pytest.mark.parametrize("runtime", ["onnx", "ncnn"])
def test_the_node_stays_lean(runtime: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEAN.format(name=NAME, runtime=runtime)], check=True, capture_output=True, text=True
    )
    loaded = set(json.loads(done.stdout))
    assert "numpy" in loaded
    heavy = {
        "torch",
        "torchvision",
        "ultralytics",
        "matplotlib",
        "pandas",
        "polars",
        "scipy",
        "onnx",
        "models",
        "broker",
    }
    assert not loaded & heavy
    others = {"onnxruntime", "ncnn", "openvino"} - {{"onnx": "onnxruntime"}.get(runtime, runtime)}
    assert not loaded & others
