"""Sites, shifts and moments, short to write."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from broker.dispatch.norm.calendar import ALL_DAYS, Duty, Holiday, Shift, SiteCalendar
from broker.dispatch.norm.handover import CaseFacts

SHANGHAI, BERLIN = "Asia/Shanghai", "Europe/Berlin"
ODD_ZONES = (
    "Pacific/Apia",
    "Australia/Lord_Howe",
    "America/Havana",
    "Asia/Beirut",
    "America/St_Johns",
    "Asia/Kathmandu",
)
"""A day left out; half an hour of summer time; clocks changed at midnight or one minute past; quarters of an hour."""
MON_TO_FRI, WEEKEND = 0b0011111, 0b1100000


def at(text: str, zone: str = SHANGHAI) -> float:
    """Local time, `2026-03-29 03:30`; with `+02:00` behind it that offset instead of the zone."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).timestamp()


def local(moment: float | None, zone: str = SHANGHAI) -> str | None:
    """The reverse, with the offset."""
    return None if moment is None else datetime.fromtimestamp(moment, ZoneInfo(zone)).isoformat(" ", "minutes")


def shift(name: str, hours: str, weekdays: int = ALL_DAYS, *, on_holidays: bool = True) -> Shift:
    """`hours` as `20:00-08:00`."""
    start, end = (int(h) * 60 + int(m) for h, m in (part.split(":") for part in hours.split("-")))
    return Shift(name, name, start, end, weekdays, on_holidays)


def calendar(*shifts: Shift, zone: str = SHANGHAI, duties: tuple[Duty, ...] = (), **days: str) -> SiteCalendar:
    """`days`: off="2026-10-01 2026-10-02", worked="2026-10-10"."""
    holidays = [Holiday(date.fromisoformat(d), "holiday") for d in days.pop("off", "").split()]
    holidays += [Holiday(date.fromisoformat(d), "exchanged", working=True) for d in days.pop("worked", "").split()]
    assert not days
    return SiteCalendar(zone, shifts, tuple(holidays), duties)


DAY, NIGHT = shift("day", "08:00-20:00"), shift("night", "20:00-08:00")


def case(name: str = "a", **facts: Any) -> CaseFacts:
    """A case received at 10:00 on 1 June 2026 in Shanghai that somebody took within a minute."""
    opened = facts.pop("opened_at", at("2026-06-01 10:00"))
    standard: dict[str, Any] = {
        "rule": "helmet",
        "where": "trench",
        "severity": "warning",
        "state": "assigned",
        "alarm_state": "active",
        "owner": "li",
        "opened_at": opened,
        "review_from": opened,
        "assigned_at": opened + 60,
        "resolved_at": None,
        "answered_at": None,
        "over_at": None,
    }
    return CaseFacts(name, **(standard | facts))


# -- Hypothesis --------------------------------------------------------------------------------------------------------

zones = st.sampled_from((SHANGHAI, BERLIN, *ODD_ZONES))
days = st.dates(date(2011, 12, 1), date(2030, 12, 31))  # with the day that Samoa left out
moments = st.floats(
    datetime(2011, 12, 1, tzinfo=UTC).timestamp(), datetime(2030, 12, 31, tzinfo=UTC).timestamp(), allow_nan=False
)
minutes = st.integers(0, 24 * 60 - 1)
shifts = st.lists(
    st.builds(
        Shift,
        id=st.uuids().map(str),
        name=st.just("shift"),
        start=minutes,
        end=minutes,
        weekdays=st.integers(1, ALL_DAYS),
        on_holidays=st.booleans(),
    ),
    max_size=4,
    unique_by=lambda s: s.id,
).map(tuple)
holidays = st.lists(st.builds(Holiday, day=days, working=st.booleans()), max_size=5, unique_by=lambda h: h.day).map(
    tuple
)
calendars = st.builds(SiteCalendar, zone=zones, shifts=shifts, holidays=holidays)
