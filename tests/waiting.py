"""Waiting for what comes out of other threads and processes that tell nobody when they are done."""

from __future__ import annotations

import time
from collections.abc import Callable

WAIT_S = 20.0


def until(true: Callable[[], object], what: str = "it did not come", timeout: float = WAIT_S) -> None:
    """Ask again and again; fails with `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.01)
