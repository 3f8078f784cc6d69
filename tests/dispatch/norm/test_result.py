"""A result, and the closing of what was answered, by the end of the shift (I.3.5, I.8.1)."""

from __future__ import annotations

from datetime import date, timedelta
from math import inf, nextafter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.dispatch.norm.calendar import Holiday, SiteCalendar
from broker.dispatch.norm.result import overdue_before, shift_end
from tests.dispatch.norm.builders import (
    BERLIN,
    DAY,
    MON_TO_FRI,
    NIGHT,
    SHANGHAI,
    at,
    calendar,
    calendars,
    local,
    moments,
    shift,
    shifts,
)

OFFICE = shift("office", "09:00-17:00", MON_TO_FRI, on_holidays=False)
EARLY, LATE = shift("early", "06:00-14:00"), shift("late", "12:00-20:00")
ROUND = shift("round the clock", "08:00-08:00")
FIRST = shift("first train", "00:00-04:00")


@pytest.mark.parametrize(
    ("site", "taken", "wanted_by"),
    [
        (calendar(DAY, NIGHT), "2026-06-01 08:00", "2026-06-01 20:00+08:00"),
        (calendar(DAY, NIGHT), "2026-06-01 19:59", "2026-06-01 20:00+08:00"),
        (calendar(DAY, NIGHT), "2026-06-01 20:00", "2026-06-02 08:00+08:00"),  # the next crew's
        (calendar(DAY, NIGHT), "2026-06-02 03:00", "2026-06-02 08:00+08:00"),  # over midnight
        (calendar(EARLY, LATE), "2026-06-01 13:00", "2026-06-01 20:00+08:00"),  # where they overlap, the last
        (calendar(EARLY, LATE), "2026-06-01 23:00", "2026-06-02 14:00+08:00"),  # nobody's shift: the next one's
        (calendar(ROUND), "2026-06-01 07:00", "2026-06-01 08:00+08:00"),
        (calendar(OFFICE), "2026-06-05 18:00", "2026-06-08 17:00+08:00"),  # Friday evening, Monday
        (calendar(OFFICE, off="2026-06-08"), "2026-06-05 18:00", "2026-06-09 17:00+08:00"),
        (calendar(OFFICE, worked="2026-06-06"), "2026-06-05 18:00", "2026-06-06 17:00+08:00"),
        (calendar(), "2026-06-01 10:00", "2026-06-02 10:00+08:00"),  # without shifts the 24 hours of a repair
        (calendar(DAY, NIGHT, zone=BERLIN), "2026-03-28 21:00", "2026-03-29 08:00+02:00"),
        (calendar(DAY, NIGHT, zone=BERLIN), "2026-10-24 21:00", "2026-10-25 08:00+01:00"),
    ],
)
def test_a_result_is_wanted_by_the_end_of_the_shift(site: SiteCalendar, taken: str, wanted_by: str) -> None:
    assert local(shift_end(at(taken, site.zone), site), site.zone) == wanted_by


@pytest.mark.parametrize(
    ("site", "now", "before"),
    [
        (calendar(DAY, NIGHT), "2026-06-01 20:00", "2026-06-01 08:00+08:00"),  # the last second is in time
        (calendar(DAY, NIGHT), "2026-06-01 20:01", "2026-06-01 20:00+08:00"),
        (
            calendar(EARLY, LATE),
            "2026-06-01 14:01",
            "2026-06-01 12:00+08:00",
        ),  # from then on it is the late shift's, too
        (calendar(EARLY, LATE), "2026-06-01 20:01", "2026-06-01 20:00+08:00"),
        (calendar(OFFICE, off="2026-06-08 2026-06-09"), "2026-06-09 12:00", "2026-06-05 17:00+08:00"),
        (calendar(NIGHT, FIRST), "2026-06-01 12:00", "2026-06-01 08:00+08:00"),  # yesterday's ended last
        (calendar(NIGHT, FIRST), "2026-06-01 06:00", "2026-05-31 08:00+08:00"),  # and has not yet
        (calendar(), "2026-06-02 10:00", "2026-06-01 10:00+08:00"),
    ],
)
def test_what_was_taken_before_a_moment_is_overdue(site: SiteCalendar, now: str, before: str) -> None:
    assert local(overdue_before(at(now), site), SHANGHAI) == before


@given(calendars, moments, st.floats(-12 * 86_400, 86_400))
def test_the_moment_parts_what_is_overdue_from_what_is_not(site: SiteCalendar, now: float, since: float) -> None:
    taken = now + since
    assert (taken < overdue_before(now, site)) == (shift_end(taken, site) < now)


around_the_change = st.sampled_from([date(2026, 3, 29), date(2026, 10, 25)]).flatmap(
    lambda day: st.builds(lambda n: day + timedelta(days=n), st.integers(-6, 3))
)
berlin = st.builds(
    SiteCalendar,
    zone=st.just(BERLIN),
    shifts=shifts.filter(lambda some: 1 <= len(some) <= 3),
    holidays=st.lists(
        st.builds(Holiday, day=around_the_change, working=st.booleans()), max_size=3, unique_by=lambda h: h.day
    ).map(tuple),
)


@given(berlin, around_the_change, st.integers(0, 24 * 60 - 1))
def test_it_is_the_last_edge_of_any_shift_before_which_all_is_over(site: SiteCalendar, day: date, minute: int) -> None:
    now = site.instant(day, minute)
    every = (s for back in range(-2, 30) for s in site.starting(day - timedelta(days=back)))
    edges = (edge for s in every for edge in (s.start, s.end) if edge <= now)
    over = max((edge for edge in edges if shift_end(nextafter(edge, -inf), site) < now), default=-inf)
    assert overdue_before(now, site) == over


@given(calendars, moments, st.floats(0, 12 * 86_400))
def test_who_takes_it_later_is_never_wanted_earlier(site: SiteCalendar, taken: float, later: float) -> None:
    assert taken < shift_end(taken, site) <= shift_end(taken + later, site)
