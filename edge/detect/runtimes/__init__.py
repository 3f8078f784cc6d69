"""One file a runtime; each is imported only when it is chosen."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from edge.detect.errors import ModelError
from edge.detect.manifest import RuntimeName
from edge.values import Floats

_PACKAGES = {"onnx": "onnxruntime", "ncnn": "ncnn", "openvino": "openvino", "ultralytics": "ultralytics"}
_EXTRAS = {"onnx": "node", "ncnn": "ncnn", "openvino": "openvino", "ultralytics": "train"}


class Session(Protocol):
    """Weights, loaded. Not for two threads at once."""

    def run(self, blob: Floats) -> Floats:
        """(1, 3, height, width) float32 to the raw output (4 + classes, anchors). `RuntimeError` if it cannot."""

    def close(self) -> None:
        """Give the memory back."""


class Runtime(Protocol):
    """What a module of this package offers."""

    def open_session(self, files: Sequence[Path], threads: int) -> Session:
        """Load weights; `ModelError` where they are not what this runtime can load."""


def import_runtime(name: str) -> Runtime:
    """The module of a runtime. Raises `ModelError` when its package is not installed."""
    try:
        return cast("Runtime", importlib.import_module(f"{__name__}.{name}"))
    except ImportError as error:
        raise ModelError(
            f"runtime {name!r} needs the package {_PACKAGES[name]} ({error}); install banksman[{_EXTRAS[name]}], "
            f"or choose another detector.runtime"
        ) from error


def default_runtime() -> RuntimeName:
    """NCNN on ARM, where it is the fastest; ONNX Runtime elsewhere."""
    return "ncnn" if platform.machine().lower() in {"aarch64", "arm64", "armv7l", "armv8l"} else "onnx"
