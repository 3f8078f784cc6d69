"""Databases with dispatch's tables in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from broker.dispatch.database import migrate, open_engine
from tests.servers import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres(durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def migrated(postgres: Postgres) -> str:
    """A database with all tables, to be copied."""
    url = postgres.database()
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty database of each kind in turn."""
    if request.param == "sqlite":
        engine = open_engine(f"sqlite:///{tmp_path / 'dispatch.db'}")
        migrate(engine)
    else:
        server, template = request.getfixturevalue("postgres"), request.getfixturevalue("migrated")
        engine = open_engine(server.database(template))
    yield engine
    engine.dispose()
