"""Work that waits in the database, done by whichever worker is first, tried again when it fails, given up loudly.

A claim is a lease: the row says until when, and that is committed before the work begins, so that a slow call over the
network holds no lock, and work of a worker that died is taken over. Hence a handler may run twice and must bear it.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Engine, Executable, Float, and_, bindparam, case, or_, select, tuple_, union_all
from sqlalchemy.orm import Session
from uuid6 import uuid7

from broker.dispatch import ledger, metrics
from broker.dispatch.cases import DISPATCH, Wanted
from broker.dispatch.clock import Clock
from broker.dispatch.database import Among, Writes, look, reading, table_of, transaction
from broker.dispatch.tables import Job

log = logging.getLogger(__name__)

LEASE_S = 120.0
"""Twice as long as any handler takes; after it the worker counts as dead."""
MAX_ATTEMPTS = 10
BACKOFF_S = (5.0, 3600.0)
"""Pause after the first failure, doubled each time up to the second."""
MAX_ERROR = 1000

_JOB = table_of(Job)


class JobError(Exception):
    """The work failed; it is tried again after a pause that grows. The text goes into the log: no secrets."""


class Retry(JobError):  # noqa: N818 the word of its handlers
    """It failed, and the far end said when to come back. at: Unix s."""

    def __init__(self, at: float, why: str) -> None:
        super().__init__(why)
        self.at = at


class Again(Exception):  # noqa: N818 nothing went wrong
    """Nothing failed; the job is due again at `at`: periodic work, and work that found it is too early.

    body: what it is about then; None: the same as now. What a job is about belongs there: `due` says only when it is
    tried, and a failure moves it.
    """

    def __init__(self, at: float, body: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"again at {at}")
        self.at = at
        self.body = body


@dataclass(frozen=True, slots=True)
class JobValues:
    """A row of `tables.Job`, claimed. attempts: this one included. leased_until: tells this claim from others."""

    id: str
    kind: str
    key: str
    case: str | None
    due: float
    body: dict[str, Any]
    attempts: int
    asked: int
    leased_until: float


Handler = Callable[[Engine, JobValues, float], None]
"""Called outside any transaction, with the time. Raises Retry, another JobError, or Again."""


@dataclass(frozen=True, slots=True)
class Together:
    """A handler of which several jobs may be done in one transaction, and quicker: `many`, of those that `fit`.

    It raises what a handler raises; then each of them is done alone, by `one`.
    """

    one: Handler
    many: Callable[[Session, Sequence[JobValues], float], None]
    fits: Callable[[JobValues], bool]

    def __call__(self, engine: Engine, job: JobValues, now: float) -> None:
        self.one(engine, job, now)


def add(session: Session, kind: str, key: str, due: float, body: Mapping[str, Any], *, case: str | None = None) -> None:
    """Ask for work; see `tables.Job` for what happens when it has been asked for already."""
    add_all(session, [Wanted(kind, key, due, body, case)])


def add_all(session: Session, wanted: Iterable[Wanted]) -> None:
    """Ask for many at once."""
    writes = Writes()
    ask(writes, wanted)
    writes.send(session)


def ask(writes: Writes, wanted: Iterable[Wanted]) -> None:
    """The same, written along with something else."""
    unique: dict[tuple[str, str], Wanted] = {}
    for job in wanted:
        before = unique.get((job.kind, job.key))
        due = job.due if before is None else min(job.due, before.due)
        unique[job.kind, job.key] = Wanted(job.kind, job.key, due, job.body, job.case)
    rows = [
        {
            "id": str(uuid7()),
            "kind": kind,
            "key": key,
            "case": job.case,
            "due": job.due,
            "body": dict(job.body),
            "asked": 1,
            "attempts": 0,
        }
        # In one order everywhere: two workers that want the same jobs wait for each other, never in a circle.
        for (kind, key), job in sorted(unique.items())
    ]
    writes.insert(_JOB, rows, _or_ask_again)


def _or_ask_again(statement: Any) -> Any:
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["kind", "key"],
        index_where=_JOB.c.given_up_at.is_(None),
        set_={
            "due": case((new.due < _JOB.c.due, new.due), else_=_JOB.c.due),
            "body": new.body,
            "asked": _JOB.c.asked + 1,
        },
    )


def claim(engine: Engine, kinds: Iterable[str], now: float, limit: int, lease_s: float = LEASE_S) -> list[JobValues]:
    """Jobs that are due, the oldest first, now leased to the caller."""
    wanted = tuple(sorted(kinds))
    if not wanted:
        return []
    with reading(engine) as session:  # most of the time there is nothing, and SQLite has one writer at a time
        (found,) = look(session, (_oldest(wanted, limit), {"now": now}))
    if not found:
        return []
    # By their ids: whoever waits for a lock looks for its rows anew, and that was the search among all that is due.
    until = now + lease_s
    with transaction(engine, durable=False) as session:
        (rows,) = look(session, (_LEASE, {"ids": [row.id for row in found], "now": now, "until": until}))
    values = [JobValues(r.id, r.kind, r.key, r.case, r.due, r.body, r.attempts, r.asked, until) for r in rows]
    return sorted(values, key=lambda job: (job.due, job.id))


_NOW = bindparam("now", None, type_=Float)
_FREE = (
    _JOB.c.due <= _NOW,
    _JOB.c.given_up_at.is_(None),
    or_(_JOB.c.leased_until.is_(None), _JOB.c.leased_until <= _NOW),
)
_LEASE = (
    _JOB.update()
    .where(_JOB.c.id.in_(select(_JOB.c.id).where(Among(_JOB.c.id, "ids"), *_FREE).with_for_update(skip_locked=True)))
    .values(leased_until=bindparam("until", None, type_=Float), attempts=_JOB.c.attempts + 1)
    .returning(_JOB)
)


@cache
def _oldest(kinds: tuple[str, ...], limit: int) -> Executable:
    """The first of each kind, as the index has them: all kinds at once would read and sort whatever is due."""
    firsts = [
        select(_JOB.c.id, _JOB.c.due).where(_JOB.c.kind == kind, *_FREE).order_by(_JOB.c.due).limit(limit).subquery()
        for kind in kinds
    ]
    first = union_all(*(select(one.c.id, one.c.due) for one in firsts)).subquery()
    return select(first.c.id).order_by(first.c.due).limit(limit)


def do(
    engine: Engine,
    claimed: Sequence[JobValues],
    handlers: Mapping[str, Handler],
    clock: Clock,
    lease_s: float = LEASE_S,
) -> None:
    """Do what `claim` gave, of kinds that have a handler. lease_s: as it was claimed for."""
    done = _together(engine, claimed, handlers, clock.now())
    for job in claimed:
        if job.id in done:
            continue
        if clock.now() > job.leased_until - lease_s / 2:  # those before it were slow: it would outlive its lease
            _let_go(engine, job)
            continue
        if job.attempts > MAX_ATTEMPTS:  # each try ended with the death of its worker
            _give_up(engine, job, clock.now(), job.attempts - 1, "its worker died each time")
            continue
        try:
            handlers[job.kind](engine, job, clock.now())
        except Again as again:
            _put_back(engine, job, again.at, attempts=0, error=None, body=again.body)
        except Retry as error:
            _failed(engine, job, clock.now(), str(error), error.at)
        except JobError as error:
            _failed(engine, job, clock.now(), str(error))
        except Exception as error:  # a bug in one handler must not stop the others
            log.exception("job %s %s failed", job.kind, job.key)
            _failed(engine, job, clock.now(), type(error).__name__)
        else:
            _finish(engine, job)


def _together(engine: Engine, claimed: Iterable[JobValues], handlers: Mapping[str, Handler], now: float) -> set[str]:
    """Do what goes together; gives the ids of what was done."""
    groups: dict[str, list[JobValues]] = defaultdict(list)
    for job in claimed:
        handler = handlers[job.kind]
        if isinstance(handler, Together) and job.attempts == 1 and handler.fits(job):
            groups[job.kind].append(job)
    done: set[str] = set()
    for kind, group in groups.items():
        handler = handlers[kind]
        assert isinstance(handler, Together)  # noqa: S101 for the type checker
        try:
            with transaction(engine) as session:
                handler.many(session, group, now)
                ended = _end(session, group)
        except Exception as error:  # noqa: BLE001 each alone will show which it was, and log it
            log.info("%d jobs of %s are done one by one: %s", len(group), kind, type(error).__name__)
            continue
        metrics.JOBS.labels(kind, "done").inc(len(ended))
        for job in group:
            if job.id not in ended:
                _finish(engine, job)
        done |= {job.id for job in group}
    return done


def _mine(job: JobValues) -> Any:
    """Still this try's: nobody took it over after its lease."""
    return and_(_JOB.c.id == job.id, _JOB.c.leased_until == job.leased_until)


