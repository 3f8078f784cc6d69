"""A yard on a fresh copy of a migrated database."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.dispatch.database import migrate, open_engine
from tests.dispatch.notify.stubs import Service, service
from tests.dispatch.notify.yard import Yard


@pytest.fixture(autouse=True)
def no_loop_of_others() -> Iterator[None]:
    """The browser of other tests leaves its event loop running in this thread, inside which apprise starts none."""
    running = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    yield
    asyncio._set_running_loop(running)


@pytest.fixture(scope="session")
def quick() -> Iterator[Path]:
    """A folder in memory where there is one: these tests commit thousands of times, and ask nothing of the disk."""
    memory = Path("/dev/shm")  # noqa: S108
    usable = memory.is_dir() and os.access(memory, os.W_OK)
    with tempfile.TemporaryDirectory(prefix="banksman-", dir=memory if usable else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def migrated(quick: Path) -> Path:
    file = quick / "empty.db"
    engine = open_engine(f"sqlite:///{file}")
    migrate(engine)
    engine.dispose()
    return file


@pytest.fixture(scope="session")
def robots_service() -> Iterator[Service]:
    with service() as stub:
        yield stub


@pytest.fixture
def yard(quick: Path, migrated: Path, robots_service: Service) -> Iterator[Yard]:
    folder = Path(tempfile.mkdtemp(dir=quick))
    shutil.copy(migrated, folder / "dispatch.db")
    engine = open_engine(f"sqlite:///{folder}/dispatch.db")
    robots_service.requests.clear()
    yield Yard(engine, robots_service, folder)
    engine.dispose()
    shutil.rmtree(folder)
