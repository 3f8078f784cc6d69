"""When a case that nobody has answered is told again, and the hours in which lesser ones wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from broker.dispatch.norm import NormError
from broker.dispatch.norm.calendar import SiteCalendar, check_minute

CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class QuietHours:
    """A stretch of every day, in minutes; `end` before `start`: past midnight. Raises NormError."""

    start: int
    end: int

    def __post_init__(self) -> None:
        check_minute(self.start, NormError.QUIET, "quiet hours: start")
        check_minute(self.end, NormError.QUIET, "quiet hours: end")
        if self.start == self.end:
            raise NormError(NormError.QUIET, "quiet hours start and end at the same minute; leave both empty for none")


def repeats(first_at: float, minutes: Sequence[int], answered_at: float | None) -> tuple[float, ...]:
    """When a case is told again: so many minutes after the first message each, until somebody answers.

    After the last one it is the chain's turn (`review.escalation`). Raises NormError where `minutes` do not rise.
    """
    if any(b <= a for a, b in pairwise([0, *minutes])):
        raise NormError(NormError.REPEAT, f"repeat {list(minutes)}: minutes must rise and start above 0, as 5, 15, 30")
    times = (first_at + 60.0 * minute for minute in minutes)
    return tuple(at for at in times if answered_at is None or at < answered_at)


def not_before(at: float, severity: str, quiet: QuietHours | None, calendar: SiteCalendar) -> float:
    """When a message of `at` may go out: at once, or when the quiet hours end. A critical one is never held back."""
    if quiet is None or severity == CRITICAL:
        return at
    for day in calendar.days_around(at):
        start, end = calendar.window(day, quiet.start, quiet.end)
        if start <= at < end:
            return end
    return at
