"""Day or night at the site."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from astral import Observer
from astral.sun import elevation

from edge.clock import Stamp
from edge.site.model import Night, Site

SUNSET_DEGREES = -0.833
"""Elevation of the sun's centre when its upper edge touches the horizon: 16' of radius and 34' of refraction."""


class NightState(StrEnum):
    DAY = "day"
    NIGHT = "night"
    UNKNOWN = "unknown"  # the clock is not to be trusted


def night(site: Site, settings: Night, stamp: Stamp) -> NightState:
    """Whether it is night at the site: the sun is below the horizon, or the declared night hours have begun.

    By elevation, not by today's sunset: so polar day and night, where the sun neither sets nor rises, come out right.
    """
    if not stamp.synced:
        return NightState.UNKNOWN
    if settings.hours is not None:
        at_site = datetime.fromtimestamp(stamp.wall, ZoneInfo(site.timezone)).time()
        dark = settings.hours.holds(at_site)
    else:
        here = Observer(latitude=site.latitude, longitude=site.longitude)
        sun = elevation(here, datetime.fromtimestamp(stamp.wall, UTC), with_refraction=False)
        dark = float(sun) < SUNSET_DEGREES
    return NightState.NIGHT if dark else NightState.DAY
