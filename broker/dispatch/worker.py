"""A worker: messages in, jobs done. Any number of them share the broker's messages and the database's jobs.

Threads: paho's, the intake (the caller of `run`), and a runner's. Jobs that need no line to the broker may be done by
the runner of another process, which leaves the intake a Python of its own (`deploy/dispatch.py`).
"""

from __future__ import annotations

import datetime as dt
import gc
import logging
import sys
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from broker.dispatch import influx, intake, leaving, ledger, metrics, publish, watch
from broker.dispatch.clock import Clock
from broker.dispatch.database import reading, transaction
from broker.dispatch.enrol.office import Office
from broker.dispatch.evidence import Store
from broker.dispatch.inbox import Inbound
from broker.dispatch.intake import Alarm, Report, read
from broker.dispatch.jobs import Handler
from broker.dispatch.link import Link
from broker.dispatch.runner import IDLE_S, TROUBLE_S, Periodic, Runner
from broker.dispatch.settings import Settings
from broker.dispatch.tables import LedgerDay
from broker.messages import MAX_IDS, Ack, MessageError, NodeTopics

log = logging.getLogger(__name__)

BATCH: Final = 300
"""Messages in a transaction: more would hold up the first ones."""
PACE_S: Final = 0.02
"""From the start of a transaction to the next: what comes meanwhile goes together, which costs little more than one."""
BEHIND_S: Final = 5.0
"""A worker whose messages wait longer than this does not know what nodes say now."""
SWITCH_S: Final = 0.0005
"""Python's lock goes on so soon: by default the intake would wait 5 ms for it after each answer of the database."""
DAY_SETTLE_S: Final = 600.0


def housekeeping(settings: Settings, engine: Engine) -> dict[str, Periodic]:
    """What is done again and again beside messages: points, the ledger's days, retention."""
    store = Store(settings.evidence)
    tasks = {
        "ledger_day": Periodic(600.0, lambda now: _close_yesterday(engine, now)),
        "retention": Periodic(3600.0, lambda now: _expire(engine, store, now)),
        "given_back": Periodic(300.0, lambda now: leaving.give_back(engine, now)),
    }
    if (pki := settings.pki) is not None:
        tasks["certificates"] = Periodic(3600.0, lambda now: watch.certificates(engine, now, pki))
    if settings.enrol is not None:
        office = Office.of(settings, settings.enrol, engine)
        tasks["enrolment"] = Periodic(300.0, lambda now: _settle(office, now))
    if settings.influx is None:
        return tasks | {"points": Periodic(60.0, lambda _: influx.trim(engine, 0))}
    writer = influx.Writer(settings.influx)
    return tasks | {
        "points": Periodic(1.0, lambda now: writer.drain(engine, now)),
        "points_kept": Periodic(600.0, lambda _: influx.trim(engine)),
        # Twice, so that no minute is left out; the second point of a minute overwrites the first.
        "case_state": Periodic(30.0, lambda now: influx.note_state(engine, now)),
        "alive": Periodic(60.0, lambda now: influx.note_alive(engine, settings.evidence, now)),
        "shifts": Periodic(900.0, lambda now: influx.note_shifts(engine, now)),
        "minutes": Periodic(86_400.0, lambda now: writer.forget_minutes(influx.sites(engine), now)),
    }


def _settle(office: Office, now: float) -> None:
    for problem in office.settle(now):
        log.error("%s", problem)


def _close_yesterday(engine: Engine, now: float) -> None:
    """Some time after midnight (UTC): a transaction that began before it is over by then."""
    day = dt.datetime.fromtimestamp(now - DAY_SETTLE_S, dt.UTC).date() - dt.timedelta(days=1)
    with transaction(engine) as session:
        if session.get(LedgerDay, day.isoformat()) is None:
            log.info("ledger of %s closed: %s", day, ledger.close_day(session, day))


def _expire(engine: Engine, store: Store, now: float) -> None:
    gone = 1
    while gone:
        with transaction(engine) as session:
            gone = store.expire(session, now)
    with reading(engine) as session:
        store.sweep(session, now)


