"""From trained weights (`.pt`) to the folder that a node loads: weights for lean runtimes and a `manifest.json`.

    banksman model export best.pt models/weights/site-v1 --about about.json

The graph that is exported ends where the arithmetic is still the same for every YOLO since v8: for each anchor the four
distances from its centre to the box's sides (in strides, DFL already applied) and one logit a class. Choosing, decoding
and scaling boxes is left to the node, which does it only for the few anchors above its threshold. So one layout serves
all runtimes, no runtime needs a top-k or NMS operator, and height and width stay free: a 16:9 picture costs 640x384,
not 640x640. Of the two heads of a YOLO26 the one-to-many head with NMS afterwards is taken, as ultralytics' own predict
and val do, so that a node sees what validation saw; `nms_free` takes the other.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from models.errors import CommandError

if TYPE_CHECKING:
    import onnx
    from torch import Tensor, nn

ABOUT = ("version", "source", "licence", "data", "metrics", "least_confidence")
"""What the weights themselves cannot tell; taken from `about`, which may be the manifest of an earlier export."""

_OPSET = 17
_ONNX = "model.onnx"
_NCNN = ("model.ncnn.param", "model.ncnn.bin")
_WEIGHTS = "model.pt"
_LARGE = 256  # numbers in a weight; of fewer, halving saves less than the node that undoes it takes
_NMS_IOU = 0.7  # what ultralytics' predict uses unless told otherwise


class ExportError(CommandError):
    """The weights cannot be exported; the text says why and what would be right."""


def export(
    weights: Path,
    folder: Path,
    *,
    name: str | None = None,
    image_size: int | None = None,
    about: Mapping[str, Any] | None = None,
    nms_free: bool = False,
    keep_weights: bool = False,
) -> Path:
    """Write a model folder from ultralytics detection weights. Needs the `train` extra.

    name: of the model; the folder's when left out.
    image_size: longer side of the network's input in pixels, a multiple of 32; as it was trained when left out.
    about: the keys of `ABOUT`; others are ignored.
    nms_free: take the one-to-one head, where there is one (YOLO26), that needs no NMS.
    keep_weights: put the `.pt` into the folder too, for the `ultralytics` runtime on a developer's computer.
    Returns the manifest's path. Raises `ExportError`.
    """
    if not weights.is_file():
        raise ExportError(f"{weights}: no such file; give the .pt that training wrote")
    model, facts = _load(weights, nms_free=nms_free)
    size = image_size or facts["image_size"]
    if size % 32 or not 64 <= size <= 1280:
        raise ExportError(f"image size {size}: must be a multiple of 32 from 64 to 1280")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="banksman-export-") as scratch:
        made = Path(scratch)
        pictures = _torch().zeros(1, 3, size, size)
        to_onnx(
            model,
            pictures,
            made / _ONNX,
            output="anchors",
            free={"images": {2: "height", 3: "width"}, "anchors": {2: "count"}},
        )
        # Two example shapes that differ in both sides keep both sides free.
        smaller = _torch().zeros(1, 3, size // 2 // 32 * 32, size // 4 // 32 * 32 or 32)
        to_ncnn(model, pictures, made, _NCNN, other=smaller)
        for file in (_ONNX, *_NCNN):
            shutil.copyfile(made / file, folder / file)
    files = {"onnx": (_ONNX,), "openvino": (_ONNX,), "ncnn": _NCNN}
    if keep_weights:
        shutil.copyfile(weights, folder / _WEIGHTS)
        files["ultralytics"] = (_WEIGHTS,)
    manifest = {
        "format": 1,
        "name": name or folder.resolve().name,
        "version": "0",
        "task": "detect",
        "classes": facts["classes"],
        "input": {"width": size, "height": size},
        "preprocessing": {
            "resize": "letterbox",
            "free_shape": True,
            "stride": facts["strides"][-1],
            "padding": 114,
            "colour": "RGB",
            "scale": 255,
        },
        "output": {"layout": "distances-logits", "strides": facts["strides"], "nms_iou": facts["nms_iou"]},
        "files": {
            runtime: {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in names}
            for runtime, names in files.items()
        },
        "source": f"exported from {weights.name}",
        "licence": "AGPL-3.0-only",
        "data": [],
        "metrics": {},
    }
    manifest |= {key: about[key] for key in ABOUT if about and key in about}
    path = folder / "manifest.json"
    path.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _load(weights: Path, *, nms_free: bool) -> tuple[nn.Module, dict[str, Any]]:
    """The fused network with its head cut as the module's docstring says, and what the manifest wants to know of it."""
    os.environ.setdefault("YOLO_OFFLINE", "true")  # ultralytics otherwise asks the network at import
    try:
        from ultralytics import YOLO  # noqa: PLC0415 - the node's command line must start without it

        from models.head import CutHead  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ExportError(f"export needs {error.name}; install the `train` extra (see CONTRIBUTING.md)") from error

    try:
        yolo = YOLO(weights)
    except (RuntimeError, OSError, EOFError, TypeError, AttributeError, KeyError, ValueError, UnpicklingError) as error:
        raise ExportError(f"{weights}: ultralytics cannot load it: {error}") from error
    if yolo.task != "detect":
        raise ExportError(f"{weights}: the task is {yolo.task!r}; only `detect` weights can be exported")
    network = yolo.model.float().eval()
    head = network.model[-1]
    head.end2end = nms_free
    if head.end2end != nms_free:
        raise ExportError(f"{weights}: has {'no' if nms_free else 'only a'} one-to-one head; change nms_free")
    network.fuse()
    network.model[-1] = CutHead(head)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network, {
        "classes": [network.names[i] for i in range(head.nc)],
        "strides": [int(s) for s in head.stride],
        "nms_iou": None if head.end2end else _NMS_IOU,
        "image_size": int(yolo.overrides.get("imgsz", 640)),
    }


