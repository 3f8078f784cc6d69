"""One month of 20 sites in a real InfluxDB, for all tests of boards, queries and report."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dashboards.influxql import Influx as Reader
from tests.dashboards.world import World, world
from tests.influx import TOKEN, Influx

DATABASE = "banksman"


@pytest.fixture(scope="session")
def month(proof: bool) -> World:
    return world(20, instances=24 if proof else 6, state_every=60 if proof else 600)


@pytest.fixture(scope="session")
def influx(month: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx]:
    """Holds `month`."""
    with Influx(tmp_path_factory.mktemp("influx")) as server:
        server.create(DATABASE)
        for lines in month.lines():
            server.write(DATABASE, lines)
        yield server


@pytest.fixture(scope="session")
def read(influx: Influx) -> Iterator[Reader]:
    with Reader(influx.url, DATABASE, TOKEN) as reader:
        yield reader
