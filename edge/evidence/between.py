"""Where heads are between two looks: every frame of a clip is hidden, but only every second or fifth one was judged."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from edge.evidence.heads import HeadRegion
from edge.values import NO_TRACK, Box

HOLD_S = 1.0
"""How long a head is believed to stay near where it was seen, and how far from a look a frame may be."""
_GROW_PER_S = 0.5
"""By how much of its length a region grows at each side in a second in which nobody looked."""


@dataclass(frozen=True, slots=True)
class Look:
    """The heads that one judged frame showed; `mono` is the frame's."""

    mono: float
    heads: tuple[HeadRegion, ...]


def regions_at(looks: Sequence[Look], mono: float) -> tuple[Box, ...] | None:
    """What to hide in a frame of time `mono`; None where it cannot be known, so that the frame must not be kept.

    looks: oldest first. It is known only between two looks, neither more than `HOLD_S` away. A track seen on both
    sides is taken to move straight; one seen on one side, and heads without a track, stay where they were and grow.
    """
    middle, end = bisect_left(looks, mono, key=_mono), bisect_right(looks, mono, key=_mono)
    before = looks[bisect_left(looks, mono - HOLD_S, key=_mono) : end]
    after = looks[middle : bisect_right(looks, mono + HOLD_S, key=_mono)]
    if not before or not after:
        return None
    last = _sightings(before)
    following = _sightings(reversed(after))
    moving = [_moved(last[track], following[track], mono) for track in last.keys() & following.keys()]
    staying = [
        _held(sighting, mono)
        for track, sighting in chain(last.items(), following.items())
        if (track in last) != (track in following)
    ]
    return (*moving, *staying, *_without_track((before[-1], after[0]), mono))


def regions_now(looks: Sequence[Look], mono: float, heads: Sequence[HeadRegion]) -> tuple[Box, ...]:
    """What to hide in a frame that has just been judged: its own heads, and those lately seen that it misses."""
    end = bisect_left(looks, mono, key=_mono)
    before = looks[bisect_left(looks, mono - HOLD_S, key=_mono) : end]
    seen = {h.track for h in heads}
    missed = [_held(sighting, mono) for track, sighting in _sightings(before).items() if track not in seen]
    return (*(h.box for h in heads), *missed, *_without_track(before[-1:], mono))


def _mono(look: Look) -> float:
    return look.mono


_Sighting = tuple[float, Box]


def _sightings(looks: Iterable[Look]) -> dict[int, _Sighting]:
    """Of each track the last one in the order given."""
    return {h.track: (look.mono, h.box) for look in looks for h in look.heads if h.track != NO_TRACK}


def _without_track(looks: Sequence[Look], mono: float) -> tuple[Box, ...]:
    """In the order of their looks; a box that both looks agree on comes once."""
    boxes = (_held((look.mono, h.box), mono) for look in looks for h in look.heads if h.track == NO_TRACK)
    return tuple(dict.fromkeys(boxes))


def _held(sighting: _Sighting, mono: float) -> Box:
    seen, (x1, y1, x2, y2) = sighting
    grow = _GROW_PER_S * abs(mono - seen)
    dx, dy = grow * (x2 - x1), grow * (y2 - y1)
    return x1 - dx, y1 - dy, x2 + dx, y2 + dy


def _moved(a: _Sighting, b: _Sighting, mono: float) -> Box:
    """Straight from `a` to `b`, grown by the distance to the nearer one: nobody walks quite straight."""
    gap = b[0] - a[0]
    share = (mono - a[0]) / gap if gap > 0 else 0.0
    x1, y1, x2, y2 = (p + share * (q - p) for p, q in zip(a[1], b[1], strict=True))
    nearer = min(mono - a[0], b[0] - mono)
    return _held((mono - nearer, (x1, y1, x2, y2)), mono)
