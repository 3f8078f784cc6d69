"""How many alarm events a second dispatch stores, and how long each takes from sending to its node's ack.

    python -m tests.bench.dispatch [--sqlite] [--unreached] [RATE …]

Two workers, Mosquitto and PostgreSQL, and the sender of the events, all on this machine (pin them: `taskset -c 0,1`).
The foreman's phone is a stand-in for ntfy; `--unreached`: he has none, so that every message is given up and goes on
along its site's chain, which is the most that dispatch can have to do for an event.
Each rate lasts 20 s after 5 s of warming up; `stored` is what was acknowledged within those, by the clock.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.dispatch.fleet import Fleet
from tests.dispatch.notify.stubs import service
from tests.dispatch.site_server import Workers
from tests.servers import Mosquitto, Postgres

RATES = (100.0, 200.0, 500.0, 1000.0)
WARM_S, MEASURE_S = 5.0, 20.0
NODES = 1000


def main(rates: list[float], *, sqlite: bool, reached: bool) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(Mosquitto(folder / "broker", more="max_inflight_messages 200"))
        url = f"sqlite:///{folder}/bench.db" if sqlite else stack.enter_context(Postgres()).database()
        phone = stack.enter_context(service()).origin.replace("http://", "ntfy://") + "/foreman" if reached else ""
        stack.enter_context(Workers(folder, url, broker.port, 2, phone))
        fleet = stack.enter_context(Fleet(broker.port, NODES))
        fleet.run(50, 50)
        fleet.drain(60)
        engine = "SQLite" if sqlite else "PostgreSQL"
        print(f"{engine}, 2 workers, {NODES} nodes, foreman {'reached' if reached else 'not reached'}")
        print("  wanted/s  stored/s   p50 ms   p95 ms   p99 ms  resent")
        for rate in rates:
            fleet.run(rate, int(rate * WARM_S))
            fleet.latencies.clear()
            resent, began = fleet.resent, time.monotonic()
            fleet.run(rate, int(rate * MEASURE_S))
            stored, took = len(fleet.latencies), time.monotonic() - began
            fleet.drain(120)
            ms = sorted(1000 * s for s in fleet.latencies)
            p50, p95, p99 = (ms[int(len(ms) * q)] for q in (0.5, 0.95, 0.99))
            print(f"{rate:10.0f}{stored / took:10.0f}{p50:9.1f}{p95:9.1f}{p99:9.1f}{fleet.resent - resent:8d}")


if __name__ == "__main__":
    options = [one for one in sys.argv[1:] if one.startswith("-")]
    wanted = [float(one) for one in sys.argv[1:] if one not in options]
    main(wanted or list(RATES), sqlite="--sqlite" in options, reached="--unreached" not in options)
