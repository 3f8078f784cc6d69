"""Pictures of alarms that people called false become a queue of labels to be looked over, ready for the next training.

    banksman dispatch false-alarms dispatch.yaml mistakes            # on the site server
    banksman model harvest mistakes mistakes/marks.json models/weights/site-v1 var/queue

marks.json: a list of `{"sha256": …, "rule": …, "reason": …}`; or a CSV with these columns. sha256 is the name of the
picture in the folder, as dispatch takes it out and as a node names its evidence. The result:

    set/          a YOLO data set: pictures, and labels by the model, to be put right in any tool that reads YOLO
    queue.tsv     what became of each mark: picture, rule, reason, what the model saw, what was left out and why
    review.jpg    the pictures with their labels; what the false alarm accused is crossed out, and is no label

When the labels are right, for the next training:

    banksman model data import var/queue/set var/more --source yard --complete helmet,no_helmet,…
    banksman model data join var/next var/labelled var/more

Faces were hidden by the node. A picture on which a head is as sharp as an unhidden one is refused all the same:
training data are kept for long and handed on. That check sees what the model sees, and heads of at least `LEAST_HEAD`
pixels, and misses a tenth (`SHARP`); it does not replace a look at the sheet. Whoever looked at a picture that was
refused without need says `"faces_hidden": true` in its mark. The red outlines of evidence are painted over, as a model
would learn from them who is in the wrong.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from models.data.labels import CLASSES, Boxes, DataError, Floats, render
from models.data.pictures import Pixels, pixels_of
from models.data.review import drawn, save, sheet
from models.eval.network import Runtime, Seen, open_network

ACCUSED = {"helmet": ("no_helmet",), "hi_vis": ("no_vest",), "night_reflective": ("no_vest",), "intrusion": ("person",)}
"""The classes whose detection makes an alarm of a rule. Of a false one nobody knows which of them was wrong."""

SURE = 0.35
"""Confidence from which a detection becomes a label to be looked over, and a head is checked for its face."""
SAME = 10
"""Of the 64 bits of two perceptual hashes may differ that still are the same scene."""
LEAST_HEAD = 24
"""Width in pixels of a head whose face somebody could be known by."""
SHARP = 4.3
"""Detail finer than a 32nd of the head, root mean square in grey levels, from which a face counts as not hidden. On 98
photos (210 heads): 90 % of the faces as they are lie above it, and 14 % of them when hidden as a node does it, mostly
for a part of the hat. Those are refused without need; the other way round is the harm."""
_OUTLINE = (40, 40, 230)  # BGR, of the boxes that a node draws
_NEAR = 70  # each channel, after JPEG
_RUN = 24  # pixels that an outline's side is long at least
_THICK = 9  # and more than it is thick: red boards and cloths are no outlines
_MOST_PAINT = 0.05  # of the picture; more is a red thing, not an outline


@dataclass(frozen=True, slots=True)
class Mark:
    """A person's word that an alarm was false.

    sha256: of its picture. reason: in their words. faces_hidden: they looked, and nobody can be recognised.
    """

    sha256: str
    rule: str
    reason: str
    faces_hidden: bool = False


@dataclass(frozen=True, slots=True)
class Queued:
    """What became of a mark. outcome: `queued`, or why it was left out."""

    mark: Mark
    outcome: str
    labels: int = 0
    accused: int = 0


def read_marks(path: Path) -> list[Mark]:
    """From JSON or CSV. Raises `DataError` naming the entry that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if path.suffix == ".csv":
        entries: Any = list(csv.DictReader(text.splitlines()))
    else:
        try:
            entries = json.loads(text)
        except ValueError as error:
            raise DataError(f"{path}: no JSON ({error}); a list of objects with sha256, rule, reason") from error
    if not isinstance(entries, list):
        raise DataError(f"{path}: must be a list of objects with sha256, rule, reason")
    marks = []
    for number, entry in enumerate(entries, 1):
        where = f"{path}: entry {number}"
        if not isinstance(entry, dict) or not {"sha256", "rule", "reason"} <= set(entry):
            raise DataError(f"{where}: needs sha256, rule and reason")
        hidden = str(entry.get("faces_hidden") or "").lower() in {"true", "yes", "1"}
        mark = Mark(str(entry["sha256"]).lower(), str(entry["rule"]), str(entry["reason"] or ""), hidden)
        if len(mark.sha256) != 64 or set(mark.sha256) - set("0123456789abcdef"):
            raise DataError(f"{where}: sha256 must be 64 hexadecimal digits, not {mark.sha256!r}")
        marks.append(mark)
    return marks


