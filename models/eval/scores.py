"""Everything that is measured on photos, as one JSON-able table.

A class counts on a photo only where the photo is complete for it: elsewhere an unlabelled object would make a right
detection wrong. Labels are in the one meaning of `models.data.heads`: a helmet is the hat alone, a bare head goes down
to the chin; labels of sources that draw them otherwise were converted, so a model that learnt another meaning is marked
down for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.data.labels import CLASS_ID, CLASSES, Boxes, Floats, Photo, overlap
from models.data.labelset import sources_of
from models.data.pictures import Pixels, pixels_of
from models.data.sources import SOURCES
from models.eval.ap import Matches, Pool, match
from models.eval.network import Network, Seen

PPE = ("person", "helmet", "no_helmet", "vest", "no_vest")
SITE = ("barrier", "cone", "warning_light")
OPERATING = 0.35
"""Confidence from which the node judges by a detection unless the site file says otherwise."""
BANDS = ((0, 40), (40, 80), (80, 160), (160, None))
"""Heights of people in pixels of the photo, whose longer side is 640 at most."""
DARK = 0.25
"""Mean luma of a photo, 0..1 (Rec. 601, gamma-encoded), below which it counts as dark. Not the time of day, which no
source tells: a lit street at night may lie above it, a cellar below."""
RESAMPLES = 500
INTERVAL = (2.5, 97.5)
FAINT = 0.05
"""Confidence below which calibration is not asked about: most detections lie there, nobody looks at them, and they
would drown all others."""
BINS = 10
ON_HEAD = 0.3
"""Overlap from which a helmet or bare head is about a labelled head: a hat is 0.63 of the head that it is on."""

_PRECISE = 4  # digits


@dataclass(frozen=True, slots=True)
class Looked:
    """A photo and what the model saw in it. width, height: pixels. luma: mean, 0..1."""

    photo: Photo
    seen: Seen
    width: int
    height: int
    luma: float

    def of(self, name: str) -> Seen:
        return self.seen.take(self.seen.boxes.classes == CLASS_ID[name])

    def pixels(self, boxes: Boxes) -> Floats:
        """Corners in pixels, in which COCO matches."""
        return boxes.xyxy * [self.width, self.height, self.width, self.height]


def look_at(photos: Iterable[Photo], network: Network) -> list[Looked]:
    """Have the model look at each photo."""
    return [looked(photo, pixels_of(photo.path), network.look) for photo in photos]


def looked(photo: Photo, picture: Pixels, look: Callable[[Pixels], Seen]) -> Looked:
    height, width = picture.shape[:2]
    luma = float(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).mean()) / 255
    return Looked(photo, look(picture), width, height, luma)


def matched(one: Looked, name: str) -> Matches:
    """The detections of a class on a photo against its labels."""
    seen = one.of(name)
    return match(
        one.pixels(seen.boxes),
        seen.confidence,
        one.pixels(one.photo.boxes.of(name)),
        crowd=one.pixels(one.photo.ignore.of(name)),
    )


def scores(all_of_them: Sequence[Looked], knows: frozenset[str], *, resamples: int = RESAMPLES) -> dict[str, Any]:
    """All numbers. knows: classes of the model; the others are named, not scored."""
    known = [name for name in CLASSES if name in knows]
    by_class = {
        name: {n: matched(one, name) for n, one in enumerate(all_of_them) if name in one.photo.complete}
        for name in known
    }
    by_class = {name: found for name, found in by_class.items() if found}
    dice = _resampled(all_of_them, resamples)
    return {
        "photos": len(all_of_them),
        "groups": len({one.photo.group for one in all_of_them}),
        "unknown_classes": [name for name in CLASSES if name not in knows],
        "operating": OPERATING,
        **_classes(all_of_them, by_class, dice),
        "sources": _sources(all_of_them, by_class),
        "sizes": _sizes(all_of_them, by_class),
        "light": _light(all_of_them, by_class),
        "heads": heads(all_of_them) if {"helmet", "no_helmet"} <= knows else None,
        "calibration": _calibration(by_class),
    }


def _resampled(all_of_them: Sequence[Looked], resamples: int) -> Floats:
    """(resamples, photos): how often each photo counts when whole groups are drawn with replacement."""
    _, group = np.unique([one.photo.group for one in all_of_them], return_inverse=True)
    count = int(group.max()) + 1
    dice = np.random.default_rng(0)
    drawn = dice.multinomial(count, np.full(count, 1 / count), size=resamples)
    return np.asarray(drawn[:, group], np.float64)


def _classes(all_of_them: Sequence[Looked], by_class: dict[str, dict[int, Matches]], dice: Floats) -> dict[str, Any]:
    table: dict[str, Any] = {}
    again: dict[str, Floats] = {}
    for name, found in by_class.items():
        pool = Pool(list(found.values()))
        precision = pool.precision()
        if precision is None:
            continue
        rows = dice[:, list(found)]
        drawn = [pool.precision(times, levels=(0,)) for times in rows]
        again[name] = np.array([np.nan if d is None else d[0] for d in drawn])
        right, wrong = pool.at(OPERATING)
        table[name] = {
            "photos": len(found),
            "photos_with": sum(m.counted > 0 for m in found.values()),
            "groups_with": len({all_of_them[n].photo.group for n, m in found.items() if m.counted}),
            "labelled": pool.labelled,
            "ap50": _round(precision[0]),
            "ap50_interval": _interval(again[name]),
            "ap50_95": _round(precision.mean()),
            "precision": _round(right / (right + wrong)) if right + wrong else None,
            "recall": _round(right / pool.labelled),
        }
    means = {}
    for title, names in (("ppe", PPE), ("site", SITE), ("all", tuple(table))):
        if names and all(name in table for name in names):
            means[title] = {
                "classes": list(names),
                "ap50": _round(np.mean([table[name]["ap50"] for name in names])),
                "ap50_interval": _interval(np.mean([again[name] for name in names], axis=0)),
                "ap50_95": _round(np.mean([table[name]["ap50_95"] for name in names])),
            }
    return {"classes": table, "means": means}


def _brief(found: Iterable[Matches]) -> dict[str, Any] | None:
    pool = Pool(list(found))
    precision = pool.precision()
    if precision is None:
        return None
    right, _ = pool.at(OPERATING)
    return {
        "labelled": pool.labelled,
        "ap50": _round(precision[0]),
        "ap50_95": _round(precision.mean()),
        "recall": _round(right / pool.labelled),
    }


def _sources(all_of_them: Sequence[Looked], by_class: dict[str, dict[int, Matches]]) -> dict[str, Any]:
    """A photo with the labels of two sources counts for a class at the one that is complete for it, or at both."""
    result: dict[str, Any] = {}
    for source in sorted({s for one in all_of_them for s in sources_of(one.photo)}):
        here = {n for n, one in enumerate(all_of_them) if source in sources_of(one.photo)}
        labels = SOURCES[source].complete if source in SOURCES else frozenset(CLASSES)
        found = {
            name: brief
            for name, of_class in by_class.items()
            if name in labels and (brief := _brief(m for n, m in of_class.items() if n in here))
        }
        result[source] = {"photos": len(here), "classes": found}
    return result


def _light(all_of_them: Sequence[Looked], by_class: dict[str, dict[int, Matches]]) -> dict[str, Any]:
    result: dict[str, Any] = {"threshold": DARK}
    for title, dark in (("bright", False), ("dark", True)):
        here = {n for n, one in enumerate(all_of_them) if (one.luma < DARK) is dark}
        found = {
            name: brief
            for name, of_class in by_class.items()
            if (brief := _brief(m for n, m in of_class.items() if n in here))
        }
        result[title] = {"photos": len(here), "classes": found}
    return result


def _sizes(all_of_them: Sequence[Looked], by_class: dict[str, dict[int, Matches]]) -> list[dict[str, Any]]:
    """By height of the person: people by their own, what they wear by that of the labelled person that it is on.

    As COCO has it by area: what is labelled in another band is ignored, and so is a detection of another band that took
    nothing. One on nobody gets the height of whoever would wear a thing of its size, by the median of the labels.
    """
    both = {
        name: [one for n, one in enumerate(all_of_them) if n in found and "person" in one.photo.complete]
        for name in PPE
        if (found := by_class.get(name))
    }
    tall = {name: _heights(some, name) for name, some in both.items()}
    result = []
    for low, high in BANDS:
        limit = float("inf") if high is None else float(high)
        band: dict[str, Any] = {"from": low, "to": high, "classes": {}}
        for name, some in both.items():
            here = [_of_height(one, name, t, (low, limit)) for one, t in zip(some, tall[name], strict=True)]
            if brief := _brief(here):
                band["classes"][name] = brief
        result.append(band)
    return result


def _of_height(one: Looked, name: str, tall: tuple[Floats, Floats], band: tuple[float, float]) -> Matches:
    """tall: of the labels and the detections of a class, see `_heights`."""
    found, (labelled, seen), (low, limit) = one.of(name), tall, band
    return match(
        one.pixels(found.boxes),
        found.confidence,
        one.pixels(one.photo.boxes.of(name)),
        ignored=~((labelled >= low) & (labelled < limit)),  # also what is on nobody: a hat that lies about
        aside=~((seen >= low) & (seen < limit)),
        crowd=one.pixels(one.photo.ignore.of(name)),
    )


def _heights(some: Sequence[Looked], name: str) -> list[tuple[Floats, Floats]]:
    """For each photo the people's heights: of the labels, nan for what is on nobody, and of the detections."""
    labels = [one.pixels(one.photo.boxes.of(name)) for one in some]
    seen = [one.pixels(one.of(name).boxes) for one in some]
    own = [(boxes[:, 3] - boxes[:, 1], found[:, 3] - found[:, 1]) for boxes, found in zip(labels, seen, strict=True)]
    if name == "person":
        return own
    worn = [wearers(one, boxes) for one, boxes in zip(some, labels, strict=True)]
    shares = np.concatenate([boxes[0] / people for boxes, people in zip(own, worn, strict=True)] or [np.zeros(0)])
    share = float(np.nanmedian(shares)) if np.isfinite(shares).any() else np.nan
    result = []
    for one, found, (_, high), people in zip(some, seen, own, worn, strict=True):
        around = wearers(one, found)
        result.append((people, np.where(np.isnan(around), high / share, around)))
    return result


