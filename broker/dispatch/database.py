"""The database: opening, migrating, transactions.

SQLite has one writer at a time. A transaction that writes therefore takes the lock at its beginning (`BEGIN
IMMEDIATE`): one that reads first and writes later would fail instead of waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from hashlib import blake2b
from typing import Any

import psycopg
from alembic import command
from alembic.config import Config
from psycopg.rows import namedtuple_row
from psycopg.types.json import Json
from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Engine,
    Executable,
    Table,
    Text,
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
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session

BUSY_S = 30.0
_READ_ONLY = "dispatch_read_only"
_LAST = "dispatch_last"
_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgresql+psycopg": "postgresql+psycopg"}


_FORGETFUL = (text("SET LOCAL synchronous_commit = off"), dict[str, Any]())


class DatabaseError(Exception):
    """The database cannot be used; the text says why, without the password."""


def open_engine(url: str, pool: int = 10, *, ping: bool = True) -> Engine:
    """`sqlite:///file.db` or `postgresql://user:password@host/name`; nothing is connected yet.

    pool: connections kept. ping: ask each whether it still lives before it is used, which is a round trip; whoever
    tries again anyway does without. Raises DatabaseError for another kind of URL.
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
    return create_engine(parsed, hide_parameters=True, pool_size=pool, max_overflow=pool, pool_pre_ping=ping)


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
            _send(session, [_FORGETFUL])
        yield session
        if (last := session.info.pop(_LAST, None)) is not None:
            _send(session, last, commit=True)


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


# -- locks that hang on no row -----------------------------------------------------------------------------------------

Question = tuple[Executable, Mapping[str, Any]]
"""A statement that is made once, as a constant of its module, and the values of its parameters."""
_LOCK = text("SELECT pg_advisory_xact_lock(key) FROM unnest(CAST(:keys AS bigint[])) AS key").bindparams(keys=None)


def lock_of(names: Iterable[str]) -> Question:
    """PostgreSQL: hold these names until the transaction ends; whoever wants one of them waits.

    In one order everywhere, so that nobody waits in a circle."""
    keys = {int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True) for name in names}
    return _LOCK, {"keys": sorted(keys)}


def lock(session: Session, *names: str) -> None:
    """Hold these names until the transaction ends, so that nobody else changes between our look and our write what we
    looked at. SQLite has one writer at a time."""
    if session.get_bind().dialect.name == "postgresql":
        look(session, lock_of(names))


# -- several statements in one round trip ------------------------------------------------------------------------------
#
# The intake stores a few events at a time and has to be quick about it, and on a busy machine each round trip waits for
# the processor twice. Hence on PostgreSQL statements are made once, and sent together in psycopg's pipeline.


class Among(ColumnElement[bool]):
    """`column` is in the list that is given as `name`; on PostgreSQL the same text however long the list is."""

    inherit_cache = False

    def __init__(self, column: ColumnElement[str], name: str) -> None:
        self.column = column
        self.name = name


@compiles(Among)
def _expanded(element: Among, compiler: Any, **more: Any) -> str:
    return str(compiler.process(element.column.in_(bindparam(element.name, expanding=True)), **more))


@compiles(Among, "postgresql")
def _any(element: Among, compiler: Any, **more: Any) -> str:
    values = bindparam(element.name, None, type_=postgresql.ARRAY(Text))
    return f"{compiler.process(element.column, **more)} = ANY({compiler.process(values, **more)})"


def look(session: Session, *questions: Question) -> list[Sequence[Any]]:
    """The rows that answer each question; each sees what was committed by the time it is its turn."""
    if session.get_bind().dialect.name == "postgresql":
        return _send(session, questions)
    return [session.execute(statement, values).all() for statement, values in questions]


