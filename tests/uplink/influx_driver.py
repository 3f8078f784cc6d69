"""A node's journal and its writer as a process that may be killed at any moment. Says every alarm that was accepted.

    python -m tests.uplink.influx_driver JOURNAL TOKEN_FILE URL WALL

WALL: Unix s at which its time begins; a turn of the loop takes half a minute of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edge.clock import ManualClock
from edge.journal.journal import Journal
from edge.site.model import InfluxUplink as Settings
from edge.site.model import JournalSettings
from edge.uplink.influx import InfluxWriter
from edge.values import Instance
from tests.journal.builders import event, tally

INSTANCES = [Instance("gate", "trench", rule) for rule in ("helmet", "hi_vis", "intrusion")]


def main(path: str, token_file: str, url: str, wall: str) -> None:
    clock = ManualClock(wall=float(wall))
    journal = Journal(Path(path), clock, JournalSettings(), confirm_points=True)
    settings = Settings(url=url, bucket="banksman", token_file=Path(token_file))
    writer = InfluxWriter(settings, "north-yard", "gate-03", journal, clock)
    while True:
        accepted = journal.alarm(event(clock.now())).id
        # In one piece: `print` hands over word by word where output is unbuffered, and a kill may come between two.
        sys.stdout.write(f"{clock.wall} {accepted}\n")
        sys.stdout.flush()
        journal.tallies(tally(int(clock.wall) // 60 * 60, 25, 5, i) for i in INSTANCES)
        journal.reading("node", clock.now(), {"fps": 5.0})
        journal.flush()
        writer.turn()
        clock.advance(30)


if __name__ == "__main__":
    main(*sys.argv[1:])
