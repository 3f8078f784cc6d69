"""Train the network of a closer look (`edge/detect/closer.py`) on cut-outs of labelled photos, and put it into a model.

    banksman model closer var/labelled models/checkpoints/site-v1.pt models/weights/site-v1 helmet

It is the first layers of a trained detector, the mean of what they see, and three numbers: what is labelled as off, as
on, and what is neither. For `person` two: nobody, somebody; nobody is learned from the detector's own mistakes, from
things that are labelled, and from places where nothing is. In the model folder: `closer-PART.*` and an entry of the
manifest. Some ten minutes on two cores.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import nn

from models.data.hard import harden
from models.data.heads import HAT_BOTTOM, HAT_TOP
from models.data.labels import CLASS_ID, Boxes, DataError, Floats, Photo
from models.data.labelset import in_split, read_set
from models.data.pictures import Pixels, pixels_of
from models.errors import CommandError
from models.eval.network import open_network, read_manifest
from models.export import to_ncnn, to_onnx

LAYERS = 7
"""Of the detector, to stride 16: a cut-out of 96 px is 6 x 6 cells there."""
SIDE = 96
SPARE = 1.3
"""What is kept of a photo around a cut-out, in its side, so that training may shift and scale it."""
LEAST_PX = 6.0
"""Longer side of the smallest box that is learned from."""
NEITHER = 2
"""Places a photo on which there is neither, as large as what is labelled on it."""
ANSWERS = ("off", "on", "neither")
"""What the logits stand for, in this order; of a part that nothing speaks against, the first two."""
_OFF, _ON, _NEITHER = range(len(ANSWERS))
_GREY = 114
EPOCHS, HARD = 8, 0.3
"""See `train`."""
_BATCH = 64
_RATE, _HEAD_RATE = 6e-4, 2e-3


@dataclass(frozen=True, slots=True)
class Part:
    """on, off, reach, least: see `edge.detect.manifest.Closer`; a helmet is told by the head below it, so more than its
    box is seen. framings: of a labelled box and its answer, all the boxes that the detector may draw there."""

    on: str
    off: str | None
    reach: float
    least: float
    framings: Callable[[Floats, int], tuple[Floats, ...]]

    @property
    def answers(self) -> tuple[str, ...]:
        return ANSWERS if self.off is not None else ANSWERS[:2]

    @property
    def classes(self) -> tuple[str, ...]:
        return (self.on,) if self.off is None else (self.on, self.off)


def hat_and_head(box: Floats, answer: int) -> tuple[Floats, ...]:
    """A helmet's box ends at its brim, a bare head's at the chin. The detector that takes one for the other draws the
    other's box; and if each answer had its own framing, the framing is what would be learned."""
    left, top, right, bottom = box
    height = (bottom - top) if answer == _OFF else (bottom - top) / (HAT_BOTTOM - HAT_TOP)
    crown = top if answer == _OFF else top - HAT_TOP * height
    head = np.array([left, crown, right, crown + height])
    hat = np.array([left, crown + HAT_TOP * height, right, crown + HAT_BOTTOM * height])
    return head, hat


def as_labelled(box: Floats, answer: int) -> tuple[Floats, ...]:
    del answer
    return (box,)


PARTS = {
    "helmet": Part("helmet", "no_helmet", 1.7, 0.9, hat_and_head),
    "person": Part("person", None, 1.2, 0.7, as_labelled),
}
"""`least` by alarms on validation pans (docs/decisions.md, *A closer look*, *Is anybody there?*)."""
THINGS = ("cone", "barrier", "sign", "warning_light", "machinery", "vehicle")
"""Where these are labelled, and nobody with them, there is nobody."""
MISTAKE = 0.02
"""Confidence from which the detector's word about nobody is a mistake to learn from; a twentieth of what a node judges
by, since there are few otherwise."""
_APART = 0.1  # of what a box covers that may be somebody's, and it is still none of them


Detector = Callable[[Pixels, float], Floats]
"""Where it sees a part in a picture, from a confidence on: (n, 4) corners in shares."""


