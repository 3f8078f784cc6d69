"""Points to InfluxDB: read from the journal, confirmed there only after a 204.

Whatever happens, nothing is taken out of the journal before InfluxDB has it, and whatever is sent twice overwrites
itself; so the answer to every doubt is to send again. What an answer means:

* 204: stored.
* 400 or 422 about the lines, 413: one of them is wrong, or they are too many. The batch is halved until the wrong one
  stands alone; it is logged, counted and left out, for it will not get better. The others go through.
* 429, 503, whatever else, and silence: all wait. The wait doubles, with jitter, so that a thousand nodes do not come
  back at once; `Retry-After` is honoured. After each failure the next batch is half as large, after each success twice:
  a slow server gets what it can swallow within the time-out, and one that is back is not overrun.

A node whose clock is not yet right waits: points are kept by their dates. Imported only where the site file has an
`uplinks.influx`: the client brings some 17 MB.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final

from influxdb_client import WriteService  # type: ignore[attr-defined]
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as HttpTimeoutError

from edge.beat import Beats
from edge.clock import Clock, Stamp, backoff_s
from edge.journal.journal import Journal
from edge.journal.rows import Reading
from edge.site.model import InfluxUplink as Settings
from edge.uplink.points import Points
from edge.uplink.tls import TlsFileError, client_context
from edge.uplink.token import TokenError, read_token
from edge.values import AlarmEvent, LinkState, Tally

log = logging.getLogger(__name__)

PERIOD_S: Final = 10.0
"""Also how often the journal commits: more often there is nothing new."""
SETTLE_S: Final = 15.0
"""After its end a minute still gets seconds that were counted, but not yet committed. Later ones send it again."""
MOST, LEAST = 500, 25
"""Rows of each kind in a batch."""
TIMEOUT_S: Final = (5.0, 15.0)
"""To connect, and for an answer."""
FIRST_WAIT_S: Final = 2.0
LONGEST_WAIT_S: Final = 300.0
LONGEST_ASKED_S: Final = 3600.0
"""Whatever InfluxDB asks for."""
_STANDS_STILL_S: Final = 180.0  # a name server that does not answer, connecting, the answer
_TOLD: Final = 5
"""Lines that InfluxDB does not take are told one by one; of more in one batch, only how many."""
_LINES: Final = ("unable to parse", "partial write", "field type conflict", "line protocol")
"""What InfluxDB 1, 2 and 3 say of lines that they do not take. Nothing is lost by a wrong address or organisation."""

Row = AlarmEvent | Tally | Reading


class Cause(StrEnum):
    """Why points are not getting through; what to say and what to do: catalogues, `influx.*` and `influx_do.*`."""

    NONE = "none"
    CLOCK = "clock"  # of this node is not right yet
    AUTH = "auth"  # the token is not accepted, or may not write here
    BUCKET = "bucket"  # there is no such bucket or organisation
    TLS = "tls"  # the server cannot prove that it is the right one
    FILES = "files"  # token or CA certificate on this node are missing or wrong
    REFUSED = "refused"  # nobody listens there, or the name is unknown
    TIMEOUT = "timeout"
    BROKEN = "broken"  # the connection was cut
    BUSY = "busy"  # the server asks for patience
    SERVER = "server"  # the server answers, but not as agreed


@dataclass(frozen=True, slots=True)
class InfluxState:
    """How the uplink is. waiting: rows of the journal, as of the last look. sent, refused: points since the start."""

    link: LinkState = LinkState.CONNECTING
    cause: Cause = Cause.NONE
    detail: str = ""
    waiting: int = 0
    sent: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class _Item:
    """A line, and the row that is confirmed with it. None: an hour, which goes before its minutes."""

    line: str
    row: Row | None


class _WaitsError(Exception):
    """InfluxDB did not take the points; they wait. The text has no secrets."""

    def __init__(self, cause: Cause, detail: str, asked_s: float = 0.0) -> None:
        super().__init__(detail)
        self.cause = cause
        self.asked_s = asked_s


class InfluxWriter:
    """One batch at a time, in whose thread ever.

    jitter: gives a number from 0 to 1. timeout_s: to connect, and for an answer.
    """

    def __init__(
        self,
        settings: Settings,
        site: str,
        node: str,
        journal: Journal,
        clock: Clock,
        *,
        jitter: Callable[[], float] = random.random,
        timeout_s: tuple[float, float] = TIMEOUT_S,
        beats: Beats | None = None,
    ) -> None:
        self._settings = settings
        self._bucket = settings.bucket.replace("{site}", site)
        self._points = Points(site, node)
        self._journal = journal
        self._clock = clock
        self._jitter = jitter
        self._timeout_ms = tuple(round(s * 1000) for s in timeout_s)
        self._size = MOST
        self._failures = 0
        self._client: InfluxDBClient | None = None
        self._beat = (beats or Beats()).loop("influx", _STANDS_STILL_S)
        self.state = InfluxState()  # replaced as a whole: whoever reads it needs no lock

    def turn(self) -> float:
        """Write a batch of what waits; gives the seconds until the next turn."""
        now = self._clock.now()
        self._beat.work(now.mono)
        try:
            return self._turn(now)
        finally:
            self._beat.rest()

    def _turn(self, now: Stamp) -> float:
        if not now.synced:
            self._change(link=LinkState.DOWN, cause=Cause.CLOCK, detail="", waiting=self._journal.points_waiting())
            return PERIOD_S
        if self.state.cause is Cause.CLOCK:
            self._change(link=LinkState.CONNECTING, cause=Cause.NONE)
        size = self._size
        rows, items = self._batch(int((now.wall - SETTLE_S) // 60 * 60), size)
        try:
            if items:
                self._write(items)
        except _WaitsError as error:
            return self._trouble(error)
        if items:
            self._failures, self._size = 0, min(MOST, self._size * 2)
            self._change(link=LinkState.UP, cause=Cause.NONE, detail="")
        self._change(waiting=self._journal.points_waiting())
        return 0.0 if rows >= size else PERIOD_S

    def close(self) -> None:
        """The next turn begins with a new connection, and with the files as they are on disk by then."""
        if self._client is not None:
            self._client.close()  # type: ignore[no-untyped-call]
            self._client = None

    # -- what is sent ------------------------------------------------------------------------------------------------

    def _batch(self, before: int, size: int) -> tuple[int, list[_Item]]:
        """The most rows of one kind, and all lines. before: Unix s, minutes that began later are not over."""
        alarms = self._journal.unwritten_alarms(size)
        minutes = self._journal.pending_tallies(before, size)
        readings = self._journal.pending_readings(size)
        items = [_Item(self._points.alarm(e), e) for e in alarms]
        items += [_Item(self._points.hour(h), None) for h in self._journal.hours_of(minutes, before)]
        items += [_Item(self._points.minute(m), m) for m in minutes]
        items += [_Item(self._points.reading(r), r) for r in readings]
        self._confirm([i for i in items if not i.line])  # a reading without a number
        return max(len(alarms), len(minutes), len(readings)), [i for i in items if i.line]

    def _write(self, items: Sequence[_Item]) -> None:
        told: list[str] = []
        self._halve(items, told)
        if len(told) > _TOLD:
            log.error("InfluxDB does not take %d more points of this batch; they are left out", len(told) - _TOLD)

    def _halve(self, items: Sequence[_Item], told: list[str]) -> None:
        """Write in order: an hour stands before its minutes, so no minute is confirmed without it."""
        try:
            self._post("\n".join(item.line for item in items))
        except ApiException as error:
            if not _means_the_lines(error):
                raise _told(error, self._clock.now().wall) from error
            if len(items) > 1:
                half = len(items) // 2
                self._halve(items[:half], told)
                self._halve(items[half:], told)
                return
            told.append(items[0].line)
            if len(told) <= _TOLD:
                log.error(  # noqa: TRY400 nothing to trace
                    "InfluxDB does not take this point, it is left out: %s: %.300r", items[0].line, error.message
                )
            self._change(refused=self.state.refused + 1)
        else:
            self._change(sent=self.state.sent + len(items))
        self._confirm(items)

    def _post(self, body: str) -> None:
        self._beat.work(self._clock.now().mono)
        try:
            self._client = self._client or self._connect()
            _, status, _ = WriteService(self._client.api_client).post_write_with_http_info(  # type: ignore[no-untyped-call]
                self._settings.org,
                self._bucket,
                body,
                precision="ns",
                content_type="text/plain; charset=utf-8",
                _request_timeout=self._timeout_ms,
            )
        except (TlsFileError, TokenError) as error:
            raise _WaitsError(Cause.FILES, str(error)) from error
        except (HTTPError, OSError) as error:
            raise _WaitsError(_cause_of(error), type(error).__name__) from error
        if status != HTTPStatus.NO_CONTENT:
            raise _WaitsError(Cause.SERVER, f"the server answers {status} where 204 is agreed")

    def _connect(self) -> InfluxDBClient:
        settings = self._settings
        context = client_context(settings.ca, None, None) if settings.url.startswith("https:") else None
        return InfluxDBClient(
            url=settings.url,
            token=read_token(settings.token_file),
            org=settings.org,
            enable_gzip=True,
            ssl_context=context,
        )

    def _confirm(self, items: Sequence[_Item]) -> None:
        rows = [item.row for item in items]
        self._journal.alarms_written([r.id for r in rows if isinstance(r, AlarmEvent)])
        self._journal.tallies_delivered([r for r in rows if isinstance(r, Tally)])
        self._journal.readings_delivered([r for r in rows if isinstance(r, Reading)])

    # -- trouble -----------------------------------------------------------------------------------------------------

    def _trouble(self, error: _WaitsError) -> float:
        if self.state.cause is not error.cause:  # said once
            log.warning("points cannot be written to %s (%s): %s", self._settings.url, error.cause, error)
        self._size = max(LEAST, self._size // 2)
        if error.cause in (Cause.AUTH, Cause.TLS):
            self.close()
        self._failures += 1
        wait = backoff_s(self._failures, FIRST_WAIT_S, LONGEST_WAIT_S) * (0.5 + 0.5 * self._jitter())
        asked = min(error.asked_s, LONGEST_ASKED_S) * (1.0 + 0.25 * self._jitter())
        waiting = self._journal.points_waiting()
        self._change(link=LinkState.DOWN, cause=error.cause, detail=str(error), waiting=waiting)
        return max(wait, asked)

    def _change(self, **fields: Any) -> None:
        self.state = replace(self.state, **fields)


class InfluxUplink:
    """The writer in a thread of its own, which nothing waits for."""

    def __init__(self, writer: InfluxWriter) -> None:
        self._writer = writer
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="influx", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends after the batch that is under way; what is not confirmed by then is sent again next time."""
        self._over.set()
        self._thread.join(sum(TIMEOUT_S) + 1.0)

    @property
    def state(self) -> InfluxState:
        return self._writer.state

    def _run(self) -> None:
        wait = 0.0
        while not self._over.wait(wait):
            wait = self._writer.turn()
        self._writer.close()