def _finish(engine: Engine, job: JobValues) -> None:
    metrics.JOBS.labels(job.kind, "done").inc()
    with transaction(engine, durable=False) as session:
        gone = session.execute(_JOB.delete().where(_mine(job), _JOB.c.asked == job.asked).returning(_JOB.c.id)).all()
        if not gone:  # asked for again in the meantime
            session.execute(_JOB.update().where(_mine(job)).values(leased_until=None, attempts=0, error=None))


def _end(session: Session, done: Sequence[JobValues]) -> set[str]:
    """Those of a claim that nobody has asked for again, nor is asking for now: waiting for whoever does, with others
    in hand that he asks for next, would be a circle. Gives their ids."""
    as_asked = tuple_(_JOB.c.id, _JOB.c.asked).in_([(job.id, job.asked) for job in done])
    mine = select(_JOB.c.id).where(as_asked, _JOB.c.leased_until == done[0].leased_until)
    free = session.scalars(mine.with_for_update(skip_locked=True)).all()
    session.execute(_JOB.delete().where(_JOB.c.id.in_(free)))
    return set(free)


def _let_go(engine: Engine, job: JobValues) -> None:
    with transaction(engine, durable=False) as session:
        session.execute(_JOB.update().where(_mine(job)).values(leased_until=None, attempts=job.attempts - 1))


