"""Points reach a real InfluxDB, and are confirmed in the journal only when it has said that it stored them."""

from __future__ import annotations

import logging
import math
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from broker.embedded import free_port
from edge.clock import ManualClock
from edge.journal.journal import Journal
from edge.journal.rows import Trouble
from edge.site.model import InfluxUplink as Settings
from edge.site.model import JournalSettings
from edge.uplink.influx import (
    FIRST_WAIT_S,
    LONGEST_ASKED_S,
    LONGEST_WAIT_S,
    MOST,
    PERIOD_S,
    Cause,
    InfluxState,
    InfluxUplink,
    InfluxWriter,
)
from edge.values import Instance, LinkState, Tally
from tests.conftest import REPO
from tests.influx import ORG, TOKEN, Influx
from tests.journal.builders import HELMET, event, tally
from tests.journal.test_full_disk import fill
from tests.servers import HOST, Authority
from tests.uplink.influx_driver import INSTANCES
from tests.waiting import until

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
    lived: Counter[str] = field(default_factory=Counter)
    """What `live` has counted."""

    def writer(
        self, token: str = TOKEN, jitter: float = 1.0, timeout_s: tuple[float, float] = (5.0, 5.0), **settings: Any
    ) -> InfluxWriter:
        file = self.folder / "influx.token"
        file.write_text(f"{token}\n")
        made = InfluxWriter(
            Settings(**({"url": self.server.url, "org": ORG, "bucket": DB, "token_file": file} | settings)),
            SITE,
            NODE,
            self.kept,
            self.clock,
            jitter=lambda: jitter,
            timeout_s=timeout_s,
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
    world.kept.close()


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


def test_a_minute_that_grows_is_sent_again_whole_and_its_hour_with_it(world: World) -> None:
    writer = world.writer()
    first = world.minute(ok=20)
    world.drain(writer)
    world.kept.tallies([replace(first, ok_s=30, violation_s=5, breach_s=5)])
    world.minute(ok=7)
    world.drain(writer)
    assert [(r["ok_s"], r["violation_s"]) for r in world.rows("compliance")] == [(50, 5), (7, 0)]
    assert [(r["ok_s"], r["violation_s"]) for r in world.rows("compliance_1h")] == [(57, 5)]


def test_a_minute_is_sent_when_it_is_over_and_its_last_seconds_are_on_disk(world: World) -> None:
    writer = world.writer()
    start = world.clock.wall // 60 * 60
    world.kept.tallies([tally(int(start))])
    world.kept.flush()
    sent_after = []
    while not world.rows("compliance"):
        world.drain(writer)
        sent_after.append(world.clock.advance(5).wall - start)
    assert 70 < sent_after[-1] <= 85


def test_nothing_to_send_is_no_request(world: World) -> None:
    world.kept.reading("node", world.clock.now(), {"cpu_temp_c": None})
    world.kept.flush()
    assert world.drain(world.writer()).waiting == 0
    assert world.server.bodies == []


def test_whatever_is_sent_again_in_whatever_order_changes_nothing(world: World) -> None:
    writer = world.writer()
    for n in range(40):
        world.minute(ok=n)
        world.kept.alarm(event(world.clock.now()))
        world.kept.alarm(event(world.clock.now()))  # of the same millisecond
        world.kept.reading("node", world.clock.now(), {"fps": float(n)})
        world.drain(writer)
    world.kept.flush()
    world.drain(writer)
    tables = ("compliance", "alarm", "node")
    arrived = {table: world.rows(table) for table in tables}
    assert [len(arrived[table]) for table in tables] == [40, 80, 40]
    lines = [line for _, body in world.server.bodies for line in body.split(b"\n") if b"compliance_1h" not in line]
    random.Random(5).shuffle(lines)  # noqa: S311 not cryptography
    world.server.write(DB, b"\n".join(lines))
    assert {table: world.rows(table) for table in tables} == arrived


# -- what it does not take ---------------------------------------------------------------------------------------------


def test_one_bad_point_is_isolated_told_and_left_out(world: World, caplog: pytest.LogCaptureFixture) -> None:
    for n in range(50):  # InfluxDB knows `quality` as text
        quality = 7 if n == 33 else "good"
        values: dict[str, float | str | None] = {"quantity": "o2", "mean": n, "min": n, "max": n, "quality": quality}
        world.kept.reading("gas-1", world.clock.advance(10), values)
    raised = world.kept.alarm(event(world.clock.now()))
    world.minute()
    state = world.drain(world.writer())
    assert (state.link, state.refused, state.waiting) == (LinkState.UP, 1, 0)
    assert [r["mean"] for r in world.rows("sensor")] == [n for n in range(50) if n != 33]
    assert [r["id"] for r in world.rows("alarm")] == [raised.id]
    assert len(world.rows("compliance")) == len(world.rows("compliance_1h")) == 1
    (said,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "mean=33" in said.getMessage()
    assert "field type conflict" in said.getMessage()
    requests = len(world.server.bodies)
    assert requests <= 2 * math.ceil(math.log2(53)) + 1
    world.drain(world.writer())
    assert len(world.server.bodies) == requests, "it is not tried again"


def test_of_many_bad_points_a_few_are_told_and_the_others_counted(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.server.write(DB, f'sensor,site=x quality="good" {int(world.clock.wall)}000000000'.encode())
    for _ in range(20):
        values: dict[str, float | str | None] = {"quantity": "o2", "mean": 1, "min": 1, "max": 1, "quality": 7}
        world.kept.reading("gas-1", world.clock.advance(10), values)
    world.kept.flush()
    state = world.drain(world.writer())
    assert (state.refused, state.waiting) == (20, 0)
    said = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(said) == 6
    assert said[-1].startswith("InfluxDB does not take 15 more points")


def test_what_is_too_large_is_sent_in_halves(world: World) -> None:
    for n in range(8):
        world.kept.reading("node", world.clock.advance(10), {"fps": float(n)})
    world.kept.flush()
    world.server.trouble.append((413, {}))
    state = world.drain(world.writer())
    assert (state.sent, state.refused) == (8, 0)
    assert [len(body.split(b"\n")) for _, body in world.server.bodies] == [8, 4, 4]


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ((401, {}), Cause.AUTH),
        ((403, {}), Cause.AUTH),
        ((404, {}), Cause.BUCKET),
        ((400, {}), Cause.SERVER),  # not about the lines: something on the way
        ((429, {}), Cause.BUSY),
        ((503, {}), Cause.BUSY),
        ((500, {}), Cause.SERVER),
        ((200, {}), Cause.SERVER),  # a captive portal
        ((302, {"Location": "http://127.0.0.1:9/"}), Cause.SERVER),
    ],
)
def test_any_other_answer_makes_all_points_wait(world: World, answer: tuple[int, dict[str, str]], cause: Cause) -> None:
    writer = world.writer()
    world.minute()
    world.server.trouble.append(answer)
    assert writer.turn() == FIRST_WAIT_S
    assert (writer.state.link, writer.state.cause, writer.state.waiting) == (LinkState.DOWN, cause, 1)
    assert str(answer[0]) in writer.state.detail
    state = world.drain(writer)
    assert (state.link, state.cause, state.detail, state.waiting) == (LinkState.UP, Cause.NONE, "", 0)
    assert len(world.rows("compliance")) == 1


def test_the_wait_doubles_to_a_bound_and_is_spread(world: World) -> None:
    world.minute()
    for jitter, share in ((1.0, 1.0), (0.0, 0.5)):
        writer = world.writer(jitter=jitter)
        world.server.trouble.extend([(500, {})] * 12)
        waits = [writer.turn() for _ in range(12)]
        expected = [min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**n) * share for n in range(12)]
        assert waits == expected
    world.drain(writer)
    world.minute()
    world.server.trouble.append((500, {}))
    assert writer.turn() == FIRST_WAIT_S / 2, "after a success it begins anew"


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("asked", "wait"),
    [
        ("120", 120.0),
        ("0", FIRST_WAIT_S),
        ("999999", LONGEST_ASKED_S),
        ("soon", FIRST_WAIT_S),
        (lambda wall: format_datetime(datetime.fromtimestamp(wall + 120, UTC), usegmt=True), 120.0),
    ],
)
def test_retry_after_is_honoured(world: World, status: int, asked: Any, wait: float) -> None:
    world.minute()
    world.server.trouble.append((status, {"Retry-After": asked(world.clock.wall) if callable(asked) else asked}))
    assert world.writer(jitter=0.0).turn() == pytest.approx(max(wait, FIRST_WAIT_S / 2), abs=1.0)
    world.server.trouble.append((status, {"Retry-After": "100"}))
    assert world.writer(jitter=1.0).turn() == 125.0, "not all nodes at the same moment"


