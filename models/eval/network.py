"""A model as the node looks through it: letterbox, network, boxes of the best class of each anchor, NMS.

Written once more, because `models` imports nothing of the node; `tests/models/test_eval_network.py` holds the two
together. A `.pt` is looked through by ultralytics' own `predict`, which does the same.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from models.data.labels import CLASS_ID, Boxes, DataError, Floats
from models.data.pictures import Pixels

Runtime = Literal["onnx", "openvino", "ncnn", "ultralytics"]
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)

FLOOR = 0.001
"""Confidence from which a detection is taken; ultralytics' val takes the same."""
MOST = 300
"""Detections a photo, the most confident ones; as the node and ultralytics have it."""

Blob: TypeAlias = NDArray[np.float32]
Run: TypeAlias = Callable[[Blob], Blob]
"""(1, 3, height, width) to (4 + classes, anchors)."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Detections in one photo, in our classes, most confident first; `confidence` (n,)."""

    boxes: Boxes
    confidence: Floats

    def take(self, chosen: NDArray[np.bool_]) -> Seen:
        return Seen(self.boxes.take(chosen), self.confidence[chosen])


class Network:
    """Weights, loaded. Not for two threads at once.

    name: of the model. knows: its classes, as far as they are ours. eye: its parts, None where ultralytics has them.
    image_size: longer side of its input, pixels. weights: sha256 of each of its files, so that numbers tell whose they
    are.
    """

    def __init__(
        self,
        name: str,
        classes: list[str],
        look: Callable[[Pixels, float], tuple[Floats, Floats]],
        image_size: int,
        weights: Mapping[str, str],
    ) -> None:
        self.name = name
        self.weights = dict(weights)
        self.image_size = image_size
        self.eye = look if isinstance(look, Eye) else None
        self.knows = frozenset(classes) & frozenset(CLASS_ID)
        self._ours = np.array([CLASS_ID.get(c, -1) for c in classes], np.int64)
        self._look = look

    def look(self, picture: Pixels, floor: float = FLOOR) -> Seen:
        """What is in a BGR picture with a confidence above `floor`."""
        rows, confidence = self._look(picture, floor)
        height, width = picture.shape[:2]
        classes = self._ours[rows[:, 4].astype(np.int64)]
        corners = np.clip(rows[:, :4] / [width, height, width, height], 0.0, 1.0)
        size = corners[:, 2:] - corners[:, :2]
        kept = (classes >= 0) & (size > 0).all(axis=1)
        xywh = np.concatenate((corners[:, :2] + size / 2, size), axis=1)
        return Seen(Boxes(classes[kept], xywh[kept]), confidence[kept])


def open_network(path: Path, runtime: Runtime = "onnx", threads: int = 2, image_size: int | None = None) -> Network:
    """A model folder, or a `.pt` (then ultralytics runs it, whatever `runtime` says). Raises `DataError`.

    image_size: of a `.pt`, as it was trained unless given; a folder is `resized` instead.
    """
    if path.suffix == ".pt":
        return _ultralytics(path, path.stem, threads, image_size)
    manifest = read_manifest(path)
    files = _files(path, manifest, runtime)
    if runtime == "ultralytics":
        return _ultralytics(files[0], manifest["name"], threads, max(manifest["input"].values()))
    run = {"onnx": _onnx, "openvino": _openvino, "ncnn": _ncnn}[runtime](files, threads)
    size = max(manifest["input"].values())
    return Network(manifest["name"], manifest["classes"], Eye(manifest, run), size, manifest["files"][runtime])


