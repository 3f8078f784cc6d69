"""The table of states: which step is possible from where, and what an alarm does to a case in each."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.dispatch.cases import (
    LATE_DIGEST_S,
    LATE_SETTLE_S,
    MAX_AGE_S,
    MAX_TEXT,
    Action,
    Answer,
    CaseValues,
    Close,
    Dissatisfied,
    Done,
    EventValues,
    FalseAlarm,
    Give,
    Hold,
    Important,
    NotAllowed,
    Note,
    Take,
    act,
    mark_unverified,
    on_event,
    release,
    tells_nobody,
)
from broker.dispatch.database import table_of
from broker.dispatch.norm.review import REVIEW_S
from broker.dispatch.tables import AlarmState, Case, CaseState
from tests.dispatch.core.builders import NOW, case, event, message

OPEN, ASSIGNED, RESOLVED, ANSWERED, CLOSED, REOPENED, FALSE = (
    CaseState.OPEN,
    CaseState.ASSIGNED,
    CaseState.RESOLVED,
    CaseState.ANSWERED,
    CaseState.CLOSED,
    CaseState.REOPENED,
    CaseState.FALSE_ALARM,
)
STEPS: dict[Action, dict[CaseState, CaseState]] = {
    Take(): {OPEN: ASSIGNED, REOPENED: ASSIGNED, ASSIGNED: ASSIGNED},
    Give("bo"): {OPEN: ASSIGNED, REOPENED: ASSIGNED, ASSIGNED: ASSIGNED},
    Done("hat on"): {ASSIGNED: RESOLVED},
    Answer("told"): {RESOLVED: ANSWERED},
    Close("seen"): {ANSWERED: CLOSED},
    FalseAlarm("a bucket"): dict.fromkeys((OPEN, ASSIGNED, RESOLVED, ANSWERED, REOPENED), FALSE),
    Dissatisfied("again"): dict.fromkeys((RESOLVED, ANSWERED, CLOSED, FALSE), REOPENED),
    Hold(on=True): {s: s for s in CaseState},
    Important(on=True): {s: s for s in CaseState},
    Note("rain"): {s: s for s in CaseState},
}


@pytest.mark.parametrize("state", CaseState)
@pytest.mark.parametrize("action", STEPS, ids=lambda a: type(a).__name__)
def test_which_step_is_possible_from_where(action: Action, state: CaseState) -> None:
    before = case(state=state, owner="ann")
    wanted = STEPS[action].get(state)
    if wanted is None:
        with pytest.raises(NotAllowed):
            act(before, action, "ann", NOW + 9)
    else:
        assert act(before, action, "ann", NOW + 9).case.state is wanted


@pytest.mark.parametrize(
    ("action", "before", "code"),
    [
        (Take(), {"state": ASSIGNED, "owner": "bo"}, "owned"),
        (Done(" \n"), {"state": ASSIGNED}, "text"),
        (Done("x" * (MAX_TEXT + 1)), {"state": ASSIGNED}, "text"),
        (Done("a\0b"), {"state": ASSIGNED}, "text"),
        (Done("\ud800"), {"state": ASSIGNED}, "text"),
        (FalseAlarm(""), {}, "text"),
        (Dissatisfied(""), {"state": CLOSED}, "text"),
        (Close(), {"state": RESOLVED, "alarm_state": AlarmState.CLEARED}, "no_answer"),
        (Close(), {"state": ANSWERED}, "active"),
        (Close(" "), {"state": ANSWERED, "alarm_state": AlarmState.UNKNOWN}, "active"),
        (Close(), {"state": ANSWERED, "alarm_state": AlarmState.CLEARED, "unverified": True}, "active"),
        (Close(), {"state": OPEN, "alarm_state": AlarmState.CLEARED}, "state"),
    ],
)
def test_why_a_step_is_not_possible(action: Action, before: dict[str, Any], code: str) -> None:
    with pytest.raises(NotAllowed) as told:
        act(case(**before), action, "ann", NOW)
    assert told.value.code == code


@pytest.mark.parametrize(
    ("action", "before"),
    [
        (Take(), {"state": ASSIGNED, "owner": "ann"}),
        (Give("ann"), {"state": ASSIGNED, "owner": "ann"}),
        (Hold(on=False), {}),
        (Important(on=True), {"important": True}),
    ],
)
def test_a_step_that_was_taken_already_changes_nothing(action: Action, before: dict[str, Any]) -> None:
    assert not act(case(**before), action, "ann", NOW)


@pytest.mark.parametrize(
    ("before", "wanted"),
    [
        ({"state": ASSIGNED, "assigned_at": NOW}, OPEN),
        ({"state": ASSIGNED, "assigned_at": NOW, "reopened": 1}, REOPENED),
        ({"state": OPEN}, OPEN),
        ({"state": REOPENED, "reopened": 1}, REOPENED),
        ({"state": RESOLVED, "assigned_at": NOW, "resolved_at": NOW}, RESOLVED),
        ({"state": ANSWERED, "assigned_at": NOW, "resolved_at": NOW, "answered_at": NOW}, ANSWERED),
    ],
)
def test_a_case_whose_owner_left_is_nobodys_and_told_anew_where_it_has_no_result(
    before: dict[str, Any], wanted: CaseState
) -> None:
    old = case(owner="ann", **before)
    change = release(old, "root", NOW + 900)
    assert (change.case.state, change.case.owner) == (wanted, None)
    assert [(line.actor, line.action, line.detail) for line in change.lines] == [("root", "released", {"from": "ann"})]
    if before["state"] is ASSIGNED:
        assert (change.case.assigned_at, change.case.review_from) == (None, NOW + 900)
        jobs = [(job.kind, job.key, job.due, job.body.get("about")) for job in change.jobs]
        assert jobs == [("notify", "c1:raised", NOW + 900, "raised"), ("escalate", "c1", NOW + 1200, None)]
    else:
        assert (change.case.assigned_at, change.case.review_from) == (old.assigned_at, old.review_from)
        assert change.jobs == ()


@pytest.mark.parametrize(
    "before", [{"owner": None}, {"owner": "ann", "state": CLOSED}, {"owner": "ann", "state": FALSE}]
)
def test_what_is_nobodys_or_over_is_not_given_back(before: dict[str, Any]) -> None:
    assert not release(case(**before), "root", NOW)


def test_the_way_of_a_case() -> None:
    """Taken, done, answered, closed: times, texts, ledger, points."""
    now, opened = case(), on_event(None, event(), NOW, "c1")
    seen = [(line.action, [m.event for m in opened.marks]) for line in opened.lines]
    steps: tuple[Action, ...] = (Take(), Done("  hat on "), Answer("told"), Close("seen by me"))
    for n, action in enumerate(steps, start=1):
        change = act(now, action, "ann", NOW + 10 * n)
        now = change.case
        seen += [(line.action, [m.event for m in change.marks]) for line in change.lines]
    assert (now.owner, now.assigned_at, now.resolved_at, now.answered_at, now.closed_at) == (
        "ann", NOW + 10, NOW + 20, NOW + 30, NOW + 40,
    )  # fmt: skip
    assert (now.result, now.answer) == ("hat on", "told")
    assert seen == [
        ("opened", ["opened"]),
        ("taken", ["assigned"]),
        ("done", ["resolved"]),
        ("answered", ["answered"]),
        ("closed", ["closed"]),
    ]


def test_review_and_closing_are_measured() -> None:
    assert act(case(), Take(), "ann", NOW + 40).marks[0].review_s == 40
    assert act(case(state=ANSWERED), Close("x"), "ann", NOW + 99).marks[0].close_s == 99
    (untaken,) = act(case(), FalseAlarm("a bucket"), "ann", NOW + 400).marks
    assert (untaken.review_s, untaken.close_s) == (400, 400), "saying so is a review, and may be a late one"
    taken = act(case(), Take(), "ann", NOW + 40).case
    assert act(taken, FalseAlarm("a bucket"), "ann", NOW + 400).marks[0].review_s is None, "once is enough"
    again = act(case(state=CLOSED), Dissatisfied("no"), "ann", NOW + 500).case
    assert act(again, Take(), "ann", NOW + 530).marks[0].review_s == 30


def test_a_given_case_keeps_the_time_of_its_review_and_tells_its_new_owner() -> None:
    taken = act(case(), Take(), "ann", NOW + 5).case
    given = act(taken, Give("bo"), "ann", NOW + 50)
    assert (given.case.owner, given.case.assigned_at, given.marks) == ("bo", NOW + 5, ())
    assert [(j.kind, j.body["to"]) for j in given.jobs] == [("notify", "bo")]


@pytest.mark.parametrize("state", [CLOSED, FALSE, RESOLVED, ANSWERED])
def test_dissatisfied_begins_anew_with_the_same_owner(state: CaseState) -> None:
    before = case(
        state=state, owner="ann", assigned_at=NOW, resolved_at=NOW, result="r", answered_at=NOW, answer="t",
        closed_at=NOW, false_alarm_reason="f",
    )  # fmt: skip
    change = act(before, Dissatisfied("no"), "olga", NOW + 100)
    after = change.case
    assert (after.owner, after.reopened, after.review_from) == ("ann", 1, NOW + 100)
    assert {after.assigned_at, after.resolved_at, after.result, after.answered_at, after.answer, after.closed_at,
            after.false_alarm_reason} == {None}  # fmt: skip
    assert {(j.kind, j.due) for j in change.jobs} == {("notify", NOW + 100), ("escalate", NOW + 100 + REVIEW_S)}


# -- alarms ------------------------------------------------------------------------------------------------------------


def about(jobs: Any) -> list[str]:
    return [job.body.get("about", job.kind) for job in jobs]


@pytest.mark.parametrize(
    ("changes", "alarm_state", "jobs"),
    [
        ({}, AlarmState.ACTIVE, ["raised", "escalate"]),
        ({"verdict": "unknown", "event": "updated"}, AlarmState.UNKNOWN, ["raised", "escalate"]),
        ({"event": "cleared", "verdict": "ok"}, AlarmState.CLEARED, ["raised", "escalate"]),
        ({"age": 601}, AlarmState.ACTIVE, ["late_digest", "escalate"]),
        ({"age": 601, "severity": "critical"}, AlarmState.ACTIVE, ["raised", "escalate"]),
        ({"age": 601, "event": "cleared", "severity": "critical"}, AlarmState.CLEARED, ["escalate"]),
    ],
)
def test_any_event_opens_a_case(changes: dict[str, Any], alarm_state: AlarmState, jobs: list[str]) -> None:
    change = on_event(None, event(**changes), NOW, "c1")
    assert (change.case.state, change.case.alarm_state, about(change.jobs)) == (OPEN, alarm_state, jobs)
    assert change.case.opened_at == NOW
    assert change.case.late == (changes.get("age", 0) > 600)


def test_late_ones_wait_for_their_clear_and_for_each_other() -> None:
    critical = on_event(None, event(age=700, severity="critical"), NOW, "c1")
    assert critical.jobs[0].due == NOW + LATE_SETTLE_S
    digest = on_event(None, event(age=700), NOW, "c1").jobs[0]
    assert (digest.key, digest.due) == ("north-yard", NOW + LATE_DIGEST_S)
    cleared = on_event(critical.case, event(age=690, seq=2, event="cleared", verdict="ok"), NOW, "")
    assert tells_nobody(cleared.case)


@pytest.mark.parametrize(
    ("changes", "jobs"),
    [
        ({"subjects": 3}, ["updated"]),
        ({"severity": "critical"}, ["updated"]),
        ({"subjects": 1}, []),
        ({"severity": "info"}, []),
        ({"verdict": "unknown", "reason": "restarted"}, []),
        ({"event": "cleared", "verdict": "ok"}, ["cleared"]),
    ],
)
def test_an_update_tells_only_what_is_worse_or_over(changes: dict[str, Any], jobs: list[str]) -> None:
    change = on_event(case(), event(**{"event": "updated", "seq": 2} | changes), NOW)
    assert about(change.jobs) == jobs
    assert change.lines


def test_one_that_left_and_came_back_is_not_told_again() -> None:
    two = on_event(case(), event(event="updated", seq=2, subjects=2), NOW).case
    one = on_event(two, event(event="updated", seq=3, subjects=1), NOW).case
    assert about(on_event(one, event(event="updated", seq=4, subjects=2), NOW).jobs) == []


def test_each_alarm_is_told_again_as_it_gets_worse_however_bad_an_earlier_one_was() -> None:
    five = on_event(case(), event(event="updated", seq=2, subjects=5), NOW).case
    one = on_event(five, event(alarm="a2", seq=4, subjects=1), NOW).case
    assert about(on_event(one, event(alarm="a2", event="updated", seq=5, subjects=4), NOW).jobs) == ["updated"]


@pytest.mark.parametrize("seq", [1, 2])
def test_a_lower_seq_is_ignored(seq: int) -> None:
    before = case(alarm_seq=2)
    assert on_event(before, event(event="updated", seq=seq, subjects=9), NOW) == type(on_event(before, event(), NOW))(
        before
    )


@pytest.mark.parametrize(
    ("state", "after", "jobs"),
    [
        (OPEN, OPEN, ["raised"]),
        (ASSIGNED, ASSIGNED, ["raised"]),
        (RESOLVED, REOPENED, ["reopened", "escalate"]),
        (ANSWERED, REOPENED, ["reopened", "escalate"]),
        (REOPENED, REOPENED, ["raised"]),
    ],
)
def test_the_next_alarm_joins_a_case_that_is_not_over(state: CaseState, after: CaseState, jobs: list[str]) -> None:
    before = case(state=state, alarm_state=AlarmState.CLEARED, cleared_at=NOW, owner="ann", alarm_seq=90)
    new = event(alarm="a2", seq=3, received_at=NOW + 50)  # a replaced node counts anew
    change = on_event(before, new, NOW + 50)
    assert (change.case.state, change.case.alarms, change.case.alarm, change.case.cleared_at) == (after, 2, "a2", None)
    assert about(change.jobs) == jobs
    assert change.case.review_from == (NOW + 50 if after is not state else NOW)


def test_an_older_alarm_that_comes_after_a_newer_one_changes_nothing() -> None:
    newer = on_event(case(), event(alarm="a2", seq=5, received_at=NOW + 50), NOW + 50).case
    assert not on_event(newer, event(alarm="a0", seq=2, age=70, received_at=NOW + 60, event="cleared"), NOW + 60)


@pytest.mark.parametrize(("left", "seq", "joins"), [(True, 4, False), (True, 6, True), (False, 4, True)])
def test_an_alarm_that_was_left_comes_back_only_where_its_number_agrees(*, left: bool, seq: int, joins: bool) -> None:
    """Its time does not say: a message that lay at the broker for a worker that died is older than its age."""
    newer = on_event(case(), event(alarm="a2", seq=5, received_at=NOW + 50), NOW + 50).case
    change = on_event(newer, event(alarm="a1", seq=seq, received_at=NOW + 60), NOW + 60, left=left)
    assert bool(change) == joins


def test_a_clear_that_lay_at_the_broker_hides_no_later_alarm() -> None:
    """It is dated to when it came, after the next alarm; the alarm's number is the higher one all the same."""
    cleared = on_event(case(), event(event="cleared", verdict="ok", seq=2, received_at=NOW + 15), NOW + 15).case
    after = on_event(cleared, event(alarm="a2", seq=3, received_at=NOW + 10), NOW + 15).case
    assert (after.alarm, after.alarm_state) == ("a2", AlarmState.ACTIVE)


