"""Scenes with known truth: parts of clips, and slow pans over held-out photos whose labels are the truth.

A scene is a folder of pictures, `FPS` a second, which is how often a node looks.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av
import cv2
import numpy as np

from models.data.labels import Boxes, DataError, Floats, Photo
from models.data.pictures import Pixels, pixels_of

TRUTH = Path(__file__).with_name("truth.json")
FPS = 5.0
LOOKS = 15
"""Pictures of a pan: three seconds, three times what the rules about people need to be sure."""
VIEW = 0.94
"""Share of a photo's width and height that a pan shows at a time; it slides from the top left to the bottom right."""
LEAST_HEAD, LEAST_BODY = 0.03, 0.1
"""Heights of a bare head and of a body without vest, in the photo's longer side, from which an alarm is asked for: a
head as of somebody of 0.2, twice what the node's rule judges at all, because a wearer need not stand upright."""
CLOSED, FREE = "closed", "free"
"""Zones of a pan that nobody may enter: the whole picture, and a part of it in which the labels have nobody."""
LEAST_FREE = 0.1
"""Share of a photo from which its largest part without people is played."""
ROOM = 0.02
"""Between somebody's box and the part without people, in the photo's sides: boxes are not drawn to the pixel."""
UNCLEAR = "unclear:"
_QUALITY = 95


@dataclass(frozen=True, slots=True)
class Scene:
    """breaches: by rule who breaks it, None for nobody; a rule that is not there is not judged. `rule@zone` asks about
    one zone alone.

    kind: what it was made of. zones: as in a site file; without any for work, people work in the whole picture.
    """

    name: str
    kind: Literal["clip", "pan"]
    path: Path
    breaches: Mapping[str, str | None]
    start: float = 0.0
    end: float | None = None
    zones: tuple[Mapping[str, Any], ...] = ()

    @property
    def rules(self) -> frozenset[str]:
        """Those that are judged, in whatever zone."""
        return frozenset(asked.partition("@")[0] for asked in self.breaches)

    def pictures(self) -> Iterator[Pixels]:
        """`FPS` a second. Raises `DataError` for a file that cannot be read."""
        return pan(pixels_of(self.path)) if self.kind == "pan" else _cut(self.path, self.start, self.end)


def write_pictures(scene: Scene, folder: Path) -> int:
    """As JPEG, in order of name; returns how many."""
    folder.mkdir(parents=True)
    count = 0
    for picture in scene.pictures():
        target = folder / f"{count:05d}.jpg"
        if not cv2.imwrite(str(target), picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]):
            raise DataError(f"{target}: cannot be written; is the disk full?")
        count += 1
    if not count:
        raise DataError(f"{scene.path}: scene {scene.name!r} has no pictures from {scene.start} s on")
    return count


def of_clips(clips: Path, truth: Path = TRUTH) -> list[Scene]:
    """The scenes of the truth table; clips is the folder of its files. Raises `DataError`."""
    scenes = []
    for row in json.loads(truth.read_text(encoding="utf-8"))["scenes"]:
        path = clips / row["clip"]
        if not path.is_file():
            raise DataError(f"{path}: no such file, though {truth.name} tells what is true in it")
        start, end = row["seconds"]
        scenes.append(Scene(row["name"], "clip", path, row["breaches"], start, end, tuple(row["zones"])))
    return scenes


def of_photos(photos: Sequence[Photo], count: int, seed: int = 0, truth: Path = TRUTH) -> list[Scene]:
    """Pans over at most `count` photos, drawn at random, whose labels tell for one rule at least what is true.

    truth: its `photos` are what the eye corrected in the labels, its `nobody` are photos in which the eye saw nobody.
    """
    seen = json.loads(truth.read_text(encoding="utf-8"))
    corrections: Mapping[str, Mapping[str, str]] = seen["photos"]
    empty = frozenset(seen["nobody"])
    order = np.random.default_rng(seed).permutation(len(photos)).tolist()
    scenes: list[Scene] = []
    for index in order:
        if len(scenes) == count:
            break
        photo = photos[index]
        if photo.name in empty:
            nothing = dict.fromkeys(("helmet", "hi_vis", f"intrusion@{CLOSED}"))
            scenes.append(Scene(photo.name, "pan", photo.path, nothing, zones=(_no_entry(CLOSED, *_WHOLE),)))
        elif {"helmet", "no_helmet"} <= photo.complete:  # of no other photo the labels can tell anything
            height, width = pixels_of(photo.path).shape[:2]
            zones, entered = closed(photo, width, height)
            breaches = corrected(told(photo, width, height) | entered, corrections.get(photo.name, {}))
            if breaches:
                scenes.append(Scene(photo.name, "pan", photo.path, breaches, zones=zones))
    return sorted(scenes, key=lambda scene: scene.name)


