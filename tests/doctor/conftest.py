"""Certificates, photos and a model for the doctor's tests."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import need
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


@pytest.fixture(scope="session")
def street() -> Path:
    """Photos of people in a street."""
    spec = find_spec("ultralytics")
    need(spec, "ultralytics, whose package brings the street photos, is not installed (make train-env)")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "assets"
