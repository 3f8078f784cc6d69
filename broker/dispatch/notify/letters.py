"""What one person gets now: the rows that wait, the cases behind them, put into words."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import String, bindparam, func, select
from sqlalchemy.orm import Session
from uuid6 import uuid7

from broker.dispatch import report, roster
from broker.dispatch.cases import CERTIFICATE, CERTIFICATE_ENDS
from broker.dispatch.database import Among, look, table_of
from broker.dispatch.norm.repeat import not_before
from broker.dispatch.norm.review import Found, review_due
from broker.dispatch.notify.message import MAX_ITEMS, SEVERITIES, About, Block, Item, Message, Section, Sheet, words
from broker.dispatch.notify.plan import RAISING, STORM_WINDOW_S, Dropped, Parcel, Plan, State, Waiting, plan
from broker.dispatch.notify.words import harmless
from broker.dispatch.roster import EVERYWHERE, Roster
from broker.dispatch.tables import AlarmState, Audit, Case, CaseState, Delivery, Event, Membership, Node, Person, Site
from broker.dispatch.text import LANGUAGES, catalogue

log = logging.getLogger(__name__)

UNKNOWN_STORM = 20
"""Messages in ten minutes about a site that nobody has entered; as for others by default."""
_DELIVERY, _CASE, _MEMBER = table_of(Delivery), table_of(Case), table_of(Membership)
_WAITING = (
    select(
        *(_DELIVERY.c[name] for name in ("id", "case", "site", "about", "at")),
        *(_CASE.c[name] for name in ("rule", "severity", "state", "alarm_state", "assigned_at")),
    )
    .select_from(_DELIVERY)
    .outerjoin(_CASE, _CASE.c.id == _DELIVERY.c.case)
    .where(_DELIVERY.c.person == bindparam("person", None, type_=String), _DELIVERY.c.state == State.WAITING.value)
    .order_by(_DELIVERY.c.at, _DELIVERY.c.id)
)
"""In a storm these are many, looked at again and again before they go: no more than what the plan of it needs."""
_TOLD = (
    select(_DELIVERY.c.case, _DELIVERY.c.about)
    .where(
        Among(_DELIVERY.c.case, "cases"),
        _DELIVERY.c.person == bindparam("person", None, type_=String),
        _DELIVERY.c.state == State.SENT.value,
    )
    .order_by(_DELIVERY.c.at, _DELIVERY.c.id)
)
"""What a person was told of these cases: by their index, for in a storm a person's own rows are many."""
_ROLES = select(_MEMBER.c.site).where(_MEMBER.c.person == bindparam("person", None, type_=String))
_CALM = {About.CLEARED, About.FEEDBACK}
_OWN_HEADING = _CALM | {About.UNANSWERED, About.ESCALATION, About.REPEAT, About.REOPENED}


class Links(Protocol):
    """Addresses for messages. Those of cases are signed: they open for this person only, and not for ever."""

    def case(self, case: str, person: str, now: float) -> str: ...
    def message(self, message: str, person: str, now: float) -> str:
        """Of the cases that a message names; message: as its rows have it (`Delivery.message`)."""
        ...

    def pages(self) -> str:
        """Of no case; for who can log in."""
        ...


class Pictures(Protocol):
    """The newest picture of the newest alarm of the first of these cases that has one. What a message says is about
    that alarm; one of an earlier alarm would be taken for it."""

    def __call__(self, session: Session, *case_ids: str) -> Path | None: ...


@dataclass(frozen=True, slots=True)
class Letter:
    """A message ready to go. reader: id of a person. id: what its rows have in common, and its link names."""

    id: str
    reader: str
    parcel: Parcel
    sheet: Sheet


PICTURE_FROM = 10
"""The picture of a message is of one of so many, the worst; in a storm each further one is a question for nothing."""


