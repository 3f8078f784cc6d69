"""How fast the uplink drains a journal through Mosquitto, and how soon an alarm is at the far end.

    python -m tests.bench.uplink [EVENTS]

Everything on this machine: journal with its real commits, broker, and a dispatch in a process of its own that commits
in SQLite before it acknowledges. Latency counts from the return of `Journal.alarm`, at 20 alarms a second.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from edge.clock import SystemClock
from edge.journal.journal import Journal
from edge.site.model import JournalSettings
from tests.journal.builders import event
from tests.kill.harness import Process
from tests.mqtt.builders import Observer, running, settings
from tests.servers import Mosquitto
from tests.waiting import until

PACE_S, PACED = 0.05, 400


def fill(folder: Path, events: int) -> float:
    """Events that wait in a journal; gives how many a second it took."""
    folder.mkdir()
    clock = SystemClock(trusted=True)
    journal = Journal(folder / "journal.db", clock, JournalSettings())
    began = time.monotonic()
    for _ in range(events):
        journal.alarm(event(clock.now()))
    took = time.monotonic() - began
    journal.close()
    return events / took


def drain(folder: Path, port: int, confirm: str, events: int) -> float:
    """Events a second from the start of the uplink until the last one is confirmed."""
    began = time.monotonic()
    with running(folder, settings(port, confirm=confirm)) as node:
        until(lambda: node.journal.pending_alarms(1) == (), "drained", timeout=600)
        return events / (time.monotonic() - began)


def latency(folder: Path, port: int) -> list[float]:
    """Seconds from the journal's return to the receipt by another client, one a paced event."""
    folder.mkdir()
    accepted: dict[str, float] = {}
    with Observer(port, user=None, ack=True) as dispatch, running(folder, settings(port)) as node:
        node.up()
        due = time.monotonic()
        for _ in range(PACED):
            due += PACE_S
            time.sleep(max(0.0, due - time.monotonic()))
            kept = node.journal.alarm(event(node.clock.now()))
            accepted[kept.id] = time.monotonic()
            node.uplink.wake()
        received = dispatch.arrived
        until(lambda: len(received) >= PACED, "all received")
        return [received[i] - at for i, at in accepted.items()]


def main(events: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Mosquitto(folder / "broker") as broker:
            rate = fill(folder / "a", events)
            fill(folder / "b", events)
            print(f"journal, commits each event:        {rate:8.0f} events/s")
            rate = drain(folder / "a", broker.port, "puback", events)
            print(f"drained, confirm puback:            {rate:8.0f} events/s")
            database = folder / "dispatch.db"
            dispatch = Process.python("tests.kill.dispatch", database, broker.port, log=folder / "dispatch.log")
            try:
                until(database.exists, "dispatch has begun")
                rate = drain(folder / "b", broker.port, "dispatch", events)
            finally:
                dispatch.end()
            print(f"drained, stored and acknowledged:   {rate:8.0f} events/s")
            (stored,) = sqlite3.connect(database).execute("SELECT COUNT(*) FROM event").fetchone()
            assert stored == events
            p50, p95, worst = np.percentile(latency(folder / "c", broker.port), (50, 95, 100)) * 1000
            print(f"journal to received, 20 a second:   p50 {p50:.1f} ms, p95 {p95:.1f} ms, worst {worst:.1f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
