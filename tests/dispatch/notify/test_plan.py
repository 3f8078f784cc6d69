"""What goes to one person, as tables."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.dispatch.notify.message import About
from broker.dispatch.notify.plan import (
    GATHER_S,
    GATHER_URGENT_S,
    STORM_URGENT_S,
    STORM_WINDOW_S,
    Dropped,
    Parcel,
    Waiting,
    plan,
)

NOW = 1_790_000_000.0
LONG_AGO = NOW - 60


def row(case: str | None = "c1", about: str = "raised", **changes: Any) -> Waiting:
    values: dict[str, Any] = {
        "id": f"{case}-{about}",
        "case": case,
        "site": "east",
        "about": About(about),
        "since": LONG_AGO,
        "rule": "helmet",
        "severity": "warning",
    }
    return Waiting(**(values | changes))


def told(parcels: tuple[Parcel, ...]) -> list[tuple[str, list[str]]]:
    return [(p.about.value, [r.id for r in p.rows]) for p in parcels]


def test_ten_helmets_are_one_message() -> None:
    rows = [row(f"c{n}", since=NOW - GATHER_S + n * 0.2) for n in range(10)]
    found = plan(rows, [], 20, NOW)
    assert told(found.send) == [("raised", [r.id for r in rows])]
    assert found.later is None


def test_one_rule_does_not_hide_another_nor_one_site_another() -> None:
    rows = [row("a"), row("b", rule="intrusion"), row("c", site="west")]
    assert [p.rows for p in plan(rows, [], 20, NOW).send] == [(rows[0],), (rows[1],), (rows[2],)]


@pytest.mark.parametrize(
    ("changes", "wait"),
    [
        ({}, GATHER_S),
        ({"picture": True}, GATHER_S),
        ({"severity": "critical"}, GATHER_S),
        ({"severity": "critical", "picture": True}, GATHER_URGENT_S),
        ({"about": "repeat"}, GATHER_URGENT_S),
        ({"about": "escalation"}, GATHER_URGENT_S),
        ({"about": "given"}, 0.0),
        ({"about": "feedback"}, 0.0),
        ({"about": "late"}, 0.0),
        ({"about": "cleared", "heard": True, "cleared": True}, GATHER_S),
    ],
)
def test_how_long_a_message_waits_for_its_like_and_its_picture(changes: dict[str, Any], wait: float) -> None:
    waits = row(**(changes | {"since": NOW}))
    assert bool(plan([waits], [], 20, NOW).send) == (wait == 0)
    if wait:
        assert plan([waits], [], 20, NOW).later == NOW + wait
        assert not plan([waits], [], 20, NOW + wait - 0.01).send
    assert plan([waits], [], 20, NOW + wait).send


@pytest.mark.parametrize(
    ("rows", "sent", "dropped"),
    [
        ([row()], "raised", {}),
        ([row(over=True)], None, {"raised": Dropped.OVER}),
        ([row(about="cleared", heard=True, cleared=True)], "cleared", {}),
        ([row(about="cleared", cleared=True)], None, {"cleared": Dropped.NOT_TOLD}),
        ([row(about="cleared", heard=True)], None, {"cleared": Dropped.LASTS}),
        ([row(cleared=True), row(about="cleared", cleared=True)], "raised", {"cleared": Dropped.MERGED}),
        ([row(), row(about="updated")], "raised", {"updated": Dropped.MERGED}),
        ([row(about="updated"), row(about="escalation")], "escalation", {"updated": Dropped.MERGED}),
        ([row(about="reopened"), row()], "reopened", {"raised": Dropped.MERGED}),
        ([row(), row(about="given")], "given", {"raised": Dropped.MERGED}),
        (
            [row(about="updated", heard=True, cleared=True), row(about="cleared", heard=True, cleared=True)],
            "cleared",
            {"updated": Dropped.MERGED},
        ),
        ([row(about="repeat", taken=True)], None, {"repeat": Dropped.TAKEN}),
        ([row(about="escalation", taken=True)], None, {"escalation": Dropped.TAKEN}),
        ([row(about="updated", taken=True, heard=True)], "updated", {}),
        ([row(about="feedback", over=True)], "feedback", {}),
        ([row(about="late", cleared=True)], None, {"late": Dropped.CLEARED}),
    ],
)
def test_what_is_left_to_tell_about_a_case(rows: list[Waiting], sent: str | None, dropped: dict[str, Dropped]) -> None:
    found = plan(rows, [], 20, NOW)
    assert told(found.send) == ([(sent, [f"c1-{sent}"])] if sent else [])
    assert found.drop == {f"c1-{about}": why for about, why in dropped.items()}


def test_a_late_digest_lists_what_has_cleared_beside_what_has_not() -> None:
    rows = [row("a", "late", cleared=True), row("b", "late", rule="barrier")]
    assert told(plan(rows, [], 20, NOW).send) == [("late", ["a-late", "b-late"])]


def test_quiet_hours_hold_a_row_and_not_its_neighbour() -> None:
    held, urgent = row("a", not_before=NOW + 3600), row("b", severity="critical")
    found = plan([held, urgent], [], 20, NOW)
    assert told(found.send) == [("raised", ["b-raised"])]
    assert found.later == NOW + 3600


# -- storms ------------------------------------------------------------------------------------------------------------


def storm_of(n: int, **changes: Any) -> list[Waiting]:
    return [row(f"c{i}", rule=f"rule{i}", **changes) for i in range(n)]


def test_up_to_the_rate_each_goes_by_itself() -> None:
    assert len(plan(storm_of(4), [NOW - 10] * 16, 20, NOW).send) == 4


def test_above_the_rate_they_are_one_digest() -> None:
    found = plan(storm_of(5), [NOW - 10] * 16, 20, NOW)
    assert [(p.about, len(p.rows)) for p in found.send] == [(About.DIGEST, 5)]


def test_with_the_rate_used_up_a_digest_waits_until_the_window_has_room() -> None:
    sent = [NOW - 500 + n for n in range(20)]
    found = plan(storm_of(5), sent, 20, NOW)
    assert not found.send
    assert found.later == sent[0] + STORM_WINDOW_S
    assert [p.about for p in plan(storm_of(5), sent, 20, found.later).send] == [About.DIGEST]


def test_in_a_storm_what_becomes_ready_is_no_reason_to_look_again() -> None:
    """But what is urgent is, and so is a report."""
    sent = [NOW - 300 + n for n in range(20)]
    slot = sent[0] + STORM_WINDOW_S
    fresh = row("x", since=NOW)
    assert plan([*storm_of(5), fresh], sent, 20, NOW).later == slot
    assert plan([*storm_of(5), row("x", since=NOW, severity="critical")], sent, 20, NOW).later == NOW + GATHER_S
    assert plan([fresh], sent, 20, NOW).later == NOW + GATHER_S


@pytest.mark.parametrize("changes", [{"severity": "critical"}, {"about": "escalation"}])
def test_what_is_urgent_waits_a_minute_at_most_even_in_a_storm(changes: dict[str, Any]) -> None:
    sent = [NOW - 5] * 20
    found = plan([*storm_of(5), row("x", **changes)], sent, 20, NOW)
    assert not found.send
    assert found.later == NOW - 5 + STORM_URGENT_S
    assert len(plan([*storm_of(5), row("x", **changes)], sent, 20, found.later).send[0].rows) == 6


def test_a_hand_over_report_is_never_part_of_a_digest() -> None:
    report = row(None, "handover", rule="")
    found = plan([*storm_of(3), report], [NOW - 5] * 20, 20, NOW)
    assert told(found.send) == [("handover", ["None-handover"])]


ROWS = st.lists(
    st.builds(
        row,
        st.sampled_from(["a", "b", "c", "d"]),
        st.sampled_from([a.value for a in About if a is not About.DIGEST]),
        id=st.uuids().map(str),
        site=st.sampled_from(["east", "west"]),
        rule=st.sampled_from(["helmet", "intrusion"]),
        severity=st.sampled_from(["info", "warning", "critical"]),
        since=st.floats(NOW - 900, NOW),
        not_before=st.sampled_from([0.0, NOW + 3600]),
        heard=st.booleans(),
        over=st.booleans(),
        cleared=st.booleans(),
        taken=st.booleans(),
        picture=st.booleans(),
    ),
    max_size=12,
)


@given(ROWS, st.lists(st.floats(NOW - 900, NOW), max_size=12), st.integers(1, 8))
def test_nothing_is_lost_and_nothing_told_twice(rows: list[Waiting], sent: list[float], storm: int) -> None:
    found = plan(rows, sent, storm, NOW)
    going = [r.id for p in found.send for r in p.rows]
    assert len(going) == len(set(going))
    assert not set(going) & set(found.drop)
    left = {r.id for r in rows} - {*going, *found.drop}
    assert bool(left) == (found.later is not None)
    if found.later is not None:
        assert found.later > NOW


@given(ROWS, st.lists(st.floats(NOW - 900, NOW), max_size=12), st.integers(1, 8))
def test_no_more_messages_than_the_rate(rows: list[Waiting], sent: list[float], storm: int) -> None:
    """But for hand-over reports, and one digest a minute with something urgent in it."""
    found = plan(rows, sent, storm, NOW)
    going = [p for p in found.send if p.about is not About.HANDOVER]
    recent = [at for at in sent if at > NOW - STORM_WINDOW_S]
    if going and len(recent) + len(going) > storm:
        assert len(going) == 1
        assert any(r.urgent for r in going[0].rows)
        assert max(recent) <= NOW - STORM_URGENT_S
