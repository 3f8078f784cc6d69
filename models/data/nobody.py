"""Photos in which the eye sees nobody, of sources that do not label people (`nobody.tsv`, a name a row).

Without them no street, machine or cone without people is ever learned from as such: their sources do not say that
nobody is there. Only photos are listed of which that is plain; no cab that may be manned, nobody far off.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from models.data.labels import DataError, Photo, check_trained_on

LIST = Path(__file__).with_name("nobody.tsv")

_COMPLETE = frozenset({"person", "helmet", "no_helmet", "vest", "no_vest"})


def read(path: Path = LIST) -> frozenset[str]:
    """Names of photos; raises `DataError` for another head, and a name that comes twice."""
    head, *names = path.read_text(encoding="utf-8").splitlines() or [""]
    if head != "photo":
        raise DataError(f"{path}: column is {head!r}, expected 'photo'")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path}: photo {twice[0]} comes twice")
    return frozenset(names)


def add(photos: Sequence[Photo], names: Collection[str]) -> list[Photo]:
    """The photos, those of these names complete for people and what they wear; names that are not there are no error.

    Raises `DataError` where such a photo measures (`val`, `test`), or has somebody labelled.
    """
    made = []
    for photo in photos:
        if photo.name not in names:
            made.append(photo)
            continue
        check_trained_on(photo, LIST)
        if len(photo.boxes.of(*_COMPLETE)):
            raise DataError(f"{LIST.name}: photo {photo.name} has somebody labelled")
        made.append(replace(photo, complete=photo.complete | _COMPLETE))
    return made
