"""Points reach a real InfluxDB, and are confirmed in the journal only when it has said that it stored them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edge.clock import ManualClock
from edge.journal.journal import Journal
from edge.site.model import InfluxUplink as Settings
from edge.site.model import JournalSettings
from edge.uplink.influx import Cause, InfluxState, InfluxWriter
from edge.values import Instance, LinkState, Tally
from tests.influx import ORG, TOKEN, Influx
from tests.journal.builders import HELMET, event, tally

DB = "banksman"
SITE, NODE = "north-yard", "gate-03"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx]:
    with Influx(tmp_path_factory.mktemp("influx")) as running:
        yield running


@dataclass
class World:
    """A node's journal, its way to an InfluxDB with an empty bucket, and time that is moved by hand."""

    folder: Path
    clock: ManualClock
    server: Influx
    kept: Journal
    writers: list[InfluxWriter] = field(default_factory=list)

    def writer(self, token: str = TOKEN, jitter: float = 1.0, **settings: Any) -> InfluxWriter:
        file = self.folder / "influx.token"
        file.write_text(f"{token}\n")
        made = InfluxWriter(
            Settings(**({"url": self.server.url, "org": ORG, "bucket": DB, "token_file": file} | settings)),
            SITE,
            NODE,
            self.kept,
            self.clock,
            jitter=lambda: jitter,
        )
        self.writers.append(made)
        return made

    def drain(self, writer: InfluxWriter) -> InfluxState:
        """Turn by turn, without a pause, until nothing more is to be done now."""
        while not writer.turn():
            pass
        return writer.state

    def minute(self, ok: int = 60, violation: int = 0, instance: Instance = HELMET) -> Tally:
        """A minute that is over when it returns, on disk."""
        made = tally(int(self.clock.wall) // 60 * 60, ok, violation, instance)
        self.kept.tallies([made])
        self.clock.advance(80 - self.clock.wall % 60)
        self.kept.flush()
        return made

    def rows(self, measurement: str) -> list[dict[str, Any]]:
        return self.server.query(DB, f'SELECT * FROM "{measurement}"')  # noqa: S608


@pytest.fixture
def world(tmp_path: Path, server: Influx, clock: ManualClock) -> Iterator[World]:
    server.query("", f'DROP DATABASE "{DB}"')
    server.create(DB)
    server.bodies.clear()
    server.trouble.clear()
    clock.wall = 1_790_000_000 // 3600 * 3600 + 600.0
    kept = Journal(tmp_path / "journal.db", clock, JournalSettings(), confirm_points=True)
    world = World(tmp_path, clock, server, kept)
    yield world
    for writer in world.writers:
        writer.close()
    kept.close()


# -- what arrives ------------------------------------------------------------------------------------------------------


def test_every_measurement_with_its_tags_fields_and_time(world: World) -> None:
    minute = world.minute(ok=50, violation=10)
    raised = world.kept.alarm(event(world.clock.now()))
    world.kept.reading("node", at := world.clock.now(), {"fps": 5.0, "cpu_temp_c": None, "journal_depth": 3})
    world.kept.reading("gas-1", at, {"quantity": "o2", "mean": 20, "min": 19.5, "max": 21.0, "quality": "good"})
    world.kept.flush()
    state = world.drain(world.writer())
    assert (state.link, state.cause, state.waiting, state.sent) == (LinkState.UP, Cause.NONE, 0, 5)
    where = {"site": SITE, "node": NODE, "source": "gate", "place": "trench", "rule": "helmet"}
    seconds = {"ok_s": 50, "violation_s": 10, "unknown_s": 0, "breach_s": 10, "subjects": 1}
    assert world.rows("compliance") == [{"time": minute.minute * 10**9, **where, **seconds}]
    assert world.rows("compliance_1h") == [{"time": minute.minute // 3600 * 3600 * 10**9, **where, **seconds}]
    (alarm,) = world.rows("alarm")
    assert alarm.pop("time") // 10**6 == round(raised.at.wall * 1000)
    told = {"id": raised.id, "alarm": raised.alarm, "subjects": 2, "confidence": 0.9, "duration_s": 2}
    assert alarm == where | {"severity": "critical", "event": "raised"} | told
    ns = round(at.wall * 1000) * 10**6
    of_node = {"site": SITE, "node": NODE}
    assert world.rows("node") == [{"time": ns, **of_node, "fps": 5, "journal_depth": 3}]
    sensor = {"sensor": "gas-1", "quantity": "o2", "mean": 20, "min": 19.5, "max": 21, "quality": "good"}
    assert world.rows("sensor") == [{"time": ns, **of_node, **sensor}]
    assert [encoding for encoding, _ in world.server.bodies] == ["gzip"]


@pytest.mark.parametrize(
    ("measurement", "tags", "fields"),
    [
        (
            "compliance",
            {"site", "node", "source", "place", "rule"},
            dict.fromkeys(("ok_s", "violation_s", "unknown_s", "breach_s", "subjects"), "integer"),
        ),
        (
            "alarm",
            {"site", "node", "source", "place", "rule", "severity", "event"},
            {"id": "string", "alarm": "string", "subjects": "integer", "confidence": "float", "duration_s": "float"},
        ),
        (
            "sensor",
            {"site", "node", "sensor", "quantity"},
            {"mean": "float", "min": "float", "max": "float", "quality": "string"},
        ),
    ],
)
def test_tags_are_of_closed_sets_and_fields_keep_their_types(
    world: World, measurement: str, tags: set[str], fields: dict[str, str]
) -> None:
    world.minute()
    world.kept.alarm(event(world.clock.now()))
    for value in (20, 20.5):
        values = {"quantity": "o2", "mean": value, "min": value, "max": value, "quality": "good"}
        world.kept.reading("gas-1", world.clock.advance(10), values)
    world.kept.flush()
    assert world.drain(world.writer()).refused == 0
    assert {r["tagKey"] for r in world.server.query(DB, f'SHOW TAG KEYS FROM "{measurement}"')} == tags
    keys = world.server.query(DB, f'SHOW FIELD KEYS FROM "{measurement}"')
    assert {r["fieldKey"]: r["fieldType"] for r in keys} == fields
