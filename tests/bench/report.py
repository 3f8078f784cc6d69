"""How long the monthly report of one site takes, and how much memory: `banksman dashboards report` as people call it.

    python -m tests.bench.report

A month of 24 rule instances with a case every half an hour, each with a picture of 1280 × 720, out of a real InfluxDB
and dispatch's SQLite; one run a language and kind.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.dashboards.reporting import Desk
from tests.dashboards.world import MONTH, world
from tests.influx import TOKEN, Influx

SITES, INSTANCES, CASES = 4, 24, 1440
RULES = ("helmet", "hi_vis", "barrier", "intrusion", "warning_light")


COMMAND = """
import atexit, re
from deploy.cli import main
atexit.register(lambda: print("MB", int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024))
main()
"""


def run(folder: Path, influx: Influx, *arguments: str) -> tuple[float, float]:
    """Seconds, and the most resident memory, MB."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "dashboards", "report", "0", "2026-03", "--out", "out", *arguments],
        cwd=folder,
        env=os.environ | {"BANKSMAN_INFLUX_URL": influx.url, "BANKSMAN_INFLUX_TOKEN": TOKEN},
        check=True,
        capture_output=True,
        text=True,
    )
    return time.monotonic() - began, float(done.stdout.split("MB ")[1])


def main() -> None:
    with tempfile.TemporaryDirectory() as name, Influx(Path(name) / "influx") as influx:
        folder = Path(name)
        influx.create("banksman")
        for lines in world(SITES, INSTANCES).lines():
            influx.write("banksman", lines)
        desk = Desk(folder, MONTH[0])
        desk.site("0", "南京东路雨污分流改造工程", "Europe/Berlin", ["n-1"])
        for n in range(CASES):
            at = MONTH[0] + n * (MONTH[1] - MONTH[0]) / CASES
            desk.case("0", at, rule=RULES[n % len(RULES)], place=f"p-{n}", severity=("critical", "warning")[n % 2])
        desk.engine.dispose()
        (folder / "dispatch.yaml").write_text(f"mqtt: {{host: localhost}}\nweb: {{secret: {'x' * 40}}}\n")
        for arguments in (("--kind", "xlsx"), ("--kind", "pdf"), ("--lang", "en", "--lang", "zh-CN")):
            seconds, most_mb = run(folder, influx, *arguments)
            print(f"{' '.join(arguments):28} {seconds:6.1f} s  at most {most_mb:4.0f} MB")
        for path in sorted((folder / "out").iterdir()):
            print(f"{path.name:28} {path.stat().st_size / 1024:6.0f} kB")


if __name__ == "__main__":
    main()
