"""What one shift hands over to the next.

I.8.1 and II.H1.5: the hand-over is clear, and important matters are handed over by themselves. II.D1.2(4): they are
marked and followed. `report.py` reads the values and writes the report for people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from broker.dispatch.norm.calendar import GapReason, ShiftAt
from broker.dispatch.norm.repeat import CRITICAL
from broker.dispatch.norm.review import overdue, review_excess


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """A case as far as a hand-over needs it, at the shift's end.

    where: its place, or where it has none its source or node. owner: the name of who has it. review_from: receipt, or
    the last reopening, or when it was given back. over_at: closed or a false alarm, None while neither.
    """

    id: str
    rule: str
    where: str
    severity: str
    state: str
    alarm_state: str
    owner: str | None
    opened_at: float
    review_from: float
    assigned_at: float | None
    resolved_at: float | None
    answered_at: float | None
    over_at: float | None
    reopened_at: float | None = None
    false_alarm_reason: str | None = None
    result: str | None = None
    marked_important: bool = False
    unverified: bool = False
    late: bool = False

    @property
    def reopened(self) -> bool:
        return self.reopened_at is not None

    @property
    def important(self) -> bool:
        """Marked by a person, or critical: nobody should have to remember to mark those."""
        return self.marked_important or self.severity == CRITICAL

    @property
    def reviewed_at(self) -> float | None:
        """When somebody took it, or said of one that nobody had taken that it is false."""
        marked = self.over_at if self.false_alarm_reason is not None else None
        return marked if self.assigned_at is None else self.assigned_at


@dataclass(frozen=True, slots=True)
class SilentNode:
    """A node that is not heard of: nobody knows what holds where it watches."""

    id: str
    heard_at: float


@dataclass(frozen=True, slots=True)
class Crews:
    """Names of those who hand over and of those who take over. gap: why these are not the next shift's."""

    outgoing: tuple[str, ...] = ()
    incoming: tuple[str, ...] = ()
    gap: GapReason | None = None


@dataclass(frozen=True, slots=True)
class HandoverReport:
    """A shift's hand-over. A case may stand in more than one list; `open` holds all that are handed over.

    site: its name. important: of the open ones, to be gone through one by one. overdue: nobody took it within five
    minutes. no_result: somebody took it, and it has none yet. to_answer: it has a result, but whoever reported it is
    not told. to_close: it was answered, but is not closed. reopened, false_alarms: within the shift.
    reviewed_late: how many were reviewed within the shift, but after more than five minutes.
    """

    site: str
    zone: str
    shift: ShiftAt
    crews: Crews
    received: int
    closed: int
    reviewed_late: int
    important: tuple[CaseFacts, ...]
    open: tuple[CaseFacts, ...]
    overdue: tuple[CaseFacts, ...]
    no_result: tuple[CaseFacts, ...]
    to_answer: tuple[CaseFacts, ...]
    to_close: tuple[CaseFacts, ...]
    reopened: tuple[CaseFacts, ...]
    false_alarms: tuple[CaseFacts, ...]
    unverified: tuple[CaseFacts, ...]
    silent_nodes: tuple[SilentNode, ...]


def hand_over(
    shift: ShiftAt,
    cases: Iterable[CaseFacts],
    silent: Iterable[SilentNode],
    crews: Crews,
    *,
    site: str,
    zone: str,
    now: float,
) -> HandoverReport:
    """The report of a shift from all cases that were not over at its start, or received since. Oldest first.

    now: before the shift's end the report is as of now, later it is as of the end.
    """
    until = min(now, shift.end)
    known = sorted((c for c in cases if c.opened_at < shift.end), key=lambda c: (c.review_from, c.id))

    def within(at: float | None) -> bool:
        return at is not None and shift.start <= at < shift.end

    def those(test: Callable[[CaseFacts], bool]) -> tuple[CaseFacts, ...]:
        return tuple(c for c in known if test(c))

    def is_open(c: CaseFacts) -> bool:
        return c.over_at is None or c.over_at >= shift.end

    return HandoverReport(
        site=site,
        zone=zone,
        shift=shift,
        crews=crews,
        received=len(those(lambda c: within(c.opened_at))),
        closed=len(those(lambda c: within(c.over_at) and c.false_alarm_reason is None)),
        reviewed_late=len(
            those(lambda c: within(c.reviewed_at) and review_excess(c.review_from, c.reviewed_at, until) > 0)
        ),
        important=those(lambda c: is_open(c) and c.important),
        open=those(is_open),
        overdue=those(lambda c: is_open(c) and overdue(c.review_from, c.assigned_at, until)),
        no_result=those(lambda c: is_open(c) and c.assigned_at is not None and c.resolved_at is None),
        to_close=those(lambda c: is_open(c) and c.answered_at is not None),
        to_answer=those(lambda c: is_open(c) and c.resolved_at is not None and c.answered_at is None),
        reopened=those(lambda c: within(c.reopened_at)),
        false_alarms=those(lambda c: within(c.over_at) and c.false_alarm_reason is not None),
        unverified=those(lambda c: is_open(c) and c.unverified),
        silent_nodes=tuple(sorted(silent, key=lambda n: (n.heard_at, n.id))),
    )
