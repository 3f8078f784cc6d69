"""Which parts of a frame must be pixelated, so that nobody is recognised and every hat stays judgeable.

Looks at all detections, however unsure: a stray patch costs little, a face left clear is the harm to be prevented.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.geometry import area, as_array, intersection
from edge.track.anatomy import HEAD_LENGTH, LIMIT, hat_misfit, in_frame, likely_head
from edge.track.assign import best_pairs
from edge.values import NO_TRACK, Box, Detections, Person, WearState

DETECTION_FLOOR = 0.015
"""Lowest confidence asked of the detector: far too low to judge by, enough to hide a face."""

HAT_BROW = 0.55
"""Where a hat ends and the face begins, in hat widths below the hat's upper edge, at the lowest. The median hat box is
0.76 widths high; in a box around the whole head with its face (1.23 widths high) the hat takes the upper 0.55."""

RIM = 0.1
"""What may be lost of a hat at each side, in hat widths."""

BARE_BROW = 0.4
"""The same for a bare head: the hair stays in sight, which shows that there is no hat."""

MARGIN = 0.2
"""How far a region goes beyond the head, in hat widths, at both sides and at the chin."""

UNSURE = 0.5, 0.2
"""How far a region goes beyond the likely head of a body on which none was seen: at each side, in shares of that head's
width, and below, in shares of its length. More hides hardly any more faces, but vests."""

TRUSTED = 0.45
"""A hat or head less sure than this does not stand in for the head of the body it fits: both are pixelated.
With 0.35 a seventh more faces stay clear, with 0.5 a twentieth of the hats more are covered (400 photos of `hhw`)."""

_INSIDE = 0.9  # a region that lies in another one by this share adds nothing
_SLIVER = 0.05  # a part of a region as small as this shows nobody
_SAME_HEAD = 0.5  # a hat and a bare head that share this much of the smaller one are two claims on one head


@dataclass(frozen=True, slots=True)
class HeadRegion:
    """Pixels x1, y1, x2, y2 of a face; `track` of the person, by which it is followed between judged frames.

    track: `NO_TRACK` where no tracked body belongs to the head. No two regions of a frame have the same track id.
    """

    box: Box
    track: int = NO_TRACK


def heads_of(tracked: Detections, people: tuple[Person, ...], width: int, height: int) -> tuple[HeadRegion, ...]:
    """Every region of a frame of width x height pixels whose face must be made unrecognisable.

    Faces below hats, faces of bare heads, and the whole likely head of every body on which neither was seen.
    No region covers the crown of a hat that was clearly seen.
    tracked: all rows of the tracker, also those too unsure to be judged.
    people: the judged persons of the same frame; a head that was given to one of them stays with that one.
    """
    heads, bodies = tracked.of("helmet", "no_helmet"), tracked.of("person")
    owner = _owners(heads, bodies, people)
    followed: dict[int, Box] = {}
    loose: list[Box] = []

    def add(box: Box, body: int | None) -> None:
        track = NO_TRACK if body is None else int(bodies.track_id[body])
        if track == NO_TRACK:
            loose.append(box)
        else:
            followed[track] = _around(followed.get(track, box), box)

    for row in range(len(heads)):
        add(_face(heads, row, width, height), owner.get(row))
    for body in set(range(len(bodies))) - {b for row, b in owner.items() if heads.confidence[row] >= TRUSTED}:
        add(_wider(likely_head(bodies.box(body), width, height), width, height), body)
    crowns = _crowns(heads, people)
    regions = []
    for track, box in sorted(followed.items()):
        parts = _beside(box, crowns)
        regions += [HeadRegion(part, track) for part in parts[:1]]
        loose += parts[1:]
    pieces = [piece for box in loose for piece in _beside(box, crowns)]
    return tuple(regions + [HeadRegion(box) for box in _needed(pieces, [r.box for r in regions])])


def _owners(heads: Detections, bodies: Detections, people: tuple[Person, ...]) -> dict[int, int]:
    """Row in `bodies` by row in `heads`: as judged where it was, else to whom a head fits best."""
    body_of_track = {int(track): row for row, track in enumerate(bodies.track_id) if track != NO_TRACK}
    body_of_head = {p.head: body_of_track[p.track] for p in people if p.track in body_of_track}
    judged = {row: body_of_head[box] for row in range(len(heads)) if (box := heads.box(row)) in body_of_head}
    cost = hat_misfit(bodies.xyxy, heads.xyxy)
    cost[list(judged.values())] = np.inf
    cost[:, list(judged)] = np.inf
    return judged | {head: body for body, head in best_pairs(cost, LIMIT)}


def _wider(head: Box, width: int, height: int) -> Box:
    """A head of which only the body is known, with room for where it may be instead."""
    aside, down = UNSURE[0] * (head[2] - head[0]), UNSURE[1] * (head[3] - head[1])
    return in_frame((head[0] - aside, head[1], head[2] + aside, head[3] + down), width, height)


def _crowns(heads: Detections, people: tuple[Person, ...]) -> list[Box]:
    """What must stay in sight: hats down to the brow, where the same head is not rather a bare one."""
    hats, bare = heads.of("helmet"), heads.of("no_helmet")
    shared = intersection(hats.xyxy, bare.xyxy)
    shared /= np.maximum(np.minimum(area(hats.xyxy)[:, None], area(bare.xyxy)[None, :]), 1e-9)
    surer = bare.confidence[None, :] > hats.confidence[:, None]
    doubted = np.count_nonzero((shared > _SAME_HEAD) & surer, axis=1) > 0
    clear = [hats.box(row) for row in range(len(hats)) if hats.confidence[row] >= TRUSTED and not doubted[row]]
    worn = [p.helmet.box for p in people if p.helmet.state is WearState.ON and p.helmet.box is not None]
    return [
        (x1 + RIM * (x2 - x1), y1, x2 - RIM * (x2 - x1), y1 + min(y2 - y1, HAT_BROW * (x2 - x1)))
        for x1, y1, x2, y2 in sorted({*clear, *worn})
    ]


def _beside(box: Box, crowns: list[Box]) -> list[Box]:
    """The parts of a box that cover none of the crowns, largest first; slivers are left out."""
    parts, least = [box], _SLIVER * _size(box)
    for crown in crowns:
        if _touch(box, crown):
            parts = [piece for part in parts for piece in _around_crown(part, crown) if _size(piece) > least]
    return sorted(parts, key=lambda p: (-_size(p), p)) if least else []


def _around_crown(box: Box, crown: Box) -> list[Box]:
    """A box without a crown: above it, below it, and to its left and right."""
    if not _touch(box, crown):
        return [box]
    a, b, c, d = box
    x1, y1, x2, y2 = crown
    low, high = max(b, y1), min(d, y2)
    return [(a, b, c, low), (a, high, c, d), (a, low, x1, high), (x2, low, c, high)]


def _touch(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _face(heads: Detections, row: int, width: int, height: int) -> Box:
    """From below the brow to the chin, as far as it lies in the frame."""
    x1, y1, x2, y2 = heads.box(row)
    across = x2 - x1
    brow = HAT_BROW if heads.names[heads.class_id[row]] == "helmet" else BARE_BROW
    top = y1 + min(y2 - y1, brow * across)
    chin = max(y2, y1 + HEAD_LENGTH * across) + MARGIN * across
    return in_frame((x1 - MARGIN * across, top, x2 + MARGIN * across, chin), width, height)


def _needed(loose: list[Box], others: list[Box]) -> list[Box]:
    """Those that do not lie in one of the others or in a larger one of their own, largest first."""
    ordered = sorted(loose, key=lambda b: (-_size(b), b))
    if not ordered:
        return []
    own, every = as_array(ordered), as_array(others + ordered)
    within = intersection(own, every) >= _INSIDE * area(own)[:, None]
    kept = [True] * len(others) + [False] * len(ordered)
    needed = []
    for row, box in enumerate(ordered):
        if not (within[row] & kept).any():
            kept[len(others) + row] = True
            needed.append(box)
    return needed


def _around(a: Box, b: Box) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _size(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])