def resized(folder: Path, image_size: int, out: Path) -> Path:
    """Write to `out` the same model with an input of `image_size` pixels, its weights linked; returns `out`.

    The name gets the size, so that nobody takes its numbers for the shipped model's. Raises `DataError`.
    """
    manifest = read_manifest(folder)
    how = manifest["preprocessing"]
    if not how["free_shape"]:
        raise DataError(f"{folder}: its input has one shape only; export it with another --image-size")
    if image_size % how["stride"] or not 64 <= image_size <= 1280:
        raise DataError(f"image size {image_size}: must be a multiple of {how['stride']} from 64 to 1280")
    manifest |= {
        "name": f"{manifest['name']}@{image_size}",
        "input": {"width": image_size, "height": image_size},
        "metrics": {"caveat": "at another input size than it was exported for"},
    }
    out.mkdir(parents=True)
    networks = (manifest, *manifest.get("closer", ()))
    for name in {name for network in networks for files in network["files"].values() for name in files}:
        (out / name).symlink_to((folder / name).resolve())
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return out


def read_manifest(folder: Path) -> dict[str, Any]:
    """`manifest.json` of a model folder, as `models.export` writes it. Raises `DataError`."""
    path = folder / "manifest.json"
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); a model is a folder that has it") from error
    except ValueError as error:
        raise DataError(f"{path}: no JSON ({error}); export the model again") from error
    if told.get("format") != 1 or told.get("output", {}).get("layout") != "distances-logits":
        raise DataError(f"{path}: not of format 1 with the layout distances-logits; export the model again")
    return told


def _files(folder: Path, manifest: dict[str, Any], runtime: Runtime) -> list[Path]:
    listed = manifest["files"].get(runtime)
    if listed is None:
        raise DataError(f"{folder}: no weights for runtime {runtime!r}; it has {', '.join(sorted(manifest['files']))}")
    for name, wanted in listed.items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != wanted:
            raise DataError(f"{folder / name}: wrong checksum; export the model again")
    return [folder / name for name in listed]


class Eye:
    """Letterbox, run, decode. Gives rows (n, 5) x1 y1 x2 y2 class in pixels, and confidences (n,)."""

    def __init__(self, manifest: dict[str, Any], run: Run) -> None:
        self._size = manifest["input"]["width"], manifest["input"]["height"]
        self._how = manifest["preprocessing"]
        self._strides = manifest["output"]["strides"]
        self._nms_iou = manifest["output"]["nms_iou"]
        self.run = run

    def blob(self, picture: Pixels) -> Blob:
        """The picture as the network's input."""
        return letterbox(picture, self._size, self._how)[0]

    def __call__(self, picture: Pixels, floor: float) -> tuple[Floats, Floats]:
        blob, scale, shift = letterbox(picture, self._size, self._how)
        raw = self.run(blob)
        boxes, confidence, classes = decode(raw, blob.shape[2:], self._strides, self._nms_iou, floor)
        boxes = (boxes - np.tile(shift, 2)) / np.tile(scale, 2)
        return np.column_stack((boxes, classes)), confidence


def letterbox(picture: Pixels, size: tuple[int, int], how: dict[str, Any]) -> tuple[Blob, Floats, Floats]:
    """The picture as the network's input; scale and shift (2,) by which its pixels came there."""
    height, width = picture.shape[:2]
    ratio = min(size[0] / width, size[1] / height)
    inner = max(round(width * ratio), 1), max(round(height * ratio), 1)
    spare = [whole - part for whole, part in zip(size, inner, strict=True)]
    if how["free_shape"]:
        spare = [s % how["stride"] for s in spare]
    left, top = (round(s / 2 - 0.1) for s in spare)  # an odd spare pixel goes right and below
    canvas = np.full((inner[1] + spare[1], inner[0] + spare[0], 3), how["padding"], np.uint8)
    small = picture if inner == (width, height) else cv2.resize(picture, inner, interpolation=cv2.INTER_LINEAR)
    canvas[top : top + inner[1], left : left + inner[0]] = small
    blob = np.ascontiguousarray(canvas[None, :, :, ::-1].transpose(0, 3, 1, 2), np.float32) / np.float32(how["scale"])
    return blob, np.array(inner) / [width, height], np.array([left, top], np.float64)


