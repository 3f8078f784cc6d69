"""Builders for what a detector sees, and for posts that watch it on a clock that moves when it is told to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from edge.clock import ManualClock, Stamp
from edge.line import CameraLine
from edge.node import all_terms
from edge.post import Post
from edge.rules import RULES
from edge.site.model import SiteFile
from edge.values import AlarmEvent, Box, Detections, Frame, Rest, Tally

W, H = 1280, 720
NOON = 1_789_963_200.0
"""2026-09-21 12:00 in Beijing, Unix s."""
MODEL = ("person", "helmet", "no_helmet", "vest", "no_vest", "cone", "machinery", "vehicle")
WHOLE = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
LEFT = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]
RIGHT = [[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]]
Sight = tuple[str, Box]


def worker(
    x: float = 400.0, foot: float = 600.0, *, helmet: bool | None = True, vest: bool | None = True
) -> list[Sight]:
    """A standing person 300 px high; None: neither the thing nor its absence is seen."""
    top = foot - 300.0
    seen: list[Sight] = [("person", (x - 60, top, x + 60, foot))]
    if helmet is not None:
        seen.append(
            ("helmet", (x - 24, top, x + 24, top + 30)) if helmet else ("no_helmet", (x - 22, top, x + 22, top + 48))
        )
    if vest is not None:
        seen.append(("vest" if vest else "no_vest", (x - 48, top + 60, x + 48, top + 165)))
    return seen


def detections(*people: Sequence[Sight], names: tuple[str, ...] = MODEL, sure: float = 0.8) -> Detections:
    sights = [s for person in people for s in person if s[0] in names]
    return Detections.build([b for _, b in sights], [sure] * len(sights), [names.index(n) for n, _ in sights], names)


def frame(stamp: Stamp, seq: int = 1) -> Frame:
    return Frame("gate", seq, stamp, np.full((H, W, 3), 120, np.uint8))


def site_file(*zones: dict[str, Any], **sections: Any) -> SiteFile:
    """A site in Beijing with one camera and, where none are named, one work zone of the whole picture."""
    drawn = list(zones) or [{"id": "trench", "kind": "work", "polygon": WHOLE}]
    return SiteFile.model_validate(
        {
            "site": {"id": "north-yard", "latitude": 39.91, "longitude": 116.4},
            "node": {"id": "gate-03"},
            "cameras": [{"id": "gate", "source": {"type": "usb"}, "zones": drawn}],
        }
        | sections
    )


class Guard:
    """A post on a clock: plays looks at five a second and keeps what comes of them."""

    def __init__(
        self,
        site: SiteFile | None = None,
        clock: ManualClock | None = None,
        *,
        restored: Iterable[AlarmEvent] = (),
        names: tuple[str, ...] = MODEL,
    ) -> None:
        self.site = site or site_file()
        self.clock = clock or ManualClock(wall=NOON)
        self.names = names
        self.post = Post(self._line(self.site), all_terms(self.site), restored)
        self.events: list[AlarmEvent] = list(self.post.begin(self.clock.now()))
        self.tallies: list[Tally] = []

    def _line(self, site: SiteFile) -> CameraLine:
        return CameraLine(site, site.cameras[0], self.names, RULES)

    def see(self, seconds: float, *people: Sequence[Sight], fps: float = 5.0) -> list[AlarmEvent]:
        """The same people for so long. Gives the events of this time."""
        began = len(self.events)
        for _ in range(round(seconds * fps)):
            stamp = self.clock.advance(1 / fps)
            _, events = self.post.judge(frame(stamp), detections(*people, names=self.names))
            self.events += events
            self.tallies += self.post.tick(stamp)
        return self.events[began:]

    def blind(self, seconds: int) -> list[AlarmEvent]:
        began = len(self.events)
        for _ in range(seconds):
            stamp = self.clock.advance(1.0)
            self.events += self.post.blind(stamp)
            self.tallies += self.post.tick(stamp)
        return self.events[began:]

    def renew(self, site: SiteFile) -> list[AlarmEvent]:
        events = self.post.renew(self._line(site), all_terms(site), self.clock.now())
        self.events += events
        return events

    def rests(self) -> dict[str, Rest | None]:
        """Why rules do not look now, by rule id."""
        return {s.instance.rule: s.rest for s in self.post.states(self.clock.now())}

    def seconds(self, rule: str) -> tuple[int, int, int, int]:
        """(ok, violation, unknown, breach) seconds of a rule at all places."""
        of_rule = [t for t in self.tallies if t.instance.rule == rule]
        return (
            sum(t.ok_s for t in of_rule),
            sum(t.violation_s for t in of_rule),
            sum(t.unknown_s for t in of_rule),
            sum(t.breach_s for t in of_rule),
        )


def told(events: Iterable[AlarmEvent]) -> list[str]:
    """Events in words, for tables: `raised helmet`, `cleared helmet unknown`."""
    return [f"{e.change} {e.instance.rule} {e.verdict}" for e in events]
