"""What a rule is, where it looks, and when it applies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias
from zoneinfo import ZoneInfo

from edge.clock import Stamp
from edge.geometry import inside, to_pixels
from edge.rules.night import NightState
from edge.site.model import BarrierFixture, Camera, LampFixture, RuleSettings, SiteFile, TimeSpan
from edge.values import Judgement, Point, Reason, Rest, Scene, Severity, Verdict

CAMERA = "camera"
"""Subject of a judgement about nobody in particular: the picture, or the model, does not let anybody be judged."""
TOO_DARK = 0.1
"""Mean luma of a picture, 0..1, below which what is not seen is not absent. Measured with site-v0 on 400 photos of the
Hard Hat Workers set, darkened in linear light, with shot noise: of the hats that the model decided about it called bare
none in daylight, 0.6 % at 0.2, 0.7 % at 0.12, but 8 % at 0.08."""

Corners: TypeAlias = tuple[Point, ...]
"""A polygon in relative points, 0..1."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rule looks: a zone, a declared fixture, or the whole picture.

    corners: of the zone; None is the whole picture (or a fixture, which has its own shape).
    without: zones inside this one that the same rule looks at on their own, so that nobody is judged twice.
    hours: when the zone counts; empty is always.
    """

    id: str
    corners: Corners | None = None
    without: tuple[Corners, ...] = ()
    hours: tuple[TimeSpan, ...] = ()
    fixture: BarrierFixture | LampFixture | None = None

    def holds(self, point: Point, width: int, height: int) -> bool:
        """Whether a point, in pixels, lies here. One outside the picture counts as at its edge."""
        at = (min(max(point[0], 0.0), float(width)), min(max(point[1], 0.0), float(height)))
        if self.corners is not None and not inside(to_pixels(self.corners, width, height), at):
            return False
        return not any(inside(to_pixels(hole, width, height), at) for hole in self.without)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a rule must know beside the picture. settings: of this rule, from the site file."""

    night: NightState
    settings: RuleSettings = field(default_factory=RuleSettings)


Look: TypeAlias = Callable[[Scene, Place, Circumstances], tuple[Judgement, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of the rule book: a pure function of a scene, and the terms on which its looks count.

    clauses: of the norm, e.g. `I.6.3`.
    needs: classes that the model must know; without one of them everything is unknown.
    confirm_s, min_looks: how long and how often a verdict must be seen before it counts.
    clear_s: seconds without breach before an alarm is cleared.
    every_s: seconds between two looks; 0 looks at every judged frame.
    empty_is_ok: whether "nobody there any more" means that the breach ended well.
    hours: `working` applies in the site's working hours, `always` at any hour; hours that the site file gives to the
        rule go before either.
    night_only: does not apply by day.
    places: where a camera is looked at by this rule.
    look: the verdict on each subject at a place; called only if the model knows what it `needs`.
    """

    id: str
    clauses: tuple[str, ...]
    needs: tuple[str, ...]
    subject: Literal["person", "fixture"]
    severity: Severity
    confirm_s: float
    min_looks: int
    clear_s: float
    every_s: float
    hours: Literal["working", "always"]
    places: Callable[[Camera], tuple[Place, ...]]
    look: Look
    empty_is_ok: bool = False
    night_only: bool = False

    def judge(self, scene: Scene, place: Place, circumstances: Circumstances) -> tuple[Judgement, ...]:
        """The verdict on each subject at a place; none where nobody is there."""
        if not scene.can_see(*self.needs):
            return (self.unknown(place, Reason.NO_CLASS),)
        return self.look(scene, place, circumstances)

    def unknown(self, place: Place, reason: Reason) -> Judgement:
        """That this place cannot be judged at all: one unknown, whoever may be there."""
        return Judgement(place.id if self.subject == "fixture" else CAMERA, Verdict.UNKNOWN, reason)


def resting(  # noqa: PLR0917 (six plain values, each of another type)
    rule: Rule, place: Place, settings: RuleSettings, site_file: SiteFile, stamp: Stamp, night: NightState
) -> Rest | None:
    """Why a rule that is switched on does not look at a place now; None: it does.

    Where the clock cannot be trusted a rule looks at any hour: better judged too often than not at all. What then
    cannot be told for want of the hour (is it night, is the zone closed) the rule itself answers with `unknown`.
    """
    if rule.night_only and night is NightState.DAY:
        return Rest.DAY
    if not stamp.synced:
        return None
    of_rule = settings.hours or (site_file.site.working_hours if rule.hours == "working" else [])
    moment = datetime.fromtimestamp(stamp.wall, ZoneInfo(site_file.site.timezone)).time()
    within = all(not hours or any(span.holds(moment) for span in hours) for hours in (of_rule, place.hours))
    return None if within else Rest.HOURS
