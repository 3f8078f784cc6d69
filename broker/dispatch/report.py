"""The hand-over report of a shift (`norm.handover`): gathered from the ledger, put into words for people.

The ledger says how each case stood at the shift's end, whatever came after. So a report made late, because dispatch was
down, or looked at again says the same as one made on time; who was on it, too, whoever left since. Only which nodes are
silent, and who was next in line where nobody took over, is known as of now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from zoneinfo import ZoneInfo

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from broker.dispatch import roster
from broker.dispatch.norm.calendar import ShiftAt
from broker.dispatch.norm.handover import CaseFacts, Crews, HandoverReport, SilentNode, hand_over
from broker.dispatch.norm.review import review_due
from broker.dispatch.notify.words import MAX_RESULT, harmless
from broker.dispatch.tables import AlarmState, Case, CaseState, Ledger, Node, Person, Site
from broker.dispatch.text import catalogue

# -- from the database -------------------------------------------------------------------------------------------------


def gather(session: Session, site_id: str, shift: ShiftAt, now: float) -> HandoverReport:
    """The report of a shift of a site as of its end, or, while it runs, as of now.

    Raises LookupError for a site that is not known, NormError for a bad roster.
    """
    people = roster.read(session, site_id)
    site = session.get_one(Site, site_id)
    names = dict(session.execute(select(Person.id, Person.name)).all())
    calendar = people.of(shift, now)
    next_up = [person for s in calendar.running(shift.end) for person in calendar.people(s)]
    line = None if next_up else people.in_line(shift.end, rule="")
    crews = Crews(
        outgoing=_named(calendar.people(shift), names),
        incoming=_named(line.people if line else next_up, names),
        gap=line.gap if line else None,
    )
    return hand_over(
        shift,
        _cases(session, shift, site_id, names),
        _silent(session, site_id),
        crews,
        site=site.name,
        zone=site.time_zone,
        now=now,
    )


def _named(people: Iterable[str], names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names[person] for person in people))


def _silent(session: Session, site_id: str) -> list[SilentNode]:
    rows = session.execute(select(Node.id, Node.heard_at).where(Node.site == site_id, Node.silent))
    return [SilentNode(node, heard_at) for node, heard_at in rows]


def _cases(session: Session, shift: ShiftAt, site_id: str, names: Mapping[str, str]) -> list[CaseFacts]:
    """All cases that were not over when the shift began, or came in since, as they stood at its end."""
    rows = session.execute(
        select(Case, Ledger)
        .join(Ledger, Ledger.case == Case.id)
        .where(
            Case.site == site_id,
            or_(Case.closed_at.is_(None), Case.closed_at >= shift.start),
            Ledger.at < shift.end,
        )
        .order_by(Case.id, Ledger.n)
    )
    return [case_at(case, [line for _, line in lines], names) for case, lines in groupby(rows, key=lambda row: row[0])]


def case_at(case: Case, lines: Iterable[Ledger], names: Mapping[str, str]) -> CaseFacts:
    """A case as these first lines of its ledger left it. names: of people, by id. Raises LookupError without a line."""
    facts: CaseFacts | None = None
    for line in lines:
        facts = _opened(case, line) if facts is None else _after(facts, line)
    if facts is None:
        raise LookupError(f"case {case.id} has no ledger")
    return replace(facts, owner=None if facts.owner is None else names.get(facts.owner, facts.owner))


def _opened(case: Case, line: Ledger) -> CaseFacts:
    facts = CaseFacts(
        id=case.id,
        rule=case.rule,
        where=next((word for word in (case.place, case.source) if word != "-"), case.node),
        severity=line.detail["severity"],
        state=CaseState.OPEN,
        alarm_state=AlarmState.ACTIVE,
        owner=None,
        opened_at=line.at,
        review_from=line.at,
        assigned_at=None,
        resolved_at=None,
        answered_at=None,
        over_at=None,
        late=line.detail["late"],
    )
    return _judged(facts, line)


def _judged(facts: CaseFacts, line: Ledger) -> CaseFacts:
    """After an event of the alarm, which tells its full state."""
    unknown = line.detail["verdict"] == "unknown"
    state = AlarmState.UNKNOWN if unknown else AlarmState.ACTIVE
    if line.detail.get("what", line.action) == "cleared":
        state = AlarmState.CLEARED
    severity = line.detail["severity"]
    return replace(facts, severity=severity, alarm_state=state, unverified=facts.unverified and unknown)


def _after(facts: CaseFacts, line: Ledger) -> CaseFacts:  # noqa: PLR0911 a table
    """After one line more. Lines that are no step of the case (notes, deliveries) change nothing."""
    match line.action:
        case "raised" | "updated" | "cleared":
            return _judged(facts, line)
        case "unverified":
            return replace(facts, unverified=True)
        case "taken":
            return replace(facts, state=CaseState.ASSIGNED, owner=line.actor, assigned_at=line.at)
        case "given":
            taken = facts.assigned_at or line.at
            return replace(facts, state=CaseState.ASSIGNED, owner=line.detail["to"], assigned_at=taken)
        case "released":
            return _released(facts, line.at)
        case "done":
            result = line.detail["result"]
            return replace(facts, state=CaseState.RESOLVED, resolved_at=line.at, result=result, unverified=False)
        case "answered":
            return replace(facts, state=CaseState.ANSWERED, answered_at=line.at)
        case "closed":
            return replace(facts, state=CaseState.CLOSED, over_at=line.at)
        case "false_alarm":
            reason = line.detail["reason"]
            state = CaseState.FALSE_ALARM
            return replace(facts, state=state, over_at=line.at, false_alarm_reason=reason, unverified=False)
        case "reopened":
            return _again(facts, line.at)
        case "important":
            return replace(facts, marked_important=line.detail["on"])
    return facts


def _released(facts: CaseFacts, at: float) -> CaseFacts:
    if facts.state != CaseState.ASSIGNED:
        return replace(facts, owner=None)
    state = CaseState.REOPENED if facts.reopened else CaseState.OPEN
    return replace(facts, state=state, owner=None, assigned_at=None, review_from=at)


def _again(facts: CaseFacts, at: float) -> CaseFacts:
    return replace(
        facts,
        state=CaseState.REOPENED,
        reopened_at=at,
        review_from=at,
        assigned_at=None,
        resolved_at=None,
        result=None,
        answered_at=None,
        over_at=None,
        false_alarm_reason=None,
    )


# -- in words ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the report; `case`: its id, None where it is of no case."""

    text: str
    case: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """Lines under a heading."""

    heading: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """A report in words, without markup; nothing in it that came from outside is a link, a mention or a second line."""

    title: str
    summary: tuple[str, ...]
    parts: tuple[Part, ...]

    def text(self) -> str:
        """The whole as plain text."""
        parts = ["\n".join([part.heading, *(f"- {entry.text}" for entry in part.entries)]) for part in self.parts]
        return "\n\n".join(["\n".join([self.title, *self.summary]), *parts])


