"""A made-up month of 20 sites with known truth: every measurement of design.md section 5, as tables and as lines.

March 2026: Europe's clocks went forward on the 29th, and for the 26 hours around that day there are minutes too. Names
are as odd as the contract allows, and several begin like others. What is hard on the arithmetic is put there on
purpose; see `Oddities`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pandas as pd

HOUR: Final = 3600
BERLIN, SHANGHAI, KATHMANDU = "Europe/Berlin", "Asia/Shanghai", "Asia/Kathmandu"


def unix(*date: int) -> int:
    """Unix s of a moment in UTC."""
    return int(datetime(*date, tzinfo=UTC).timestamp())  # type: ignore[misc,arg-type]


MONTH: Final = (unix(2026, 2, 28, 23), unix(2026, 3, 31, 22))
"""March in Berlin: an hour short of 31 days."""
AROUND: Final = (unix(2026, 2, 28), unix(2026, 4, 1, 12))
"""For which there are hours."""
MINUTES: Final = (unix(2026, 3, 28, 22), unix(2026, 3, 30))
"""For which there are minutes, and hours that are their sums."""
DAY: Final = (unix(2026, 3, 28, 23), unix(2026, 3, 29, 22))
"""The 29th in Berlin: 23 hours."""

SECONDS: Final = ("ok_s", "violation_s", "unknown_s", "breach_s")
INSTANCE: Final = ("site", "node", "source", "place", "rule")
RULES: Final = ("helmet", "helmet_", "helmet-2", "0", "a_-_", "x" * 64, "night_reflective", "intrusion")
"""All match `[a-z0-9][a-z0-9_-]{0,63}`."""
PLACES: Final = ("-", "pit", "pit-2", "0")
SEVERITIES: Final = ("info", "warning", "critical")


class Oddities:
    """What is hard, and where it is."""

    blind_site = "s-3"  # every second of it is unknown
    idle_site = "s-4"  # rows of nothing but zeros
    silent_site = "s-5"  # no points at all for two days within the month
    gone_camera = ("s-6", "cam-0")  # not there from the 10th on
    replaced_node = "s-7"  # from the 15th on the same cameras report through another node


def site_names(count: int) -> tuple[str, ...]:
    """`s-1` and `s-10` begin alike, as do `0` and `0-`."""
    return ("0", "0-", *(f"s-{n}" for n in range(1, count - 1)))


@dataclass(frozen=True)
class World:
    """Tables with a column `time` (Unix ns, UTC) and a column a tag and field; one row a point as it stands in the end.

    minute, hour: tallies. alarm, case, case_state, sensor, node, shift: the measurements of those names.
    cases: what really happened, one row a case: `opened`, `ended` (NaN: not over), Unix s.
    """

    minute: pd.DataFrame
    hour: pd.DataFrame
    alarm: pd.DataFrame
    case: pd.DataFrame
    case_state: pd.DataFrame
    sensor: pd.DataFrame
    node: pd.DataFrame
    shift: pd.DataFrame
    cases: pd.DataFrame

    def lines(self, batch: int = 20_000) -> Iterator[bytes]:
        """What is written, in pieces. A tenth of all points comes first as it stood a while before, and again."""
        for name, tags in TAGS.items():
            table = getattr(self, TABLES[name])
            early = table.iloc[3::10].copy()
            for column in early.columns.intersection(["ok_s", "unknown_s", "mean", "fps", "open"]):
                early[column] = early[column] // 2
            texts = [*_lines(name, tags, early), *_lines(name, tags, table), *_lines(name, tags, _again(table))]
            for first in range(0, len(texts), batch):
                yield "\n".join(texts[first : first + batch]).encode()


def _again(table: pd.DataFrame) -> pd.DataFrame:
    """Points that are sent once more, as they stand: an answer was lost."""
    return table.iloc[2::7]


TAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "compliance": INSTANCE,
    "compliance_1h": INSTANCE,
    "alarm": (*INSTANCE, "severity", "event"),
    "sensor": ("site", "node", "sensor", "quantity"),
    "node": ("site", "node"),
    "case": ("site", "rule", "event"),
    "case_state": ("site", "rule"),
    "shift": ("site",),
}
TABLES: Final = {name: name for name in TAGS} | {"compliance": "minute", "compliance_1h": "hour"}


def _lines(measurement: str, tags: tuple[str, ...], table: pd.DataFrame) -> list[str]:
    """Names of the contract need no escaping; strings here hold no quotes."""
    heads = pd.Series(measurement, index=table.index)
    for tag in tags:
        heads += f",{tag}=" + table[tag].astype(str)
    fields = pd.Series("", index=table.index)
    for name in table.columns.difference([*tags, "time"], sort=False):
        column = table[name]
        if pd.api.types.is_integer_dtype(column):
            text = column.astype(str) + "i"
        elif pd.api.types.is_float_dtype(column):
            text = column.map(repr).where(column.notna(), "")
        else:
            text = ('"' + column.astype(str) + '"').where(column.notna(), "")
        fields += (f",{name}=" + text).where(text != "", "")
    return list(heads + " " + fields.str[1:] + " " + table["time"].astype(str))


# -- the month ---------------------------------------------------------------------------------------------------------


def world(sites: int = 20, instances: int = 6, *, seed: int = 5, state_every: int = 600) -> World:
    """instances: rule instances a site; state_every: seconds between points of `case_state` (dispatch: 60)."""
    rng = np.random.default_rng(seed)
    names = site_names(sites)
    minute, hour = _tallies(rng, names, instances)
    cases, steps = _cases(rng, names)
    return World(
        minute=minute,
        hour=hour,
        alarm=_alarms(rng, hour),
        case=steps,
        case_state=_states(cases, state_every),
        sensor=_sensors(rng, names[:2]),
        node=_nodes(rng, names),
        shift=_shifts(names),
        cases=cases,
    )


def _places(names: Iterable[str], instances: int) -> pd.DataFrame:
    rows = [
        (site, "n-1", f"cam-{i % 3}", PLACES[(i + n) % len(PLACES)], RULES[(2 * i + i // 12 + n) % len(RULES)], i)
        for n, site in enumerate(names)
        for i in range(instances)
    ]
    table = pd.DataFrame(rows, columns=[*INSTANCE, "i"]).drop_duplicates(list(INSTANCE))
    return table.reset_index(drop=True)


def _tallies(rng: np.random.Generator, names: tuple[str, ...], instances: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Minutes of the short stretch, and hours: sums of those, or made up likewise."""
    places = _places(names, instances)
    minute = _odd(_random(rng, places, np.arange(*MINUTES, 60), 60, there=0.9))
    hours = np.arange(*AROUND, HOUR)
    made_up = _odd(_random(rng, places, hours[(hours < MINUTES[0]) | (hours >= MINUTES[1])], HOUR, there=0.6))
    by_hour = minute.assign(time=minute["time"] // (HOUR * 10**9) * (HOUR * 10**9)).groupby(
        [*INSTANCE, "time"], as_index=False, sort=False
    )
    summed = by_hour.agg(dict.fromkeys(SECONDS, "sum") | {"subjects": "max"})
    return minute, pd.concat([made_up, summed], ignore_index=True)


