"""`ultralytics` itself on a `.pt`: for a developer's computer, and what the others must agree with."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from pickle import UnpicklingError

import numpy as np

from edge.detect.decode import MOST
from edge.detect.detector import check_floor, check_image
from edge.detect.errors import ModelError
from edge.detect.manifest import InputSize, Manifest, Output, Preprocessing, RuntimeName, read_manifest, verified_files
from edge.values import Detections, Image

os.environ.setdefault("YOLO_OFFLINE", "true")  # read at import; without it the network is asked for updates

import torch
from ultralytics import YOLO

_NMS_IOU = 0.7  # predict's own default


class UltralyticsDetector:
    """`YOLO.predict` behind the node's interface."""

    def __init__(self, manifest: Manifest, yolo: YOLO) -> None:
        self._manifest = manifest
        self._yolo: YOLO | None = yolo

    @property
    def names(self) -> tuple[str, ...]:
        return self._manifest.classes

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    @property
    def runtime(self) -> RuntimeName:
        return "ultralytics"

    def detect(self, image: Image, floor: float = 0.1) -> Detections:
        check_image(image)
        check_floor(floor)
        if self._yolo is None:
            raise RuntimeError("the detector is closed")
        size = self._manifest.input
        nms_iou = self._manifest.output.nms_iou
        # To ultralytics nms=False means the head that needs none, None the other one with NMS afterwards.
        how = {"nms": False} if nms_iou is None else {"iou": nms_iou}
        (result,) = self._yolo.predict(
            image, conf=floor, imgsz=(size.height, size.width), max_det=MOST, device="cpu", verbose=False, **how
        )
        rows = result.boxes.data.numpy()
        real = (rows[:, 2] > rows[:, 0]) & (rows[:, 3] > rows[:, 1])
        rows = rows[real]
        return Detections.build(rows[:, :4], rows[:, 4], rows[:, 5], self.names)

    def close(self) -> None:
        self._yolo = None


def open_detector(path: Path, threads: int) -> UltralyticsDetector:
    """From a `.pt`, or from a model folder that kept its `.pt`. Raises `ModelError`."""
    if path.is_dir():
        manifest = read_manifest(path)
        (weights,) = verified_files(path, manifest, "ultralytics")
        yolo = _load(weights)
        got = _classes(yolo)
        if got != manifest.classes:
            raise ModelError(f"{weights}: its classes are {got}, the manifest names {manifest.classes}")
    elif path.is_file():
        yolo = _load(path)
        manifest = _manifest(path, yolo)
    else:
        raise ModelError(f"{path}: no such model folder or .pt")
    torch.set_num_threads(threads)
    return UltralyticsDetector(manifest, yolo)


def _load(weights: Path) -> YOLO:
    try:
        yolo = YOLO(weights)
    except (RuntimeError, OSError, EOFError, TypeError, AttributeError, KeyError, ValueError, UnpicklingError) as error:
        raise ModelError(f"{weights}: ultralytics cannot load it: {error}") from error
    if yolo.task != "detect":
        raise ModelError(f"{weights}: the task is {yolo.task!r}; only `detect` weights can be used")
    return yolo


def _classes(yolo: YOLO) -> tuple[str, ...]:
    return tuple(str(yolo.names[i]) for i in range(len(yolo.names)))


def _manifest(weights: Path, yolo: YOLO) -> Manifest:
    """What a bare `.pt` tells about itself."""
    size = int(yolo.overrides.get("imgsz", 640))
    head = yolo.model.model[-1]
    strides = tuple(int(s) for s in np.asarray(head.stride))
    return Manifest(
        format=1,
        name=weights.stem[:64],
        version="",
        task="detect",
        classes=_classes(yolo),
        input=InputSize(width=size, height=size),
        preprocessing=Preprocessing(
            resize="letterbox", free_shape=True, stride=32, padding=114, colour="RGB", scale=255
        ),
        output=Output(layout="distances-logits", strides=strides, nms_iou=_NMS_IOU),
        files={"ultralytics": {weights.name: hashlib.sha256(weights.read_bytes()).hexdigest()}},
        source=weights.name,
        licence="AGPL-3.0-only",
    )