class CloserError(CommandError):
    """The network of a closer look cannot be made; the text says why."""


@dataclass(frozen=True, slots=True)
class CutOuts:
    """n squares of `SPARE` times what a look sees: pixels (n, side, side, 3), answers (n,) as numbers of `ANSWERS`."""

    pixels: Pixels
    answers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.answers)


class Network(nn.Module):  # type: ignore[misc]  # nor is torch followed by mypy
    """(n, 3, side, side) to (n, answers) logits."""

    def __init__(self, detector: nn.Module, answers: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*[copy.deepcopy(layer) for layer in list(detector.model)[:LAYERS]]).float()
        with torch.inference_mode():
            channels = self.body(torch.zeros(1, 3, SIDE, SIDE)).shape[1]
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(channels, answers)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.drop(self.body(pictures).mean((2, 3))))
        return found


def cut(picture: Pixels, box: Floats, side: int, reach: float) -> Pixels:
    """What lies around a box (4,), in pixels: as the node cuts it out (`edge.detect.closer.cut`), pixel by pixel."""
    x1, y1, x2, y2 = (float(v) for v in box)
    half = max(reach * max(x2 - x1, y2 - y1), 2.0) / 2
    left, top, size = round((x1 + x2) / 2 - half), round((y1 + y2) / 2 - half), max(round(2 * half), 2)
    height, width = picture.shape[:2]
    x, y = np.clip([left, left + size], 0, width), np.clip([top, top + size], 0, height)
    square = np.full((size, size, 3), _GREY, np.uint8)
    square[y[0] - top : y[1] - top, x[0] - left : x[1] - left] = picture[y[0] : y[1], x[0] : x[1]]
    how = cv2.INTER_AREA if size > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (side, side), interpolation=how), np.uint8)


def blob_of(squares: Sequence[Pixels]) -> NDArray[np.float32]:
    """The network's input (n, 3, side, side) of cut-outs, RGB, 0..1: as the node makes it."""
    return np.divide(np.stack(squares)[..., ::-1].transpose(0, 3, 1, 2), 255, dtype=np.float32)


def cut_outs(
    photos: Sequence[Photo], part: Part, random: np.random.Generator | None, detector: Detector | None = None
) -> CutOuts:
    """All labelled boxes of a part, in all framings; with `random` also places with neither, on photos where all is
    labelled. Of a part that nothing is labelled against: what the detector mistakes for it, and other things."""
    squares: list[Pixels] = []
    answers: list[int] = []
    for photo in photos:
        boxes = photo.boxes.of(*part.classes)
        whole = set(part.classes) <= photo.complete and not len(photo.ignore.of(*part.classes))
        if not len(boxes) and not (whole and part.off is None):
            continue
        picture = pixels_of(photo.path)
        height, width = picture.shape[:2]
        scale = np.array([width, height, width, height])
        corners = boxes.xyxy * scale
        kinds = [_ON if kind == CLASS_ID[part.on] else _OFF for kind in boxes.classes.tolist()]
        places = [(frame, kind) for box, kind in zip(corners, kinds, strict=True) for frame in part.framings(box, kind)]
        if whole and part.off is None:
            others = [photo.boxes.of(*THINGS).xyxy]
            if detector is not None and not len(boxes):  # beside labelled people there are some that were forgotten
                others.append(detector(picture, MISTAKE))
            places += [(place, _OFF) for place in np.concatenate(others) * scale if not _touches(corners, place)]
            if random is not None:
                places += [(place, _OFF) for place in _anywhere(corners, width, height, random)]
        elif whole and random is not None:
            places += [(place, _NEITHER) for place in _elsewhere(corners, width, height, random)]
        for place, kind in places:
            longer = float(max(place[2] - place[0], place[3] - place[1]))
            if longer >= LEAST_PX:
                squares.append(cut(picture, place, round(SIDE * SPARE), part.reach * SPARE))
                answers.append(kind)
    if not squares:
        raise DataError(f"no photo has a {' or a '.join(part.classes)}")
    return CutOuts(np.stack(squares), np.asarray(answers))


