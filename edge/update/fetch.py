"""A release from the site server: `GET {url}/releases/{sha256}` with the node's certificate, resumed where it broke."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from broker.messages import UpdateOrder
from edge.clock import backoff_s
from edge.site.model import EvidenceUplink as Server
from edge.update.guard import RESERVE, Refused, code_of
from edge.uplink.tls import TlsFileError, client_context, words

WAIT_S = (5.0, 300.0)
"""Pause after a failure: the first, and the longest."""
TIMEOUT = httpx.Timeout(30.0, connect=10.0)
"""For each step (connect, one read), not for the whole file."""
_CHUNK = 256 * 1024
_PARTIAL = 206
_OK = 200
_NOT_THERE = (404, 410)
_RANGE = 416


class StoppedError(Exception):
    """The node ends; what was fetched stays for the next time."""


class _TroubleError(Exception):
    """To be tried again."""


@dataclass
class Fetch:
    """One file. folder: where it is put together. told: called when `got` or `trouble` has changed enough to be told.

    trouble: why it is not further, empty while all is well. jitter: gives a number from 0 to 1.
    """

    server: Server
    order: UpdateOrder
    folder: Path
    told: Callable[[], None]
    jitter: Callable[[], float] = random.random
    got: int = 0
    trouble: str = ""
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def percent(self) -> int:
        return min(100, 100 * self.got // self.order.bytes)

    def stop(self) -> None:
        """From any thread."""
        self._stop.set()

    def run(self) -> Path:
        """The file, whole and with the right hash. Tries for as long as it takes.

        Raises Refused where trying again is of no use, StoppedError.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self.order.sha256}.tar"
        for other in self.folder.iterdir():
            if other != path:
                other.unlink()
        resumed = path.exists()
        self._fetch(path)
        if _sha256(path) != self.order.sha256 and resumed:  # what lay there may have suffered in a power cut
            path.unlink()
            self._fetch(path)
        if _sha256(path) != self.order.sha256:
            path.unlink()
            raise Refused("changed_file", "what the server sent has another SHA-256 than was announced")
        return path

    def _fetch(self, path: Path) -> None:
        failures = 0
        while True:
            before = self.got
            try:
                return self._attempt(path)
            except (_TroubleError, httpx.TransportError, TlsFileError) as error:
                failures = 1 if self.got > before else failures + 1
                self._say(str(error) or type(error).__name__)
                if self._stop.wait(backoff_s(failures, *WAIT_S) * (0.5 + 0.5 * self.jitter())):
                    raise StoppedError from error
            except OSError as error:
                path.unlink(missing_ok=True)
                raise Refused(code_of(error), f"{self.folder}: {words(error)}") from error

    def _say(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self.told()

    def _attempt(self, path: Path) -> None:
        have = path.stat().st_size if path.exists() else 0
        if have > self.order.bytes:
            path.unlink()
            have = 0
        self.got = have
        if have == self.order.bytes:
            return
        need(self.folder, self.order.bytes - have)
        context = client_context(self.server.ca, self.server.cert, self.server.key)
        url = f"{self.server.url.rstrip('/')}/releases/{self.order.sha256}"
        headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"}
        with (
            httpx.Client(verify=context, timeout=TIMEOUT, trust_env=False) as client,
            client.stream("GET", url, headers=headers) as answer,
        ):
            if answer.status_code in _NOT_THERE:
                raise Refused("not_there", f"the server answers {answer.status_code}: it does not have this release")
            if answer.status_code not in (_OK, _PARTIAL):
                if answer.status_code == _RANGE:
                    path.unlink(missing_ok=True)
                raise _TroubleError(f"the server answers {answer.status_code}")
            self._receive(answer, path, have if answer.status_code == _PARTIAL else 0)
        if self.got < self.order.bytes:
            raise _TroubleError("the server ended in the middle of it")

    def _receive(self, answer: httpx.Response, path: Path, have: int) -> None:
        self.got = have
        with path.open("r+b" if have else "wb") as file:
            file.seek(have)
            for chunk in answer.iter_raw(_CHUNK):
                if self._stop.is_set():
                    raise StoppedError
                if self.got + len(chunk) > self.order.bytes:
                    raise Refused("too_large", f"the server sends more than the {self.order.bytes} bytes announced")
                file.write(chunk)
                before, self.got = self.percent, self.got + len(chunk)
                if before // 10 != self.percent // 10:
                    self.told()
            file.flush()
            os.fsync(file.fileno())
        self._say("")


def need(folder: Path, size: int) -> None:
    """Raises Refused where the disk has not got so many bytes, and some to spare."""
    free = shutil.disk_usage(folder).free
    if free < size + RESERVE:
        raise Refused("disk_full", f"{(size + RESERVE) >> 20} MB must be free in {folder}, {free >> 20} are")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
