"""Nodes: what they say of themselves, who is silent, whose certificate runs out.

A silent node is a case of its own, with source `-`, which no camera can be called; its alarms become unverified.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy import Engine, func, select, tuple_
from sqlalchemy.orm import Session
from uuid6 import uuid7

from broker.dispatch import desk, metrics
from broker.dispatch.cases import NODE_HEALTH, EventValues, mark_unverified, on_event
from broker.dispatch.database import insert, table_of, transaction
from broker.dispatch.intake import Outcome, Report
from broker.dispatch.tables import AlarmState, Case, Node
from broker.messages import Health, Status

MISSED: Final = 3
"""Periods without a word after which a node is silent."""
CERTIFICATE_S: Final = 30 * 86_400.0
"""So long before a certificate runs out somebody is told."""
PERIOD_S: Final = 60.0
"""Of health, until the node has said its own."""
PERIODS_S: Final = (1.0, 3600.0)
"""What a node may say; beyond them these count. No node can hide behind a long one, or stop the look at all others."""
LINK, CERTIFICATE = "-", "certificate"
"""Places of a node's own cases."""

_CASE, _NODE = table_of(Case), table_of(Node)


def take(session: Session, reports: Sequence[Report], now: float) -> Outcome:
    """What nodes say of themselves, in the order in which it came."""
    nodes = _locked(session, {(r.site, r.node) for r in reports})
    pages = desk.Pages(now)
    for report in sorted(reports, key=lambda r: r.received.received_at):
        node = nodes[report.site, report.node]
        at = report.received.received_at
        if at < node.heard_at:  # another worker had a newer one
            continue
        node.heard_at = at
        match report.message:
            case Health() as health:
                node.online = True
                node.period_s = min(max(health.period_s, PERIODS_S[0]), PERIODS_S[1])
                node.health = health.model_dump(mode="json")
            case Status(state="online") as status:
                node.online = True
                node.version = status.version
            case Status() as status:
                node.online = False
                if status.since is None and not node.silent:  # the will; a node that stops by itself may be back soon
                    _fell_silent(session, pages, node, "last_will", now)
        if node.online and node.silent:
            node.silent = False
            _say(session, pages, node, LINK, None, now)
    pages.write(session)
    return Outcome(stored=len(reports))


def _locked(session: Session, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Node]:
    """Rows of these nodes, made where there are none, locked."""
    wanted = sorted(keys)
    locking = select(Node).where(tuple_(Node.site, Node.id).in_(wanted)).order_by(Node.site, Node.id).with_for_update()
    nodes = {(node.site, node.id): node for node in session.scalars(locking)}
    if missing := [key for key in wanted if key not in nodes]:
        rows = [
            {"site": s, "id": n, "online": False, "silent": False, "heard_at": 0.0, "period_s": PERIOD_S, "version": ""}
            for s, n in missing
        ]
        session.execute(insert(session, _NODE).on_conflict_do_nothing(), rows)
        nodes = {(node.site, node.id): node for node in session.scalars(locking)}
    return nodes


def silence(engine: Engine, now: float, listening_since: float | None) -> None:
    """Find the nodes that have been silent too long.

    listening_since: since when this worker has been connected; None: it is not. Who does not listen, or has only begun,
    cannot say that others are silent.
    """
    with transaction(engine) as session:
        if listening_since is not None:
            pages = desk.Pages(now)
            silent = select(Node).where(
                Node.silent.is_(False),
                Node.heard_at + MISSED * Node.period_s < now,
                listening_since + MISSED * Node.period_s < now,
            )
            for node in session.scalars(silent.order_by(Node.site, Node.id).with_for_update(skip_locked=True)).all():
                _fell_silent(session, pages, node, "silent", now)
            pages.write(session)
        metrics.SILENT.set(session.scalar(select(func.count()).select_from(_NODE).where(_NODE.c.silent)) or 0)


def certificates(engine: Engine, now: float) -> None:
    """Find the nodes whose certificate runs out soon, and those that have a new one."""
    with transaction(engine) as session:
        pages = desk.Pages(now)
        known = select(Node).where(Node.certificate_expires.is_not(None)).order_by(Node.site, Node.id)
        for node in session.scalars(known).all():
            soon = (node.certificate_expires or 0.0) - now < CERTIFICATE_S
            _say(session, pages, node, CERTIFICATE, "certificate_expires" if soon else None, now)
        pages.write(session)


def _fell_silent(session: Session, pages: desk.Pages, node: Node, why: str, now: float) -> None:
    node.silent = True
    _say(session, pages, node, LINK, why, now)
    for case in desk.locked(session, _CASE.c.site == node.site, _CASE.c.node == node.id, desk.NOT_OVER):
        pages.add(mark_unverified(pages.latest(case), why))


def _say(  # noqa: PLR0917
    session: Session, pages: desk.Pages, node: Node, place: str, why: str | None, now: float
) -> None:
    """Of a node that something is wrong (`why`), or is so no longer. What is known already is not said again."""
    event = EventValues(
        id=str(uuid7()),
        site=node.site,
        node=node.id,
        source="-",
        place=place,
        rule=NODE_HEALTH,
        alarm=str(uuid7()),
        seq=1,
        event="raised",
        severity="critical" if place == LINK else "warning",
        verdict="violation",
        reason=why or "in_order",
        subjects=1,
        at=now,
        received_at=now,
        first_seen=now,
        last_seen=now,
    )
    case = pages.of(event.identity) or desk.open_cases(session, [event.identity]).get(event.identity)
    wrong = case is not None and case.alarm_state is not AlarmState.CLEARED
    if why is not None and not wrong:
        pages.add(on_event(case, event, now, str(uuid7())))
    elif why is None and wrong and case is not None:
        cleared = replace(event, event="cleared", verdict="ok", alarm=case.alarm, seq=case.alarm_seq + 1)
        pages.add(on_event(case, cleared, now))