def harvest(evidence: Path, marks: Sequence[Mark], look: Callable[[Pixels, float], Seen], out: Path) -> list[Queued]:
    """Write the queue; see the module. evidence: folder with `<sha256>.jpg` anywhere below.

    look: of the model that labels first (`Network.look`). Raises `DataError`: the folder `out` is not empty, a picture
    is not the one that its name says, of no mark there is a picture.
    """
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out}: is not empty; choose another folder, or remove what is there")
    found = {path.stem: path for path in sorted(evidence.rglob("*.jpg"))}
    if marks and not any(mark.sha256 in found for mark in marks):
        raise DataError(
            f"{evidence}: has none of the {len(marks)} pictures, as <sha256>.jpg; `banksman dispatch false-alarms` "
            "writes pictures and marks together"
        )
    images, labels = out / "set" / "images", out / "set" / "labels"
    for folder in (images, labels):
        folder.mkdir(parents=True)
    queue: list[Queued] = []
    tiles: list[tuple[Pixels, str]] = []
    kept: list[tuple[int, str]] = []  # perceptual hash, name
    for mark in marks:
        path = found.get(mark.sha256)
        if path is None:
            queue.append(Queued(mark, "no such picture"))
            continue
        if hashlib.sha256(path.read_bytes()).hexdigest() != mark.sha256:
            raise DataError(f"{path}: is not the picture that its name says; it was changed or damaged")
        picture = unmarked(pixels_of(path))
        pattern = perceptual_hash(picture)
        twin = next((name for bits, name in kept if (bits ^ pattern).bit_count() <= SAME), None)
        if twin is not None:
            queue.append(Queued(mark, f"same as {twin}"))
            continue
        seen = look(picture, SURE)
        if not mark.faces_hidden and clear_faces(picture, seen.boxes):
            queue.append(Queued(mark, "face not hidden"))
            continue
        accused = np.isin([CLASSES[kind] for kind in seen.boxes.classes.tolist()], ACCUSED.get(mark.rule, ()))
        name = mark.sha256[:16]
        kept.append((pattern, name))
        if not cv2.imwrite(str(images / f"{name}.png"), picture):  # not JPEG once more
            raise DataError(f"{images / name}.png: cannot be written; is the disk full?")
        (labels / f"{name}.txt").write_text(render(seen.boxes.take(~accused)), encoding="utf-8")
        tiles.append((drawn(picture, seen.boxes.take(~accused), seen.boxes.take(accused)), f"{name} {mark.rule}"))
        queue.append(Queued(mark, "queued", int((~accused).sum()), int(accused.sum())))
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(CLASSES))
    (out / "set" / "data.yaml").write_text(f"train: images\nval: images\nnames:\n{names}", encoding="utf-8")
    if tiles:
        save(sheet(tiles, columns=4, side=480), out / "review.jpg")
    with (out / "queue.tsv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(("name", "sha256", "rule", "reason", "outcome", "labels", "accused"))
        for q in queue:
            table.writerow(
                (q.mark.sha256[:16], q.mark.sha256, q.mark.rule, q.mark.reason, q.outcome, q.labels, q.accused)
            )
    return queue


def unmarked(picture: Pixels) -> Pixels:
    """The picture without the outlines that a node draws around who broke a rule, painted over from both sides."""
    gap = np.abs(picture.astype(np.int16) - np.array(_OUTLINE, np.int16)).max(axis=2)
    red = (gap <= _NEAR).astype(np.uint8)
    red[cv2.dilate(cv2.morphologyEx(red, cv2.MORPH_OPEN, np.ones((_THICK, _THICK), np.uint8)), np.ones((3, 3))) > 0] = 0
    sides = [cv2.morphologyEx(red, cv2.MORPH_OPEN, np.ones(shape, np.uint8)) for shape in ((1, _RUN), (_RUN, 1))]
    mask = np.maximum(*(np.asarray(side, np.uint8) for side in sides))
    if not mask.any() or mask.mean() > _MOST_PAINT:
        return picture
    wider = cv2.dilate(mask, np.ones((3, 3), np.uint8))  # JPEG bleeds into the neighbours
    return np.asarray(cv2.inpaint(picture, wider, 3, cv2.INPAINT_TELEA), np.uint8)


def perceptual_hash(picture: Pixels) -> int:
    """64 bits that stay nearly the same when a picture is scaled, re-encoded or a little brighter.

    Signs of the low frequencies of its cosine transform about their median (Zauner, 2010: pHash).
    """
    small = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:8, :8].ravel()
    bits = low > np.median(low[1:])  # the first is the mean brightness
    return int("".join("1" if bit else "0" for bit in bits), 2)


