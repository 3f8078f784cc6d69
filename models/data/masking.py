"""Training on photos of which only some classes are labelled: what is not labelled must not be learned as background.

Every training picture carries a map of the size of its pixels. A number in the map says which classes are *unknown*
there: those its source does not label, and, inside an ignore box, that box's class. The map goes through mosaic, crop
and flip with the picture, as ultralytics carries semantic masks. In the loss, the map is read at each anchor, and where
a class is unknown and no labelled object claims the anchor, its term is left out. Gradients there are exactly zero.

Subclasses of ultralytics' classes, written against the version in requirements.txt.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from ultralytics.data.augment import Compose, Mosaic
from ultralytics.data.dataset import YOLODataset
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.utils.loss import v8DetectionLoss

from models.data.hard import far, harden, more_lamps, near
from models.data.labels import CLASS_ID, CLASSES, Boxes, DataError, Photo
from models.data.labelset import sources_of
from models.data.pictures import Pixels, pixels_of
from models.data.sources import SOURCES

FILLER = 255
"""Of the map: grey around photos. ultralytics fills with it; nothing is unknown there."""

KEY = "semantic_mask"
"""Under which ultralytics' transforms carry a map along with the picture."""


Numbers: TypeAlias = NDArray[np.uint8]

ALL = frozenset(CLASSES)

RARE = ("warning_light", "sign")
"""On so few of the photos that do not label them that those teach more as background than they mislead: where both
are labelled, 2 lamps on 52 photos of `hhw`, 11 on 68 of `rf100_cs`. Barriers are on half of them."""

_LAMPS = 0.4
"""Share of the photos with barriers that get `more_lamps`; a fifth of it for the others."""


class Palette:
    """Numbers for sets of unknown classes. Complete after the data set was read; `table` is what the loss looks up."""

    def __init__(self) -> None:
        self._numbers: dict[frozenset[int], int] = {}

    def number(self, unknown: frozenset[int]) -> int:
        found = self._numbers.setdefault(unknown, len(self._numbers))
        if found >= FILLER:
            raise DataError(
                "more than 255 different sets of unknown classes: too many ignore boxes overlap; "
                "raise the lower confidence of the pseudo-labels"
            )
        return found

    def table(self) -> Tensor:
        """(256, classes), true where a number of the map means that a class is unknown."""
        table = torch.zeros(256, len(CLASSES), dtype=torch.bool)
        for unknown, number in self._numbers.items():
            table[number, list(unknown)] = True
        return table

    def paint(self, photo: Photo, height: int, width: int) -> Numbers:
        """The map of one photo, (height, width)."""
        base = frozenset(number for number, name in enumerate(CLASSES) if name not in photo.complete)
        sets = {self.number(base): base}
        painted = np.full((height, width), self.number(base), np.uint8)
        corners = np.rint(photo.ignore.xyxy * [width, height, width, height]).astype(int)
        for kind, (left, top, right, bottom) in zip(photo.ignore.classes.tolist(), corners.tolist(), strict=True):
            region = painted[top:bottom, left:right]
            for number in np.unique(region).tolist():
                wider = sets[number] | {kind}
                sets[self.number(wider)] = wider
                region[region == number] = self.number(wider)
        return painted


