"""Alarm events into the database, many in one transaction. What is committed here may be acknowledged to its node.

Nothing that comes in can stop what comes with it: a message that cannot be read, or that the database does not take, is
found, counted, and kept in `refused` for a person. Only a database that is not there stops everything, and loudly.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from sqlalchemy import Engine, select
from sqlalchemy.exc import DBAPIError, InternalError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session
from uuid6 import uuid7

from broker.dispatch import desk, metrics
from broker.dispatch.cases import CaseValues, EventValues, on_event
from broker.dispatch.database import Among, insert, table_of, transaction
from broker.dispatch.tables import Case, Event, Refused
from broker.messages import AlarmMessage, Health, Kind, MessageError, Status, parse_topic

log = logging.getLogger(__name__)

NOT_STORED: Final = "not_stored"
"""Code of what could be read, but not stored."""
TRIES: Final = 5
_RACES: Final = frozenset({"40001", "40P01", "23505"})
"""SQLSTATE of serialization failure, deadlock, unique violation: two workers did the same, or wait for each other."""

_CASE, _EVENT, _REFUSED = table_of(Case), table_of(Event), table_of(Refused)

_KNOWN = select(_EVENT.c.site, _EVENT.c.node, _EVENT.c.id).where(Among(_EVENT.c.id, "ids"))
_HOMES = select(_EVENT.c.case, _EVENT.c.alarm).where(Among(_EVENT.c.alarm, "alarms")).distinct()
"""Cases that events of these alarms are in already."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it came. received_at: Unix s by dispatch's clock."""

    topic: str
    payload: bytes
    received_at: float


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm event that could be read."""

    received: Received
    event: EventValues
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Report:
    """What a node says of itself."""

    received: Received
    site: str
    node: str
    message: Status | Health

    @property
    def is_will(self) -> bool:
        """It died; a node that stops by itself says since when."""
        return isinstance(self.message, Status) and self.message.state == "offline" and self.message.since is None


def read(received: Received) -> Alarm | Report:
    """What a message says. Raises MessageError, and nothing else, whatever came."""
    topic = parse_topic(received.topic)
    if topic.node is None or topic.kind not in {Kind.ALARM, Kind.STATUS, Kind.HEALTH}:
        raise MessageError(MessageError.TOPIC, f"dispatch does not listen to {received.topic!r}")
    if b"\\u0000" in received.payload:  # JSON may say it, no database takes it
        raise MessageError(MessageError.WRONG, "a text with a NUL character")
    if topic.kind is Kind.STATUS:
        return Report(received, topic.site, topic.node, Status.from_payload(received.payload))
    if topic.kind is Kind.HEALTH:
        return Report(received, topic.site, topic.node, Health.from_payload(received.payload))
    message = AlarmMessage.from_payload(received.payload)
    if message.rule != topic.name:
        raise MessageError(MessageError.WRONG, f"rule: {message.rule!r} under the topic of {topic.name!r}")
    event = EventValues.of(topic.site, topic.node, message, received.received_at)
    return Alarm(received, event, message.model_dump(mode="json"))


@dataclass(slots=True)
class Outcome:
    """How many events were new, new but older than what their case knew, and known already."""

    stored: int = 0
    stale: int = 0
    duplicate: int = 0
    refused: list[Any] = field(default_factory=list)
    """Those that the database would not take."""


def take(session: Session, alarms: Sequence[Alarm], now: float) -> Outcome:
    """Events with their cases, ledger lines, jobs and points; the last of a transaction. The caller commits, then
    acknowledges them all."""
    outcome = Outcome()
    cases, (known, at_home) = desk.open_cases(
        session,
        {a.event.identity for a in alarms},
        (_KNOWN, {"ids": [a.event.id for a in alarms]}),
        (_HOMES, {"alarms": sorted({a.event.alarm for a in alarms})}),
    )
    seen = {tuple(row) for row in known}
    homes = {(row.case, row.alarm) for row in at_home}
    over = _cases_that_are_over(session, homes, cases)
    pages, rows = desk.Pages(now), []
    # In the order of the node's journal: two workers and a resend may have mixed them up.
    for alarm in sorted(alarms, key=lambda a: (a.event.site, a.event.node, a.event.seq)):
        event = alarm.event
        key = (event.site, event.node, event.id)
        if key in seen:
            outcome.duplicate += 1
            continue
        seen.add(key)
        case = over.get((event.identity, event.alarm)) or cases.get(event.identity)
        left = case is not None and (case.id, event.alarm) in homes
        change = on_event(case, event, now, str(uuid7()), left=left)
        after = pages.add(change)
        if after.state.over:
            over[event.identity, event.alarm] = after
        else:
            cases[event.identity] = after
        outcome.stale += not change
        rows.append(_row(alarm, after.id, stale=not change))
    outcome.stored = len(rows)
    writes = pages.written()
    writes.insert(_EVENT, rows)
    writes.send(session, last=True)
    return outcome


def _row(alarm: Alarm, case: str, *, stale: bool) -> dict[str, Any]:
    event = alarm.event
    return {
        "id": event.id,
        "site": event.site,
        "node": event.node,
        "alarm": event.alarm,
        "seq": event.seq,
        "case": case,
        "stale": stale,
        "at": event.at,
        "received_at": event.received_at,
        "late": event.late,
        "body": alarm.body,
    }


def _cases_that_are_over(
    session: Session, homes: Collection[tuple[str, str]], not_over: Mapping[str, CaseValues]
) -> dict[tuple[str, str], CaseValues]:
    """By identity and alarm: an alarm that somebody closed, or called false, goes on there and opens nothing new."""
    ids = {case for case, _ in homes} - {case.id for case in not_over.values()}
    if not ids:
        return {}
    cases = {c.id: c for c in desk.locked(session, _CASE.c.id.in_(sorted(ids)))}
    return {
        (cases[case].identity, alarm): cases[case]
        for case, alarm in sorted(homes)
        if case in cases and cases[case].state.over
    }


# -- whatever happens --------------------------------------------------------------------------------------------------


def store(
    engine: Engine, arrivals: Sequence[T], work: Callable[[Session, Sequence[T], float], Outcome], now: float
) -> Outcome:
    """Do `work` in a transaction; where the database takes not all, in two halves, until what is wrong stands alone.

    Raises DBAPIError where it is the database's fault (not there, no room, not migrated): nothing is refused then.
    """
    for attempt in range(1, TRIES + 1):
        try:
            with transaction(engine) as session:
                return work(session, arrivals, now)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) in _RACES and attempt < TRIES:
                continue
            if isinstance(error, OperationalError | ProgrammingError | InternalError) or error.connection_invalidated:
                raise
            failure: Exception = error
        except Exception as error:  # noqa: BLE001 whatever else a message does to us, it does it alone
            failure = error
        break
    if len(arrivals) == 1:
        log.error("not stored: %r", arrivals[0], exc_info=failure)
        return Outcome(refused=[arrivals[0]])
    half = len(arrivals) // 2
    outcome = Outcome()
    for part in (arrivals[:half], arrivals[half:]):
        more = store(engine, part, work, now)
        outcome.stored += more.stored
        outcome.stale += more.stale
        outcome.duplicate += more.duplicate
        outcome.refused += more.refused
    return outcome


def trim(engine: Engine, keep: int = 1000) -> None:
    """Keep only the newest of the refused messages."""
    with transaction(engine) as session:
        oldest = session.scalar(select(_REFUSED.c.at).order_by(_REFUSED.c.at.desc()).offset(keep).limit(1))
        if oldest is not None:
            session.execute(_REFUSED.delete().where(_REFUSED.c.at <= oldest))


def refuse(session: Session, received: Received, code: str, detail: str) -> None:
    """Keep a message for a person; one that comes again is counted."""
    metrics.REFUSED.labels(code).inc()
    log.error("refused: %s: %s: %s", received.topic[:200], code, detail)
    statement = insert(session, _REFUSED)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["id"],
            set_={"times": _REFUSED.c.times + 1, "at": statement.excluded.at},
        ),
        {
            "id": hashlib.sha256(received.topic.encode() + b"\0" + received.payload).hexdigest(),
            "topic": received.topic,
            "payload": received.payload,
            "code": code,
            "detail": detail.replace("\0", ""),
            "times": 1,
            "at": received.received_at,
        },
    )
