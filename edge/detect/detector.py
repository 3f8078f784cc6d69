"""One detector, whatever runs it: a picture in, `Detections` out."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Protocol

import numpy as np

from edge.detect.decode import anchors, decode
from edge.detect.errors import ModelError
from edge.detect.letterbox import Letterbox
from edge.detect.manifest import FILE, Manifest, RuntimeName, read_manifest, verified_files
from edge.detect.runtimes import Session, default_runtime, import_runtime
from edge.values import Detections, Floats, Image

RUNTIMES: tuple[RuntimeName, ...] = ("onnx", "ncnn", "openvino", "ultralytics")


class Detector(Protocol):
    """What the node knows of a detector. Not for two threads at once."""

    @property
    def names(self) -> tuple[str, ...]:
        """Class names; `Detections.class_id` counts in them."""

    @property
    def manifest(self) -> Manifest: ...

    @property
    def runtime(self) -> RuntimeName: ...

    def detect(self, image: Image, floor: float = 0.1) -> Detections:
        """What is in a BGR picture (height, width, 3) with a confidence above `floor`, most confident first.

        Boxes are clipped to the picture. `ValueError` for what is no such picture; `RuntimeError` where the runtime
        fails on it or gives numbers that are not finite.
        """

    def close(self) -> None:
        """Give the weights' memory back; detecting afterwards is a `RuntimeError`."""


def check_image(image: Image) -> None:
    """`ValueError` unless this is a picture that a detector can take."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        got = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"a picture must be a uint8 array, got {got}")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"a picture must be (height, width, 3), BGR and not empty, got {image.shape}")
    if not image.flags.c_contiguous:
        raise ValueError("a picture must lie in one piece in memory; copy the crop or flip with np.ascontiguousarray")


def check_floor(floor: float) -> None:
    if not 0 <= floor < 1:
        raise ValueError(f"floor must lie in 0 <= floor < 1, got {floor}")


class SessionDetector:
    """A detector on a bare runtime session."""

    def __init__(self, manifest: Manifest, runtime: RuntimeName, session: Session) -> None:
        self._manifest = manifest
        self._runtime: RuntimeName = runtime
        self._session = session
        self._letterbox = Letterbox(manifest.input, manifest.preprocessing)

    @property
    def names(self) -> tuple[str, ...]:
        return self._manifest.classes

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    @property
    def runtime(self) -> RuntimeName:
        return self._runtime

    def detect(self, image: Image, floor: float = 0.1) -> Detections:
        check_image(image)
        check_floor(floor)
        blob, fit = self._letterbox(image)
        raw = self._session.run(blob)
        if not np.isfinite(raw).all():
            raise RuntimeError(f"runtime {self._runtime!r} gave numbers that are not finite")
        output = self._manifest.output
        boxes, confidence, class_id = decode(raw, (fit.width, fit.height), output.strides, output.nms_iou, floor)
        boxes = fit.to_image(boxes)
        real = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        return Detections.build(boxes[real], confidence[real], class_id[real], self.names)

    def close(self) -> None:
        self._session.close()


def load_detector(folder: Path, runtime: str, threads: int) -> Detector:
    """Load a model folder (or, for `ultralytics`, a `.pt`) and prove that it runs.

    runtime: `auto` or one of `RUNTIMES`. threads: of the runtime.
    Raises `ModelError`: no or bad manifest, missing file, wrong checksum, package not installed, weights that do not
    load or whose output does not fit the manifest.
    """
    name = _runtime_name(runtime, folder)
    if name == "ultralytics":
        import_runtime(name)
        from edge.detect.runtimes import ultralytics  # noqa: PLC0415 - brings torch; developers only

        return ultralytics.open_detector(folder, threads)
    manifest = read_manifest(folder)
    files = verified_files(folder, manifest, name)
    session = import_runtime(name).open_session(files, threads)
    _prove(session, manifest, folder, name)
    return SessionDetector(manifest, name, session)


def _runtime_name(runtime: str, folder: Path) -> RuntimeName:
    if runtime == "auto":
        return "ultralytics" if folder.suffix == ".pt" else default_runtime()
    if runtime not in RUNTIMES:
        raise ModelError(f"runtime {runtime!r}: unknown; choose auto, {', '.join(RUNTIMES)}")
    return runtime


def _prove(session: Session, manifest: Manifest, folder: Path, runtime: RuntimeName) -> None:
    """Run the network once per kind of input shape and compare its output with the manifest."""
    width, height = manifest.input.width, manifest.input.height
    shapes = [(width, height)]
    if manifest.preprocessing.free_shape:
        shapes.append((width, max(height // 2 // manifest.preprocessing.stride, 1) * manifest.preprocessing.stride))
    for columns, rows in shapes:
        blob: Floats = np.full((1, 3, rows, columns), 0.5, np.float32)
        where = f"{folder}: runtime {runtime!r}, input {columns}x{rows}"
        try:
            raw = session.run(blob)
        except RuntimeError as error:
            raise ModelError(f"{where}: the weights do not run: {error}; does {FILE} give the right input?") from error
        count = len(anchors(columns, rows, manifest.output.strides)[1])
        wanted = (4 + len(manifest.classes), count)
        if raw.ndim == 2 and raw.shape[0] != wanted[0]:
            raise ModelError(
                f"{where}: {FILE} names {len(manifest.classes)} classes ({', '.join(manifest.classes)}), "
                f"but the weights give {raw.shape[0] - 4}; the class list must be the one of the training"
            )
        if raw.shape != wanted:
            raise ModelError(
                f"{where}: output is {raw.shape}, {FILE} makes it {wanted}; input or strides are wrong there"
            )
        if not np.isfinite(raw).all():
            raise ModelError(f"{where}: output is not finite; the weights are damaged or overflow in this runtime")


def _is_newer(received: Manifest, other: Path) -> bool:
    """By version, whose numbers are compared as numbers."""
    if not other.is_dir():
        return True
    versions = [re.findall(r"\d+", manifest.version) for manifest in (received, read_manifest(other))]
    new, old = ([int(number) for number in version] for version in versions)
    return new > old


def shipped() -> Path:
    """The folder of the models that come with Banksman."""
    # The spec finds the package without running it: the node imports nothing of `models`.
    spec = importlib.util.find_spec("models")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("the package `models` with the shipped weights is not installed; install Banksman again")
    return Path(spec.submodule_search_locations[0]) / "weights"


def _received() -> Path:
    """Where the model is that came after the program, as an update of its own (`edge/update/guard.py`)."""
    return Path(sys.prefix).resolve().parent.parent / "current-model"


def find_model(name: Path, base: Path) -> Path:
    """The model that a site file means: a shipped one by bare name, else a path from `base` (the site file's folder).

    Of a shipped model and one of the same name that came as an update, the newer. Raises `ModelError`.
    """
    bare = len(name.parts) == 1 and name.suffix != ".pt"
    if bare and (_received() / FILE).is_file():
        received = read_manifest(_received())
        if received.name == str(name) and _is_newer(received, shipped() / name):
            return _received().resolve()
    if bare and (shipped() / name).is_dir():
        return shipped() / name
    path = base / name.expanduser()
    if path.is_dir() or (path.suffix == ".pt" and path.is_file()):
        return path
    known = ", ".join(sorted(p.name for p in shipped().iterdir() if p.is_dir())) if shipped().is_dir() else "none"
    raise ModelError(f"detector.model {str(name)!r}: no model folder at {path}; shipped by name: {known}")