class UnknownAt(nn.Module):  # type: ignore[misc]  # nor is torch
    """(batch, anchors, classes): true where a class is unknown at the centre of an anchor."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table)

    def forward(self, maps: Tensor, levels: Sequence[tuple[int, int]]) -> Tensor:
        """maps: (batch, height, width), numbers of the palette. levels: rows and columns of anchors of each level."""
        _, height, width = maps.shape
        picked = []
        for rows, columns in levels:
            down = ((torch.arange(rows, device=maps.device) + 0.5) * height / rows).long()
            across = ((torch.arange(columns, device=maps.device) + 0.5) * width / columns).long()
            picked.append(maps[:, down][:, :, across].flatten(1))
        found: Tensor = self.table.to(maps.device)[torch.cat(picked, 1).long()]
        return found


class MaskedLoss(v8DetectionLoss):  # type: ignore[misc]  # ultralytics is not followed by mypy
    """Detection loss in which an unknown class adds nothing, unless an object of it is labelled.

    rare: weight of background for the classes of `RARE` where they are unknown, 0 to 1.
    """

    def __init__(
        self,
        model: nn.Module,
        tal_topk: int = 10,
        tal_topk2: int | None = None,
        *,
        table: Tensor,
        rare: float = 0.0,
    ) -> None:
        super().__init__(model, tal_topk=tal_topk, tal_topk2=tal_topk2)
        self._unknown_at = UnknownAt(table)
        self._weight = torch.zeros(len(CLASSES), device=self.device)
        self._weight[[CLASS_ID[name] for name in RARE]] = rare
        self._unknown = torch.zeros(0, dtype=torch.bool)
        self.bce = self._masked_bce  # the one place where ultralytics turns class scores into loss

    def loss(self, preds: dict[str, Any], batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        levels = [tuple(level.shape[2:]) for level in preds["feats"]]
        self._unknown = self._unknown_at(batch[KEY].to(self.device), levels)
        result: tuple[Tensor, dict[str, Tensor]] = super().loss(preds, batch)
        return result

    def _masked_bce(self, scores: Tensor, targets: Tensor) -> Tensor:
        terms = nn.functional.binary_cross_entropy_with_logits(scores, targets, reduction="none")
        return torch.where(self._unknown & (targets == 0), self._weight.to(terms) * terms, terms)


class OwnMosaic(Mosaic):  # type: ignore[misc]
    """Mosaic of photos that are none yet; its other photos are drawn with the data set's weights."""

    def __call__(self, labels: dict[str, Any]) -> dict[str, Any]:
        if labels["ready_mosaic"]:
            return labels
        result: dict[str, Any] = super().__call__(labels)
        return result

    def get_indexes(self) -> list[int]:
        plain, weights = self.dataset.plain
        return random.choices(plain, weights, k=self.n - 1)  # noqa: S311  # ultralytics seeds this one


def _as_tensor(labels: dict[str, Any]) -> dict[str, Any]:
    labels[KEY] = torch.from_numpy(np.ascontiguousarray(labels[KEY]))
    return labels


