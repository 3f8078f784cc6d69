"""Jobs and what is periodic, done in threads until told to stop. A thread that dies of a bug ends the program
(`deploy/cli.py`), and the service manager starts it again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from broker.dispatch import metrics
from broker.dispatch.clock import Clock
from broker.dispatch.database import transaction
from broker.dispatch.jobs import Again, Handler, JobValues, Retry, add, run_due

log = logging.getLogger(__name__)

JOB_THREADS: Final = 3
JOBS_AT_ONCE: Final = 60
IDLE_S: Final = 0.25
TROUBLE_S: Final = 2.0
"""Pause before the next try while the database is away."""
PERIODIC_LEASE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Periodic:
    """Something that one worker of all does again and again. every_s: after the end of the last time."""

    every_s: float
    work: Callable[[float], object]


class Runner:
    """handlers: of jobs, by kind. periodic: by kind. first: is called, by one thread, before it looks for work."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        handlers: Mapping[str, Handler],
        periodic: Mapping[str, Periodic],
        first: Callable[[], object] = lambda: None,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._handlers = handlers
        self._periodic = periodic
        self._first = first
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, stop: threading.Event) -> None:
        """Until `stop` is set; what is under way is finished."""
        self._stop = stop
        with transaction(self._engine) as session:
            for kind in self._periodic:
                add(session, kind, "-", self._clock.now(), {})
        works = [
            self._first_and_periodic,
            self._do_periodic,
            *([self._do_jobs] * JOB_THREADS if self._handlers else []),
        ]
        self._threads = [threading.Thread(target=w, name=f"jobs-{n}", daemon=True) for n, w in enumerate(works)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _do_jobs(self) -> None:
        """Where fewer were due than are taken at once, what comes meanwhile waits: together they cost less."""
        while not self._stop.is_set():
            if self._attempt(lambda: run_due(self._engine, self._handlers, self._clock, JOBS_AT_ONCE)) < JOBS_AT_ONCE:
                self._stop.wait(IDLE_S)

    def _first_and_periodic(self) -> None:
        self._do_periodic(self._first)

    def _do_periodic(self, first: Callable[[], object] = lambda: None) -> None:
        """One at a time, so that what waits for a slow server does not hold up the rest: another thread takes it."""
        handlers = {kind: again(kind, what, self._clock) for kind, what in self._periodic.items()}
        while not self._stop.is_set():
            first()
            if not self._attempt(lambda: run_due(self._engine, handlers, self._clock, 1, PERIODIC_LEASE_S)):
                self._stop.wait(IDLE_S)

    def _attempt(self, work: Callable[[], int]) -> int:
        try:
            return work()
        except DBAPIError as error:
            log.error("jobs wait, the database does not answer: %s", type(error.orig).__name__)  # noqa: TRY400 every 2 s
            self._stop.wait(TROUBLE_S)
            return 0


def again(kind: str, what: Periodic, clock: Clock) -> Handler:
    """Does `what` as a job that is never done, and never given up."""

    def handle(_engine: Engine, _job: JobValues, now: float) -> None:
        try:
            what.work(now)
        except Retry as error:
            metrics.JOBS.labels(kind, "retried").inc()
            log.warning("%s: %s; again in %g s", kind, error, error.at - now)
            raise Again(error.at) from error
        except Exception:
            metrics.JOBS.labels(kind, "retried").inc()
            log.exception("%s failed; again in %g s", kind, what.every_s)
        raise Again(clock.now() + what.every_s)

    return handle
