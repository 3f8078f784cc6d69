"""Alert rules of Grafana, only for what dispatch cannot tell: that it is silent itself, or InfluxDB fails or fills up.

Breaches, silent nodes and overdue cases are told by dispatch alone, to the people whose shift it is. So the contact
point here is for whoever looks after the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from dashboards.panels import DATASOURCE, FOLDER
from dashboards.text import Language, catalogue

RECEIVER: Final = "banksman-server"
GROUP: Final = "banksman-server"
EVERY_S: Final = 60
NEARLY_FULL: Final = 0.1
"""Free share of the disk."""
_EXPRESSIONS: Final = "__expr__"

OnNothing = Literal["Alerting", "NoData", "OK", "KeepLast"]
OnError = Literal["Alerting", "Error", "OK", "KeepLast"]


@dataclass(frozen=True, slots=True)
class Contact:
    """Who looks after the server. address: e-mail addresses with `;` between, or a robot's or hook's URL: a secret."""

    kind: Literal["email", "dingding", "wecom", "webhook"]
    address: str


@dataclass(frozen=True, slots=True)
class Question:
    """A rule: fires when the answer is below `below` for as long as `lasts`.

    nothing, error: what the rule is when there is no series, and when InfluxDB cannot be asked.
    """

    key: str
    text: str
    below: float
    span_s: int
    lasts: str
    severity: Literal["critical", "warning"]
    nothing: OnNothing
    error: OnError


_POINTS: Final = 'SELECT count("nodes_silent") AS "points" FROM "dispatch" WHERE $timeFilter'
"""Dispatch writes one a minute. One series, because Grafana wants each series of a rule to have labels of its own."""

QUESTIONS: Final = (
    # A count is never 0: nothing for five minutes is no series at all, hence `nothing`.
    Question(
        key="dispatch_silent",
        text=_POINTS,
        below=1,
        span_s=300,
        lasts="2m",
        severity="critical",
        nothing="Alerting",
        error="OK",
    ),
    # Fires when asking fails, whatever the answer would be.
    Question(
        key="influx_fails",
        text=_POINTS,
        below=1,
        span_s=300,
        lasts="5m",
        severity="critical",
        nothing="OK",
        error="Alerting",
    ),
    Question(
        key="disk_full",
        text='SELECT min("disk_free") AS "disk_free" FROM "dispatch" WHERE $timeFilter',
        below=NEARLY_FULL,
        span_s=600,
        lasts="10m",
        severity="warning",
        nothing="OK",
        error="OK",
    ),
)


def rules(language: Language, *, receiver: str | None = RECEIVER) -> list[dict[str, Any]]:
    """In the form of the provisioning API; receiver: a contact point, None: what the server's own policy says."""
    t = catalogue(language)
    return [
        {
            "uid": f"banksman-{one.key.replace('_', '-')}",
            "orgID": 1,
            "folderUID": FOLDER,
            "ruleGroup": GROUP,
            "title": t(f"alert.{one.key}.title"),
            "condition": "C",
            "data": [_asked(one), _reduced(one), _compared(one)],
            "noDataState": one.nothing,
            "execErrState": one.error,
            "for": one.lasts,
            "isPaused": False,
            "annotations": {
                "summary": t(f"alert.{one.key}.title"),
                "description": t(f"alert.{one.key}.description"),
            },
            "labels": {"system": "banksman", "severity": one.severity},
        }
        | ({} if receiver is None else {"notification_settings": {"receiver": receiver}})
        for one in QUESTIONS
    ]


def contact_points(contacts: Sequence[Contact], *, name: str = RECEIVER) -> list[dict[str, Any]]:
    """In the form of the provisioning API. Contacts of one name are one contact point: all of them are told."""
    address = {"email": "addresses", "dingding": "url", "wecom": "url", "webhook": "url"}
    return [
        {
            "uid": f"{name}-{number}",
            "name": name,
            "type": contact.kind,
            "settings": {address[contact.kind]: contact.address},
            "disableResolveMessage": False,
        }
        for number, contact in enumerate(contacts, 1)
    ]


def _asked(one: Question) -> dict[str, Any]:
    model = {"rawQuery": True, "query": one.text, "resultFormat": "time_series", "refId": "A"}
    return _step("A", DATASOURCE, one.span_s, model | {"intervalMs": 60_000, "maxDataPoints": 1000})


def _reduced(one: Question) -> dict[str, Any]:
    model = {"type": "reduce", "expression": "A", "reducer": "last", "settings": {"mode": "dropNN"}, "refId": "B"}
    return _step("B", _EXPRESSIONS, one.span_s, model)


def _compared(one: Question) -> dict[str, Any]:
    condition = {"evaluator": {"type": "lt", "params": [one.below]}}
    return _step(
        "C", _EXPRESSIONS, one.span_s, {"type": "threshold", "expression": "B", "conditions": [condition], "refId": "C"}
    )


def _step(ref: str, source: str, span_s: int, model: dict[str, Any]) -> dict[str, Any]:
    return {"refId": ref, "datasourceUid": source, "relativeTimeRange": {"from": span_s, "to": 0}, "model": model}
