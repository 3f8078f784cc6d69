"""Points for InfluxDB as lines of its protocol (design: section 5); `influx.py` writes them."""

from __future__ import annotations

from influxdb_client import Point, WritePrecision

from broker.dispatch.cases import CaseValues, Mark


def case_line(case: CaseValues, mark: Mark, at: float, number: int) -> str:
    """A point of `case`. number: its own, so that two of one millisecond stay two."""
    point = Point("case").tag("site", case.site).tag("rule", case.rule).tag("event", mark.event).field("id", case.id)
    for name, seconds in (("review_s", mark.review_s), ("close_s", mark.close_s)):
        if seconds is not None:
            point.field(name, float(seconds))
    return _line(point, round(at * 1000) * 1_000_000 + number % 1_000_000)


def state_line(site: str, rule: str, at: float, *, open_cases: int, overdue: int, oldest_s: float) -> str:
    """A point of `case_state`. oldest_s: age of the oldest open case."""
    point = Point("case_state").tag("site", site).tag("rule", rule)
    point.field("open", open_cases).field("overdue", overdue).field("oldest_s", float(oldest_s))
    return _line(point, round(at) * 1_000_000_000)


def _line(point: Point, ns: int) -> str:
    return str(point.time(ns, WritePrecision.NS).to_line_protocol())
