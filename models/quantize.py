"""A model folder in int8: static ONNX quantisation, calibrated on photos of the training split.

    banksman model quantize models/weights/site-v1 var/labelled models/weights/site-v1-int8

The result is a model folder of its own, with the same input, output and classes, so that a node takes it by name and
needs nothing new: `detector: {model: site-v1-int8, runtime: onnx}`. Weights become int8, a scale a channel, and what
lies between layers uint8, a scale a tensor. As fp32 stay

* the first convolution: it sees three channels only, is no faster in int8, and all later ones live on it;
* everything after the last activations: box sides and logits share the output tensor and would have to share a scale;
* the arithmetic of attention (MatMul, Softmax), a hundredth of the time.

Weights keep 7 of their 8 bits (`reduce_range`): without VNNI, x86 multiplies uint8 with int8 in pairs that are summed
up in 16 bits, which two full products overflow. How much faster it is depends on the processor; `models.eval.runtimes`
measures it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from models.data.labels import DataError, Photo
from models.data.labelset import in_split, read_set
from models.data.pictures import pixels_of
from models.eval.network import Blob, letterbox, read_manifest

PHOTOS = 128
"""For calibration. Mean mAP50 of `site-v0` on `val`: 0.699 in fp32, 0.695 with 128 photos, 0.689 with 32."""
SEED = 20
_OPERATORS = ("Conv", "Sigmoid", "Mul", "Concat", "Add", "MaxPool", "Slice", "Resize", "Split")
_FILE = "model.int8.onnx"


def quantise(folder: Path, photos: list[Photo], out: Path, *, count: int = PHOTOS, seed: int = SEED) -> Path:
    """Write the int8 folder; returns its manifest's path. Raises `DataError`.

    photos: of a labelled set; `count` of those of the `train` split are drawn for calibration, labels are not used.
    """
    manifest = read_manifest(folder)
    if out.resolve() == folder.resolve():
        raise DataError(f"{out}: is the folder of the fp32 model; choose another one")
    if not manifest["files"].get("onnx"):
        raise DataError(f"{folder}: has no ONNX weights; export it with `banksman model export`")
    (weights,) = manifest["files"]["onnx"]
    chosen = drawn(photos, count, seed)
    out.mkdir(parents=True, exist_ok=True)
    _quantise(folder / weights, out / _FILE, _Calibration(chosen, manifest))
    checksum = hashlib.sha256((out / _FILE).read_bytes()).hexdigest()
    closer = [one | {"files": {"onnx": one["files"]["onnx"]}} for one in manifest.get("closer", ())]
    for file in (file for one in closer for file in one["files"]["onnx"]):
        shutil.copyfile(folder / file, out / file)  # as they are: they are small, and seldom asked
    manifest |= {
        "name": out.resolve().name,
        "files": {"onnx": {_FILE: checksum}},  # OpenVINO reads it too, but is no faster with it and loses more
        "closer": closer,
        "source": f"{manifest['source']}; int8, calibrated on {len(chosen)} training photos",
        # Measured on the fp32 weights; nobody may take it for this one's.
        "metrics": {"caveat": f"int8 of {manifest['name']}; measure with `banksman model eval`"},
    }
    path = out / "manifest.json"
    path.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def drawn(photos: list[Photo], count: int, seed: int) -> list[Photo]:
    """Training photos for calibration, the same for the same seed."""
    train = in_split(photos, "train")
    if not train:
        raise DataError("no photo is in the train split; calibration needs some, and may not see the others")
    order = np.random.default_rng(seed).permutation(len(train))[:count].tolist()
    return [train[index] for index in order]


class _Calibration:
    """What onnxruntime asks for inputs: `get_next` until None."""

    def __init__(self, photos: list[Photo], manifest: dict[str, Any]) -> None:
        self._blobs = self._read(photos, manifest)
        self.name = "images"

    @staticmethod
    def _read(photos: list[Photo], manifest: dict[str, Any]) -> Iterator[Blob]:
        size = manifest["input"]["width"], manifest["input"]["height"]
        for photo in photos:
            yield letterbox(pixels_of(photo.path), size, manifest["preprocessing"])[0]

    def get_next(self) -> dict[str, Blob] | None:
        blob = next(self._blobs, None)
        return None if blob is None else {self.name: blob}


def _quantise(source: Path, target: Path, calibration: _Calibration) -> None:
    try:
        import onnx  # noqa: PLC0415
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise DataError(f"needs {error.name}; install the `train` extra (see CONTRIBUTING.md)") from error
    CalibrationDataReader.register(_Calibration)
    graph = onnx.load(source).graph
    calibration.name = graph.input[0].name
    with tempfile.TemporaryDirectory(prefix="banksman-int8-") as scratch:
        made = Path(scratch) / _FILE
        quantize_static(
            source,
            made,
            calibration,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=list(_OPERATORS),
            nodes_to_exclude=sorted(kept_exact(graph)),
        )
        quantised = onnx.load(made)
        del quantised.graph.value_info[:]  # shapes that nobody reads
        onnx.checker.check_model(quantised)
        onnx.save(quantised, target)


def kept_exact(graph: Any) -> set[str]:
    """Names of the nodes of an ONNX graph that stay fp32: its first layer, and all after the last activations."""
    maker = {output: node for node in graph.node for output in node.output}
    fed = {name for node in graph.node if node.op_type == "Conv" and graph.input[0].name in node.input
           for name in node.output}  # fmt: skip
    first: set[str] = set()
    for node in graph.node:  # in the order of the arithmetic
        if graph.input[0].name in node.input and node.op_type == "Conv":
            first.add(node.name)
        elif node.op_type in {"Sigmoid", "Mul"} and fed & set(node.input):
            first.add(node.name)
            fed |= set(node.output)
    last: set[str] = set()
    waiting = [output.name for output in graph.output]
    while waiting:
        found = maker.get(waiting.pop())
        if found is None or found.name in last or _activation(found, maker):
            continue
        last.add(found.name)
        waiting += found.input
    return first | last


def _activation(node: Any, maker: dict[str, Any]) -> bool:
    """Whether a node ends a SiLU: x times sigmoid of x."""
    return node.op_type == "Mul" and any(
        name in maker and maker[name].op_type == "Sigmoid" and maker[name].input[0] in node.input for name in node.input
    )


def main(
    model: Annotated[Path, typer.Argument(help="Model folder with ONNX weights.")],
    labelled: Annotated[Path, typer.Argument(help="Labelled set; its training photos calibrate.")],
    out: Annotated[Path, typer.Argument(help="Where the int8 model folder is written.")],
    *,
    count: Annotated[int, typer.Option(help="Photos for calibration.")] = PHOTOS,
    seed: Annotated[int, typer.Option(help="Of their draw.")] = SEED,
) -> None:
    """Write a model folder in int8."""
    typer.echo(f"wrote {quantise(model, read_set(labelled), out, count=count, seed=seed)}")
