"""The database: opening, migrating, transactions.

SQLite has one writer at a time. A transaction that writes therefore takes the lock at its beginning (`BEGIN
IMMEDIATE`): one that reads first and writes later would fail instead of waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import (
    JSON,
    Connection,
    Engine,
    Table,
    bindparam,
    column,
    create_engine,
    event,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session

BUSY_S = 30.0
_READ_ONLY = "dispatch_read_only"
_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgresql+psycopg": "postgresql+psycopg"}


class DatabaseError(Exception):
    """The database cannot be used; the text says why, without the password."""


def open_engine(url: str, pool: int = 10) -> Engine:
    """`sqlite:///file.db` or `postgresql://user:password@host/name`; nothing is connected yet.

    pool: connections kept. Raises DatabaseError for another kind of URL.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise DatabaseError("database: not a URL; write sqlite:///file.db or postgresql://user@host/name") from None
    if parsed.drivername not in _DRIVERS:
        raise DatabaseError(f"database: {parsed.drivername!r} is not supported; use sqlite or postgresql")
    parsed = parsed.set(drivername=_DRIVERS[parsed.drivername])
    if parsed.drivername == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise DatabaseError("database: SQLite needs a file (sqlite:///file.db), because threads share it")
        engine = create_engine(parsed, connect_args={"timeout": BUSY_S}, pool_size=pool, hide_parameters=True)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    return create_engine(parsed, hide_parameters=True, pool_size=pool, max_overflow=pool, pool_pre_ping=True)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # else sqlite3 begins transactions by itself, and too late
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    deferred = connection.get_execution_options().get(_READ_ONLY)
    connection.exec_driver_sql("BEGIN" if deferred else "BEGIN IMMEDIATE")


@contextmanager
def transaction(engine: Engine, *, durable: bool = True) -> Iterator[Session]:
    """All or nothing: committed at the end, rolled back by any exception.

    durable: False for what may be forgotten when the power fails, because it would only be done once more. PostgreSQL
    then does not wait for the disk, and others do not wait for its locks meanwhile.
    """
    with Session(engine, expire_on_commit=False) as session, session.begin():
        if not durable and engine.dialect.name == "postgresql":
            session.execute(text("SET LOCAL synchronous_commit = off"))
        yield session


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """One consistent look that holds up no writer of SQLite. What is changed in it is not kept; what was read stays
    readable after it."""
    options: dict[str, Any] = {_READ_ONLY: True}
    if engine.dialect.name == "postgresql":
        options["isolation_level"] = "REPEATABLE READ"
    with Session(engine.execution_options(**options), expire_on_commit=False, autoflush=False) as session:
        yield session  # closing rolls back; an explicit rollback would also forget what the rows held


def insert(session: Session, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT of this database's dialect, which knows ON CONFLICT."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def _recordset(table: Table, names: Sequence[str]) -> Any:
    """Rows of `table` that come as one JSON text, `:rows`: a statement for any number of rows, and one round trip.

    psycopg's executemany waits for the socket several times a row, and gives up Python's lock each time.
    """
    name = postgresql.dialect().identifier_preparer.format_table(table)  # type: ignore[no-untyped-call]
    function = func.json_populate_recordset(literal_column(f"NULL::{name}"), bindparam("rows", type_=JSON))
    return function.table_valued(*(column(n, table.c[n].type) for n in names), name="r")


Upsert = Callable[[Any], Any]
"""Adds an ON CONFLICT to an INSERT; a function of a module, since the statement is made once for each."""


def _as_it_is(statement: Any) -> Any:
    return statement


@cache  # making a statement takes longer than sending it
def _bulk_insert(table: Table, names: tuple[str, ...], upsert: Upsert) -> Any:
    new = _recordset(table, names)
    return upsert(postgresql.insert(table).from_select(names, select(*(new.c[n] for n in names))))


@cache
def _bulk_update(table: Table, names: tuple[str, ...]) -> Any:
    new = _recordset(table, names)
    return table.update().where(table.c.id == new.c.id).values({n: new.c[n] for n in names if n != "id"})


def insert_many(session: Session, table: Table, rows: Sequence[Mapping[str, Any]], upsert: Upsert = _as_it_is) -> None:
    """Rows with the same columns."""
    if not rows:
        return
    if session.get_bind().dialect.name == "postgresql":
        session.execute(_bulk_insert(table, tuple(rows[0]), upsert), {"rows": rows})
    else:
        session.execute(upsert(sqlite.insert(table)), rows)


def update_many(session: Session, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows with the same columns, `id` among them."""
    if not rows:
        return
    if session.get_bind().dialect.name == "postgresql":
        session.execute(_bulk_update(table, tuple(rows[0])), {"rows": rows})
    else:
        names = [n for n in rows[0] if n != "id"]
        keyed = [{n: row[n] for n in names} | {"key": row["id"]} for row in rows]
        session.execute(table.update().where(table.c.id == bindparam("key")), keyed)


def table_of(model: type[Any]) -> Table:
    table = model.__table__
    assert isinstance(table, Table)  # noqa: S101 for the type checker: our models are plain tables
    return table


def migrate(engine: Engine) -> None:
    """Bring the tables up to date; several may call it at once."""
    config = Config()
    config.set_main_option("script_location", "broker.dispatch:migrations")
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7266401)")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
