"""Proof of progress: each loop of the node says that it has come round again, and how long the next round may take.

A loop that waits for work, however long, rests; one that is at work for longer than its deadline stands still. Nothing
here asks whether the work succeeds: a lost camera, broker or InfluxDB is met by trying again, and that is progress.
"""

from __future__ import annotations

import math


class Beat:
    """Of one loop, which alone calls `work` and `rest`; both only write a number.

    deadline_s: how long it may be at work without calling `work` again.
    """

    __slots__ = ("_since", "deadline_s", "name")

    def __init__(self, name: str = "", deadline_s: float = math.inf) -> None:
        self.name = name
        self.deadline_s = deadline_s
        self._since = math.inf

    def work(self, mono: float) -> None:
        """At `mono`, s, it has come round again, or taken up a piece of work."""
        self._since = mono

    def rest(self) -> None:
        """It waits for work, or has ended."""
        self._since = math.inf

    def late_s(self, mono: float) -> float:
        """How long it has been at work, s, where that is longer than it may be; else 0."""
        busy = mono - self._since
        return busy if busy > self.deadline_s else 0.0


class Beats:
    """The loops of one program. A loop that is made anew under its old name takes the place of the old one."""

    def __init__(self) -> None:
        self._beats: dict[str, Beat] = {}

    def loop(self, name: str, deadline_s: float) -> Beat:
        beat = self._beats[name] = Beat(name, deadline_s)
        return beat

    def late(self, mono: float) -> dict[str, float]:
        """The loops that stand still at `mono`, and for how long, s. May be called from any thread."""
        return {beat.name: late for beat in tuple(self._beats.values()) if (late := beat.late_s(mono))}