@pytest.mark.parametrize("state", [CLOSED, FALSE])
def test_a_case_that_is_over_keeps_up_with_its_alarm_and_tells_nobody(state: CaseState) -> None:
    change = on_event(case(state=state), event(event="cleared", verdict="ok", seq=2), NOW)
    assert (change.case.state, change.case.alarm_state, change.jobs) == (state, AlarmState.CLEARED, ())


@pytest.mark.parametrize("state", [OPEN, ASSIGNED])
def test_cleared_and_unreviewed_stays(state: CaseState) -> None:
    after = on_event(case(state=state), event(event="cleared", verdict="ok", seq=2), NOW).case
    assert (after.state, after.alarm_state) == (state, AlarmState.CLEARED)


# -- silence -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "marked"),
    [
        ({}, True),
        ({"alarm_state": AlarmState.UNKNOWN, "state": RESOLVED}, True),
        ({"alarm_state": AlarmState.CLEARED}, False),
        ({"unverified": True}, False),
        ({"state": CLOSED}, False),
        ({"source": "-"}, False),
    ],
)
def test_a_silent_node_makes_its_alarms_unverified(before: dict[str, Any], marked: bool) -> None:
    assert bool(mark_unverified(case(**before), "silent")) == marked


@pytest.mark.parametrize(
    ("changes", "unverified"),
    [
        ({"event": "updated", "verdict": "unknown", "reason": "restarted"}, True),
        ({"event": "updated", "verdict": "violation"}, False),
        ({"event": "cleared", "verdict": "ok"}, False),
    ],
)
def test_only_a_judgement_verifies_again(changes: dict[str, Any], unverified: bool) -> None:
    assert on_event(case(unverified=True), event(seq=2, **changes), NOW).case.unverified == unverified


