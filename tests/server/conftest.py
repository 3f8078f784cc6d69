from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.builders import make, run


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for containers, which tests leave as it is."""
    return make(tmp_path_factory.mktemp("made") / "srv")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """One of the test's own."""
    run("cp", "-a", made, tmp_path / "srv")
    return tmp_path / "srv"
