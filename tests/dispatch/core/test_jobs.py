"""Jobs: one claim at a time, tried again, taken over from the dead, given up loudly."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from broker.dispatch import desk, jobs, ledger
from broker.dispatch.cases import on_event
from broker.dispatch.clock import ManualClock
from broker.dispatch.database import open_engine, reading, table_of, transaction
from broker.dispatch.jobs import LEASE_S, MAX_ATTEMPTS, Again, JobError, JobValues, Retry, Together
from broker.dispatch.tables import Job, Ledger
from tests.dispatch.core.builders import NOW, event
from tests.dispatch.due import run_due
from tests.servers import Postgres
from tests.waiting import until


class Told:
    """A handler that notes what it was called for, and then does what it is told to."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.calls: list[JobValues] = []
        self._outcomes = list(outcomes)

    def __call__(self, _engine: Engine, job: JobValues, _now: float) -> None:
        self.calls.append(job)
        if self._outcomes and (outcome := self._outcomes.pop(0)) is not None:
            raise outcome


def add(engine: Engine, key: str = "k", due: float = NOW, **more: Any) -> None:
    with transaction(engine) as session:
        jobs.add(session, "notify", key, due, more.pop("body", {}), **more)


def waiting(engine: Engine) -> list[Job]:
    with reading(engine) as session:
        return list(session.scalars(select(Job).order_by(Job.due)))


def run(engine: Engine, clock: ManualClock, handler: jobs.Handler, limit: int = 10) -> int:
    return run_due(engine, {"notify": handler}, clock, limit)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


def test_it_is_done_when_it_is_due_and_then_gone(both: Engine, clock: ManualClock) -> None:
    add(both, due=NOW + 10, body={"about": "raised"})
    told = Told()
    assert run(both, clock, told) == 0
    clock.advance(10)
    assert run(both, clock, told) == 1
    assert [(j.key, j.body, j.attempts) for j in told.calls] == [("k", {"about": "raised"}, 1)]
    assert waiting(both) == []


def test_the_oldest_first_and_only_kinds_that_have_a_handler(both: Engine, clock: ManualClock) -> None:
    for key, due in (("b", NOW - 5), ("c", NOW - 1), ("a", NOW - 9)):
        add(both, key, due)
    with transaction(both) as session:
        jobs.add(session, "other", "x", NOW, {})
    told = Told()
    assert (run(both, clock, told, limit=2), run(both, clock, told)) == (2, 1)
    assert [j.key for j in told.calls] == ["a", "b", "c"]
    assert [j.kind for j in waiting(both)] == ["other"]


def test_asked_for_twice_it_is_one_with_the_earlier_time_and_the_later_body(both: Engine) -> None:
    add(both, due=NOW + 10, body={"n": 1})
    add(both, due=NOW + 50, body={"n": 2})
    add(both, due=NOW + 5, body={"n": 3})
    (job,) = waiting(both)
    assert (job.due, job.body, job.asked) == (NOW + 5, {"n": 3}, 3)


def test_asked_for_while_it_runs_it_runs_once_more(both: Engine, clock: ManualClock) -> None:
    add(both, body={"n": 1})
    seen = []

    def handler(engine: Engine, job: JobValues, now: float) -> None:
        seen.append(job.body["n"])
        if len(seen) == 1:
            add(engine, due=now, body={"n": 2})
            assert run(engine, clock, Told()) == 0, "nobody else may run it at the same time"

    assert (run(both, clock, handler), run(both, clock, handler), run(both, clock, handler)) == (1, 1, 0)
    assert seen == [1, 2]


