"""Seconds of ok, violation and unknown, per rule instance and minute (design: section 2, "Tallies")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from edge.clock import Stamp
from edge.values import Instance, Tally, Verdict

MAX_CATCH_UP_S = 2
"""Seconds that one tick may add: what the node did not look at for longer is not invented afterwards."""


@dataclass(slots=True)
class Tallies:
    """Counts whole seconds of the monotonic clock into minutes of the wall clock."""

    _open: dict[tuple[Instance, int], Tally]
    _second: int | None

    def __init__(self) -> None:
        self._open = {}
        self._second = None

    def tick(self, stamp: Stamp, now: Mapping[Instance, Iterable[Verdict]]) -> None:
        """Add the seconds since the last tick: `now` gives the verdict of every subject that is there."""
        second = int(stamp.mono)
        passed = 0 if self._second is None else second - self._second
        if self._second is None or passed > 0:
            self._second = second
        if passed <= 0:
            return
        for back in range(min(passed, MAX_CATCH_UP_S)):
            minute = int(stamp.wall - back) // 60 * 60
            for instance, verdicts in now.items():
                self._add(instance, minute, tuple(verdicts))

    def _add(self, instance: Instance, minute: int, verdicts: tuple[Verdict, ...]) -> None:
        if not verdicts:
            return
        row = self._open.get((instance, minute), Tally(instance, minute, 0, 0, 0, 0, 0))
        violation = verdicts.count(Verdict.VIOLATION)
        self._open[instance, minute] = replace(
            row,
            ok_s=row.ok_s + verdicts.count(Verdict.OK),
            violation_s=row.violation_s + violation,
            unknown_s=row.unknown_s + verdicts.count(Verdict.UNKNOWN),
            breach_s=row.breach_s + (violation > 0),
            subjects=max(row.subjects, len(verdicts)),
        )

    def take(self) -> tuple[Tally, ...]:
        """What was counted since the last `take`: whoever takes it adds it to what the minute already has."""
        rows = tuple(self._open.values())
        self._open.clear()
        return rows
