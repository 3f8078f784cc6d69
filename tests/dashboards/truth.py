"""What each query must answer, computed from the tables of `world` with pandas, by other arithmetic than InfluxQL's.

Every function gives a table with the group's tags as index, and for a history `time` (Unix ms) behind them; only groups
and steps that have points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd

from dashboards.queries import Scope
from tests.dashboards.world import SECONDS, World

Names: TypeAlias = Mapping[str, str | tuple[str, ...]]


@dataclass(frozen=True)
class Picked:
    """The points that are asked for: from `start` on and before `stop`, Unix s, with these `names` of tags, if any."""

    start: int
    stop: int
    names: Names = field(default_factory=dict)
    zone: str = "UTC"
    every: str = "1h"

    @property
    def scope(self) -> Scope:
        return Scope.of(start=self.start, stop=self.stop, zone=self.zone, every=self.every, **self.names)

    def of(self, table: pd.DataFrame) -> pd.DataFrame:
        kept = (table["time"] >= self.start * 10**9) & (table["time"] < self.stop * 10**9)
        for tag, wanted in self.names.items():
            if tag in table.columns:
                kept &= table[tag].isin([wanted] if isinstance(wanted, str) else list(wanted))
        return table.loc[kept]

    def steps(self, ns: pd.Series[Any]) -> pd.Series[Any]:
        """The start of the step that each moment lies in, Unix ms: by the clock on the wall in `zone`."""
        local = pd.to_datetime(ns, utc=True).dt.tz_convert(self.zone)
        summer = np.array([bool(moment.dst()) for moment in local], dtype=bool)
        wall = local.dt.tz_localize(None).dt.floor(self.every.replace("d", "D"))
        starts = wall.dt.tz_localize(self.zone, ambiguous=summer, nonexistent="shift_forward").dt.tz_convert("UTC")
        return (starts - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(milliseconds=1)


Truth: TypeAlias = Callable[[World, Picked], pd.DataFrame]

GROUPS: Final[Mapping[str, list[str]]] = {
    "rule": ["rule"],
    "site": ["site"],
    "source": ["site", "source"],
    "place": ["site", "source", "place"],
    "node": ["site", "node"],
    "severity": ["severity"],
}


def _grouped(table: pd.DataFrame, keys: Sequence[str], picked: Picked, *, history: bool) -> Any:
    if not history:
        return table.groupby(list(keys))
    # Few moments, many points: the calendar is asked once for each moment.
    moments = pd.Series(table["time"].unique())
    step = dict(zip(moments, picked.steps(moments), strict=True)) if len(moments) else {}
    stepped = table.assign(time=table["time"].map(step))
    return stepped.groupby([*keys, "time"])


def compliance(world: World, picked: Picked, *, by: str, history: bool = False, table: str = "hour") -> pd.DataFrame:
    """By shares: each point's own share of seconds in order, weighed with its seconds judged; and what is left of all
    seconds when those that were judged are taken away."""
    points = picked.of(getattr(world, table))
    every = points[["ok_s", "violation_s", "unknown_s"]].sum(axis=1)
    judged = every - points["unknown_s"]
    kept_share = 1 - points["violation_s"] / judged.where(judged > 0)
    points = points.assign(judged=judged, every=every, kept=(kept_share * judged).fillna(0.0))
    sums = _grouped(points, GROUPS[by], picked, history=history)[[*SECONDS, "judged", "every", "kept"]].sum()
    sums["compliance"] = sums["kept"].div(sums["judged"].where(sums["judged"] > 0))
    sums["unknown_share"] = 1 - sums["judged"].div(sums["every"].where(sums["every"] > 0))
    return pd.DataFrame(sums[[*SECONDS, "compliance", "unknown_share"]])


def worst(world: World, picked: Picked, *, table: str = "hour") -> pd.DataFrame:
    """All places with a breach, the longest first."""
    tags = ["site", "source", "place", "rule"]
    points = picked.of(getattr(world, table))
    sums = points.groupby(tags)[list(SECONDS)].sum()
    sums = sums[sums["breach_s"] > 0].sort_values("breach_s", ascending=False)
    sums["compliance"] = 1 - sums["violation_s"] / (sums["ok_s"] + sums["violation_s"])
    sums["unknown_share"] = sums["unknown_s"] / sums[["ok_s", "violation_s", "unknown_s"]].sum(axis=1)
    return sums[["breach_s", "compliance", "unknown_share"]]


def alarms(world: World, picked: Picked, *, by: str, history: bool = False) -> pd.DataFrame:
    raised = picked.of(world.alarm).query("event == 'raised'")
    return pd.DataFrame(_grouped(raised, GROUPS[by], picked, history=history)["alarm"].nunique().to_frame("alarms"))


def open_cases(world: World, picked: Picked, *, history: bool = False) -> pd.DataFrame:
    """From what happened to the cases, not from what dispatch noted: at the last of its notes in each step."""
    notes = pd.Series(np.sort(picked.of(world.case_state.assign(rule="", site=""))["time"].unique()))
    if "site" in picked.names or "rule" in picked.names:
        notes = pd.Series(np.sort(world.case_state["time"].unique()))
        notes = notes[(notes >= picked.start * 10**9) & (notes < picked.stop * 10**9)]
    keys = picked.steps(notes) if history else pd.Series(0, index=notes.index)
    rows = []
    cases = _named(world.cases, picked)
    for step, at in notes.groupby(keys.to_numpy()).max().items():
        now = at / 1e9
        alive = cases[(cases["opened"] <= now) & ~(cases["ended"] <= now)]
        late = alive[(now - alive["opened"] > 300) & ~(alive["taken"] <= now)]
        for site, group in alive.groupby("site"):
            rows.append((site, step, len(group), (late["site"] == site).sum(), now - group["opened"].min()))
    table = pd.DataFrame(rows, columns=["site", "time", "open", "overdue", "oldest_s"])
    return table.set_index(["site", "time"] if history else "site").drop(columns=[] if history else ["time"])


def _named(table: pd.DataFrame, picked: Picked) -> pd.DataFrame:
    return Picked(0, 2**33, picked.names).of(table.assign(time=10**9))


def case_steps(world: World, picked: Picked, *, by: str) -> pd.DataFrame:
    return picked.of(world.case).groupby([by, "event"]).size().to_frame("cases")


def late_reviews(world: World, picked: Picked, *, by: str) -> pd.DataFrame:
    taken = picked.of(world.case).query("event in ('assigned', 'false_alarm')")
    late = taken["review_s"].gt(300).groupby(taken[by]).sum()
    return late[late > 0].to_frame("late")


def false_alarms(world: World, picked: Picked, *, by: str) -> pd.DataFrame:
    """From the words of the steps, not from the numbers beside them."""
    steps = picked.of(world.case)
    counts = pd.crosstab(steps[by], steps["event"]).reindex(columns=["false_alarm", "closed"], fill_value=0)
    ended = counts.sum(axis=1)
    table = pd.DataFrame({"false_alarms": counts["false_alarm"], "ended": ended})
    table["false_alarm_share"] = 1 - counts["closed"] / ended
    return table[ended > 0]


def percentile(
    world: World, picked: Picked, *, events: tuple[str, ...], column: str, percent: int, by: str | None
) -> pd.DataFrame:
    """The k-th smallest of n, where k is n · percent / 100, rounded half up."""
    steps = picked.of(world.case)
    steps = steps[steps["event"].isin(events) & steps[column].notna()].assign(all="")

    def kth(values: pd.Series[float]) -> float:
        k = (Decimal(len(values)) * percent / 100).to_integral_value(ROUND_HALF_UP)
        return float(values.sort_values().iloc[int(k) - 1])

    groups = steps.groupby(by or "all")[column]
    return pd.DataFrame({column: groups.apply(kth), "cases": groups.size()})


def sensor(world: World, picked: Picked, *, quantity: str) -> pd.DataFrame:
    points = picked.of(world.sensor)
    points = points[(points["quantity"] == quantity) & points["quality"].isin(["good", "uncertain"])]
    return _spread(points, ["site", "node", "sensor"], picked, ("mean", "min", "max"))


def _spread(points: pd.DataFrame, keys: list[str], picked: Picked, columns: tuple[str, str, str]) -> pd.DataFrame:
    mean, low, high = columns
    groups = _grouped(points, keys, picked, history=True)
    table = pd.DataFrame({"mean": groups[mean].mean(), "min": groups[low].min(), "max": groups[high].max()})
    return table.dropna(how="all")


def node_health(world: World, picked: Picked, *, column: str) -> pd.DataFrame:
    return _spread(picked.of(world.node), GROUPS["node"], picked, (column, column, column))


def last_seen(world: World, picked: Picked) -> pd.DataFrame:
    points = picked.of(world.node).sort_values("time").drop_duplicates(GROUPS["node"], keep="last")
    points = points.assign(time=points["time"] // 10**6)
    return points.set_index(GROUPS["node"])[["time", "fps"]]


def latency(world: World, picked: Picked) -> pd.DataFrame:
    groups = _grouped(picked.of(world.node), GROUPS["node"], picked, history=True)
    return pd.DataFrame({"p50_ms": groups["latency_p50_ms"].mean(), "p95_ms": groups["latency_p95_ms"].max()})


def journal_depth(world: World, picked: Picked) -> pd.DataFrame:
    groups = _grouped(picked.of(world.node), GROUPS["node"], picked, history=True)
    return pd.DataFrame({"rows": groups["journal_depth"].max()})


def _all() -> dict[str, Truth]:
    kinds = ("rule", "site", "source", "place", "node")
    steps = ((False, ""), (True, "_hourly"))
    found: dict[str, Truth] = {"last_seen": last_seen, "latency": latency, "journal_depth": journal_depth}
    for history, end in steps:
        found |= {f"compliance_by_{by}{end}": partial(compliance, by=by, history=history) for by in kinds}
        found |= {f"alarms_by_{by}{end}": partial(alarms, by=by, history=history) for by in (*kinds, "severity")}
    for by in ("site", "rule"):
        found[f"case_steps_by_{by}"] = partial(case_steps, by=by)
        found[f"late_reviews_by_{by}"] = partial(late_reviews, by=by)
        found[f"false_alarm_share_by_{by}"] = partial(false_alarms, by=by)
    for name, events in (("review", ("assigned", "false_alarm")), ("close", ("closed",))):
        for percent in (50, 95):
            for group, end in ((None, ""), ("site", "_by_site"), ("rule", "_by_rule")):
                found[f"{name}_time_p{percent}{end}"] = partial(
                    percentile, events=events, column=f"{name}_s", percent=percent, by=group
                )
    for column in (
        "fps", "latency_p50_ms", "latency_p95_ms", "cpu_temp_c", "cpu_percent", "rss_mb", "disk_free_mb",
        "journal_depth",
    ):  # fmt: skip
        found[f"node_health_{column}"] = partial(node_health, column=column)
    return found


TRUTH: Final[Mapping[str, Truth]] = _all()
"""By the name of the query. `worst_places` and the states of cases are compared in their own way."""