def _random(
    rng: np.random.Generator, places: pd.DataFrame, times: np.ndarray[Any, Any], length: int, there: float
) -> pd.DataFrame:
    """there: share of the steps in which somebody was there to be judged; else there is no row."""
    table = places.merge(pd.DataFrame({"time": times}), how="cross")
    edge = table["time"].isin([*MONTH, MONTH[0] - HOUR, MONTH[1] - HOUR, *DAY, DAY[0] - 60, DAY[1] - 60])
    table = table[(rng.random(len(table)) < there) | edge].reset_index(drop=True)
    n = len(table)
    subjects = rng.integers(1, 6, n)
    total = rng.integers(1, length + 1, n) * subjects
    unknown = np.where(rng.random(n) < 0.1, total, (total * rng.random(n) * 0.4).astype(int))
    violation = ((total - unknown) * rng.random(n) * (rng.random(n) < 0.3)).astype(int)
    return table.assign(
        ok_s=total - unknown - violation,
        violation_s=violation,
        unknown_s=unknown,
        breach_s=np.minimum(violation, -(-violation // subjects) + rng.integers(0, 3, n)),
        subjects=subjects,
    )


def _odd(table: pd.DataFrame) -> pd.DataFrame:
    at = table["time"]
    silent = (table["site"] == Oddities.silent_site) & at.between(unix(2026, 3, 17), unix(2026, 3, 19) - 1)
    site, camera = Oddities.gone_camera
    gone = (table["site"] == site) & (table["source"] == camera) & (at >= unix(2026, 3, 10))
    table = table[~silent & ~gone].copy()
    judged, ok, bad = table["ok_s"] + table["violation_s"], "ok_s", "violation_s"
    blind = (table["site"] == Oddities.blind_site) | (table["i"] == 4)
    table.loc[blind, "unknown_s"] += judged[blind]
    table.loc[blind, [ok, bad, "breach_s"]] = 0
    table.loc[table["site"] == Oddities.idle_site, list(SECONDS)] = 0
    replaced = (table["site"] == Oddities.replaced_node) & (table["time"] >= unix(2026, 3, 15))
    table.loc[replaced, "node"] = "n-2"
    return table.assign(time=table["time"] * 10**9).drop(columns="i").reset_index(drop=True)


def _alarms(rng: np.random.Generator, hour: pd.DataFrame) -> pd.DataFrame:
    """Some where there was a breach; each raised, some updated, most cleared; two of one millisecond."""
    raised = hour.loc[hour["violation_s"] > 0, [*INSTANCE, "time"]].sample(frac=0.2, random_state=1)
    raised = raised.reset_index(drop=True)
    n = len(raised)
    raised["alarm"] = [f"a-{k}" for k in range(n)]
    raised["severity"] = rng.choice(SEVERITIES, n)
    raised["time"] += rng.integers(0, HOUR, n) * 10**9
    edges = [MONTH[0] * 10**9, MONTH[0] * 10**9, MONTH[1] * 10**9, MONTH[1] * 10**9 - 10**6, MONTH[0] * 10**9 - 10**6]
    raised.loc[: len(edges) - 1, "time"] = edges
    events = [
        raised.assign(event="raised"),
        raised[raised.index % 3 == 0].assign(event="updated", time=lambda t: t["time"] + 30 * 10**9),
        raised[raised.index % 5 != 0].assign(event="cleared", time=lambda t: t["time"] + 90 * 10**9),
    ]
    table = pd.concat(events, ignore_index=True)
    table["id"] = [f"e-{k}" for k in range(len(table))]
    table["time"] += (np.arange(len(table)) * 7919) % 10**6
    return table.assign(subjects=1, confidence=0.5, duration_s=12.5)


def _cases(rng: np.random.Generator, names: tuple[str, ...]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What happened, and the points that tell it. Some are never taken, some never end, some are opened again."""
    cases: list[dict[str, Any]] = []
    steps: list[dict[str, Any]] = []

    def step(case: dict[str, Any], event: str, at: float, **fields: float) -> None:
        ns = round(at * 1000) * 10**6 + (len(steps) * 7919) % 10**6
        kept = {key: case[key] for key in ("site", "rule", "id")}
        steps.append(kept | {"event": event, "time": ns} | fields)

    for n in range(14 * len(names)):
        site, rule = names[n % (len(names) - 2)], RULES[n % 5]  # the last two sites have none
        opened = MONTH[0] + 0.25 * float(rng.integers(-2 * 86_400, 4 * (MONTH[1] - MONTH[0]) + 8 * 86_400))
        review = float(rng.choice([5.0, 59.125, 299.999, 300.0, 300.001, 301.0, 4000.0]))
        close = review + float(rng.integers(60, 200_000))
        case: dict[str, Any] = {"site": site, "rule": rule, "id": f"c-{n}", "opened": opened, "ended": np.nan}
        cases.append(case)
        step(case, "opened", opened)
        case["taken"] = opened + review if n % 11 else np.nan
        if not n % 11:  # nobody took it, and of some somebody said at once that it is none
            if not n % 22 and site != "0-":
                case["ended"] = opened + review
                step(case, "false_alarm", case["ended"], review_s=review, close_s=review, false_alarm=1.0)
            continue
        step(case, "assigned", case["taken"], review_s=review)
        if n % 13 == 0:  # not over
            continue
        false = n % 4 == 0 and site != "0-"
        case["ended"] = opened + close
        event = "false_alarm" if false else "closed"
        step(case, event, case["ended"], close_s=close, false_alarm=float(false))
        if n % 17 == 0:  # and told to be no good
            step(case, "reopened", case["ended"] + 600)
            step(case, "assigned", case["ended"] + 700, review_s=100.0)
            case["ended"] += 5000
            step(case, "closed", case["ended"], close_s=close + 5000, false_alarm=0.0)
    return pd.DataFrame(cases), pd.DataFrame(steps)


def _states(cases: pd.DataFrame, every: int) -> pd.DataFrame:
    """As dispatch notes them: for each rule with an open case, and for a day after. A reopened case counts as open
    throughout, and its second review is never late."""
    tables = []
    for _, group in cases.groupby(["site", "rule"]):
        opened, ended = group["opened"].to_numpy(), group["ended"].fillna(np.inf).to_numpy()
        taken = group["taken"].fillna(np.inf).to_numpy()
        ticks = np.arange(AROUND[0], AROUND[1], every)[:, None]
        is_open = (opened <= ticks) & (ticks < ended)
        shown = (is_open | ((ended <= ticks) & (ended > ticks - 86_400))).any(axis=1)
        waits = is_open & (taken > ticks) & (opened + 300 < ticks)
        age = np.where(is_open, ticks - opened, 0.0).max(axis=1)
        table = pd.DataFrame(
            {
                "time": ticks[:, 0] * 10**9,
                "open": is_open.sum(axis=1),
                "overdue": waits.sum(axis=1),
                "oldest_s": age,
            }
        )
        tables.append(table[np.asarray(shown)].assign(site=group["site"].iloc[0], rule=group["rule"].iloc[0]))
    return pd.concat(tables, ignore_index=True)


def _sensors(rng: np.random.Generator, names: tuple[str, ...]) -> pd.DataFrame:
    """Every 10 s of the short stretch, an hour missing; some of bad quality, with numbers that would be seen."""
    tables = []
    for site in names:
        for sensor, quantity in (("gas-1", "o2"), ("gas-2", "o2"), ("gas-1", "h2s")):
            times = np.arange(*MINUTES, 10)
            times = times[(times < MINUTES[0] + 5 * HOUR) | (times >= MINUTES[0] + 6 * HOUR)]
            mean = rng.normal(20.9, 0.5, len(times)).round(3)
            quality = rng.choice(["good", "uncertain", "bad"], len(times), p=[0.9, 0.05, 0.05])
            mean = np.where(quality == "bad", 99.0, mean)
            tables.append(
                pd.DataFrame(
                    {
                        "time": times * 10**9,
                        "mean": mean,
                        "min": mean - 1,
                        "max": mean + 2,
                        "quality": quality,
                        "site": site,
                        "node": "n-1",
                        "sensor": sensor,
                        "quantity": quantity,
                    }
                )
            )
    return pd.concat(tables, ignore_index=True)


def _nodes(rng: np.random.Generator, names: tuple[str, ...]) -> pd.DataFrame:
    """Every minute of the short stretch; every second node has no thermometer, one falls silent half-way."""
    tables = []
    for n, site in enumerate(names):
        times = np.arange(*MINUTES, 60)
        times = times[: len(times) // 2] if n == 1 else times
        count = len(times)
        p50 = rng.normal(80, 5, count).round(2)
        tables.append(
            pd.DataFrame(
                {
                    "time": times * 10**9 + 250 * 10**6,
                    "fps": rng.normal(9, 1, count).round(2),
                    "latency_p50_ms": p50,
                    "latency_p95_ms": p50 + rng.random(count).round(3) * 40,
                    "cpu_temp_c": np.nan if n % 2 else rng.normal(60, 3, count).round(1),
                    "cpu_percent": rng.random(count).round(3) * 100,
                    "rss_mb": rng.normal(200, 4, count).round(1),
                    "disk_free_mb": rng.normal(9000, 4, count).round(1),
                    "journal_depth": rng.integers(0, 400, count),
                    "points_waiting": rng.integers(0, 4000, count),
                    "cameras": 3,
                    "cameras_live": rng.integers(0, 4, count),
                    "uptime_s": times - float(MINUTES[0]),
                    "latitude": 31.2 + n,
                    "longitude": 121.5 + n,
                    "site": site,
                    "node": "n-1",
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def _shifts(names: tuple[str, ...]) -> pd.DataFrame:
    starts = np.arange(AROUND[0], AROUND[1], 8 * HOUR)
    rows = [
        {"site": site, "time": int(at) * 10**9, "shift": f"shift {k % 3}", "end_ms": (int(at) + 8 * HOUR) * 1000}
        for site in names
        for k, at in enumerate(starts)
    ]
    return pd.DataFrame(rows)
