"""Every question that boards, report and page test ask of InfluxDB, as named functions (design: section 5).

InfluxQL only, and only what all its dialects know: InfluxDB 1, 2 and 3. The docstring of each function says how its
number is made; boards tell their readers the same in two languages.

Two habits of InfluxQL shape the text of the queries. Dividing by zero gives 0 there, which would read as "nobody kept
the rule": `_share` gives null instead. And whole numbers in subqueries divide like whole numbers: `1.0 *` makes them
fractions first.
"""

# ruff: noqa: S608 - what goes into a query is escaped or checked here: `_names`, `_word`

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final, Literal, Self, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from broker.dispatch.norm.review import REVIEW_S

ALL: Final = ".*"
By: TypeAlias = Literal["rule", "site", "source", "place", "node"]
CaseBy: TypeAlias = Literal["site", "rule"]
Table: TypeAlias = Literal["compliance", "compliance_1h"]

GROUPS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "rule": ("rule",),
        "site": ("site",),
        "source": ("site", "source"),
        "node": ("site", "node"),
        "place": ("site", "source", "place"),
    }
)
"""Tags that a result is grouped by. A camera is only told from another together with its site, a place with both."""

TAGS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "compliance": ("site", "node", "source", "place", "rule"),
        "compliance_1h": ("site", "node", "source", "place", "rule"),
        "alarm": ("site", "node", "source", "place", "rule"),
        "sensor": ("site", "node"),
        "node": ("site", "node"),
        "case": ("site", "rule"),
        "case_state": ("site", "rule"),
    }
)
"""Tags of each measurement that a scope narrows."""

PERCENTS: Final[tuple[Literal[50, 95], ...]] = (50, 95)

NODE_UNITS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "fps": "short",
        "latency_p50_ms": "ms",
        "latency_p95_ms": "ms",
        "cpu_temp_c": "celsius",
        "cpu_percent": "percent",
        "rss_mb": "decmbytes",
        "disk_free_mb": "decmbytes",
        "journal_depth": "short",
    }
)
"""Fields of `node` with their units in Grafana's words."""

_WORD = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_STEP = re.compile(r"(\d+(ms|s|m|h|d|w))+|\$__interval|\$interval")


class QueryError(ValueError):
    """A question that cannot be asked; the text says what would be right."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which points.

    site, source, rule, place, node: bodies of regular expressions that the tags must match; ALL does not narrow.
    time: the condition on time. zone: of the calendar that days are cut by, an IANA name. every: length of a step of
    a history.
    """

    site: str = ALL
    source: str = ALL
    rule: str = ALL
    place: str = ALL
    node: str = ALL
    time: str = "$timeFilter"
    zone: str = "UTC"
    every: str = "1h"

    @classmethod
    def of(
        cls,
        *,
        start: float,
        stop: float,
        site: str | Iterable[str] = (),
        source: str | Iterable[str] = (),
        rule: str | Iterable[str] = (),
        place: str | Iterable[str] = (),
        node: str | Iterable[str] = (),
        zone: str = "UTC",
        every: str = "1h",
    ) -> Self:
        """For programs: literal names, none meaning all; points from `start` on and before `stop`, Unix s.

        Raises QueryError for a time span without length, a zone that there is not, and a step that is none.
        """
        if not start < stop:
            raise QueryError(f"time span from {start} to {stop}: it must end after it starts")
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise QueryError(f"zone {zone!r} is not in the IANA list; one like Asia/Shanghai is") from error
        if not _STEP.fullmatch(every):
            raise QueryError(f"step {every!r}: a number and ms, s, m, h, d or w, like 1h")
        span = f"time >= {round(start * 1000)}ms AND time < {round(stop * 1000)}ms"
        return cls(
            site=_names(site),
            source=_names(source),
            rule=_names(rule),
            place=_names(place),
            node=_names(node),
            time=span,
            zone=zone,
            every=every,
        )


