"""Pictures and clips to the site server: `PUT {url}/evidence/{alarm}/{sha256}`, deleted here on 201 and only then.

What an answer means:

* 201: stored. The record goes, and with its last record the file. An ETag that names another hash is a refusal.
* 401, 403: the server does not know this node; nothing else is tried until the wait is over, `state` says `auth`.
* any other 4xx but 408, 425, 429: this file is refused. It is set aside and tried again after `ASIDE_S`.
* everything else, among it 200 and 204 (a proxy or a captive portal, not the server): the server is in trouble. A wait
  that doubles, with jitter, so that a thousand nodes do not come back at once. The file goes to the end of the line:
  one that the server stumbles over never blocks the others.
"""

from __future__ import annotations

import errno
import logging
import os
import random
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, BinaryIO

import httpx

from edge.beat import Beats
from edge.clock import Clock, backoff_s
from edge.journal.journal import Journal
from edge.journal.rows import StoredEvidence
from edge.site.model import EvidenceUplink as Settings
from edge.uplink.tls import TlsFileError, client_context
from edge.values import MEDIA_TYPES, LinkState

log = logging.getLogger(__name__)

ASIDE_S = 6 * 3600.0
FIRST_WAIT_S = 2.0
LONGEST_WAIT_S = 300.0
AUTH_WAIT_S = 300.0
TIMEOUT = httpx.Timeout(15.0, connect=10.0)
"""For each step (connect, one write, one read), not for the whole file: a slow line is not a dead one."""
_BATCH = 64
_IDLE_S = 10.0  # the journal is asked anew, in case nobody called `wake`
_STANDS_STILL_S = 180.0  # a name server that does not answer, connecting, a chunk, the answer
_ASK_S = 1.0  # whether `may_send` has changed its mind, whether the clock has moved
_CHUNK = 64 * 1024
_STORED = 201
_NOT_KNOWN = (401, 403)
_PASSING = (408, 425, 429)
_SHA256 = re.compile(r"[0-9a-f]{64}")

Key = tuple[str, str]


class Cause(StrEnum):
    """Why evidence is not getting through; what to say and what to do: catalogues, `upload.*` and `upload_do.*`."""

    NONE = "none"
    AUTH = "auth"  # the server does not know this node, or its certificate is not accepted
    TLS = "tls"  # the server cannot prove that it is the right one
    FILES = "files"  # a certificate or key on this node is missing or wrong
    REFUSED = "refused"  # nobody listens there, or the name is unknown
    TIMEOUT = "timeout"
    BROKEN = "broken"  # the connection was cut
    SERVER = "server"  # the server answers, but not as agreed


@dataclass(frozen=True, slots=True)
class UploadState:
    """How the upload is. aside: files that the server refuses for what they are; sent: since the start."""

    link: LinkState = LinkState.CONNECTING
    cause: Cause = Cause.NONE
    detail: str = ""
    aside: int = 0
    sent: int = 0


class _StoppedError(Exception):
    """Raised out of the middle of a body when the uplink is told to stop."""


