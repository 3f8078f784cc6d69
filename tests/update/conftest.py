"""One administrator's computer for all tests, and a node of its own for each."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.update.builders import Box, Maker


@pytest.fixture(scope="session")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    return Maker(tmp_path_factory.mktemp("administrator"))


@pytest.fixture
def box(tmp_path: Path, maker: Maker) -> Box:
    return Box(tmp_path / "box", maker)
