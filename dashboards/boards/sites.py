"""All sites: a manager's comparison and map."""

from __future__ import annotations

from typing import Any

from dashboards import queries as q
from dashboards.boards.rows import positions
from dashboards.panels import DEFAULT, Board, Setup
from dashboards.queries import GRAFANA
from dashboards.text import Language


def board(language: Language, setup: Setup = DEFAULT) -> dict[str, Any]:
    """The board `banksman-sites`: sites side by side, on the map and over time."""
    b = Board("banksman-sites", language, setup, shown=("site", "rule"), start="now-30d", refresh="15m")
    whole = q.compliance(GRAFANA, by="site")
    b.map("map", [positions(GRAFANA), whole], "compliance", w=10, h=14)
    to = "/d/banksman-site?var-site=${__value.raw}&${__url_time_range}"
    rows, seconds = [whole, q.open_cases(GRAFANA)], ("ok_s", "violation_s", "unknown_s")  # these would push cases aside
    b.table("sites", rows, w=14, h=14, sort="compliance", links={"site": to}, hide=seconds)
    daily = q.compliance(GRAFANA, by="site", hourly=True)
    b.history("by_day", daily, "compliance", w=12, h=12, every="1d")
    b.history("unknown_by_day", daily, "unknown_share", w=12, h=12, every="1d")
    return b.build()
