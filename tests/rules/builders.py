"""Builders for scenes: who and what stands where in a picture of 1280 by 720."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from edge.clock import Stamp
from edge.rules import Circumstances, Place, Rule
from edge.rules.night import NightState
from edge.site.model import BarrierFixture, Camera, Fixture, LampFixture, RuleSettings, SiteFile, UsbSource, Zone
from edge.values import Box, Detections, Judgement, LampSamples, Person, Reason, Scene, Verdict, Wear, WearState

W, H = 1280, 720
MODEL = ("person", "helmet", "no_helmet", "vest", "no_vest", "cone", "machinery", "vehicle", "barrier")
NOON = Stamp(wall=1_790_000_000.0, mono=1_000.0, boot="boot", synced=True)
LOST = replace(NOON, synced=False)
"""A clock that nobody has set."""

ON, OFF, UNSEEN = Wear(WearState.ON, 0.9), Wear(WearState.OFF, 0.8), Wear(WearState.UNSEEN)
EVERYWHERE = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
LEFT = [(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)]


def at(text: str, zone: str = "Asia/Shanghai", *, synced: bool = True) -> Stamp:
    """A stamp of local time, `2026-06-21 19:46`."""
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))
    return Stamp(wall=moment.timestamp(), mono=1_000.0, boot="boot", synced=synced)


def person(
    x: float = 600,
    foot: float = 600,
    height: float = 300,
    *,
    track: int = 1,
    helmet: Wear = UNSEEN,
    vest: Wear = UNSEEN,
    upper_hidden: float = 0.0,
) -> Person:
    """Somebody who stands with their feet at (x, foot)."""
    width = 0.4 * height
    box = (x - width / 2, foot - height, x + width / 2, foot)
    head = (x - width / 5, foot - height, x + width / 5, foot - 0.86 * height)
    return Person(track, box, 0.9, head, helmet, vest, upper_hidden=upper_hidden)


def scene(
    *people: Person,
    things: Sequence[tuple[str, Box]] = (),
    lamps: Sequence[LampSamples] = (),
    names: tuple[str, ...] = MODEL,
    brightness: float = 0.5,
    stamp: Stamp = NOON,
    overlooked: Collection[str] = (),
) -> Scene:
    """A picture with these people, and with `things` as (class, box). People are detections too."""
    seen = [*(("person", p.box) for p in people), *things]
    detections = Detections.build(
        [box for _, box in seen], [0.7] * len(seen), [names.index(name) for name, _ in seen], names
    )
    return Scene("gate", stamp, W, H, detections, people, tuple(lamps), brightness, frozenset(overlooked))


def zone(kind: str = "work", polygon: Sequence[tuple[float, float]] = EVERYWHERE, **more: object) -> Zone:
    return Zone.model_validate({"id": "trench", "kind": kind, "polygon": polygon} | more)


def camera(zones: Sequence[Zone] = (), fixtures: Sequence[Fixture] = ()) -> Camera:
    return Camera(id="gate", source=UsbSource(), zones=list(zones), fixtures=list(fixtures))


def site_file(**sections: object) -> SiteFile:
    """A site in Beijing with one camera."""
    site = {"id": "north-yard", "latitude": 39.91, "longitude": 116.4}
    return SiteFile.model_validate({"site": site, "node": {"id": "gate-03"}, "cameras": [camera()]} | sections)


def fence(line: Sequence[tuple[float, float]] = ((0.1, 0.5), (0.9, 0.5)), **more: object) -> BarrierFixture:
    return BarrierFixture.model_validate({"id": "north-fence", "line": line} | more)


def lamp(pattern: str = "any", **more: object) -> LampFixture:
    polygon = [(0.48, 0.3), (0.52, 0.3), (0.52, 0.36), (0.48, 0.36)]
    return LampFixture.model_validate({"id": "lamp-1", "polygon": polygon, "pattern": pattern} | more)


def only_place(rule: Rule, of: Camera) -> Place:
    (place,) = rule.places(of)
    return place


def judge(
    rule: Rule, seen: Scene, place: Place, night: NightState = NightState.DAY, **settings: object
) -> tuple[Judgement, ...]:
    return rule.judge(seen, place, Circumstances(night, RuleSettings.model_validate(settings)))


def said(judgements: Sequence[Judgement]) -> list[tuple[Verdict, Reason]]:
    """Only the verdicts and reasons."""
    return [(j.verdict, j.reason) for j in judgements]


def samples(core: Sequence[float], fps: float, surround: float = 0.1, until: float = NOON.mono) -> LampSamples:
    """Evenly spaced samples of `lamp-1`, the newest at `until`."""
    n = len(core)
    return LampSamples(
        "lamp-1",
        until - np.arange(n - 1, -1, -1, dtype=np.float64) / fps,
        np.asarray(core, dtype=np.float32),
        np.full(n, surround, dtype=np.float32),
    )