def test_two_workers_never_do_the_same(both: Engine, clock: ManualClock) -> None:
    for n in range(40):
        add(both, f"k{n}")
    tolds, start = [Told(), Told()], threading.Barrier(2)

    def work(told: Told) -> None:
        start.wait()
        while run(both, clock, told, limit=3):
            pass

    threads = [threading.Thread(target=work, args=(told,)) for told in tolds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(j.key for told in tolds for j in told.calls) == sorted(f"k{n}" for n in range(40))


def test_the_work_of_a_dead_worker_is_taken_over_after_its_lease(both: Engine, clock: ManualClock) -> None:
    add(both)
    assert len(jobs.claim(both, ["notify"], clock.now(), 10)) == 1  # and it dies
    told = Told()
    clock.advance(LEASE_S - 1)
    assert run(both, clock, told) == 0
    clock.advance(1)
    assert run(both, clock, told) == 1
    assert told.calls[0].attempts == 2


def test_who_comes_back_after_its_lease_does_not_end_the_work_of_another(both: Engine, clock: ManualClock) -> None:
    add(both)
    third = Told()

    def slow(engine: Engine, _job: JobValues, _now: float) -> None:
        clock.advance(LEASE_S)
        assert len(jobs.claim(engine, ["notify"], clock.now(), 10)) == 1

    run(both, clock, slow)
    assert len(waiting(both)) == 1
    clock.advance(LEASE_S)
    assert run(both, clock, third) == 1


@pytest.mark.parametrize(
    ("outcome", "after", "error"),
    [
        (JobError("refused"), 5.0, "refused"),
        (Retry(NOW + 77, "slow down"), 77.0, "slow down"),
        (Again(NOW + 33), 33.0, None),
        (ValueError("a secret"), 5.0, "ValueError"),
    ],
)
def test_what_a_handler_may_say(
    both: Engine, clock: ManualClock, outcome: Exception, after: float, error: str | None
) -> None:
    add(both)
    assert run(both, clock, Told(outcome)) == 1
    (job,) = waiting(both)
    assert (job.due, job.error, job.leased_until) == (NOW + after, error, None)


@pytest.mark.parametrize(
    ("outcome", "asked", "then"),
    [
        (Again(NOW + 33), None, (33.0, {"n": 1})),
        (Again(NOW + 33, {"n": 2}), None, (33.0, {"n": 2})),
        (Again(NOW + 33, {"n": 2}), {"n": 3}, (0.0, {"n": 3})),  # what is asked for meanwhile is not lost
        (JobError("refused"), None, (5.0, {"n": 1})),
    ],
)
def test_what_a_job_is_about_the_next_time(
    both: Engine, clock: ManualClock, outcome: Exception, asked: dict[str, Any] | None, then: tuple[float, Any]
) -> None:
    def ask(body: dict[str, Any]) -> None:
        with transaction(both) as session:
            jobs.add(session, "notify", "k", NOW, body)

    def handler(_engine: Engine, _job: JobValues, _now: float) -> None:
        if asked:
            ask(asked)
        raise outcome

    ask({"n": 1})
    run(both, clock, handler)
    (job,) = waiting(both)
    assert (job.due - NOW, job.body) == then
    assert job.leased_until is None


def test_again_may_be_said_for_ever(both: Engine, clock: ManualClock) -> None:
    add(both)
    told = Told(*[Again(NOW)] * 30)
    assert [run(both, clock, told) for _ in range(31)] == [1] * 31
    assert {j.attempts for j in told.calls} == {1}


def test_pauses_grow_and_then_it_is_given_up_loudly(
    both: Engine, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    with transaction(both) as session:
        desk.write(session, [on_event(None, event(), NOW, "c1")], NOW)
        session.execute(table_of(Job).delete())
    add(both, case="c1")
    told, pauses = Told(*[JobError("no answer")] * MAX_ATTEMPTS), []
    for _ in range(MAX_ATTEMPTS):
        assert run(both, clock, told) == 1
        (job,) = waiting(both)
        pauses.append(job.due - clock.now())
        clock.advance(max(pauses[-1], 0))
    assert pauses[:4] == [5, 10, 20, 40]
    assert job.given_up_at == clock.now()
    assert job.error == "no answer"
    assert run(both, clock, told) == 0
    assert "given up after 10 tries: no answer" in caplog.text
    with reading(both) as session:
        last = session.scalars(select(Ledger).order_by(Ledger.n.desc())).first()
        assert last is not None
        assert (last.action, last.detail["error"]) == ("job_given_up", "no answer")
        assert ledger.verify(session, "c1") == []
    add(both)  # what was given up does not stand in the way of the next
    assert run(both, clock, Told()) == 1


def test_what_kills_every_worker_is_given_up_too(both: Engine, clock: ManualClock) -> None:
    add(both)
    for _ in range(MAX_ATTEMPTS):
        jobs.claim(both, ["notify"], clock.now(), 10)
        clock.advance(LEASE_S)
    told = Told()
    run(both, clock, told)
    assert told.calls == []
    assert waiting(both)[0].given_up_at is not None


class Many:
    """Does several in one transaction, as `Told` does one; notes which went together. bad: keys that it cannot do."""

    def __init__(self, *bad: str) -> None:
        self.together: list[list[str]] = []
        self._bad = bad

    def __call__(self, session: Session, asked: Sequence[JobValues], now: float) -> None:
        self.together.append([job.key for job in asked])
        for job in asked:
            jobs.add(session, "done", job.key, now, {})
            if job.key in self._bad:
                raise JobError(f"not {job.key}")


def kinds(engine: Engine) -> list[tuple[str, str]]:
    return sorted((job.kind, job.key) for job in waiting(engine))


def test_what_goes_together_is_one_transaction(both: Engine, clock: ManualClock) -> None:
    for key in ("a", "b", "to:ann"):
        add(both, key)
    alone, many = Told(), Many()
    assert run(both, clock, Together(alone, many, fits=lambda job: ":" not in job.key)) == 3
    assert [sorted(keys) for keys in many.together] == [["a", "b"]]
    assert [job.key for job in alone.calls] == ["to:ann"]
    assert kinds(both) == [("done", "a"), ("done", "b")]


def test_where_one_fails_each_is_done_alone(both: Engine, clock: ManualClock) -> None:
    for key in ("a", "bad", "c"):
        add(both, key)
    alone, many = Told(None, JobError("no"), None), Many("bad")
    run(both, clock, Together(alone, many, fits=lambda _: True))
    assert len(many.together) == 1
    assert [job.key for job in alone.calls] == ["a", "bad", "c"]
    assert [(job.key, job.error) for job in waiting(both)] == [("bad", "no")]  # and nothing of what `many` had begun
    clock.advance(100)
    run(both, clock, Together(alone, many, fits=lambda _: True))  # tried once, it is tried alone
    assert len(many.together) == 1
    assert waiting(both) == []


def test_together_too_what_is_asked_for_while_it_runs_runs_once_more(both: Engine, clock: ManualClock) -> None:
    add(both, "a")
    add(both, "b")
    first = True

    def many(_session: Session, _asked: Sequence[JobValues], _now: float) -> None:
        nonlocal first
        if first and both.dialect.name == "postgresql":  # SQLite has one writer at a time
            first = False
            add(both, "a", body={"n": 2})

    run(both, clock, Together(Told(), many, fits=lambda _: True))
    left = [(job.key, job.body, job.leased_until) for job in waiting(both)]
    assert left == ([("a", {"n": 2}, None)] if both.dialect.name == "postgresql" else [])


@pytest.mark.parametrize("keys", ["ab", "ba"])
def test_who_asks_again_meanwhile_is_not_waited_for_in_a_circle(postgres: Postgres, migrated: str, keys: str) -> None:
    engine = open_engine(postgres.database(migrated))
    clock = ManualClock(NOW)
    for key in ("a", "b"):
        add(engine, key)
    holds = threading.Event()
    waits = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def waiting_for_a_lock() -> bool:
        with reading(engine) as session:
            return bool(session.scalar(waits))

    def intake() -> None:
        with transaction(engine) as session:
            jobs.add(session, "notify", keys[0], NOW, {"n": 2})
            holds.set()
            until(waiting_for_a_lock)
            jobs.add(session, "notify", keys[1], NOW, {"n": 2})

    other = threading.Thread(target=intake)

    def many(_session: Session, _asked: Sequence[JobValues], _now: float) -> None:
        other.start()
        assert holds.wait(10)

    alone = Told()
    run(engine, clock, Together(alone, many, fits=lambda _: True))
    other.join(10)
    assert alone.calls == []  # nobody was thrown out of a circle
    assert {(job.key, job.body["n"], job.leased_until) for job in waiting(engine)} == {("a", 2, None), ("b", 2, None)}
    engine.dispose()


@pytest.mark.parametrize(("ping", "tries"), [(True, 1), (False, 2)])
def test_connections_that_died_cost_a_try_at_most(
    postgres: Postgres, migrated: str, clock: ManualClock, ping: bool, tries: int
) -> None:
    """As after a restart of the database."""
    url = postgres.database(migrated)
    engine, other = open_engine(url, ping=ping), open_engine(url)
    add(engine)
    kill = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    done: list[int] = []

    def handler(engine: Engine, job: JobValues, _now: float) -> None:
        if job.attempts == 1:
            with reading(other) as session:
                session.execute(kill)
        with transaction(engine) as session:
            session.execute(text("SELECT 1"))
        done.append(job.attempts)

    for _ in range(tries):
        assert done == []
        run(engine, clock, handler)
        clock.advance(jobs.BACKOFF_S[0])
    assert done == [tries]
    assert waiting(engine) == []
    for each in (engine, other):
        each.dispose()
