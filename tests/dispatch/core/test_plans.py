"""PostgreSQL finds what dispatch asks for again and again by an index, however much has piled up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from broker.dispatch import intake, jobs, publish, watch
from broker.dispatch.database import migrate, open_engine, reading, transaction
from broker.dispatch.evidence import Store
from broker.dispatch.tables import Delivery, Person
from broker.dispatch.web.auth import cases_of
from broker.dispatch.web.links import Opens
from tests.dispatch.core.builders import NOW
from tests.dispatch.core.test_intake import alarm
from tests.servers import Postgres

ROWS = 20_000
KINDS = ("notify", "repeat", "escalate", "late_digest", "feedback", "handover")

FILL = """
INSERT INTO "case" (id, site, node, source, place, rule, identity, clause, state, severity, alarm, alarm_state,
    alarm_seq, alarm_at, alarms, verdict, reason, subjects, subjects_peak, first_seen, last_seen, opened_at,
    review_from, late, unverified, hold, important, reopened, ledger_n, ledger_head, published, version)
SELECT 'c' || i, 'site-' || i % 20, 'node-' || i % 400, 'cam', 'zone', 'helmet', 'c' || i, '[]',
    CASE WHEN i % 20 = 0 THEN 'open' ELSE 'closed' END, 'warning', 'a' || i, 'active', i, :now, 1, 'violation', 'bare',
    1, 1, :now, :now, :now, :now, false, false, false, false, 0, 0, '', 1, 1 FROM generate_series(1, :rows) AS i;
INSERT INTO event (id, site, node, alarm, seq, "case", stale, at, received_at, late, body)
SELECT 'e' || i, 'site-' || i % 20, 'node-' || i % 400, 'a' || i, i, 'c' || i, false, :now, :now, false,
    json_build_object('text', repeat('x', 300)) FROM generate_series(1, :rows) AS i;
INSERT INTO evidence (alarm, sha256, site, node, kind, bytes, received_at)
SELECT 'a' || i, repeat('a', 64), 'site-' || i % 20, 'node-' || i % 400, 'snapshot', 1, :now + i
FROM generate_series(1, :rows) AS i;
INSERT INTO job (id, kind, key, "case", due, body, asked, attempts)
SELECT 'j' || i, (CAST(:kinds AS text[]))[1 + i % 6], 'k' || i, 'c' || i, :now + i, '{}', 1, 0
FROM generate_series(1, :rows) AS i;
INSERT INTO person (id, login, name, language, active, created_at) VALUES ('p', 'p', 'P', 'en', true, :now);
INSERT INTO delivery (id, "case", person, site, message, channel, about, at, state, code)
SELECT 'd' || i, 'c' || i, 'p', 'site-' || i % 20, CASE WHEN i % 4 > 0 THEN 'm' || i / 8 END, 'ntfy', 'raised',
    :now + i, CASE WHEN i % 4 > 0 THEN 'sent' ELSE 'dropped' END, '' FROM generate_series(1, :rows) AS i;
INSERT INTO node (site, id, online, silent, heard_at, period_s, version)
SELECT 'site-' || i % 20, 'node-' || i, true, false, :now, 30, '1' FROM generate_series(1, 400) AS i;
"""


@pytest.fixture(scope="module")
def filled(postgres: Postgres, migrated: str) -> Iterator[Engine]:
    engine = open_engine(postgres.database(migrated))
    with engine.begin() as connection:
        for statement in FILL.split(";\n")[:-1]:
            connection.execute(text(statement), _used(statement))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    yield engine
    engine.dispose()


def _used(statement: str) -> dict[str, Any]:
    values = {"now": NOW, "rows": ROWS, "kinds": list(KINDS)}
    return {name: value for name, value in values.items() if f":{name}" in statement}


ASKED: dict[str, Callable[[Engine, Path], object]] = {
    "take": lambda engine, _: intake.store(
        engine, [alarm(id=f"n{n}", alarm=f"b{n}", place=f"p{n}", seq=n + 1) for n in range(20)], intake.take, NOW
    ),
    "claim": lambda engine, _: jobs.claim(engine, KINDS, NOW + ROWS, 20),
    "publish": lambda engine, _: publish.publish(engine, Nobody()),
    "will": lambda engine, _: fell_silent(engine),
    "admit": lambda engine, folder: admit(engine, Store(folder, reserve=0)),
    "link": lambda engine, _: link(engine),
    "expire": lambda engine, folder: expire(engine, Store(folder, reserve=0)),
}


class Nobody:
    def retain(self, messages: Any) -> set[str]:  # noqa: ARG002 no broker confirms anything
        return set()


def fell_silent(engine: Engine) -> None:
    payload = b'{"state":"offline","since":null,"version":"1","model":"m","site_file_hash":"h","clock_ok":true}'
    will = intake.read(intake.Received("banksman/1/site-1/node-1/status", payload, NOW + 1))
    assert isinstance(will, intake.Report)
    intake.store(engine, [will], watch.take, NOW + 1)


def admit(engine: Engine, store: Store) -> None:
    with transaction(engine) as session:
        store.admit(session, site="site-1", node="node-1", alarm="a1", kind="snapshot", size=1)


def link(engine: Engine) -> None:
    with reading(engine) as session:
        assert cases_of(session, Opens.MESSAGE, "m5", "p") == {f"c{i}" for i in range(41, 48) if i != 44}


def expire(engine: Engine, store: Store) -> None:
    with transaction(engine) as session:
        assert store.expire(session, NOW + 30 * 86_400 + 100)


@pytest.mark.parametrize("what", ASKED)
def test_nothing_reads_a_whole_table(filled: Engine, tmp_path: Path, what: str) -> None:
    plans: list[str] = []

    def explain(connection: Any, _record: Any) -> None:
        """PostgreSQL itself tells the plan of whatever is asked, however it is sent."""
        connection.execute("LOAD 'auto_explain'")
        connection.execute("SET auto_explain.log_min_duration = 0; SET client_min_messages = log")
        connection.commit()
        connection.add_notice_handler(lambda notice: plans.append(notice.message_primary or ""))

    filled.dispose()  # new connections, which tell
    event.listen(filled, "connect", explain)
    try:
        ASKED[what](filled, tmp_path)
    finally:
        event.remove(filled, "connect", explain)
        filled.dispose()
    assert any("Index" in plan for plan in plans)
    for plan in plans:
        for table in ('"case"', "event", "job", "ledger", "delivery"):
            assert f"Seq Scan on {table}" not in plan, plan


def test_sqlite_finds_the_rows_of_a_message_by_it(tmp_path: Path) -> None:
    sqlite = open_engine(f"sqlite:///{tmp_path / 'dispatch.db'}")
    migrate(sqlite)
    with transaction(sqlite) as session:
        session.add(Person(id="p", login="p", name="P", created_at=NOW))
        session.flush()
        of = {"person": "p", "site": "north-yard", "about": "raised", "at": NOW, "state": "sent"}
        session.add_all([Delivery(id=f"d{i}", message=f"m{i // 8}", **of) for i in range(1000)])
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        asked.append((statement, values))

    event.listen(sqlite, "before_cursor_execute", note)
    with reading(sqlite) as session:
        cases_of(session, Opens.MESSAGE, "m5", "p")
    event.remove(sqlite, "before_cursor_execute", note)
    ((statement, values),) = [one for one in asked if "delivery" in one[0]]
    with sqlite.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
    sqlite.dispose()
    assert ["ix_delivery_message" in row.detail for row in plan] == [True], plan
