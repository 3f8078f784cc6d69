"""A folder of pictures, in the order of their names."""

from __future__ import annotations

from pathlib import Path

import cv2

from edge.capture.source import SourceError, Timing
from edge.site.model import FolderSource
from edge.values import CameraCause, Image

_PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder, by name. Raises SourceError where there is none."""
    if not folder.is_dir():
        raise SourceError(CameraCause.NOT_FOUND, f"there is no folder {folder}")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in _PICTURES)
    if not found:
        raise SourceError(CameraCause.NOT_FOUND, f"no pictures in {folder} ({', '.join(sorted(_PICTURES))})")
    return found


def read_picture(path: Path) -> Image:
    """(height, width, 3) uint8 BGR. Raises SourceError naming the file."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise SourceError(CameraCause.DECODE, f"{path} is not a picture that can be read")
    return image  # type: ignore[return-value]


class PictureFolder:
    """The pictures of a folder, once or in a loop."""

    def __init__(self, config: FolderSource, base: Path) -> None:
        self._folder = base / config.path
        self._fps = config.fps
        self._loop = config.loop
        self.timing = Timing.PACED if config.realtime else Timing.FREE
        self._pictures: list[Path] = []
        self._shown = 0

    def open(self) -> None:
        self._pictures = pictures_in(self._folder)

    def advance(self) -> float:
        if self._shown == len(self._pictures) and not self._loop:
            raise SourceError(CameraCause.ENDED, f"all pictures of {self._folder} were shown")
        self._shown += 1
        return (self._shown - 1) / self._fps

    def picture(self) -> Image | None:
        return read_picture(self._pictures[(self._shown - 1) % len(self._pictures)])

    def close(self) -> None:
        self._pictures = []
