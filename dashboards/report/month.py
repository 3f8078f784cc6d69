"""A calendar month as people at the site live it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Self
from zoneinfo import ZoneInfo

from dashboards.report import ReportError

HOUR_S = 3600
_MONTH = re.compile(r"(\d{4})-(\d{2})")


@dataclass(frozen=True, slots=True)
class Month:
    """From midnight of its first day to midnight of the next month's, in the site's time zone."""

    year: int
    month: int
    zone: ZoneInfo

    @classmethod
    def parse(cls, text: str, zone: ZoneInfo) -> Self:
        """Of `2026-05`. Raises ReportError."""
        found = _MONTH.fullmatch(text)
        if found is None or not 1 <= int(found[2]) <= 12 or not 2000 <= int(found[1]) < 9999:
            raise ReportError(f"{text!r} is no month; write year and month, as 2026-05")
        return cls(int(found[1]), int(found[2]), zone)

    @property
    def first(self) -> date:
        return date(self.year, self.month, 1)

    @property
    def following(self) -> date:
        """First day of the next month."""
        return (self.first + timedelta(days=31)).replace(day=1)

    @property
    def before(self) -> Month:
        last = self.first - timedelta(days=1)
        return Month(last.year, last.month, self.zone)

    @property
    def start(self) -> int:
        """Unix seconds."""
        return self._midnight(self.first)

    @property
    def stop(self) -> int:
        """Unix seconds; no longer of the month."""
        return self._midnight(self.following)

    @property
    def days(self) -> tuple[date, ...]:
        return tuple(self.first + timedelta(days=n) for n in range((self.following - self.first).days))

    def local(self, at: float) -> datetime:
        """The time at the site."""
        return datetime.fromtimestamp(at, self.zone)

    def hours(self, until: int) -> range:
        """The starts of the hours (UTC, as nodes tally them) that begin in the month and before `until`."""
        return range(-(-self.start // HOUR_S) * HOUR_S, min(self.stop, until), HOUR_S)

    def _midnight(self, day: date) -> int:
        return int(datetime(day.year, day.month, day.day, tzinfo=self.zone).timestamp())

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"
