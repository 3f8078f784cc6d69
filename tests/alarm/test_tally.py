"""Seconds add up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.alarm.tally import Tallies
from edge.clock import ManualClock
from edge.values import Verdict
from tests.alarm.builders import BAD, DIM, FENCE, HELMET, OK


def test_ten_people_one_bare_head_one_second() -> None:
    tallies, clock = Tallies(), ManualClock()
    tallies.tick(clock.now(), {})
    tallies.tick(clock.advance(1), {HELMET: (*[OK] * 9, BAD)})
    (row,) = tallies.take()
    assert (row.ok_s, row.violation_s, row.unknown_s, row.breach_s, row.subjects) == (9, 1, 0, 1, 10)


def test_nobody_there_adds_nothing() -> None:
    tallies, clock = Tallies(), ManualClock()
    tallies.tick(clock.now(), {})
    tallies.tick(clock.advance(1), {HELMET: ()})
    assert tallies.take() == ()


def test_minutes_are_those_of_the_wall_clock() -> None:
    tallies, clock = Tallies(), ManualClock(wall=1_790_000_040.0 - 30)
    tallies.tick(clock.now(), {})
    for _ in range(90):
        tallies.tick(clock.advance(1), {FENCE: (OK,)})
    rows = sorted(tallies.take(), key=lambda r: r.minute)
    assert all(r.minute % 60 == 0 for r in rows)
    assert sum(r.ok_s for r in rows) == 90
    assert [r.ok_s for r in rows] == [29, 60, 1]


def test_what_nobody_looked_at_is_not_invented() -> None:
    tallies, clock = Tallies(), ManualClock()
    tallies.tick(clock.now(), {})
    tallies.tick(clock.advance(600), {HELMET: (OK,)})
    (row,) = tallies.take()
    assert row.ok_s <= 2


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=200), st.lists(st.sampled_from([OK, BAD, DIM]), max_size=5))
def test_each_second_counts_once_however_often_it_ticks(steps: list[float], verdicts: list[Verdict]) -> None:
    tallies, clock = Tallies(), ManualClock(mono=0.0)
    tallies.tick(clock.now(), {})
    for dt in steps:
        tallies.tick(clock.advance(dt), {HELMET: verdicts})
    rows = tallies.take()
    counted = sum(r.ok_s + r.violation_s + r.unknown_s for r in rows)
    assert counted == int(clock.mono) * len(verdicts)


@given(st.lists(st.tuples(st.floats(0.2, 1.9), st.sampled_from([0.0, 0.0, 0.0, 37.0, -37.0, 86_400.0])), max_size=100))
def test_a_wall_clock_that_is_put_right_neither_adds_nor_loses_a_second(steps: list[tuple[float, float]]) -> None:
    tallies, clock = Tallies(), ManualClock(mono=0.0)
    tallies.tick(clock.now(), {})
    for dt, put_right in steps:
        clock.wall += put_right
        tallies.tick(clock.advance(dt), {HELMET: (OK, BAD)})
    rows = tallies.take()
    seconds = int(clock.mono)
    assert sum(r.ok_s for r in rows) == sum(r.violation_s for r in rows) == sum(r.breach_s for r in rows) == seconds
    assert all(r.minute % 60 == 0 for r in rows)
    assert len({(r.instance, r.minute) for r in rows}) == len(rows)