def _elsewhere(corners: Floats, width: int, height: int, random: np.random.Generator) -> Iterator[Floats]:
    """Squares as large as the boxes are, that lie on none of them."""
    for _ in range(NEITHER):
        side = float(random.choice(corners[:, 3] - corners[:, 1])) * random.uniform(0.7, 1.3)
        if side >= min(width, height):
            continue
        left, top = random.uniform(0, width - side), random.uniform(0, height - side)
        place = np.array([left, top, left + side, top + side])
        if not _touches(corners, place):
            yield place


def _anywhere(corners: Floats, width: int, height: int, random: np.random.Generator) -> Iterator[Floats]:
    """Boxes shaped like people, of any size, that lie on none of the boxes."""
    for _ in range(NEITHER):
        tall = height * random.uniform(0.08, 0.7)
        wide = min(tall * random.uniform(0.25, 0.7), width - 1.0)
        left, top = random.uniform(0, width - wide), random.uniform(0, height - tall)
        place = np.array([left, top, left + wide, top + tall])
        if not _touches(corners, place):
            yield place


def _touches(corners: Floats, place: Floats) -> bool:
    """Whether one of the boxes (n, 4) covers more of a place (4,) than `_APART`."""
    shared = np.minimum(corners[:, 2:], place[2:]) - np.maximum(corners[:, :2], place[:2])
    return bool((shared.clip(0).prod(axis=1) > _APART * (place[2:] - place[:2]).prod()).any())


def seen(square: Pixels) -> Pixels:
    """What the look itself sees of a square that is kept: the middle of it."""
    kept = square.shape[0]
    side = round(kept / SPARE)
    start = (kept - side) // 2
    return _fitted(square[start : start + side, start : start + side])


def varied(square: Pixels, answer: int, part: Part, random: np.random.Generator, hard: float) -> Pixels:
    """Shifted, scaled, coarse, mirrored, in other light, hidden in part, or one of the hard cases of `models.data`."""
    kept = square.shape[0]
    share = 1 / (part.reach * SPARE)
    shows = (part.off, part.on, None)[answer]
    label = Boxes()
    if shows is not None:
        label = Boxes(np.array([CLASS_ID[shows]]), np.array([[0.5, 0.5, share, share]]))
    square, _ = harden(square, label, random, hard)
    side = int(min(kept / SPARE * random.uniform(0.82, 1.22), kept))
    middle = (kept - side) / 2
    x, y = np.clip(middle + random.uniform(-0.08, 0.08, 2) * kept, 0, kept - side).astype(int)
    shown: Pixels = square[y : y + side, x : x + side]
    if random.random() < 0.35:  # as of somebody far away
        few = int(random.uniform(14, 60))
        shown = np.asarray(cv2.resize(shown, (few, few), interpolation=cv2.INTER_AREA), np.uint8)
    shown = _fitted(shown)
    if random.random() < 0.5:
        shown = shown[:, ::-1]
    light: NDArray[np.float64] = shown.astype(np.float64)
    drawn = random.random()
    if drawn < 0.3:
        light = light * random.uniform(0.15, 0.6) + random.normal(0, random.uniform(0, 8), light.shape)
    elif drawn < 0.6:
        mean = light.mean()
        light = (light - mean) * random.uniform(0.6, 1.4) + mean * random.uniform(0.6, 1.4)
    if random.random() < 0.1:
        light = np.repeat(light.mean(axis=2, keepdims=True), 3, axis=2)
    if random.random() < 0.2:
        tall, wide = random.integers(SIDE // 10, SIDE // 2, 2)
        top, left = random.integers(0, SIDE - SIDE // 10, 2)
        light[top : top + tall, left : left + wide] = random.uniform(0, 255)
    if random.random() < 0.3:
        light = light * random.uniform(0.85, 1.15, 3)
    return np.ascontiguousarray(light.clip(0, 255), np.uint8)


def _fitted(square: Pixels) -> Pixels:
    how = cv2.INTER_AREA if square.shape[0] > SIDE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (SIDE, SIDE), interpolation=how), np.uint8)


def _tensor(squares: Sequence[Pixels]) -> torch.Tensor:
    return torch.from_numpy(blob_of(squares))