def _send(session: Session, questions: Sequence[Question], *, commit: bool = False) -> list[Sequence[Any]]:
    connection = session.connection()
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101 for the type checker: `open_engine` makes no other
    texts = [_text(statement) for statement, _ in questions]
    try:
        cursors = [driver.cursor(row_factory=namedtuple_row) for _ in questions]
        with driver.pipeline():
            for cursor, (sql, constants), (_, values) in zip(cursors, texts, questions, strict=True):
                cursor.execute(sql, {**constants, **values}, prepare=True)
            if commit:
                driver.commit()  # SQLAlchemy's own finds nothing left to do
        return [cursor.fetchall() if cursor.description else [] for cursor in cursors]
    except psycopg.Error as error:
        if driver.closed:
            connection.invalidate(error)
            connection.engine.dispose()  # the others are as dead
        raise DBAPIError.instance(
            "; ".join(sql for sql, _ in texts),
            None,
            error,
            psycopg.Error,
            hide_parameters=True,
            connection_invalidated=bool(driver.closed),
            dialect=connection.dialect,
        ) from error


@cache
def _text(statement: Executable) -> tuple[str, dict[str, Any]]:
    """SQL, and the values of the parameters that it brings itself."""
    compiled = statement.compile(dialect=PGDialect_psycopg(), compile_kwargs={"render_postcompile": True})  # type: ignore[attr-defined, no-untyped-call]
    return str(compiled), dict(compiled.params)


def _recordset(table: Table, names: Sequence[str]) -> Any:
    """Rows of `table` that come as one JSON text, `:rows`: a statement for any number of rows."""
    name = postgresql.dialect().identifier_preparer.format_table(table)  # type: ignore[no-untyped-call]
    function = func.json_populate_recordset(literal_column(f"NULL::{name}"), bindparam("rows", None, type_=JSON))
    return function.table_valued(*(column(n, table.c[n].type) for n in names), name="r")


Upsert = Callable[[Any], Any]
"""Adds an ON CONFLICT to an INSERT; a function of a module, since the statement is made once for each."""


def _as_it_is(statement: Any) -> Any:
    return statement


@cache
def _bulk_insert(table: Table, names: tuple[str, ...], upsert: Upsert) -> Any:
    new = _recordset(table, names)
    return upsert(postgresql.insert(table).from_select(names, select(*(new.c[n] for n in names))))


@cache
def _bulk_update(table: Table, names: tuple[str, ...]) -> Any:
    new = _recordset(table, names)
    return table.update().where(table.c.id == new.c.id).values({n: new.c[n] for n in names if n != "id"})


Rows = Sequence[Mapping[str, Any]]


class Writes:
    """Rows for several tables, sent together and in the order in which they were given. Rows of a call have the same
    columns."""

    def __init__(self) -> None:
        self._parts: list[tuple[Table, Rows, Upsert | None]] = []

    def insert(self, table: Table, rows: Rows, upsert: Upsert = _as_it_is) -> None:
        if rows:
            self._parts.append((table, rows, upsert))

    def update(self, table: Table, rows: Rows) -> None:
        """`id`, among the columns, says which."""
        if rows:
            self._parts.append((table, rows, None))

    def send(self, session: Session, *, last: bool = False) -> None:
        """last: nothing more will be done in this `transaction`; they may wait for its commit, and go with it."""
        if session.get_bind().dialect.name == "postgresql":
            made = [
                _bulk_update(table, tuple(rows[0])) if upsert is None else _bulk_insert(table, tuple(rows[0]), upsert)
                for table, rows, upsert in self._parts
            ]
            bodies = [{"rows": Json(rows)} for _, rows, _ in self._parts]
            questions: list[Question] = list(zip(made, bodies, strict=True))
            if last:
                session.info[_LAST] = questions
            elif questions:
                _send(session, questions)
            return
        for table, rows, upsert in self._parts:
            if upsert is not None:
                session.execute(upsert(sqlite.insert(table)), rows)
                continue
            names = [n for n in rows[0] if n != "id"]
            keyed = [{n: row[n] for n in names} | {"key": row["id"]} for row in rows]
            session.execute(table.update().where(table.c.id == bindparam("key")), keyed)


def insert_many(session: Session, table: Table, rows: Rows, upsert: Upsert = _as_it_is) -> None:
    """Rows with the same columns."""
    writes = Writes()
    writes.insert(table, rows, upsert)
    writes.send(session)


def update_many(session: Session, table: Table, rows: Rows) -> None:
    """Rows with the same columns, `id` among them."""
    writes = Writes()
    writes.update(table, rows)
    writes.send(session)


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
