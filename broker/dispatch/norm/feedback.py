"""When somebody outside, who reported something, may be called back.

II.D1.3(1) and II.D2.1(3)⑧: between 08:30 and 17:00; what came up in the evening, before 10:00 the next day.

Holidays change nothing. The clauses speak of the next day, not of the next working day, the post is manned every day
(II.H1.5), and an answer that waits through a week of holidays would break the promise that every report gets one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import inf, nextafter

from broker.dispatch.norm.calendar import SiteCalendar

OPENS = 8 * 60 + 30
CLOSES = 17 * 60
EVENING_DUE = 10 * 60


def feedback_at(ready_at: float, calendar: SiteCalendar) -> float:
    """The first moment from `ready_at` on at which somebody outside may be told."""
    return next(
        max(ready_at, opens)
        for day in (*calendar.days_around(ready_at), calendar.local(ready_at).date() + timedelta(days=2))
        for opens, closes in [calendar.window(day, OPENS, CLOSES)]
        if max(ready_at, opens) < closes
    )


def feedback_due(ready_at: float, calendar: SiteCalendar) -> float:
    """By when they are to be told.

    Of an evening or a night: 10:00 on the day whose hours come next. The clauses set no limit for what is ready within
    the hours; what is then not told by 17:00 has become one of the evening, so it is due at 10:00 the next day.
    """
    at = feedback_at(ready_at, calendar)
    day = calendar.local(at).date()
    return calendar.instant(day if at > ready_at else day + timedelta(days=1), EVENING_DUE)


@dataclass(frozen=True, slots=True)
class Telling:
    """How it stands with telling somebody outside. open: they may be told now. at: the first moment from now on at
    which they may. due: by when they are to be told."""

    open: bool
    at: float
    due: float


def telling(ready_at: float, now: float, calendar: SiteCalendar) -> Telling:
    """For who wants to call now about something that was ready at `ready_at`."""
    return Telling(within_hours(now, calendar), feedback_at(now, calendar), feedback_due(ready_at, calendar))


def within_hours(at: float, calendar: SiteCalendar) -> bool:
    """Whether somebody outside may be told at `at`."""
    return feedback_at(at, calendar) <= at


def overdue_before(now: float, calendar: SiteCalendar) -> float:
    """What was ready before this, and is not told by now, is overdue: `feedback_due` of it is over.

    For questions to a database, where each case's own time cannot be asked for.
    """
    today = calendar.local(now).date()
    edges = [edge for back in range(-1, 5) for edge in calendar.window(today - timedelta(days=back), OPENS, CLOSES)]
    return max(edge for edge in edges if feedback_due(nextafter(edge, -inf), calendar) < now)
