"""Limits hold however many ask at the same moment, on either database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import Engine, func, select

from broker.dispatch.clock import ManualClock
from broker.dispatch.database import migrate, open_engine, reading, transaction
from broker.dispatch.tables import Attempt
from broker.dispatch.web.auth import MOST, PER_ADDRESS, PER_NAME, WINDOW_S, Attempts, TooManyError, spend
from tests.dispatch.web.builders import START, Bench, serving
from tests.servers import Postgres

CLIENTS = 20


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Room for all clients at once."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'dispatch.db'}"
    else:
        server: Postgres = request.getfixturevalue("postgres")
        url = server.database()
    engine = open_engine(url, pool=CLIENTS)
    migrate(engine)
    yield engine
    engine.dispose()


def at_once(what: Callable[[int], bool], clients: int = CLIENTS) -> int:
    """How many of so many, all at the same moment, get through."""
    start = Barrier(clients)

    def one(n: int) -> bool:
        start.wait()
        return what(n)

    with ThreadPoolExecutor(clients) as pool:
        return sum(pool.map(one, range(clients)))


def spent(engine: Engine, what: str) -> bool:
    try:
        with transaction(engine, durable=False) as db:
            spend(db, what, "somebody", START)
    except TooManyError:
        return False
    return True


def began(engine: Engine, name: str, address: str, now: float = START) -> bool:
    with transaction(engine) as db:
        return Attempts().begin(db, name, address, now) == 0


def counted(engine: Engine) -> int:
    with reading(engine) as db:
        return db.scalar(select(func.count()).select_from(Attempt)) or 0


@pytest.mark.parametrize(("what", "before"), [("password", 0), ("export", 15), ("link", 25)])
def test_what_may_be_done_so_often_is_not_done_oftener(engine: Engine, what: str, before: int) -> None:
    for _ in range(before):
        assert spent(engine, what)
    assert at_once(lambda _: spent(engine, what)) == MOST[what] - before
    assert counted(engine) == MOST[what]


def test_guesses_at_one_name_from_everywhere_at_once(engine: Engine) -> None:
    assert at_once(lambda n: began(engine, "wang", f"10.0.0.{n}")) == PER_NAME


def test_guesses_at_many_names_from_one_address_at_once(engine: Engine) -> None:
    for n in range(PER_ADDRESS - 5):
        assert began(engine, f"name {n}", "10.0.0.1")
    assert at_once(lambda n: began(engine, f"other {n}", "10.0.0.1")) == 5


def test_names_and_addresses_crossed_wait_for_each_other_in_no_circle(engine: Engine) -> None:
    assert at_once(lambda n: began(engine, f"name {n % 2}", f"10.0.0.{n // 2 % 2}")) == 2 * PER_NAME


def test_what_is_old_holds_nobody_up_and_is_cleared_away_once(engine: Engine) -> None:
    for n in range(8):
        assert began(engine, "wang", f"10.0.0.{n}")
    assert at_once(lambda n: began(engine, "wang", f"10.0.1.{n}", START + WINDOW_S)) == PER_NAME
    assert counted(engine) == 2 * PER_NAME


def test_who_gets_in_at_once_from_one_address_leaves_nothing_counted(engine: Engine) -> None:
    for n in range(CLIENTS):
        assert began(engine, f"name {n}", "10.0.0.1")

    def succeed(n: int) -> bool:
        with transaction(engine) as db:
            Attempts().succeeded(db, f"name {n}", "10.0.0.1")
        return True

    at_once(succeed)
    assert counted(engine) == 0


def test_log_ins_over_http_at_once(engine: Engine, tmp_path: Path) -> None:
    bench = Bench(tmp_path, engine, ManualClock(START))
    with serving(bench):

        def guess(n: int) -> bool:
            with bench.reader() as reader:
                return reader.log_in("wang", f"guess {n}").status_code == 403

        assert at_once(guess) == PER_NAME