def wearers(one: Looked, boxes: Floats) -> Floats:
    """For each box (n, 4), corners in pixels, the height of the labelled person that it is on; nan without one."""
    people = one.pixels(one.photo.boxes.of("person"))
    heights = np.full(len(boxes), np.nan)
    for n, (left, top, right, bottom) in enumerate(boxes):
        x, y = (left + right) / 2, (top + bottom) / 2
        around = people[(people[:, 0] <= x) & (x <= people[:, 2]) & (people[:, 1] <= y) & (y <= people[:, 3])]
        if len(around):  # of several the smallest: whoever stands behind reaches further on all sides
            sides = around[:, 2:] - around[:, :2]
            heights[n] = sides[sides.prod(axis=1).argmin(), 1]
    return heights


def heads(all_of_them: Iterable[Looked]) -> dict[str, dict[str, int]]:
    """What was seen on each labelled head: its most confident helmet or bare head above the operating confidence.

    Rows: the label; `elsewhere` has what was seen where no head is labelled. Columns: what was seen.
    """
    kinds = ("helmet", "no_helmet")
    table = {row: dict.fromkeys((*kinds, "nothing"), 0) for row in kinds}
    table["elsewhere"] = dict.fromkeys(kinds, 0)
    for one in all_of_them:
        if not set(kinds) <= one.photo.complete:
            continue
        labelled = one.photo.boxes.of(*kinds)
        sure = one.seen.take(
            (one.seen.confidence >= OPERATING) & np.isin(one.seen.boxes.classes, [CLASS_ID[k] for k in kinds])
        )
        ious = overlap(one.pixels(sure.boxes), one.pixels(labelled))
        told = np.full(len(labelled), -1, np.int64)
        for d, kind in enumerate(sure.boxes.classes.tolist()):  # most confident first
            on = int(ious[d].argmax()) if len(labelled) else -1
            if on < 0 or ious[d, on] < ON_HEAD:
                table["elsewhere"][CLASSES[kind]] += 1
            elif told[on] < 0:
                told[on] = kind
        for label, kind in zip(labelled.classes.tolist(), told.tolist(), strict=True):
            table[CLASSES[label]]["nothing" if kind < 0 else CLASSES[kind]] += 1
    return table


