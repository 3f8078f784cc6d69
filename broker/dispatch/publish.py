"""Retained case topics: what sirens, lamps and screens follow.

A case whose `published` is not its `version` waits for this. One worker at a time publishes (a job with a lease), so
that an older state never comes after a newer one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from broker.dispatch import metrics
from broker.dispatch.cases import CaseValues
from broker.dispatch.database import reading, table_of, transaction, update_many
from broker.dispatch.desk import NOT_OVER
from broker.dispatch.tables import Case
from broker.messages import CaseMessage, MessageError, case_topic, parse_topic

BATCH = 500

_CASE = table_of(Case)


class Sender(Protocol):
    """The broker's side."""

    def retain(self, messages: Mapping[str, bytes]) -> set[str]:
        """Publish retained, by topic; gives the topics that the broker confirmed within its time."""
        ...


def payload(case: CaseValues) -> bytes:
    """Of its topic: empty for a case that is over, which removes it from the broker."""
    if case.state.over:
        return b""
    names = CaseMessage.model_fields
    return CaseMessage.model_validate(
        {name: value for name, value in case.columns().items() if name in names}
    ).to_payload()


def publish(engine: Engine, sender: Sender) -> int:
    """Publish what waits, at most BATCH; gives how many the broker confirmed."""
    with reading(engine) as session:
        waiting = select(_CASE).where(_CASE.c.published != _CASE.c.version)
        # In the order of its index: else PostgreSQL takes it that most cases wait, and reads them all.
        rows = session.execute(waiting.order_by(_CASE.c.id).limit(BATCH))
        cases = [CaseValues.of(row) for row in rows]
    if not cases:
        return 0
    topics = {case_topic(case.site, case.id): case for case in cases}
    confirmed = sender.retain({topic: payload(case) for topic, case in topics.items()})
    with transaction(engine, durable=False) as session:
        # A case that the intake holds goes on to its next version, which is to be published anyway.
        sent = [case.id for topic, case in topics.items() if topic in confirmed]
        held = select(_CASE.c.id).where(_CASE.c.id.in_(sent)).with_for_update(skip_locked=True, key_share=True)
        free = set(session.scalars(held))
        _mark(session, {case.id: case.version for case in cases if case.id in free})
    metrics.PUBLISHED.inc(len(confirmed))
    return len(confirmed)


def _mark(session: Session, published: Mapping[str, int]) -> None:
    update_many(session, _CASE, [{"id": c, "published": version} for c, version in sorted(published.items())])


def reconcile(engine: Engine, retained: Mapping[str, bytes], sender: Sender) -> None:
    """Bring broker and database together again, after either was away.

    retained: what the broker holds, by topic. What is missing or old there will be published; what is of no case, or of
    one that is over, is removed.
    """
    with reading(engine) as session:
        cases = [CaseValues.of(row) for row in session.execute(select(_CASE).where(NOT_OVER))]
    wanted = {case_topic(case.site, case.id): case for case in cases}
    unlike = [
        case.id
        for topic, case in wanted.items()
        if case.published == case.version and _version(retained.get(topic, b"")) != case.version
    ]
    with transaction(engine, durable=False) as session:
        _mark(session, dict.fromkeys(unlike, 0))
    with reading(engine) as session:  # once more: what was opened since the first look must not be removed
        there = {case_topic(r.site, r.id) for r in session.execute(select(_CASE.c.site, _CASE.c.id).where(NOT_OVER))}
    sender.retain({topic: b"" for topic in retained if topic not in there and _is_case(topic)})


def _version(message: bytes) -> int | None:
    try:
        return CaseMessage.from_payload(message).version
    except MessageError:
        return None


def _is_case(topic: str) -> bool:
    try:
        return parse_topic(topic).node is None
    except MessageError:
        return False