def clear_faces(picture: Pixels, seen: Boxes) -> int:
    """How many heads have a face as sharp as an unhidden one."""
    height, width = picture.shape[:2]
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.float32)
    count = 0
    for box in _faces(seen) * [width, height, width, height]:
        left, top, right, bottom = np.rint(np.clip(box, 0, [width, height, width, height])).astype(int).tolist()
        # The middle part only: what is beyond the cheeks was not all hidden.
        if right - left >= LEAST_HEAD / 2 and bottom - top >= 4:
            count += detail(grey[top:bottom, left:right], (right - left) * 2) > SHARP
    return count


def detail(face: NDArray[np.float32], head: int) -> float:
    """Root mean square of what is finer than a 32nd of the head's width (pixels), in grey levels."""
    smooth = cv2.GaussianBlur(face, (0, 0), max(head / 32, 0.5), borderType=cv2.BORDER_REFLECT)
    return float(np.sqrt(np.mean((face - smooth) ** 2)))


def _faces(seen: Boxes) -> Floats:
    """(n, 4): the middle of the face of each helmet and bare head: half as wide as the head, brow to mouth."""
    found = []
    for name, top, bottom in (("helmet", 1.05, 1.4), ("no_helmet", 0.5, 0.85)):
        for left, upper, right, lower in seen.of(name).xyxy.tolist():
            quarter, high = (right - left) / 4, lower - upper
            found.append((left + quarter, upper + top * high, right - quarter, upper + bottom * high))
    return np.array(found, np.float64).reshape(-1, 4)


def main(
    evidence: Annotated[Path, typer.Argument(help="Folder of evidence pictures, named by their sha256.")],
    marks: Annotated[Path, typer.Argument(help="JSON or CSV: sha256, rule, reason of each false alarm.")],
    model: Annotated[Path, typer.Argument(help="Model folder, or a .pt, that labels first.")],
    out: Annotated[Path, typer.Argument(help="Where the queue is written.")],
    *,
    runtime: Annotated[Runtime, typer.Option(help="What runs the network.")] = "onnx",
) -> None:
    """Make a queue of labels out of false alarms."""
    queue = harvest(evidence, read_marks(marks), open_network(model, runtime).look, out)
    for q in queue:
        typer.echo(f"{q.mark.sha256[:16]} {q.mark.rule}: {q.outcome}")
    typer.echo(f"{sum(q.outcome == 'queued' for q in queue)} of {len(queue)} marks are in {out}")
