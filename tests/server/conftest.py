from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.builders import make


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for containers, which tests leave as it is."""
    return make(tmp_path_factory.mktemp("made") / "srv")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One of the test's own."""
    return make(tmp_path / "srv")
