"""Contact sheets: photos with their labels drawn, to look at with one's own eyes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from models.data.labels import CLASSES, Boxes, DataError, Photo
from models.data.pictures import Pixels, pixels_of

COLOURS = {
    "person": (200, 200, 200),
    "helmet": (60, 200, 60),
    "no_helmet": (60, 60, 230),
    "vest": (0, 215, 255),
    "no_vest": (200, 60, 200),
    "barrier": (230, 130, 0),
    "cone": (0, 120, 255),
    "warning_light": (255, 255, 0),
    "sign": (150, 110, 255),
    "machinery": (60, 130, 150),
    "vehicle": (160, 160, 90),
}
"""BGR."""

_LINE, _LEGEND = 14, 18
_QUALITY = 85


def drawn(picture: Pixels, boxes: Boxes, ignore: Boxes | None = None) -> Pixels:
    """A copy with each box in its class's colour; what is ignored gets a cross."""
    result = picture.copy()
    height, width = result.shape[:2]
    for some, crossed in ((boxes, False), (ignore or Boxes(), True)):
        corners = np.rint(some.xyxy * [width, height, width, height]).astype(int)
        for kind, (left, top, right, bottom) in zip(some.classes.tolist(), corners.tolist(), strict=True):
            colour = COLOURS[CLASSES[kind]]
            cv2.rectangle(result, (left, top), (right, bottom), colour, 1)
            if crossed:
                cv2.line(result, (left, top), (right, bottom), colour, 1, cv2.LINE_AA)
                cv2.line(result, (left, bottom), (right, top), colour, 1, cv2.LINE_AA)
    return result


def sheet(tiles: Iterable[tuple[Pixels, str]], *, columns: int = 5, side: int = 320) -> Pixels:
    """Pictures in a grid, each scaled to fit a square of `side` pixels, its caption below, the legend under all.

    Raises `DataError` without pictures.
    """
    cells = [_cell(picture, caption, side) for picture, caption in tiles]
    if not cells:
        raise DataError("no photo fits what was asked for; nothing to show")
    columns = min(columns, len(cells))
    cells += [np.zeros_like(cells[0])] * (-len(cells) % columns)
    rows = [np.hstack(cells[start : start + columns]) for start in range(0, len(cells), columns)]
    return np.asarray(np.vstack([*rows, _legend(rows[0].shape[1])]), np.uint8)


def review(
    photos: Sequence[Photo],
    out: Path,
    *,
    count: int = 25,
    seed: int = 0,
    source: str | None = None,
    split: str | None = None,
    kind: str | None = None,
    columns: int = 5,
    side: int = 320,
) -> Path:
    """Write a JPEG of `count` photos drawn at random (the same for the same seed).

    source: only photos with labels of it. split, kind (a class): only photos of it, with it. Raises `DataError`.
    """
    if kind is not None and kind not in CLASSES:
        raise DataError(f"class {kind!r}; known are {', '.join(CLASSES)}")
    fitting = [
        photo
        for photo in photos
        if (source is None or source in photo.source.split("+"))
        and (split is None or photo.split == split)
        and (kind is None or len(photo.boxes.of(kind)))
    ]
    order = np.random.default_rng(seed).permutation(len(fitting))[:count].tolist()
    chosen = [fitting[index] for index in order]
    tiles = ((_scaled(pixels_of(p.path), p, side), f"{p.name} {p.split}") for p in chosen)
    return save(sheet(tiles, columns=columns, side=side), out)


def save(picture: Pixels, out: Path) -> Path:
    """As JPEG, whatever the name ends in."""
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise DataError(f"{out}: a picture of shape {picture.shape} is too large for JPEG; show fewer photos")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(data.tobytes())
    return out


def _scaled(picture: Pixels, photo: Photo, side: int) -> Pixels:
    """Scaled first and drawn then, so that lines stay thin."""
    return drawn(_fit(picture, side), photo.boxes, photo.ignore)


def _fit(picture: Pixels, side: int) -> Pixels:
    height, width = picture.shape[:2]
    factor = side / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _cell(picture: Pixels, caption: str, side: int) -> Pixels:
    fitted = picture if max(picture.shape[:2]) == side else _fit(picture, side)
    cell = np.full((side + _LINE, side, 3), 40, np.uint8)
    cell[: fitted.shape[0], : fitted.shape[1]] = fitted
    cv2.putText(cell, caption, (2, side + _LINE - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (255, 255, 255), 1, cv2.LINE_AA)
    return cell


def _legend(width: int) -> Pixels:
    strip = np.zeros((_LEGEND, width, 3), np.uint8)
    left = 4
    for name, colour in COLOURS.items():
        cv2.putText(strip, name, (left, _LEGEND - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.38, colour, 1, cv2.LINE_AA)
        left += 8 * len(name) + 10
    return strip
