"""Frames of the drives in `clips/`, as photos: `clip_columbus_0042` is frame 42 of `workzone-columbus.mp4`.

Only the cities whose photos are for training: the others' drives show what the test photos show.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import av
import cv2

from models.data.labels import Boxes, DataError, Photo

SOURCE = "workzone_clip"
CLIPS = "clips"
"""Folder of the drives, beside those of the sources."""

_NAME = re.compile(r"clip_([a-z_]+)_(\d{4,})")


def is_frame(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def extract(folder: Path, names: Iterable[str], out: Path, splits: dict[str, str]) -> list[Photo]:
    """Write the frames of these names to `out` as PNG, where they are not yet; photos without labels, in their order.

    folder: the data folder. splits: of the groups that its photos are in; a drive shares its group with the photos that
    were taken from it. A drive that is not there gives no frames, as a data folder may hold some of the sources only.
    Raises `DataError` for a name of another form, a group that nobody knows, and a frame behind the drive's end.
    """
    wanted: dict[str, dict[int, str]] = defaultdict(dict)
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None:
            raise DataError(f"{name}: no frame of a drive; clip_CITY_NUMBER")
        wanted[match[1]][int(match[2])] = name
    photos = []
    out.mkdir(parents=True, exist_ok=True)
    for city, numbers in sorted(wanted.items()):
        clip, group = folder / CLIPS / f"workzone-{city}.mp4", f"wz_{city}"
        if not clip.is_file():
            continue
        if group not in splits:
            raise DataError(f"{clip}: no photo is of group {group}, so that nobody knows its split")
        files = {number: out / f"{name}.png" for number, name in numbers.items()}
        if not all(file.is_file() for file in files.values()):
            _decode(clip, files)
        photos += [
            Photo(name, SOURCE, splits[group], group, files[number], Boxes(), frozenset())
            for number, name in sorted(numbers.items())
        ]
    return photos


def _decode(clip: Path, files: dict[int, Path]) -> None:
    left = dict(files)
    with av.open(clip) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if (file := left.pop(number, None)) is not None and not cv2.imwrite(
                str(file), frame.to_ndarray(format="bgr24")
            ):
                raise DataError(f"{file}: cannot be written")
            if not left:
                return
    raise DataError(f"{clip}: ends before frame {min(left)}, which street.tsv labels")
