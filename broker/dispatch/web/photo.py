"""Photos from phones: decoded, turned upright, shrunk and encoded anew, so that nothing of the file itself remains: no
place, no time, no serial number, no second content."""

from __future__ import annotations

import io
import threading
import warnings
from pathlib import Path

from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP")
LONGEST = 1600
"""Pixels of the longer side that is kept."""
THUMBNAIL = 320
_MOST_PIXELS = 64_000_000
_QUALITY = 80
_room = threading.BoundedSemaphore(2)  # a decoded photo takes up to 200 MB


class PhotoError(ValueError):
    """This is no photo that can be read."""


def reencoded(content: bytes, longest: int = LONGEST) -> bytes:
    """A JPEG without metadata, its longer side at most `longest` px. Raises PhotoError."""
    with _room:
        return _reencoded(content, longest)


def _reencoded(content: bytes, longest: int) -> bytes:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise PhotoError(f"{image.width} x {image.height} px is more than anybody's phone takes")
                image.draft("RGB", (longest, longest))
                upright = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise PhotoError(str(error)) from error
    upright.thumbnail((longest, longest))
    out = io.BytesIO()
    # A new image out of the bare pixels: `save` would write what it finds in `info`.
    Image.frombytes("RGB", upright.size, upright.tobytes()).save(out, "JPEG", quality=_QUALITY, optimize=True)
    return out.getvalue()


def thumbnail(path: Path) -> bytes:
    """A small JPEG of a stored picture. Raises PhotoError."""
    return reencoded(path.read_bytes(), THUMBNAIL)
