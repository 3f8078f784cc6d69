"""Points for InfluxDB as lines of its protocol (design: section 5); `influx.py` writes them."""

from __future__ import annotations

from collections.abc import Mapping

from influxdb_client.client.write.point import Point

from broker.dispatch.cases import CaseValues, Mark


def case_line(case: CaseValues, mark: Mark, at: float, number: int) -> str:
    """A point of `case`. number: its own, so that two of one millisecond stay two.

    false_alarm: 1 or 0 on what ends a case, so that InfluxQL, which cannot divide one count by another, has their mean.
    """
    fields: dict[str, str | float] = {"id": case.id}
    if mark.close_s is not None:
        fields["false_alarm"] = float(mark.event == "false_alarm")
    for name, seconds in (("review_s", mark.review_s), ("close_s", mark.close_s)):
        if seconds is not None:
            fields[name] = float(seconds)
    tags = {"site": case.site, "rule": case.rule, "event": mark.event}
    return _line("case", tags, fields, round(at * 1000) * 1_000_000 + number % 1_000_000)


def state_line(site: str, rule: str, at: float, *, open_cases: int, overdue: int, oldest_s: float) -> str:
    """A point of `case_state`. oldest_s: age of the oldest open case."""
    fields = {"open": open_cases, "overdue": overdue, "oldest_s": float(oldest_s)}
    return _line("case_state", {"site": site, "rule": rule}, fields, round(at) * 1_000_000_000)


def alive_line(site: str, at: float, *, nodes_silent: int, disk_free: float) -> str:
    """A point of `dispatch`, which says that it is alive. disk_free: share of its disk, 0 to 1."""
    fields = {"nodes_silent": nodes_silent, "disk_free": float(disk_free)}
    return _line("dispatch", {"site": site}, fields, round(at) * 1_000_000_000)


def shift_line(site: str, name: str, start: float, end: float, number: int) -> str:
    """A point of `shift`, at its start. number: its own, so that two that start at once stay two."""
    fields: dict[str, str | float] = {"shift": name, "end_ms": round(end * 1000)}
    return _line("shift", {"site": site}, fields, round(start) * 1_000_000_000 + number % 1_000_000)


def _line(measurement: str, tags: Mapping[str, str], fields: Mapping[str, str | float], ns: int) -> str:
    record = {"measurement": measurement, "tags": tags, "fields": fields, "time": ns}
    return str(Point.from_dict(record).to_line_protocol())
