"""What a report must say of a site's month, computed from the tables of `world` with pandas; and what stands in one.

Nothing here asks the report's own code but for its columns' order.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from openpyxl import load_workbook
from pypdf import PdfReader

from tests.dashboards.world import HOUR, World

NAMES: Final = {"helmet": "Hard hat", "night_reflective": "Reflective vest at night", "intrusion": "No-entry zone"}
"""Of the rules of `world` that Banksman knows; others go by their id."""


@dataclass(frozen=True)
class Seconds:
    value: float


@dataclass(frozen=True)
class Share:
    value: float


@dataclass(frozen=True)
class More:
    """A difference of what it holds."""

    value: Any


Row = list[Any]


@dataclass(frozen=True)
class Span:
    """A month at a site, Unix s; `until`: what the report covers."""

    start: int
    stop: int
    until: int
    zone: ZoneInfo

    @classmethod
    def of(cls, year: int, month: int, zone: str, now: int) -> Span:
        following = (year + 1, 1) if month == 12 else (year, month + 1)
        start, stop = (int(datetime(y, m, 1, tzinfo=ZoneInfo(zone)).timestamp()) for y, m in ((year, month), following))
        return cls(start, stop, min(stop, now - now % HOUR), ZoneInfo(zone))

    @property
    def before(self) -> Span:
        day = datetime.fromtimestamp(self.start, self.zone) - timedelta(days=10)
        return Span.of(day.year, day.month, self.zone.key, self.stop)

    def of_site(self, table: pd.DataFrame, site: str) -> pd.DataFrame:
        at = table["time"] / 1e9
        return table[(table["site"] == site) & (at >= self.start) & (at < self.until)]

    def local(self, at: int) -> datetime:
        return datetime.fromtimestamp(at, self.zone).replace(tzinfo=None)


def _sums(rows: pd.DataFrame) -> Row:
    """compliance, unknown, judged, breach."""
    ok, bad, unknown, breach = (int(rows[c].sum()) for c in ("ok_s", "violation_s", "unknown_s", "breach_s"))
    return [
        Share(1 - bad / (ok + bad)) if ok + bad else None,
        Share(1 - (ok + bad) / (ok + bad + unknown)) if ok + bad + unknown else None,
        Seconds(ok + bad),
        Seconds(breach),
    ]


def _rank(values: pd.Series[Any], percent: int) -> Seconds | None:
    """Nearest rank, as InfluxQL has it: n·p rounded half up."""
    ordered = sorted(values.dropna())
    return Seconds(ordered[int(np.floor(len(ordered) * percent / 100 + 0.5)) - 1]) if ordered else None


def _cases(steps: pd.DataFrame) -> Row:
    """opened, reopened, taken, late, review p50, p95, closed, close p50, p95, false alarms, their share."""

    def of(event: str) -> pd.DataFrame:
        return steps[steps["event"] == event]

    closed, false = of("closed"), of("false_alarm")
    taken = pd.concat([of("assigned"), false[false["review_s"].notna()]])
    ended = len(closed) + len(false)
    return [
        len(of("opened")), len(of("reopened")), len(taken), int((taken["review_s"] > 300).sum()),
        _rank(taken["review_s"], 50), _rank(taken["review_s"], 95), len(closed),
        _rank(closed["close_s"], 50), _rank(closed["close_s"], 95), len(false),
        Share(len(false) / ended) if ended else None,
    ]  # fmt: skip


def _open(states: pd.DataFrame) -> Row:
    """open, overdue, age of the oldest."""
    if states.empty:
        return [None, None, None]
    last = states.sort_values("time").groupby("rule").last()
    open_cases = int(last["open"].sum())
    return [open_cases, int(last["overdue"].sum()), Seconds(last["oldest_s"].max()) if open_cases else None]


def _less(now: Any, before: Any) -> More | None:
    if now is None or before is None:
        return None
    return More(type(now)(now.value - before.value)) if isinstance(now, Seconds | Share) else More(now - before)


def tables(world: World, site: str, span: Span, nodes: set[str]) -> dict[str, list[Row]]:
    """Rows by sheet; texts in English."""
    hour, alarm, case, state, node = (
        span.of_site(t, site) for t in (world.hour, world.alarm, world.case, world.case_state, world.node)
    )
    hour_before, alarm_before, case_before, state_before = (
        span.before.of_site(t, site) for t in (world.hour, world.alarm, world.case, world.case_state)
    )
    raised, raised_before = alarm[alarm["event"] == "raised"], alarm_before[alarm_before["event"] == "raised"]

    now = [*_sums(hour), len(raised), *_cases(case), *_open(state)]
    before = [*_sums(hour_before), len(raised_before), *_cases(case_before), *_open(state_before)]
    figures = [
        "Compliance, all rules", "Could not be judged", "Judged time", "Breach time", "Alarms raised", "Cases opened",
        "Cases opened again", "Reviews", "of these later than 5 minutes", "Review time, p50",
        "Review time, p95", "Cases closed", "Time to close, p50", "Time to close, p95", "Cases marked as false alarms",
        "share of the cases ended", "Cases open at the end", "of these overdue: not taken within 5 minutes",
        "age of the oldest",
    ]  # fmt: skip
    summary = [[f, n, b, _less(n, b)] for f, n, b in zip(figures, now, before, strict=True)]

    rules, cases = [], []
    for rule in sorted({*hour["rule"], *hour_before["rule"], *raised["rule"], *case["rule"]}):
        mine = hour[hour["rule"] == rule]
        compliance, unknown, judged, breach = _sums(mine)
        was = _sums(hour_before[hour_before["rule"] == rule])[0]
        hours = mine.loc[mine["ok_s"] + mine["violation_s"] > 0, "time"].nunique()
        alarms = int((raised["rule"] == rule).sum())
        name = NAMES.get(rule, rule)
        rules.append([name, compliance, unknown, judged, hours, breach, alarms, was, _less(compliance, was)])
        steps = case[case["rule"] == rule]
        if not steps.empty:
            opened, _, *others = _cases(steps)
            cases.append([name, opened, *others])

    places = [
        ["whole picture" if place == "-" else place, source, NAMES.get(str(rule), rule), breach, compliance, unknown]
        for (source, place, rule), rows in hour.groupby(["source", "place", "rule"])
        for compliance, unknown, _, breach in [_sums(rows)]
        if breach.value > 0
    ]
    places.sort(key=lambda row: -row[3].value)

    moments = pd.to_datetime(hour["time"], utc=True).dt.tz_convert(span.zone.key)
    first = datetime.fromtimestamp(span.start, span.zone).date()
    count = (datetime.fromtimestamp(span.until - 1, span.zone).date() - first).days + 1
    days = [[d, *_sums(hour[moments.dt.date == d])] for d in (first + timedelta(days=n) for n in range(count))]
    of_day = [[h, *_sums(hour[moments.dt.hour == h])] for h in range(24)]

    nodes_rows, gaps = [], []
    for name in sorted(nodes | set(hour["node"]) | set(node["node"])):
        heard = set((node.loc[node["node"] == name, "time"] // 10**9 // HOUR * HOUR).tolist())
        sums = hour[hour["node"] == name].groupby("time")[["ok_s", "violation_s", "unknown_s"]].sum()
        tallied = dict(zip(sums.index, sums.to_numpy().tolist(), strict=True))
        kinds = []
        for at in range(-(-span.start // HOUR) * HOUR, span.until, HOUR):
            ok, bad, unknown = tallied.get(at * 10**9, (0, 0, 0))
            kind = "judged" if ok + bad else "could not judge" if unknown else None
            kinds.append((at, kind or ("idle" if at in heard or at * 10**9 in tallied else "not heard")))
        count_of = [sum(k == kind for _, k in kinds) for kind in ("judged", "could not judge", "idle", "not heard")]
        nodes_rows.append([name, *count_of])
        for kind, run in groupby(kinds, key=lambda k: k[1]):
            starts = [at for at, _ in run]
            if kind in {"could not judge", "not heard"}:
                end = starts[-1] + HOUR
                gaps.append([name, kind, span.local(starts[0]), span.local(end), Seconds(end - starts[0])])
    gaps.sort(key=lambda row: (-row[4].value, row[2], row[0]))
    return {
        "Summary": summary, "Rules": rules, "Cases": cases, "Places": places, "Days": days, "Hours": of_day,
        "Nodes": nodes_rows, "Gaps": gaps,
    }  # fmt: skip


# -- what stands in a report -------------------------------------------------------------------------------------------


def squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def pages(pdf: bytes) -> list[str]:
    """The text of each page, without any white space."""
    return [squeezed(page.extract_text()) for page in PdfReader(io.BytesIO(pdf)).pages]


def on_paper(cell: Any) -> str:  # noqa: PLR0911 a table
    """How an English report prints a value, without white space."""
    match cell:
        case None:
            return "–"
        case Share(value):
            text = f"{value:.1%}"
            return {"0.0%": "<0.1%" if value > 0 else text, "100.0%": ">99.9%" if value < 1 else text}.get(text, text)
        case Seconds(value) if round(value) < 60:
            return f"{round(value)}s"
        case Seconds(value) if round(value) < 3600:
            return f"{round(value) // 60}min{round(value) % 60}s"
        case Seconds(value):
            return f"{round(value / 60) // 60}h{round(value / 60) % 60}min"
        case More(Share(value)):
            return f"{_sign(round(value * 100, 1))}{abs(value) * 100:.1f}pp"
        case More(Seconds(value)):
            return _sign(value) + on_paper(Seconds(abs(value)))
        case More(value):
            return f"{_sign(value)}{abs(value)}"
        case datetime():
            return squeezed(f"{cell:%Y-%m-%d %H:%M}")
        case _:
            return squeezed(str(cell))


def _sign(value: float) -> str:
    return "±" if value == 0 else "+" if value > 0 else "−"


def sheets(xlsx: bytes) -> dict[str, list[list[Any]]]:
    """Rows by sheet as they were stored, without headings."""
    book = load_workbook(io.BytesIO(xlsx))
    return {sheet.title: [[cell.value for cell in row] for row in sheet.iter_rows(min_row=2)] for sheet in book}


def in_workbook(cell: Any) -> Any:  # noqa: PLR0911 a table
    """What a workbook holds of a value."""
    match cell:
        case Share(value):
            return value
        case Seconds(value):
            return timedelta(seconds=value)
        case More(Share(value)):
            return value * 100
        case More(Seconds(value)):
            return value / 3600
        case More(value):
            return value
        case date() if not isinstance(cell, datetime):
            return datetime(cell.year, cell.month, cell.day, tzinfo=UTC).replace(tzinfo=None)
        case _:
            return cell
