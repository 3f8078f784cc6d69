"""Points to InfluxDB: they wait in the database, and are deleted only after its 204."""

from __future__ import annotations

import datetime as dt
import logging
import shutil
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException
from sqlalchemy import Engine, Row, case, func, or_, select
from urllib3.exceptions import HTTPError
from uuid6 import uuid7

from broker.dispatch import metrics, roster
from broker.dispatch.database import reading, table_of, transaction
from broker.dispatch.desk import NOT_OVER
from broker.dispatch.jobs import Retry
from broker.dispatch.norm import NormError
from broker.dispatch.norm.review import REVIEW_S
from broker.dispatch.points import alive_line, shift_line, state_line
from broker.dispatch.settings import Influx
from broker.dispatch.tables import Case, Node, Point, Site

log = logging.getLogger(__name__)

BATCH: Final = 2000
MAX_WAITING: Final = 1_000_000
"""Points kept while InfluxDB is away; then the oldest go, loudly."""
TIMEOUT_S: Final = 10.0
PAUSE_S: Final = (2.0, 60.0)
"""After the first failure, doubled each time up to the second."""
MAX_PAUSE_S: Final = 3600.0
"""Whatever InfluxDB asks for."""
_DAY_S = 86_400.0
MINUTES_KEPT_S: Final = 35 * _DAY_S
"""Of `compliance` (design: section 5). InfluxDB 2 keeps a bucket's measurements all equally long."""
_BUCKET: Final = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})
_LINES: Final = ("unable to parse", "partial write", "field type conflict", "line protocol")
"""What InfluxDB 1, 2 and 3 say of lines that they do not take."""

_CASE, _POINT = table_of(Case), table_of(Point)


class _WaitsError(Exception):
    """InfluxDB did not take the points; they wait. The text has no secrets."""

    def __init__(self, why: str, *, bucket_only: bool = False, after_s: float | None = None) -> None:
        super().__init__(why)
        self.bucket_only = bucket_only
        self.after_s = after_s


class Writer:
    """One connection."""

    def __init__(self, settings: Influx, timeout_s: float = TIMEOUT_S) -> None:
        self._bucket = settings.bucket
        self._failures = 0
        self._client = InfluxDBClient(
            url=settings.url,
            token=settings.token.get_secret_value(),
            org=settings.org,
            timeout=round(timeout_s * 1000),
            enable_gzip=True,
            ssl_ca_cert=str(settings.ca) if settings.ca is not None else None,
        )
        self._api = self._client.write_api(write_options=SYNCHRONOUS)

    def close(self) -> None:
        self._client.close()  # type: ignore[no-untyped-call]

    def drain(self, engine: Engine, now: float) -> int:
        """Write what waits, at most BATCH of each site, and delete it; gives how many were taken.

        Raises Retry: points wait, and InfluxDB is to be left alone until then. A bucket that is not there, or not ours,
        holds up no other.
        """
        with reading(engine) as session:
            sites = session.scalars(select(_POINT.c.site).distinct().order_by(_POINT.c.site)).all()
        done, refused = 0, []
        for site in sites:
            with reading(engine) as session:
                waiting = select(_POINT).where(_POINT.c.site == site).order_by(_POINT.c.id).limit(BATCH)
                points = session.execute(waiting).all()
            try:
                self._write(engine, self._bucket.replace("{site}", site), points)
            except _WaitsError as error:
                refused.append(error)
                if not error.bucket_only:
                    break
            else:
                done += len(points)
        if not refused:
            self._failures = 0
            return done
        first, longest = PAUSE_S
        pause = min(first * 2**self._failures, longest)
        self._failures = min(self._failures + 1, 10)
        asked = max((error.after_s for error in refused if error.after_s is not None), default=0.0)
        raise Retry(now + max(pause, min(asked, MAX_PAUSE_S)), "; ".join(map(str, refused)))

    def forget_minutes(self, sites: Sequence[str], now: float) -> None:
        """Delete what is older than MINUTES_KEPT_S of the minute series; the hours stay. Where that fails, it is said,
        and the next time will do it.
        """
        before = dt.datetime.fromtimestamp(now - MINUTES_KEPT_S, dt.UTC)
        for bucket in sorted({self._bucket.replace("{site}", site) for site in sites}):
            try:
                self._client.delete_api().delete(
                    dt.datetime.fromtimestamp(0, dt.UTC), before, '_measurement="compliance"', bucket=bucket
                )
            except (ApiException, HTTPError, OSError) as error:
                log.warning("%s: old minutes were not deleted: %s", bucket, type(error).__name__)

    def _write(self, engine: Engine, bucket: str, points: Sequence[Row[Any]]) -> None:
        outcome = "written"
        try:
            self._api.write(bucket=bucket, record=[p.line for p in points])
        except ApiException as error:
            if not _means_the_lines(error):
                after = error.headers.get("Retry-After", "") if error.headers else ""
                raise _WaitsError(
                    f"{bucket}: {error.status} {error.reason}",
                    bucket_only=error.status in _BUCKET,
                    after_s=float(after) if after.isdecimal() else None,
                ) from error
            if len(points) > 1:  # one of them is wrong: the others must get through
                half = len(points) // 2
                self._write(engine, bucket, points[:half])
                self._write(engine, bucket, points[half:])
                return
            log.error("InfluxDB does not take this point, it is dropped: %s: %.300r", points[0].line, error.message)  # noqa: TRY400
            outcome = "dropped"
        except (HTTPError, OSError) as error:
            raise _WaitsError(f"{bucket}: {type(error).__name__}") from error
        with transaction(engine, durable=False) as session:
            session.execute(_POINT.delete().where(_POINT.c.id.in_([p.id for p in points])))
        metrics.POINTS.labels(outcome).inc(len(points))


