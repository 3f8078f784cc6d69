"""What is run on both processors, with the installed packages alone. Prints one JSON object.

look.py import                      every module that a node may load, also those it loads late
look.py RUNTIME PICTURE...          what the shipped model sees
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import platform
import sys
import time
from pathlib import Path

import cv2
import numpy as np

import edge
from edge.detect import find_model, load_closer, load_detector
from edge.site.model import SHIPPED_MODEL

FLOOR = 0.1  # what the node asks for
ELSEWHERE = {"edge.detect.runtimes.openvino", "edge.detect.runtimes.ultralytics"}  # neither is for a Pi
PROGRAM = ("deploy.cli", "deploy.doctor", "deploy.node", "deploy.card.status")


def modules() -> list[str]:
    """Imported by their names; `__main__` would run."""
    names = [m.name for m in pkgutil.walk_packages(edge.__path__, "edge.") if not m.name.endswith("__main__")]
    loaded = [name for name in (*names, *PROGRAM) if name not in ELSEWHERE]
    for name in loaded:
        importlib.import_module(name)
    return loaded


def seen(runtime: str, pictures: list[str]) -> dict[str, object]:
    model = find_model(Path(SHIPPED_MODEL), Path())
    detector = load_detector(model, runtime, 1)
    looks = load_closer(model, detector.runtime)
    found, closer = [], []
    for picture in pictures:
        image = cv2.imread(picture)
        assert image is not None, picture
        look = detector.detect(np.asarray(image, np.uint8), FLOOR)
        found.append(
            {"xyxy": look.xyxy.tolist(), "confidence": look.confidence.tolist(), "class_id": look.class_id.tolist()}
        )
        height, width = image.shape[:2]
        place = (width * 0.4, height * 0.3, width * 0.5, height * 0.5)
        closer.append({part: look.chances(np.asarray(image, np.uint8), place).tolist() for part, look in looks.items()})
    return {"runtime": detector.runtime, "names": detector.names, "looks": found, "closer": closer}


def main() -> None:
    begun = time.monotonic()
    what, *pictures = sys.argv[1:]
    told = {"modules": modules()} if what == "import" else seen(what, pictures)
    told |= {"machine": platform.machine(), "seconds": time.monotonic() - begun, "loaded": sorted(sys.modules)}
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
