"""How many faces are left clear, and whether helmets can still be judged on what is stored.

    python -m tests.bench.privacy [--photos N] [--split train|test] [--model site-v0]

Photos of `hhw` (Hard Hat Workers), whose boxes go around the whole head with the face. Nothing of it was used to train
`site-v0`. Each photo goes the way of a frame: detector, tracker, persons, head regions, mosaic.

A **face** is what a labelled head shows below the brow, without the outer tenth at each side: the lower 58 % of the box
of a bare head (eyes in the middle, brows a tenth above), the lower 45 % of one in a helmet. Backs of heads count too.
It is **left clear** when less than 70 % of that is hidden; half and 90 % are reported beside it.
It **counts** from a width of 12 px: the literature calls less than 16 x 16 px very low resolution, where recognition
falls apart (Zou and Yuen, "Very Low Resolution Face Recognition Problem", 2012); EN 62676-4 wants 20 px (125 px/m) to
recognise somebody who is known and 40 px (250 px/m) to identify anybody.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from rich.table import Table

from edge.clock import ManualClock
from edge.detect import Detector, find_model, load_detector
from edge.evidence import HeadRegion, pixelate
from edge.evidence.ring import encode
from edge.geometry import as_array, clip_box, iou
from edge.line import DETECTION_FLOOR, CameraLine
from edge.site.model import SiteFile
from edge.values import Box, Frame, Image, Person, WearState
from tests.conftest import REPO, SHARED

SMALLEST_PX = 12
CLASSES_PX = ((0, 12), (12, 20), (20, 40), (40, 10_000))
HIDDEN = 0.7
_SHARES = (0.5, HIDDEN, 0.9)
_BELOW_BROW = {"head": 0.58, "helmet": 0.45}
_OUTER = 0.1
_JPEG_QUALITY = 85
_SAME = 0.5  # IoU from which two boxes are one person


@dataclass(frozen=True, slots=True)
class Face:
    """A labelled face: width of its head in pixels, and what share of it was hidden."""

    label: str
    width: float
    hidden: float


@dataclass(slots=True)
class Measured:
    """faces: all that are labelled. verdicts: (before, after) of each judged helmet; noise: the same, JPEG alone.

    pixelated: share of the pictures' area under regions, one number a photo.
    """

    faces: list[Face] = field(default_factory=list)
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    noise: Counter[tuple[str, str]] = field(default_factory=Counter)
    pixelated: list[float] = field(default_factory=list)

    def left_clear(self, low: float = SMALLEST_PX, high: float = 1e9, hidden: float = HIDDEN, label: str = "") -> float:
        """Share of the faces of a width from `low` to below `high` px of which less than `hidden` is hidden."""
        wanted = [f for f in self.faces if low <= f.width < high and label in ("", f.label)]
        return sum(f.hidden < hidden for f in wanted) / max(1, len(wanted))


def unchanged(verdicts: Counter[tuple[str, str]], before: WearState) -> float:
    """Share of the helmets that were judged `before` and are judged the same after."""
    all_of_them = sum(n for (b, _), n in verdicts.items() if b == before)
    return verdicts[before, before] / max(1, all_of_them)


def photos(source: Path, split: str, limit: int | None = None) -> list[Path]:
    """Photos of `hhw`, spread evenly over the split."""
    with (source / "images.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        names = sorted(r["name"] for r in rows if r["source"] == "hhw" and r["split"] == split)
    step = max(1.0, len(names) / (limit or len(names)))
    chosen = [names[int(n * step)] for n in range(int(len(names) / step))]
    return [next((source / "hhw" / "images").glob(f"{name}.*")) for name in chosen]


def labelled_faces(photo: Path, width: int, height: int) -> Iterator[tuple[str, Box]]:
    """(label, box below the brow in pixels) of every labelled head of a photo."""
    folder = photo.parent.parent
    names = (folder / "classes.txt").read_text(encoding="utf-8").split("\n")
    for line in (folder / "labels" / f"{photo.stem}.txt").read_text(encoding="utf-8").splitlines():
        number, *relative = line.split()
        label = names[int(number)]
        if label in _BELOW_BROW:
            x, y, w, h = (float(v) * side for v, side in zip(relative, (width, height) * 2, strict=True))
            aside = (0.5 - _OUTER) * w
            yield label, (x - aside, y + h / 2 - _BELOW_BROW[label] * h, x + aside, y + h / 2)


def hidden_mask(width: int, height: int, boxes: Sequence[Box]) -> npt.NDArray[np.bool_]:
    """(height, width): what a mosaic changes, asked of the mosaic itself, on noise."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return np.asarray((pixelate(noise, boxes) != noise).any(axis=2))


