"""Certificates and a model for the doctor's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.doctor.builders import ModelFolder
from tests.servers import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody has heard of."""
    return Authority(tmp_path_factory.mktemp("stranger"), "Stranger")


@pytest.fixture
def model(tmp_path: Path) -> ModelFolder:
    return ModelFolder(tmp_path)
