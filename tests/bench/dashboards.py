"""How long InfluxDB takes for what the boards of an officer and a manager ask when they are opened.

    python -m tests.bench.dashboards [RUNS]

A month of hours of 20 sites, 24 rule instances each, with cases noted every minute, in a real influxd on this machine.
"One by one" is the sum of the medians; "as a browser" all queries at once over six connections, as browsers do.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from dashboards.boards import BOARDS
from dashboards.influxql import Influx as Reader
from dashboards.panels import Setup
from tests.dashboards.conftest import DATABASE
from tests.dashboards.test_asked import ZONE, Chosen
from tests.dashboards.test_boards import panels
from tests.dashboards.world import MONTH, world
from tests.influx import TOKEN, Influx

CONNECTIONS: Final = 6
OPENED: Final = {
    "front page, one site": ("banksman-site", Chosen(*MONTH, "1h", {"site": ["s-1"]})),
    "all sites": ("banksman-sites", Chosen(*MONTH, "1d", {})),
}


def taken(reader: Reader, text: str) -> float:
    began = time.perf_counter()
    reader.rows(text)
    return time.perf_counter() - began


def together(reader: Reader, texts: list[str]) -> float:
    began = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(reader.rows, texts))
    return time.perf_counter() - began


def measure(reader: Reader, uid: str, chosen: Chosen, runs: int) -> tuple[dict[str, float], float]:
    """Median seconds a panel's query, and of all at once."""
    asked: dict[str, str] = {}
    board: dict[str, Any] = BOARDS[uid]("en", Setup(zone=ZONE))
    for panel in panels(board):
        for target in panel.get("targets", ()):
            asked[f"{panel['title']} {target['refId']}"] = chosen.put_in(target["query"])
    each = {name: statistics.median(taken(reader, text) for _ in range(runs)) for name, text in asked.items()}
    return each, statistics.median(together(reader, list(asked.values())) for _ in range(runs))


def main(runs: int = 5) -> None:
    month = world(20, instances=24, state_every=60)
    with tempfile.TemporaryDirectory() as folder, Influx(Path(folder)) as server:
        server.create(DATABASE)
        began = time.perf_counter()
        for lines in month.lines():
            server.write(DATABASE, lines)
        points = sum(len(t) for t in (month.minute, month.hour, month.case_state, month.node, month.sensor))
        print(f"{points} points, {len(month.hour)} of them hours; stored in {time.perf_counter() - began:.0f} s")
        with Reader(server.url, DATABASE, TOKEN) as reader:
            for name, (uid, chosen) in OPENED.items():
                each, at_once = measure(reader, uid, chosen, runs)
                print(
                    f"{name}: {len(each)} queries, {sum(each.values()):.2f} s one by one, {at_once:.2f} s as a browser"
                )
                for panel, seconds in sorted(each.items(), key=lambda item: -item[1])[:5]:
                    print(f"  {seconds * 1000:6.0f} ms  {panel}")


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:]))
