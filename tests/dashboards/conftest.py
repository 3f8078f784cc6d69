"""One month of 20 sites in a real InfluxDB, for all tests of boards, queries and report.

That InfluxDB is Debian's 1.x, started here, unless BANKSMAN_INFLUX_URL and BANKSMAN_INFLUX_TOKEN name another one of
version 2 (docs/dashboards.md).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Protocol

import pytest
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS

from dashboards.influxql import Influx as Reader
from tests.dashboards.world import World, world
from tests.dispatch.web.conftest import own_pillow  # noqa: F401 - a fixture: the report's Pillow is its own, too
from tests.influx import ORG, TOKEN, Influx

DATABASE = "banksman"


class Server(Protocol):
    """What the tests want of an InfluxDB."""

    url: str
    token: str

    def create(self, database: str) -> None: ...
    def drop(self, database: str) -> None: ...
    def write(self, database: str, lines: bytes) -> None: ...


class Version1(Influx):
    """Debian's."""

    token = TOKEN

    def drop(self, database: str) -> None:
        self.query(database, f'DROP DATABASE "{database}"')


class Version2:
    """One that runs somewhere. Its buckets answer InfluxQL under their own names."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token
        self._client = InfluxDBClient(url=url, token=token, org=ORG, timeout=60_000, enable_gzip=True)
        self._writing = self._client.write_api(write_options=SYNCHRONOUS)

    def create(self, database: str) -> None:
        self.drop(database)
        self._client.buckets_api().create_bucket(bucket_name=database, org=ORG)

    def drop(self, database: str) -> None:
        buckets = self._client.buckets_api()
        bucket = buckets.find_bucket_by_name(database)  # type: ignore[no-untyped-call]
        if bucket is not None:
            buckets.delete_bucket(bucket)  # type: ignore[no-untyped-call]

    def write(self, database: str, lines: bytes) -> None:
        self._writing.write(bucket=database, record=lines)

    def close(self) -> None:
        self._client.close()  # type: ignore[no-untyped-call]


@pytest.fixture(scope="session")
def month(proof: bool) -> World:
    return world(20, instances=24 if proof else 6, state_every=60 if proof else 600)


@pytest.fixture(scope="session")
def influx(month: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Holds `month`."""
    url = os.environ.get("BANKSMAN_INFLUX_URL")
    if url is None:
        with Version1(tmp_path_factory.mktemp("influx")) as here:
            fill(here, month)
            yield here
        return
    there = Version2(url, os.environ["BANKSMAN_INFLUX_TOKEN"])
    fill(there, month)
    yield there
    there.drop(DATABASE)
    there.close()


def fill(server: Server, month: World) -> None:
    server.create(DATABASE)
    for lines in month.lines():
        server.write(DATABASE, lines)


@pytest.fixture(scope="session")
def read(influx: Server) -> Iterator[Reader]:
    with Reader(influx.url, DATABASE, influx.token) as reader:
        yield reader
