"""Where and when rules look: overlapping zones, hours of site, rule and zone."""

from __future__ import annotations

from typing import Any

import pytest

from edge.rules import RULES, Place, Rule, resting
from edge.rules.night import NightState
from edge.rules.people import people_at
from edge.site.model import RuleSettings, TimeSpan
from edge.values import Rest
from tests.rules.builders import LEFT, at, camera, person, scene, site_file, zone

HELMET, INTRUSION, BARRIER = RULES["helmet"], RULES["intrusion"], RULES["barrier"]
NIGHT_REFLECTIVE = RULES["night_reflective"]
EVENING = [{"start": "18:00", "end": "22:00"}]
INNER = [(0.1, 0.1), (0.3, 0.1), (0.3, 1.0), (0.1, 1.0)]


def holders(zones: list[Any], x: float) -> set[str]:
    """The places that look at somebody who stands at x."""
    seen = scene(person(x=x))
    return {p.id for p in HELMET.places(camera(zones)) if list(people_at(seen, p))}


@pytest.mark.parametrize("turned", [False, True])
def test_who_stands_in_two_zones_is_judged_in_the_smaller_one_only(turned: bool) -> None:
    zones = [zone(id="yard"), zone("pit", INNER, id="pit")]
    zones = zones[::-1] if turned else zones
    assert holders(zones, x=250) == {"pit"}
    assert holders(zones, x=600) == {"yard"}


def test_a_smaller_zone_that_counts_at_some_hours_leaves_nobody_unjudged() -> None:
    zones = [zone(id="yard"), zone("pit", INNER, id="pit", hours=EVENING)]
    assert holders(zones, x=250) == {"pit", "yard"}
    both = [zone(id="yard", hours=EVENING), zone("pit", INNER, id="pit", hours=EVENING)]
    assert holders(both, x=250) == {"pit"}


def test_zones_of_one_size_that_overlap_judge_once() -> None:
    assert len(holders([zone(id="a", polygon=LEFT), zone(id="b", polygon=LEFT)], x=250)) == 1


SITE: dict[str, Any] = {"id": "a", "latitude": 0, "longitude": 0}
DAYTIME = [{"start": "07:00", "end": "19:00"}]
SPAN = TimeSpan.model_validate
Spans = list[dict[str, str]]
"""Hours of the site, of the rule, of the zone; none are all."""


@pytest.mark.parametrize(
    ("rule", "local", "hours", "looks"),
    [
        (HELMET, "2026-06-21 12:00", (DAYTIME, [], []), True),
        (HELMET, "2026-06-21 06:59", (DAYTIME, [], []), False),
        (HELMET, "2026-06-21 19:00", (DAYTIME, [], []), False),
        (HELMET, "2026-06-21 03:00", ([], [], []), True),  # no hours are all hours
        (HELMET, "2026-06-21 20:00", (DAYTIME, EVENING, []), True),  # the rule's own go before the site's
        (HELMET, "2026-06-21 12:00", (DAYTIME, EVENING, []), False),
        (HELMET, "2026-06-21 12:00", (DAYTIME, [], EVENING), False),  # and the zone's must hold too
        (HELMET, "2026-06-21 18:30", (DAYTIME, [], EVENING), True),
        (HELMET, "2026-06-21 12:00", ([*EVENING, *DAYTIME], [], []), True),  # any of several spans
        (INTRUSION, "2026-06-21 03:00", (DAYTIME, [], []), True),
        (INTRUSION, "2026-06-21 03:00", (DAYTIME, EVENING, []), False),
        (BARRIER, "2026-06-21 03:00", (DAYTIME, [], []), True),
    ],
)
def test_a_rule_looks_at_its_hours_in_the_time_of_the_site(
    rule: Rule, local: str, hours: tuple[Spans, Spans, Spans], looks: bool
) -> None:
    working, of_rule, of_zone = hours
    place = Place("here", hours=tuple(SPAN(h) for h in of_zone))
    settings = RuleSettings(hours=[SPAN(h) for h in of_rule])
    for time_zone in ("Asia/Shanghai", "Europe/Berlin", "America/New_York"):
        of_site = site_file(site=SITE | {"timezone": time_zone, "working_hours": working})
        stamp = at(local, time_zone)
        assert (resting(rule, place, settings, of_site, stamp, NightState.DAY) is None) is looks


def test_without_a_trusted_clock_a_rule_looks_at_any_hour() -> None:
    of_site = site_file(site=SITE | {"working_hours": DAYTIME})
    stamp = at("2026-06-21 03:00", synced=False)
    assert resting(HELMET, Place("here"), RuleSettings(), of_site, stamp, NightState.UNKNOWN) is None


@pytest.mark.parametrize(
    ("rule", "local", "of_rule", "of_zone", "night", "rest"),
    [
        (HELMET, "2026-06-21 12:00", [], [], NightState.DAY, None),
        (NIGHT_REFLECTIVE, "2026-06-21 12:00", [], [], NightState.DAY, Rest.DAY),
        (NIGHT_REFLECTIVE, "2026-06-21 12:00", EVENING, [], NightState.DAY, Rest.DAY),
        (NIGHT_REFLECTIVE, "2026-06-21 22:00", DAYTIME, [], NightState.NIGHT, Rest.HOURS),
        (HELMET, "2026-06-21 22:00", DAYTIME, [], NightState.NIGHT, Rest.HOURS),
        (INTRUSION, "2026-06-21 12:00", [], EVENING, NightState.DAY, Rest.HOURS),
    ],
)
def test_a_rule_that_rests_says_why(  # noqa: PLR0917 (a row of the table)
    rule: Rule, local: str, of_rule: Spans, of_zone: Spans, night: NightState, rest: Rest | None
) -> None:
    place = Place("here", hours=tuple(SPAN(h) for h in of_zone))
    settings = RuleSettings(hours=[SPAN(h) for h in of_rule])
    assert resting(rule, place, settings, site_file(), at(local), night) is rest