def decode(
    raw: Blob, shape: tuple[int, ...], strides: list[int], nms_iou: float | None, floor: float
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Boxes (n, 4) in pixels of the input, confidences, falling, and classes, of what is above `floor`.

    raw: (4 + classes, anchors). shape: height and width of the input.
    """
    height, width = shape
    centres, steps = [], []
    for stride in strides:
        y, x = np.mgrid[: height // stride, : width // stride] + 0.5
        centres.append(np.stack((x.ravel(), y.ravel()), axis=1))
        steps.append(np.full(x.size, stride, np.float64))
    scores = 1 / (1 + np.exp(-raw[4:].T.astype(np.float64)))
    # Without NMS an anchor may give several classes; with NMS its best one.
    best = np.ones_like(scores, bool) if nms_iou is None else scores == scores.max(axis=1, keepdims=True)
    row, classes = np.nonzero(best & (scores > floor))
    order = np.argsort(-scores[row, classes], kind="stable")
    row, classes = row[order], classes[order]
    confidence = scores[row, classes]
    sides = raw[:4].T.astype(np.float64)[row]
    centre = np.concatenate(centres)[row]
    boxes = np.concatenate((centre - sides[:, :2], centre + sides[:, 2:]), axis=1) * np.concatenate(steps)[row, None]
    if nms_iou is not None and len(boxes):
        sized = np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), axis=1)
        kept = cv2.dnn.NMSBoxesBatched(sized.tolist(), confidence.tolist(), classes.tolist(), 0.0, nms_iou)
        chosen = np.asarray(kept, np.int64)
        boxes, confidence, classes = boxes[chosen], confidence[chosen], classes[chosen]
    return boxes[:MOST], confidence[:MOST], classes[:MOST].astype(np.int64)


def _onnx(files: list[Path], threads: int) -> Run:
    import onnxruntime  # noqa: PLC0415 - each runtime only where it is asked for

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors only
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(files[0], options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda blob: np.asarray(session.run(None, {name: blob})[0][0], np.float32)


def _openvino(files: list[Path], threads: int) -> Run:
    import openvino  # noqa: PLC0415

    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # as the node
    }
    request = core.compile_model(core.read_model(files[0]), "CPU", settings).create_infer_request()

    def run(blob: Blob) -> Blob:
        request.infer([blob])
        return np.array(request.get_output_tensor().data[0], np.float32)

    return run


def _ncnn(files: list[Path], threads: int) -> Run:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # its threads otherwise spin against whatever else runs
    import ncnn  # noqa: PLC0415

    net = ncnn.Net()
    net.opt.num_threads, net.opt.use_vulkan_compute = threads, False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param(str(files[0])) or net.load_model(str(files[1])):
        raise DataError(f"{files[0]}: NCNN cannot load it; export the model again")
    source, sink = net.input_names()[0], net.output_names()[0]

    def run(blob: Blob) -> Blob:
        with net.create_extractor() as extractor:
            extractor.input(source, ncnn.Mat(blob[0]))
            failed, raw = extractor.extract(sink)
            if failed:
                raise DataError(f"NCNN cannot run the network (code {failed})")
            return np.array(raw, np.float32)

    return run


def _ultralytics(weights: Path, name: str, threads: int, image_size: int | None) -> Network:
    os.environ.setdefault("YOLO_OFFLINE", "true")
    import torch  # noqa: PLC0415
    from ultralytics import YOLO  # noqa: PLC0415

    if not weights.is_file():
        raise DataError(f"{weights}: no such file; give a .pt of ultralytics")
    yolo = YOLO(str(weights))
    torch.set_num_threads(threads)
    size = image_size or int(yolo.overrides.get("imgsz", 640))

    def look(picture: Pixels, floor: float) -> tuple[Floats, Floats]:
        (result,) = yolo.predict(picture, conf=floor, imgsz=size, max_det=MOST, device="cpu", verbose=False, iou=0.7)
        rows = result.boxes.data.numpy().astype(np.float64)
        return rows[:, [0, 1, 2, 3, 5]], rows[:, 4]

    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return Network(name, [str(yolo.names[n]) for n in range(len(yolo.names))], look, size, {weights.name: digest})