class Worker:
    """handlers, periodic: of jobs beside the worker's own, by kind; none where another process does them."""

    def __init__(
        self,
        engine: Engine,
        link: Link,
        clock: Clock,
        handlers: Mapping[str, Handler],
        periodic: Mapping[str, Periodic],
    ) -> None:
        self._engine = engine
        self._link = link
        self._clock = clock
        own = {
            "publish": Periodic(0.25, lambda _: publish.publish(engine, link), self._listens),
            "silence": Periodic(5.0, lambda now: watch.silence(engine, now, self._heard_since()), self._listens),
            "refused": Periodic(3600.0, lambda _: intake.trim(engine)),
        }
        self._runner = Runner(engine, clock, handlers, {**periodic, **own}, self._reconcile)
        self._stop = threading.Event()
        self._reconciled = 0
        self._behind_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set; what is under way is finished."""
        self._stop = stop
        sys.setswitchinterval(SWITCH_S)
        gc.freeze()  # what was loaded stays; looking through it again and again held up the intake
        self._runner.start(stop)
        self._link.start()
        while not stop.is_set():
            if batch := self._link.receive(BATCH, IDLE_S):
                began = self._clock.now()
                self._take(batch)
                stop.wait(min(PACE_S, began + PACE_S - self._clock.now()))
        self._runner.join()
        self._link.stop()

    # -- messages ----------------------------------------------------------------------------------------------------

    def _take(self, batch: list[Inbound]) -> None:
        """Store, then acknowledge; again and again while the database is away: the broker keeps the rest back."""
        while not self._stop.is_set():
            try:
                acks = self._store([one.received for one in batch])
            except DBAPIError as error:
                self._behind_at = self._clock.now()
                log.error("the database does not store: %s", type(error.orig).__name__)  # noqa: TRY400 every 2 s
                self._stop.wait(TROUBLE_S)
                continue
            now = self._clock.now()
            if now - batch[0].received.received_at > BEHIND_S:
                self._behind_at = now
            self._link.acknowledge(batch)
            for (site, node), ids in acks.items():
                for start in range(0, len(ids), MAX_IDS):
                    ack = Ack(ids=tuple(ids[start : start + MAX_IDS])).to_payload()
                    if not self._link.send(NodeTopics(site, node).ack, ack):
                        metrics.ACK_FAILED.inc()
            return

    def _listens(self) -> bool:
        return self._link.listening_since is not None

    def _heard_since(self) -> float | None:
        """Since when what nodes say has been stored as it came; None: it does not come."""
        since = self._link.listening_since
        return None if since is None else max(since, self._behind_at)

    def _store(self, batch: Sequence[intake.Received]) -> Mapping[tuple[str, str], list[str]]:
        """Gives the ids of the events that are stored now, by node."""
        arrivals: list[Alarm | Report] = []
        refused: list[tuple[intake.Received, str, str]] = []
        for received in batch:
            try:
                arrivals.append(read(received))
            except MessageError as error:
                refused.append((received, error.code, error.detail))
        now = self._clock.now()
        metrics.BATCH.observe(len(batch))
        stored: list[Alarm] = []
        for alarms, reports in _runs(arrivals):
            if alarms:
                outcome = intake.store(self._engine, alarms, intake.take, now)
                refused += [(a.received, intake.NOT_STORED, "see the log") for a in outcome.refused]
                stored += [a for a in alarms if a not in outcome.refused] if outcome.refused else alarms
                metrics.EVENTS.labels("stored").inc(outcome.stored)
                metrics.EVENTS.labels("stale").inc(outcome.stale)
                metrics.EVENTS.labels("duplicate").inc(outcome.duplicate)
            if reports:
                outcome = intake.store(self._engine, reports, watch.take, now)
                refused += [(r.received, intake.NOT_STORED, "see the log") for r in outcome.refused]
        if refused:
            with transaction(self._engine) as session:
                for received, code, detail in refused:
                    intake.refuse(session, received, code, detail)
        done = self._clock.now()
        acks: dict[tuple[str, str], list[str]] = defaultdict(list)
        for alarm in stored:
            acks[alarm.event.site, alarm.event.node].append(alarm.event.id)
            metrics.STORE_SECONDS.observe(done - alarm.event.received_at)
        return acks

    def _reconcile(self) -> None:
        """Once after each connect: either side may have lost something."""
        connection = self._link.connection
        if self._link.listening_since is None or connection == self._reconciled:
            return
        try:
            publish.reconcile(self._engine, self._link.retained_cases(), self._link)
        except (TimeoutError, DBAPIError) as error:
            log.warning("case topics are not reconciled yet: %s", error)
        else:
            self._reconciled = connection


def _runs(arrivals: Iterable[Alarm | Report]) -> Iterator[tuple[list[Alarm], list[Report]]]:
    """To be stored one after the other, of each the alarms first. Cut where an alarm follows the last will of its node:
    a will makes unverified what its node had said before it, and nothing that came after.
    """
    alarms: list[Alarm] = []
    reports: list[Report] = []
    wills: set[tuple[str, str]] = set()
    for one in arrivals:
        if isinstance(one, Report):
            reports.append(one)
            if one.is_will:
                wills.add((one.site, one.node))
            continue
        if (one.event.site, one.event.node) in wills:
            yield alarms, reports
            alarms, reports, wills = [], [], set()
        alarms.append(one)
    yield alarms, reports
