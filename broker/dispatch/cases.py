"""What an event, a silent node or a person does to a case: the table of states (docs/dispatch.md), as pure functions.

Each gives a `Change`: the case as it is then, the ledger lines that say so, the jobs and points that it asks for.
Nothing here knows the database; `desk.write` stores changes.

Who may take which step (roles, ownership) is asked by the page before; here is only what the states allow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from broker.dispatch.norm.review import REVIEW_S
from broker.dispatch.tables import AlarmState, CaseState
from broker.messages import AlarmMessage

DISPATCH: Final = "dispatch"
"""Actor of what nobody did."""
NODE_HEALTH: Final = "node_health"
CERTIFICATE: Final = "certificate"
CERTIFICATE_ENDS: Final = "certificate_ends"
"""Action in `audit`: one that is no node's runs out soon."""
LATE_S: Final = 600.0
LATE_SETTLE_S: Final = 10.0
"""A critical alarm that comes late is told after this, because its own clear may be right behind it."""
LATE_DIGEST_S: Final = 60.0
"""What comes late within this is one digest."""
MAX_AGE_S: Final = 10 * 366 * 86_400.0
"""An age beyond this is a fault of the sender; it counts as this."""
MAX_TEXT: Final = 4000

_RANK: Final = {"info": 0, "warning": 1, "critical": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseValues:
    """A row of `tables.Case`; there its columns are explained."""

    id: str
    site: str
    node: str
    source: str
    place: str
    rule: str
    clause: tuple[str, ...]
    state: CaseState
    severity: str
    alarm: str
    alarm_state: AlarmState
    alarm_seq: int
    alarm_at: float
    alarms: int = 1
    verdict: str
    reason: str
    subjects: int
    subjects_peak: int
    first_seen: float
    last_seen: float
    opened_at: float
    review_from: float
    cleared_at: float | None = None
    owner: str | None = None
    assigned_at: float | None = None
    resolved_at: float | None = None
    result: str | None = None
    answered_at: float | None = None
    answer: str | None = None
    closed_at: float | None = None
    false_alarm_reason: str | None = None
    reopened: int = 0
    late: bool = False
    unverified: bool = False
    hold: bool = False
    important: bool = False
    ledger_n: int = 0
    ledger_head: str = ""
    published: int = 0
    version: int = 0

    @property
    def identity(self) -> str:
        """At most one case that is not over has it."""
        return identity(self)

    @classmethod
    def of(cls, row: Any) -> CaseValues:
        """From anything with the columns as attributes: a row of Core, a `tables.Case`."""
        values = {name: getattr(row, name) for name in FIELDS}
        values |= {
            "clause": tuple(row.clause),
            "state": CaseState(row.state),
            "alarm_state": AlarmState(row.alarm_state),
        }
        return cls(**values)

    def columns(self) -> dict[str, Any]:
        """For an INSERT."""
        values = {name: getattr(self, name) for name in FIELDS}
        values |= {"state": self.state.value, "alarm_state": self.alarm_state.value, "clause": list(self.clause)}
        return values | {"identity": self.identity}


FIELDS: Final = tuple(f.name for f in fields(CaseValues))


def identity(of: CaseValues | EventValues) -> str:
    """Site, node, source, place and rule, none of which can hold a slash."""
    return f"{of.site}/{of.node}/{of.source}/{of.place}/{of.rule}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventValues:
    """An alarm event by dispatch's clock. at: when it happened. late: how it was when it came."""

    id: str
    site: str
    node: str
    source: str
    place: str
    rule: str
    clause: tuple[str, ...] = ()
    alarm: str
    seq: int
    event: str
    severity: str
    verdict: str
    reason: str
    subjects: int
    at: float
    received_at: float
    first_seen: float
    last_seen: float

    @property
    def identity(self) -> str:
        return identity(self)

    @property
    def late(self) -> bool:
        return self.received_at - self.at > LATE_S

    @classmethod
    def of(cls, site: str, node: str, message: AlarmMessage, received_at: float) -> EventValues:
        """Dated by its age: the sender's clock may be wrong, its differences are not (much)."""
        at = received_at - min(message.age_s, MAX_AGE_S)

        def ago(then: float) -> float:
            return at - min(max(message.at - then, 0.0), MAX_AGE_S)

        return cls(
            id=message.id,
            site=site,
            node=node,
            source=message.source,
            place=message.place,
            rule=message.rule,
            clause=message.clause,
            alarm=message.alarm,
            seq=message.seq,
            event=message.event,
            severity=message.severity,
            verdict=message.verdict,
            reason=message.reason,
            subjects=message.subjects,
            at=at,
            received_at=received_at,
            first_seen=ago(message.first_seen),
            last_seen=ago(message.last_seen),
        )


@dataclass(frozen=True, slots=True)
class Line:
    """What the ledger is to say."""

    actor: str
    action: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job; see `tables.Job`."""

    kind: str
    key: str
    due: float
    body: Mapping[str, Any] = field(default_factory=dict)
    case: str | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """A point of the measurement `case`. review_s, close_s: how long it took, where this step ends it."""

    event: str
    review_s: float | None = None
    close_s: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A case after a step. Without lines nothing happened, and nothing is to be stored."""

    case: CaseValues
    lines: tuple[Line, ...] = ()
    jobs: tuple[Wanted, ...] = ()
    marks: tuple[Mark, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.lines)


# -- what an alarm does ------------------------------------------------------------------------------------------------


def on_event(
    case: CaseValues | None, event: EventValues, now: float, case_id: str = "", *, left: bool = False
) -> Change:
    """What an event does to the case of its identity, or to the case that its alarm was in and that is over.

    case: None opens one under `case_id`, whatever the event is: a clear that comes alone is to be looked at, too.
    left: the case was in this event's alarm before it went on to another.

    An event older than what the case knows changes nothing. `seq` says what is older. A replaced node counts anew: an
    alarm that the case was never in is newer in spite of a lower `seq` where it happened later. A message that lay at
    the broker, for a worker that died, is dated too late; therefore time alone makes nothing old.
    """
    if case is None:
        return _open(event, now, case_id)
    if event.alarm == case.alarm:
        return _go_on(case, event) if event.seq > case.alarm_seq else Change(case)
    if case.state.over or (event.seq < case.alarm_seq and (left or event.at < case.alarm_at)):
        return Change(case)
    return _join(case, event, now)


def tells_nobody(case: CaseValues) -> bool:
    """Whether a case came late and its alarm was over by then: it is listed, but no message is sent about it."""
    return case.late and case.alarm_state is AlarmState.CLEARED


def _alarm_state(event: EventValues) -> AlarmState:
    if event.event == "cleared":
        return AlarmState.CLEARED
    return AlarmState.UNKNOWN if event.verdict == "unknown" else AlarmState.ACTIVE


def _detail(event: EventValues) -> dict[str, Any]:
    return {
        "event": event.id,
        "alarm": event.alarm,
        "seq": event.seq,
        "severity": event.severity,
        "verdict": event.verdict,
        "reason": event.reason,
        "subjects": event.subjects,
        "at": event.at,
        "late": event.late,
    }


def _actor(event: EventValues) -> str:
    return DISPATCH if event.source == "-" else f"node:{event.node}"


def _taken_over(case: CaseValues, event: EventValues) -> CaseValues:
    """The case with the alarm as the event has it: events carry the full state."""
    state = _alarm_state(event)
    judged = event.verdict != "unknown"
    return replace(
        case,
        alarm=event.alarm,
        alarm_seq=event.seq,
        alarm_at=event.at,
        alarm_state=state,
        severity=event.severity,
        verdict=event.verdict,
        reason=event.reason,
        subjects=event.subjects,
        subjects_peak=max(case.subjects_peak, event.subjects),
        clause=event.clause or case.clause,
        last_seen=max(case.last_seen, event.last_seen),
        cleared_at=event.at if state is AlarmState.CLEARED else None,
        unverified=case.unverified and not judged,
    )


def _open(event: EventValues, now: float, case_id: str) -> Change:
    state = _alarm_state(event)
    case = CaseValues(
        id=case_id,
        site=event.site,
        node=event.node,
        source=event.source,
        place=event.place,
        rule=event.rule,
        clause=event.clause,
        state=CaseState.OPEN,
        severity=event.severity,
        alarm=event.alarm,
        alarm_state=state,
        alarm_seq=event.seq,
        alarm_at=event.at,
        verdict=event.verdict,
        reason=event.reason,
        subjects=event.subjects,
        subjects_peak=event.subjects,
        first_seen=event.first_seen,
        last_seen=event.last_seen,
        opened_at=event.received_at,
        review_from=event.received_at,
        cleared_at=event.at if state is AlarmState.CLEARED else None,
        late=event.late,
    )
    line = Line(_actor(event), "opened", _detail(event) | {"what": event.event})
    return Change(case, (line,), (*_tell(case, event, "raised", now), _escalate(case)), (Mark("opened"),))


def _go_on(case: CaseValues, event: EventValues) -> Change:
    after = _taken_over(case, event)
    line = Line(_actor(event), event.event, _detail(event))
    if case.state.over:
        return Change(after, (line,))
    about = None
    if event.event == "cleared":
        about = "cleared"
    elif event.subjects > case.subjects_peak or _RANK[event.severity] > _RANK[case.severity]:
        about = "updated"
    return Change(after, (line,), _tell(after, event, about, event.received_at) if about else ())


def _join(case: CaseValues, event: EventValues, now: float) -> Change:
    after = replace(
        _taken_over(case, event), alarms=case.alarms + 1, subjects_peak=event.subjects, late=case.late and event.late
    )
    lines = [Line(_actor(event), "raised", _detail(event) | {"what": event.event})]
    jobs: list[Wanted] = []
    marks: tuple[Mark, ...] = ()
    about = "raised"
    if case.state in {CaseState.RESOLVED, CaseState.ANSWERED}:
        after = _opened_again(after, event.received_at)
        about = "reopened"
        lines.append(Line(DISPATCH, "reopened", {"why": "alarm"}))
        jobs.append(_escalate(after))
        marks = (Mark("reopened"),)
    elif case.assigned_at is None and tells_nobody(case):  # nobody was told so far: the norm's five minutes begin
        after = replace(after, review_from=event.received_at)
        jobs.append(_escalate(after))
    return Change(after, tuple(lines), (*_tell(after, event, about, now), *jobs), marks)


def _opened_again(case: CaseValues, now: float) -> CaseValues:
    """It needs a review, a result and an answer anew; the ledger keeps those that it had."""
    return replace(
        case,
        state=CaseState.REOPENED,
        reopened=case.reopened + 1,
        review_from=now,
        assigned_at=None,
        resolved_at=None,
        result=None,
        answered_at=None,
        answer=None,
        closed_at=None,
        false_alarm_reason=None,
    )


def _notify(case: CaseValues, about: str, due: float, **more: Any) -> Wanted:
    return Wanted("notify", f"{case.id}:{about}", due, {"about": about, "alarm": case.alarm} | more, case.id)


def _escalate(case: CaseValues) -> Wanted:
    return Wanted("escalate", case.id, case.review_from + REVIEW_S, {}, case.id)


def _tell(case: CaseValues, event: EventValues, about: str, now: float) -> tuple[Wanted, ...]:
    if not event.late:
        return (_notify(case, about, now),)
    if event.event == "cleared":
        # A clear tells only those who heard of the raise; one that opens a late case tells nobody.
        return (_notify(case, about, now),) if about == "cleared" else ()
    if event.severity == "critical":
        return (_notify(case, about, now + LATE_SETTLE_S),)
    return (Wanted("late_digest", case.site, now + LATE_DIGEST_S, {"site": case.site}),)


def mark_unverified(case: CaseValues, why: str) -> Change:
    """The node of the case fell silent: nobody knows whether the alarm still holds."""
    if case.unverified or case.state.over or case.alarm_state is AlarmState.CLEARED or case.source == "-":
        return Change(case)
    return Change(replace(case, unverified=True), (Line(DISPATCH, "unverified", {"why": why}),))


def release(case: CaseValues, actor: str, now: float) -> Change:
    """Its owner left, or may take no cases of the site any more: they have it no longer.

    One that was taken and has no result is open again, with its five minutes, and told as a new alarm is told. What has
    a result keeps it, and is anybody's to answer or to close. actor: who saw to it that the owner left.
    """
    if case.owner is None or case.state.over:
        return Change(case)
    line = Line(actor, "released", {"from": case.owner})
    after = replace(case, owner=None)
    if case.state is not CaseState.ASSIGNED:
        return Change(after, (line,))
    state = CaseState.REOPENED if case.reopened else CaseState.OPEN
    after = replace(after, state=state, assigned_at=None, review_from=now)
    return Change(after, (line,), (_notify(after, "raised", now), _escalate(after)))


# -- what people do ----------------------------------------------------------------------------------------------------


class NotAllowed(Exception):  # noqa: N818 it is an answer, not a fault
    """The state of the case does not allow the step, or something is missing. `code` is a word of the catalogues."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class Take:
    """It is mine."""


@dataclass(frozen=True, slots=True)
class Give:
    """It is that person's."""

    person: str


@dataclass(frozen=True, slots=True)
class Done:
    """What was done."""

    result: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What whoever reported it was told."""

    text: str


@dataclass(frozen=True, slots=True)
class Close:
    """reason: why it may be closed though the alarm has not cleared."""

    reason: str | None = None


@dataclass(frozen=True, slots=True)
class FalseAlarm:
    """There was nothing."""

    reason: str


@dataclass(frozen=True, slots=True)
class Dissatisfied:
    """The call-back says that it is not good."""

    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Its evidence is kept beyond its time."""

    on: bool


@dataclass(frozen=True, slots=True)
class Important:
    """It is named at the hand-over."""

    on: bool


@dataclass(frozen=True, slots=True)
class Note:
    """A remark."""

    text: str


Action = Take | Give | Done | Answer | Close | FalseAlarm | Dissatisfied | Hold | Important | Note

_UNANSWERED: Final = frozenset({CaseState.OPEN, CaseState.REOPENED})
_UNDER_WAY: Final = _UNANSWERED | {CaseState.ASSIGNED}
_FINISHED: Final = frozenset({CaseState.RESOLVED, CaseState.ANSWERED})
_ALL: Final = frozenset(CaseState)

ALLOWED: Final[Mapping[type[Action], frozenset[CaseState]]] = {
    Take: _UNDER_WAY,
    Give: _UNDER_WAY,
    Done: frozenset({CaseState.ASSIGNED}),
    Answer: frozenset({CaseState.RESOLVED}),
    Close: _FINISHED,
    FalseAlarm: _UNDER_WAY | _FINISHED,
    Dissatisfied: _FINISHED | {CaseState.CLOSED, CaseState.FALSE_ALARM},
    Hold: _ALL,
    Important: _ALL,
    Note: _ALL,
}
"""In which states a step can be taken; `act` has the further conditions."""


def act(case: CaseValues, action: Action, actor: str, now: float) -> Change:  # noqa: PLR0911 a table
    """What a step of a person does. A step that was taken already changes nothing.

    actor: the person's id. Raises NotAllowed: `state` (not from here), `owned` (somebody else has it), `text` (empty,
    longer than MAX_TEXT, or with control characters), `no_answer`, `active` (not cleared, and no reason given).
    """
    if case.state not in ALLOWED[type(action)]:
        raise NotAllowed("state", f"{type(action).__name__} is not possible while the case is {case.state}")
    match action:
        case Take():
            return _take(case, actor, now)
        case Give(person):
            return _give(case, person, actor, now)
        case Done(result):
            result = _text(result)
            after = replace(case, state=CaseState.RESOLVED, result=result, resolved_at=now, unverified=False)
            job = Wanted("answer_due", case.id, now, {}, case.id)
            return Change(after, (Line(actor, "done", {"result": result}),), (job,), (Mark("resolved"),))
        case Answer(text):
            text = _text(text)
            after = replace(case, state=CaseState.ANSWERED, answer=text, answered_at=now)
            job = Wanted("feedback", case.id, now, {}, case.id)
            return Change(after, (Line(actor, "answered", {"text": text}),), (job,), (Mark("answered"),))
        case Close(reason):
            return _close(case, reason, actor, now)
        case FalseAlarm(reason):
            reason = _text(reason)
            after = replace(
                case, state=CaseState.FALSE_ALARM, false_alarm_reason=reason, closed_at=now, unverified=False
            )
            # Whoever says so of a case that nobody has taken reviews it: late, it counts as late.
            review_s = None if case.assigned_at else now - case.review_from
            mark = Mark("false_alarm", review_s=review_s, close_s=now - case.opened_at)
            return Change(after, (Line(actor, "false_alarm", {"reason": reason}),), (), (mark,))
        case Dissatisfied(reason):
            reason = _text(reason)
            after = _opened_again(case, now)
            lines = (Line(actor, "dissatisfied", {"reason": reason}), Line(DISPATCH, "reopened", {"why": "call_back"}))
            return Change(after, lines, (_notify(after, "reopened", now), _escalate(after)), (Mark("reopened"),))
        case Hold(on):
            return _switch(case, actor, "hold", on=on)
        case Important(on):
            return _switch(case, actor, "important", on=on)
        case Note(text):
            return Change(case, (Line(actor, "note", {"text": _text(text)}),))


def _take(case: CaseValues, actor: str, now: float) -> Change:
    if case.state is CaseState.ASSIGNED:
        if case.owner == actor:
            return Change(case)
        raise NotAllowed("owned", "somebody has taken the case already; it can be handed over")
    after = replace(case, state=CaseState.ASSIGNED, owner=actor, assigned_at=now)
    return Change(after, (Line(actor, "taken"),), (), (Mark("assigned", review_s=now - case.review_from),))


def _give(case: CaseValues, person: str, actor: str, now: float) -> Change:
    if case.state is CaseState.ASSIGNED and case.owner == person:
        return Change(case)
    after = replace(case, state=CaseState.ASSIGNED, owner=person, assigned_at=case.assigned_at or now)
    marks = () if case.assigned_at else (Mark("assigned", review_s=now - case.review_from),)
    line = Line(actor, "given", {"to": person, "from": case.owner})
    return Change(after, (line,), (_notify(after, "given", now, to=person),) if person != actor else (), marks)


def _close(case: CaseValues, reason: str | None, actor: str, now: float) -> Change:
    if case.state is not CaseState.ANSWERED:
        raise NotAllowed("no_answer", "whoever reported it has not been answered yet")
    certain = case.alarm_state is AlarmState.CLEARED and not case.unverified
    if not certain and not (reason or "").strip():
        raise NotAllowed("active", "the alarm has not cleared; say why the case can be closed in spite of it")
    detail = {"reason": _text(reason)} if reason and reason.strip() else {}
    after = replace(case, state=CaseState.CLOSED, closed_at=now)
    return Change(after, (Line(actor, "closed", detail),), (), (Mark("closed", close_s=now - case.opened_at),))


def _switch(case: CaseValues, actor: str, name: str, *, on: bool) -> Change:
    if getattr(case, name) == on:
        return Change(case)
    after = replace(case, hold=on) if name == "hold" else replace(case, important=on)
    return Change(after, (Line(actor, name, {"on": on}),))


def _text(text: str | None) -> str:
    """A text that a person wrote, without white space around it. Raises NotAllowed."""
    text = (text or "").strip()
    if not text:
        raise NotAllowed("text", "a text is needed")
    if len(text) > MAX_TEXT:
        raise NotAllowed("text", f"the text has {len(text)} characters; at most {MAX_TEXT}")
    if any((ord(c) < 32 and c not in "\n\r\t") or 0xD800 <= ord(c) <= 0xDFFF for c in text):
        raise NotAllowed("text", "the text has characters that cannot be shown")
    return text
