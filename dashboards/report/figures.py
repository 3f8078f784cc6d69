"""The figures of a month, asked of InfluxDB by the same queries as the boards ask (`dashboards.queries`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from itertools import groupby
from typing import Any

from dashboards import queries
from dashboards.influxql import Influx, InfluxError
from dashboards.queries import Query, Scope
from dashboards.report import ReportError
from dashboards.report.month import HOUR_S, Month

MOST_PLACES = 1000


@dataclass(frozen=True, slots=True)
class Sums:
    """Tallied seconds, added up (design: section 2)."""

    ok_s: float = 0
    violation_s: float = 0
    unknown_s: float = 0
    breach_s: float = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.ok_s + other.ok_s,
            self.violation_s + other.violation_s,
            self.unknown_s + other.unknown_s,
            self.breach_s + other.breach_s,
        )

    @property
    def judged_s(self) -> float:
        return self.ok_s + self.violation_s

    @property
    def compliance(self) -> float | None:
        """None where nothing was judged."""
        return self.ok_s / self.judged_s if self.judged_s else None

    @property
    def unknown_share(self) -> float | None:
        """None where there was nothing to judge."""
        whole = self.judged_s + self.unknown_s
        return self.unknown_s / whole if whole else None


@dataclass(frozen=True, slots=True)
class CaseFigures:
    """Of cases, by what happened in the month. p50, p95: s, nearest rank; None: of none.

    reviewed: taken, or marked as false alarms before anybody took them; late: later than the norm's five minutes.
    ended: closed, or marked as false alarms.
    """

    opened: int = 0
    reopened: int = 0
    reviewed: int = 0
    late: int = 0
    closed: int = 0
    false_alarms: int = 0
    review_p50_s: float | None = None
    review_p95_s: float | None = None
    close_p50_s: float | None = None
    close_p95_s: float | None = None

    @property
    def false_alarm_share(self) -> float | None:
        """Of the cases that ended."""
        ended = self.closed + self.false_alarms
        return self.false_alarms / ended if ended else None


@dataclass(frozen=True, slots=True)
class OpenFigures:
    """Cases that were not over at the end; None: dispatch has counted none in the month."""

    open: int
    overdue: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class RuleFigures:
    """hours: in which it was judged at least once."""

    rule: str
    sums: Sums
    before: Sums
    hours: int
    alarms: int
    cases: CaseFigures


@dataclass(frozen=True, slots=True)
class PlaceFigures:
    source: str
    place: str
    rule: str
    breach_s: float
    compliance: float | None
    unknown_share: float | None


class Watch(StrEnum):
    """What came of an hour of a node."""

    JUDGED = "judged"
    UNKNOWN = "unknown"  # only tallies that say: cannot be judged
    IDLE = "idle"  # the node told of itself, and had nothing to judge
    SILENT = "silent"  # no word of the node


@dataclass(frozen=True, slots=True)
class Stretch:
    """Hours of one kind in a row; Unix s."""

    node: str
    watch: Watch
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Figures:
    """until: Unix s; before the month's end while it is not over. Hours and days are the site's own."""

    site: str
    month: Month
    until: int
    total: Sums
    before: Sums
    alarms: int
    alarms_before: int
    cases: CaseFigures
    cases_before: CaseFigures
    open: OpenFigures | None
    open_before: OpenFigures | None
    rules: tuple[RuleFigures, ...]
    places: tuple[PlaceFigures, ...]
    days: Mapping[date, Sums]
    hours: Mapping[int, Sums]
    watch: Mapping[str, Mapping[Watch, int]]
    """Hours by node."""
    gaps: tuple[Stretch, ...]
    """Stretches in which a node judged nothing though it should have: unknown or silent; the longest first."""


def gather(influx: Influx, site: str, nodes: Iterable[str], month: Month, now: float) -> Figures:
    """nodes: known to dispatch, whether InfluxDB knows them or not. Raises ReportError."""
    until = min(month.stop, int(now) // HOUR_S * HOUR_S)
    if until <= month.start:
        raise ReportError(f"{month} has not begun at the site (or not had an hour yet); choose an earlier month")
    try:
        return _Asked(influx, site, month, until).figures(nodes)
    except InfluxError as error:
        raise ReportError(str(error)) from error


class _Asked:
    def __init__(self, influx: Influx, site: str, month: Month, until: int) -> None:
        self._influx = influx
        self._site = site
        self._month = month
        self._until = until
        self._now = Scope.of(site=site, start=month.start, stop=until)
        self._before = Scope.of(site=site, start=month.before.start, stop=month.before.stop)

    def _rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Tags and columns of each row; `time` in ms."""
        for series in self._influx.rows(query.text):
            for row in series.values:
                yield {**series.tags, **dict(zip(series.columns, row, strict=True))}

    def figures(self, nodes: Iterable[str]) -> Figures:
        month = self._month
        rules, rules_before = self._sums(self._now), self._sums(self._before)
        cases, cases_before = self._cases(self._now, "rule"), self._cases(self._before, "site")
        alarms = self._counts(queries.alarms(self._now, "rule"), "rule", "alarms")
        alarms_before = self._counts(queries.alarms(self._before, "site"), "site", "alarms")
        hours_judged: dict[str, int] = defaultdict(int)
        days = {day: Sums() for day in month.days}
        hours = {hour: Sums() for hour in range(24)}
        for row in self._rows(queries.compliance(self._now, by="rule", hourly=True)):
            if row["ok_s"] is None:  # an hour without tallies; the first may begin before the month
                continue
            sums = _of(row)
            at = month.local(row["time"] / 1000)
            days[at.date()] += sums
            hours[at.hour] += sums
            hours_judged[row["rule"]] += sums.judged_s > 0
        watch, gaps = self._watched(nodes)
        return Figures(
            site=self._site,
            month=month,
            until=self._until,
            total=sum(rules.values(), Sums()),
            before=sum(rules_before.values(), Sums()),
            alarms=sum(alarms.values()),
            alarms_before=sum(alarms_before.values()),
            cases=self._cases(self._now, "site").get(self._site, CaseFigures()),
            cases_before=cases_before.get(self._site, CaseFigures()),
            open=self._open(self._now),
            open_before=self._open(self._before),
            rules=tuple(
                RuleFigures(
                    rule,
                    rules.get(rule, Sums()),
                    rules_before.get(rule, Sums()),
                    hours_judged[rule],
                    alarms.get(rule, 0),
                    cases.get(rule, CaseFigures()),
                )
                for rule in sorted({*rules, *rules_before, *alarms, *cases})
            ),
            places=tuple(
                PlaceFigures(
                    row["source"], row["place"], row["rule"], row["breach_s"], row["compliance"], row["unknown_share"]
                )
                for row in sorted(
                    self._rows(queries.worst_places(self._now, MOST_PLACES)),
                    key=lambda r: (-r["breach_s"], r["source"], r["place"], r["rule"]),
                )
            ),
            days={day: sums for day, sums in days.items() if day <= month.local(self._until - 1).date()},
            hours=hours,
            watch=watch,
            gaps=gaps,
        )

    def _sums(self, scope: Scope) -> dict[str, Sums]:
        return {row["rule"]: _of(row) for row in self._rows(queries.compliance(scope, by="rule"))}

    def _counts(self, query: Query, tag: str, column: str) -> dict[str, int]:
        return {row[tag]: int(row[column] or 0) for row in self._rows(query)}

    def _cases(self, scope: Scope, by: queries.CaseBy) -> dict[str, CaseFigures]:
        found: dict[str, dict[str, Any]] = defaultdict(dict)
        counted = {"opened": "opened", "reopened": "reopened", "closed": "closed"}
        counted["false_alarm"] = "false_alarms"
        for row in self._rows(queries.case_steps(scope, by)):
            if row["event"] in counted:
                found[row[by]][counted[row["event"]]] = int(row["cases"])
        for name, count in self._counts(queries.late_reviews(scope, by), by, "late").items():
            found[name]["late"] = count
        for percent in (50, 95):
            for row in self._rows(queries.review_time(scope, percent, by=by)):
                found[row[by]] |= {"reviewed": int(row["cases"]), f"review_p{percent}_s": row["review_s"]}
            for row in self._rows(queries.close_time(scope, percent, by=by)):
                found[row[by]][f"close_p{percent}_s"] = row["close_s"]
        return {name: CaseFigures(**figures) for name, figures in found.items()}

    def _open(self, scope: Scope) -> OpenFigures | None:
        for row in self._rows(queries.open_cases(scope)):
            if row["open"] is not None:
                return OpenFigures(int(row["open"]), int(row["overdue"] or 0), row["oldest_s"] or 0.0)
        return None

    def _watched(self, nodes: Iterable[str]) -> tuple[dict[str, dict[Watch, int]], tuple[Stretch, ...]]:
        seen: dict[str, dict[int, Watch]] = {node: {} for node in nodes}
        for row in self._rows(queries.journal_depth(self._now)):
            if row["rows"] is not None:
                seen.setdefault(row["node"], {})[row["time"] // 1000] = Watch.IDLE
        for row in self._rows(queries.compliance(self._now, by="node", hourly=True)):
            if row["ok_s"] is not None:
                sums = _of(row)
                watch = Watch.JUDGED if sums.judged_s else Watch.UNKNOWN if sums.unknown_s else Watch.IDLE
                seen.setdefault(row["node"], {})[row["time"] // 1000] = watch
        counts: dict[str, dict[Watch, int]] = {}
        gaps: list[Stretch] = []
        for node in sorted(seen):
            hours = [(at, seen[node].get(at, Watch.SILENT)) for at in self._month.hours(self._until)]
            counts[node] = {watch: sum(w is watch for _, w in hours) for watch in Watch}
            for watch, run in groupby(hours, key=lambda hour: hour[1]):
                starts = [at for at, _ in run]
                if watch in {Watch.UNKNOWN, Watch.SILENT}:
                    gaps.append(Stretch(node, watch, starts[0], starts[-1] + HOUR_S))
        return counts, tuple(sorted(gaps, key=lambda gap: (gap.start - gap.stop, gap.start, gap.node)))


def _of(row: Mapping[str, Any]) -> Sums:
    return Sums(*(row[name] or 0 for name in ("ok_s", "violation_s", "unknown_s", "breach_s")))
