"""Carries what waits for one person by the channels, and writes down what came of it.

Of one person's jobs only one runs at a time, so what waits goes together and once. Between sending and writing that
down a worker may die: then it is sent again, never lost.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, Update, select, update
from sqlalchemy.orm import Session
from uuid6 import uuid7

from broker.dispatch import ledger, metrics
from broker.dispatch.cases import DISPATCH
from broker.dispatch.database import reading, transaction
from broker.dispatch.jobs import JobValues, Retry
from broker.dispatch.notify.asking import again, ask, next_in_line, notify, waits_for_somebody
from broker.dispatch.notify.channels.base import Channel, Failed, Outcome, Sent, Why
from broker.dispatch.notify.letters import Desk, Letter, Links, Pictures
from broker.dispatch.notify.message import About
from broker.dispatch.notify.plan import RAISING, State, Waiting
from broker.dispatch.tables import Case, Contact, Delivery, Person

log = logging.getLogger(__name__)

TRIES = 4
"""Of a message that nothing took; then the next in line are told."""
PAUSE_S = (5.0, 15.0, 45.0)
"""Between the tries."""
MAX_WAIT_S = 60.0
"""A service that asks to wait longer is not waited for."""
MAX_SENDS = 3
"""Tries in one run after which the rest waits for the next: a run of time-outs ends within half a lease."""
NO_CONTACT, CUT_OFF = "no_contact", "cut_off"


def of_person(job: JobValues) -> bool:
    """Not of a case."""
    return "person" in job.body


@dataclass(frozen=True, slots=True)
class Post:
    """The handler of `notify` jobs."""

    channels: Mapping[str, Channel]
    links: Links
    pictures: Pictures

    def notify(self, engine: Engine, job: JobValues, now: float) -> None:
        """A job of a person (`person`); those of a case (`about`, `to`) go together."""
        if of_person(job):
            self._carry(engine, str(job.body["person"]), job.attempts, now)
            return
        with transaction(engine) as session:
            notify(session, [job], now)

    def _carry(self, engine: Engine, person: str, attempt: int, now: float) -> None:
        with reading(engine) as session:
            reader = session.get_one(Person, person)
            desk = Desk(session, reader, now, self.links, self.pictures)
            letters, found = desk.letters()
            ways = _ways(session, reader)
        if found.drop:
            with transaction(engine) as session:
                for row, why in found.drop.items():
                    _settle(session, [row], State.DROPPED, why, now)
                _tell_next(session, desk.foreign, now)
        retry, sends = list[float](), 0
        while letters and sends < MAX_SENDS:
            letter = letters.pop(0)
            if len(letter.parcel.cases) > 1:
                with transaction(engine, durable=False) as session:
                    _name(session, letter)
            outcomes = self._send(letter, ways, now)
            with transaction(engine) as session:
                at = _record(session, letter, outcomes, attempt, now)
            sends += len(outcomes)
            if at is not None:
                retry.append(at)
        if retry:
            raise Retry(min(retry), "no channel took a message")
        again([now] if letters else [found.later] if found.later is not None else [])

    def _send(self, letter: Letter, ways: Sequence[Sequence[Contact]], now: float) -> list[tuple[Contact, Outcome]]:
        """Every contact of a position, then those of the next where none of them took it."""
        outcomes: list[tuple[Contact, Outcome]] = []
        for contacts in ways:
            for contact in contacts:
                channel = self.channels.get(contact.channel)
                outcome = channel.send(letter.sheet, contact.address, now) if channel else Failed(Why.BAD_ADDRESS)
                outcomes.append((contact, outcome))
            if any(isinstance(outcome, Sent) for _, outcome in outcomes):
                break
        return outcomes


def _ways(session: Session, reader: Person) -> list[list[Contact]]:
    """Contacts by position; none for somebody who is not active any more."""
    by_position: dict[int, list[Contact]] = {}
    if reader.active:
        mine = select(Contact).where(Contact.person == reader.id, Contact.enabled)
        for contact in session.scalars(mine.order_by(Contact.position, Contact.id)):
            by_position.setdefault(contact.position, []).append(contact)
    return list(by_position.values())


def _of(rows: Sequence[Waiting]) -> Update:
    return update(Delivery).where(Delivery.id.in_([row.id for row in rows]))


def _name(session: Session, letter: Letter) -> None:
    """Have the rows know their message before it goes: its link opens what they name, and may be tapped at once.

    Rows that know one already are left of a worker that died over it. Nobody knows whether that message arrived: it
    keeps rows of its own, so that its link opens too.
    """
    rows = letter.parcel.rows
    left = Delivery.id.in_([row.id for row in rows]), Delivery.message.is_not(None)
    for row in session.scalars(select(Delivery).where(*left)).all():
        own = {"id": str(uuid7()), "case": row.case, "site": row.site, "about": row.about, "person": row.person}
        session.add(Delivery(**own, message=row.message, at=row.at, state=State.FAILED.value, code=CUT_OFF))
    session.execute(_of(rows).values(message=letter.id))


def _settle(session: Session, rows: Sequence[str], state: State, code: str, now: float, **more: str) -> None:
    session.execute(update(Delivery).where(Delivery.id.in_(rows)).values(state=state.value, code=code, at=now, **more))


def _record(
    session: Session, letter: Letter, outcomes: Sequence[tuple[Contact, Outcome]], attempt: int, now: float
) -> float | None:
    """Write down what came of a message; gives when to try again, or None where that is settled."""
    rows = letter.parcel.rows
    first = next((contact for contact, outcome in outcomes if isinstance(outcome, Sent)), None)
    for contact, outcome in outcomes:
        state = State.SENT if isinstance(outcome, Sent) else State.FAILED
        metrics.MESSAGES.labels(contact.channel, state.value).inc()
        if state is State.FAILED:
            log.warning("%s did not take a message for %s: %s", contact.channel, contact.person, outcome.code)
        if contact is not first:  # the first one's rows are those that waited
            tried = {"message": letter.id, "state": state.value, "code": outcome.code, "at": now}
            session.add_all([_beside(row, contact, tried) for row in rows])
    if first is not None:
        _settle(session, [r.id for r in rows], State.SENT, "ok", now, channel=first.channel, message=letter.id)
        more = {"person": first.person, "channel": first.channel}
        told = [(case, {"about": row.about.value} | more) for case, row in _cases_of(rows)]
        ledger.append_all(session, now, DISPATCH, "told", told)
        return None
    passing = [outcome for _, outcome in outcomes if isinstance(outcome, Failed) and outcome.why.passing]
    wait = min((outcome.retry_after or 0.0 for outcome in passing), default=0.0)
    if passing and attempt < TRIES and wait <= MAX_WAIT_S:
        session.execute(_of(rows).values(message=None))  # the next try is a message of its own
        return now + max(wait, PAUSE_S[min(attempt, len(PAUSE_S)) - 1])
    _give_up(session, letter, outcomes[-1][1].code if outcomes else NO_CONTACT, now)
    return None


def _beside(row: Waiting, contact: Contact, tried: Mapping[str, object]) -> Delivery:
    own = {"id": str(uuid7()), "case": row.case, "site": row.site, "about": row.about.value}
    return Delivery(**own, person=contact.person, channel=contact.channel, **tried)


def _give_up(session: Session, letter: Letter, code: str, now: float) -> None:
    """The reader was not reached: say so loudly, and have the next in line told of what somebody must know."""
    rows = letter.parcel.rows
    _settle(session, [row.id for row in rows], State.GIVEN_UP, code, now)
    metrics.MESSAGES.labels("-", State.GIVEN_UP.value).inc()
    for row in rows:
        log.error("%s (case %s, site %s) did not reach %s: %s", row.about, row.case, row.site, letter.reader, code)
    of_cases = _cases_of(rows)
    _tell_next(session, [(case, row.about) for case, row in of_cases], now)
    more = {"person": letter.reader, "code": code}
    # At the end: the cases are locked from here on, and in a storm they are many.
    unreached = [(case, {"about": row.about.value} | more) for case, row in of_cases]
    ledger.append_all(session, now, DISPATCH, "unreached", unreached)


def _tell_next(session: Session, told: Sequence[tuple[str, About]], now: float) -> None:
    """Have the next in line told of what somebody must know, and did not learn. told: cases, and about what."""
    urgent = [case for case, about in told if about in RAISING]
    if not urgent:
        return
    cases = {c.id: c for c in session.scalars(select(Case).where(Case.id.in_(urgent)))}
    waiting = [cases[case] for case in urgent if waits_for_somebody(cases[case])]
    nexts = next_in_line(session, waiting)
    ask(session, [(case, About.ESCALATION, nexts[case.id]) for case in waiting], now)


def _cases_of(rows: Sequence[Waiting]) -> list[tuple[str, Waiting]]:
    """In the order in which everybody locks cases."""
    return sorted(((row.case, row) for row in rows if row.case is not None), key=lambda pair: pair[0])