def test_a_slow_server_gets_smaller_batches_and_in_the_end_everything(world: World) -> None:
    for n in range(MOST):
        world.kept.reading("node", world.clock.advance(10), {"fps": float(n)})
    world.kept.flush()
    writer = world.writer(timeout_s=(1.0, 0.2))
    world.server.answering.clear()
    for _ in range(6):
        assert writer.turn() > 0
    assert (writer.state.cause, writer.state.waiting) == (Cause.TIMEOUT, MOST)
    world.server.answering.set()
    state = world.drain(writer)
    assert (state.link, state.waiting) == (LinkState.UP, 0)
    sizes = [body.count(b"\n") + 1 for _, body in world.server.bodies]
    assert sizes[:7] == [500, 250, 125, 62, 31, 25, 25]
    assert [r["fps"] for r in world.rows("node")] == list(range(MOST))


# -- files, names, TLS -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        ("", "it holds 0 words"),
        ("two words", "it holds 2 words"),
        ("gehe\u00efm", "no text file"),
    ],
)
def test_a_token_file_that_cannot_be_used_is_told_and_read_again(
    world: World, content: str | None, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    writer = world.writer()
    world.minute()
    file = world.folder / "influx.token"
    file.unlink()
    if content is not None:
        file.write_text(content, encoding="utf-8")
    writer.turn()
    assert (writer.state.cause, says in writer.state.detail) == (Cause.FILES, True)
    assert not content or content not in writer.state.detail
    file.write_text(TOKEN)
    assert world.drain(writer).link is LinkState.UP
    assert TOKEN not in caplog.text


def test_a_token_that_is_taken_back_and_renewed_is_read_anew_and_never_told(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    writer = world.writer(token="an-old-token")  # noqa: S106
    world.minute()
    for _ in range(3):
        writer.turn()
    assert (writer.state.cause, writer.state.waiting) == (Cause.AUTH, 1)
    (world.folder / "influx.token").write_text(TOKEN)
    assert world.drain(writer).waiting == 0
    assert sum("cannot be written" in r.message for r in caplog.records) == 1
    assert TOKEN not in caplog.text
    assert "an-old-token" not in caplog.text


def test_nobody_there(world: World) -> None:
    writer = world.writer(url=f"http://{HOST}:{free_port()}")
    world.minute()
    writer.turn()
    assert (writer.state.link, writer.state.cause, writer.state.waiting) == (LinkState.DOWN, Cause.REFUSED, 1)


def test_the_bucket_may_be_named_after_the_site(world: World) -> None:
    writer = world.writer(bucket="yard-{site}")
    world.minute()
    writer.turn()
    assert writer.state.cause is Cause.BUCKET
    world.server.create(f"yard-{SITE}")
    world.drain(writer)
    assert len(world.server.query(f"yard-{SITE}", "SELECT * FROM compliance")) == 1


def test_over_tls_only_a_server_that_proves_itself_gets_the_token(world: World, tmp_path: Path) -> None:
    ours, strange = Authority(tmp_path / "pki"), Authority(tmp_path / "strange", "Stranger")
    with Influx(tmp_path / "tls", ours.issue("influx", host=HOST)) as server:
        server.create(DB)
        world.minute()
        for ca in (strange.cert, None):
            writer = world.writer(url=server.url, ca=ca)
            writer.turn()
            assert (writer.state.cause, writer.state.waiting) == (Cause.TLS, 1)
        assert server.bodies == []
        assert world.drain(world.writer(url=server.url, ca=ours.cert)).waiting == 0
        assert len(server.query(DB, "SELECT * FROM compliance")) == 1
    writer = world.writer(url=server.url, ca=tmp_path / "gone.pem")
    world.minute()
    writer.turn()
    assert writer.state.cause is Cause.FILES


# -- time --------------------------------------------------------------------------------------------------------------


def test_without_a_right_clock_everything_waits_and_then_stands_at_its_true_time(world: World) -> None:
    true_wall, off = world.clock.wall, -5_000_000.0
    world.clock.wall, world.clock.synced = true_wall + off, False
    raised = world.kept.alarm(event(world.clock.now()))
    world.kept.delivered([raised.id])  # dispatch has it already: alarms do not wait for a clock
    world.kept.reading("node", world.clock.now(), {"fps": 5.0})
    world.minute()
    writer = world.writer()
    assert writer.turn() == PERIOD_S
    assert (writer.state.link, writer.state.cause, world.server.bodies) == (LinkState.DOWN, Cause.CLOCK, [])
    world.clock.wall, world.clock.synced = world.clock.wall - off, True
    world.kept.flush()
    world.clock.advance(120)
    assert world.drain(writer).cause is Cause.NONE
    for measurement in ("alarm", "node"):
        (row,) = world.rows(measurement)
        assert row["time"] / 1e9 == pytest.approx(true_wall, abs=0.01)
    (row,) = world.rows("compliance")
    assert abs(row["time"] / 1e9 - true_wall) <= 60


def test_what_a_boot_left_without_a_date_is_never_sent(world: World) -> None:
    world.clock.synced = False
    world.kept.alarm(event(world.clock.now()))
    world.kept.reading("node", world.clock.now(), {"fps": 5.0})
    world.minute()
    world.clock.synced, world.clock.boot = True, "another"
    world.kept.flush()
    assert world.drain(world.writer()).waiting == 0
    assert world.server.bodies == []


# -- what must be shown: an outage, a full disk, a hanging server ------------------------------------------------------


def live(world: World, minutes: int, writer: InfluxWriter) -> list[str]:
    """A node's life: tallies, readings, now and then an alarm, and the writer when its time has come. Gives alarms."""
    alarms: list[str] = []
    due = world.clock.mono
    for n in range(minutes):
        start = int(world.clock.wall) // 60 * 60
        world.kept.tallies([tally(start, 50, n % 10, i) for i in INSTANCES])
        for seconds, each in (("ok_s", 50), ("violation_s", n % 10), ("breach_s", n % 10)):
            world.lived[seconds] += each * len(INSTANCES)
        if n % 7 == 0:
            alarms.append(world.kept.alarm(event(world.clock.now())).id)
        for _ in range(2):
            world.kept.reading("node", world.clock.now(), {"fps": 5.0})
            while due <= world.clock.mono:
                due += max(writer.turn(), 0.1)
            world.clock.advance(30)
        world.kept.flush()
    return alarms


def in_influx(world: World, table: str) -> dict[str, int]:
    sums = ", ".join(f"SUM({f}) AS {f}" for f in ("ok_s", "violation_s", "breach_s"))
    (row,) = world.server.query(DB, f"SELECT {sums} FROM {table}")  # noqa: S608
    del row["time"]
    return row


def test_influxdb_away_for_a_day_loses_nothing_and_takes_no_memory(world: World) -> None:
    writer = world.writer(jitter=0.5)
    alarms = live(world, 60, writer)
    world.server.leave()
    try:
        alarms += live(world, 24 * 60, writer)
    finally:
        world.server.come_back()
    assert writer.state.cause is Cause.REFUSED
    readings, minutes = 2 * 24 * 60, len(INSTANCES) * 24 * 60
    assert writer.state.waiting == pytest.approx(readings + minutes, rel=0.03)
    world.clock.advance(75)
    tracemalloc.start()
    state = world.drain(writer)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8e6, "what waits stays on disk; in memory are one batch and what is not yet known to be stored"
    assert (state.link, state.waiting, state.refused) == (LinkState.UP, 0, 0)
    assert in_influx(world, "compliance") == in_influx(world, "compliance_1h") == world.lived
    assert sorted(r["id"] for r in world.rows("alarm")) == sorted(alarms)
    (count,) = world.server.query(DB, "SELECT COUNT(fps) FROM node")
    assert count["count"] == 2 * 25 * 60
    (hours,) = world.server.query(DB, "SELECT COUNT(ok_s) FROM compliance_1h")
    assert hours["count"] == pytest.approx(25 * len(INSTANCES), abs=len(INSTANCES))


def test_a_server_that_fails_in_every_way_gets_everything_in_the_end(world: World) -> None:
    dice = random.Random(7)  # noqa: S311 not cryptography
    writer = world.writer(jitter=0.5, timeout_s=(1.0, 0.1))
    alarms = []
    for _ in range(40):
        kind = dice.choice([(429, {"Retry-After": "30"}), (503, {}), (500, {}), (413, {}), (401, {}), None, None])
        if kind is not None:
            world.server.trouble.append(kind)
        alarms += live(world, dice.randrange(1, 8), writer)
    world.server.trouble.clear()
    world.clock.advance(75)
    assert world.drain(writer).waiting == 0
    assert in_influx(world, "compliance") == in_influx(world, "compliance_1h") == world.lived
    assert sorted(r["id"] for r in world.rows("alarm")) == sorted(alarms)


def test_a_full_disk_on_the_node_loses_no_alarm_and_sends_nothing_in_circles(small_disk: Path, world: World) -> None:
    world.kept.close()
    world.kept = kept = Journal(small_disk / "journal.db", world.clock, JournalSettings(), confirm_points=True)
    writer = world.writer()
    alarms = live(world, 30, writer)
    log = fill(small_disk)
    while kept.state.ok:
        alarms.append(kept.alarm(event(world.clock.advance(10))).id)
        fill(small_disk)
    alarms += live(world, 30, writer)
    world.clock.advance(75)
    assert (kept.state.trouble, kept.state.lost) == (Trouble.DISK_FULL, 0)
    world.drain(writer)
    assert sorted(r["id"] for r in world.rows("alarm")) == sorted(alarms), "from memory, too"
    requests = len(world.server.bodies)
    for _ in range(5):
        world.clock.advance(PERIOD_S)
        world.drain(writer)
    assert len(world.server.bodies) == requests
    log.unlink()
    kept.flush()
    assert kept.state.trouble is Trouble.NONE
    assert world.drain(writer).waiting == 0
    assert in_influx(world, "compliance") == in_influx(world, "compliance_1h") == world.lived
    assert len(kept.pending_alarms(9999)) == len(alarms), "dispatch has none of them yet"


def test_a_server_that_hangs_holds_nobody_up(world: World) -> None:
    world.minute()
    world.server.answering.clear()
    uplink = InfluxUplink(world.writer(timeout_s=(1.0, 1.0)))
    uplink.start()
    until(lambda: world.server.bodies)
    began = time.monotonic()
    for _ in range(20):
        world.kept.alarm(event(world.clock.now()))
    assert len(world.server.bodies) == 1
    assert time.monotonic() - began < 1.0, "the journal is free while a batch is under way"
    uplink.stop()
    world.server.answering.set()
    assert not uplink._thread.is_alive()


def test_killed_in_the_middle_again_and_again(world: World) -> None:
    """After each kill the node goes on where it was, in the same minute; InfluxDB gets what the journal has."""
    kills, dice = 8, random.Random(3)  # noqa: S311 not cryptography
    world.kept.close()
    (world.folder / "influx.token").write_text(TOKEN)
    wall, accepted = world.clock.wall, []
    module, files = "tests.uplink.influx_driver", [world.folder / "journal.db", world.folder / "influx.token"]
    for _ in range(kills):
        with subprocess.Popen(
            [sys.executable, "-m", module, *map(str, files), world.server.url, str(wall)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPO,
        ) as node:
            assert node.stdout is not None
            for line in islice(node.stdout, dice.randrange(5, 40)):
                at, alarm = line.split()
                accepted.append(alarm)
            time.sleep(dice.random() * 0.02)
            node.send_signal(signal.SIGKILL)
            for line in node.stdout:  # what it said before it died
                at, alarm = line.split()
                accepted.append(alarm)
        wall = float(at)
    world.clock.wall = wall + 300
    world.kept = Journal(world.folder / "journal.db", world.clock, JournalSettings(), confirm_points=True)
    world.drain(world.writer())
    written = [r["id"] for r in world.rows("alarm")]
    assert sorted(written) == sorted(e.id for e in world.kept.recent_alarms(99_999))
    assert set(written) >= set(accepted)
    counted = world.kept.compliance(0)
    sums = {f: sum(getattr(c, f) for c in counted) for f in ("ok_s", "violation_s", "breach_s")}
    assert sums["ok_s"] >= 25 * len(INSTANCES) * (len(accepted) - kills), "a kill costs what was not yet committed"
    assert in_influx(world, "compliance") == in_influx(world, "compliance_1h") == sums
