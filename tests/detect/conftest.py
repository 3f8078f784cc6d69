"""Builders of the detector's tests: photos, and model folders that have something wrong."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.detect import Detector, load_detector
from edge.values import Image
from tests.detect.shipped import SHIPPED

EXPORTED = ("onnx", "ncnn", "openvino")


@dataclass(frozen=True)
class Photos:
    """Labelled photos of the held-out split."""

    files: tuple[Path, ...]

    def every(self, step: int) -> Photos:
        return Photos(self.files[::step])

    def images(self) -> Iterator[tuple[Path, Image]]:
        for file in self.files:
            image = cv2.imread(str(file))
            assert image is not None, file
            yield file, np.asarray(image, np.uint8)


@pytest.fixture(scope="session")
def photos(shared: Path) -> Photos:
    data = shared / "data"
    with (data / "images.tsv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["split"] == "test"]
    return Photos(tuple(data / row["source"] / "images" / f"{row['name']}.webp" for row in rows))


@pytest.fixture(scope="session")
def onnx() -> Iterator[Detector]:
    detector = load_detector(SHIPPED, "onnx", 2)
    yield detector
    detector.close()


Spoil = Callable[..., Path]


@pytest.fixture
def spoiled(tmp_path: Path) -> Spoil:
    """A copy of the shipped model with a changed manifest or changed files.

    manifest: is handed the parsed manifest and changes it. files: name to new bytes, None to delete.
    resign: give changed files their right checksum, as a careless exporter would.
    """

    def make(
        manifest: Callable[[dict[str, Any]], object] | None = None,
        files: dict[str, bytes | None] | None = None,
        *,
        resign: bool = False,
    ) -> Path:
        folder = tmp_path / "model"
        shutil.copytree(SHIPPED, folder)
        told = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        for name, content in (files or {}).items():
            if content is None:
                (folder / name).unlink()
                continue
            (folder / name).write_bytes(content)
            networks = (told, *told["closer"]) if resign else ()
            for listed in (files for network in networks for files in network["files"].values()):
                if name in listed:
                    listed[name] = hashlib.sha256(content).hexdigest()
        if manifest is not None:
            manifest(told)
        if "manifest.json" not in (files or {}):
            (folder / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
        return folder

    return make
