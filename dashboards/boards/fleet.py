"""Fleet health: is every node alive, fast, cool, and does it get rid of what it has to tell? For the installer."""

from __future__ import annotations

from typing import Any

from dashboards import colours
from dashboards import queries as q
from dashboards.boards.rows import nodes
from dashboards.panels import DEFAULT, Board, Setup
from dashboards.queries import GRAFANA
from dashboards.text import Language

_HEAT = ((None, colours.GOOD), (75, colours.CARE), (80, colours.BAD))
"""A Raspberry Pi slows down from 80 degrees."""


def board(language: Language, setup: Setup = DEFAULT) -> dict[str, Any]:
    """The board `banksman-fleet`."""
    b = Board("banksman-fleet", language, setup, shown=("site", "node"), start="now-24h", refresh="1m")
    b.table("nodes", [nodes(GRAFANA)], w=24, h=10, timed=True)
    b.lines("fps", q.node_health(GRAFANA, "fps"), ("mean",), w=8, h=8, low=0, every="1m")
    b.lines("temperature", q.node_health(GRAFANA, "cpu_temp_c"), ("mean",), w=8, h=8, levels=_HEAT, every="1m")
    b.lines("memory", q.node_health(GRAFANA, "rss_mb"), ("mean",), w=8, h=8, low=0, every="1m")
    b.lines("latency", q.latency(GRAFANA), ("p95_ms",), w=12, h=8, low=0, every="1m")
    b.lines("journal", q.journal_depth(GRAFANA), ("rows",), w=12, h=8, low=0, every="1m")
    return b.build()
