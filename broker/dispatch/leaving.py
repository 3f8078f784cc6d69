"""What ends when somebody may take no cases of a site any more: their duties, their steps of its chain, what they have
in hand. Whoever changes people or roles calls `end` in the same transaction.

A duty that somebody has stood is not forgotten, but closed: the report of an earlier shift names who was on it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, Engine, delete, exists, or_, select, true, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from broker.dispatch import cases, desk, roster
from broker.dispatch.cases import DISPATCH
from broker.dispatch.database import reading, table_of, transaction
from broker.dispatch.roster import EVERYWHERE
from broker.dispatch.tables import Case, ChainStep, Duty, Membership, Person, Role, Shift

log = logging.getLogger(__name__)

_CASE = table_of(Case)
Column = ColumnElement[str] | InstrumentedAttribute[str] | InstrumentedAttribute[str | None]


@dataclass(frozen=True, slots=True)
class Ended:
    """Something that somebody had on a site. what: `duty`, `step` or `case`. name: the shift's, the step's seconds, the
    case's id."""

    what: str
    site: str
    name: str


def end(session: Session, person: str, actor: str, now: float, site: str | None = None) -> tuple[Ended, ...]:
    """Take from somebody what they have where they may take no cases (any more). actor: who saw to it. site: only
    there, for that is all that the actor manages."""
    session.flush()
    duties = _close_duties(session, now, Duty.person == person, _of(Shift.site, site))
    steps = session.execute(
        select(ChainStep.id, ChainStep.site, ChainStep.after_s)
        .where(ChainStep.person == person, ~_acts(ChainStep.person, ChainStep.site), _of(ChainStep.site, site))
        .order_by(ChainStep.site, ChainStep.after_s, ChainStep.id)
    ).all()
    session.execute(delete(ChainStep).where(ChainStep.id.in_([row.id for row in steps])))
    back = _give_back(session, actor, now, _CASE.c.owner == person, _of(_CASE.c.site, site))
    return (
        *duties,
        *(Ended("step", row.site, str(row.after_s)) for row in steps),
        *(Ended("case", case.site, case.id) for case in back),
    )


def give_back(engine: Engine, now: float) -> None:
    """What is left of somebody who left in another way, or was given a case or a duty while leaving, or left before
    `end` was there: cases are given back, duties closed. Steps of the chain without them count for nobody."""
    with reading(engine) as session:  # nearly always there is none, and SQLite has one writer at a time
        case = session.scalar(select(_CASE.c.id).where(*_left()).limit(1))
        if case is None and not _duties_left(session, now):
            return
    with transaction(engine) as session:
        for duty in _close_duties(session, now):
            log.warning("shift %r of site %s: who is on it may take no cases there; duty closed", duty.name, duty.site)
        for case in _give_back(session, DISPATCH, now):
            log.warning("case %s of site %s: its owner may take no cases there; given back", case.id, case.site)


def _give_back(session: Session, actor: str, now: float, *which: ColumnElement[bool]) -> Sequence[cases.CaseValues]:
    """Gives them as they were."""
    found = desk.locked(session, *_left(), *which)
    desk.write(session, [cases.release(case, actor, now) for case in found], now)
    return found


@dataclass(frozen=True, slots=True)
class _Left:
    """A duty of somebody who may take no cases there. last: the last day on which they may have begun it."""

    id: str
    site: str
    shift: str
    last: str
    begun: bool


def _duties_left(session: Session, now: float, *which: ColumnElement[bool]) -> list[_Left]:
    """Those that would go on: today's shift, where it has begun, is the last that they can have been on."""
    rows = session.execute(
        select(Duty.id, Duty.from_day, Duty.to_day, Shift.site, Shift.name, Shift.start)
        .join(Shift, Shift.id == Duty.shift)
        .where(~_acts(Duty.person, Shift.site), *which)
        .order_by(Shift.site, Shift.start, Duty.id)
    ).all()
    calendars = roster.calendars(session, {row.site for row in rows}) if rows else {}
    found = []
    for row in rows:
        calendar = calendars[row.site]
        today = calendar.local(now).date()
        last = (today if calendar.instant(today, row.start) <= now else today - timedelta(days=1)).isoformat()
        if row.to_day is None or row.to_day > last:
            found.append(_Left(row.id, row.site, row.name, last, begun=row.from_day is None or row.from_day <= last))
    return found


def _close_duties(session: Session, now: float, *which: ColumnElement[bool]) -> list[Ended]:
    duties = _duties_left(session, now, *which)
    session.execute(delete(Duty).where(Duty.id.in_([duty.id for duty in duties if not duty.begun])))
    for last in {duty.last for duty in duties}:
        begun = [duty.id for duty in duties if duty.begun and duty.last == last]
        session.execute(update(Duty).where(Duty.id.in_(begun)).values(to_day=last))
    return [Ended("duty", duty.site, duty.shift) for duty in duties]


def _left() -> tuple[ColumnElement[bool], ...]:
    return desk.NOT_OVER, _CASE.c.owner.is_not(None), ~_acts(_CASE.c.owner, _CASE.c.site)


def _of(column: Column, site: str | None) -> ColumnElement[bool]:
    return true() if site is None else column == site


def _acts(person: Column, site: Column) -> ColumnElement[bool]:
    """Whether somebody is active and may take cases of a site."""
    return exists().where(
        Person.id == person,
        Person.active,
        Membership.person == Person.id,
        or_(Membership.site == site, Membership.site == EVERYWHERE),
        Membership.role.in_([role.value for role in Role if role.acts]),
    )