def _put_back(
    engine: Engine,
    job: JobValues,
    due: float,
    *,
    attempts: int,
    error: str | None,
    body: Mapping[str, Any] | None = None,
) -> None:
    """What somebody asked for meanwhile stays as asked."""
    wanted: dict[str, Any] = {"due": due} if body is None else {"due": due, "body": dict(body)}
    as_asked = _JOB.c.asked == job.asked
    with transaction(engine, durable=False) as session:
        put = (
            _JOB.update()
            .where(_mine(job), as_asked)
            .values(leased_until=None, attempts=attempts, error=error, **wanted)
        )
        if not session.execute(put.returning(_JOB.c.id)).all():
            session.execute(_JOB.update().where(_mine(job)).values(leased_until=None, attempts=attempts, error=error))


def _failed(engine: Engine, job: JobValues, now: float, why: str, at: float | None = None) -> None:
    if job.attempts >= MAX_ATTEMPTS:
        _give_up(engine, job, now, job.attempts, why)
        return
    metrics.JOBS.labels(job.kind, "retried").inc()
    log.warning("job %s %s failed, try %d: %s", job.kind, job.key, job.attempts, why)
    first, longest = BACKOFF_S
    due = now + min(first * 2 ** (job.attempts - 1), longest) if at is None else at
    _put_back(engine, job, due, attempts=job.attempts, error=why[:MAX_ERROR])


def _give_up(engine: Engine, job: JobValues, now: float, tries: int, why: str) -> None:
    metrics.JOBS.labels(job.kind, "given_up").inc()
    log.error("job %s %s given up after %d tries: %s", job.kind, job.key, tries, why)
    with transaction(engine) as session:
        session.execute(_JOB.update().where(_mine(job)).values(given_up_at=now, error=why[:MAX_ERROR]))
        if job.case is not None:
            detail = {"kind": job.kind, "key": job.key, "tries": tries, "error": why[:MAX_ERROR]}
            ledger.append(session, job.case, now, DISPATCH, "job_given_up", detail)
