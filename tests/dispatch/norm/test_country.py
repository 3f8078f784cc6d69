"""A country's holidays to start from: real ones, with China's exchanged days."""

from __future__ import annotations

from datetime import date

import pytest

from broker.dispatch.norm import NormError
from broker.dispatch.norm.calendar import SiteCalendar
from broker.dispatch.norm.country import public_holidays
from tests.dispatch.norm.builders import MON_TO_FRI, SHANGHAI, shift


@pytest.mark.parametrize(
    ("country", "language", "day", "name", "working"),
    [
        ("CN", "zh-CN", "2026-02-17", "春节", False),
        ("CN", "en", "2026-10-01", "National Day", False),
        ("CN", "zh-CN", "2026-02-14", "", True),  # a Saturday worked for the Spring Festival
        ("CN", "zh-CN", "2026-10-10", "", True),
        ("DE", "en", "2026-04-03", "Good Friday", False),
        ("FR", "zh-CN", "2026-07-14", "National Day", False),  # not to be had in Chinese
    ],
)
def test_known_days(country: str, language: str, day: str, name: str, working: bool) -> None:
    (found,) = [h for h in public_holidays(country, 2026, language) if h.day.isoformat() == day]
    assert (found.name, found.working) == (name, working)


@pytest.mark.parametrize("country", ["CN", "DE", "US"])
@pytest.mark.parametrize("year", [2025, 2026])
def test_only_days_of_that_year_each_once_and_in_order(country: str, year: int) -> None:
    found = [h.day for h in public_holidays(country, year)]
    assert found == sorted(set(found))
    assert {day.year for day in found} == {year}


def test_a_site_works_on_the_days_of_the_state_councils_list_for_2026() -> None:
    works = shift("works", "08:00-16:00", MON_TO_FRI, on_holidays=False)
    site = SiteCalendar(SHANGHAI, (works,), public_holidays("CN", 2026, "zh-CN"))
    february = [d for d in range(1, 29) if site.runs_on(works, date(2026, 2, d))]
    assert february == [2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14, 24, 25, 26, 27, 28]


@pytest.mark.parametrize("country", ["", "china", "XX", "cn"])
def test_an_unknown_country_is_said(country: str) -> None:
    with pytest.raises(NormError, match=r"no holidays are known for country .*such as CN or DE"):
        public_holidays(country, 2026)
