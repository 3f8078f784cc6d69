"""Labels from a teacher, for classes that a photo's source does not label.

A detection that the teacher is sure of becomes a box; one that it is half sure of becomes an ignore box; what it does
not see is taken as background. Photos of the `test` split are left as they are: they only ever measure. So are those of
`val`, which would otherwise praise whoever agrees with the teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from models.data.labels import CLASS_ID, CLASSES, Boxes, DataError, Floats, Photo, overlap
from models.data.pictures import Pixels, pixels_of

SURE, HALF_SURE = 0.6, 0.15
"""Confidences. Of what `site-v0` is sure of at 0.6, that many are right, on 120 photos of the `val` split: helmet 0.97,
vest 0.88, no_vest 0.91, cone 1.0; from 0.15 on: helmet 0.76, vest 0.70, no_vest 0.66, cone 0.68. Flattering, as some of
these photos had been in its training. (`site-v0` draws bare heads to the brow only, see `models.data.heads`, and is
poor at them: leave `no_helmet` out when it teaches.)"""

Teacher: TypeAlias = Callable[[Pixels], tuple[Boxes, Floats]]
"""Detections, in our classes, and their confidences (n,)."""


def load_teacher(weights: Path) -> tuple[Teacher, frozenset[str]]:
    """From ultralytics weights; also the classes that it knows. Classes that are not ours are left out.

    It looks at the size that it was trained at last, which the weights tell. Raises `DataError`.
    """
    from ultralytics import YOLO  # noqa: PLC0415  # heavy, and needed by nothing else here

    if not weights.is_file():
        raise DataError(f"{weights}: no such file; give the teacher's weights, a .pt")
    network: Any = YOLO(str(weights))
    names: Mapping[int, str] = network.names
    image_size = network.overrides.get("imgsz")
    if image_size is None:
        raise DataError(f"{weights}: does not tell the size it was trained at; give a .pt that ultralytics saved")
    ours = np.array([CLASS_ID.get(names[number], -1) for number in sorted(names)], np.int64)

    def look(picture: Pixels) -> tuple[Boxes, Floats]:
        found = network.predict(picture, imgsz=image_size, conf=HALF_SURE, verbose=False)[0].boxes.cpu().numpy()
        classes = ours[found.cls.astype(np.int64)]
        kept = classes >= 0
        boxes = Boxes(classes[kept], np.asarray(found.xywhn, np.float64)[kept])
        return boxes, np.asarray(found.conf, np.float64)[kept]

    return look, frozenset(CLASSES[number] for number in ours if number >= 0)


def add_pseudo_labels(
    photos: Sequence[Photo],
    teacher: Teacher,
    knows: frozenset[str],
    *,
    sure: float = SURE,
    half_sure: float = HALF_SURE,
    labels: Callable[[Photo], bool] = lambda _: True,
) -> Iterator[Photo]:
    """Each photo, those of `train` with the teacher's labels for the classes they lack. Slow: the teacher looks.

    knows: classes of the teacher; a photo becomes complete for them. labels: which photos it may label.
    """
    if not 0 < half_sure <= sure <= 1:
        raise DataError(f"half_sure {half_sure}, sure {sure}: must rise, from above 0 to 1")
    for photo in photos:
        missing = knows - photo.complete
        if photo.split != "train" or not missing or not labels(photo):
            yield photo
            continue
        found, confidence = teacher(pixels_of(photo.path))
        yield taught(photo, found, confidence, missing, sure=sure, half_sure=half_sure)


def taught(
    photo: Photo, found: Boxes, confidence: Floats, missing: frozenset[str], *, sure: float, half_sure: float
) -> Photo:
    """The photo with detections of the `missing` classes. One that overlaps a label of its class adds nothing."""
    wanted = np.isin(found.classes, [CLASS_ID[name] for name in missing])
    if len(photo.boxes) and len(found):
        same = found.classes[:, None] == photo.boxes.classes[None, :]
        wanted &= ~(same & (overlap(found.xyxy, photo.boxes.xyxy) > 0.5)).any(axis=1)
    return replace(
        photo,
        boxes=Boxes.join((photo.boxes, found.take(wanted & (confidence >= sure)))),
        ignore=Boxes.join((photo.ignore, found.take(wanted & (confidence >= half_sure) & (confidence < sure)))),
        complete=photo.complete | missing,
    )