GRAFANA: Final = Scope(
    site="^$site$",
    source="^$source$",
    rule="^$rule$",
    place="^$place$",
    node="^$node$",
    time="$timeFilter",
    zone="$zone",
    every="$__interval",
)
"""For boards: their variables, each of several values written as a regular expression. `zone` is a constant."""


@dataclass(frozen=True, slots=True)
class Query:
    """A question ready to be asked.

    columns: of values, in order, behind `time`. tags: by which the answer is grouped, a series each.
    unit: of the column that the query is about, in Grafana's words. history: one row a step of `Scope.every`; else one
    row a series, whose `time` means nothing unless said.
    """

    name: str
    text: str
    columns: tuple[str, ...]
    unit: str
    tags: tuple[str, ...] = ()
    history: bool = False


COMPLIANCE: Final = ("ok_s", "violation_s", "unknown_s", "breach_s", "compliance", "unknown_share")
_SECONDS: Final = ", ".join(f'sum("{s}") AS "{s}"' for s in ("ok_s", "violation_s", "unknown_s", "breach_s"))
_JUDGED: Final = 'sum("ok_s") + sum("violation_s")'


def _share(part: str, whole: str) -> str:
    """part ÷ whole, and null where whole is 0.

    InfluxQL has no CASE, does not join subqueries, and takes x / 0 for 0; but the remainder of a division by 0.0 is not
    a number, which spreads through the sum and is answered as null. Where whole is not 0 the second summand is 0.
    """
    return f"1.0 * {part} / ({whole}) + 0 * (1.0 % (1.0 * ({whole})))"


_SHARES: Final = (
    _share('sum("ok_s")', _JUDGED)
    + ' AS "compliance", '
    + _share('sum("unknown_s")', f'{_JUDGED} + sum("unknown_s")')
    + ' AS "unknown_share"'
)


# -- compliance ------------------------------------------------------------------------------------------------------


def compliance(scope: Scope, *, by: By = "rule", hourly: bool = False, table: Table = "compliance_1h") -> Query:
    """Seconds in order ÷ seconds judged, where each second counts once for every person or fixture that was judged.

    `compliance` = ok ÷ (ok + violation); what could not be judged (`unknown_s`) is in neither, and is shown beside it
    as `unknown_share` = unknown ÷ (ok + violation + unknown). Both are null, never 0 or 1, where there was nothing to
    divide. `breach_s`: seconds in which anybody or anything was in violation, however many. Marking an alarm as false
    changes none of them. Hour rows (`compliance_1h`) stand at the start of their hour and count with it, whole.
    """
    return Query(
        f"compliance_by_{by}" + ("_hourly" if hourly else ""),
        _select(f"{_SECONDS}, {_SHARES}", table, scope, tags=GROUPS[by], history=hourly),
        COMPLIANCE,
        "percentunit",
        GROUPS[by],
        hourly,
    )


def worst_places(scope: Scope, limit: int = 10, *, table: Table = "compliance_1h") -> Query:
    """The places and rules with the longest breach: seconds in which anybody or anything there was in violation.

    By time, not by compliance, so that a zone with one glance and one bare head is not the worst of all. Compliance and
    the share that could not be judged stand beside it. Places without breach are not listed.
    """
    if limit < 1:
        raise QueryError(f"limit {limit}: at least 1 place")
    tags = ("site", "source", "place", "rule")
    named = ", ".join(f'"{tag}"' for tag in tags)
    places = _select(f"{_SECONDS}, {_SHARES}", table, scope, tags=tags)
    return Query(
        "worst_places",
        f'SELECT top("breach_s", {limit}) AS "breach_s", "compliance", "unknown_share", {named} '
        f'FROM ({places}) WHERE "breach_s" > 0',
        ("breach_s", "compliance", "unknown_share", *tags),
        "s",
    )


# -- alarms and cases ------------------------------------------------------------------------------------------------