def _torch() -> Any:
    import torch  # noqa: PLC0415 - the help of the command is shown without it

    return torch


def to_onnx(
    model: nn.Module,
    pictures: Tensor,
    path: Path,
    *,
    output: str = "answer",
    free: Mapping[str, Mapping[int, str]] | None = None,
    half: bool = False,
) -> None:
    """An ONNX file with one input, `images`, and one output. pictures: an example. free: axes whose size is not. half:
    weights rounded to fp16, which halves the file; a runtime computes in fp32 all the same."""
    import onnx  # noqa: PLC0415
    import onnxslim  # noqa: PLC0415

    _torch().onnx.export(
        model,
        (pictures,),
        str(path),
        dynamo=False,
        opset_version=_OPSET,
        input_names=["images"],
        output_names=[output],
        dynamic_axes=free,
    )
    slim = onnxslim.slim(onnx.load(path))
    del slim.graph.value_info[:]  # shapes of every tensor in between: half a megabyte that nobody reads
    if half:
        _halve(slim)
    onnx.checker.check_model(slim)
    onnx.save(slim, path)


def _halve(model: onnx.ModelProto) -> None:
    """Keep large weights in fp16, each with a Cast to fp32 before it is used; runtimes do that once, at load."""
    import onnx  # noqa: PLC0415

    casts = []
    for weight in model.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < _LARGE:
            continue
        name = weight.name
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def to_ncnn(
    model: nn.Module,
    pictures: Tensor,
    folder: Path,
    names: tuple[str, str],
    *,
    other: Tensor | None = None,
    half: bool = False,
) -> None:
    """NCNN by pnnx: two files of these names. other: a second example, which leaves free what differs in the two. half:
    see `to_onnx`.

    Weights of a detector stay fp32: rounded to fp16 they move a confidence by 0.005 at most, but that is enough to let
    NMS choose the other of two boxes that are equally good (measured: one photo in 120, overlap 0.89 with what
    ultralytics chose).
    """
    import pnnx  # noqa: PLC0415

    param, weights = names
    by_products = {
        "ptpath": "model.pnnx.pt",
        "ncnnpy": "model_ncnn.py",
        "pnnxparam": "model.pnnx.param",
        "pnnxbin": "model.pnnx.bin",
        "pnnxpy": "model_pnnx.py",
        "pnnxonnx": "model.pnnx.onnx",
    }
    pnnx.export(
        model,
        inputs=pictures,
        inputs2=other,
        fp16=half,
        ncnnparam=str(folder / param),
        ncnnbin=str(folder / weights),
        **{key: str(folder / file) for key, file in by_products.items()},
    )
    if not (folder / param).is_file():
        raise ExportError("pnnx wrote no NCNN model; its own messages above say why")


def main(
    weights: Annotated[Path, typer.Argument(help="What training wrote: a .pt of a detection model.")],
    folder: Annotated[Path, typer.Argument(help="Where the model folder is written.")],
    name: Annotated[str | None, typer.Option(help="Name of the model; the folder's when left out.")] = None,
    *,
    image_size: Annotated[int | None, typer.Option(help="Longer side of the input in pixels.")] = None,
    nms_free: Annotated[bool, typer.Option(help="Take the one-to-one head of a YOLO26, which needs no NMS.")] = False,
    about: Annotated[Path | None, typer.Option(help="JSON with source, licence, data, metrics, version.")] = None,
    keep_weights: Annotated[bool, typer.Option(help="Put the .pt into the folder too.")] = False,
) -> None:
    """Export trained weights to a model folder."""
    try:
        facts = json.loads(about.read_text(encoding="utf-8")) if about else None
    except (OSError, ValueError) as error:
        raise ExportError(f"{about}: cannot be read as JSON ({error}); it has {', '.join(ABOUT)}") from error
    manifest = export(
        weights, folder, name=name, image_size=image_size, about=facts, nms_free=nms_free, keep_weights=keep_weights
    )
    typer.echo(f"wrote {manifest}")
