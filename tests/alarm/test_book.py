"""The life of an alarm."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.alarm.book import AlarmBook
from edge.values import AlarmChange, EvidenceRef, Instance, Reason, Severity, Verdict
from tests.alarm.builders import BAD, DIM, FENCE, HELMET, HI_VIS, NO_ENTRY, OK, TERMS, Watcher, blind, judgement

RAISED, UPDATED, CLEARED = AlarmChange.RAISED, AlarmChange.UPDATED, AlarmChange.CLEARED


def changes(w: Watcher) -> list[AlarmChange]:
    return [e.change for e in w.events]


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ("ooooooooooo", []),
        ("VVVVV", []),
        ("VVVVVV", [RAISED]),
        ("V" * 100, [RAISED]),
        ("V" * 6 + "o" * 100, [RAISED]),  # helmet on, but calm for less than 30 s
        ("V" * 6 + "o" * 170, [RAISED, CLEARED]),
        ("V" * 6 + "-" * 170, [RAISED, CLEARED]),
        ("V" * 6 + "o" * 100 + "V" * 10 + "o" * 100, [RAISED]),  # takes it off again: the same alarm
        ("V" * 6 + "-" * 50 + "V" * 10, [RAISED]),  # walks behind a van and comes back
        ("V" * 6 + "." * 500 + "V" * 10, [RAISED]),  # a blind camera clears nothing
        ("V" * 6 + "." * 500 + "-" * 100, [RAISED]),  # and its blind time is not calm
        ("V" * 6 + "u" * 300, [RAISED]),  # what cannot be judged is not cleared
    ],
)
def test_helmet_alarm_life(looks: str, expected: list[AlarmChange]) -> None:
    w = Watcher()
    w.play(HELMET, looks)
    assert changes(w) == expected


def test_an_alarm_keeps_its_identity_and_every_event_has_its_own_id() -> None:
    w = Watcher()
    w.play(HELMET, "V" * 6 + "o" * 170)
    raised, cleared = w.events
    assert raised.alarm == cleared.alarm
    assert raised.id != cleared.id
    assert (cleared.verdict, cleared.subjects, cleared.first_seen) == (OK, 1, raised.first_seen)
    w.play(HELMET, "V" * 10)
    assert w.events[-1].alarm != raised.alarm


def test_first_seen_is_when_the_breach_began_not_when_it_was_believed() -> None:
    w = Watcher()
    w.play(HELMET, "oooooooo")
    began = w.clock.now().mono + 0.2
    w.play(HELMET, "V" * 10)
    assert w.events[0].first_seen.mono == pytest.approx(began)


@pytest.mark.parametrize(
    ("instance", "verdict"),
    [(HELMET, DIM), (NO_ENTRY, OK)],  # a bare head that left is not known to be safe; an empty pit is
)
def test_how_it_ended_when_nobody_is_there(instance: object, verdict: object) -> None:
    w = Watcher()
    which = HELMET if instance is HELMET else NO_ENTRY
    w.play(which, "V" * 6 + "-" * 170)
    assert w.events[-1].verdict is verdict


def test_more_subjects_are_told_at_once_fewer_are_not() -> None:
    w = Watcher()
    w.crowd(HELMET, [BAD], 6)
    w.crowd(HELMET, [BAD, BAD, BAD], 6)
    w.crowd(HELMET, [BAD, OK, OK], 20)
    w.crowd(HELMET, [BAD, BAD, BAD], 20)  # not more than was told already
    assert [(e.change, e.subjects) for e in w.events] == [(RAISED, 1), (UPDATED, 3)]


def test_one_rule_never_mutes_another() -> None:
    w = Watcher()
    for _ in range(10):
        w.see(HELMET, judgement(BAD))
        w.see(HI_VIS, judgement(BAD), dt=0.01)
    assert [e.instance.rule for e in w.events] == ["helmet", "hi_vis"]


def test_two_places_are_two_alarms() -> None:
    w = Watcher()
    other = replace(FENCE, place="south-fence")
    for _ in range(14):
        w.see(FENCE, judgement(BAD, "north-fence"), dt=2.5)
        w.see(other, judgement(BAD, "south-fence"), dt=2.5)
    assert [e.instance.place for e in w.events] == ["north-fence", "south-fence"]


def test_a_fixture_is_not_cleared_by_silence_or_doubt() -> None:
    w = Watcher()
    w.play(FENCE, "V" * 13, dt=5)
    w.play(FENCE, "-" * 50, dt=5)
    assert changes(w) == [RAISED]
    w.play(FENCE, "u" * 50, dt=5)
    assert [(e.change, e.verdict) for e in w.events[1:]] == [(UPDATED, DIM)]
    w.play(FENCE, "o" * 40, dt=5)
    assert w.events[-1].change is CLEARED
    assert w.events[-1].verdict is OK


def test_a_rule_that_ends_clears_its_alarm_as_unknown() -> None:
    w = Watcher()
    w.play(HELMET, "V" * 6)
    (event,) = w.book.stand_down(HELMET, w.clock.now())
    assert (event.change, event.verdict) == (CLEARED, DIM)
    assert w.book.open_alarms() == ()
    assert w.book.stand_down(HELMET, w.clock.now()) == []


def test_restart_tells_that_open_alarms_are_unverified_and_judging_verifies_them() -> None:
    before = Watcher()
    before.play(HELMET, "V" * 6)
    after = Watcher(AlarmBook(TERMS, before.book.open_alarms()))
    (doubt,) = after.book.restart(after.clock.now())
    assert (doubt.change, doubt.verdict, doubt.reason) == (UPDATED, DIM, Reason.RESTARTED)
    assert doubt.alarm == before.events[0].alarm
    after.play(HELMET, "V" * 6)
    assert [(e.change, e.verdict, e.alarm) for e in after.events] == [(UPDATED, BAD, doubt.alarm)]


@pytest.mark.parametrize(
    ("instance", "verdict"),
    [(HELMET, DIM), (FENCE, OK)],  # that somebody wears a hat does not show who was bare before; a fence is a fence
)
def test_restored_alarm_clears_when_calm(instance: Instance, verdict: Verdict) -> None:
    dt = 5.0 if instance is FENCE else 0.2
    before = Watcher()
    before.play(instance, "V" * 14, dt=dt)
    after = Watcher(AlarmBook(TERMS, before.book.open_alarms()))
    after.book.restart(after.clock.now())
    after.play(instance, "o" * 170, dt=dt)
    assert [(e.change, e.verdict) for e in after.events] == [(CLEARED, verdict)]


@pytest.mark.parametrize(
    ("offender", "bystander", "ends"),
    [
        pytest.param(OK, DIM, [(CLEARED, OK)], id="put right; somebody else cannot be judged"),
        pytest.param(OK, OK, [(CLEARED, OK)], id="put right; somebody else always was"),
        pytest.param(None, OK, [(CLEARED, DIM)], id="gone; that others are in order proves nothing"),
        pytest.param(None, DIM, [(CLEARED, DIM)], id="gone; somebody else cannot be judged"),
        pytest.param(DIM, OK, [], id="still there and not to be judged, within the quiet time"),
    ],
)
def test_who_broke_the_rule_ends_the_alarm_and_nobody_else(
    offender: Verdict | None, bystander: Verdict, ends: list[tuple[AlarmChange, Verdict]]
) -> None:
    w = Watcher()
    for _ in range(10):
        w.see(HELMET, judgement(BAD, "person:1"), judgement(bystander, "person:2"))
    assert changes(w) == [RAISED]
    for _ in range(200):
        first = [] if offender is None else [judgement(offender, "person:1")]
        w.see(HELMET, *first, judgement(bystander, "person:2"))
    assert [(e.change, e.verdict) for e in w.events[1:]] == ends


def test_a_higher_severity_is_told_at_once() -> None:
    before = Watcher()
    before.play(HELMET, "V" * 6)
    stricter = TERMS | {"helmet": replace(TERMS["helmet"], severity=Severity.CRITICAL)}
    after = Watcher(AlarmBook(stricter, before.book.open_alarms()))
    after.book.restart(after.clock.now())
    after.play(HELMET, "V" * 6)
    assert after.events[-1].severity is Severity.CRITICAL


def test_evidence_stays_with_the_alarm() -> None:
    w = Watcher()
    w.play(HELMET, "V" * 6)
    ref = EvidenceRef("ab" * 32, "snapshot", 10)
    assert w.book.attach(w.events[0], (ref,)).evidence == (ref,)
    w.play(HELMET, "o" * 170)
    assert w.events[-1].evidence == (ref,)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from([HELMET, FENCE, NO_ENTRY]), st.sampled_from("oVu-.")), max_size=300))
def test_events_of_an_instance_always_alternate(steps: list[tuple[object, str]]) -> None:
    w = Watcher()
    for instance, letter in steps:
        w.play(instance, letter * 3, dt=0.5)  # type: ignore[arg-type]
    for instance in (HELMET, FENCE, NO_ENTRY):
        is_open = False
        for event in (e for e in w.events if e.instance == instance):
            assert (event.change is RAISED) == (not is_open)
            is_open = event.change is not CLEARED
    assert len({e.id for e in w.events}) == len(w.events)


def test_after_doubt_the_number_that_was_told_last_counts() -> None:
    w = Watcher(AlarmBook({"helmet": replace(TERMS["helmet"], quiet_s=0)}))
    w.crowd(HELMET, [BAD, BAD, BAD], 6)
    w.crowd(HELMET, [DIM, DIM, DIM], 12)
    w.crowd(HELMET, [BAD, DIM, DIM], 12)
    w.crowd(HELMET, [BAD, BAD, BAD], 12)
    assert [(e.change, e.verdict, e.subjects) for e in w.events] == [
        (RAISED, BAD, 3),
        (UPDATED, DIM, 3),
        (UPDATED, BAD, 1),
        (UPDATED, BAD, 3),
    ]


def test_last_seen_is_the_newest_look_at_a_breach() -> None:
    w = Watcher()
    w.play(HELMET, "V" * 20)
    seen = w.clock.now()
    w.play(HELMET, "-" * 170)
    assert w.events[-1].change is CLEARED
    assert w.events[-1].last_seen == seen


@pytest.mark.parametrize("people", [0, 1, 3])
def test_a_blind_camera_counts_one_unknown_whoever_was_there(people: int) -> None:
    w = Watcher()
    w.crowd(HELMET, [OK] * people, 10)
    w.see(HELMET, blind())
    assert w.book.verdicts(w.clock.now()) == {HELMET: (DIM,)}
    w.crowd(HELMET, [OK] * people, 1)
    assert w.book.verdicts(w.clock.now()) == {HELMET: (OK,) * people}


def test_a_fixture_that_a_blind_camera_does_not_see_is_counted_as_unknown() -> None:
    w = Watcher()
    w.play(FENCE, "o" * 13, dt=5)
    assert w.book.verdicts(w.clock.now()) == {FENCE: (OK,)}
    w.see(FENCE, blind("north-fence"), dt=1)
    assert w.book.verdicts(w.clock.now()) == {FENCE: (DIM,)}
    (state,) = w.book.places(w.clock.now())
    assert (state.verdict, state.reason, state.subjects) == (DIM, Reason.CAMERA_BLIND, 1)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.lists(st.sampled_from([OK, BAD, DIM]), max_size=4), st.booleans(), st.floats(0.1, 3.0))))
def test_events_of_an_alarm_keep_their_promises(steps: list[tuple[list[Verdict], bool, float]]) -> None:
    w = Watcher(AlarmBook({"helmet": replace(TERMS["helmet"], clear_s=3.0, quiet_s=5.0)}))
    for verdicts, is_blind, dt in steps:
        if is_blind:
            w.see(HELMET, blind(), dt=dt)
        else:
            w.crowd(HELMET, verdicts, 4, dt=dt / 4)
    for alarm in {e.alarm for e in w.events}:
        first, *rest = [e for e in w.events if e.alarm == alarm]
        assert first.change is RAISED
        for before, after in zip([first, *rest], rest, strict=False):
            assert before.change is not CLEARED
            assert after.first_seen == first.first_seen
            assert before.last_seen.mono <= after.last_seen.mono <= after.at.mono
            more = after.verdict is BAD and after.subjects > before.subjects
            assert after.change is CLEARED or more or after.at.mono - before.at.mono >= 5.0