def _means_the_lines(error: ApiException) -> bool:
    return error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or (
        error.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}
        and any(words in str(error.message) for words in _LINES)
    )


def _told(error: ApiException, wall: float) -> _WaitsError:
    """An answer that is not about the lines."""
    if not error.status:  # how the client tells that TLS failed
        return _WaitsError(Cause.TLS, " ".join(str(error.reason).split())[:200])
    causes = {
        HTTPStatus.UNAUTHORIZED: Cause.AUTH,
        HTTPStatus.FORBIDDEN: Cause.AUTH,
        HTTPStatus.NOT_FOUND: Cause.BUCKET,
        HTTPStatus.TOO_MANY_REQUESTS: Cause.BUSY,
        HTTPStatus.SERVICE_UNAVAILABLE: Cause.BUSY,
    }
    asked = str(error.headers.get("Retry-After", "")) if error.headers else ""
    detail = f"the server answers {error.status} {error.reason}"
    return _WaitsError(causes.get(error.status, Cause.SERVER), detail, _seconds(asked, wall))


def _seconds(asked: str, wall: float) -> float:
    """Of a `Retry-After`: seconds or a date (RFC 9110, section 10.2.3); 0 for anything else."""
    if asked.isdecimal():
        return float(asked)
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - wall)
    except ValueError:
        return 0.0


def _cause_of(error: HTTPError | OSError) -> Cause:
    if isinstance(error, NewConnectionError):
        return Cause.REFUSED
    if isinstance(error, HttpTimeoutError):
        return Cause.TIMEOUT
    return Cause.BROKEN
