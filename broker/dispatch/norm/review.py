"""Review and assignment: within five minutes of receipt, else up the site's chain.

I.3.5: a report is reviewed and passed to whoever is responsible within 5 minutes. II.D1.2(1): whoever receives it first
owns it until it is closed. A case that was opened again is a report received again: its clock starts at the reopening
(II.D1.3(2): dissatisfaction is told to the superiors at once). `received_at` is therefore `Case.review_from`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from broker.dispatch.norm import NormError
from broker.dispatch.norm.calendar import GapReason, SiteCalendar

REVIEW_S = 300.0
"""Seconds from receipt within which a case is reviewed and assigned (I.3.5)."""


@dataclass(frozen=True, slots=True)
class Step:
    """A rung of the chain: whom a case that nobody has taken is told to, so many seconds after receipt.

    after_s: less than the five minutes that the norm gives counts as them (`due_s`).
    people: ids, in order; role: by which role they were found, None for a person named.
    """

    after_s: int
    people: tuple[str, ...]
    role: str | None = None

    def __post_init__(self) -> None:
        if self.after_s < 0:
            raise NormError(NormError.CHAIN, f"chain: a step {self.after_s} s after receipt; it cannot be before it")

    @property
    def due_s(self) -> float:
        return max(float(self.after_s), REVIEW_S)


class Found(StrEnum):
    """In which line somebody was found."""

    DUTY = "duty"
    CHAIN = "chain"
    NEXT_SHIFT = "next_shift"
    MEMBERS = "members"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class InLine:
    """Who gets a case first. `gap`: why it is not somebody on duty; to be told with the message and in the ledger."""

    people: tuple[str, ...]
    found: Found
    gap: GapReason | None


def in_line(calendar: SiteCalendar, chain: Sequence[Step], members: Sequence[str], at: float, rule: str) -> InLine:
    """Who is told of a case of `rule` at `at`: those on duty, else the next in line.

    Next in line are the first step of the chain with somebody in it (they answer for the site now), then the next shift
    that has somebody, then `members`, the ids of all who belong to the site. `nobody` only where there is no one.
    """
    if people := calendar.on_duty(at, rule):
        return InLine(people, Found.DUTY, None)
    gap = calendar.gap_at(at, rule)
    for step in sorted(chain, key=lambda s: s.after_s):
        if step.people:
            return InLine(step.people, Found.CHAIN, gap)
    for shift in calendar.upcoming(at):
        if people := calendar.people(shift, rule):
            return InLine(people, Found.NEXT_SHIFT, gap)
    return InLine(tuple(members), Found.MEMBERS if members else Found.NOBODY, gap)


def review_due(received_at: float) -> float:
    """By when a case is reviewed and assigned (I.3.5)."""
    return received_at + REVIEW_S


def escalation(received_at: float, steps: Sequence[Step], assigned_at: float | None) -> tuple[tuple[float, Step], ...]:
    """The steps of the chain and when each is due, in order; those due when somebody has taken it fall away.

    What is due and not recorded as told is told at once, so a worker that was down catches up and repeats nothing.
    """
    times = ((received_at + step.due_s, step) for step in sorted(steps, key=lambda s: s.after_s))
    return tuple((at, step) for at, step in times if assigned_at is None or at < assigned_at)


def review_excess(received_at: float, assigned_at: float | None, now: float) -> float:
    """Seconds by which review took, or so far takes, longer than allowed; 0 where it is in time."""
    return max(0.0, (now if assigned_at is None else assigned_at) - review_due(received_at))


def overdue(received_at: float, assigned_at: float | None, now: float) -> bool:
    """Whether a case still waits for somebody to take it after the five minutes."""
    return assigned_at is None and now > review_due(received_at)
