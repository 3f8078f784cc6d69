"""How many points a second nodes write to InfluxDB, and what that costs.

    python -m tests.bench.influx [NODES] [HOURS]        200 nodes and 24 hours without numbers

One node: what it writes in ordinary service, and how fast it catches up after HOURS without InfluxDB. NODES nodes: all
of them, one process, through an ordinary minute each, and the share of its time that InfluxDB is busy with it. A real
influxd 1.6 on this machine behind the tests' shim, which is written in Python and takes its part of the time; journals
with their real commits. Sizes of a node: 4 cameras with 5 rule instances each, a reading of itself and of 4 sensor
quantities every 10 s.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from edge.clock import ManualClock
from edge.journal.journal import Journal
from edge.site.model import InfluxUplink as Settings
from edge.site.model import JournalSettings
from edge.uplink.influx import InfluxWriter
from edge.values import Instance
from tests.influx import TOKEN, Influx
from tests.journal.builders import event, tally

INSTANCES = [Instance(f"camera-{c}", "trench", rule) for c in range(4) for rule in ("helmet", "hi_vis", "a", "b", "c")]
QUANTITIES = ("o2", "co", "h2s", "ch4")
DB = "banksman"


class Node:
    """A journal and its writer, with a clock of its own."""

    def __init__(self, folder: Path, name: str, url: str, stack: ExitStack) -> None:
        folder.mkdir()
        (folder / "token").write_text(TOKEN)
        self.clock = ManualClock(wall=1_790_000_000 // 3600 * 3600.0)
        self.journal = Journal(folder / "journal.db", self.clock, JournalSettings(), confirm_points=True)
        settings = Settings(url=url, token_file=folder / "token")
        self.writer = InfluxWriter(settings, "north-yard", name, self.journal, self.clock)
        stack.callback(self.journal.close)
        stack.callback(self.writer.close)

    def minute(self) -> None:
        """What happens in a minute; the last of six commits is the last thing."""
        start = int(self.clock.wall)
        for _ in range(6):
            now = self.clock.advance(10)
            self.journal.tallies(tally(start, 9, 1, i) for i in INSTANCES)
            self.journal.reading("node", now, {"fps": 9.8, "latency_p50_ms": 88.0, "rss_mb": 236.0, "journal_depth": 3})
            for quantity in QUANTITIES:
                values: dict[str, float | str | None] = {
                    "quantity": quantity,
                    "mean": 20.9,
                    "min": 20.8,
                    "max": 21.0,
                    "quality": "good",
                }
                self.journal.reading("gas-1", now, values)
            self.journal.flush()

    def drain(self) -> None:
        while not self.writer.turn():
            pass


@contextmanager
def nodes(count: int) -> Iterator[tuple[Influx, list[Node]]]:
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        server = stack.enter_context(Influx(Path(temporary) / "influx"))
        server.create(DB)
        yield server, [Node(Path(temporary) / f"n{n}", f"n{n}", server.url, stack) for n in range(count)]


def one(hours: int) -> None:
    with nodes(1) as (server, (node,)):
        for _ in range(60):
            node.minute()
            node.drain()
        sizes = [len(body) for _, body in server.bodies]
        lines = sum(body.count(b"\n") + 1 for _, body in server.bodies)
        print(f"one node, ordinary service: {lines / 60:.0f} points a minute in {len(sizes) / 60:.1f} requests,")
        print(f"  {sum(sizes) / 60 / 1000:.1f} kB a minute before gzip, {server.received / 60 / 1000:.1f} kB after")
        for _ in range(hours * 60):
            node.minute()
            if int(node.clock.wall) % 86_400 == 0:
                node.journal.alarm(event(node.clock.now()))
        server.bodies.clear()
        sent, waiting = node.writer.state.sent, node.journal.points_waiting()
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        busy, began = time.process_time(), time.monotonic()
        longest = []
        while True:
            at = time.monotonic()
            wait = node.writer.turn()
            longest.append(time.monotonic() - at)
            server.bodies.clear()
            if wait:
                break
        took, busy = time.monotonic() - began, time.process_time() - busy
        points = node.writer.state.sent - sent
        print(f"one node after {hours} h without InfluxDB: {waiting} rows, {points} points in {took:.1f} s,")
        print(f"  {points / took:.0f} points/s ({points / busy:.0f} a second of this process's own time),")
        print(f"  a batch {1000 * np.median(longest):.0f} ms, the slowest {1000 * max(longest):.0f} ms,")
        print(f"  memory grew by {(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss) / 1000:.1f} MB")


def many(count: int) -> None:
    with nodes(count) as (server, all_nodes):
        began, points = time.monotonic(), 0
        for node in all_nodes:
            node.minute()
            node.clock.advance(20)  # the minute is over, and settled
        made = time.monotonic() - began
        cpu, began = server.cpu_s(), time.monotonic()
        for node in all_nodes:
            node.drain()
            points += node.writer.state.sent
        took, cpu = time.monotonic() - began, server.cpu_s() - cpu
        print(f"{count} nodes, a minute of each: {points} points in {took:.1f} s, one connection at a time,")
        print(f"  {points / took:.0f} points/s where {points / 60:.0f} are needed;")
        print(f"  influxd busy for {cpu:.1f} s of the minute")
        print(f"  (writing the journals took {made:.1f} s)")


def main(count: int = 200, hours: int = 24) -> None:
    one(hours)
    many(count)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