def learn(
    network: Network,
    cuts: CutOuts,
    part: Part,
    *,
    epochs: int,
    seed: int,
    hard: float,
    progress: Callable[[str], object] = print,
) -> Network:
    """The averaged weights after `epochs` over all cut-outs; one cycle of the rate, cross entropy, AdamW."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    groups: list[dict[str, Any]] = [
        {"params": list(network.body.parameters()), "lr": _RATE},
        {"params": list(network.head.parameters()), "lr": _HEAD_RATE},
    ]
    for group in groups:
        for parameter in group["params"]:
            parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(groups, weight_decay=0.02)
    batches = max(len(cuts) // _BATCH, 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [_RATE, _HEAD_RATE], total_steps=epochs * batches, pct_start=0.1
    )
    averaged = copy.deepcopy(network)
    step = 0
    for epoch in range(epochs):
        network.train()
        order = random.permutation(len(cuts))
        total = 0.0
        for batch in np.array_split(order[: batches * _BATCH], batches):
            pictures = _tensor([varied(cuts.pixels[i], int(cuts.answers[i]), part, random, hard) for i in batch])
            loss = nn.functional.cross_entropy(
                network(pictures), torch.from_numpy(cuts.answers[batch]), label_smoothing=0.03
            )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5)
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
            step += 1
            _average(averaged, network, 1 - min(0.998, step / (step + 20)))
        progress(f"epoch {epoch + 1} of {epochs}: loss {total / batches:.3f}")
    averaged.eval()
    return averaged


def _average(averaged: nn.Module, network: nn.Module, weight: float) -> None:
    with torch.no_grad():
        for mean, now in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(now, weight)
            else:
                mean.copy_(now)


def chances(network: Network, cuts: CutOuts) -> Floats:
    """(n, answers) probabilities."""
    with torch.inference_mode():
        parts = [
            network(_tensor([seen(square) for square in cuts.pixels[start : start + 256]])).softmax(1).numpy()
            for start in range(0, len(cuts), 256)
        ]
    return np.concatenate(parts)


def measured(found: Floats, answers: NDArray[np.int64], least: float) -> dict[str, Any]:
    """Of what is labelled on and off: how much is called which, from `least` on."""
    sure = found.max(axis=1) >= least
    called = found.argmax(axis=1)

    def count(label: int, answer: int) -> int:
        return int(((answers == label) & sure & (called == answer)).sum())

    names = {"on": _ON, "off": _OFF}
    return {
        label: {"labelled": int((answers == number).sum())}
        | {f"called_{n}": count(number, k) for n, k in names.items()}
        for label, number in names.items()
    }


def known(name: str) -> Part:
    """Raises `CloserError`."""
    if name not in PARTS:
        raise CloserError(f"{name!r}: unknown; there are {', '.join(PARTS)}")
    return PARTS[name]


def train(
    labelled: Path,
    detector: Path,
    folder: Path,
    name: str,
    *,
    epochs: int = EPOCHS,
    least: float | None = None,
    hard: float = HARD,
    seed: int = 20,
    progress: Callable[[str], object] = print,
) -> dict[str, Any]:
    """Train, export, and enter into the manifest of `folder`; returns the recipe and what was measured.

    name: of `PARTS`. detector: the `.pt` whose first layers are taken. least: another than the part's. hard: share of
    cut-outs made hard.
    Raises `CloserError` and `DataError`.
    """
    part = known(name)
    least = part.least if least is None else least
    _check(folder, part)
    photos = read_set(labelled)
    network = Network(_layers(detector), len(part.answers))
    mistaken = _detector(folder, part) if part.off is None else None
    cuts = cut_outs(in_split(photos, "train"), part, np.random.default_rng(seed), mistaken)
    counts = dict(zip(part.answers, np.bincount(cuts.answers, minlength=len(part.answers)).tolist(), strict=True))
    progress(f"{name}: cut-outs {counts}")
    network = learn(network, cuts, part, epochs=epochs, seed=seed, hard=hard, progress=progress)
    told: dict[str, Any] = {"epochs": epochs, "hard": hard, "seed": seed, "least": least, "trained_on": counts}
    for split in ("val", "test"):
        held = cut_outs(in_split(photos, split), part, None, mistaken)
        told[split] = measured(chances(network, held), held.answers, least)
        progress(f"{split}: {json.dumps(told[split])}")
    return told | {"network": enter(network, part, folder, least=least)}


def _check(folder: Path, part: Part) -> None:
    """Before anything takes long: is the folder a model's that knows the part? Raises `DataError`, `CloserError`."""
    classes = read_manifest(folder)["classes"]
    if missing := sorted(set(part.classes) - set(classes)):
        raise CloserError(f"{folder}: its detector does not know {', '.join(missing)}, only {', '.join(classes)}")


