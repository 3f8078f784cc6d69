"""How many faces are left clear, and whether helmets can still be judged on what is stored.

    python -m tests.bench.privacy [--photos N] [--split val|test] [--floor F] [--model NAME]

Photos of `hhw` (Hard Hat Workers), whose boxes go around the whole head with the face, of a split that no weights were
trained on. Each photo goes the way of a frame: detector, tracker, persons, head regions, mosaic.

A **face** is what a labelled head shows below the brow, without the outer tenth at each side: the lower 58 % of the box
of a bare head (eyes in the middle, brows a tenth above), the lower 45 % of one in a helmet. Backs of heads count too.
It is **left clear** when less than 70 % of that is hidden; half and 90 % are reported beside it.
It **counts** from a width of 12 px: the literature calls less than 16 x 16 px very low resolution, where recognition
falls apart (Zou and Yuen, "Very Low Resolution Face Recognition Problem", 2012); EN 62676-4 wants 20 px (125 px/m) to
recognise somebody who is known and 40 px (250 px/m) to identify anybody.

A **hat** is the upper 45 % of the box of a labelled helmet; it is in sight when less than 30 % of that is hidden.
Verdicts are judged again on the picture as it is stored, with the bodies taken from the first look: whether the head
of that person can still be judged. (A detector often misses bodies without a face; people do not.)
"""

from __future__ import annotations

import argparse
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
from edge.evidence import pixelate
from edge.evidence.heads import DETECTION_FLOOR
from edge.evidence.jpeg import encode
from edge.geometry import as_array, clip_box, iou
from edge.line import CameraLine, Looked
from edge.site.model import SHIPPED_MODEL, SiteFile
from edge.values import Box, Detections, Frame, Image, Person, WearState
from models.data.labelset import in_split, sources_of
from models.data.merge import merge
from tests.conftest import REPO, SHARED

SMALLEST_PX = 12
CLASSES_PX = ((0, 12), (12, 20), (20, 40), (40, 10_000))
HIDDEN = 0.7
HAT_HIDDEN = 0.3
_SHARES = (0.5, HIDDEN, 0.9)
_BELOW_BROW = {"head": 0.58, "helmet": 0.45}
_OUTER = 0.1
_HAT = 0.45
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
    """faces: all that are labelled. hats: hidden share of each labelled hat of a width that counts.

    verdicts: (before, after) of each person's helmet; alone: the same without the help of known bodies; noise: the
    same as verdicts, JPEG alone. pixelated: share of the pictures' area under regions, one number a photo.
    """

    faces: list[Face] = field(default_factory=list)
    hats: list[float] = field(default_factory=list)
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    alone: Counter[tuple[str, str]] = field(default_factory=Counter)
    noise: Counter[tuple[str, str]] = field(default_factory=Counter)
    pixelated: list[float] = field(default_factory=list)

    def left_clear(self, low: float = SMALLEST_PX, high: float = 1e9, hidden: float = HIDDEN, label: str = "") -> float:
        """Share of the faces of a width from `low` to below `high` px of which less than `hidden` is hidden."""
        wanted = [f for f in self.faces if low <= f.width < high and label in ("", f.label)]
        return sum(f.hidden < hidden for f in wanted) / max(1, len(wanted))

    def hats_in_sight(self) -> float:
        return float(np.mean(np.array(self.hats) < HAT_HIDDEN)) if self.hats else 0.0


def unchanged(verdicts: Counter[tuple[str, str]], before: WearState) -> float:
    """Share of the helmets that were judged `before` and are judged the same after."""
    all_of_them = sum(n for (b, _), n in verdicts.items() if b == before)
    return verdicts[before, before] / max(1, all_of_them)


def photos(source: Path, split: str, limit: int | None = None) -> list[Path]:
    """Photos of `hhw`, spread evenly over the split."""
    found = [photo.path for photo in in_split(merge(source), split) if "hhw" in sources_of(photo)]
    step = max(1.0, len(found) / (limit or len(found)))
    return [found[int(n * step)] for n in range(int(len(found) / step))]


def labelled_heads(photo: Path, width: int, height: int) -> Iterator[tuple[str, Box]]:
    """(label, box in pixels) of every labelled head of a photo."""
    folder = photo.parent.parent
    names = (folder / "classes.txt").read_text(encoding="utf-8").split("\n")
    for line in (folder / "labels" / f"{photo.stem}.txt").read_text(encoding="utf-8").splitlines():
        number, *relative = line.split()
        if (label := names[int(number)]) in _BELOW_BROW:
            x, y, w, h = (float(v) * side for v, side in zip(relative, (width, height) * 2, strict=True))
            yield label, (x - w / 2, y - h / 2, x + w / 2, y + h / 2)


def face_and_hat(label: str, head: Box) -> tuple[Box, Box]:
    """What a labelled head shows below and above the brow, without the outer tenth at each side."""
    x1, y1, x2, y2 = head
    x1, x2 = x1 + _OUTER * (x2 - x1), x2 - _OUTER * (x2 - x1)
    return (x1, y2 - _BELOW_BROW[label] * (y2 - y1), x2, y2), (x1, y1, x2, y1 + _HAT * (y2 - y1))


