"""Builders: boxes in words, and small worlds in which people walk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from edge.track import Tracker
from edge.values import Box, Detections

NAMES = ("person", "helmet", "no_helmet", "vest", "no_vest", "cone", "machinery", "vehicle")
WIDTH, HEIGHT = 1280, 720

Row = tuple[str, Box, float]


def seen(*rows: Row, names: tuple[str, ...] = NAMES) -> Detections:
    """Detections from (class, box, confidence)."""
    return Detections.build(
        [box for _, box, _ in rows], [sure for *_, sure in rows], [names.index(name) for name, *_ in rows], names
    )


def upright(x: float, foot: float = 600, tall: float = 200) -> Box:
    """The box of a standing person: x of the middle, y of the feet."""
    return x - 0.175 * tall, foot - tall, x + 0.175 * tall, foot


def at(box: Box, x: float, y: float, wide: float, high: float | None = None) -> Box:
    """A part of a body: middle at x, upper edge at y, in shares of the body's box; sides in pixels."""
    centre, top = box[0] + x * (box[2] - box[0]), box[1] + y * (box[3] - box[1])
    return centre - wide / 2, top, centre + wide / 2, top + (0.76 * wide if high is None else high)


def hat(box: Box, x: float = 0.5, y: float = 0.01) -> Box:
    return at(box, x, y, 0.5 * (box[2] - box[0]))


def vest(box: Box) -> Box:
    wide, high = box[2] - box[0], box[3] - box[1]
    return at(box, 0.5, 0.18, 0.8 * wide, 0.4 * high)


@dataclass(frozen=True)
class Walker:
    """Where somebody is at a time, and how sure the detector is of them; None while out of its sight."""

    box: Callable[[float], Box]
    sure: Callable[[float], float | None] = lambda _: 0.8
    name: str = "person"


def walk(start: float, speed: float, foot: float = 600, tall: float = 200) -> Callable[[float], Box]:
    """Along the picture at `speed` pixels a second."""
    return lambda t: upright(start + speed * t, foot, tall)


def unless(first: float, last: float, instead: float | None = None) -> Callable[[float], float | None]:
    """Seen well but from `first` to `last` second, where the confidence is `instead` (None: not seen)."""
    return lambda t: instead if first <= t < last else 0.8


def play(
    walkers: Sequence[Walker], fps: float, seconds: float, tracker: Tracker | None = None, jitter: float = 2.0
) -> list[list[int | None]]:
    """Ids by frame and walker (None where not seen, or taken for a duplicate).

    Boxes tremble by `jitter` pixels, and rows come in any order.
    """
    tracker, rng = tracker or Tracker(NAMES), np.random.default_rng(7)
    story: list[list[int | None]] = []
    for n in range(round(fps * seconds)):
        t = n / fps
        rows = [(w, w.sure(t)) for w in walkers]
        present = [(k, w, sure) for k, (w, sure) in enumerate(rows) if sure is not None]
        boxes = {k: _as_box(np.array(w.box(t)) + rng.normal(0, jitter, 4)) for k, w, _ in present}
        order = rng.permutation(len(present))
        out = tracker.update(seen(*[(w.name, boxes[k], sure) for k, w, sure in (present[i] for i in order)]), 100 + t)
        ids = {out.box(row): int(track) for row, track in enumerate(out.track_id)}
        story.append([ids.get(boxes[k]) if k in boxes else None for k in range(len(walkers))])
    return story


def _as_box(corners: npt.NDArray[np.float64]) -> Box:
    x1, y1, x2, y2 = corners.astype(np.float32).tolist()
    return x1, y1, x2, y2


def ids_of(story: list[list[int | None]], walker: int) -> list[int]:
    """All ids that a walker had, in order, each run once."""
    had = [ids[walker] for ids in story]
    named = [i for i in had if i is not None]
    return [i for n, i in enumerate(named) if n == 0 or i != named[n - 1]]


@st.composite
def any_detections(draw: st.DrawFn, most: int = 12, least_sure: float = 0.0) -> Detections:
    """Whatever a detector might say: also boxes without area, inside out, outside the frame, alike."""
    n = draw(st.integers(0, most))
    number = st.floats(-2000, 2000, width=32) | st.sampled_from([0.0, 100.0, 200.0, 720.0, 1280.0])
    boxes = draw(st.lists(st.tuples(number, number, number, number), min_size=n, max_size=n))
    ordinary = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    boxes = [
        (min(a, c), min(b, d), max(a, c), max(b, d)) if tidy else (a, b, c, d)
        for (a, b, c, d), tidy in zip(boxes, ordinary, strict=True)
    ]
    sure = draw(st.lists(st.floats(least_sure, 1, width=32), min_size=n, max_size=n))
    classes = draw(st.lists(st.integers(0, len(NAMES) - 1), min_size=n, max_size=n))
    return Detections.build(boxes, sure, classes, NAMES)
