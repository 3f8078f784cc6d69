"""Who is on shift when: across midnight, changed clocks, holidays, exchanged days; nobody is nobody silently."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from broker.dispatch.norm import NormError
from broker.dispatch.norm.calendar import Duty, GapReason, Holiday, Shift, SiteCalendar
from tests.dispatch.norm.builders import (
    BERLIN,
    DAY,
    MON_TO_FRI,
    NIGHT,
    SHANGHAI,
    WEEKEND,
    at,
    calendar,
    calendars,
    local,
    minutes,
    moments,
    shift,
    zones,
)

ROUND_THE_CLOCK = (shift("early", "06:00-14:00"), shift("late", "14:00-22:00"), shift("night", "22:00-06:00"))


@pytest.mark.parametrize(
    ("moment", "name", "day"),
    [
        ("2026-06-01 05:59", "night", "2026-05-31"),  # past midnight it is still the night of the day before
        ("2026-06-01 06:00", "early", "2026-06-01"),
        ("2026-06-01 13:59", "early", "2026-06-01"),
        ("2026-06-01 14:00", "late", "2026-06-01"),
        ("2026-06-01 22:00", "night", "2026-06-01"),
        ("2026-06-02 00:00", "night", "2026-06-01"),
        ("2028-02-29 00:30", "night", "2028-02-28"),  # leap day
        ("2028-02-29 23:30", "night", "2028-02-29"),
        ("2028-03-01 05:59", "night", "2028-02-29"),
        ("2027-01-01 00:00", "night", "2026-12-31"),
    ],
)
def test_the_shift_in_charge(moment: str, name: str, day: str) -> None:
    running = calendar(*ROUND_THE_CLOCK).shift_at(at(moment))
    assert running is not None
    assert (running.shift.name, running.day.isoformat()) == (name, day)
    assert running.start <= at(moment) < running.end


@pytest.mark.parametrize(
    ("start", "hours", "begins", "ends", "length_h"),
    [
        # 29 March 2026: 02:00 becomes 03:00. 25 October 2026: 03:00 becomes 02:00.
        ("2026-03-28", "22:00-06:00", "2026-03-28 22:00+01:00", "2026-03-29 06:00+02:00", 7.0),
        ("2026-10-24", "22:00-06:00", "2026-10-24 22:00+02:00", "2026-10-25 06:00+01:00", 9.0),
        ("2026-03-29", "02:30-10:00", "2026-03-29 03:00+02:00", "2026-03-29 10:00+02:00", 7.0),  # starts when skipped
        ("2026-03-28", "18:00-02:30", "2026-03-28 18:00+01:00", "2026-03-29 03:00+02:00", 8.0),  # ends when skipped
        ("2026-10-25", "02:30-10:00", "2026-10-25 02:30+02:00", "2026-10-25 10:00+01:00", 8.5),  # starts at the first
        ("2026-10-24", "18:00-02:30", "2026-10-24 18:00+02:00", "2026-10-25 02:30+02:00", 8.5),  # ends at the first
        ("2026-03-29", "08:00-08:00", "2026-03-29 08:00+02:00", "2026-03-30 08:00+02:00", 24.0),
        ("2026-03-28", "08:00-08:00", "2026-03-28 08:00+01:00", "2026-03-29 08:00+02:00", 23.0),
    ],
)
def test_a_shift_while_clocks_change(start: str, hours: str, begins: str, ends: str, length_h: float) -> None:
    (found,) = calendar(shift("s", hours), zone=BERLIN).starting(date.fromisoformat(start))
    assert (local(found.start, BERLIN), local(found.end, BERLIN)) == (begins, ends)
    assert found.end - found.start == length_h * 3600


@pytest.mark.parametrize("day", ["2026-03-28", "2026-10-24"])
@pytest.mark.parametrize("meet", ["02:00", "02:30", "03:00", "00:00", "23:59"])
def test_shifts_that_meet_neither_overlap_nor_leave_a_gap_when_clocks_change(day: str, meet: str) -> None:
    site = calendar(shift("a", f"{meet}-12:00"), shift("b", f"12:00-{meet}"), zone=BERLIN)
    first = at(f"{day} 12:00", BERLIN)
    for quarter in range(200):
        assert len(site.running(first + 900 * quarter)) == 1


def test_a_shift_that_the_clocks_skip_whole_is_none() -> None:
    site = calendar(shift("short", "02:10-02:50"), zone=BERLIN)
    assert site.starting(date(2026, 3, 29)) == []
    assert local(site.next_boundary(at("2026-03-28 12:00", BERLIN)), BERLIN) == "2026-03-30 02:10+02:00"


def test_of_a_day_that_was_left_out_only_what_reaches_into_the_next_is_left() -> None:
    site = calendar(DAY, NIGHT, zone="Pacific/Apia")  # the midnight after 29 December 2011 was that of the 31st
    (night,) = site.starting(date(2011, 12, 30))
    assert (local(night.start, site.zone), local(night.end, site.zone)) == (
        "2011-12-31 00:00+14:00",
        "2011-12-31 08:00+14:00",
    )
    assert site.shift_at(night.start - 1) == site.starting(date(2011, 12, 29))[1]


WORKDAYS = shift("works", "08:00-16:00", MON_TO_FRI, on_holidays=False)
GUARD = shift("guard", "16:00-08:00")
CREW_OF_SATURDAY = shift("saturday", "08:00-16:00", 0b0100000)


@pytest.mark.parametrize(
    ("day", "who"),
    [
        ("2026-09-30", "works guard"),  # Wednesday
        ("2026-10-01", "guard"),  # National Day, a Thursday
        ("2026-10-03", "guard saturday"),  # a Saturday among the holidays: that crew works on holidays
        ("2026-10-08", "works guard"),
        ("2026-10-10", "works guard"),  # a Saturday worked in exchange: as the Friday, not as a Saturday
        ("2026-09-20", "works guard"),  # a Sunday worked in exchange: as the Monday
        ("2026-10-11", "guard"),  # a Sunday as any
        ("2026-10-17", "guard saturday"),
        ("2026-10-14", "works guard"),  # marked as worked, though a weekday: nothing changes
    ],
)
def test_holidays_and_exchanged_days(day: str, who: str) -> None:
    site = calendar(
        WORKDAYS,
        GUARD,
        CREW_OF_SATURDAY,
        off="2026-10-01 2026-10-02 2026-10-03 2026-10-05 2026-10-06 2026-10-07",
        worked="2026-09-20 2026-10-10 2026-10-14",
    )
    assert {s.shift.name for s in site.starting(date.fromisoformat(day))} == set(who.split())


@pytest.mark.parametrize(("worked", "like"), [("2026-10-10", 4), ("2026-09-20", 0)])
def test_a_worked_saturday_is_as_the_friday_and_a_worked_sunday_as_the_monday(worked: str, like: int) -> None:
    site = calendar(*(shift(str(weekday), "08:00-16:00", 1 << weekday) for weekday in range(7)), worked=worked)
    assert [s.shift.name for s in site.starting(date.fromisoformat(worked))] == [str(like)]


def test_a_night_before_a_holiday_lasts_into_it() -> None:
    site = calendar(shift("night", "20:00-08:00", on_holidays=False), off="2026-10-01")
    assert site.shift_at(at("2026-10-01 07:59")) is not None
    assert site.shift_at(at("2026-10-01 20:00")) is None
    assert local(site.next_boundary(at("2026-10-01 08:00"))) == "2026-10-02 20:00+08:00"


def test_where_shifts_overlap_the_one_begun_last_has_taken_over_and_the_other_still_counts() -> None:
    site = calendar(
        shift("old", "08:00-16:30"), shift("new", "16:00-00:00"), duties=(Duty("old", "li"), Duty("new", "wang"))
    )
    assert site.on_duty(at("2026-06-01 15:59"), "helmet") == ("li",)
    assert site.on_duty(at("2026-06-01 16:10"), "helmet") == ("wang", "li")
    assert site.on_duty(at("2026-06-01 16:30"), "helmet") == ("wang",)


DUTIES = (
    Duty("day", "li", position=0, to_day=date(2026, 6, 30)),
    Duty("day", "chen", position=0, from_day=date(2026, 7, 1)),
    Duty("day", "zhao", position=1),
    Duty("day", "gas-man", rule="gas", position=0),
    Duty("night", "wang", from_day=date(2026, 6, 1), to_day=date(2026, 6, 1)),
    Duty("night", "sun", rule="gas", position=5),
    Duty("night", "wang", rule="gas", position=9),
)


@pytest.mark.parametrize(
    ("moment", "rule", "people", "gap"),
    [
        ("2026-06-01 12:00", "helmet", "li zhao", None),
        ("2026-06-01 12:00", "gas", "gas-man li zhao", None),  # at the same position the one named for the rule leads
        ("2026-06-30 19:59", "helmet", "li zhao", None),
        ("2026-07-01 08:00", "helmet", "chen zhao", None),
        ("2026-06-01 23:00", "helmet", "wang", None),
        ("2026-06-02 07:59", "helmet", "wang", None),  # the last day of a duty lasts until its shift ends
        ("2026-06-02 07:59", "gas", "wang sun", None),  # nobody stands twice
        ("2026-06-02 20:00", "helmet", "", GapReason.NOBODY_ON_SHIFT),
        ("2026-06-02 20:00", "gas", "sun wang", None),
    ],
)
def test_who_is_on_duty_in_which_order(moment: str, rule: str, people: str, gap: GapReason | None) -> None:
    site = calendar(DAY, NIGHT, duties=DUTIES)
    assert site.on_duty(at(moment), rule) == tuple(people.split())
    assert site.gap_at(at(moment), rule) == gap


def test_gaps_of_a_week_are_named() -> None:
    site = calendar(
        shift("day", "08:00-20:00", MON_TO_FRI),
        shift("weekend", "08:00-20:00", WEEKEND),
        NIGHT,
        duties=(Duty("day", "li"), Duty("night", "wang", to_day=date(2026, 6, 5)), Duty("weekend", "sun", rule="gas")),
    )
    found = site.gaps(at("2026-06-01 00:00"), at("2026-06-08 12:00"))
    assert [(local(g.start), local(g.end), g.reason) for g in found] == [
        ("2026-06-06 08:00+08:00", "2026-06-08 08:00+08:00", GapReason.NOBODY_ON_SHIFT)
    ]


def test_gaps_between_shifts_are_named_and_cut_at_the_ends_of_the_question() -> None:
    site = calendar(shift("day", "08:00-20:00"), duties=(Duty("day", "li"),))
    found = site.gaps(at("2026-06-01 06:00"), at("2026-06-02 07:00"))
    assert [(local(g.start), local(g.end), g.reason) for g in found] == [
        ("2026-06-01 06:00+08:00", "2026-06-01 08:00+08:00", GapReason.NO_SHIFT),
        ("2026-06-01 20:00+08:00", "2026-06-02 07:00+08:00", GapReason.NO_SHIFT),
    ]
    assert calendar().gaps(0.0, 100.0)[0].reason == GapReason.NO_SHIFT


@pytest.mark.parametrize(
    ("moment", "boundary", "ending"),
    [
        ("2026-06-01 07:59", "2026-06-01 08:00+08:00", "noon"),
        ("2026-06-01 08:00", "2026-06-01 11:00+08:00", "noon"),
        ("2026-06-01 11:30", "2026-06-01 12:00+08:00", "noon"),
        ("2026-06-01 12:00", "2026-06-01 16:00+08:00", "early middle"),  # both end then: two hand-overs
        ("2026-06-01 16:00", "2026-06-02 06:00+08:00", "noon"),
    ],
)
def test_what_comes_next(moment: str, boundary: str, ending: str) -> None:
    site = calendar(shift("early", "06:00-16:00"), shift("middle", "08:00-16:00"), shift("noon", "11:00-12:00"))
    assert local(site.next_boundary(at(moment))) == boundary
    assert [s.shift.name for s in site.next_ending(at(moment))] == ending.split()


def test_nothing_ever_comes_where_there_are_no_shifts() -> None:
    assert calendar().next_boundary(0.0) is None
    assert calendar().next_ending(0.0) == ()


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: SiteCalendar("Mars/Olympus"), "time zone 'Mars/Olympus' is not known; write it as Asia/Shanghai"),
        (lambda: SiteCalendar("Asia"), "time zone 'Asia' is not known"),
        (lambda: SiteCalendar("../etc/passwd"), "is not known"),
        (lambda: SiteCalendar(""), "is not known"),
        (lambda: Shift("d", "day", 1440, 0), "shift 'day': start is 1440; a time of day is 0 to 1439"),
        (lambda: Shift("d", "day", 0, -1), "shift 'day': end is -1"),
        (lambda: Shift("d", "day", 0, 60, weekdays=0), "it runs on no weekday"),
        (lambda: Shift("d", "day", 0, 60, weekdays=128), "it runs on no weekday"),
        (lambda: calendar(DAY, DAY), "two shifts have the same id"),
        (lambda: calendar(duties=(Duty("gone", "li"),)), "shifts that the site does not have: gone"),
        (lambda: calendar(off="2026-10-01", worked="2026-10-01"), "a day stands twice"),
        (lambda: Duty("d", "li", from_day=date(2026, 2, 2), to_day=date(2026, 2, 1)), "2026-02-01 is before the first"),
    ],
)
def test_what_makes_no_sense_is_said(build: object, words: str) -> None:
    assert callable(build)
    with pytest.raises(NormError, match=words.replace("(", r"\(")):
        build()


# -- what always holds -------------------------------------------------------------------------------------------------


@given(calendars, moments)
def test_at_each_instant_one_shift_is_in_charge_or_the_gap_has_a_name(site: SiteCalendar, now: float) -> None:
    running = site.shift_at(now)
    if running is None:
        assert site.gap_at(now, "helmet") == GapReason.NO_SHIFT
    else:
        assert running.start <= now < running.end
        assert running in site.starting(running.day)
        assert all(other.start <= running.start for other in site.running(now))


@given(calendars, moments)
def test_the_next_boundary_is_later_and_nothing_changes_before_it(site: SiteCalendar, now: float) -> None:
    boundary = site.next_boundary(now)
    assume(boundary is not None)
    assert boundary is not None
    assert boundary > now
    between = now + (boundary - now) / 2
    assert site.running(between) == site.running(now)
    assert site.running(boundary) != site.running(now)


@given(calendars, moments)
def test_a_site_with_shifts_always_has_a_next_boundary_and_a_next_hand_over(site: SiteCalendar, now: float) -> None:
    assume(site.shifts)
    ending = site.next_ending(now)
    assert ending
    assert {s.end for s in ending} == {ending[0].end}
    assert ending[0].end > now
    following = site.next_ending(ending[0].end)
    assert following[0].end > ending[0].end


@given(zones, moments, st.integers(0, 3), minutes, minutes)
def test_times_of_day_never_run_backwards(zone: str, now: float, days: int, a: int, b: int) -> None:
    site = SiteCalendar(zone)
    day = site.local(now).date()
    early, late = sorted([(day, a), (day + timedelta(days=days), b)])
    assert site.instant(*early) <= site.instant(*late)


@given(zones, moments)
@example("Pacific/Apia", at("2011-12-31 00:00", "Pacific/Apia"))
@example("America/Havana", at("2026-11-01 00:30-05:00"))
def test_the_days_around_are_enough(zone: str, now: float) -> None:
    """A shift of a whole day leaves no moment without it, whatever the clocks do."""
    site = calendar(shift("all", "00:00-00:00"), zone=zone)
    assert len(site.running(now)) == 1


@given(calendars, moments)
def test_gaps_and_shifts_fill_the_time_without_overlap(site: SiteCalendar, start: float) -> None:
    end = start + 3 * 86400
    found = site.gaps(start, end)
    assert all(start <= g.start < g.end <= end for g in found)
    assert all(a.end < b.start or (a.end == b.start and a.reason != b.reason) for a, b in pairwise(found))
    for g in found:
        assert site.gap_at((g.start + g.end) / 2, "") == g.reason


def test_a_holiday_far_ahead_hides_no_shift() -> None:
    site = SiteCalendar(
        SHANGHAI,
        (shift("s", "08:00-16:00", on_holidays=False),),
        tuple(Holiday(date(2026, 1, 1) + timedelta(days=k)) for k in range(60)),
    )
    assert local(site.next_boundary(at("2025-12-31 16:00"))) == "2026-03-02 08:00+08:00"
