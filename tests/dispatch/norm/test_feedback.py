"""People outside are told between 08:30 and 17:00; what comes in the evening, before 10:00 the next day (II.D1.3)."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.dispatch.norm.calendar import SiteCalendar
from broker.dispatch.norm.feedback import Telling, feedback_at, feedback_due, overdue_before, telling, within_hours
from tests.dispatch.norm.builders import BERLIN, SHANGHAI, at, calendar, local, moments, zones


@pytest.mark.parametrize(
    ("ready", "zone", "told_from", "due"),
    [
        ("2026-06-01 08:29", SHANGHAI, "2026-06-01 08:30+08:00", "2026-06-01 10:00+08:00"),
        ("2026-06-01 08:30", SHANGHAI, "2026-06-01 08:30+08:00", "2026-06-02 10:00+08:00"),
        ("2026-06-01 12:00", SHANGHAI, "2026-06-01 12:00+08:00", "2026-06-02 10:00+08:00"),
        ("2026-06-01 16:59", SHANGHAI, "2026-06-01 16:59+08:00", "2026-06-02 10:00+08:00"),
        ("2026-06-01 17:00", SHANGHAI, "2026-06-02 08:30+08:00", "2026-06-02 10:00+08:00"),
        ("2026-06-01 23:59", SHANGHAI, "2026-06-02 08:30+08:00", "2026-06-02 10:00+08:00"),
        ("2026-06-02 00:00", SHANGHAI, "2026-06-02 08:30+08:00", "2026-06-02 10:00+08:00"),
        ("2026-12-31 20:00", SHANGHAI, "2027-01-01 08:30+08:00", "2027-01-01 10:00+08:00"),
        ("2028-02-28 18:00", SHANGHAI, "2028-02-29 08:30+08:00", "2028-02-29 10:00+08:00"),
        ("2028-02-29 18:00", SHANGHAI, "2028-03-01 08:30+08:00", "2028-03-01 10:00+08:00"),
        ("2026-03-28 18:00", BERLIN, "2026-03-29 08:30+02:00", "2026-03-29 10:00+02:00"),
        ("2026-10-24 18:00", BERLIN, "2026-10-25 08:30+01:00", "2026-10-25 10:00+01:00"),
        ("2026-10-25 02:30+01:00", BERLIN, "2026-10-25 08:30+01:00", "2026-10-25 10:00+01:00"),
    ],
)
def test_when_people_outside_are_told(ready: str, zone: str, told_from: str, due: str) -> None:
    site = SiteCalendar(zone)
    assert local(feedback_at(at(ready, zone), site), zone) == told_from
    assert local(feedback_due(at(ready, zone), site), zone) == due


@pytest.mark.parametrize(
    ("ready", "told_from"),
    [
        ("2026-10-01 12:00", "2026-10-01 12:00+08:00"),
        ("2026-09-30 18:00", "2026-10-01 08:30+08:00"),
        ("2026-10-03 18:00", "2026-10-04 08:30+08:00"),  # Saturday to Sunday
    ],
)
def test_holidays_and_weekends_delay_nobodys_answer(ready: str, told_from: str) -> None:
    site = calendar(off="2026-10-01 2026-10-02 2026-10-03 2026-10-05 2026-10-06 2026-10-07")
    assert local(feedback_at(at(ready), site)) == told_from


@given(zones.map(SiteCalendar), moments)
@example(SiteCalendar("Pacific/Apia"), at("2011-12-29 17:00", "Pacific/Apia"))
@example(SiteCalendar("Pacific/Apia"), at("2011-12-29 16:00", "Pacific/Apia"))
def test_never_before_it_is_ready_always_within_the_hours_and_before_it_is_due(
    site: SiteCalendar, ready: float
) -> None:
    told = feedback_at(ready, site)
    due = feedback_due(ready, site)
    minute = site.local(told).hour * 60 + site.local(told).minute
    assert ready <= told < due
    assert 8 * 60 + 30 <= minute < 17 * 60
    assert told - ready <= 16.5 * 3600
    assert due - ready <= 26.5 * 3600
    if told > ready:
        assert (site.local(told).hour, site.local(told).minute) == (8, 30)
        assert (site.local(due).date(), site.local(due).hour) == (site.local(told).date(), 10)


@given(zones.map(SiteCalendar), moments, st.floats(-4 * 86_400, 86_400))
@example(SiteCalendar("Pacific/Apia"), at("2011-12-31 05:00", "Pacific/Apia"), -31 * 3600.0)
def test_what_is_overdue_is_what_was_ready_before_a_moment(site: SiteCalendar, now: float, since: float) -> None:
    ready = now + since
    assert (ready < overdue_before(now, site)) == (feedback_due(ready, site) < now)


@pytest.mark.parametrize(
    ("now", "before"),
    [
        ("2026-06-02 10:00", "2026-06-01 08:30+08:00"),  # the last second is in time
        ("2026-06-02 10:01", "2026-06-02 08:30+08:00"),
        ("2026-06-03 09:59", "2026-06-02 08:30+08:00"),
    ],
)
def test_at_ten_the_answers_of_the_day_before_are_overdue(now: str, before: str) -> None:
    assert local(overdue_before(at(now), calendar())) == before


@pytest.mark.parametrize(
    ("ready", "now", "open", "from_", "due"),
    [
        ("2026-06-01 12:00", "2026-06-01 12:05", True, "2026-06-01 12:05+08:00", "2026-06-02 10:00+08:00"),
        ("2026-06-01 12:00", "2026-06-01 16:59", True, "2026-06-01 16:59+08:00", "2026-06-02 10:00+08:00"),
        ("2026-06-01 12:00", "2026-06-01 17:00", False, "2026-06-02 08:30+08:00", "2026-06-02 10:00+08:00"),
        ("2026-06-01 21:00", "2026-06-01 21:00", False, "2026-06-02 08:30+08:00", "2026-06-02 10:00+08:00"),
        ("2026-06-01 21:00", "2026-06-02 00:01", False, "2026-06-02 08:30+08:00", "2026-06-02 10:00+08:00"),
        ("2026-06-02 01:00", "2026-06-02 08:29", False, "2026-06-02 08:30+08:00", "2026-06-02 10:00+08:00"),
        ("2026-06-01 21:00", "2026-06-02 08:30", True, "2026-06-02 08:30+08:00", "2026-06-02 10:00+08:00"),
        ("2026-06-01 21:00", "2026-06-02 21:00", False, "2026-06-03 08:30+08:00", "2026-06-02 10:00+08:00"),  # overdue
        ("2026-09-30 21:00", "2026-09-30 21:00", False, "2026-10-01 08:30+08:00", "2026-10-01 10:00+08:00"),  # holiday
        ("2026-12-31 21:00", "2026-12-31 23:59", False, "2027-01-01 08:30+08:00", "2027-01-01 10:00+08:00"),
    ],
)
def test_who_wants_to_call_now_learns_when_they_may(ready: str, now: str, open: bool, from_: str, due: str) -> None:  # noqa: A002
    site = calendar(off="2026-10-01")
    found = telling(at(ready), at(now), site)
    assert (found.open, local(found.at), local(found.due)) == (open, from_, due)
    assert within_hours(at(now), site) is open


@given(zones.map(SiteCalendar), moments, st.floats(0, 3 * 86_400))
def test_they_may_be_told_now_or_later_never_before(site: SiteCalendar, ready: float, later: float) -> None:
    now = ready + later
    found = telling(ready, now, site)
    assert found == Telling(within_hours(now, site), feedback_at(now, site), feedback_due(ready, site))
    assert found.open == (found.at == now)
    assert within_hours(found.at, site)
