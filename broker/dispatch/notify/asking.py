"""Who is told of a case: the handlers of jobs about cases and shifts.

Each puts a row for each person into `delivery` and wakes that person's own `notify` job (key `to:<person>`); `post.py`
carries what waits there.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import ceil, inf
from typing import Any

from sqlalchemy import Engine, exists, func, literal, select
from sqlalchemy.orm import Session
from uuid6 import uuid7

from broker.dispatch import jobs, ledger, roster
from broker.dispatch.cases import DISPATCH, CaseValues, Wanted, tells_nobody
from broker.dispatch.database import Among, Writes, look, table_of, transaction
from broker.dispatch.jobs import Again, JobError, JobValues
from broker.dispatch.norm import NormError
from broker.dispatch.norm.feedback import feedback_due
from broker.dispatch.norm.repeat import repeats
from broker.dispatch.norm.review import escalation
from broker.dispatch.notify.message import About
from broker.dispatch.notify.plan import RAISING, State
from broker.dispatch.roster import Roster
from broker.dispatch.tables import AlarmState, Case, CaseState, Delivery, Event, Job, Site

log = logging.getLogger(__name__)

_CASE, _DELIVERY = table_of(Case), table_of(Delivery)
_AnyCase = Case | CaseValues
_Row = dict[str, Any]

TOGETHER_S = 1.0
"""A person's post is carried at the turn of a second: in a storm that is one letter instead of eight, and nobody sees
the half second."""
LATE_LOOK_S = 3600.0
"""How far back a late digest looks for what came late."""


def ask(session: Session, requests: Iterable[tuple[_AnyCase, About, Iterable[str]]], now: float) -> None:
    """Have these people told about these cases; who waits for the same message already is not asked for twice."""
    wanted = list(requests)
    of_these = (Delivery.case.in_({case.id for case, *_ in wanted}), Delivery.state == State.WAITING)
    known = session.execute(select(Delivery.case, Delivery.about, Delivery.person).where(*of_these))
    _put(session, _new(wanted, {(str(case), about, person) for case, about, person in known}, now), now)


def _new(
    requests: Iterable[tuple[_AnyCase, About, Iterable[str]]], waiting: set[tuple[str, str, str]], now: float
) -> list[_Row]:
    """Rows of what does not wait yet. waiting: case, about and person of what does; is added to."""
    rows = []
    for case, about, people in requests:
        for person in people:
            if (key := (case.id, about.value, person)) not in waiting:
                waiting.add(key)
                rows.append(_row(case.site, person, about, now, case=case.id))
    return rows


def tell(session: Session, site: str, about: About, people: Iterable[str], at: float) -> None:
    """Have these people told of something that is of no case. site: `*` for none."""
    _put(session, [_row(site, person, about, at) for person in dict.fromkeys(people)], at)


def _row(site: str, person: str, about: About, at: float, *, case: str | None = None) -> _Row:
    about_it = {"case": case, "person": person, "site": site, "about": about.value}
    return {"id": str(uuid7()), **about_it, "at": at, "state": State.WAITING.value, "channel": "", "code": ""}


def _put(session: Session, rows: Sequence[_Row], now: float, beside: Iterable[Wanted] = ()) -> None:
    """Put down what waits for whom, and have them woken. beside: other jobs, asked for in the same breath."""
    writes = Writes()
    writes.insert(_DELIVERY, rows)
    jobs.ask(writes, [*beside, *_wake({row["person"] for row in rows}, now)])
    writes.send(session)


def _wake(people: Iterable[str], now: float) -> list[Wanted]:
    due = ceil(now / TOGETHER_S) * TOGETHER_S
    return [Wanted("notify", f"to:{person}", due, {"person": person}) for person in people]


def _case(session: Session, job: JobValues) -> Case:
    case = session.get(Case, job.case)
    if case is None:
        raise JobError(f"no case {job.case}")
    return case


def roster_of(session: Session, site: str) -> Roster:
    """The site's roster, or, where it has none that can be used, the administrators'; read once a transaction."""
    return rosters_of(session, [site])[site]


def rosters_of(session: Session, sites: Iterable[str]) -> dict[str, Roster]:
    """The same of several sites at once."""
    wanted = set(sites)
    known: dict[str, Roster] = session.info.setdefault("rosters", {})
    if missing := wanted - known.keys():
        for site, found in roster.read_all(session, missing).items():
            if isinstance(found, Roster):
                known[site] = found
            else:
                log.error("its alarms go to the administrators: %s", found)
                known[site] = roster.of_admins(session, site)
    return {site: known[site] for site in wanted}


def _first(people: Roster, case: _AnyCase, now: float) -> tuple[str, ...]:
    """Who is told of a case first: those on duty, else the next in line. Raises JobError where there is no one."""
    found = people.in_line(now, case.rule).people
    if not found:
        raise JobError(f"site {case.site}: there is nobody who could be told; enter people, shifts or a chain")
    return found


def waits_for_somebody(case: Case) -> bool:
    over = CaseState(case.state).over or tells_nobody(CaseValues.of(case))
    return not over and case.assigned_at is None


_CASES = select(_CASE).where(Among(_CASE.c.id, "cases"))
_DELIVERIES = (
    select(_DELIVERY.c.case, _DELIVERY.c.about, _DELIVERY.c.person, _DELIVERY.c.state)
    .where(
        Among(_DELIVERY.c.case, "cases"),
        _DELIVERY.c.state.in_([literal(state.value) for state in (State.SENT, State.WAITING)]),
    )
    .order_by(_DELIVERY.c.at, _DELIVERY.c.id)
)
"""What was told of these cases, or is about to be."""


def notify(session: Session, asked: Sequence[JobValues], now: float) -> None:
    """Cases were raised, got worse, cleared, were opened again, or given to somebody: `about` and `to` of the body."""
    of_these = {"cases": sorted({str(job.case) for job in asked})}
    found, told = look(session, (_CASES, of_these), (_DELIVERIES, of_these))
    cases = {case.id: case for case in map(CaseValues.of, found)}
    heard: dict[str, Heard] = defaultdict(Heard)
    for row in told:
        heard[row.case].told(row.about, [row.person])
    rosters_of(session, {case.site for case in cases.values()})
    requests: list[tuple[CaseValues, About, Sequence[str]]] = []
    repeating: list[Wanted] = []
    for job in asked:
        case = cases.get(str(job.case))
        if case is None:
            raise JobError(f"no case {job.case}")
        about = About(job.body["about"])
        people: Sequence[str] = ()
        if about is About.GIVEN:
            people = [job.body["to"]]
        elif about is About.CLEARED:
            people = tuple(heard[case.id].raised)
        elif not tells_nobody(case):
            site = roster_of(session, case.site)
            people = _first(site, case, now)
            if case.owner:
                people = (*people, case.owner)
            if about in {About.RAISED, About.REOPENED}:
                times = [at for at in repeats(case.review_from, site.repeat_min, None) if at > now]
                repeating += [Wanted("repeat", case.id, at, {}, case.id) for at in times[:1]]
        requests.append((case, about, people))
        heard[case.id].told(about, people)  # who is about to hear it, hears too that it cleared
    waiting = {(row.case, row.about, row.person) for row in told if row.state == State.WAITING}
    # All at once, in the order in which everybody locks them.
    _put(session, _new(requests, waiting, now), now, repeating)


def repeat(engine: Engine, job: JobValues, now: float) -> None:
    """Tell a case that nobody has taken again, at the site's list of minutes."""
    with transaction(engine) as session:
        case = _case(session, job)
        if not waits_for_somebody(case):
            return
        people = roster_of(session, case.site)
        times = repeats(case.review_from, people.repeat_min, None)
        if any(at <= now for at in times):
            ask(session, [(case, About.REPEAT, _first(people, case, now))], now)
    again(at for at in times if at > now)