def alarms(scope: Scope, by: By | Literal["severity"] = "rule", *, hourly: bool = False) -> Query:
    """Alarms raised: one each time that a breach was confirmed, however long it lasted and however many were in it.

    Updates and clearances are not counted; an alarm that was sent twice counts once. No series: none was raised.
    """
    tags = GROUPS.get(by, (by,))
    return Query(
        f"alarms_by_{by}" + ("_hourly" if hourly else ""),
        _select(
            'count("id") AS "alarms"', "alarm", scope, only="\"event\" = 'raised'", tags=tags, history=hourly, fill="0"
        ),
        ("alarms",),
        "short",
        tags,
        hourly,
    )


def open_cases(scope: Scope, *, hourly: bool = False) -> Query:
    """Cases that were not over at the end of the time shown, as dispatch counted them last, rule by rule, added up.

    `overdue`: those of them that nobody had taken five minutes after receipt. `oldest_s`: age of the oldest.
    A history gives the last count within each step.
    """
    return _case_state("open_cases", ("open", "overdue", "oldest_s"), scope, hourly=hourly)


def overdue(scope: Scope, *, hourly: bool = False) -> Query:
    """Cases that nobody had taken five minutes after receipt, at the end of the time shown, as dispatch counted them
    last.
    """
    return _case_state("overdue", ("overdue",), scope, hourly=hourly)


def case_steps(scope: Scope, by: CaseBy = "site") -> Query:
    """Steps of cases within the time shown, by what happened: opened, assigned, reopened, closed, false_alarm, …

    A case that was opened again and taken again counts twice under those.
    """
    tags = (by, "event")
    columns = 'count("id") AS "cases"'
    return Query(f"case_steps_by_{by}", _select(columns, "case", scope, tags=tags), ("cases",), "short", tags)


def late_reviews(scope: Scope, by: CaseBy = "site") -> Query:
    """Reviews that came later than the norm's five minutes: cases that were taken, or marked as false alarms before
    anybody took them, within the time shown and more than 300 s after receipt. A case that was opened again counts
    again. No series: none was late.
    """
    return Query(
        f"late_reviews_by_{by}",
        _select(
            'count("review_s") AS "late"',
            "case",
            scope,
            only=f'"review_s" > {REVIEW_S:g}',
            tags=(by,),
        ),
        ("late",),
        "short",
        (by,),
    )


def review_time(scope: Scope, percent: Literal[50, 95] = 95, *, by: CaseBy | None = None) -> Query:
    """Seconds from receipt, or reopening, of a case until somebody took it, or marked it as a false alarm before: half
    of all (p50) or 95 of 100 (p95) were as quick, by nearest rank as InfluxQL has it (n·p rounded: of few cases at
    least 90 of 100). Counts the reviews within the time shown; those that nobody has taken yet are in "overdue".
    """
    return _percentile("review_s", "", percent, scope, by=by)


def close_time(scope: Scope, percent: Literal[50, 95] = 95, *, by: CaseBy | None = None) -> Query:
    """Seconds from the first receipt of a case until it was closed: half of all (p50) or 95 of 100 (p95) were as quick,
    by nearest rank (`review_time`). Counts the cases closed within the time shown; those ended as false alarms are left
    out, for they ask for no work.
    """
    return _percentile("close_s", "closed", percent, scope, by=by)


def false_alarm_share(scope: Scope, by: CaseBy = "site") -> Query:
    """Cases that people marked as false alarms ÷ cases that ended within the time shown, either way.

    The mark is a person's word; it takes nothing away from compliance.
    """
    return Query(
        f"false_alarm_share_by_{by}",
        _select(
            'sum("false_alarm") AS "false_alarms", count("false_alarm") AS "ended", '
            'mean("false_alarm") AS "false_alarm_share"',
            "case",
            scope,
            tags=(by,),
        ),
        ("false_alarms", "ended", "false_alarm_share"),
        "percentunit",
        (by,),
    )


# -- sensors and nodes -------------------------------------------------------------------------------------------------