def told(photo: Photo, width: int, height: int) -> dict[str, str | None]:
    """What the labels of a photo tell about `helmet` and `hi_vis`.

    Breached: somebody bare is large enough, and in the picture during the whole pan. In order: somebody wears it, and
    nobody is bare. A rule about which they tell neither is left out.
    """
    found: dict[str, str | None] = {}
    for rule, worn, bare, least in (
        ("helmet", "helmet", "no_helmet", LEAST_HEAD),
        ("hi_vis", "vest", "no_vest", LEAST_BODY),
    ):
        if not {worn, bare} <= photo.complete or len(photo.ignore.of(worn, bare)):
            continue
        without = photo.boxes.of(bare)
        if _plain(without, width, height, least):
            found[rule] = f"{bare} as labelled"
        elif not len(without) and len(photo.boxes.of(worn)):
            found[rule] = None
    return found


def closed(photo: Photo, width: int, height: int) -> tuple[tuple[Mapping[str, Any], ...], dict[str, str | None]]:
    """Zones of a pan that nobody may enter, and what the labels tell of them.

    The whole picture, where somebody is large enough to be told of; and the largest part of it without anybody, if
    there is one. None where not everybody is labelled.
    """
    if "person" not in photo.complete:
        return (), {}
    zones, found = [], dict[str, str | None]()
    people = photo.boxes.of("person")
    if _plain(people, width, height, LEAST_BODY):
        zones.append(_no_entry(CLOSED, *_WHOLE))
        found[f"intrusion@{CLOSED}"] = "person as labelled"
    left, top, right, bottom = free_part(np.concatenate((people.xyxy, photo.ignore.of("person").xyxy)))
    if (right - left) * (bottom - top) >= LEAST_FREE:
        # The pan slides by what it does not show, and the zone with it: what it sweeps is free.
        slid = (left / VIEW, top / VIEW, (right - 1 + VIEW) / VIEW, (bottom - 1 + VIEW) / VIEW)
        zones.append(_no_entry(FREE, *slid))
        found[f"intrusion@{FREE}"] = None
    return tuple(zones), found


_WHOLE = (0.0, 0.0, 1.0, 1.0)


def _no_entry(name: str, left: float, top: float, right: float, bottom: float) -> Mapping[str, Any]:
    corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return {"id": name, "kind": "no_entry", "polygon": [[round(x, 4), round(y, 4)] for x, y in corners]}


def free_part(people: Floats) -> tuple[float, float, float, float]:
    """The largest rectangle that touches none of the boxes (n, 4), with `ROOM` about them: left, top, right, bottom,
    in shares. A rectangle of no size where there is none."""
    taken = people + np.array([-ROOM, -ROOM, ROOM, ROOM])
    best, largest = (0.0, 0.0, 0.0, 0.0), 0.0
    xs = np.unique(np.clip(np.append(taken[:, [0, 2]], [0.0, 1.0]), 0, 1)).tolist()
    ys = np.unique(np.clip(np.append(taken[:, [1, 3]], [0.0, 1.0]), 0, 1)).tolist()
    for left, right in itertools.combinations(xs, 2):
        across = taken[(taken[:, 0] < right) & (taken[:, 2] > left)]
        for top, bottom in itertools.combinations(ys, 2):
            size = (right - left) * (bottom - top)
            if size > largest and not ((across[:, 1] < bottom) & (across[:, 3] > top)).any():
                best, largest = (left, top, right, bottom), size
    return best


def corrected(found: dict[str, str | None], seen: Mapping[str, str]) -> dict[str, str | None]:
    """What the labels tell, where nobody saw otherwise. seen: by rule (or `rule@zone`) who breaks it, or `unclear: …`,
    which is not judged."""
    judged = {rule: seen.get(rule, who) for rule, who in found.items()}
    return {rule: who for rule, who in judged.items() if who is None or not who.startswith(UNCLEAR)}


def _plain(boxes: Boxes, width: int, height: int, least: float) -> bool:
    corners, spare = boxes.xyxy, 1 - VIEW
    inside = (corners[:, :2] >= spare).all(axis=1) & (corners[:, 2:] <= VIEW).all(axis=1)
    tall = boxes.xywh[:, 3] * height >= least * max(width, height)
    return bool((inside & tall).any())


def pan(picture: Pixels, looks: int = LOOKS) -> Iterator[Pixels]:
    """A slow slide over a photo."""
    height, width = picture.shape[:2]
    across, down = round(width * VIEW), round(height * VIEW)
    for look in range(looks):
        share = look / (looks - 1)
        left, top = round((width - across) * share), round((height - down) * share)
        yield np.ascontiguousarray(picture[top : top + down, left : left + across])


def _cut(path: Path, start: float, end: float | None) -> Iterator[Pixels]:
    try:
        with av.open(str(path)) as video:
            fps = float(video.streams.video[0].average_rate or FPS)
            due = start
            for number, frame in enumerate(video.decode(video=0)):
                if end is not None and number / fps >= end:
                    return
                if number / fps >= due - 0.5 / fps:
                    due += 1 / FPS
                    yield np.ascontiguousarray(frame.to_ndarray(format="bgr24"), np.uint8)
    except (av.error.FFmpegError, IndexError) as error:
        raise DataError(f"{path}: not a video that can be read ({error})") from error