def escalate(engine: Engine, job: JobValues, now: float) -> None:
    """Tell the steps of the chain that are due and have not been told since the clock of the case began."""
    with transaction(engine) as session:
        case = _case(session, job)
        if not waits_for_somebody(case):
            return
        steps = escalation(case.review_from, roster_of(session, case.site).chain, None)
        if not any(step.people for _, step in steps):
            log.error("case %s of site %s goes up no chain: enter people; looked at again", case.id, case.site)
            raise Again(now + ROSTER_LOOK_S)
        told = set(
            session.scalars(
                select(Delivery.person).where(
                    Delivery.case == case.id, Delivery.about == About.ESCALATION, Delivery.at >= case.review_from
                )
            )
        )
        due = [person for at, step in steps if at <= now for person in step.people if person not in told]
        ask(session, [(case, About.ESCALATION, due)], now)
        if due:
            ledger.append(session, case.id, now, DISPATCH, "escalated", {"people": due})
    again(at for at, _ in steps if at > now)


def again(times: Iterable[float]) -> None:
    at = min(times, default=None)
    if at is not None:
        raise Again(at)


def late_digest(engine: Engine, job: JobValues, now: float) -> None:
    """Tell what came late and has not been told since, to those in line for each; one message a person and site."""
    with transaction(engine) as session:
        site = str(job.body["site"])
        told = (
            select(func.max(Delivery.at))
            .where(Delivery.case == Case.id, Delivery.about != About.CLEARED)
            .correlate(Case)
            .scalar_subquery()
        )
        untold = (
            Event.late,
            ~Event.stale,
            Event.received_at > now - LATE_LOOK_S,
            func.coalesce(told, 0.0) < Event.received_at,
        )
        late = select(Case).where(
            Case.site == site,
            Case.state.not_in([s.value for s in CaseState if s.over]),
            exists().where(Event.case == Case.id, *untold),
        )
        found = session.scalars(late).all()
        if all(case.alarm_state == AlarmState.CLEARED for case in found):
            return
        people = roster_of(session, site)
        ask(session, [(case, About.LATE, _first(people, case, now)) for case in found], now)


