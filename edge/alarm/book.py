"""The alarm book: which rule instances are in breach, and the events that say so.

An alarm is one breach of one rule instance, from `raised` to `cleared`. Its identity is the instance (source, place,
rule), not a track: somebody who walks behind a van and comes back is the same alarm. One instance never mutes another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from uuid6 import uuid7

from edge.alarm.confirm import SubjectWatch
from edge.alarm.terms import Terms
from edge.clock import Stamp
from edge.rules.rule import CAMERA
from edge.values import (
    NOBODY_LOOKED,
    AlarmChange,
    AlarmEvent,
    EvidenceRef,
    Finding,
    Instance,
    Judgement,
    PlaceState,
    Reason,
    Severity,
    Verdict,
)

MAX_SUBJECTS = 256
MAX_EVIDENCE = 16
_WORST = (Verdict.VIOLATION, Verdict.UNKNOWN, Verdict.OK)


@dataclass(slots=True)
class _Desk:
    """One rule instance: its subjects, and its alarm while there is one."""

    instance: Instance
    terms: Terms
    watches: dict[str, SubjectWatch] = field(default_factory=dict)
    alarm: AlarmEvent | None = None  # the last event of the open alarm
    peak: int = 0
    verified: bool = True  # False: reloaded after a restart, not judged since
    last_look: Stamp | None = None
    calm_since: Stamp | None = None
    unseen: Reason | None = None  # why the newest look could not judge the place at all
    offenders: set[str] | None = None  # who of those still known has broken the rule; None: from before a restart

    def present(self, stamp: Stamp) -> dict[str, SubjectWatch]:
        return {s: w for s, w in self.watches.items() if w.known_at(stamp)}

    def violating(self, stamp: Stamp) -> list[SubjectWatch]:
        return [w for w in self.present(stamp).values() if w.verdict is Verdict.VIOLATION]

    def accused(self, present: Mapping[str, SubjectWatch]) -> dict[str, SubjectWatch]:
        """Whom the alarm is about, of those present: of people the offenders, and after a restart anybody."""
        if self.offenders is None or self.terms.subject == "fixture":
            return dict(present)
        return {s: w for s, w in present.items() if s in self.offenders}

    def counted(self, stamp: Stamp) -> tuple[Verdict, ...]:
        """What this second adds to the tallies: one unknown, whoever was there, while the place cannot be judged."""
        present = self.present(stamp)
        if self.unseen is not None and present:
            return (Verdict.UNKNOWN,)
        return tuple(w.verdict for w in present.values())

    def state(self, stamp: Stamp) -> PlaceState:
        present = self.present(stamp)
        if self.unseen is not None and present:
            return PlaceState(
                self.instance,
                Verdict.UNKNOWN,
                self.unseen,
                1,
                0,
                self.alarm.alarm if self.alarm else None,
                self.last_look,
            )
        worst = min(present.values(), key=lambda w: _WORST.index(w.verdict), default=None)
        return PlaceState(
            instance=self.instance,
            verdict=worst.verdict if worst else None,
            reason=worst.reason if worst else None,
            subjects=len(present),
            violating=len(self.violating(stamp)),
            alarm=self.alarm.alarm if self.alarm else None,
            at=self.last_look,
        )


class AlarmBook:
    """Turns findings into alarm events. Pure but for event ids: the same looks give the same events.

    terms: for every rule id. restored: the open alarms of the journal when the node starts; they stand as `unknown`
        until they are judged again.
    """

    def __init__(self, terms: Mapping[str, Terms], restored: Iterable[AlarmEvent] = ()) -> None:
        self._terms = dict(terms)
        self._desks: dict[Instance, _Desk] = {}
        for event in restored:
            if event.instance.rule in self._terms:
                desk = self._desk(event.instance)
                desk.alarm, desk.peak, desk.verified = event, event.subjects, False

    def _desk(self, instance: Instance) -> _Desk:
        if instance not in self._desks:
            self._desks[instance] = _Desk(instance, self._terms[instance.rule])
        return self._desks[instance]

    # -- looks -------------------------------------------------------------------------------------------------

    def restart(self, stamp: Stamp) -> list[AlarmEvent]:
        """The events that tell everybody that the restored alarms are unverified."""
        return [
            self._update(desk, stamp, verdict=Verdict.UNKNOWN, reason=Reason.RESTARTED)
            for desk in self._desks.values()
            if desk.alarm is not None and not desk.verified and desk.alarm.verdict is not Verdict.UNKNOWN
        ]

    def look(self, finding: Finding) -> list[AlarmEvent]:
        """Take in one look at one rule instance. Returns the events that follow from it, oldest first."""
        desk, stamp = self._desk(finding.instance), finding.stamp
        if desk.last_look is not None and stamp.mono - desk.last_look.mono > desk.terms.gap_s:
            desk.calm_since = None  # nobody was looking: that was no calm
        desk.last_look = stamp
        desk.unseen = next((j.reason for j in finding.judgements if _of_the_place(j)), None)
        if desk.unseen is None:
            desk.watches.pop(CAMERA, None)  # it sees again
        for judgement in finding.judgements:
            if judgement.subject not in desk.watches and len(desk.watches) >= MAX_SUBJECTS:
                continue
            desk.watches.setdefault(judgement.subject, SubjectWatch(desk.terms)).look(judgement, stamp)
        for subject in [s for s, w in desk.watches.items() if not w.known_at(stamp)]:
            del desk.watches[subject]
        self._accuse(desk, stamp)
        return self._step(desk, stamp)

    def _step(self, desk: _Desk, stamp: Stamp) -> list[AlarmEvent]:
        violating = desk.violating(stamp)
        if violating:
            desk.calm_since = None
            if desk.alarm is None:
                return [self._raise(desk, stamp, violating)]
            return self._worsened(desk, stamp, violating)
        if desk.alarm is None:
            return []
        # Only those whom the alarm is about can end it, or cast doubt on it: not everybody who happens to be there.
        accused = desk.accused(desk.present(stamp))
        ended = desk.unseen is None and all(w.verdict is Verdict.OK for w in accused.values())
        if desk.terms.subject == "fixture":
            ended = ended and bool(accused)
        if not ended:
            desk.calm_since = None
            return self._doubtful(desk, stamp, accused)
        desk.calm_since = desk.calm_since or stamp
        if stamp.mono - desk.calm_since.mono < desk.terms.clear_s:
            return []
        # Seen to end well: the very same is in order now, or nobody being there is what is wanted.
        known = desk.offenders is not None or desk.terms.subject == "fixture"
        well = (bool(accused) and known) or (not accused and desk.terms.empty_is_ok)
        return [self._clear(desk, stamp, Verdict.OK if well else Verdict.UNKNOWN)]

    def _accuse(self, desk: _Desk, stamp: Stamp) -> None:
        """Remember who breaks the rule, and forget who is gone."""
        breaking = {s for s, w in desk.present(stamp).items() if w.verdict is Verdict.VIOLATION}
        if breaking or desk.offenders is not None:
            desk.offenders = ((desk.offenders or set()) | breaking) & desk.watches.keys()

    def _worsened(self, desk: _Desk, stamp: Stamp, violating: list[SubjectWatch]) -> list[AlarmEvent]:
        assert desk.alarm is not None  # noqa: S101 (narrowing; `_step` has checked)
        worst = max(violating, key=lambda w: w.confidence)
        grew = len(violating) > desk.alarm.subjects or desk.terms.severity.rank > desk.alarm.severity.rank
        verified_again = desk.alarm.verdict is not Verdict.VIOLATION
        if grew or (verified_again and self._may_speak(desk, stamp)):
            desk.peak, desk.verified = max(desk.peak, len(violating)), True
            return [self._update(desk, stamp, verdict=Verdict.VIOLATION, reason=worst.reason, violating=violating)]
        # Not told to anybody, but true for the next event.
        desk.alarm = replace(desk.alarm, last_seen=_last_seen(violating, stamp))
        return []

    def _doubtful(self, desk: _Desk, stamp: Stamp, accused: Mapping[str, SubjectWatch]) -> list[AlarmEvent]:
        assert desk.alarm is not None  # noqa: S101 (narrowing; `_step` has checked)
        why = desk.unseen or next((w.reason for w in accused.values() if w.verdict is Verdict.UNKNOWN), None)
        if desk.alarm.verdict is Verdict.UNKNOWN or why is None or not self._may_speak(desk, stamp):
            return []
        return [self._update(desk, stamp, verdict=Verdict.UNKNOWN, reason=why)]

    def _may_speak(self, desk: _Desk, stamp: Stamp) -> bool:
        """Whether the quiet time since the last event of this alarm is over; a restored alarm may always be judged."""
        assert desk.alarm is not None  # noqa: S101 (narrowing)
        return not desk.verified or stamp.mono - desk.alarm.at.mono >= desk.terms.quiet_s

    # -- ends that no look brings ------------------------------------------------------------------------------

    def stand_down(self, instance: Instance, stamp: Stamp) -> list[AlarmEvent]:
        """The rule does not apply here any more (day broke, the shift ended, the zone is gone)."""
        desk = self._desks.pop(instance, None)
        if desk is None or desk.alarm is None:
            return []
        return [self._clear(desk, stamp, Verdict.UNKNOWN)]

    def on_terms(self, terms: Mapping[str, Terms]) -> None:
        """Go on under other terms (a new site file); what was seen so far still counts."""
        self._terms = dict(terms)
        for desk in self._desks.values():
            desk.terms = self._terms[desk.instance.rule]
            for watch in desk.watches.values():
                watch.terms = desk.terms

    def keep_only(self, instances: Iterable[Instance], stamp: Stamp) -> list[AlarmEvent]:
        """After a new site file: stand down everything that is no longer watched."""
        kept = set(instances)
        return [e for i in [i for i in self._desks if i not in kept] for e in self.stand_down(i, stamp)]

    # -- reading -----------------------------------------------------------------------------------------------

    def verdicts(self, stamp: Stamp) -> dict[Instance, tuple[Verdict, ...]]:
        """The confirmed verdict of every subject that is there now: what a second adds to the tallies."""
        return {i: d.counted(stamp) for i, d in self._desks.items()}

    def places(self, stamp: Stamp) -> tuple[PlaceState, ...]:
        """How every rule instance that was ever looked at stands, sorted."""
        return tuple(d.state(stamp) for _, d in sorted(self._desks.items(), key=lambda x: str(x[0])))

    def open_alarms(self) -> tuple[AlarmEvent, ...]:
        return tuple(d.alarm for d in self._desks.values() if d.alarm is not None)

    def attach(self, event: AlarmEvent, refs: tuple[EvidenceRef, ...]) -> AlarmEvent:
        """The event with evidence added, the newest `MAX_EVIDENCE`; later events of the same alarm carry it too."""
        desk = self._desks.get(event.instance)
        if desk is None or desk.alarm is None or desk.alarm.alarm != event.alarm:
            return replace(event, evidence=(event.evidence + refs)[-MAX_EVIDENCE:])
        desk.alarm = replace(desk.alarm, evidence=(desk.alarm.evidence + refs)[-MAX_EVIDENCE:])
        return replace(event, evidence=desk.alarm.evidence)

    # -- events ------------------------------------------------------------------------------------------------

    def _raise(self, desk: _Desk, stamp: Stamp, violating: list[SubjectWatch]) -> AlarmEvent:
        worst = max(violating, key=lambda w: w.confidence)
        began = [w.breach_since for w in violating if w.breach_since is not None]
        desk.peak = len(violating)
        desk.alarm = AlarmEvent(
            id=str(uuid7()),
            alarm=str(uuid7()),
            change=AlarmChange.RAISED,
            instance=desk.instance,
            clauses=desk.terms.clauses,
            severity=desk.terms.severity,
            verdict=Verdict.VIOLATION,
            reason=worst.reason,
            subjects=len(violating),
            confidence=worst.confidence,
            first_seen=min(began, key=lambda s: s.mono, default=stamp),
            last_seen=_last_seen(violating, stamp),
            at=stamp,
        )
        return desk.alarm

    def _update(
        self,
        desk: _Desk,
        stamp: Stamp,
        *,
        verdict: Verdict,
        reason: Reason,
        violating: Sequence[SubjectWatch] = (),
    ) -> AlarmEvent:
        """violating: empty where nobody could be judged; what was known of them then stays in the event."""
        assert desk.alarm is not None  # noqa: S101 (narrowing)
        old = desk.alarm
        desk.alarm = replace(
            old,
            id=str(uuid7()),
            change=AlarmChange.UPDATED,
            severity=_higher(old.severity, desk.terms.severity),
            verdict=verdict,
            reason=reason,
            subjects=len(violating) or old.subjects,
            confidence=max((w.confidence for w in violating), default=old.confidence),
            last_seen=_last_seen(violating, stamp) if violating else old.last_seen,
            at=stamp,
            seq=0,
        )
        return desk.alarm

    def _clear(self, desk: _Desk, stamp: Stamp, verdict: Verdict) -> AlarmEvent:
        assert desk.alarm is not None  # noqa: S101 (narrowing)
        event = replace(cleared(desk.alarm, stamp, verdict), subjects=desk.peak)
        desk.alarm, desk.peak, desk.calm_since, desk.verified, desk.offenders = None, 0, None, True, None
        return event


def cleared(event: AlarmEvent, stamp: Stamp, verdict: Verdict) -> AlarmEvent:
    """The end of the alarm that `event` belongs to; UNKNOWN where nobody saw how it ended."""
    return replace(
        event,
        id=str(uuid7()),
        change=AlarmChange.CLEARED,
        verdict=verdict,
        reason=Reason.SEEN if verdict is Verdict.OK else event.reason,
        at=stamp,
        seq=0,
    )


def _last_seen(violating: Iterable[SubjectWatch], stamp: Stamp) -> Stamp:
    """The newest look at a breach: a subject stands for a while after it was last looked at."""
    return max((w.breach_seen for w in violating if w.breach_seen), key=lambda s: s.mono, default=stamp)


def _of_the_place(judgement: Judgement) -> bool:
    """Whether a judgement says that nothing at all can be judged here, whoever may be there."""
    return judgement.subject == CAMERA or judgement.reason in NOBODY_LOOKED


def _higher(a: Severity, b: Severity) -> Severity:
    return a if a.rank >= b.rank else b
