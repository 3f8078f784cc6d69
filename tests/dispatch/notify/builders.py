"""Messages for tests."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from broker.dispatch.notify.message import About, Item, Message, Section, Sheet, words
from broker.dispatch.web.links import Links

ZONE = "Asia/Shanghai"
NOW = dt.datetime(2026, 11, 26, 21, 5, tzinfo=ZoneInfo(ZONE)).timestamp()
CASE, LETTER, READER = (f"01990000-0000-7000-8000-00000000000{n}" for n in range(3))
LINKS = Links("0123456789abcdef" * 4, "https://dispatch.example")
LINK, LINK_OF_SEVERAL = LINKS.case(CASE, READER, NOW), LINKS.message(LETTER, READER, NOW)
"""As the pages sign them."""


def item(**changes: Any) -> Item:
    values: dict[str, Any] = {
        "case": "c1",
        "site_name": "东门工地",
        "rule": "helmet",
        "clauses": ("I.1.2", "I.6.1"),
        "place": "pit-1",
        "source": "cam-2",
        "severity": "critical",
        "subjects": 1,
        "since": NOW - 65,
        "opened_at": NOW - 60,
        "take_by": NOW + 240,
    }
    return Item(**(values | changes))


def message(*items: Item, about: About = About.RAISED, language: str = "zh-CN", **changes: Any) -> Message:
    sections = changes.pop("sections", (Section("", items or (item(),)),))
    several = len({i.case for s in sections for i in s.items}) > 1
    values: dict[str, Any] = {
        "about": about,
        "language": language,
        "zone": ZONE,
        "now": NOW,
        "sections": sections,
        "link": LINK_OF_SEVERAL if several else LINK,
    }
    return Message(**(values | changes))


def sheet(*items: Item, picture: Path | None = None, **changes: Any) -> Sheet:
    return words(message(*items, picture=picture, **changes))