def feedback(engine: Engine, job: JobValues, now: float) -> None:
    """Tell those who heard of a case what came of it. They are the site's own people, at any hour: whoever reported it
    from outside is told by the person who writes the answer down."""
    with transaction(engine) as session:
        case = _case(session, job)
        if case.answered_at is None:  # opened again since
            return
        told = set(
            session.scalars(
                select(Delivery.person).where(
                    Delivery.case == case.id, Delivery.about == About.FEEDBACK, Delivery.at >= case.answered_at
                )
            )
        )
        heard = [p for p in _heard(session, case.id).ever if p not in told and p != case.owner]
        ask(session, [(case, About.FEEDBACK, heard)], now)


def answer_due(engine: Engine, job: JobValues, now: float) -> None:
    """Tell owner and chain, once, that nobody was told what was done by the time that the norm gives."""
    with transaction(engine) as session:
        case = _case(session, job)
        if case.state != CaseState.RESOLVED or case.resolved_at is None:  # answered, or opened again
            return
        people = roster_of(session, case.site)
        due = feedback_due(case.resolved_at, people.calendar)
        if due < now:
            lead = next((step.people for step in people.chain if step.people), ())
            told = dict.fromkeys([*([case.owner] if case.owner else []), *lead])
            ask(session, [(case, About.UNANSWERED, told)], now)
            ledger.append(session, case.id, now, DISPATCH, "answer_overdue", {"people": list(told)})
            return
    raise Again(due + 1.0)


EVERY_SITE = "*"
"""Key of the `handover` job that keeps one waiting for each site with shifts; the worker asks for it when it starts."""
ROSTER_LOOK_S = 3600.0
"""How often that looks whether shifts were changed."""