def write(report: HandoverReport, language: str) -> Written:
    """Put a report into words. Raises ValueError for a language that there is not."""
    return _Writer(report, language).written()


class _Writer:
    def __init__(self, report: HandoverReport, language: str) -> None:
        self.report = report
        self.text = catalogue(language)
        self.zone = ZoneInfo(report.zone)

    def written(self) -> Written:
        report, text = self.report, self.text
        others = tuple(case for case in report.open if not case.important)
        parts = [
            self._part("important", [Entry(self._case(case), case.id) for case in report.important]),
            self._part("open", [Entry(self._case(case), case.id) for case in others]),
            self._part("false_alarms", [Entry(self._false_alarm(case), case.id) for case in report.false_alarms]),
            self._part("silent", [Entry(self._silent(node)) for node in report.silent_nodes]),
        ]
        found = tuple(part for part in parts if part.entries)
        return Written(self._title(), self._summary(), found or (Part(text("handover.nothing"), ()),))

    def _title(self) -> str:
        shift = self.report.shift
        start, end = (datetime.fromtimestamp(at, self.zone) for at in (shift.start, shift.end))
        hours = f"{start:%Y-%m-%d %H:%M} – {end:%H:%M}"
        return self.text(
            "handover.title", site=harmless(self.report.site), shift=harmless(shift.shift.name), hours=hours
        )

    def _summary(self) -> tuple[str, ...]:
        report, crews = self.report, self.report.crews
        counts = {
            name: len(getattr(report, name))
            for name in ("open", "important", "overdue", "no_result", "to_answer", "to_close", "reopened", "unverified")
        }
        lines = [
            self.text(
                "handover.shift",
                received=report.received,
                closed=report.closed,
                false_alarms=len(report.false_alarms),
                reviewed_late=report.reviewed_late,
            ),
            self.text("handover.counts", **counts),
            self.text("handover.outgoing", names=self._names(crews.outgoing)),
            self.text("handover.incoming", names=self._names(crews.incoming)),
        ]
        if crews.gap is not None:
            lines.append(self.text(f"handover.gap.{crews.gap}"))
        return tuple(lines)

    def _names(self, names: tuple[str, ...]) -> str:
        return self.text("handover.comma").join(map(harmless, names)) or self.text("handover.nobody")

    def _part(self, name: str, entries: list[Entry]) -> Part:
        return Part(self.text(f"handover.part.{name}", n=len(entries)), tuple(entries))

    def _rule(self, rule: str) -> str:
        key = f"rule.{rule}.alarm"
        return self.text(key) if key in self.text else self.text("rule.other.alarm", rule=harmless(rule))

    def _at(self, at: float) -> str:
        return f"{datetime.fromtimestamp(at, self.zone):%m-%d %H:%M}"

    def _case(self, case: CaseFacts) -> str:
        head = self.text(
            "handover.case",
            severity=self.text(f"severity.{case.severity}"),
            what=self._rule(case.rule),
            where=harmless(case.where),
            at=self._at(case.opened_at),
            owner=self.text("handover.nobody") if case.owner is None else harmless(case.owner),
            state=self.text(f"handover.state.{case.state}"),
        )
        marks = [self.text(f"handover.mark.{name}") for name in self._marks(case)]
        if case in self.report.overdue:
            marks.append(self.text("handover.mark.overdue", at=self._at(review_due(case.review_from))))
        if case.result is not None:
            marks.append(self.text("handover.mark.result", result=harmless(case.result, MAX_RESULT)))
        return self.text("handover.semicolon").join([head, *marks])

    def _marks(self, case: CaseFacts) -> Iterable[str]:
        report = self.report
        if case.alarm_state == AlarmState.CLEARED:
            yield "cleared"
        if case.reopened:
            yield "reopened"
        if case in report.unverified:
            yield "unverified"
        for name in ("no_result", "to_answer", "to_close"):
            if case in getattr(report, name):
                yield name
        if case.late:
            yield "late"

    def _false_alarm(self, case: CaseFacts) -> str:
        return self.text(
            "handover.false_alarm",
            what=self._rule(case.rule),
            where=harmless(case.where),
            at=self._at(case.opened_at),
            reason=harmless(case.false_alarm_reason or "", MAX_RESULT),
        )

    def _silent(self, node: SilentNode) -> str:
        return self.text("handover.node", node=harmless(node.id), at=self._at(node.heard_at))