@pytest.mark.parametrize("action", [Done("seen"), FalseAlarm("nothing")])
def test_or_a_person(action: Action) -> None:
    assert not act(case(state=ASSIGNED, unverified=True), action, "ann", NOW).case.unverified


# -- dates -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age_s", "late"), [(0.0, False), (600.0, False), (600.5, True), (86_400.0, True), (1e300, True)]
)
def test_an_event_is_dated_by_its_age_whatever_the_nodes_clock_says(age_s: float, late: bool) -> None:
    there = message(age_s=age_s, at=9e9, first_seen=9e9 - 5, last_seen=9e9 + 1e6)  # a clock far in the future
    read = EventValues.of("s", "n", there, NOW)
    age = min(age_s, MAX_AGE_S)
    assert (read.at, read.first_seen, read.last_seen, read.late) == (NOW - age, NOW - age - 5, NOW - age, late)


@given(
    steps=st.lists(
        st.one_of(
            st.sampled_from(list(STEPS)),
            st.builds(
                event,
                alarm=st.sampled_from(["a1", "a2"]),
                seq=st.integers(1, 5),
                event=st.sampled_from(["raised", "updated", "cleared"]),
                verdict=st.sampled_from(["ok", "violation", "unknown"]),
                age=st.sampled_from([0.0, 5.0, 700.0]),
            ),
        ),
        max_size=12,
    )
)
def test_whatever_happens_a_case_makes_sense(steps: list[Action | EventValues]) -> None:
    now = case()
    for n, step in enumerate(steps):
        try:
            change = on_event(now, step, NOW + n) if isinstance(step, EventValues) else act(now, step, "ann", NOW + n)
        except NotAllowed:
            continue
        assert change or change.case == now
        now = change.case
        assert (now.closed_at is not None) == now.state.over
        assert (now.cleared_at is not None) == (now.alarm_state is AlarmState.CLEARED)
        assert now.state is not ASSIGNED or (now.owner and now.assigned_at)
        assert now.state not in {RESOLVED, ANSWERED, CLOSED} or now.result
        assert now.state not in {ANSWERED, CLOSED} or now.answer
        assert now.subjects <= now.subjects_peak


def test_values_and_table_have_the_same_columns() -> None:
    columns = {c.name for c in table_of(Case).columns}
    assert {f.name for f in fields(CaseValues)} | {"identity"} == columns
    assert set(case().columns()) == columns