class Judged:
    """The way of a frame through the node, for single photos: a camera that has seen nothing before."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._site = SiteFile.model_validate(
            {
                "site": {"id": "bench", "latitude": 39.9, "longitude": 116.4},
                "node": {"id": "bench"},
                "cameras": [{"id": "photo", "source": {"type": "folder", "path": "."}}],
            }
        )

    def look(self, image: Image) -> tuple[tuple[Person, ...], tuple[HeadRegion, ...]]:
        line = CameraLine(self._site, self._site.cameras[0], self._detector.names, {})
        frame = Frame("photo", 1, ManualClock().now(), image)
        looked = line.judge(frame, self._detector.detect(image, DETECTION_FLOOR))
        return looked.scene.persons, looked.heads


def measure(detector: Detector, chosen: Sequence[Path], verdicts: bool = True) -> Measured:
    """Run all photos. verdicts: whether to judge them again as they are stored; three looks a photo instead of one."""
    judged, out = Judged(detector), Measured()
    for photo in track(chosen, "photos", transient=True, disable=len(chosen) < 200):
        image = read(photo)
        height, width = image.shape[:2]
        people, heads = judged.look(image)
        boxes = [h.box for h in heads]
        mask = hidden_mask(width, height, boxes)
        out.pixelated.append(float(mask.mean()))
        for label, box in labelled_faces(photo, width, height):
            x1, y1, x2, y2 = clip_box(box, width, height)
            if x2 > x1 and y2 > y1:
                head = (box[2] - box[0]) / (1 - 2 * _OUTER)
                out.faces.append(Face(label, head, float(mask[y1:y2, x1:x2].mean())))
        if verdicts:
            out.verdicts += compare(people, judged.look(stored(pixelate(image, boxes)))[0])
            out.noise += compare(people, judged.look(stored(image))[0])
    return out


def read(photo: Path) -> Image:
    image = cv2.imread(str(photo), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{photo} is no picture")
    return np.asarray(image, dtype=np.uint8)


def stored(image: Image) -> Image:
    """As it comes out of an evidence file."""
    return np.asarray(cv2.imdecode(np.frombuffer(encode(image, _JPEG_QUALITY), np.uint8), cv2.IMREAD_COLOR), np.uint8)


def compare(before: Sequence[Person], after: Sequence[Person]) -> Counter[tuple[str, str]]:
    """What was seen of the helmet of each person, before and after; `lost` where the person is not found again."""
    shared = iou(as_array([p.box for p in before]), as_array([p.box for p in after]))
    pairs: Counter[tuple[str, str]] = Counter()
    for row, person in enumerate(before):
        best = int(shared[row].argmax()) if after else -1
        found = best >= 0 and shared[row, best] >= _SAME
        pairs[person.helmet.state, after[best].helmet.state if found else "lost"] += 1
    return pairs


def report(out: Measured, console: Console) -> None:
    table = Table("face width", "faces", *(f"less than {s:.0%} hidden" for s in _SHARES), title="Faces left clear")
    rows = [(f"{low} px and more" if high > 1000 else f"{low} to {high} px", low, high, "") for low, high in CLASSES_PX]
    rows += [(f"from {SMALLEST_PX} px, {label}", SMALLEST_PX, 10_000, label) for label in _BELOW_BROW]
    for name, low, high, label in [*rows, (f"from {SMALLEST_PX} px, all", SMALLEST_PX, 10_000, "")]:
        count = sum(low <= f.width < high and label in ("", f.label) for f in out.faces)
        table.add_row(name, str(count), *(f"{out.left_clear(low, high, s, label):.1%}" for s in _SHARES))
    console.print(table)
    console.print(f"Area under mosaics: {np.mean(out.pixelated):.1%} of a photo")
    if out.verdicts:
        table = Table("before", "on the pixelated picture", "persons", "JPEG alone", title="Helmets judged again")
        for pair in sorted(out.verdicts | out.noise):
            table.add_row(*pair, str(out.verdicts[pair]), str(out.noise[pair]))
        console.print(table)
        for state in (WearState.ON, WearState.OFF):
            now, jpeg = unchanged(out.verdicts, state), unchanged(out.noise, state)
            console.print(f"Helmet {state.value}: {now:.1%} judged the same; {jpeg:.1%} by JPEG alone")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, help="how many; all when left out")
    parser.add_argument("--split", choices=("train", "test"), default="test", help="test is for the final number only")
    parser.add_argument("--model", type=Path, default=Path("site-v0"))
    parser.add_argument("--no-verdicts", action="store_true", help="faces only: a third of the time")
    asked = parser.parse_args()
    detector = load_detector(find_model(asked.model, REPO), "onnx", 2)
    chosen = photos(SHARED / "data", asked.split, asked.photos)
    out = measure(detector, chosen, not asked.no_verdicts)
    report(out, Console())


if __name__ == "__main__":
    main()
