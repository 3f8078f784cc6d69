"""What is promised of waiting times."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.clock import backoff_s


def test_waits_double() -> None:
    assert [backoff_s(n, 2.0, 15.0) for n in range(1, 6)] == [2.0, 4.0, 8.0, 15.0, 15.0]


@given(st.integers(1, 10**12))
def test_however_long_nobody_answers_the_wait_keeps_its_bounds(failures: int) -> None:
    """A server that is away for days fails thousands of times."""
    assert 2.0 <= backoff_s(failures, 2.0, 300.0) <= backoff_s(failures + 1, 2.0, 300.0) <= 300.0
