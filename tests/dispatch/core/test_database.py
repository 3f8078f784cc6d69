"""Migrations make the tables that the program knows; a URL that cannot be used is told without its password."""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from broker.dispatch.database import (
    Among,
    DatabaseError,
    Question,
    Writes,
    look,
    migrate,
    open_engine,
    reading,
    table_of,
    transaction,
)
from broker.dispatch.tables import Base, Site
from tests.servers import Postgres


def test_migrations_make_what_the_tables_say(both: Engine) -> None:
    with both.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == [], (
            'run: python -m broker.dispatch.migrations "what changes"'
        )


def test_the_partial_indexes_are_partial(both: Engine) -> None:
    query = "SELECT indexdef FROM pg_indexes" if both.dialect.name == "postgresql" else "SELECT sql FROM sqlite_master"
    with both.connect() as connection:
        made = "\n".join(str(row[0]) for row in connection.execute(text(query)))
    for name in ("uq_case_open_identity", "uq_job_waiting", "ix_job_due", "ix_case_unpublished", "ix_delivery_message"):
        assert any(name in line and "WHERE" in line for line in made.split("\n")), name


def test_several_may_migrate_at_once(postgres: Postgres) -> None:
    url, failed = postgres.database(), []

    def work() -> None:
        try:
            migrate(open_engine(url))
        except Exception as error:  # noqa: BLE001 whatever it is, it fails the test
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "not a URL"),
        ("mysql://root:hunter2@host/db", "not supported"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
    ],
)
def test_a_wrong_url_is_told_without_its_password(url: str, says: str) -> None:
    with pytest.raises(DatabaseError, match=says) as told:
        open_engine(url)
    assert "hunter2" not in str(told.value)


def test_who_reads_holds_up_nobody(tmp_path: Path) -> None:
    """SQLite: a page that is being made does not keep alarms from being stored, and sees one moment."""
    engine = open_engine(f"sqlite:///{tmp_path / 'a.db'}")
    migrate(engine)
    look = text("SELECT count(*) FROM site")
    with reading(engine) as page:
        assert page.scalar(look) == 0
        with transaction(engine) as session:
            session.add(Site(id="a", name="A"))
        assert page.scalar(look) == 0
    with reading(engine) as page:
        assert page.scalar(look) == 1


def test_no_value_of_a_statement_is_in_its_error(both: Engine) -> None:
    """They may be names, addresses of robots, hashes of passwords; errors go to the log."""
    insert = text("INSERT INTO site (id, name) VALUES (:id, :name)")
    with transaction(both) as session, pytest.raises(IntegrityError) as caught:
        session.execute(insert, [{"id": "x", "name": "s3cret"}, {"id": "x", "name": None}])
    assert "s3cret" not in f"{caught.value}{caught.value!r}".split("DETAIL")[0]


def test_what_is_sent_with_the_commit_is_all_or_nothing(both: Engine) -> None:
    """Also where the database finds fault with it only then; and the connection is good for more."""
    table = table_of(Site)
    row = {"id": "a", "name": "A", "time_zone": "UTC", "language": "en", "retention_days": 30, "hold": False}
    row |= {"repeat_min": [5], "storm_per_10min": 20}

    def store(*more: Site) -> None:
        with transaction(both) as session:
            session.add_all(more)
            session.flush()
            writes = Writes()
            writes.insert(table, [row])
            writes.send(session, last=True)

    store()
    with pytest.raises(IntegrityError):
        store(Site(id="b", name="B"))
    with reading(both) as session:
        assert session.scalars(select(Site.id)).all() == ["a"]


def test_questions_are_answered_in_their_order(both: Engine) -> None:
    with transaction(both) as session:
        session.add_all([Site(id="a", name="A"), Site(id="b", name="B")])
    ids = select(table_of(Site).c.id).where(Among(table_of(Site).c.id, "ids")).order_by(table_of(Site).c.id)
    with transaction(both) as session:
        answers = look(session, (ids, {"ids": ["b", "a", "x"]}), (ids, {"ids": []}), (ids, {"ids": ["b"]}))
    assert [[row.id for row in rows] for rows in answers] == [["a", "b"], [], ["b"]]


def test_a_server_that_came_again_costs_one_try(postgres: Postgres) -> None:
    """Without a ping: all that was connected is known to be dead after the first."""
    engine = open_engine(postgres.database(), ping=False)
    question: Question = (text("SELECT 1 AS one"), {})
    with transaction(engine) as session, transaction(engine) as other:
        for one in (session, other):
            assert look(one, question)[0][0].one == 1
    with psycopg.connect(engine.url.set(drivername="postgresql").render_as_string(), autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid != pg_backend_pid()"
        )
    with pytest.raises(OperationalError) as failed, transaction(engine) as session:
        look(session, question)
    assert failed.value.connection_invalidated
    with transaction(engine) as session, transaction(engine) as other:
        for one in (session, other):
            assert look(one, question)[0][0].one == 1
    engine.dispose()
