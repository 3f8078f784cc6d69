"""Messages for tests."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from broker.dispatch.notify.message import About, Item, Message, Section, Sheet, words

ZONE = "Asia/Shanghai"
NOW = dt.datetime(2026, 11, 26, 21, 5, tzinfo=ZoneInfo(ZONE)).timestamp()
LINK = "https://dispatch.example/c/01990000-0000?t=ImNhc2Ui.aSdF-_x"


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
    values: dict[str, Any] = {
        "about": about,
        "language": language,
        "zone": ZONE,
        "now": NOW,
        "sections": (Section("", items or (item(),)),),
        "link": LINK,
    }
    return Message(**(values | changes))


def sheet(*items: Item, picture: Path | None = None, **changes: Any) -> Sheet:
    return words(message(*items, picture=picture, **changes))