def share_of(mask: npt.NDArray[np.bool_], box: Box) -> float | None:
    """Share of a box that is set in a mask (height, width); None for a box outside of it."""
    x1, y1, x2, y2 = clip_box(box, mask.shape[1], mask.shape[0])
    return float(mask[y1:y2, x1:x2].mean()) if x2 > x1 and y2 > y1 else None


def hidden_mask(width: int, height: int, boxes: Sequence[Box]) -> npt.NDArray[np.bool_]:
    """(height, width): what a mosaic changes, asked of the mosaic itself, on noise."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return np.asarray((pixelate(noise, boxes) != noise).any(axis=2))


class Judged:
    """The way of a frame through the node, for single photos: a camera that has seen nothing before."""

    def __init__(self, detector: Detector, floor: float = DETECTION_FLOOR) -> None:
        self._detector = detector
        self._floor = floor
        self._site = SiteFile.model_validate(
            {
                "site": {"id": "bench", "latitude": 39.9, "longitude": 116.4},
                "node": {"id": "bench"},
                "cameras": [{"id": "photo", "source": {"type": "folder", "path": "."}}],
            }
        )

    def look(self, image: Image, bodies: Sequence[Person] = ()) -> Looked:
        """bodies: persons that are known to be there; then the detector is asked for the rest only."""
        seen = self._detector.detect(image, self._floor)
        if bodies:
            seen = with_bodies(seen, bodies)
        line = CameraLine(self._site, self._site.cameras[0], self._detector.names, {})
        return line.judge(Frame("photo", 1, ManualClock().now(), image), seen)


def with_bodies(seen: Detections, bodies: Sequence[Person]) -> Detections:
    """What was seen, but for the persons, who are these."""
    person = seen.names.index("person")
    rest = seen[seen.class_id != person]
    return Detections.build(
        np.concatenate([as_array([p.box for p in bodies]), rest.xyxy]),
        np.concatenate([[p.confidence for p in bodies], rest.confidence]),
        np.concatenate([[person] * len(bodies), rest.class_id]),
        seen.names,
    )


def measure(judged: Judged, chosen: Sequence[Path], verdicts: bool = True) -> Measured:
    """Run all photos. verdicts: judge them again as they are stored; four looks a photo instead of one."""
    out = Measured()
    for photo in track(chosen, "photos", transient=True, disable=len(chosen) < 200):
        image = read(photo)
        height, width = image.shape[:2]
        looked = judged.look(image)
        people, boxes = looked.scene.persons, [h.box for h in looked.heads]
        mask = hidden_mask(width, height, boxes)
        out.pixelated.append(float(mask.mean()))
        for label, head in labelled_heads(photo, width, height):
            face, hat = (share_of(mask, part) for part in face_and_hat(label, head))
            if face is not None:
                out.faces.append(Face(label, head[2] - head[0], face))
            if label == "helmet" and hat is not None and head[2] - head[0] >= SMALLEST_PX:
                out.hats.append(hat)
        if verdicts and people:
            kept = stored(pixelate(image, boxes))
            out.verdicts += compare(people, judged.look(kept, people).scene.persons)
            out.alone += compare(people, judged.look(kept).scene.persons)
            out.noise += compare(people, judged.look(stored(image), people).scene.persons)
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
    console.print(f"Hats in sight: {out.hats_in_sight():.1%} of {len(out.hats)} labelled helmets")
    if out.verdicts:
        table = Table("before", "after", "persons", "bodies not known", "JPEG alone", title="Helmets judged again")
        for pair in sorted(out.verdicts | out.alone | out.noise):
            table.add_row(*pair, *(str(c[pair]) for c in (out.verdicts, out.alone, out.noise)))
        console.print(table)
        for state in (WearState.ON, WearState.OFF):
            same, alone, jpeg = (unchanged(c, state) for c in (out.verdicts, out.alone, out.noise))
            console.print(
                f"Helmet {state.value}: {same:.1%} judged the same ({alone:.1%} where the bodies are not known, "
                f"{jpeg:.1%} by JPEG alone)"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, help="how many; all when left out")
    parser.add_argument("--split", choices=("val", "test"), default="test", help="test is for the final number only")
    parser.add_argument("--model", type=Path, default=Path(SHIPPED_MODEL))
    parser.add_argument("--floor", type=float, default=DETECTION_FLOOR, help="lowest confidence asked of the detector")
    parser.add_argument("--no-verdicts", action="store_true", help="faces only: a quarter of the time")
    asked = parser.parse_args()
    detector = load_detector(find_model(asked.model, REPO), "onnx", 2)
    chosen = photos(SHARED / "data", asked.split, asked.photos)
    report(measure(Judged(detector, asked.floor), chosen, not asked.no_verdicts), Console())


if __name__ == "__main__":
    main()
