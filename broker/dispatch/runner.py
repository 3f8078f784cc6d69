"""Jobs and what is periodic, done in threads until told to stop. A thread that dies of a bug ends the program
(`deploy/cli.py`), and the service manager starts it again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from broker.dispatch import metrics
from broker.dispatch.clock import Clock
from broker.dispatch.database import transaction
from broker.dispatch.jobs import LEASE_S, Again, Handler, JobValues, Retry, add, claim, do

log = logging.getLogger(__name__)

JOB_THREADS: Final = 3
JOBS_AT_ONCE: Final = 60
IDLE_S: Final = 0.25
TROUBLE_S: Final = 2.0
"""Pause before the next try while the database is away."""
PERIODIC_LEASE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Periodic:
    """Something that one worker of all does again and again. every_s: after the end of the last time.

    able: whether this worker could do it now; one that could not leaves the turn to another.
    """

    every_s: float
    work: Callable[[float], object]
    able: Callable[[], bool] = lambda: True


@dataclass(slots=True)
class _Queue:
    """Due jobs of some kinds, for threads that look for them one after the other: together as often as one would.
    able: by kind, where it is asked.

    Where fewer were due than are taken at once, the next waits first for what comes meanwhile: together they cost less.
    What waits for a slow server does not hold up the rest: another thread takes that.
    """

    engine: Engine
    clock: Clock
    stop: threading.Event
    handlers: Mapping[str, Handler]
    limit: int
    lease_s: float
    able: Mapping[str, Callable[[], bool]] = field(default_factory=dict)
    looking: threading.Lock = field(default_factory=threading.Lock)
    more: bool = True

    def do_some(self) -> None:
        do(self.engine, self._next(), self.handlers, self.clock, self.lease_s)

    def _next(self) -> Sequence[JobValues]:
        with self.looking:
            if not self.more:
                self.stop.wait(IDLE_S)
            if self.stop.is_set():
                return []
            self.more = False  # also where looking fails
            kinds = [kind for kind in self.handlers if kind not in self.able or self.able[kind]()]
            claimed = claim(self.engine, kinds, self.clock.now(), self.limit, self.lease_s)
            self.more = len(claimed) == self.limit
            return claimed


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
        again_and_again = {kind: again(kind, what, self._clock) for kind, what in self._periodic.items()}
        jobs = _Queue(self._engine, self._clock, stop, self._handlers, JOBS_AT_ONCE, LEASE_S)
        able = {kind: what.able for kind, what in self._periodic.items()}
        periodic = _Queue(self._engine, self._clock, stop, again_and_again, 1, PERIODIC_LEASE_S, able)
        works = [partial(self._work, jobs)] * JOB_THREADS if self._handlers else []
        works += [partial(self._work, periodic, self._first), partial(self._work, periodic)]
        self._threads = [threading.Thread(target=w, name=f"jobs-{n}", daemon=True) for n, w in enumerate(works)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _work(self, queue: _Queue, first: Callable[[], object] = lambda: None) -> None:
        while not self._stop.is_set():
            try:
                first()
                queue.do_some()
            except DBAPIError as error:
                log.error("jobs wait, the database does not answer: %s", type(error.orig).__name__)  # noqa: TRY400 every 2 s
                self._stop.wait(TROUBLE_S)


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
