"""Site compliance: the safety officer's front page."""

from __future__ import annotations

from typing import Any

from dashboards import queries as q
from dashboards.boards.rows import newest_cases, shifts
from dashboards.panels import COMPLIANCE_STEPS, COUNT_STEPS, DEFAULT, UNKNOWN_STEPS, Board, Setup
from dashboards.queries import GRAFANA
from dashboards.text import Language


def board(language: Language, setup: Setup = DEFAULT) -> dict[str, Any]:
    """The board `banksman-site`: one site, by rule, camera, hour and place."""
    shown = ("site", "source", "rule")
    b = Board("banksman-site", language, setup, shown=shown, single=True, shifts=shifts(GRAFANA))
    whole = q.compliance(GRAFANA, by="site")
    b.stat("compliance", whole, "compliance", levels=COMPLIANCE_STEPS)
    b.stat("unknown", whole, "unknown_share", levels=UNKNOWN_STEPS)
    b.stat("breach", whole, "breach_s")
    b.stat("open", q.open_cases(GRAFANA), "open", page="open")
    b.stat("overdue", q.overdue(GRAFANA), "overdue", levels=COUNT_STEPS, page="overdue")
    b.stat("false_alarms", q.false_alarm_share(GRAFANA), "false_alarm_share")
    b.table("rules", [q.compliance(GRAFANA, by="rule")], w=12, h=9, sort="compliance")
    b.table("sources", [q.compliance(GRAFANA, by="source")], w=12, h=9, sort="compliance", hide=("site",))
    b.row("hours")
    hourly = q.compliance(GRAFANA, by="site", hourly=True)
    b.stacked("judged", hourly, ("ok_s", "violation_s", "unknown_s"), w=24, h=8, every="1h")
    by_rule = q.compliance(GRAFANA, by="rule", hourly=True)
    b.history("by_hour", by_rule, "compliance", w=12, h=9, every="1h")
    b.history("unknown_by_hour", by_rule, "unknown_share", w=12, h=9, every="1h")
    b.row("where")
    b.table("places", [q.worst_places(GRAFANA, 10)], w=14, h=12, sort="breach_s", worst_first=True, hide=("site",))
    b.cases("cases", newest_cases(GRAFANA, 20), w=10, h=12, hide=("site",))
    return b.build()
