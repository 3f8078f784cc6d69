"""The time: the only place of dispatch that asks the machine for it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What may be asked about time."""

    def now(self) -> float:
        """Unix seconds, UTC."""
        ...


class SystemClock:
    """The machine's clock. Workers on several machines must keep theirs together (NTP)."""

    def now(self) -> float:
        return time.time()


class ManualClock:
    """Moves only when it is told to: for tests."""

    def __init__(self, start: float = 1_790_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> float:
        self._now += seconds
        return self._now
