"""Cases and the clock: is every report answered in time?"""

from __future__ import annotations

from typing import Any

from broker.dispatch.norm.review import REVIEW_S
from dashboards import colours
from dashboards import queries as q
from dashboards.boards.rows import newest_cases, shifts
from dashboards.panels import COUNT_STEPS, DEFAULT, Board, Setup
from dashboards.queries import GRAFANA
from dashboards.text import Language

_REVIEW = ((None, colours.GOOD), (REVIEW_S, colours.BAD))
"""The norm's five minutes."""


def board(language: Language, setup: Setup = DEFAULT) -> dict[str, Any]:
    """The board `banksman-cases`."""
    b = Board("banksman-cases", language, setup, shown=("site", "rule"), shifts=shifts(GRAFANA))
    b.stat("open", q.open_cases(GRAFANA), "open", calc="sum", page="open")
    b.stat("overdue", q.overdue(GRAFANA), "overdue", calc="sum", levels=COUNT_STEPS, page="overdue")
    b.stat("review_p50", q.review_time(GRAFANA, 50), "review_s", levels=_REVIEW)
    b.stat("review_p95", q.review_time(GRAFANA, 95), "review_s", levels=_REVIEW)
    b.stat("close_p50", q.close_time(GRAFANA, 50), "close_s")
    b.stat("close_p95", q.close_time(GRAFANA, 95), "close_s")
    b.lines("open_over_time", q.open_cases(GRAFANA, hourly=True), ("open",), w=12, h=8, low=0, every="1m")
    b.lines("overdue_over_time", q.overdue(GRAFANA, hourly=True), ("overdue",), w=12, h=8, low=0, every="1m")
    by_rule = [
        q.alarms(GRAFANA, by="rule"),
        q.late_reviews(GRAFANA, by="rule"),
        q.false_alarm_share(GRAFANA, by="rule"),
    ]
    b.table("rules", by_rule, w=14, h=12, sort="alarms", worst_first=True)
    b.cases("cases", newest_cases(GRAFANA, 50), w=10, h=12)
    return b.build()
