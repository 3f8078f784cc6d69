"""A post: one camera watched over time. Its way through the node, its alarms, its seconds, on its own time.

The time of a post is that of its frames: the clock's for a camera, media time for a clip that is judged faster than it
plays. Everything here belongs to the judging thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edge.alarm.book import AlarmBook
from edge.alarm.tally import Tallies
from edge.alarm.terms import Terms
from edge.clock import Stamp
from edge.line import CameraLine, Looked
from edge.values import AlarmEvent, Detections, EvidenceRef, Finding, Frame, Instance, PlaceState, Reason, Tally


class Post:
    """restored: this camera's open alarms as the journal has them; they stand as unknown until judged again."""

    def __init__(self, line: CameraLine, terms: Mapping[str, Terms], restored: Iterable[AlarmEvent] = ()) -> None:
        self.line = line
        self._book = AlarmBook(terms, restored)
        self._tallies = Tallies()

    def begin(self, stamp: Stamp) -> list[AlarmEvent]:
        """What the start itself has to tell: restored alarms are unverified, and some places are gone."""
        return self._book.keep_only(self.line.instances, stamp) + self._book.restart(stamp)

    def judge(self, frame: Frame, seen: Detections) -> tuple[Looked, list[AlarmEvent]]:
        """Judge one frame by what the detector saw in it. Also gives the alarm events that follow, oldest first."""
        looked = self.line.judge(frame, seen)
        return looked, self._settle(looked.findings, looked.ended, frame.stamp)

    def blind(self, stamp: Stamp, reason: Reason = Reason.CAMERA_BLIND) -> list[AlarmEvent]:
        """Nothing can be judged now: the camera shows nothing, or, with another reason, the detector failed."""
        findings, ended = self.line.blind(stamp, reason)
        return self._settle(findings, ended, stamp)

    def _settle(self, findings: Iterable[Finding], ended: Iterable[Instance], stamp: Stamp) -> list[AlarmEvent]:
        events = [e for finding in findings for e in self._book.look(finding)]
        return events + [e for instance in ended for e in self._book.stand_down(instance, stamp)]

    def tick(self, stamp: Stamp) -> tuple[Tally, ...]:
        """Count the seconds since the last tick; gives them away."""
        self._tallies.tick(stamp, self._book.verdicts(stamp))
        return self._tallies.take()

    def renew(self, line: CameraLine, terms: Mapping[str, Terms], stamp: Stamp) -> list[AlarmEvent]:
        """Go on with a new site file. Returns the ends of alarms at places that are no longer watched."""
        line.go_on_from(self.line)
        self.line = line
        gone = self._book.keep_only(line.instances, stamp)
        self._book.on_terms(terms)
        return gone

    def close(self, stamp: Stamp) -> list[AlarmEvent]:
        """The camera is not watched any more: its alarms end, and nobody knows how."""
        return self._book.keep_only((), stamp)

    def attach(self, event: AlarmEvent, ref: EvidenceRef) -> AlarmEvent:
        return self._book.attach(event, (ref,))

    def states(self, stamp: Stamp) -> tuple[PlaceState, ...]:
        """Every rule instance of this camera, also those that nobody was seen at yet."""
        known = {s.instance: s for s in self._book.places(stamp)}
        rests = self.line.resting
        return tuple(known.get(i, PlaceState(i, None, None, rest=rests.get(i))) for i in self.line.instances)