class EvidenceUplink:
    """Sends one file at a time over one connection, in a thread of its own; alarms go before it.

    may_send: asked before each file; False while alarms wait, they have the line first.
    jitter: gives a number from 0 to 1.
    """

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        clock: Clock,
        may_send: Callable[[], bool] = lambda: True,
        jitter: Callable[[], float] = random.random,
        *,
        beats: Beats | None = None,
    ) -> None:
        self._settings = settings
        self._url = settings.url.rstrip("/")
        self._journal = journal
        self._clock = clock
        self._may_send = may_send
        self._jitter = jitter
        self._news = threading.Condition()
        self._woken = False
        self._stopping = False
        self._state = UploadState()
        self._failures: dict[Key, int] = {}
        self._aside: dict[Key, float] = {}
        self._waits = 0
        self._not_before = float("-inf")
        self._client: httpx.Client | None = None
        self._beat = (beats or Beats()).loop("evidence", _STANDS_STILL_S)
        self._thread = threading.Thread(target=self._run, name="evidence-upload", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends within a chunk of a body, or the wait for an answer; what was not confirmed is sent again next time."""
        with self._news:
            self._stopping = True
            self._news.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=20.0)

    def wake(self) -> None:
        """There is something new to send. Does not cut a wait after a failure short."""
        with self._news:
            self._woken = True
            self._news.notify_all()

    @property
    def state(self) -> UploadState:
        with self._news:
            return self._state

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._sleep():
                file = self._next()
                if file is not None:
                    self._send(file)
        finally:
            self._hang_up()
            self._beat.rest()

    def _sleep(self) -> bool:
        """Wait until a file may be sent. False: stop."""
        with self._news:
            while not self._stopping:
                now = self._clock.now().mono
                self._beat.work(now)
                left = self._not_before - now
                if left <= 0:
                    if self._may_send():
                        return True
                    left = _ASK_S
                self._news.wait(min(left, _ASK_S))
            return False

    def _next(self) -> StoredEvidence | None:
        """The file whose turn it is; waits a while where there is none."""
        now = self._clock.now().mono
        with self._news:
            self._woken = False
        self._aside = {key: until for key, until in self._aside.items() if until > now}
        pending = self._journal.pending_evidence(_BATCH + len(self._aside) + len(self._failures))
        keys = {_key(file) for file in pending}
        self._aside = {key: until for key, until in self._aside.items() if key in keys}
        self._failures = {key: times for key, times in self._failures.items() if key in keys}
        self._change(aside=len(self._aside))
        turn = [file for file in pending if _key(file) not in self._aside]
        if turn:
            return min(turn, key=lambda file: self._failures.get(_key(file), 0))
        with self._news:
            if not self._woken and not self._stopping:
                self._news.wait(_IDLE_S)
        return None

    def _connect(self) -> httpx.Client | None:
        """None, with `state` saying so, where a certificate or key of this node cannot be used."""
        try:
            context = client_context(self._settings.ca, self._settings.cert, self._settings.key)
        except TlsFileError as error:
            self._trouble(Cause.FILES, str(error), LONGEST_WAIT_S)
            return None
        limits = httpx.Limits(max_connections=1, keepalive_expiry=60.0)
        return httpx.Client(verify=context, timeout=TIMEOUT, trust_env=False, limits=limits)

    def _hang_up(self) -> None:
        """The next file goes over a new connection, with the certificates as they are on disk by then."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _send(self, file: StoredEvidence) -> None:
        self._client = self._client or self._connect()
        if self._client is None:
            return
        try:
            with file.path.open("rb") as body:
                size = os.fstat(body.fileno()).st_size
                if size != file.ref.bytes:
                    self._refused(file, f"it is damaged: {size} bytes on disk, {file.ref.bytes} when it was written")
                    return
                answer = self._client.put(
                    f"{self._url}/evidence/{file.alarm}/{file.ref.sha256}",
                    content=self._chunks(body, size),
                    headers={"Content-Type": MEDIA_TYPES[file.ref.kind], "Content-Length": str(size)},
                )
        except _StoppedError:
            return
        except httpx.TransportError as error:
            self._failed(file, _cause_of(error), str(error) or type(error).__name__)
        except FileNotFoundError:
            log.warning("evidence %s of alarm %s is gone from the disk", file.path.name, file.alarm)
        except OSError as error:
            self._refused(file, f"it cannot be read: {error}")
        else:
            self._answered(file, answer)

    def _chunks(self, body: BinaryIO, left: int) -> Iterator[bytes]:
        while left:
            if self._stopping:
                raise _StoppedError
            self._beat.work(self._clock.now().mono)
            chunk = body.read(min(_CHUNK, left))
            if not chunk:
                raise OSError(errno.EIO, "the file became shorter while it was read")
            left -= len(chunk)
            yield chunk

    def _answered(self, file: StoredEvidence, answer: httpx.Response) -> None:
        code = answer.status_code
        if code == _STORED and _names_another(answer, file.ref.sha256):
            self._refused(file, f"the server stored something else ({answer.headers['etag']})")
        elif code == _STORED:
            self._journal.evidence_delivered(file.ref.sha256, file.alarm)
            self._failures.pop(_key(file), None)
            self._waits = 0
            self._change(link=LinkState.UP, cause=Cause.NONE, detail="", sent=self._state.sent + 1)
        elif code in _NOT_KNOWN:
            self._trouble(Cause.AUTH, f"the server answers {code}: it does not know this node", AUTH_WAIT_S)
        elif answer.is_client_error and code not in _PASSING:
            self._refused(file, f"the server answers {code}")
        else:
            self._failed(file, Cause.SERVER, f"the server answers {code} where 201 is agreed")

    def _refused(self, file: StoredEvidence, why: str) -> None:
        """This file will not be taken; the others may be."""
        log.warning("evidence %s of alarm %s is set aside: %s", file.path.name, file.alarm, why)
        self._aside[_key(file)] = self._clock.now().mono + ASIDE_S
        self._waits = 0
        self._change(link=LinkState.UP, cause=Cause.NONE, detail=why, aside=len(self._aside))

    def _failed(self, file: StoredEvidence, cause: Cause, detail: str) -> None:
        self._failures[_key(file)] = self._failures.get(_key(file), 0) + 1
        self._waits += 1
        self._trouble(cause, detail, backoff_s(self._waits, FIRST_WAIT_S, LONGEST_WAIT_S))

    def _trouble(self, cause: Cause, detail: str, wait_s: float) -> None:
        if self._state.cause is not cause:  # said once
            log.warning("evidence cannot be sent to %s (%s): %s", self._url, cause, detail)
        if cause in (Cause.AUTH, Cause.TLS):
            self._hang_up()
        # From half of it to the whole.
        self._not_before = self._clock.now().mono + wait_s * (0.5 + 0.5 * self._jitter())
        self._change(link=LinkState.DOWN, cause=cause, detail=detail)

    def _change(self, **fields: Any) -> None:
        with self._news:
            self._state = replace(self._state, **fields)
            self._news.notify_all()


def _key(file: StoredEvidence) -> Key:
    return file.ref.sha256, file.alarm


def _names_another(answer: httpx.Response, sha256: str) -> bool:
    """Whether the server says, by a strong ETag that is a SHA-256, that it has stored other bytes than were sent."""
    tag = str(answer.headers.get("etag", "")).strip('"').lower()
    return bool(_SHA256.fullmatch(tag)) and tag != sha256


def _cause_of(error: httpx.TransportError) -> Cause:
    tls = _tls_error(error)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return Cause.TLS
    if tls is not None and "ALERT" in (tls.reason or ""):  # the other side has refused our certificate
        return Cause.AUTH
    if isinstance(error, httpx.TimeoutException):
        return Cause.TIMEOUT
    if isinstance(error, httpx.ConnectError):
        return Cause.REFUSED if tls is None else Cause.TLS
    return Cause.BROKEN


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """What OpenSSL said, under what httpx and httpcore made of it."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error
