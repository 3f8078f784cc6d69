"""Brokers for the tests of the uplink."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mqtt.builders import ACL, USERS, Observer
from tests.servers import Mosquitto


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """Mosquitto with passwords and the access list of production."""
    with Mosquitto(tmp_path / "broker", users=USERS, acl=ACL) as running:
        yield running


@pytest.fixture
def dispatch(broker: Mosquitto) -> Iterator[Observer]:
    """Sees all, confirms nothing by itself."""
    with Observer(broker.port) as observer:
        yield observer
