"""The node judges itself: too hot, a weak supply, a disk that is full or cannot be written are alarms like any other.

Source `node`, place what ails it, rule `node_health`, which no site file can switch off. That a node is silent, only
dispatch can tell. What this computer cannot measure is not judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edge.alarm.book import AlarmBook
from edge.alarm.terms import Terms
from edge.clock import Stamp
from edge.health import Machine
from edge.values import AlarmEvent, Finding, Instance, Judgement, Reason, Severity, Verdict

SOURCE, RULE = "node", "node_health"
EVERY_S = 10.0
TERMS = Terms(
    subject="fixture",
    clauses=(),
    severity=Severity.WARNING,
    confirm_s=2 * EVERY_S,
    min_looks=3,
    clear_s=120.0,
    quiet_s=3600.0,
    gap_s=6 * EVERY_S,
)
"""A moment of sun is no alarm, nor is it over with a cloud."""


def ailing(event: AlarmEvent) -> bool:
    """Whether an alarm is of this kind."""
    return event.instance.rule == RULE


class SelfWatch:
    """restored: open alarms of the journal; others than its own are passed over."""

    def __init__(self, restored: Iterable[AlarmEvent] = ()) -> None:
        self._book = AlarmBook({RULE: TERMS}, filter(ailing, restored))

    def begin(self, stamp: Stamp) -> list[AlarmEvent]:
        """What the start itself has to tell: restored alarms are unverified."""
        return self._book.restart(stamp)

    def look(self, machine: Machine, *, written: bool, stamp: Stamp) -> list[AlarmEvent]:
        """Judge the machine, every `EVERY_S`. written: whether the journal can be. Gives the events that follow."""
        events: list[AlarmEvent] = []
        for place, reason in _ailments(machine, written=written):
            verdict = Verdict.OK if reason is Reason.IN_ORDER else Verdict.VIOLATION
            judgement = Judgement(place, verdict, reason, confidence=1.0)
            events += self._book.look(Finding(Instance(SOURCE, place, RULE), stamp, (judgement,)))
        return events


def _ailments(machine: Machine, *, written: bool) -> Iterator[tuple[str, Reason]]:
    if machine.heat is not None:
        yield "heat", Reason.TOO_HOT if machine.heat == "too_hot" else Reason.IN_ORDER
    if machine.power is not None:
        yield "power", Reason.WEAK_POWER if machine.power == "weak" else Reason.IN_ORDER
    if machine.disk is not None:
        full = Reason.DISK_FULL if machine.disk == "full" else Reason.IN_ORDER
        yield "disk", full if written else Reason.DISK_FAILS
