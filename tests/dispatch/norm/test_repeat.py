"""Telling again by a list of minutes; quiet hours that never hold back what is critical."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.dispatch.norm import NormError
from broker.dispatch.norm.calendar import SiteCalendar
from broker.dispatch.norm.repeat import QuietHours, not_before, repeats
from tests.dispatch.norm.builders import BERLIN, SHANGHAI, at, local, minutes, moments, zones

NIGHT = QuietHours(22 * 60, 6 * 60)
NOON = QuietHours(12 * 60, 14 * 60)
TWO_TO_THREE = QuietHours(2 * 60, 3 * 60)


@pytest.mark.parametrize(
    ("schedule", "answered_after_min", "told_after_min"),
    [
        ([5, 15, 30, 60], None, [5, 15, 30, 60]),
        ([5, 15, 30, 60], 4, []),
        ([5, 15, 30, 60], 15, [5]),  # answered at that very moment: not told again
        ([5, 15, 30, 60], 31, [5, 15, 30]),
        ([1], None, [1]),
        ([], None, []),
    ],
)
def test_told_again_until_somebody_answers(
    schedule: list[int], answered_after_min: int | None, told_after_min: list[int]
) -> None:
    first = at("2026-06-01 23:50")
    answered = None if answered_after_min is None else first + 60 * answered_after_min
    assert repeats(first, schedule, answered) == tuple(first + 60 * m for m in told_after_min)


@pytest.mark.parametrize("schedule", [[0], [-5], [5, 5], [15, 5]])
def test_minutes_that_do_not_rise_are_refused(schedule: list[int]) -> None:
    with pytest.raises(NormError, match=r"minutes must rise and start above 0, as 5, 15, 30"):
        repeats(0.0, schedule, None)


@pytest.mark.parametrize(
    ("quiet", "moment", "zone", "goes_out"),
    [
        (NIGHT, "2026-06-01 21:59", SHANGHAI, "2026-06-01 21:59+08:00"),
        (NIGHT, "2026-06-01 22:00", SHANGHAI, "2026-06-02 06:00+08:00"),
        (NIGHT, "2026-06-02 00:00", SHANGHAI, "2026-06-02 06:00+08:00"),
        (NIGHT, "2026-06-02 05:59", SHANGHAI, "2026-06-02 06:00+08:00"),
        (NIGHT, "2026-06-02 06:00", SHANGHAI, "2026-06-02 06:00+08:00"),
        (NIGHT, "2028-02-28 23:00", SHANGHAI, "2028-02-29 06:00+08:00"),
        (NOON, "2026-06-01 13:00", SHANGHAI, "2026-06-01 14:00+08:00"),
        (NOON, "2026-06-01 23:00", SHANGHAI, "2026-06-01 23:00+08:00"),
        (NIGHT, "2026-03-28 23:00", BERLIN, "2026-03-29 06:00+02:00"),  # an hour shorter
        (NIGHT, "2026-10-24 23:00", BERLIN, "2026-10-25 06:00+01:00"),  # an hour longer
        (TWO_TO_THREE, "2026-03-29 03:00", BERLIN, "2026-03-29 03:00+02:00"),  # the hour is skipped: nothing is held
        (TWO_TO_THREE, "2026-10-25 02:30+02:00", BERLIN, "2026-10-25 03:00+01:00"),  # it comes twice: quiet both times
        (TWO_TO_THREE, "2026-10-25 02:30+01:00", BERLIN, "2026-10-25 03:00+01:00"),
        (None, "2026-06-02 03:00", SHANGHAI, "2026-06-02 03:00+08:00"),
    ],
)
def test_lesser_ones_wait_for_the_end_of_the_quiet_hours(
    quiet: QuietHours | None, moment: str, zone: str, goes_out: str
) -> None:
    site = SiteCalendar(zone)
    assert local(not_before(at(moment, zone), "warning", quiet, site), zone) == goes_out
    assert not_before(at(moment, zone), "critical", quiet, site) == at(moment, zone)


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [(60, 60, "at the same minute; leave both empty"), (-1, 60, "start is -1"), (0, 1440, "end is 1440")],
)
def test_quiet_hours_that_make_no_sense_are_refused(start: int, end: int, words: str) -> None:
    with pytest.raises(NormError, match=words):
        QuietHours(start, end)


quiets = st.tuples(minutes, minutes).filter(lambda m: m[0] != m[1]).map(lambda m: QuietHours(*m))


@given(zones.map(SiteCalendar), moments, quiets)
def test_what_waits_goes_out_when_it_is_no_longer_quiet_and_within_a_day(
    site: SiteCalendar, now: float, quiet: QuietHours
) -> None:
    out = not_before(now, "warning", quiet, site)
    assert now <= out <= now + 25.5 * 3600
    assert not_before(out, "info", quiet, site) == out
    assert not_before(now, "critical", quiet, site) == now


@given(moments, st.lists(st.integers(1, 5000), max_size=8, unique=True).map(sorted), st.floats(0, 4e5))
def test_repeats_rise_and_end_with_the_answer(first: float, schedule: list[int], answered_after: float) -> None:
    told = repeats(first, schedule, first + answered_after)
    assert list(told) == sorted(set(told))
    assert all(first < moment < first + answered_after for moment in told)
    assert told == repeats(first, schedule, None)[: len(told)]
