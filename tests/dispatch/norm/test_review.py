"""Five minutes to review and assign, else up the chain; who is next in line where nobody is on duty."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.dispatch.norm import NormError
from broker.dispatch.norm.calendar import Duty, GapReason
from broker.dispatch.norm.review import Found, InLine, Step, escalation, in_line, overdue, review_due, review_excess
from tests.dispatch.norm.builders import BERLIN, DAY, NIGHT, at, calendar, local

OFFICER, CHIEF, OWNER = Step(300, ("officer",)), Step(900, ("chief",)), Step(3600, ("owner",), "admin")
CHAIN = (OWNER, OFFICER, CHIEF)
"""Not in order: the page lets people enter them as they like."""


@pytest.mark.parametrize(
    ("assigned_after", "now_after", "waits_too_long", "excess"),
    [
        (None, 0, False, 0),
        (None, 300, False, 0),  # within five minutes: the fifth is still in time
        (None, 301, True, 1),
        (None, 86_400, True, 86_100),
        (0, 86_400, False, 0),
        (300, 86_400, False, 0),
        (420, 400, False, 120),
        (420, 86_400, False, 120),  # taken too late stays too late, but waits no more
    ],
)
def test_five_minutes(assigned_after: float | None, now_after: float, waits_too_long: bool, excess: float) -> None:
    received = at("2026-06-01 23:58")
    assigned = None if assigned_after is None else received + assigned_after
    assert overdue(received, assigned, received + now_after) is waits_too_long
    assert review_excess(received, assigned, received + now_after) == excess


@pytest.mark.parametrize(
    ("received", "zone", "due"),
    [
        ("2026-06-01 23:58", "Asia/Shanghai", "2026-06-02 00:03+08:00"),
        ("2028-02-28 23:58", "Asia/Shanghai", "2028-02-29 00:03+08:00"),
        ("2026-03-29 01:58", BERLIN, "2026-03-29 03:03+02:00"),  # five minutes, not an hour and five
        ("2026-10-25 02:58+02:00", BERLIN, "2026-10-25 02:03+01:00"),  # nor minus fifty-five
    ],
)
def test_five_minutes_are_five_minutes_whatever_the_clocks_do(received: str, zone: str, due: str) -> None:
    assert local(review_due(at(received, zone)), zone) == due


@pytest.mark.parametrize(
    ("assigned_after", "told"),
    [
        (None, [OFFICER, CHIEF, OWNER]),
        (120, []),
        (300, []),  # taken in the last moment: in time
        (301, [OFFICER]),
        (900, [OFFICER]),
        (5000, [OFFICER, CHIEF, OWNER]),
    ],
)
def test_the_chain_in_order_until_somebody_takes_it(assigned_after: float | None, told: list[Step]) -> None:
    assigned = None if assigned_after is None else 1000.0 + assigned_after
    assert escalation(1000.0, CHAIN, assigned) == tuple((1000.0 + step.after_s, step) for step in told)


@pytest.mark.parametrize(("after_s", "due_s"), [(0, 300), (60, 300), (300, 300), (301, 301)])
def test_the_chain_lets_the_first_receiver_have_the_norms_five_minutes(after_s: int, due_s: int) -> None:
    assert escalation(1000.0, [Step(after_s, ("li",))], None)[0][0] == 1000.0 + due_s


def test_a_step_before_receipt_is_refused() -> None:
    with pytest.raises(NormError, match="it cannot be before it"):
        Step(-1, ("li",))


SITE = calendar(
    DAY,
    NIGHT,
    duties=(Duty("day", "li"), Duty("night", "gas-man", rule="gas"), Duty("night", "wang", from_day=date(2026, 6, 3))),
)
IDLE = (Step(300, (), "officer"), Step(900, ()))
"""A chain whose roles nobody holds."""


@pytest.mark.parametrize(
    ("moment", "rule", "chain", "members", "expected"),
    [
        ("2026-06-01 12:00", "helmet", CHAIN, ("x",), InLine(("li",), Found.DUTY, None)),
        ("2026-06-01 21:00", "gas", CHAIN, ("x",), InLine(("gas-man",), Found.DUTY, None)),
        ("2026-06-01 21:00", "helmet", CHAIN, ("x",), InLine(("officer",), Found.CHAIN, GapReason.NOBODY_ON_SHIFT)),
        ("2026-06-01 21:00", "helmet", IDLE, ("x",), InLine(("li",), Found.NEXT_SHIFT, GapReason.NOBODY_ON_SHIFT)),
        (
            "2026-06-01 21:00",
            "helmet",
            (IDLE[0], CHIEF),
            (),
            InLine(("chief",), Found.CHAIN, GapReason.NOBODY_ON_SHIFT),
        ),
        ("2026-06-03 21:00", "helmet", (), (), InLine(("wang",), Found.DUTY, None)),
    ],
)
def test_nobody_on_duty_means_the_next_in_line_and_says_so(
    moment: str, rule: str, chain: tuple[Step, ...], members: tuple[str, ...], expected: InLine
) -> None:
    assert in_line(SITE, chain, members, at(moment), rule) == expected


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (("li", "wang"), InLine(("li", "wang"), Found.MEMBERS, GapReason.NO_SHIFT)),
        ((), InLine((), Found.NOBODY, GapReason.NO_SHIFT)),
    ],
)
def test_a_site_without_shifts_tells_all_its_members_or_says_that_there_is_nobody(
    members: tuple[str, ...], expected: InLine
) -> None:
    assert in_line(calendar(), (), members, 0.0, "helmet") == expected


def test_at_the_change_of_shifts_the_new_one_is_told_and_the_first_receiver_keeps_the_case() -> None:
    """Received one second before eight: the night shift is told, and the chain counts from then all the same."""
    site = calendar(DAY, NIGHT, duties=(Duty("day", "li"), Duty("night", "wang")))
    received = at("2026-06-02 07:59:59")
    assert in_line(site, CHAIN, (), received, "helmet").people == ("wang",)
    assert in_line(site, CHAIN, (), received + 1, "helmet").people == ("li",)
    assert escalation(received, CHAIN, None)[0] == (at("2026-06-02 08:04:59"), OFFICER)


steps = st.lists(st.builds(Step, after_s=st.integers(0, 90_000), people=st.just(("p",))), max_size=6)
times = st.floats(0, 4e9, allow_nan=False)


@given(times, steps, st.none() | st.floats(0, 100_000, allow_nan=False))
def test_escalation_times_never_fall_and_end_where_somebody_took_it(
    received: float, chain: list[Step], assigned_after: float | None
) -> None:
    assigned = None if assigned_after is None else received + assigned_after
    due = [moment for moment, _ in escalation(received, chain, assigned)]
    assert due == sorted(due)
    assert all(received + 300 <= moment and (assigned is None or moment < assigned) for moment in due)
    dropped = len(chain) - len(due)
    assert dropped == sum(assigned is not None and received + max(step.after_s, 300) >= assigned for step in chain)


@given(
    steps,
    st.none() | st.integers(0, 100_000),
    st.lists(st.integers(0, 100_000), min_size=1, max_size=30),
    st.sets(st.integers(0, 29)),
)
def test_a_restart_in_the_middle_changes_nothing(
    chain: list[Step], assigned_after: int | None, looks: list[int], lost: set[int]
) -> None:
    """A worker keeps nothing between two looks but the record of what it told.

    It is told each step once, in order, at the first look that a living worker takes when it is due.
    """
    received = 1_790_000_000.0
    alive = [received + s for k, s in enumerate(sorted(looks)) if k not in lost]  # the others fell into an outage
    record: list[tuple[float, int]] = []
    for now in alive:
        assigned = None if assigned_after is None or received + assigned_after > now else received + assigned_after
        due = escalation(received, list(chain), assigned)
        record += [(now, n) for n, (moment, _) in enumerate(due) if n >= len(record) and moment <= now]

    expected = []
    for n, step in enumerate(sorted(chain, key=lambda s: s.after_s)):
        after = max(step.after_s, 300)
        first = next((now for now in alive if now >= received + after), None)
        taken = assigned_after is not None and after >= assigned_after
        if first is not None and not taken:
            expected.append((first, n))
    assert record == expected
