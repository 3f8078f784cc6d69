"""Values as people read them on paper. Rounding never turns "nearly all" into "all", nor "hardly any" into "none"."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final

from broker.dispatch.text import Catalogue
from dashboards.report.values import Cell, Kind

_THIN: Final = "\N{NARROW NO-BREAK SPACE}"
_MINUS: Final = "\N{MINUS SIGN}"


def printed(cell: Cell, text: Catalogue) -> str:  # noqa: PLR0911 a table
    match cell.kind, cell.value:
        case _, None:
            return "\N{EN DASH}"
        case Kind.SHARE, float() | int() as value:
            return share(value)
        case Kind.POINTS, float() | int() as value:
            tenths = round(value * 100, 1)
            return text("report.points", n=f"{_sign(tenths)}{abs(tenths):.1f}")
        case Kind.DURATION, float() | int() as value:
            return duration(value, text)
        case Kind.LONGER, float() | int() as value:
            return f"{_sign(value)}{duration(abs(value), text)}"
        case Kind.COUNT, int() as value:
            return _count(value)
        case Kind.MORE, int() as value:
            return f"{_sign(value)}{_count(abs(value))}"
        case Kind.MOMENT, datetime() as value:
            return f"{value:%Y-%m-%d %H:%M}"
        case Kind.DAY, date() as value:
            return f"{value:%Y-%m-%d}"
        case _, value:
            return str(value)


def share(value: float) -> str:
    """Of 0 to 1, in per cent with one decimal."""
    if 0 < value < 0.0005:
        return f"<{_THIN}0.1{_THIN}%"
    if 0.9995 <= value < 1:
        return f">{_THIN}99.9{_THIN}%"
    return f"{value * 100:.1f}{_THIN}%"


def duration(seconds: float, text: Catalogue) -> str:
    """Hours and minutes, below an hour minutes and seconds; to the nearest."""
    s, m = round(seconds), round(seconds / 60)
    if s < 60:
        return text("report.duration.s", s=s)
    if s < 3600:
        return text("report.duration.min", m=s // 60, s=s % 60)
    return text("report.duration.h", h=_count(m // 60), m=m % 60)


def _count(value: int) -> str:
    return f"{value:,}".replace(",", _THIN)


def _sign(value: float) -> str:
    return "±" if value == 0 else "+" if value > 0 else _MINUS
