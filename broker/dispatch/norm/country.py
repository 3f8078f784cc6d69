"""A country's public holidays, to fill a site's calendar with at first; from then on people edit it."""

from __future__ import annotations

from datetime import date

import holidays

from broker.dispatch.norm import NormError
from broker.dispatch.norm.calendar import Holiday

LANGUAGES = {"zh-CN": "zh_CN", "en": "en_US"}


def public_holidays(country: str, year: int, language: str = "en") -> tuple[Holiday, ...]:
    """Holidays of a country (ISO 3166-1 code, such as CN or DE) in a year, and its weekend days worked in exchange.

    Names are in `language` where the package `holidays` has it, else in English or its own. Exchanged days are made
    known late in the year before; earlier they are missing. Raises NormError for a country that is not known.
    """
    if country not in holidays.list_supported_countries():
        raise NormError(
            NormError.HOLIDAY, f"no holidays are known for country {country!r}; write its two letters, such as CN or DE"
        )
    days = holidays.country_holidays(country, years=year, language=LANGUAGES.get(language, language))
    off = [Holiday(day, name) for day, name in days.items() if day.year == year]
    worked: set[date] = getattr(days, "weekend_workdays", set())
    exchanged = [Holiday(day, working=True) for day in worked if day.year == year and day not in days]
    return tuple(sorted(off + exchanged, key=lambda h: h.day))
