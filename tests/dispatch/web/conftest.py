"""A fresh copy of a migrated database for every test, and the pages on it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageFile

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


@pytest.fixture(autouse=True)
def own_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """ultralytics, which other tests load into this process, puts an `Image.open` of its own into Pillow, and that asks
    for a package on what is no photo; WeasyPrint has Pillow read what is cut short. Dispatch's pages load neither.
    """
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
    patches = sys.modules.get("ultralytics.utils.patches")
    if patches is not None:
        monkeypatch.setattr(Image, "open", patches._image_open)
