"""Questions that only boards ask: rows to show and click on, not figures (those are in `dashboards.queries`)."""

# ruff: noqa: S608 - what goes into a query is a constant, a number or a `Scope`
from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dashboards.queries import ALL, NODE_UNITS, Query, Scope

_NODE: Final = (*NODE_UNITS, "points_waiting", "cameras", "cameras_live")


def positions(scope: Scope) -> Query:
    """Where each site is, in degrees: as its nodes told last, from their site files."""
    return Query(
        "positions",
        f'SELECT last("latitude") AS "latitude", "longitude" FROM "node" WHERE {_where(scope, "site")} GROUP BY "site"',
        ("latitude", "longitude"),
        "degree",
        ("site",),
    )


def shifts(scope: Scope) -> Query:
    """Shifts that began in this period, as dispatch tells them; `end_ms` in Unix ms."""
    columns = ("shift", "end_ms", "site")
    return Query("shifts", f'SELECT {_named(columns)} FROM "shift" WHERE {_where(scope, "site")}', columns, "none")


def newest_cases(scope: Scope, limit: int) -> Query:
    """Cases opened in this period, newest first. `picture`: the id once more."""
    return Query(
        "newest_cases",
        'SELECT "id" AS "picture", "rule", "site", "id" AS "case" FROM "case" '
        f"WHERE \"event\" = 'opened' AND {_where(scope, 'site', 'rule')} ORDER BY time DESC LIMIT {limit}",
        ("picture", "rule", "site", "case"),
        "string",
    )


def nodes(scope: Scope) -> Query:
    """The newest point of each node in this period, and its time."""
    columns = ("uptime_s", *_NODE)
    return Query(
        "nodes",
        f'SELECT last("uptime_s") AS "uptime_s", {_named(_NODE)} FROM "node" '
        f'WHERE {_where(scope, "site", "node")} GROUP BY "site", "node"',
        columns,
        "short",
        ("site", "node"),
    )


def last_readings(scope: Scope) -> Query:
    """The newest reading of each sensor in this period, and its time."""
    return Query(
        "last_readings",
        'SELECT last("mean") AS "mean", "min", "max", "quality" FROM "sensor" '
        f'WHERE {_where(scope, "site", "node")} GROUP BY "site", "node", "sensor", "quantity"',
        ("mean", "min", "max", "quality"),
        "none",
        ("site", "node", "sensor", "quantity"),
    )


def _named(columns: Sequence[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)


def _where(scope: Scope, *tags: str) -> str:
    bodies = [(tag, getattr(scope, tag)) for tag in tags]
    return " AND ".join([*(f'"{tag}" =~ /{body}/' for tag, body in bodies if body != ALL), scope.time])
