"""Kills workers and broker while alarm events come at rising rates, and counts afterwards."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine, func, select

from broker.dispatch import ledger
from broker.dispatch.database import open_engine, reading
from broker.dispatch.tables import Case, Event, Refused
from tests.dispatch.fleet import Fleet
from tests.dispatch.site_server import Workers
from tests.servers import Mosquitto, Postgres

NODES = 200
DRAIN_S = 180.0
CHAINS = 200
RESEND_S = 5.0


@dataclass
class Count:
    """What is left to say when all is over. All but the numbers must be empty."""

    sent: int = 0
    resent: int = 0
    stored: int = 0
    kills: int = 0
    broker_kills: int = 0
    took_s: float = 0.0
    stages: list[str] = field(default_factory=list)
    missing: int = 0
    """Sent, and acknowledged by dispatch, but not in its database."""
    invented: int = 0
    two_open: int = 0
    """Identities with more than one case that is not over."""
    behind: int = 0
    """Cases that do not know the newest event of their alarm."""
    refused: int = 0
    broken: int = 0
    """Chains of the ledger that do not hold, of CHAINS looked at."""

    @property
    def faults(self) -> dict[str, int]:
        kinds = ("missing", "invented", "two_open", "behind", "refused", "broken")
        return {kind: getattr(self, kind) for kind in kinds if getattr(self, kind)}

    def __str__(self) -> str:
        head = (
            f"{self.sent} events in {self.took_s:.0f} s, {self.resent} sent again, {self.stored} stored; "
            f"{self.kills} kills of workers, {self.broker_kills} of the broker; faults: {self.faults or 'none'}"
        )
        return "\n".join([head, *self.stages])


class Killing:
    """workers: how the two are started. Everything else is real: broker, database, sessions, sockets."""

    def __init__(self, folder: Path, seed: int, server: Postgres, workers: type[Workers] = Workers) -> None:
        self._folder = folder
        self._server = server
        self._rng = random.Random(seed)  # noqa: S311 no secret
        self._workers = workers
        self._over = threading.Event()
        self._count = Count()

    def run(self, rates: Sequence[float], events: int, kill_every_s: float, broker_kills: int) -> Count:
        """`events` in all, an equal number at each rate; the broker dies at even distances."""
        with ExitStack() as stack:
            more = "max_inflight_messages 200\nmax_queued_messages 100000"
            broker = stack.enter_context(Mosquitto(self._folder / "broker", more=more))
            url = self._server.database()
            workers = stack.enter_context(self._workers(self._folder, url, broker.port, 2))
            fleet = stack.enter_context(Fleet(broker.port, NODES, resend_s=RESEND_S))
            fleet.run(20, 20)
            fleet.drain(DRAIN_S)
            killer = threading.Thread(target=self._kill, args=(workers, kill_every_s))
            killer.start()
            began = time.monotonic()
            try:
                self._load(fleet, broker, rates, events, broker_kills)
                self._count.took_s = time.monotonic() - began
            finally:
                self._over.set()
                killer.join()
            fleet.drain(DRAIN_S)
            for n in range(2):
                workers.kill(n)
            engine = open_engine(url)
            self._look(engine, fleet)
            engine.dispose()
        return self._count

    def _load(self, fleet: Fleet, broker: Mosquitto, rates: Sequence[float], events: int, broker_kills: int) -> None:
        parts = 4
        moments = {len(rates) * parts * (n + 1) // (broker_kills + 1) for n in range(broker_kills)}
        for n, (rate, part) in enumerate(itertools.product(rates, range(parts))):
            if part == 0:
                fleet.latencies.clear()
                began = time.monotonic()
            if n in moments:
                broker.kill()
                broker.start()
                self._count.broker_kills += 1
            fleet.run(rate, events // len(rates) // parts)
            if part == parts - 1:
                ms = sorted(1000 * s for s in fleet.latencies) or [0.0]
                self._count.stages.append(
                    f"{rate:6.0f}/s wanted, {len(ms) / (time.monotonic() - began):6.0f}/s stored; "
                    f"p50 {ms[len(ms) // 2]:.0f} ms, p95 {ms[int(len(ms) * 0.95)]:.0f} ms"
                )

    def _kill(self, workers: Workers, every_s: float) -> None:
        """One after the other; back at once, as a service manager does it."""
        for n in itertools.cycle(range(2)):
            if self._over.wait(every_s * self._rng.uniform(0.8, 1.2)):
                return
            workers.kill(n)
            self._count.kills += 1
            workers.start(n)

    def _look(self, engine: Engine, fleet: Fleet) -> None:
        count = self._count
        with reading(engine) as session:
            rows = [tuple(row) for row in session.execute(select(Event.site, Event.node, Event.id))]
            stored = set(rows)
            count.sent, count.resent, count.stored = len(fleet.ids), fleet.resent, len(rows)
            count.missing, count.invented = len(fleet.ids - stored), len(stored - fleet.ids)
            twice = select(Case.identity).where(Case.state == "open").group_by(Case.identity).having(func.count() > 1)
            count.two_open = len(session.execute(twice).all())
            newest = select(Event.alarm, func.max(Event.seq).label("seq")).group_by(Event.alarm).subquery()
            behind = select(Case.id).join(newest, newest.c.alarm == Case.alarm).where(Case.alarm_seq != newest.c.seq)
            count.behind = len(session.execute(behind).all())
            count.refused = session.scalar(select(func.count()).select_from(Refused)) or 0
            looked_at = session.scalars(select(Case.id).order_by(Case.id).limit(CHAINS)).all()
            count.broken = sum(bool(ledger.verify(session, case)) for case in looked_at)
