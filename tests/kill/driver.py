"""A node without eyes, to be killed: the real alarm book, journal and uplink, on findings made up at a high rate.

    python -m tests.kill.driver FOLDER PORT SEED MODE [SABOTAGE]

MODE `watch` raises alarms until it is killed; `drain` raises none and ends when the journal has delivered everything.
Each event is written to FOLDER/accepted.log after `Journal.alarm` returned: from then on it must not be lost.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from broker.messages import Health, Status
from edge.alarm.book import AlarmBook
from edge.alarm.terms import Terms
from edge.clock import Clock, SystemClock
from edge.journal.journal import Journal
from edge.site.model import JournalSettings, Mqtt
from edge.uplink.mqtt import MqttUplink
from edge.values import AlarmEvent, Finding, Instance, Judgement, Reason, Severity, Verdict

SITE, NODE = "north-yard", "gate-03"
LOOK_S = 0.001
RESEND_S = 1.0
# Everything a hundred times as fast as on a site, so that events come one upon the other.
QUICK = Terms("person", ("I.6.1",), Severity.WARNING, 0.003, 2, 0.005, 0.01, 5.0)
TERMS = {"helmet": QUICK, "hi_vis": QUICK, "intrusion": QUICK}
INSTANCES = [Instance(f"cam-{n}", "trench", rule) for n in range(4) for rule in TERMS]
_REASONS = {Verdict.OK: Reason.SEEN, Verdict.VIOLATION: Reason.BARE, Verdict.UNKNOWN: Reason.TOO_SMALL}


@dataclass
class Actor:
    """People at one place: for a few looks they do one thing, then another."""

    instance: Instance
    rng: random.Random
    looks: int = 0
    verdict: Verdict = Verdict.OK
    people: int = 1

    def act(self, clock: Clock) -> Finding:
        if self.looks == 0:
            self.looks = self.rng.randint(3, 20)
            self.verdict = self.rng.choices([Verdict.OK, Verdict.VIOLATION, Verdict.UNKNOWN], [3, 5, 1])[0]
            self.people = self.rng.randint(1, 4)
        self.looks -= 1
        told = tuple(Judgement(f"person:{n}", self.verdict, _REASONS[self.verdict], 0.9) for n in range(self.people))
        return Finding(self.instance, clock.now(), told)


def log_of(folder: Path) -> Path:
    return folder / "accepted.log"


def journal_of(folder: Path) -> Path:
    return folder / "journal.db"


def main(folder: Path, port: int, seed: int, mode: str, sabotage: str = "") -> None:
    clock = SystemClock(trusted=True)
    journal = Journal(journal_of(folder), clock, JournalSettings())
    mqtt = Mqtt(
        host="127.0.0.1",
        port=port,
        tls=False,
        confirm="puback" if sabotage == "puback is delivery" else "dispatch",
        resend_s=RESEND_S,
    )
    uplink = MqttUplink(
        mqtt,
        SITE,
        NODE,
        journal,
        clock,
        status=lambda: Status(
            state="online", since=None, version="0", model="none", site_file_hash="", clock_ok=clock.now().synced
        ),
        health=lambda: Health(at=0, period_s=30, uptime_s=0, fps=0, journal_depth=journal.depth()),
        commands={},
    )
    log = os.open(log_of(folder), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    late: list[AlarmEvent] = []

    def accept(event: AlarmEvent) -> None:
        if sabotage == "accepted before it is on disk":
            os.write(log, line(event))
            late.append(event)
            if len(late) < 10:
                return
            for one in late:
                journal.alarm(one)
            late.clear()
        else:
            os.write(log, line(journal.alarm(event)))
        uplink.wake()

    def line(event: AlarmEvent) -> bytes:
        told = {
            "run": seed,
            "id": event.id,
            "alarm": event.alarm,
            "instance": str(event.instance),
            "change": event.change,
            "verdict": event.verdict,
            "reason": event.reason,
            "at": time.time(),
        }
        return json.dumps(told).encode() + b"\n"

    uplink.start()
    if mode == "drain":
        while journal.pending_alarms(1):
            time.sleep(0.02)
        uplink.stop()
        journal.close()
        return
    restored = () if sabotage == "open alarms are forgotten" else journal.open_alarms()
    book = AlarmBook(TERMS, restored)
    for event in book.restart(clock.now()):
        accept(event)
    actors = [Actor(i, random.Random(f"{seed}/{i}")) for i in INSTANCES]  # noqa: S311 no secret
    while True:
        for actor in actors:
            for event in book.look(actor.act(clock)):
                accept(event)
        journal.flush(clock.now())
        time.sleep(LOOK_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
