"""The detector: model folders and the runtimes that run them."""

from edge.detect.detector import RUNTIMES, Detector, find_model, load_detector
from edge.detect.errors import ModelError
from edge.detect.manifest import Manifest, read_manifest

__all__ = ["RUNTIMES", "Detector", "Manifest", "ModelError", "find_model", "load_detector", "read_manifest"]