def _calibration(by_class: dict[str, dict[int, Matches]]) -> dict[str, Any]:
    pools = {name: Pool(list(found.values())) for name, found in by_class.items()}
    pairs = {name: _pairs(pool) for name, pool in pools.items()}
    joined = [np.concatenate([p[part] for p in pairs.values()]) if pairs else np.zeros(0) for part in (0, 1)]
    error, bins = reliability(joined[0], joined[1])
    return {
        "from": FAINT,
        "ece": error,
        "bins": bins,
        "classes": {name: reliability(*pair)[0] for name, pair in pairs.items()},
    }


def _pairs(pool: Pool) -> tuple[Floats, Floats]:
    chosen = (pool.confidence >= FAINT) & ~pool.left_out[0]
    return pool.confidence[chosen], pool.right[0][chosen].astype(np.float64)


def reliability(confidence: Floats, right: Floats) -> tuple[float | None, list[dict[str, Any]]]:
    """Expected calibration error (Guo and others, 2017) and the curve: `BINS` bins of equal width.

    confidence, right: (n,), of each detection, and whether it is right. None without detections.
    """
    at = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    bins = [
        {
            "from": b / BINS,
            "count": int(here.sum()),
            "confidence": _round(confidence[here].mean()),
            "right": _round(right[here].mean()),
        }
        for b in range(BINS)
        if (here := at == b).any()
    ]
    if not bins:
        return None, []
    error = sum(one["count"] * abs(one["confidence"] - one["right"]) for one in bins) / len(confidence)
    return _round(error), bins


def _interval(drawn: NDArray[np.float64]) -> list[float] | None:
    there = drawn[np.isfinite(drawn)]
    return [_round(v) for v in np.percentile(there, INTERVAL)] if len(there) else None


_round = partial(round, ndigits=_PRECISE)
