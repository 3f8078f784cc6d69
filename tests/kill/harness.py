"""Kills the node, the broker and dispatch at random moments, and counts afterwards."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from edge.journal.codec import decode
from edge.values import AlarmChange, AlarmEvent, Reason, Verdict
from tests.conftest import REPO
from tests.servers import Mosquitto

START_S = 60.0
DRAIN_S = 120.0


@dataclass
class Count:
    """What is left to say when all is over. All but the numbers must be empty."""

    accepted: int
    arrivals: int
    kills: int
    broker_kills: int
    dispatch_kills: int
    waiting_at_kills: list[int]
    missing: set[str] = field(default_factory=set)
    """Accepted by the journal, not stored by dispatch."""
    lost_by_journal: set[str] = field(default_factory=set)
    """Told to be accepted, but not in the journal."""
    invented: set[str] = field(default_factory=set)
    """Stored by dispatch, but never in the journal: sent before it was on disk."""
    backwards: list[tuple[str, int, int]] = field(default_factory=list)
    """Alarm, seq stored before, lower seq stored after."""
    judged_too_early: list[str] = field(default_factory=list)
    """Events of alarms that were open at a kill, and not first said to be unverified."""

    @property
    def faults(self) -> dict[str, int]:
        kinds = ("missing", "lost_by_journal", "invented", "backwards", "judged_too_early")
        return {kind: len(getattr(self, kind)) for kind in kinds if getattr(self, kind)}

    def __str__(self) -> str:
        return (
            f"{self.accepted} events accepted, {self.arrivals} arrivals; {self.kills} kills of the node, "
            f"{self.broker_kills} of the broker, {self.dispatch_kills} of dispatch; "
            f"waiting at the kills: {self.waiting_at_kills}; faults: {self.faults or 'none'}"
        )


class Process:
    """One of ours, ended by its id."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        with log.open("ab") as out:
            self._process = subprocess.Popen(command, cwd=REPO, stdout=out, stderr=out)
        self._log = log

    @classmethod
    def python(cls, module: str, *args: object, log: Path) -> Self:
        return cls([sys.executable, "-m", module, *map(str, args)], log)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def end(self, how: signal.Signals = signal.SIGKILL, timeout: float = 30) -> int:
        if self.running:
            self._process.send_signal(how)
        return self._process.wait(timeout)

    def finish(self, timeout: float) -> None:
        """It ends by itself, in good order. Raises AssertionError if it does not."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        assert code == 0, f"ended with {code}: {self._log.read_text(errors='replace')[-3000:]}"


def events_in(journal: Path) -> list[AlarmEvent]:
    """All events of a journal whose node is dead, in order."""
    db = sqlite3.connect(journal)
    try:
        rows = db.execute("SELECT event FROM alarm_event ORDER BY seq").fetchall()
    finally:
        db.close()
    return [decode(text) for (text,) in rows]


def waiting_in(journal: Path) -> int:
    db = sqlite3.connect(journal)
    try:
        return int(db.execute("SELECT COUNT(*) FROM alarm_event WHERE delivered IS NULL").fetchone()[0])
    finally:
        db.close()


def told_in(log: Path) -> list[dict[str, Any]]:
    """What the driver said that it had accepted; a last line that the kill cut off does not count."""
    lines = log.read_bytes().split(b"\n")[:-1] if log.exists() else []
    return [json.loads(line) for line in lines]


class Killing:
    """Kills the driver (`tests.kill.driver`) again and again.

    seed: of the moments. sabotage: a mistake that the driver or dispatch is to make.
    """

    def __init__(self, folder: Path, seed: int, sabotage: str = "") -> None:
        self.folder = folder
        self.rng = random.Random(seed)  # noqa: S311 no secret
        self.sabotage = sabotage
        self.database = folder / "dispatch.db"
        self.journal = folder / "journal.db"
        self.broker = Mosquitto(folder / "broker")
        self.consumer: Process | None = None
        self.waiting: list[int] = []
        self.boundaries: list[int] = []  # highest seq at each kill
        self.kills = self.broker_kills = self.dispatch_kills = 0

    def _dispatch(self) -> Process:
        return Process.python(
            "tests.kill.dispatch", self.database, self.broker.port, self.sabotage, log=self.folder / "dispatch.log"
        )

    def driver(self, mode: str, seed: int = 0) -> Process:
        return Process.python(
            "tests.kill.driver",
            self.folder,
            self.broker.port,
            seed,
            mode,
            self.sabotage,
            log=self.folder / "driver.log",
        )

    def note_kill(self) -> None:
        """The node has just died: what did it leave?"""
        self.kills += 1
        if self.journal.exists():
            self.waiting.append(waiting_in(self.journal))
            self.boundaries.append(max((e.seq for e in events_in(self.journal)), default=0))

    def life(self, number: int) -> Process:
        """Start the node for one life."""
        return self.driver("watch", seed=number + 1)

    def is_busy(self, number: int) -> bool:
        """Whether it has raised its first alarm of this life."""
        return any(line["run"] == number + 1 for line in told_in(self.folder / "accepted.log"))

    def until_busy(self, node: Process, number: int) -> None:
        deadline = time.monotonic() + START_S
        while not self.is_busy(number):
            assert node.running, "the node died by itself"
            assert time.monotonic() < deadline, "the node does not raise alarms"
            time.sleep(0.02)

    def round(self, number: int, alive_s: tuple[float, float]) -> None:
        """One life of the node, with a broker that dies in every second and a dispatch that dies in every third.

        The moments count from the first alarm, in every fifth life from the start of the process.
        """
        with_broker, with_dispatch = number % 2 == 1, number % 3 == 0
        node = self.life(number)
        if number % 5 != 4:
            self.until_busy(node, number)
        moments = [(self.rng.uniform(*alive_s), "node")]
        if with_broker:
            moments.append((self.rng.uniform(*alive_s), "broker"))
        if with_dispatch:
            moments.append((self.rng.uniform(*alive_s), "dispatch"))
        began = time.monotonic()
        dispatch_died = False
        for moment, who in sorted(moments):
            time.sleep(max(0.0, began + moment - time.monotonic()))
            match who:
                case "node":
                    assert node.running, "the node died by itself"
                    node.end()
                    self.note_kill()
                case "broker":
                    self.broker.kill()
                    self.broker_kills += 1
                    if self.rng.random() < 0.5:  # back at once, or only when everybody else is down
                        self.broker.start()
                case _ if self.consumer is not None:
                    self.consumer.end()
                    self.dispatch_kills += 1
                    dispatch_died = True
        if not self.broker.running:
            self.broker.start()
        if dispatch_died:
            self.consumer = self._dispatch()

    def run(self, kills: int, alive_s: tuple[float, float] = (0.02, 1.2), least: int = 0) -> Count:
        """least: events that there have to be to prove anything; on a slow machine the node gets more lives for it."""
        self.broker.start()
        self.consumer = self._dispatch()
        try:
            for number in range(3 * kills):
                if number >= kills and len(events_in(self.journal)) >= least:
                    break
                self.round(number, alive_s)
            self.driver("drain").finish(DRAIN_S)
        finally:
            if self.consumer is not None:
                self.consumer.end()
            self.broker.stop()
        return self.count()

    def count(self) -> Count:
        kept = events_in(self.journal)
        told = {line["id"] for line in told_in(self.folder / "accepted.log")}
        db = sqlite3.connect(self.database)
        stored: list[tuple[str, str, int]] = db.execute("SELECT id, alarm, seq FROM event ORDER BY rowid").fetchall()
        (arrivals,) = db.execute("SELECT COUNT(*) FROM arrival").fetchone()
        db.close()
        in_journal, at_dispatch = {e.id for e in kept}, {row[0] for row in stored}
        return Count(
            accepted=len(in_journal),
            arrivals=arrivals,
            kills=self.kills,
            broker_kills=self.broker_kills,
            dispatch_kills=self.dispatch_kills,
            waiting_at_kills=self.waiting,
            missing=(in_journal | told) - at_dispatch,
            lost_by_journal=told - in_journal,
            invented=at_dispatch - in_journal,
            backwards=list(steps_back(stored)),
            judged_too_early=list(judged_too_early(kept, self.boundaries)),
        )


class KillingNode(Killing):
    """Kills the real node instead: `banksman run`, with its cameras, detector and evidence.

    Its journal cannot be read while it lives, so it counts as busy when dispatch hears something new.
    """

    def __init__(self, folder: Path, seed: int, site_file: Path) -> None:
        super().__init__(folder, seed)
        self.site_file = site_file
        self._heard_before = 0

    def life(self, number: int) -> Process:
        del number
        self._heard_before = self._heard()
        command = [str(Path(sys.executable).with_name("banksman")), "run", str(self.site_file)]
        return Process(command, self.folder / "node.log")

    def is_busy(self, number: int) -> bool:
        del number
        return self._heard() > self._heard_before

    def _heard(self) -> int:
        """The highest seq that dispatch has."""
        if not self.database.exists():
            return 0
        db = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        try:
            return int(db.execute("SELECT COALESCE(MAX(seq), 0) FROM event").fetchone()[0])
        except sqlite3.OperationalError:  # it has not begun yet
            return 0
        finally:
            db.close()


def steps_back(stored: Iterable[tuple[str, str, int]]) -> Iterable[tuple[str, int, int]]:
    """Where dispatch, having left out what it had already, got an older state of an alarm after a newer one."""
    newest: dict[str, int] = {}
    for _, alarm, seq in stored:
        if seq < newest.get(alarm, 0):
            yield alarm, newest[alarm], seq
        newest[alarm] = max(seq, newest.get(alarm, 0))


def judged_too_early(kept: Sequence[AlarmEvent], boundaries: Sequence[int]) -> Iterable[str]:
    """Events that go on with an alarm over a death of the node without saying first that it is unverified.

    boundaries: the highest seq at each death.
    """
    for end in boundaries:
        before = {e.alarm: e for e in kept if e.seq <= end}
        still_open = {a: e for a, e in before.items() if e.change is not AlarmChange.CLEARED}
        first_after: dict[str, AlarmEvent] = {}
        for event in kept:
            if event.seq > end:
                first_after.setdefault(event.alarm, event)
        places = {e.instance: a for a, e in still_open.items()}
        for alarm, event in first_after.items():
            if alarm not in still_open:
                old = places.get(event.instance)
                if old is not None and not any(
                    e.alarm == old and e.change is AlarmChange.CLEARED and end < e.seq < event.seq for e in kept
                ):
                    yield event.id  # a second alarm where one was open
            elif still_open[alarm].verdict is not Verdict.UNKNOWN and (event.verdict, event.reason) != (
                Verdict.UNKNOWN,
                Reason.RESTARTED,
            ):
                yield event.id