def _detector(folder: Path, part: Part) -> Detector:
    network = open_network(folder)

    def places(picture: Pixels, floor: float) -> Floats:
        return network.look(picture, floor).boxes.of(part.on).xyxy

    return places


def _layers(weights: Path) -> nn.Module:
    os.environ.setdefault("YOLO_OFFLINE", "true")
    from ultralytics import YOLO  # noqa: PLC0415 - after the variable, which it reads at import

    if not weights.is_file():
        raise CloserError(f"{weights}: no such file; give the .pt of the detector")
    network: nn.Module = YOLO(weights).model.float()
    return network


def enter(network: nn.Module, part: Part, folder: Path, *, least: float) -> str:
    """Export into a model folder, and name it in the manifest, instead of an earlier one of the same part; returns the
    sha256 of the ONNX file."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    stem = f"closer-{part.on}"
    ncnn = f"{stem}.ncnn.param", f"{stem}.ncnn.bin"
    names = {"onnx": (f"{stem}.onnx",), "ncnn": ncnn, "openvino": (f"{stem}.onnx",)}
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    with tempfile.TemporaryDirectory(prefix="banksman-closer-") as scratch:
        made = Path(scratch)
        example = torch.zeros(1, 3, SIDE, SIDE)
        to_onnx(network, example, made / names["onnx"][0], half=True)
        to_ncnn(network, example, made, ncnn, half=True)
        for file in {file for files in names.values() for file in files}:
            shutil.copyfile(made / file, folder / file)
    entry = {
        "on": part.on, "off": part.off, "side": SIDE, "reach": part.reach, "least": least,
        "files": {
            runtime: {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in names[runtime]}
            for runtime in manifest["files"]
            if runtime in names
        },
    }  # fmt: skip
    others = [one for one in manifest.get("closer", ()) if one["on"] != part.on]
    manifest["closer"] = sorted([*others, entry], key=lambda one: str(one["on"]))
    path.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return hashlib.sha256((folder / names["onnx"][0]).read_bytes()).hexdigest()


def main(
    labelled: Annotated[Path, typer.Argument(help="Folder of the labelled set.", metavar="SET")],
    detector: Annotated[Path, typer.Argument(help="Weights of the detector, whose first layers are taken; a .pt.")],
    folder: Annotated[Path, typer.Argument(help="Model folder that the network is put into.")],
    part: Annotated[str, typer.Argument(help=f"One of: {', '.join(PARTS)}.")],
    *,
    results: Annotated[Path | None, typer.Option(help="JSON that recipe and numbers are added to.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Over all cut-outs.")] = EPOCHS,
    least: Annotated[
        float | None, typer.Option(min=0.5, max=0.99, help="Probability below which it says nothing; the part's own.")
    ] = None,
    hard: Annotated[float, typer.Option(min=0, max=1, help="Share made hard (night, rain, caps, ...).")] = HARD,
    seed: Annotated[int, typer.Option(help="Of every draw.")] = 20,
) -> None:
    """Train the network of a closer look and put it into a model folder."""
    told = train(
        labelled, detector, folder, part, epochs=epochs, least=least, hard=hard, seed=seed, progress=typer.echo
    )
    if results is not None:
        before = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else {}
        results.write_text(json.dumps(before | {part: told}, indent=1) + "\n", encoding="utf-8")