@dataclass(frozen=True)
class Desk:
    """What is needed to write to one person within one transaction."""

    session: Session
    reader: Person
    now: float
    links: Links
    pictures: Pictures
    _standing_in: dict[tuple[str, str], bool] = field(default_factory=dict)

    def letters(self) -> tuple[list[Letter], Plan]:
        """What goes now, and the whole plan of it."""
        rows, foreign = self._post
        found = plan([self._waiting(row) for row in rows], self._sent_at(), self._storm(), self.now)
        written, drop = [], {**found.drop, **{row.id: Dropped.NO_ROLE for row in foreign}}
        for parcel in found.send:
            letter = str(uuid7())
            sheet = self._sheet(parcel, letter)
            if sheet is None:
                drop |= {row.id: Dropped.NO_REPORT for row in parcel.rows}
            else:
                written.append(Letter(letter, self.reader.id, parcel, sheet))
        return written, Plan(found.send, drop, found.later)

    # -- what waits ----------------------------------------------------------------------------------------------------

    @cached_property
    def _post(self) -> tuple[Sequence[Any], Sequence[Any]]:
        """What waits, and what waits of sites where the reader has no role: that is none of theirs any more, with its
        pictures. Nothing below asks the database row by row."""
        me = {"person": self.reader.id}
        rows, roles = look(self.session, (_WAITING, me), (_ROLES, me))
        sites = {row.site for row in roles}
        if EVERYWHERE in sites:
            return rows, []
        return [row for row in rows if row.site in sites], [row for row in rows if row.site not in sites]

    @property
    def foreign(self) -> list[tuple[str, About]]:
        """Cases and what was to be told of them to somebody who has no role on their site."""
        return sorted({(row.case, About(row.about)) for row in self._post[1] if row.case is not None})

    @property
    def _rows(self) -> Sequence[Any]:
        return self._post[0]

    @cached_property
    def _heard(self) -> set[str]:
        """Cases of which the reader was told that they are raised, and not yet that they cleared."""
        cases = sorted({row.case for row in self._rows if row.case is not None})
        (rows,) = look(self.session, (_TOLD, {"person": self.reader.id, "cases": cases}))
        heard: set[str] = set()
        for case, about in rows:
            if about in RAISING and case is not None:
                heard.add(case)
            elif about == About.CLEARED:
                heard.discard(case)
        return heard

    @cached_property
    def _sites(self) -> Mapping[str, Site]:
        """A site that nobody has entered yet has its id for a name."""
        ids = sorted({row.site for row in self._rows})
        known = {site.id: site for site in self.session.scalars(select(Site).where(Site.id.in_(ids)))}
        return {site: known.get(site) or _unknown(site) for site in ids}

    @cached_property
    def _rosters(self) -> Mapping[str, Roster | None]:
        """None where there is none that makes sense: then nothing is held back for it."""
        rosters: dict[str, Roster | None] = {}
        for site, found in roster.read_all(self.session, self._sites).items():
            rosters[site] = found if isinstance(found, Roster) else None
            if not isinstance(found, Roster):
                log.warning("site %s: its roster cannot be used: %s", site, found)
        return rosters

    def _storm(self) -> int:
        return min((site.storm_per_10min for site in self._sites.values()), default=0)

    def _sent_at(self) -> Sequence[float]:
        recent = (Delivery.person == self.reader.id, Delivery.at > self.now - STORM_WINDOW_S)
        query = select(func.max(Delivery.at)).where(*recent, Delivery.state == State.SENT).group_by(Delivery.message)
        return self.session.scalars(query).all()

    def _waiting(self, row: Any) -> Waiting:
        about = About(row.about)
        if row.case is None:
            return Waiting(id=row.id, case=None, site=row.site, about=about, since=row.at)
        severity = "info" if about in _CALM | {About.UNANSWERED} else row.severity
        people = self._rosters[row.site]
        state = CaseState(row.state)
        waiting = Waiting(
            id=row.id,
            case=row.case,
            site=row.site,
            about=about,
            since=row.at,
            not_before=not_before(self.now, severity, people.quiet, people.calendar) if people else self.now,
            rule=row.rule,
            severity=severity,
            heard=row.case in self._heard,
            over=state.over,
            cleared=row.alarm_state == AlarmState.CLEARED,
            taken=row.assigned_at is not None,
            answered=state is not CaseState.RESOLVED,
        )
        if waiting.urgent and waiting.ready_at > self.now:  # only then a picture would let it go
            return replace(waiting, picture=self.pictures(self.session, row.case) is not None)
        return waiting

    def _sheet(self, parcel: Parcel, letter: str) -> Sheet | None:
        match parcel.about:
            case About.HANDOVER:
                return self._handover(parcel.rows[-1])
            case About.CERTIFICATES:
                return self._certificates(parcel)
        return words(self._message(parcel, letter))

    # -- in words ------------------------------------------------------------------------------------------------------

    @property
    def _language(self) -> str:
        return self.reader.language if self.reader.language in LANGUAGES else LANGUAGES[0]

    def _message(self, parcel: Parcel, letter: str) -> Message:
        ids = parcel.cases
        found = {case.id: case for case in self.session.scalars(select(Case).where(Case.id.in_(ids)))}
        cases = {case: found[case] for case in ids}
        items = {case.id: self._item(case) for case in cases.values()}
        worst_first = sorted(cases.values(), key=lambda case: -SEVERITIES.index(case.severity))
        calm = parcel.about in _CALM | {About.UNANSWERED}
        return Message(
            about=parcel.about,
            language=self._language,
            zone=self._sites[parcel.rows[0].site].time_zone,
            now=self.now,
            sections=_sections(parcel, items),
            link=self._link(ids, letter),
            picture=None if calm else self.pictures(self.session, *(case.id for case in worst_first[:PICTURE_FROM])),
        )

    def _link(self, cases: Sequence[str], letter: str) -> str:
        if len(cases) == 1:
            return self.links.case(cases[0], self.reader.id, self.now)
        return self.links.message(letter, self.reader.id, self.now)

    def _item(self, case: Case) -> Item:
        since = case.first_seen
        if case.alarms > 1:  # the alarm that is on now, not the first one of the case
            newest = (Event.site == case.site, Event.node == case.node, Event.alarm == case.alarm)
            since = self.session.scalar(select(func.min(Event.at)).where(*newest)) or since
        return Item(
            case=case.id,
            site_name=self._sites[case.site].name,
            rule=case.rule,
            clauses=tuple(case.clause),
            place=case.place,
            source=case.node if case.source == "-" else case.source,
            severity=case.severity,
            subjects=case.subjects,
            since=since,
            opened_at=case.review_from,
            cleared_at=case.cleared_at,
            unknown=case.reason if case.verdict == "unknown" else None,
            unverified=case.unverified,
            late=case.late,
            taken=case.assigned_at is not None,
            take_by=review_due(case.review_from),
            result=case.result,
            stand_in=self._stands_in(case.site, case.rule),
            no_roster=self._rosters[case.site] is None,
            ends_at=self._certificate(case),
        )

    def _certificate(self, case: Case) -> float | None:
        """When the certificate that a case is about ends."""
        if case.rule != CERTIFICATE:
            return None
        node = self.session.get(Node, (case.site, case.node))
        return None if node is None else node.certificate_expires

    def _stands_in(self, site: str, rule: str) -> bool:
        if (site, rule) not in self._standing_in:
            people = self._rosters[site]
            line = people.in_line(self.now, rule) if people else None
            stands_in = line is not None and line.found is not Found.DUTY and self.reader.id in line.people
            self._standing_in[site, rule] = stands_in
        return self._standing_in[site, rule]

    def _certificates(self, parcel: Parcel) -> Sheet:
        """Of servers, services and the authority, which belong to no site. Each row stands for what was found then."""
        text = catalogue(self._language)
        at = {row.since for row in parcel.rows}
        found = self.session.scalars(
            select(Audit).where(Audit.action == CERTIFICATE_ENDS, Audit.at.in_(at)).order_by(Audit.id)
        )
        lines = [
            text("notify.certificates.line", name=harmless(row.subject), day=str(row.detail["ends"])) for row in found
        ]
        return Sheet(
            title=text("notify.certificates.title", n=len(lines)),
            tone="warning",
            blocks=(Block("", tuple(lines), bullets=True), Block("", (text("notify.certificates.help"),))),
            link=self.links.pages(),
            link_word=text("notify.link.list"),
            sender=text("notify.sender"),
            picture=None,
        )

    def _handover(self, row: Waiting) -> Sheet | None:
        """The report of the shift that ended when the row was made; None where the roster knows of none."""
        people = self._rosters[row.site]
        ended = people.calendar.next_ending(row.since - 1.0) if people else ()
        if not ended or ended[0].end != row.since:
            log.error("site %s: no hand-over report: no shift ended at %.0f", row.site, row.since)
            return None
        written = report.write(report.gather(self.session, row.site, ended[0], self.now), self._language)
        text = catalogue(self._language)
        blocks = [Block("", written.summary)]
        for part in written.parts:
            lines = [entry.text for entry in part.entries[:MAX_ITEMS]]
            if len(part.entries) > MAX_ITEMS:
                lines.append(text("notify.line.more", n=len(part.entries) - MAX_ITEMS))
            blocks.append(Block(part.heading, tuple(lines), bullets=True))
        return Sheet(
            title=written.title,
            tone="calm",
            blocks=tuple(blocks),
            link=self.links.pages(),
            link_word=text("notify.link.list"),
            sender=text("notify.sender"),
            picture=None,
        )


def _unknown(site: str) -> Site:
    return Site(id=site, name=site, time_zone="UTC", storm_per_10min=UNKNOWN_STORM)


def _sections(parcel: Parcel, items: Mapping[str, Item]) -> tuple[Section, ...]:
    if parcel.about not in {About.DIGEST, About.LATE}:
        return (Section("", tuple(items.values())),)
    by_heading: dict[str, list[Item]] = {}
    for row in parcel.rows:
        if row.case:
            by_heading.setdefault(_heading(row), []).append(items[row.case])
    return tuple(Section(heading, tuple(found)) for heading, found in by_heading.items())


def _heading(row: Waiting) -> str:
    if row.about is About.LATE:
        return "late_cleared" if row.cleared else "late_open"
    return row.about.value if row.about in _OWN_HEADING else "raised"
