"""What the rules about people share: where they look, who can be judged, who wears what."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from edge.rules.rule import CAMERA, TOO_DARK, Circumstances, Look, Place
from edge.site.model import Camera, Zone, ZoneKind
from edge.values import NO_TRACK, WHOLE_PICTURE, Box, Judgement, Person, Reason, Scene, Verdict, Wear, WearState

CONFIRM_S = 1.0
MIN_LOOKS = 3
CLEAR_S = 30.0
"""Longer than somebody is hidden behind a passing van: who comes back is the same alarm."""

WORKING_ZONES: tuple[ZoneKind, ...] = ("work", "at_height", "pit", "shoring")
"""Where people are on the job. Not `passage`, which is the public's, nor `no_entry`, where nobody is to be at all."""

SMALLEST_SHARE = 0.1
"""Height of the smallest person who is judged, as a share of the picture's longer side, which is what a detector scales
to its input. A hat is a fifth as wide as its wearer is high: 8 pixels of the 416 that site-v0 sees, one cell of its
finest grid. Measured as for `TOO_DARK`: no hat of any size is called bare, but of those on people smaller than 0.15
only a third is seen; that is said as *uncertain*, person by person."""
UPPER_HIDDEN = 0.5
"""Share of a person's upper third behind somebody nearer, above which what is seen may be the other's: of the bare
heads that the model decided about it called 11 % covered below it, 27 % (4 of 15) above."""
EDGE_PX = 2.0
"""A box that ends so near to the picture's edge goes on beyond it."""


def zones(camera: Camera, *kinds: ZoneKind) -> tuple[Place, ...]:
    """A place a zone of these kinds. Where zones overlap, the smaller one has who stands in both."""
    wanted = sorted((z for z in camera.zones if z.kind in kinds), key=_area)
    return tuple(
        Place(
            zone.id,
            corners=tuple(zone.polygon),
            # A smaller zone that does not always count leaves its people to the larger one.
            without=tuple(tuple(z.polygon) for z in wanted[:n] if not z.hours or z.hours == zone.hours),
            hours=tuple(zone.hours),
        )
        for n, zone in enumerate(wanted)
    )


def _area(zone: Zone) -> float:
    return float(cv2.contourArea(np.asarray(zone.polygon, dtype=np.float32)))


def working_places(camera: Camera) -> tuple[Place, ...]:
    """Where people work; as long as nobody has drawn such a zone, the whole picture but the public's passage.

    So that who draws a no-entry zone first does not, without a word, end the judging of helmets.
    """
    public = tuple(tuple(z.polygon) for z in camera.zones if z.kind == "passage")
    return zones(camera, *WORKING_ZONES) or (Place(WHOLE_PICTURE, without=public),)


def people_at(scene: Scene, place: Place) -> Iterator[Person]:
    """Everybody who stands at a place, as far as the tracker has named them."""
    return (p for p in scene.persons if p.track != NO_TRACK and place.holds(p.foot, scene.width, scene.height))


def verdict_on(person: Person, verdict: Verdict, reason: Reason, confidence: float) -> Judgement:
    return Judgement(f"person:{person.track}", verdict, reason, confidence, person.box)


def wearing(worn: Callable[[Person], Wear], part: Callable[[Person], Box]) -> Look:
    """A look that asks of everybody at a place whether they wear something.

    worn: what was seen of it on a person. part: the part of the person that would show it, if nothing was seen.
    """

    def look(scene: Scene, place: Place, circumstances: Circumstances) -> tuple[Judgement, ...]:
        smallest = circumstances.settings.min_height_px or SMALLEST_SHARE * max(scene.width, scene.height)
        found = []
        for person in people_at(scene, place):
            wear = worn(person)
            hindered = _hindered(scene, person, wear.box or part(person), smallest)
            verdict, reason = _VERDICTS[wear.state] if hindered is None else (Verdict.UNKNOWN, hindered)
            found.append(verdict_on(person, verdict, reason, wear.confidence))
        return tuple(found) or nobody_seen(scene)

    return look


_VERDICTS = {
    WearState.ON: (Verdict.OK, Reason.SEEN),
    WearState.OFF: (Verdict.VIOLATION, Reason.BARE),
    WearState.UNSEEN: (Verdict.UNKNOWN, Reason.UNCERTAIN),
}


def _hindered(scene: Scene, person: Person, part: Box, smallest: float) -> Reason | None:
    """Why what a person wears cannot be told, whatever the detector says."""
    if person.height < smallest:
        return Reason.TOO_SMALL
    if scene.brightness < TOO_DARK:
        return Reason.TOO_DARK
    if part[0] <= EDGE_PX or part[1] <= EDGE_PX or part[2] >= scene.width - EDGE_PX:
        return Reason.CUT_OFF
    return Reason.OCCLUDED if person.upper_hidden > UPPER_HIDDEN else None


wearing_helmet: Look = wearing(lambda p: p.helmet, part=lambda p: p.head)
wearing_vest: Look = wearing(lambda p: p.vest, part=lambda p: p.box)


def nobody_seen(scene: Scene) -> tuple[Judgement, ...]:
    """That nobody is seen says nothing where it is too dark to see anybody."""
    if scene.brightness < TOO_DARK:
        return (Judgement(CAMERA, Verdict.UNKNOWN, Reason.TOO_DARK),)
    return ()
