"""What stands in the forms of administrators, and what may stand there."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated
from zoneinfo import available_timezones

from fastapi import Form
from fastapi import Path as PathParam

from broker.dispatch.web.pages import FormError

LONGEST_NAME = 80
ZONES = sorted(zone for zone in available_timezones() if "/" in zone and not zone.startswith(("Etc/", "posix/")))
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_UUID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"

RowId = Annotated[str, Form(pattern=_UUID)]
Key = Annotated[str, Form(max_length=64, pattern=r"^[^\x00]*$")]
PersonId = Annotated[str, PathParam(pattern=r"^[0-9A-Za-z][0-9A-Za-z-]{0,63}$")]
Line = Annotated[str, Form(max_length=400)]


def minute_of(text: str) -> int:
    """`HH:MM` as minutes after midnight. Raises FormError."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise FormError("web.error.time")
    return int(match[1]) * 60 + int(match[2])


def clock_of(minute: int | None) -> str:
    return "" if minute is None else f"{minute // 60:02}:{minute % 60:02}"


def number(text: str, least: int, most: int) -> int:
    """Raises FormError."""
    if not re.fullmatch(r"\d{1,9}", text.strip()) or not least <= int(text) <= most:
        raise FormError("web.error.number", least=least, most=most)
    return int(text)


def day_of(text: str) -> str:
    """An ISO date as it is. Raises FormError."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise FormError("web.error.day") from error


def one_of(text: str, known: object, key: str = "web.error.choice") -> str:
    if text not in known:  # type: ignore[operator]
        raise FormError(key)
    return text
