"""The detector: model folders and the runtimes that run them."""

from edge.detect.closer import CloserLook, load_closer
from edge.detect.detector import RUNTIMES, Detector, find_model, load_detector
from edge.detect.errors import LookError, ModelError
from edge.detect.manifest import Manifest, read_manifest

__all__ = [
    "RUNTIMES",
    "CloserLook",
    "Detector",
    "LookError",
    "Manifest",
    "ModelError",
    "find_model",
    "load_closer",
    "load_detector",
    "read_manifest",
]
