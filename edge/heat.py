"""What a node that is too hot leaves undone: first looks, then cameras; and when it takes them up again. Pure.

Step 0: nothing is left undone. 1: half the looks a second. 2: one look in `SLOWEST_S`, the least that still confirms a
breach. From 3 on one camera more a step is not judged, the last of the site file first, and never the first. It is the
detector that heats the board, so what the steps lower is its work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge.alarm.terms import PERSON_GAP_S

TOO_HOT_C = 80.0
"""From here on a Raspberry Pi slows itself down, and with that every look: better fewer looks than late ones."""
COOL_C = 72.0
"""Well below, so that the steps are not taken back and forth."""
DOWN_S = 30.0
"""Too hot for so long: one step down. As long again, so that the step can show in the heat sink, before the next."""
UP_S = 180.0
"""Cool for so long: one step back."""
SLOWEST_S = 0.9 * PERSON_GAP_S
_SLOWER, _SLOWEST = 1, 2


@dataclass(frozen=True, slots=True)
class Heat:
    """step: as above. since: from when on it has been too hot, or cool, without a break, monotonic s; None: neither."""

    step: int = 0
    since: float | None = None
    hot: bool = False

    def after(self, degrees: float | None, mono: float, cameras: int) -> Heat:
        """How it is once `degrees` (°C; None: not to be read, so nothing changes) were measured at `mono`."""
        hot, cool = degrees is not None and degrees >= TOO_HOT_C, degrees is not None and degrees <= COOL_C
        most = _SLOWEST + cameras - 1
        step = min(self.step, most)
        if not (hot or cool) or (cool and step == 0):
            return Heat(step)
        if self.since is None or self.hot is not hot:
            return Heat(step, mono, hot)
        if mono - self.since < (DOWN_S if hot else UP_S):
            return replace(self, step=step)
        return Heat(min(step + 1, most) if hot else step - 1, mono, hot)

    @property
    def cooling(self) -> str | None:
        """What is left undone, a word of `service.cooling`; None: nothing."""
        return {0: None, _SLOWER: "half", _SLOWEST: "slowest"}.get(self.step, "cameras")

    def periods(self, wanted: Sequence[float]) -> list[float | None]:
        """Seconds between two looks at each camera, in the order of the site file, for those wanted; None: no look."""
        slowest = [max(period, SLOWEST_S) for period in wanted]
        if self.step < _SLOWEST:
            return [min(period * (1 + self.step), most) for period, most in zip(wanted, slowest, strict=True)]
        judged = max(1, len(wanted) - (self.step - _SLOWEST))
        return [period if place < judged else None for place, period in enumerate(slowest)]
