"""By when what somebody has taken is to have a result, and what was answered is to be closed.

I.3.5 and II.H1.4: each report gets a result, each an answer; I.8.1 and II.H1.5: a shift hands over clearly. No clause
says how soon a result comes of a report that no job hangs on. So it is looked for where the crew that took it goes: at
the end of that shift. Where a site has no shifts, after the 24 hours that II.P4.3 gives a small repair.
"""

from __future__ import annotations

from datetime import timedelta
from math import inf, nextafter

from broker.dispatch.norm.calendar import SiteCalendar

WITHOUT_SHIFTS_S = 24 * 3600.0
_DAY = timedelta(days=1)
_WEEK = timedelta(days=9)
"""Every shift runs within it, holidays aside."""


def shift_end(at: float, calendar: SiteCalendar) -> float:
    """The end of the shift that runs at `at`, of several the last; between shifts that of the next one. Never falls as
    `at` rises."""
    running = calendar.running(at)
    if not running:
        following = next(calendar.upcoming(at), None)
        if following is None:
            return at + WITHOUT_SHIFTS_S
        running = calendar.running(following.start)
    return max(shift.end for shift in running)


def overdue_before(now: float, calendar: SiteCalendar) -> float:
    """What was taken, or answered, before this and is still so is overdue: `shift_end` of it is over.

    For questions to a database, where each case's own time cannot be asked for.
    """
    if not calendar.shifts:
        return now - WITHOUT_SHIFTS_S
    today = calendar.local(now).date()
    first = min([today, *(holiday.day for holiday in calendar.holidays)]) - _WEEK
    best = -inf
    day = today + _DAY
    while day >= first:
        # A shift of the day before may end after those of this day began.
        edges = [edge for d in (day, day - _DAY) for s in calendar.starting(d) for edge in (s.start, s.end)]
        over = [edge for edge in edges if edge <= now and shift_end(nextafter(edge, -inf), calendar) < now]
        if best > -inf:
            return max([best, *over])
        if over:  # one more day: a shift that began on it may end later than what was found
            best = max(over)
        day -= _DAY
    return best
