"""Nodes: what they say of themselves, who is silent, whose certificate runs out.

A silent node is a case of its own, with source `-`, which no camera can be called; its alarms become unverified.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy import Engine, func, select, tuple_
from sqlalchemy.orm import Session
from uuid6 import uuid7

from broker.dispatch import desk, metrics, roster
from broker.dispatch.cases import (
    CERTIFICATE,
    CERTIFICATE_ENDS,
    DISPATCH,
    NODE_HEALTH,
    CaseValues,
    EventValues,
    mark_unverified,
    on_event,
)
from broker.dispatch.database import insert, table_of, transaction
from broker.dispatch.intake import Outcome, Report
from broker.dispatch.notify import asking
from broker.dispatch.notify.message import About
from broker.dispatch.tables import AlarmState, Audit, Case, Node
from broker.messages import Health, Status
from broker.pki.authority import Pki
from broker.pki.check import Expiring, expiring
from broker.pki.names import Kind

log = logging.getLogger(__name__)

MISSED: Final = 3
"""Periods without a word after which a node is silent."""
CERTIFICATE_S: Final = 30 * 86_400.0
"""So long before a certificate runs out somebody is told."""
PERIOD_S: Final = 60.0
"""Of health, until the node has said its own."""
PERIODS_S: Final = (1.0, 3600.0)
"""What a node may say; beyond them these count. No node can hide behind a long one, or stop the look at all others."""

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
            case Status():
                node.online = False
                if report.is_will and not node.silent:  # a node that stops by itself may be back soon
                    _fell_silent(session, pages, node, "last_will", now)
        if node.online and node.silent:
            node.silent = False
            _clear(pages, _open_case(session, pages, node), now)
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


def certificates(engine: Engine, now: float, folder: Path) -> None:
    """Tell which nodes' certificates run out soon, each once, and which nodes have a new one.

    folder: of the authority (`broker.pki`); its keys are not read. What is no node's goes into log and metrics.
    Raises PkiError.
    """
    ends = {e.subject.name: e.not_after for e in Pki(folder).current(now) if e.subject.kind is Kind.NODE}
    others = [e for e in expiring(folder, now, CERTIFICATE_S) if e.kind != Kind.NODE]
    metrics.CERTIFICATES.set(len(others))
    with transaction(engine) as session:
        _tell_of(session, others, now)
        pages = desk.Pages(now)
        nodes = session.scalars(select(Node).order_by(Node.site, Node.id).with_for_update()).all()
        cases = {(c.site, c.node): c for c in desk.locked(session, _CASE.c.rule == CERTIFICATE, desk.NOT_OVER)}
        lasting = _CASE.c.alarm_state != AlarmState.CLEARED
        told = set(session.scalars(select(_CASE.c.alarm).where(_CASE.c.rule == CERTIFICATE, lasting)))
        for node in nodes:
            name = f"{node.site}/{node.id}"
            node.certificate_expires = expires = ends.get(name)
            case = cases.get((node.site, node.id))
            if expires is None or expires - now >= CERTIFICATE_S:
                _clear(pages, case, now)
                continue
            # One certificate is one alarm: it is not raised again when somebody has closed its case.
            alarm = str(uuid5(NAMESPACE_URL, f"certificate:{name}:{expires:.0f}"))
            if alarm in told:
                continue
            event = _event(node, CERTIFICATE, "certificate_expires", "warning", alarm, now)
            pages.add(on_event(case, replace(event, seq=case.alarm_seq + 1 if case else 1), now, str(uuid7())))
        pages.write(session)


def _tell_of(session: Session, ending: Iterable[Expiring], now: float) -> None:
    """Tell the administrators of all sites of certificates that are no node's, each certificate once. They belong to no
    site, so they are no case; what was told is written down in `audit`."""
    lines = session.execute(select(Audit.subject, Audit.detail).where(Audit.action == CERTIFICATE_ENDS))
    told = {(subject, detail["ends"]) for subject, detail in lines}
    new = False
    for one in ending:
        subject = f"{one.kind} {one.name}"[:200]
        day = dt.datetime.fromtimestamp(one.not_after, dt.UTC).date().isoformat()
        log.error("the certificate of %s ends on %s; see docs/broker.md", subject, day)
        if (subject, day) not in told:
            new = True
            detail = {"ends": day}
            session.add(
                Audit(
                    id=str(uuid7()), at=now, actor=DISPATCH, action=CERTIFICATE_ENDS, site=roster.EVERYWHERE,
                    subject=subject, detail=detail,
                )
            )  # fmt: skip
    if new:
        admins = roster.of_admins(session, roster.EVERYWHERE).members
        asking.tell(session, roster.EVERYWHERE, About.CERTIFICATES, admins, now)


def _fell_silent(session: Session, pages: desk.Pages, node: Node, why: str, now: float) -> None:
    node.silent = True
    case = _open_case(session, pages, node)
    if case is None or case.alarm_state is AlarmState.CLEARED:
        event = _event(node, NODE_HEALTH, why, "critical", str(uuid7()), now)
        pages.add(on_event(case, event, now, str(uuid7())))
    for case in desk.locked(session, _CASE.c.site == node.site, _CASE.c.node == node.id, desk.NOT_OVER):
        pages.add(mark_unverified(pages.latest(case), why))


def _open_case(session: Session, pages: desk.Pages, node: Node) -> CaseValues | None:
    """That the node is silent."""
    identity = _event(node, NODE_HEALTH, "", "", "", 0.0).identity
    return pages.of(identity) or desk.open_cases(session, [identity])[0].get(identity)


def _clear(pages: desk.Pages, case: CaseValues | None, now: float) -> None:
    """It is no longer so; what is known already is not said again."""
    if case is not None and case.alarm_state is not AlarmState.CLEARED:
        event = _event(case, case.rule, "in_order", case.severity, case.alarm, now)
        event = replace(event, event="cleared", verdict="ok", seq=case.alarm_seq + 1)
        pages.add(on_event(case, event, now))


def _event(  # noqa: PLR0917
    of: Node | CaseValues, rule: str, reason: str, severity: str, alarm: str, now: float
) -> EventValues:
    """Dispatch's own, of a node."""
    return EventValues(
        id=str(uuid7()),
        site=of.site,
        node=of.id if isinstance(of, Node) else of.node,
        source="-",
        place="-",
        rule=rule,
        alarm=alarm,
        seq=1,
        event="raised",
        severity=severity,
        verdict="violation",
        reason=reason,
        subjects=1,
        at=now,
        received_at=now,
        first_seen=now,
        last_seen=now,
    )
