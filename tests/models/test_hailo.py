"""What models/HAILO.md says of our side: shape, end nodes, outputs, calibration photos, manifest."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edge.detect.errors import ModelError
from edge.detect.manifest import read_manifest
from models.data import write_set
from models.data.pictures import pixels_of
from models.eval.network import letterbox
from tests.conftest import need
from tests.detect.shipped import SHIPPED
from tests.models.command import REPO, model
from tests.models.photos import photo, picture

SIDE = read_manifest(SHIPPED).input.width
GUIDE = (REPO / "models" / "HAILO.md").read_text(encoding="utf-8")


def block(language: str, having: str) -> str:
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    return next(text for text in found if having in text)


ENDS = re.findall(r'"(/model[^"]*)"', block("python", "ENDS"))


@pytest.fixture(scope="module")
def of_one_shape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need(importlib.util.find_spec("onnxslim"), "onnxslim is not installed (make train-env)")
    out = tmp_path_factory.mktemp("hailo") / "fixed.onnx"
    program, source, _, *options = shlex.split(block("sh", "onnxslim"))
    command = [str(Path(sys.executable).with_name(program)), str(REPO / source), str(out), *options]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return out


def test_end_nodes_are_those_of_the_shipped_weights() -> None:
    need(importlib.util.find_spec("onnx"), "onnx is not installed (make train-env)")
    code = shlex.split(block("sh", "kept_exact").strip())[-1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPO)
    assert done.stdout.strip() == str(ENDS)
    assert len(ENDS) == 2 * len(read_manifest(SHIPPED).output.strides)


def test_the_graph_has_one_shape_and_computes_none(of_one_shape: Path) -> None:
    import onnx  # noqa: PLC0415 - of the train extra

    graph = onnx.load(of_one_shape).graph
    (entry,) = graph.input
    assert entry.name == "images"
    assert [side.dim_value for side in entry.type.tensor_type.shape.dim] == [1, 3, SIDE, SIDE]
    assert set(ENDS) <= {node.name for node in graph.node}
    assert not {"Shape", "Gather", "NonMaxSuppression", "TopK"} & {node.op_type for node in graph.node}
    assert onnx.load(SHIPPED / "model.onnx").opset_import[0].version == int(re.findall(r"opset (\d+)", GUIDE)[0])


def test_six_outputs_put_together_are_what_a_node_decodes(of_one_shape: Path) -> None:
    import onnx  # noqa: PLC0415

    whole = onnx.load(of_one_shape)
    made = {node.name: node.output[0] for node in whole.graph.node}
    whole.graph.output.extend(onnx.helper.make_empty_tensor_value_info(made[name]) for name in ENDS)
    session = onnxruntime.InferenceSession(whole.SerializeToString(), providers=["CPUExecutionProvider"])
    blob = np.random.default_rng(1).random((1, 3, SIDE, SIDE), np.float32)
    wanted, *ends = session.run(["anchors", *(made[name] for name in ENDS)], {"images": blob})
    as_hailo_has_them = [np.asarray(end)[0].transpose(1, 2, 0) for end in ends]
    flat = [end.reshape(-1, end.shape[2]).T for end in as_hailo_has_them]
    together = np.concatenate((np.concatenate(flat[0::2], axis=1), np.concatenate(flat[1::2], axis=1)))
    assert together.shape == (
        4 + len(read_manifest(SHIPPED).classes),
        sum((SIDE // stride) ** 2 for stride in (8, 16, 32)),
    )
    assert np.array_equal(together, np.asarray(wanted)[0])


def test_calibration_photos(tmp_path: Path) -> None:
    shapes = {"wide": (320, 180, "train"), "high": (90, 160, "train"), "held": (64, 48, "test")}
    paths = {name: picture(tmp_path / f"{name}.png", w, h, seed=w) for name, (w, h, _) in shapes.items()}
    write_set([photo(path, split=shapes[name][2]) for name, path in paths.items()], tmp_path / "set")
    done = model("calibration", SHIPPED, tmp_path / "set", tmp_path / "made" / "photos.npy")
    assert done.returncode == 0, done.stderr
    photos = np.load(tmp_path / "made" / "photos.npy")
    assert (photos.shape, photos.dtype) == ((2, SIDE, SIDE, 3), np.uint8)  # what is held out calibrates nothing
    how = json.loads((SHIPPED / "manifest.json").read_text(encoding="utf-8"))["preprocessing"]
    for name in ("wide", "high"):  # divided by 255 on the chip, they are what the network was trained on
        wanted = letterbox(pixels_of(paths[name]), (SIDE, SIDE), how | {"free_shape": False})[0]
        gaps = [np.abs(one.transpose(2, 0, 1) / np.float32(255) - wanted[0]).max() for one in photos]
        assert min(gaps) < 1e-6


def test_the_manifest_is_one_but_for_the_runtime_that_no_node_has_yet(tmp_path: Path) -> None:
    told = json.loads((SHIPPED / "manifest.json").read_text(encoding="utf-8"))
    told |= json.loads(block("json", "files").replace("<sha256 of the file>", "0" * 64))
    (tmp_path / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(ModelError, match=r"files\.hailo\.\[key\]: Input should be") as refused:
        read_manifest(tmp_path)
    assert ";" not in str(refused.value)  # nothing else is wrong with it
    told["files"] = {"onnx": told["files"]["hailo"]}
    (tmp_path / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
    assert not read_manifest(tmp_path).preprocessing.free_shape
