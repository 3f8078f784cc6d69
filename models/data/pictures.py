"""Photos from disk, turned upright as their EXIF says, which is how ultralytics reads them too."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from models.data.labels import DataError

Pixels: TypeAlias = NDArray[np.uint8]
"""(height, width, 3), BGR."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def pixels_of(path: Path) -> Pixels:
    """Raises `DataError` for what is no photo."""
    data = np.frombuffer(path.read_bytes(), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if picture is None:
        raise DataError(f"{path}: not a photo that can be read")
    return np.asarray(picture, np.uint8)


def size_of(path: Path) -> tuple[int, int]:
    """Width and height in pixels."""
    height, width = pixels_of(path).shape[:2]
    return width, height


def photos_in(folder: Path) -> list[Path]:
    """All photos below a folder, sorted. Raises `DataError` where there is none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise DataError(f"{folder}: no photos in it (looked for {', '.join(SUFFIXES)})")
    return found
