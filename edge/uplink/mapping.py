"""From an alarm event of the journal to the message that goes over the wire. Pure."""

from __future__ import annotations

from broker.messages import MAX_CLAUSES, MAX_EVIDENCE, AlarmMessage, EvidenceItem
from edge.clock import Stamp
from edge.journal.codec import redated_event
from edge.values import AlarmEvent


def age_s(at: Stamp, now: Stamp) -> float:
    """Seconds from `at` to `now`, at least 0: by the monotonic clock within a boot, else by the wall clock."""
    passed = now.mono - at.mono if at.boot == now.boot else now.wall - at.wall
    return max(0.0, passed)


def alarm_message(event: AlarmEvent, now: Stamp) -> AlarmMessage:
    """The message for one sending at `now`: dates put right where that can be done by now, age measured anew.

    Of evidence the newest are named, as many as a message may hold. Raises pydantic.ValidationError (a ValueError) for
    an event that breaks the contract, for example one without `seq`.
    """
    event = redated_event(event, now)
    return AlarmMessage(
        id=event.id,
        alarm=event.alarm,
        seq=event.seq,
        event=event.change.value,
        source=event.instance.source,
        place=event.instance.place,
        rule=event.instance.rule,
        clause=event.clauses[:MAX_CLAUSES],
        severity=event.severity.value,
        verdict=event.verdict.value,
        reason=event.reason.value,
        subjects=event.subjects,
        confidence=event.confidence,
        first_seen=event.first_seen.wall,
        last_seen=event.last_seen.wall,
        at=event.at.wall,
        age_s=round(age_s(event.at, now), 3),
        clock_ok=event.first_seen.synced and event.last_seen.synced and event.at.synced,
        evidence=tuple(
            EvidenceItem(sha256=e.sha256, kind=e.kind, bytes=e.bytes) for e in event.evidence[-MAX_EVIDENCE:]
        ),
    )


def without_evidence(message: AlarmMessage) -> AlarmMessage:
    """A smaller message for a broker with a low packet limit; the files still come by HTTPS, under the alarm's id."""
    return message.model_copy(update={"evidence": ()})