class MaskedDataset(YOLODataset):  # type: ignore[misc]
    """YOLO data set that brings the map of unknown classes, hard cases, and mosaics of what is no mosaic yet.

    photos: by the path of their picture as in the set's lists. weights: how often each is drawn, in proportion.
    masked: whether classes that a photo is not complete for are unknown; otherwise they are background, to compare.
    hard, distant: shares of the training photos that are made hard, far. A set for validation keeps only boxes of
    classes that the photo is complete for, because `MaskedValidator` counts no others.
    near: share of them of which only a window is shown, at the scale that they have at `source_size` pixels.
    """

    def __init__(
        self,
        *args: Any,
        photos: Mapping[str, Photo],
        palette: Palette,
        weights: Mapping[str, float],
        masked: bool,
        hard: float,
        distant: float,
        near: float = 0.0,
        source_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        self._photos = photos if masked else {f: replace(p, complete=ALL) for f, p in photos.items()}
        self._labelled = photos
        self._palette, self._hard, self._distant, self._near = palette, hard, distant, near
        self._side: int = kwargs["imgsz"]
        if source_size is not None:
            kwargs["imgsz"] = source_size  # photos are read, and kept in memory, as large as the windows need them
        self.imgsz: int
        super().__init__(*args, **kwargs)
        for file in self.im_files:  # the palette must be complete before the loss asks for its table
            palette.paint(self._photos[file], self.imgsz, self.imgsz)
        self._lamps = [lamp for file in self.im_files for lamp in lamps_of(photos[file])] if self.augment else []
        ready = [ready_mosaic(photos[file]) for file in self.im_files]
        indexes = [index for index, made in enumerate(ready) if not made]
        self.weights = [weights.get(file, 1.0) for file in self.im_files]
        self.plain = indexes, [self.weights[index] for index in indexes]

    def get_labels(self) -> list[dict[str, Any]]:
        labels: list[dict[str, Any]] = super().get_labels()
        if not self.augment:
            for label in labels:
                complete = [CLASS_ID[name] for name in self._labelled[label["im_file"]].complete]
                kept = np.isin(label["cls"][:, 0], complete)
                label["cls"], label["bboxes"] = label["cls"][kept], label["bboxes"][kept]
        return labels

    def update_labels_info(self, label: dict[str, Any]) -> dict[str, Any]:
        """Where ultralytics lets a data set change a photo that was just read, before any transform."""
        photo = self._photos[label["im_file"]]
        picture = label["img"]
        painted = self._palette.paint(photo, *picture.shape[:2])
        label["ready_mosaic"] = ready_mosaic(photo)
        if self.augment:
            dice = np.random.default_rng(random.getrandbits(64))  # ultralytics seeds `random`
            labelled = Boxes(label["cls"][:, 0].astype(np.int64), label["bboxes"].astype(np.float64))
            if self._side != self.imgsz:
                if dice.random() < self._near:
                    picture, labelled, (left, top, right, bottom) = near(picture, labelled, self._side, dice)
                    painted = painted[top:bottom, left:right]
                else:
                    picture = _fitted(picture, self._side)
                painted = _stretched(painted, picture.shape[1], picture.shape[0])
            if dice.random() < (_LAMPS if len(labelled.of("barrier")) else _LAMPS / 5):
                picture, labelled = more_lamps(picture, labelled, self._lamps, dice)
            picture, labelled = harden(picture, labelled, dice, self._hard)
            label["cls"] = labelled.classes[:, None].astype(np.float32)
            label["bboxes"] = labelled.xywh.astype(np.float32)
            if dice.random() < self._distant and not label["ready_mosaic"]:
                picture, boxes, (left, top, right, bottom) = far(picture, label["bboxes"], dice)
                label["bboxes"] = boxes.astype(np.float32)
                whole = np.full(picture.shape[:2], FILLER, np.uint8)
                whole[top:bottom, left:right] = _stretched(painted, right - left, bottom - top)
                painted = whole
        label["img"], label["resized_shape"] = picture, picture.shape[:2]
        label[KEY] = painted
        result: dict[str, Any] = super().update_labels_info(label)
        return result

    def build_transforms(self, hyp: Any) -> Compose:
        read, self.imgsz = self.imgsz, self._side  # what ultralytics makes its pictures from, and how large
        transforms = super().build_transforms(hyp)
        self.imgsz = read
        if self.augment:
            geometry = transforms.transforms[0]
            if not isinstance(geometry.transforms[0], Mosaic):
                raise TypeError("ultralytics no longer begins its transforms with a mosaic; see requirements.txt")
            geometry.transforms[0] = OwnMosaic(self, imgsz=self._side, p=hyp.mosaic)
        transforms.append(_as_tensor)
        return transforms


class MaskedValidator(DetectionValidator):  # type: ignore[misc]
    """Counts a detection only where its class is known: else every person on a photo without people's labels is wrong.

    labelled: photos by the path of their picture.
    """

    labelled: Mapping[str, Photo]

    def update_metrics(self, preds: list[dict[str, Tensor]], batch: dict[str, Any]) -> None:
        known = []
        for found, file in zip(preds, batch["im_file"], strict=True):
            complete = torch.tensor([name in self.labelled[file].complete for name in CLASSES])
            kept = complete.to(found["cls"].device)[found["cls"].long()]
            known.append({key: value[kept] for key, value in found.items()})
        super().update_metrics(known, batch)


def _fitted(picture: Pixels, side: int) -> Pixels:
    """The picture, its longer side `side` pixels."""
    height, width = picture.shape[:2]
    size = max(1, round(width * side / max(height, width))), max(1, round(height * side / max(height, width)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _stretched(painted: Numbers, width: int, height: int) -> Numbers:
    """A map at another size; its numbers are names, so that none may be mixed."""
    return np.asarray(cv2.resize(painted, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def lamps_of(photo: Photo) -> list[Pixels]:
    """The lamps of a photo that are large enough to be shown elsewhere, cut out."""
    if not len(photo.boxes.of("warning_light")):
        return []
    picture = pixels_of(photo.path)
    height, width = picture.shape[:2]
    corners = np.rint(photo.boxes.of("warning_light").xyxy.clip(0, 1) * [width, height, width, height]).astype(int)
    return [picture[b:d, a:c] for a, b, c, d in corners.tolist() if c - a >= 8 and d - b >= 8 and c - a < 4 * (d - b)]


def ready_mosaic(photo: Photo) -> bool:
    """Whether the photo comes as a mosaic."""
    return any(name in SOURCES and SOURCES[name].mosaics for name in sources_of(photo))


def repeat_factors(photos: Sequence[Photo], share: float, street: float = 1.0, vests: float = 1.0) -> list[float]:
    """How often to draw each photo so that rare classes are seen: repeat factor sampling (Gupta et al., LVIS, 2019).

    A class that is on less than `share` of the photos counts sqrt(share / its share); a photo counts as its rarest
    class does, at least 1. street, vests: photos that are labelled for barriers, for vests, count so many times that.
    """
    on = np.array([[kind in photo.boxes.classes for kind in range(len(CLASSES))] for photo in photos])
    frequency = np.maximum(on.mean(axis=0), 1 / max(len(photos), 1))
    factor = np.maximum(1.0, np.sqrt(share / frequency))
    times = [
        (street if "barrier" in photo.complete else 1.0) * (vests if "vest" in photo.complete else 1.0)
        for photo in photos
    ]
    return [float(factor[row].max(initial=1.0)) * more for row, more in zip(on, times, strict=True)]