def _means_the_lines(error: ApiException) -> bool:
    """Whether a line is wrong. Nothing is lost by a wrong address, organisation, or something on the way."""
    return error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or (
        error.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}
        and any(words in str(error.message) for words in _LINES)
    )


def note_state(engine: Engine, now: float) -> None:
    """A point of `case_state` for each site and rule that has an open case, or had one within a day."""
    waits = NOT_OVER & _CASE.c.assigned_at.is_(None)
    counts = (
        select(
            _CASE.c.site,
            _CASE.c.rule,
            func.sum(case((NOT_OVER, 1), else_=0)).label("open"),
            func.sum(case((waits & (_CASE.c.review_from + REVIEW_S < now), 1), else_=0)).label("overdue"),
            func.min(case((NOT_OVER, _CASE.c.opened_at))).label("oldest"),
        )
        .where(or_(NOT_OVER, _CASE.c.closed_at > now - _DAY_S))
        .group_by(_CASE.c.site, _CASE.c.rule)
    )
    minute = now // 60 * 60
    with transaction(engine) as session:
        rows = [
            {
                "id": str(uuid7()),
                "site": row.site,
                "line": state_line(
                    row.site,
                    row.rule,
                    minute,
                    open_cases=int(row.open),
                    overdue=int(row.overdue),
                    oldest_s=now - row.oldest if row.oldest is not None else 0.0,
                ),
            }
            for row in session.execute(counts)
        ]
        if rows:
            session.execute(_POINT.insert(), rows)


def sites(engine: Engine) -> list[str]:
    """Those that are known, and those of which a node was heard."""
    with reading(engine) as session:
        return sorted({*session.scalars(select(Site.id)), *session.scalars(select(Node.site))})


def note_alive(engine: Engine, folder: Path, now: float) -> None:
    """A point of `dispatch` for each site that is known, or has a node. folder: on the disk that must not be full."""
    usage = shutil.disk_usage(folder)
    silent = func.sum(case((Node.silent, 1), else_=0))
    with transaction(engine) as session:
        sites = dict.fromkeys(session.scalars(select(Site.id)), 0)
        sites |= {site: int(count) for site, count in session.execute(select(Node.site, silent).group_by(Node.site))}
        free = usage.free / usage.total
        lines = {site: alive_line(site, now, nodes_silent=n, disk_free=free) for site, n in sites.items()}
        if lines:
            rows = [{"id": str(uuid7()), "site": site, "line": line} for site, line in lines.items()]
            session.execute(_POINT.insert(), rows)


def note_shifts(engine: Engine, now: float) -> None:
    """Points of the shifts that run now or ended within a day, for boards; one that is there overwrites itself."""
    with transaction(engine) as session:
        rows = []
        for site in session.scalars(select(Site).order_by(Site.id)):
            try:
                calendar = roster.calendar_of(session, site)
            except NormError as error:
                log.warning("site %s: its roster cannot be used: %s", site.id, error)
                continue
            days = sorted({*calendar.days_around(now), *calendar.days_around(now - _DAY_S)})
            rows += [
                {
                    "id": str(uuid7()),
                    "site": site.id,
                    "line": shift_line(site.id, s.shift.name, s.start, s.end, crc32(s.shift.id.encode())),
                }
                for day in days
                for s in calendar.starting(day)
                if s.start <= now and s.end > now - _DAY_S
            ]
        if rows:
            session.execute(_POINT.insert(), rows)


def trim(engine: Engine, keep: int = MAX_WAITING) -> None:
    """Drop the oldest points beyond `keep`; 0: there is no InfluxDB, and no need to say anything."""
    with transaction(engine) as session:
        first = session.scalar(select(_POINT.c.id).order_by(_POINT.c.id.desc()).offset(keep).limit(1))
        if first is None:
            return
        gone = len(session.execute(_POINT.delete().where(_POINT.c.id <= first).returning(_POINT.c.id)).all())
    metrics.POINTS.labels("dropped").inc(gone)
    if keep:
        log.error("%d points dropped: more than %d waited for InfluxDB", gone, keep)
