"""The declared hoarding, guard rail or tape closes its line, without gaps.

The line runs along the foot of the barrier. It is cut into short steps, and each is one of three: *covered* by a
detected barrier that stands on it; *hidden* by somebody or something nearer to the camera; *open*. Hidden steps are
believed to be whatever would change the verdict: what stands in front of a barrier makes it unknown, never absent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.geometry import lengths, to_pixels
from edge.rules import fixtures
from edge.rules.rule import TOO_DARK, Circumstances, Place, Rule
from edge.site.model import BarrierFixture, Camera
from edge.values import Box, Floats, Judgement, Reason, Scene, Severity, Verdict

STEPS = 400
"""A step is a quarter of a percent of the line: finer than a detector places the edge of a box."""
SIDE_SHARE = 0.5
"""A unit that is half hidden is often not detected at all, so who stands in front hides half their width more on
either side."""
SHOWN_HEIGHT = 0.05
"""Of the picture: how far up from its foot an open stretch is framed for people to look at."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Coverage:
    """How a line stands: for each of its steps (n, 2) whether it is covered, or hidden; covered goes before hidden."""

    steps: Floats
    covered: Mask
    hidden: Mask

    @property
    def share(self) -> float:
        """Share of the line that is certainly covered."""
        return float(self.covered.mean())

    @property
    def best_share(self) -> float:
        """The same if a barrier stands wherever it cannot be seen."""
        return float((self.covered | self.hidden).mean())

    @property
    def longest_gap(self) -> float:
        """Longest uncovered stretch, as a share of the line, if none stands where it cannot be seen."""
        start, end = _longest_run(~self.covered)
        return (end - start) / len(self.steps)

    @property
    def surest_gap(self) -> tuple[int, int]:
        """First step and the one after the last of the longest stretch that is in clear sight, and open."""
        return _longest_run(~self.covered & ~self.hidden)


def _longest_run(mask: Mask) -> tuple[int, int]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    if not len(edges):
        return 0, 0
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return int(starts[longest]), int(ends[longest])


def steps_of(line: Floats) -> Floats:
    """The middles (STEPS, 2) of equally long steps along a polyline (n, 2)."""
    along = np.concatenate(([0.0], np.cumsum(lengths(line))))
    at = (np.arange(STEPS) + 0.5) / STEPS * along[-1]
    return np.stack([np.interp(at, along, line[:, 0]), np.interp(at, along, line[:, 1])], axis=1).astype(np.float32)


def coverage(line: Floats, barriers: Floats, in_the_way: Floats, tolerance: float) -> Coverage:
    """How barriers and what is in the way, both boxes (n, 4), stand to a line; all in pixels.

    A barrier covers the part of the line that runs through its box if it stands on the line: if the lowest point of
    that part is no further than the tolerance from the foot of the box. If the line is higher up than that, the barrier
    stands nearer to the camera, closes another line and hides this one. (A run of barriers that recedes from the camera
    is one box, whose foot touches the line at its near end only; hence the lowest point.)
    """
    steps = steps_of(line)
    covered, hidden = np.zeros(STEPS, dtype=bool), np.zeros(STEPS, dtype=bool)
    for x1, y1, x2, y2 in barriers:
        crossed = _in_box(steps, (x1, y1, x2, y2 + tolerance))
        if crossed.any() and steps[crossed, 1].max() >= y2 - tolerance:
            covered |= crossed
        else:
            hidden |= crossed
    for x1, y1, x2, y2 in in_the_way:
        side = SIDE_SHARE * (x2 - x1)
        hidden |= _in_box(steps, (x1 - side, y1, x2 + side, y2))
    return Coverage(steps, covered, hidden & ~covered)


def _in_box(points: Floats, box: Box) -> Mask:
    x, y = points[:, 0], points[:, 1]
    return np.asarray((box[0] <= x) & (x <= box[2]) & (box[1] <= y) & (y <= box[3]))


def verdict_on(line: Coverage, cover: float, max_gap: float) -> Verdict:
    """OK if the line is closed even with every hidden step open, violation if open even with every one closed."""
    start, end = line.surest_gap
    if line.share >= cover and line.longest_gap <= max_gap:
        return Verdict.OK
    if line.best_share < cover or (end - start) / len(line.steps) > max_gap:
        return Verdict.VIOLATION
    return Verdict.UNKNOWN


def _places(camera: Camera) -> tuple[Place, ...]:
    return tuple(Place(f.id, fixture=f) for f in camera.fixtures if isinstance(f, BarrierFixture))


def _look(scene: Scene, place: Place, _: Circumstances) -> tuple[Judgement, ...]:
    fixture = place.fixture
    assert isinstance(fixture, BarrierFixture)  # noqa: S101 (narrowing; `_places` makes no other)
    barriers = scene.detections.of(*fixture.classes)
    line = coverage(
        to_pixels(fixture.line, scene.width, scene.height),
        barriers.xyxy,
        fixtures.in_the_way(scene.detections).xyxy,
        tolerance=fixture.tolerance * scene.height,
    )
    verdict = verdict_on(line, fixture.cover, fixture.max_gap)
    if verdict is Verdict.OK:
        # What covers the line was seen: neither darkness nor a model that knows too little can take that back.
        sure = float(barriers.confidence.max(initial=0.0))
        return (Judgement(fixture.id, verdict, Reason.SEEN, sure, _around(line, scene)),)
    if not scene.can_see(*fixture.classes):
        return (Judgement(fixture.id, Verdict.UNKNOWN, Reason.NO_CLASS),)
    if scene.overlooked.intersection(fixture.classes):
        return (Judgement(fixture.id, Verdict.UNKNOWN, Reason.OVERLOOKED),)
    if scene.brightness < TOO_DARK:
        return (Judgement(fixture.id, Verdict.UNKNOWN, Reason.TOO_DARK),)
    if verdict is Verdict.UNKNOWN:
        return (Judgement(fixture.id, verdict, Reason.OCCLUDED, 0.0, _around(line, scene)),)
    # The more of the line is in clear sight, the surer it is that nothing stands there.
    return (Judgement(fixture.id, verdict, Reason.ABSENT, 1.0 - float(line.hidden.mean()), _around(line, scene)),)


def _around(line: Coverage, scene: Scene) -> Box:
    """A box around the open stretch of the line, or the whole line where none is open, to show in the picture."""
    start, end = line.surest_gap
    shown = line.steps[start:end] if end > start else line.steps
    (x1, y1), (x2, y2) = shown.min(axis=0), shown.max(axis=0)
    above = SHOWN_HEIGHT * scene.height
    return float(x1), max(0.0, float(y1) - above), float(x2), float(y2)


RULE = Rule(
    id="barrier",
    clauses=("I.6.3", "II.P6", "II.D3"),
    needs=(),
    subject="fixture",
    severity=Severity.WARNING,
    confirm_s=fixtures.CONFIRM_S,
    min_looks=fixtures.MIN_LOOKS,
    clear_s=fixtures.CLEAR_S,
    every_s=fixtures.EVERY_S,
    hours="always",
    places=_places,
    look=_look,
)
