"""What ends when somebody may take no cases of a site any more: their duties, their steps of its chain, what they have
in hand. Whoever changes people or roles calls `end` in the same transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Engine, delete, exists, or_, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from broker.dispatch import cases, desk
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
    duties = session.execute(
        select(Duty.id, Shift.site, Shift.name)
        .join(Shift, Shift.id == Duty.shift)
        .where(Duty.person == person, ~_acts(Duty.person, Shift.site), _of(Shift.site, site))
        .order_by(Shift.site, Shift.start, Duty.id)
    ).all()
    steps = session.execute(
        select(ChainStep.id, ChainStep.site, ChainStep.after_s)
        .where(ChainStep.person == person, ~_acts(ChainStep.person, ChainStep.site), _of(ChainStep.site, site))
        .order_by(ChainStep.site, ChainStep.after_s, ChainStep.id)
    ).all()
    session.execute(delete(Duty).where(Duty.id.in_([row.id for row in duties])))
    session.execute(delete(ChainStep).where(ChainStep.id.in_([row.id for row in steps])))
    back = _give_back(session, actor, now, _CASE.c.owner == person, _of(_CASE.c.site, site))
    return (
        *(Ended("duty", row.site, row.name) for row in duties),
        *(Ended("step", row.site, str(row.after_s)) for row in steps),
        *(Ended("case", case.site, case.id) for case in back),
    )


def give_back(engine: Engine, now: float) -> None:
    """Cases whose owner left in another way, or was given one while leaving, or left before `end` was there."""
    with reading(engine) as session:  # nearly always there is none, and SQLite has one writer at a time
        if session.scalar(select(_CASE.c.id).where(*_left()).limit(1)) is None:
            return
    with transaction(engine) as session:
        for case in _give_back(session, DISPATCH, now):
            log.warning("case %s of site %s: its owner may take no cases there; given back", case.id, case.site)


def _give_back(session: Session, actor: str, now: float, *which: ColumnElement[bool]) -> Sequence[cases.CaseValues]:
    """Gives them as they were."""
    found = desk.locked(session, *_left(), *which)
    desk.write(session, [cases.release(case, actor, now) for case in found], now)
    return found


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
