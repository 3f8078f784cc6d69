"""The signs of the light, and when it is lit for each of them (docs/signals.md). Pure."""

from __future__ import annotations

from enum import StrEnum
from itertools import accumulate


class Sign(StrEnum):
    """What the light says; texts in the catalogues under `signal.*`."""

    STARTING = "starting"
    WORKING = "working"
    NO_CAMERA = "no_camera"
    NO_BROKER = "no_broker"
    NOT_ENROLLED = "not_enrolled"
    ALARM = "alarm"
    FAILED = "failed"


def _flashes(count: int) -> tuple[float, ...]:
    """So many flashes that an eye can count, then a pause."""
    return (*(0.2, 0.3) * (count - 1), 0.2, 2.0)


PATTERNS: dict[Sign, tuple[float, ...]] = {
    Sign.STARTING: (0.1, 0.1),
    Sign.WORKING: (0.1, 2.9),
    Sign.NO_CAMERA: _flashes(2),
    Sign.NO_BROKER: _flashes(3),
    Sign.NOT_ENROLLED: _flashes(4),
    Sign.ALARM: (1.5, 0.2),
    # As the kernel's own timer blinks where the program is not there to do it.
    Sign.FAILED: (0.5, 0.5),
}
"""Seconds lit, dark, lit, … of one round."""


def light(sign: Sign, since_s: float) -> tuple[bool, float]:
    """Whether the light is lit, and in how many seconds that changes, `since_s` seconds after the sign began."""
    pattern = PATTERNS[sign]
    at = since_s % sum(pattern)
    for part, end in enumerate(accumulate(pattern)):
        if at < end:
            return part % 2 == 0, end - at
    return True, pattern[0]  # a rounding error short of the next round
