"""All sources of a data folder as one set: twins joined, a `val` split made out of `train`, own labels added."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from models.data import frames, nobody, street
from models.data.labels import CLASS_ID, Boxes, DataError, Photo
from models.data.labelset import sources_of
from models.data.sources import SOURCES, read_index, read_photos

VAL_SHARE = 0.1
SEED = 20


def merge(folder: Path, pictures: Path | None = None, *, val_share: float = VAL_SHARE, seed: int = SEED) -> list[Photo]:
    """Read the data folder (`images.tsv`, a folder a source), join twins, split, and add what the eye saw: what stands
    on the street (`street.tsv`), and that nobody is there (`nobody.tsv`).

    These come last, so that `val` stays as it is when more is labelled. Frames of the drives that are labelled there
    are written to `pictures`; without it they are left out. Raises `DataError`.
    """
    entries = read_index(folder)
    photos = {photo.name: photo for photo in read_photos(folder, entries)}
    for entry in entries:
        if entry.twin:
            photos[entry.twin] = join(photos[entry.twin], photos.pop(entry.name))
    labels, empty = street.read(), nobody.read()
    merged = split(list(photos.values()), val_share=val_share, seed=seed, kept=frozenset(labels) | empty)
    if pictures is not None:
        splits = {photo.group: photo.split for photo in merged}
        merged += frames.extract(folder, filter(frames.is_frame, labels), pictures, splits)
    return sorted(nobody.add(street.add(merged, labels), empty), key=lambda photo: photo.name)


def join(photo: Photo, twin: Photo) -> Photo:
    """One photo with the labels of both. Where both label a class, the twin, which was labelled later, is right."""
    decided = [CLASS_ID[name] for name in twin.complete]
    own = photo.boxes.take(~np.isin(photo.boxes.classes, decided))
    return replace(
        photo,
        source=f"{photo.source}+{twin.source}",
        boxes=Boxes.join((own, twin.boxes)),
        complete=photo.complete | twin.complete,
    )


def split(photos: Sequence[Photo], *, val_share: float, seed: int, kept: frozenset[str] = frozenset()) -> list[Photo]:
    """Move about `val_share` of the training photos of each source, whole groups, to `val`.

    Same photos and seed, same split, in whatever order they come. Groups with a photo of a source of ready-made mosaics
    stay in training: tiles of one photo are in many of those. So do groups with a photo of `kept`, even if they are
    drawn: they were labelled to be learned from. Raises `DataError` for a share that is none.
    """
    if not 0 <= val_share < 1:
        raise DataError(f"val_share is {val_share}; a share from 0 to below 1")
    groups: dict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        if photo.split == "train":
            groups[photo.group].append(photo)
    strata: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for group, members in sorted(groups.items()):
        sources = sorted({source for photo in members for source in sources_of(photo)})
        if not any(name in SOURCES and SOURCES[name].mosaics for name in sources):
            strata[tuple(sources)].append(group)
    chosen: set[str] = set()
    for stratum, names in sorted(strata.items()):
        wanted = val_share * sum(len(groups[name]) for name in names)
        random = np.random.default_rng([seed, *"+".join(stratum).encode()])
        for name in random.permutation(np.array(names)).tolist():
            if len(groups[name]) / 2 > wanted:  # nearer to the share without it
                break
            chosen.add(name)
            wanted -= len(groups[name])
    chosen -= {photo.group for photo in photos if photo.name in kept}
    moved = [replace(p, split="val") if p.split == "train" and p.group in chosen else p for p in photos]
    return sorted(moved, key=lambda photo: photo.name)
