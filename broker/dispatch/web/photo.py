"""Photos from phones: decoded, turned upright, shrunk, their faces hidden, encoded anew. Nothing of the file itself
remains: no place, no time, no serial number, no second content."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP")
LONGEST = 1600
"""Pixels of the longer side that is kept."""
THUMBNAIL, FOR_PHONES = 320, 800
_MOST_PIXELS = 64_000_000
_QUALITY = 80
_room = threading.BoundedSemaphore(2)  # a decoded photo takes up to 200 MB

HideFaces = Callable[[Image.Image], Image.Image]
"""A picture of the same size in which nobody can be recognised, of an RGB one whose longer side is at most `LONGEST`.
Raises FacesError. Called by several threads at once, never by the one that answers everybody."""


class PhotoError(ValueError):
    """This is no photo that can be read."""


class FacesError(RuntimeError):
    """Faces cannot be hidden now, so that no photo may be kept. The text is for whoever runs the server."""


def anonymous(content: bytes, hide_faces: HideFaces) -> bytes:
    """A JPEG without metadata and faces. Raises PhotoError, FacesError."""
    return _encoded(hide_faces(_decoded(content, LONGEST)))


def thumbnail(path: Path, longest: int = THUMBNAIL) -> bytes:
    """A small JPEG of a stored picture, its longer side at most `longest` px. Raises PhotoError."""
    return _encoded(_decoded(path.read_bytes(), longest))


def _decoded(content: bytes, longest: int) -> Image.Image:
    """Upright, in RGB, the longer side at most `longest` px."""
    try:
        with _room, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise PhotoError(f"{image.width} x {image.height} px is more than anybody's phone takes")
                image.draft("RGB", (longest, longest))
                upright = ImageOps.exif_transpose(image).convert("RGB")
            upright.thumbnail((longest, longest))
            return upright
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise PhotoError(str(error)) from error


def _encoded(image: Image.Image) -> bytes:
    out = io.BytesIO()
    # A new image out of the bare pixels: `save` would write what it finds in `info`.
    Image.frombytes("RGB", image.size, image.tobytes()).save(out, "JPEG", quality=_QUALITY, optimize=True)
    return out.getvalue()