def sensor_history(scope: Scope, quantity: str) -> Query:
    """Readings of one quantity: mean, lowest and highest within each step, without those of bad quality.

    A reading is itself made of some ten seconds; lowest and highest are of what the sensor gave, not of means.
    """
    tags = ("site", "node", "sensor")
    return Query(
        "sensor_history",
        _select(
            'mean("mean") AS "mean", min("min") AS "min", max("max") AS "max"',
            "sensor",
            scope,
            only=f"\"quantity\" = '{_word('quantity', quantity)}' AND \"quality\" <> 'bad'",
            tags=tags,
            history=True,
        ),
        ("mean", "min", "max"),
        "none",
        tags,
        history=True,
    )


def node_health(scope: Scope, field: str = "fps") -> Query:
    """A number that the node tells of itself: mean, lowest and highest within each step. A gap: it told nothing."""
    if field not in NODE_UNITS:
        raise QueryError(f"field {field!r}: a node has {', '.join(NODE_UNITS)}")
    columns = f'mean("{field}") AS "mean", min("{field}") AS "min", max("{field}") AS "max"'
    return _of_nodes(f"node_health_{field}", columns, ("mean", "min", "max"), NODE_UNITS[field], scope)


def last_seen(scope: Scope) -> Query:
    """When each node last told of itself within the time shown: the time of its newest point, and its speed then."""
    return _of_nodes("last_seen", 'last("fps") AS "fps"', ("fps",), "short", scope, history=False)


def latency(scope: Scope) -> Query:
    """Milliseconds from frame to judgement, as each node measures them over a minute: the mean of its medians (p50) and
    the highest of its 95th percentiles within each step.
    """
    columns = 'mean("latency_p50_ms") AS "p50_ms", max("latency_p95_ms") AS "p95_ms"'
    return _of_nodes("latency", columns, ("p50_ms", "p95_ms"), "ms", scope)


def journal_depth(scope: Scope) -> Query:
    """Rows in the node's journal that wait for delivery: the most within each step."""
    return _of_nodes("journal_depth", 'max("journal_depth") AS "rows"', ("rows",), "short", scope)


# -- what there is -----------------------------------------------------------------------------------------------------


def tag_values(key: str, measurement: str, scope: Scope | None = None) -> Query:
    """Values of a tag, for variables of a board: all that InfluxDB knows, also of what is gone since.

    scope: only where its tags match; it does not narrow the time, which not every InfluxDB can here.
    """
    conditions = [] if scope is None else _conditions(scope, measurement)
    return Query(
        f"tag_values_{measurement}_{key}",
        f'SHOW TAG VALUES FROM "{_word("measurement", measurement)}" WITH KEY = "{_word("key", key)}"'
        + (f" WHERE {' AND '.join(conditions)}" if conditions else ""),
        ("value",),
        "none",
    )


# -- pieces ------------------------------------------------------------------------------------------------------------


def _names(names: str | Iterable[str]) -> str:
    """Body of a regular expression for exactly these names; none: ALL."""
    given = (names,) if isinstance(names, str) else tuple(names)
    if not given:
        return ALL
    escaped = "|".join(re.escape(name).replace("/", r"\/") for name in given)
    return f"^({escaped})$"


def _word(what: str, value: str) -> str:
    """Raises QueryError for what could end the quotes that it is put in; a variable of a board passes."""
    if not _WORD.fullmatch(value.removeprefix("$")):
        raise QueryError(f"{what} {value!r}: letters a to z, digits, - and _ only")
    return value


def _conditions(scope: Scope, measurement: str) -> list[str]:
    if measurement not in TAGS:
        raise QueryError(f"measurement {measurement!r}: there are {', '.join(TAGS)}")
    bodies = ((tag, getattr(scope, tag)) for tag in TAGS[measurement])
    return [f'"{tag}" =~ /{body}/' for tag, body in bodies if body != ALL]