def handover(engine: Engine, job: JobValues, now: float) -> None:
    """Tell the shift that ended and the one that follows what is handed over. key: the site, or `EVERY_SITE`.

    `end` of the body says which shift: a job that failed is tried again at another time, and about the same one. Of
    several shifts that ended while dispatch was down only the last is told; the pages have the others.
    """
    if job.key == EVERY_SITE:
        _look_at_rosters(engine, now)
        raise Again(now + ROSTER_LOOK_S)
    with transaction(engine) as session:
        people = roster_of(session, job.key)
        calendar = people.calendar
        ended, after = None, calendar.next_ending(float(job.body.get("end", job.due)) - 1.0)  # it once was `due` alone
        while after and after[0].end <= now:
            ended, after = after, calendar.next_ending(after[0].end)
        if ended is not None:
            at = ended[0].end
            outgoing = [p for shift in ended for p in calendar.people(shift)]
            incoming = [p for shift in calendar.running(at) for p in calendar.people(shift)]
            told = dict.fromkeys([*outgoing, *(incoming or people.in_line(at, "").people)])
            _put(session, [_row(job.key, person, About.HANDOVER, at) for person in told], now)
    if after:
        raise Again(after[0].end, {"end": after[0].end})


def _look_at_rosters(engine: Engine, now: float) -> None:
    """One job a site, for the shift that ends next. One that waits for an earlier end is left alone: its report is due,
    or is being tried again."""
    with transaction(engine) as session:
        waiting = {
            job.key: float(job.body.get("end", job.due))
            for job in session.scalars(select(Job).where(Job.kind == "handover", Job.given_up_at.is_(None)))
        }
        for site in session.scalars(select(Site.id).order_by(Site.id)).all():
            try:
                following = roster.read(session, site).calendar.next_ending(now)
            except NormError as error:
                log.warning("site %s: no hand-over: %s", site, error)
                continue
            if following and following[0].end < waiting.get(site, inf):
                jobs.add(session, "handover", site, following[0].end, {"end": following[0].end})


class Heard:
    """Who was told of one case, or is about to be, by what they were told in turn.

    raised: that it is on, and not since that it cleared. ever: that it was.
    """

    def __init__(self) -> None:
        self.raised: dict[str, None] = {}
        self.ever: dict[str, None] = {}

    def told(self, about: str, people: Iterable[str]) -> None:
        for person in people:
            if about in RAISING:
                self.raised[person] = self.ever[person] = None
            elif about == About.CLEARED:
                self.raised.pop(person, None)


def _heard(session: Session, case: str) -> Heard:
    heard = Heard()
    (rows,) = look(session, (_DELIVERIES, {"cases": [case]}))
    for row in rows:
        heard.told(row.about, [row.person])
    return heard


def next_in_line(session: Session, cases: Sequence[Case]) -> dict[str, tuple[str, ...]]:
    """By case: the first step of the chain with somebody who has not been tried for it yet, then any of the site."""
    tried = defaultdict[str, set[str]](set)
    for_these = select(Delivery.case, Delivery.person).join(Case, Case.id == Delivery.case)
    since = (Delivery.case.in_([case.id for case in cases]), Delivery.at >= Case.review_from)
    for case_id, person in session.execute(for_these.where(*since).distinct()):
        tried[str(case_id)].add(person)
    rosters = rosters_of(session, {case.site for case in cases})
    found: dict[str, tuple[str, ...]] = {}
    for case in cases:
        people = rosters[case.site]
        steps = (*(s.people for s in sorted(people.chain, key=lambda s: s.after_s)), people.members)
        left = (tuple(person for person in step if person not in tried[case.id]) for step in steps)
        found[case.id] = next(filter(None, left), ())
        if not found[case.id]:
            log.error("case %s: nobody of site %s can be reached", case.id, case.site)
    return found
