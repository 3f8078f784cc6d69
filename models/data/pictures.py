"""Photos from disk: their sizes (from the header, nothing decoded) and their pixels."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from models.data.labels import DataError

Pixels: TypeAlias = NDArray[np.uint8]
"""(height, width, 3), BGR."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def size_of(path: Path) -> tuple[int, int]:
    """Width and height as the pixels are stored."""
    try:
        with Pillow.open(path) as picture:
            width, height = picture.size
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{path}: not a photo that can be read ({error})") from error
    return width, height


def pixels_of(path: Path) -> Pixels:
    picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        raise DataError(f"{path}: not a photo that can be read")
    return np.asarray(picture, np.uint8)


def photos_in(folder: Path) -> list[Path]:
    """All photos below a folder, sorted. Raises `DataError` where there is none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise DataError(f"{folder}: no photos in it (looked for {', '.join(SUFFIXES)})")
    return found
