"""A site server's door on SQLite; both databases, as dispatch's tests have them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.dispatch.database import migrate, open_engine
from tests.dispatch.conftest import both, migrated, postgres
from tests.enrol.builders import Place
from tests.enrol.influx2 import Influx2Stub

__all__ = ["both", "migrated", "postgres"]


@pytest.fixture
def influx() -> Iterator[Influx2Stub]:
    with Influx2Stub() as stub:
        yield stub


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all tables, to be copied."""
    file = tmp_path_factory.mktemp("database") / "empty.db"
    engine = open_engine(f"sqlite:///{file}")
    migrate(engine)
    engine.dispose()
    return file


@pytest.fixture
def place(tmp_path: Path, influx: Influx2Stub, empty: Path) -> Iterator[Place]:
    engine = open_engine(f"sqlite:///{shutil.copy(empty, tmp_path / 'dispatch.db')}")
    with Place(tmp_path, engine, influx) as running:
        yield running
    engine.dispose()
