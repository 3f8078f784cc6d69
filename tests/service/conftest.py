from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.manager import Manager


@pytest.fixture(params=[False, True], ids=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path, abstract=request.param)
    yield manager
    manager.close()