def _select(
    columns: str,
    measurement: str,
    scope: Scope,
    *,
    only: str = "",
    tags: Sequence[str] = (),
    history: bool = False,
    fill: str = "null",
) -> str:
    """only: a further condition. fill: what a step without points has, so that a gap is seen as one."""
    where = " AND ".join([*([only] if only else []), *_conditions(scope, measurement), scope.time])
    return f'SELECT {columns} FROM "{measurement}" WHERE {where}' + _grouped(scope, tags, history=history, fill=fill)


def _grouped(scope: Scope, tags: Sequence[str], *, history: bool, fill: str) -> str:
    keys = [f"time({scope.every})"] * history + [f'"{tag}"' for tag in tags]
    return (f" GROUP BY {', '.join(keys)}" if keys else "") + (f" fill({fill}) tz('{scope.zone}')" if history else "")


def _case_state(name: str, columns: tuple[str, ...], scope: Scope, *, hourly: bool) -> Query:
    """The last state of each rule, then added up."""
    how = {"open": "sum", "overdue": "sum", "oldest_s": "max"}
    last = ", ".join(f'last("{c}") AS "{c}"' for c in columns)
    added = ", ".join(f'{how[c]}("{c}") AS "{c}"' for c in columns)
    inner = _select(last, "case_state", scope, tags=("site", "rule"), history=hourly, fill="none")
    outer = f" WHERE {scope.time}" if hourly else ""
    return Query(
        name + ("_hourly" if hourly else ""),
        f"SELECT {added} FROM ({inner}){outer}" + _grouped(scope, ("site",), history=hourly, fill="null"),
        columns,
        "short",
        ("site",),
        hourly,
    )


def _percentile(field: str, event: str, percent: int, scope: Scope, *, by: str | None) -> Query:
    """event: empty for all that have the field."""
    if not 0 < percent <= 100:
        raise QueryError(f"percentile {percent}: more than 0 and at most 100")
    tags = () if by is None else (by,)
    columns = f'percentile("{field}", {percent}) AS "{field}", count("{field}") AS "cases"'
    return Query(
        f"{field.removesuffix('_s')}_time_p{percent}" + (f"_by_{by}" if by else ""),
        _select(columns, "case", scope, only=f"\"event\" = '{event}'" if event else "", tags=tags),
        (field, "cases"),
        "s",
        tags,
    )


def _of_nodes(
    name: str, columns: str, named: tuple[str, ...], unit: str, scope: Scope, *, history: bool = True
) -> Query:
    tags = GROUPS["node"]
    return Query(name, _select(columns, "node", scope, tags=tags, history=history), named, unit, tags, history)


def _all() -> dict[str, Callable[[Scope], Query]]:
    kinds: tuple[By, ...] = ("rule", "site", "source", "place", "node")
    more: tuple[Literal["severity"]] = ("severity",)
    of_cases: tuple[CaseBy, ...] = ("site", "rule")
    asked: list[Callable[[Scope], Query]] = [
        *(partial(compliance, by=by, hourly=hourly) for by in kinds for hourly in (False, True)),
        worst_places,
        *(partial(alarms, by=by, hourly=hourly) for by in kinds + more for hourly in (False, True)),
        *(partial(how, hourly=hourly) for how in (open_cases, overdue) for hourly in (False, True)),
        *(partial(how, by=by) for how in (case_steps, late_reviews, false_alarm_share) for by in of_cases),
        *(
            partial(how, percent=percent, by=by)
            for how in (review_time, close_time)
            for percent in PERCENTS
            for by in (None, *of_cases)
        ),
        *(partial(node_health, field=field) for field in NODE_UNITS),
        last_seen,
        latency,
        journal_depth,
    ]
    return {ask(GRAFANA).name: ask for ask in asked}


QUERIES: Final[Mapping[str, Callable[[Scope], Query]]] = MappingProxyType(_all())
"""By name, with everything but the scope bound. Sensors are asked for by quantity: `sensor_history`."""
