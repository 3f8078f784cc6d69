"""Day or night at the site."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.clock import Stamp
from edge.rules.night import NightState, night
from edge.site.model import Night, Site
from tests.rules.builders import at

BEIJING = Site(id="a", latitude=39.91, longitude=116.4)
TROMSO = Site(id="a", latitude=69.65, longitude=18.96, timezone="Europe/Oslo")
SYDNEY = Site(id="a", latitude=-33.87, longitude=151.21, timezone="Australia/Sydney")
BY_SUN = Night()
BY_HOURS = Night.model_validate({"mode": "schedule", "hours": {"start": "19:00", "end": "06:00"}})


@pytest.mark.parametrize(
    ("site", "local", "expected"),
    [
        # Sunrise and sunset as almanacs print them, two minutes to either side.
        (BEIJING, "2026-06-21 04:44", NightState.NIGHT),
        (BEIJING, "2026-06-21 04:48", NightState.DAY),
        (BEIJING, "2026-06-21 19:44", NightState.DAY),
        (BEIJING, "2026-06-21 19:48", NightState.NIGHT),
        (BEIJING, "2026-12-22 07:31", NightState.NIGHT),
        (BEIJING, "2026-12-22 07:35", NightState.DAY),
        (BEIJING, "2026-12-22 16:51", NightState.DAY),
        (BEIJING, "2026-12-22 16:55", NightState.NIGHT),
        (SYDNEY, "2026-12-22 12:00", NightState.DAY),
        (SYDNEY, "2026-12-22 22:00", NightState.NIGHT),
        # Polar day and polar night, where the sun neither sets nor rises.
        (TROMSO, "2026-06-21 00:30", NightState.DAY),
        (TROMSO, "2026-12-22 11:45", NightState.NIGHT),
        (TROMSO, "2026-03-20 12:00", NightState.DAY),
        (TROMSO, "2026-03-20 23:00", NightState.NIGHT),
    ],
)
def test_it_is_night_while_the_sun_is_below_the_horizon(site: Site, local: str, expected: NightState) -> None:
    assert night(site, BY_SUN, at(local, site.timezone)) is expected


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        ("2026-06-21 18:59", NightState.DAY),
        ("2026-06-21 19:00", NightState.NIGHT),
        ("2026-06-22 05:59", NightState.NIGHT),
        ("2026-06-22 06:00", NightState.DAY),
    ],
)
def test_or_while_the_declared_hours_last(local: str, expected: NightState) -> None:
    assert night(BEIJING, BY_HOURS, at(local)) is expected
    berlin = BEIJING.model_copy(update={"timezone": "Europe/Berlin"})
    assert night(berlin, BY_HOURS, at(local, "Europe/Berlin")) is expected


@pytest.mark.parametrize("settings", [BY_SUN, BY_HOURS])
def test_a_clock_that_is_not_to_be_trusted_knows_neither(settings: Night) -> None:
    for hour in range(24):
        assert night(BEIJING, settings, at(f"2026-06-21 {hour:02}:00", synced=False)) is NightState.UNKNOWN


@given(st.floats(-90, 90), st.floats(-180, 180), st.datetimes(datetime(2020, 1, 1), datetime(2050, 1, 1)))  # noqa: DTZ001
def test_every_place_has_day_or_night_and_half_a_day_on_the_other_one_at_the_equator(
    latitude: float, longitude: float, moment: datetime
) -> None:
    stamp = Stamp(moment.replace(tzinfo=ZoneInfo("UTC")).timestamp(), 0.0, "boot", synced=True)
    state = night(Site(id="a", latitude=latitude, longitude=longitude), BY_SUN, stamp)
    assert state in {NightState.DAY, NightState.NIGHT}
    equator = Site(id="a", latitude=0, longitude=longitude)
    day = [night(equator, BY_SUN, stamp.plus(timedelta(hours=h).total_seconds())) for h in range(24)]
    assert 11 <= day.count(NightState.DAY) <= 13
