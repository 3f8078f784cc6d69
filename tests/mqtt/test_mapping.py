"""From the journal's event to the message on the wire: a table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broker.messages import AlarmMessage
from edge.clock import ManualClock, Stamp
from edge.uplink.mapping import age_s, alarm_message, without_evidence
from edge.values import AlarmChange, AlarmEvent, EvidenceRef, Instance, Reason, Severity, Verdict
from tests.journal.builders import event

AT = Stamp(wall=1_790_000_000.0, mono=1000.0, boot="a", synced=True)


@pytest.mark.parametrize(
    ("now", "age"),
    [
        (AT, 0.0),
        (AT.plus(12.5), 12.5),
        (replace(AT, mono=1060.0, wall=AT.wall - 86_400), 60.0),  # the wall clock was put back meanwhile
        (replace(AT, mono=1060.0, wall=AT.wall + 86_400), 60.0),
        (Stamp(AT.wall + 3600, 5.0, "b", True), 3600.0),  # another boot: only the wall clock is left
        (Stamp(AT.wall - 3600, 5.0, "b", False), 0.0),  # a clock that lost its time: never negative
        (replace(AT, mono=999.0), 0.0),
    ],
)
def test_age(now: Stamp, age: float) -> None:
    assert age_s(AT, now) == age


MADE = replace(event(AT), seq=7)


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ({}, "id", MADE.id),
        ({}, "alarm", MADE.alarm),
        ({}, "seq", 7),
        ({}, "event", "raised"),
        ({"change": AlarmChange.UPDATED}, "event", "updated"),
        ({"change": AlarmChange.CLEARED}, "event", "cleared"),
        ({}, "source", "gate"),
        ({}, "place", "trench"),
        ({"instance": Instance("gate", "-", "hi_vis")}, "place", "-"),
        ({"instance": Instance("gate", "-", "hi_vis")}, "rule", "hi_vis"),
        ({}, "clause", ("I.1.2", "I.6.1")),
        ({"clauses": ("x",) * 40}, "clause", ("x",) * 16),
        *(({"severity": s}, "severity", s.value) for s in Severity),
        *(({"verdict": v}, "verdict", v.value) for v in Verdict),
        *(({"reason": r}, "reason", r.value) for r in Reason),
        ({}, "subjects", 2),
        ({}, "confidence", 0.9),
        ({}, "first_seen", AT.wall - 2),
        ({}, "last_seen", AT.wall),
        ({}, "at", AT.wall),
        ({}, "age_s", 30.0),
        ({}, "clock_ok", True),
        ({"first_seen": replace(AT, synced=False, boot="older")}, "clock_ok", False),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else type(value).__name__,  # ids differ a run
)
def test_each_field(change: dict[str, Any], field: str, value: object) -> None:
    assert getattr(alarm_message(replace(MADE, **change), AT.plus(30)), field) == value


def test_dates_of_this_boot_are_put_right_as_soon_as_the_clock_is(clock: ManualClock) -> None:
    wrong = replace(clock.now(), wall=0.0, synced=False)
    made = replace(event(wrong), seq=1)
    before = alarm_message(made, wrong.plus(10))
    assert (before.at, before.clock_ok, before.age_s) == (0.0, False, 10)
    after = alarm_message(made, clock.advance(10))
    assert after.at == pytest.approx(clock.wall - 10)
    assert after.first_seen == pytest.approx(clock.wall - 12)
    assert (after.clock_ok, after.age_s) == (True, 10)


def test_the_newest_evidence_is_named_as_far_as_it_fits() -> None:
    refs = tuple(EvidenceRef(f"{n:064x}", "snapshot", n) for n in range(100))
    message = alarm_message(replace(MADE, evidence=refs), AT)
    assert [e.bytes for e in message.evidence] == list(range(36, 100))
    assert AlarmMessage.from_payload(message.to_payload()) == message
    assert without_evidence(message) == message.model_copy(update={"evidence": ()})


@pytest.mark.parametrize("change", [{"seq": 0}, {"confidence": 1.5}, {"confidence": float("nan")}, {"id": "a/b"}])
def test_an_event_that_breaks_the_contract_is_named(change: dict[str, Any]) -> None:
    broken: AlarmEvent = replace(MADE, **change)
    with pytest.raises(ValueError, match=next(iter(change))):
        alarm_message(broken, AT)
