"""What one shift hands over to the next, the important by itself."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date
from typing import Any

import pytest

from broker.dispatch.norm.calendar import ShiftAt
from broker.dispatch.norm.handover import CaseFacts, Crews, HandoverReport, SilentNode, hand_over
from tests.dispatch.norm.builders import BERLIN, DAY, NIGHT, SHANGHAI, at, calendar, case

(SHIFT,) = [s for s in calendar(DAY, NIGHT).starting(date(2026, 6, 1)) if s.shift.name == "day"]
EARLIER, WITHIN, JUST_IN = at("2026-05-30 10:00"), at("2026-06-01 10:00"), at("2026-06-01 19:56")
END = at("2026-06-01 20:00")
LISTS = (
    "important", "open", "overdue", "no_result", "to_answer", "to_close", "reopened", "false_alarms", "unverified",
)  # fmt: skip


def report(
    cases: Iterable[CaseFacts], silent: Iterable[SilentNode] = (), *, shift: ShiftAt = SHIFT, now: float = math.inf
) -> HandoverReport:
    return hand_over(shift, cases, silent, Crews(), site="Site", zone=SHANGHAI, now=now)


def lists_of(handed: HandoverReport) -> set[str]:
    return {name for name in LISTS if getattr(handed, name)}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, {"open", "no_result"}),
        ({"opened_at": EARLIER}, {"open", "no_result"}),
        ({"over_at": WITHIN + 600}, set()),
        ({"severity": "critical"}, {"open", "no_result", "important"}),
        ({"marked_important": True}, {"open", "no_result", "important"}),
        ({"marked_important": True, "over_at": WITHIN + 600}, set()),
        ({"assigned_at": None}, {"open", "overdue"}),
        ({"assigned_at": None, "opened_at": JUST_IN}, {"open"}),  # the five minutes are not over yet
        ({"resolved_at": WITHIN + 600}, {"open", "to_answer"}),
        ({"resolved_at": WITHIN + 600, "answered_at": WITHIN + 900}, {"open", "to_close"}),
        ({"unverified": True}, {"open", "no_result", "unverified"}),
        ({"opened_at": EARLIER, "reopened_at": WITHIN, "review_from": WITHIN}, {"open", "no_result", "reopened"}),
        (
            {"opened_at": EARLIER, "reopened_at": EARLIER + 60, "review_from": WITHIN},
            {"open", "no_result"},
        ),  # given back
        (
            {"opened_at": EARLIER, "reopened_at": EARLIER + 60},
            {"open", "no_result"},
        ),  # opened again in an earlier shift
        ({"over_at": WITHIN + 600, "false_alarm_reason": "a bucket"}, {"false_alarms"}),
        ({"opened_at": EARLIER, "over_at": EARLIER + 600, "false_alarm_reason": "a bucket"}, set()),
        (
            {"severity": "critical", "assigned_at": None, "reopened_at": WITHIN, "unverified": True},
            {"open", "important", "overdue", "reopened", "unverified"},
        ),
        ({"opened_at": END}, set()),  # the next shift's
        ({"over_at": END}, {"open", "no_result"}),  # so is what was done with it then
    ],
)
def test_in_which_lists_a_case_stands(facts: dict[str, Any], expected: set[str]) -> None:
    assert lists_of(report([case(**facts)])) == expected


def test_a_case_opened_again_and_not_taken_counts_from_its_reopening() -> None:
    again: dict[str, Any] = {"opened_at": EARLIER, "assigned_at": None}
    waiting = report([case(**again, review_from=END - 301, reopened_at=END - 301)])
    fresh = report([case(**again, review_from=END - 299, reopened_at=END - 299)])
    assert (len(waiting.overdue), len(fresh.overdue)) == (1, 0)


@pytest.mark.parametrize(("now", "overdue"), [(WITHIN + 300, 0), (WITHIN + 301, 1), (END + 86_400, 1)])
def test_while_the_shift_runs_the_report_is_as_of_now(now: float, overdue: int) -> None:
    assert len(report([case(assigned_at=None)], now=now).overdue) == overdue


def test_a_whole_shift_in_order_and_in_numbers() -> None:
    cases = [
        case("new", opened_at=at("2026-06-01 11:00")),
        case("slow", opened_at=at("2026-06-01 09:00"), assigned_at=at("2026-06-01 09:06")),
        case("slow-earlier", opened_at=EARLIER, assigned_at=EARLIER + 900),
        case("done", over_at=at("2026-06-01 12:00")),
        case("false", over_at=at("2026-06-01 12:00"), false_alarm_reason="a bucket"),
        case("old-done", opened_at=EARLIER, over_at=at("2026-06-01 08:00")),
    ]
    silent = [SilentNode("gate", 200.0), SilentNode("pit", 100.0)]
    handed = report(cases, silent)
    assert [c.id for c in handed.open] == ["slow-earlier", "slow", "new"]
    assert (handed.received, handed.closed, handed.reviewed_late) == (4, 2, 1)
    assert [n.id for n in handed.silent_nodes] == ["pit", "gate"]
    assert handed == report(reversed(cases), reversed(silent))


@pytest.mark.parametrize(("minutes", "late"), [(4, 0), (6, 1)])
def test_who_marks_a_case_false_that_nobody_has_taken_reviews_it(minutes: int, late: int) -> None:
    opened = at("2026-06-01 09:00")
    false = case(opened_at=opened, assigned_at=None, over_at=opened + 60 * minutes, false_alarm_reason="a bucket")
    assert report([false]).reviewed_late == late


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 28), 11), (date(2026, 10, 24), 13)])
def test_a_night_in_which_clocks_change_is_handed_over_whole(day: date, hours: int) -> None:
    night = calendar(DAY, NIGHT, zone=BERLIN).starting(day)[1]
    cases = [case(str(h), opened_at=night.start + 3600 * h) for h in range(-1, 15)]
    assert report(cases, shift=night).received == hours
