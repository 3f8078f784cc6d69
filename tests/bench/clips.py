"""What the node makes of the shared clips: alarms per clip, with their pictures to look at.

    python -m tests.bench.clips OUT [CLIP...]     pictures and a table go to the folder OUT

Each clip is judged whole, every frame, as one camera whose whole picture is a work zone, at noon and at night.
"""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Sequence
from datetime import datetime
from io import StringIO
from pathlib import Path
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from edge.clock import Clock, Stamp
from edge.node import InForce, open_node
from edge.rules import RULES
from edge.site.keep import SiteFileKeeper
from tests.conftest import SHARED

ZONE = "Asia/Shanghai"
NOON, NIGHT = "2026-06-21 12:00", "2026-06-21 23:00"
WHOLE = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]


class FixedClock:
    """Stands still: the time of a clip is that of its frames, counted from here."""

    def __init__(self, local: str) -> None:
        wall = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(ZONE)).timestamp()
        self._now = Stamp(wall, 1_000.0, "clip", synced=True)

    def now(self) -> Stamp:
        return self._now


def write_site(folder: Path, clip: Path) -> Path:
    content = {
        "site": {"id": "clips", "latitude": 39.91, "longitude": 116.4, "timezone": ZONE},
        "node": {"id": "bench", "data_dir": "data", "clock_trusted": True},
        "cameras": [
            {
                "id": "clip",
                "source": {"type": "file", "path": str(clip), "realtime": False},
                "zones": [{"id": "all", "kind": "work", "polygon": WHOLE}],
            }
        ],
        "detector": {"runtime": "onnx"},
        "page": None,
    }
    text = StringIO()
    YAML().dump(content, text)
    path = folder / "site.yaml"
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


def judge(clip: Path, out: Path, clock: Clock, when: str) -> list[tuple[str, ...]]:
    """Rows of the table: one an alarm, and one for the clip's seconds."""
    folder = out / f"{clip.stem}-{when}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = write_site(folder, clip)
    keeper = SiteFileKeeper(path, RULES)
    keeper.poll()
    with open_node(path, keeper, InForce(keeper.current, keeper.hash), clock, threading.Event()) as node:
        node.run(once=True)
        # The journal is closed with the node; its pictures are on disk then.
        alarms = sorted(node.alarms(200), key=lambda e: e.first_seen.mono)
        compliance = node.compliance(24)
    rows = []
    for n, event in enumerate(alarms):
        for evidence in event.evidence[:1]:
            source = folder / "data" / "evidence"
            found = next(source.rglob(f"{evidence.sha256}*"), None)
            if found is not None:
                shutil.copy(found, folder / f"{n:02}-{event.instance.rule}.jpg")
        began, ended = (s.mono - 1_000.0 for s in (event.first_seen, event.last_seen))
        rows.append(
            (clip.stem, when, event.instance.rule, f"{began:.1f}-{ended:.1f} s", str(event.subjects),
             f"{event.confidence:.2f}", f"{event.change} {event.verdict} ({event.reason})")
        )  # fmt: skip
    seconds = "; ".join(f"{c.instance.rule} {c.ok_s}/{c.violation_s}/{c.unknown_s}" for c in compliance)
    return [*rows, (clip.stem, when, "ok/violation/unknown s", "", "", "", seconds)]


def main(words: Sequence[str]) -> None:
    if not words:
        raise SystemExit(__doc__)
    out = Path(words[0]).resolve()
    clips = [Path(w).resolve() for w in words[1:]] or sorted((SHARED / "data" / "clips").glob("*.mp4"))
    table = Table("clip", "when", "rule", "time", "subjects", "confidence", "last state")
    for clip in clips:
        for when, local in (("day", NOON), ("night", NIGHT)):
            for row in judge(clip.resolve(), out, FixedClock(local), when):
                table.add_row(*row)
    Console(width=160).print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
