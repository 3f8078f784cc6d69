"""Who wears what: helmets, heads and vests are given to persons, one to one, by where they are on the body."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge.geometry import area, intersection
from edge.track.anatomy import LIMIT, hat_misfit, likely_head, vest_misfit
from edge.track.assign import best_pairs
from edge.track.duplicates import canonical
from edge.values import UNSEEN, Box, Detections, Floats, Person, Wear, WearState

MARGIN = 2.0
"""A helmet and a bare head on one person, or a vest and none: the stronger claim must be this many times as strong,
else nothing is claimed."""

DOUBT = 0.1
"""Least confidence of a helmet or a vest that speaks against blaming somebody for having none. For both numbers see
docs/decisions.md, *What is half seen speaks for people*."""

Closely = Mapping[str, Callable[[Box], WearState]]
"""By the class that says that something is worn: what a closer look at a place in the frame makes of it."""

UPPER = 1 / 3
"""The upper part of a person, of whose hiding `Person.upper_hidden` tells."""

_Claim = tuple[float, Wear]
_NO_CLAIM: _Claim = (0.0, UNSEEN)


class _Part(NamedTuple):
    """What is worn, by the classes that say that it is on and that it is off, and where on a body it is worn."""

    on: str
    off: str
    misfit: Callable[[Floats, Floats], npt.NDArray[np.float64]]


_HELMET = _Part("helmet", "no_helmet", hat_misfit)
_VEST = _Part("vest", "no_vest", vest_misfit)


def persons(
    detections: Detections,
    width: int,
    height: int,
    least: Mapping[str, float] = MappingProxyType({}),
    *,
    hints: Detections | None = None,
    closely: Closely = MappingProxyType({}),
) -> tuple[Person, ...]:
    """The persons in a frame of width x height pixels, by rising track id, with what each of them wears.

    Every part is worn by one person at most. A part that fits no person where it should be worn (a helmet in the hand,
    a neighbour's head) is worn by nobody. The detections are those of `Tracker.update`: no box is there twice.

    least: by class, a confidence below which a part decides nothing; it still contests what speaks against it.
    hints: what is too unsure to count as seen. A helmet or a vest among it, from `DOUBT` on, contests that there is
    none.
    closely: asked where somebody would be blamed beyond these doubts; unless it says the same, nothing is claimed.
    """
    seen = canonical(detections)
    found = seen.of("person")
    found = found[np.argsort(found.track_id, kind="stable")]
    bodies = found.xyxy
    helmets, heads = _worn(_HELMET, bodies, seen, hints=hints, least=least, look=closely.get(_HELMET.on))
    vests, _ = _worn(_VEST, bodies, seen, hints=hints, least=least, look=closely.get(_VEST.on))
    occluded, upper_hidden = _hidden(bodies, 1.0), _hidden(bodies, UPPER)
    people = []
    for row in range(len(found)):
        box = found.box(row)
        people.append(
            Person(
                track=int(found.track_id[row]),
                box=box,
                confidence=float(found.confidence[row]),
                head=heads.get(row) or likely_head(box, width, height),
                helmet=helmets.get(row, UNSEEN),
                vest=vests.get(row, UNSEEN),
                occluded=occluded[row],
                upper_hidden=upper_hidden[row],
            )
        )
    return tuple(people)


def _worn(
    part: _Part,
    bodies: Floats,
    seen: Detections,
    *,
    hints: Detections | None,
    least: Mapping[str, float],
    look: Callable[[Box], WearState] | None,
) -> tuple[dict[int, Wear], dict[int, Box]]:
    """What each body wears, and the box of the stronger claim also where nothing is settled.

    Things that are on and things that are off are given out separately: two claims on one head are then weighed
    against each other, instead of the second one going to the neighbour. Hints are given out by themselves, so that
    they take nobody the place of what was seen, and only where somebody would be blamed.
    """
    worn, boxes = {}, {}
    on, off, misfit = part
    enough = {WearState.ON: least.get(on, 0.0), WearState.OFF: least.get(off, 0.0)}
    parts = seen.of(on, off)
    is_on = parts.class_id == parts.names.index(on) if on in parts.names else np.zeros(len(parts), dtype=np.bool_)
    cost = misfit(bodies, parts.xyxy)
    claims_on = _claims(cost, parts, is_on, WearState.ON)
    claims_off = _claims(cost, parts, ~is_on, WearState.OFF)
    doubts: dict[int, _Claim] = {}
    if claims_off and hints is not None:
        unsure = canonical(hints.of(on))
        doubts = _claims(misfit(bodies, unsure.xyxy), unsure, unsure.confidence >= np.float32(DOUBT), WearState.ON)
    for row in claims_on.keys() | claims_off.keys():
        for_them, against = claims_on.get(row, _NO_CLAIM), claims_off.get(row, _NO_CLAIM)
        if _strength(for_them) > _strength(against):
            stronger, weaker = for_them, against
        else:
            stronger, weaker = against, max(for_them, doubts.get(row, _NO_CLAIM), key=_strength)
        wear = stronger[1]
        if wear.box is not None:
            boxes[row] = wear.box
        if stronger[0] >= MARGIN * weaker[0] and wear.confidence >= enough[wear.state]:
            blamed = wear.box if wear.state is WearState.OFF else None
            # Where the two contradict each other, neither is believed.
            if look is None or blamed is None or look(blamed) is WearState.OFF:
                worn[row] = wear
    return worn, boxes


def _claims(
    cost: npt.NDArray[np.float64], parts: Detections, which: npt.NDArray[np.bool_], state: WearState
) -> dict[int, _Claim]:
    """Claim by body: as strong as the part is sure, less for one that is not quite where it belongs."""
    columns = np.flatnonzero(which)
    claims = {}
    for body, column in best_pairs(cost[:, columns], LIMIT):
        part = int(columns[column])
        sure = float(parts.confidence[part])
        claims[body] = sure * (1 - float(cost[body, part]) / (2 * LIMIT)), Wear(state, sure, parts.box(part))
    return claims


def _strength(claim: _Claim) -> float:
    return claim[0]


def _hidden(bodies: Floats, share: float) -> list[float]:
    """How much of the upper `share` of each body's box lies behind the boxes of people nearer to the camera, 0..1.

    Nearer is who stands lower in the picture; of two whose feet are level (cut off by the frame's edge), the taller.
    """
    top, foot = bodies[:, 1], bodies[:, 3]
    parts = bodies.copy()
    parts[:, 3] = top + (foot - top) * np.float32(share)
    nearer = (foot[None, :] > foot[:, None]) | ((foot[None, :] == foot[:, None]) & (top[None, :] < top[:, None]))
    covered = np.where(nearer, intersection(parts, bodies), 0)
    hidden = covered.sum(axis=1, dtype=np.float64)
    for row in np.flatnonzero(np.count_nonzero(covered, axis=1) > 1):  # those may overlap one another
        x1, y1, x2, y2 = parts[row]
        hidden[row] = _union(np.clip(bodies[covered[row] > 0], (x1, y1, x1, y1), (x2, y2, x2, y2)))
    return [float(v) for v in np.clip(hidden / np.maximum(area(parts), 1e-9), 0, 1)]


def _union(boxes: Floats) -> float:
    """Area that boxes (n, 4) cover together: cell by cell between neighbouring edges, each covered whole or not."""
    xs, ys = np.unique(boxes[:, [0, 2]]), np.unique(boxes[:, [1, 3]])
    across = (boxes[:, None, 0] <= xs[None, :-1]) & (boxes[:, None, 2] >= xs[None, 1:])
    down = (boxes[:, None, 1] <= ys[None, :-1]) & (boxes[:, None, 3] >= ys[None, 1:])
    cells = (across[:, :, None] & down[:, None, :]).any(axis=0)
    return float((cells * np.outer(np.diff(xs), np.diff(ys))).sum())
