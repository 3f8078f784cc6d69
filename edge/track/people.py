"""Who wears what: helmets, heads and vests are given to persons, one to one, by where they are on the body."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edge.geometry import area, as_array, intersection
from edge.track.anatomy import LIMIT, hat_misfit, likely_head, vest_misfit
from edge.track.assign import best_pairs
from edge.track.duplicates import distinct
from edge.values import UNSEEN, Box, Detections, Floats, Person, Wear, WearState

MARGIN = 1.5
"""A helmet and a bare head on one person, or a vest and none: the stronger claim must be this many times as strong,
else nothing is claimed."""

UPPER = 1 / 3
"""The upper part of a person, of whose hiding `Person.upper_hidden` tells."""

_Misfit = Callable[[Floats, Floats], npt.NDArray[np.float64]]
_Claims = dict[int, tuple[float, Wear]]


def persons(detections: Detections, width: int, height: int) -> tuple[Person, ...]:
    """The persons in a frame of width x height pixels, by rising track id, with what each of them wears.

    Every part is worn by one person at most. A part that fits no person where it should be worn (a helmet in the hand,
    a neighbour's head) is worn by nobody.
    """
    seen = distinct(detections)
    found = seen.of("person")
    found = found[np.argsort(found.track_id, kind="stable")]
    bodies = found.xyxy
    helmets, heads = _worn(bodies, seen, "helmet", "no_helmet", hat_misfit)
    vests, _ = _worn(bodies, seen, "vest", "no_vest", vest_misfit)
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
                occluded=_hidden(row, bodies, share=1.0),
                upper_hidden=_hidden(row, bodies, share=UPPER),
            )
        )
    return tuple(people)


def _worn(
    bodies: Floats, seen: Detections, on: str, off: str, misfit: _Misfit
) -> tuple[dict[int, Wear], dict[int, Box]]:
    """What each body wears, and the box of the stronger claim also where nothing is settled.

    Things that are on and things that are off are given out separately: two claims on one head are then weighed
    against each other, instead of the second one going to the neighbour.
    """
    worn, boxes = {}, {}
    claims_on = _claims(bodies, seen.of(on), WearState.ON, misfit)
    claims_off = _claims(bodies, seen.of(off), WearState.OFF, misfit)
    for row in claims_on.keys() | claims_off.keys():
        weaker, stronger = sorted(
            (claims.get(row, (0.0, UNSEEN)) for claims in (claims_on, claims_off)), key=lambda claim: claim[0]
        )
        if stronger[1].box is not None:
            boxes[row] = stronger[1].box
        if stronger[0] >= MARGIN * weaker[0]:
            worn[row] = stronger[1]
    return worn, boxes


def _claims(bodies: Floats, parts: Detections, state: WearState, misfit: _Misfit) -> _Claims:
    """Strength and claim by row of `bodies`: confidence, less for a part that is not quite where it belongs."""
    cost = misfit(bodies, parts.xyxy)
    return {
        row: (
            float(parts.confidence[part]) * (1 - float(cost[row, part]) / (2 * LIMIT)),
            Wear(state, float(parts.confidence[part]), parts.box(part)),
        )
        for row, part in best_pairs(cost, LIMIT)
    }


def _hidden(row: int, bodies: Floats, share: float) -> float:
    """How much of the upper `share` of a body's box lies behind the boxes of people nearer to the camera, 0..1.

    Nearer is who stands lower in the picture; of two whose feet are level (cut off by the frame's edge), the taller.
    """
    x1, y1, x2, y2 = (float(v) for v in bodies[row])
    low = y1 + (y2 - y1) * share
    tall = bodies[:, 3] - bodies[:, 1]
    nearer = (bodies[:, 3] > bodies[row, 3]) | ((bodies[:, 3] == bodies[row, 3]) & (tall > tall[row]))
    part = as_array([(x1, y1, x2, low)])
    nearer &= intersection(part, bodies)[0] > 0
    whole = float(area(part)[0])
    if not nearer.any() or whole <= 0:
        return 0.0
    limits = np.array([[x1, y1, x1, y1], [x2, low, x2, low]], dtype=np.float64)
    return min(1.0, _union(np.clip(bodies[nearer].astype(np.float64), *limits)) / whole)


def _union(boxes: npt.NDArray[np.float64]) -> float:
    """Area that boxes (n, 4) cover together: cell by cell between neighbouring edges, each covered whole or not."""
    xs, ys = np.unique(boxes[:, [0, 2]]), np.unique(boxes[:, [1, 3]])
    across = (boxes[:, None, 0] <= xs[None, :-1]) & (boxes[:, None, 2] >= xs[None, 1:])
    down = (boxes[:, None, 1] <= ys[None, :-1]) & (boxes[:, None, 3] >= ys[None, 1:])
    cells = (across[:, :, None] & down[:, None, :]).any(axis=0)
    return float((cells * np.outer(np.diff(xs), np.diff(ys))).sum())
