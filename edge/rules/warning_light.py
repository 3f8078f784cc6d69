"""At night the declared lamps are lit, steady or flashing as declared.

A lamp is judged from its brightness over the last seconds, sampled at camera rate (`LampSamples`): first which samples
are *lit*, then whether the lit and dark ones alternate as a flashing lamp does. A lamp that was seen lit may be believed
at any sample rate; that it is dark, or never dark, only if no flash can have fallen between two samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
import numpy.typing as npt

from edge.geometry import as_array, intersection, to_pixels
from edge.rules import fixtures
from edge.rules.night import NightState
from edge.rules.rule import Circumstances, Place, Rule
from edge.site.model import Camera, LampFixture
from edge.values import Box, Floats, Judgement, LampSamples, Reason, Scene, Severity, Verdict

SLOWEST_HZ, FASTEST_HZ = 0.3, 4.0
"""Flashes a second that count as flashing. Barrier lamps flash about once a second and vehicle beacons 2 to 4 times (ECE
R65); three flashes of the slowest fit into the ten seconds that are sampled."""
NYQUIST_HZ = 2 * FASTEST_HZ
"""Samples a second without which a lamp's dark or lit phases may be missed every time."""
MIN_SPAN_S = 6.0
"""Nearly two periods of the slowest lamp: both of its phases have been there."""
MIN_SAMPLES = 12
HOLE_S = 1.0
"""A longer time without a sample (the camera stalled) starts the history anew; the newest may not be older either."""
CLEAR_SHARE = 0.8
"""Of the samples must have a surround that a lit lamp can outshine by the declared contrast."""

DARK_SHARE, LIT_SHARE = 0.5, 0.6
"""Of its own bright level: below the first a lamp is dark, above the second lit, between them it stays what it was.
Half: mains or PWM ripple and a drifting exposure leave more than that, a filament between two flashes less."""
BRIGHT_SHARE = 0.03
"""Of the samples make up the bright level: few enough for a lamp that is lit a twentieth of the time."""
GLITCH_SHARE = 0.05
"""Of the samples may be against the rest (a passing bird, a broken frame) and the lamp is still steady, or still dark."""
RAGGED = 0.35
"""Typical deviation of the time between flashes, as a share of it, above which they are not a lamp's."""
FLASHES_A_BURST = 3
"""A lamp may flash twice or thrice in quick succession, then pause."""
MIN_FLASHES = 3
COVERED_SHARE = 0.2
"""Of the lamp's region behind somebody or something that may hide it, or shine in its stead."""


class Pattern(Enum):
    """What a lamp did over the sampled time."""

    DARK = auto()
    STEADY = auto()
    FLASHING = auto()
    UNCLEAR = auto()


@dataclass(frozen=True, slots=True)
class Shine:
    """What the samples of a lamp say. bright: contrast to the surround when it was at its brightest, 0..1."""

    pattern: Pattern
    bright: float


def shine(mono: npt.NDArray[np.float64], contrast: Floats, lit_contrast: float) -> Shine:
    """What a lamp did, from its contrast to the surround (n,) at the times `mono` (n,) seconds, n >= 1."""
    few = max(2, round(BRIGHT_SHARE * len(contrast)))
    bright = float(np.sort(contrast)[-few:].mean())
    if bright < lit_contrast:
        return Shine(Pattern.DARK, bright)
    lit = _lit(contrast, max(lit_contrast, LIT_SHARE * bright), max(lit_contrast, bright) * DARK_SHARE)
    if _flashes(mono, lit):
        pattern = Pattern.FLASHING
    elif lit.mean() >= 1 - GLITCH_SHARE:
        pattern = Pattern.STEADY
    elif lit.mean() <= GLITCH_SHARE:
        pattern = Pattern.DARK
    else:
        pattern = Pattern.UNCLEAR
    return Shine(pattern, bright)
