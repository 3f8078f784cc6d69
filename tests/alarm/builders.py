"""Builders for looks at rule instances."""

from __future__ import annotations

from collections.abc import Iterable

from edge.alarm.book import AlarmBook
from edge.alarm.terms import Terms
from edge.clock import ManualClock
from edge.rules import CAMERA
from edge.values import AlarmEvent, Finding, Instance, Judgement, Reason, Severity, Verdict

PERSON = Terms("person", ("I.6.1",), Severity.WARNING, 1.0, 3, 30.0, 300.0, 2.0)
INTRUSION = Terms("person", ("I.6.3",), Severity.CRITICAL, 1.0, 3, 30.0, 300.0, 2.0, empty_is_ok=True)
FIXTURE = Terms("fixture", ("I.6.3",), Severity.WARNING, 60.0, 3, 60.0, 300.0, 15.0)
TERMS = {"helmet": PERSON, "hi_vis": PERSON, "intrusion": INTRUSION, "barrier": FIXTURE}

HELMET = Instance("gate", "trench", "helmet")
HI_VIS = Instance("gate", "trench", "hi_vis")
NO_ENTRY = Instance("gate", "pit", "intrusion")
FENCE = Instance("gate", "north-fence", "barrier")

OK, BAD, DIM = Verdict.OK, Verdict.VIOLATION, Verdict.UNKNOWN
_REASON = {OK: Reason.SEEN, BAD: Reason.BARE, DIM: Reason.TOO_SMALL}
LETTERS = {"o": OK, "V": BAD, "u": DIM}


def judgement(verdict: Verdict, subject: str = "person:1", confidence: float = 0.8) -> Judgement:
    return Judgement(subject, verdict, _REASON[verdict], confidence)


def blind(subject: str = CAMERA) -> Judgement:
    """What a camera that sees nothing adds: about people one for the whole place, else one about the fixture."""
    return Judgement(subject, DIM, Reason.CAMERA_BLIND)


class Watcher:
    """Plays looks into an alarm book at a fixed rate and keeps the events."""

    def __init__(self, book: AlarmBook | None = None, clock: ManualClock | None = None) -> None:
        self.book = book or AlarmBook(TERMS)
        self.clock = clock or ManualClock()
        self.events: list[AlarmEvent] = []

    def see(self, instance: Instance, *judgements: Judgement, dt: float = 0.2) -> list[AlarmEvent]:
        stamp = self.clock.advance(dt)
        events = self.book.look(Finding(instance, stamp, judgements))
        self.events += events
        return events

    def play(self, instance: Instance, looks: str, dt: float = 0.2) -> list[AlarmEvent]:
        """One letter a look: o ok, V violation, u unknown, `-` nobody there, `.` no look at all."""
        events: list[AlarmEvent] = []
        for letter in looks:
            if letter == ".":
                self.clock.advance(dt)
            elif letter == "-":
                events += self.see(instance, dt=dt)
            else:
                events += self.see(instance, judgement(LETTERS[letter]), dt=dt)
        return events

    def crowd(self, instance: Instance, verdicts: Iterable[Verdict], looks: int, dt: float = 0.2) -> list[AlarmEvent]:
        people = [judgement(v, f"person:{n}") for n, v in enumerate(verdicts)]
        return [e for _ in range(looks) for e in self.see(instance, *people, dt=dt)]
