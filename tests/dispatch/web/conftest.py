"""A fresh copy of a migrated database for every test, and the pages on it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.dispatch.clock import ManualClock
from broker.dispatch.database import migrate, open_engine
from tests.dispatch.web.builders import START, Bench, serving


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("database") / "empty.db"
    engine = open_engine(f"sqlite:///{file}")
    migrate(engine)
    engine.dispose()
    return file


@pytest.fixture
def idle(tmp_path: Path, migrated: Path) -> Iterator[Bench]:
    """Without a server."""
    shutil.copy(migrated, tmp_path / "dispatch.db")
    engine = open_engine(f"sqlite:///{tmp_path}/dispatch.db")
    yield Bench(tmp_path, engine, ManualClock(START))
    engine.dispose()


@pytest.fixture
def bench(idle: Bench) -> Iterator[Bench]:
    with serving(idle):
        yield idle
