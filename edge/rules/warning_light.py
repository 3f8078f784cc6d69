"""At night the declared lamps are lit, steady or flashing as declared.

A lamp is judged from its brightness over the last seconds, sampled at camera rate (`LampSamples`): first which samples
are *lit*, then whether the lit and dark ones alternate as a flashing lamp does. That a lamp shines is believed at any
sample rate; that it is dark, or never dark, only if no flash can have fallen between two samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
import numpy.typing as npt

from edge.geometry import area, as_array, intersection, to_pixels
from edge.rules import fixtures
from edge.rules.night import NightState
from edge.rules.rule import Circumstances, Place, Rule
from edge.site.model import Camera, LampFixture
from edge.values import Box, Floats, Judgement, LampSamples, Reason, Scene, Severity, Verdict

SLOWEST_HZ, FASTEST_HZ = 0.4, 4.0
"""Flashes a second that count as flashing. Barrier lamps flash about once a second, vehicle beacons 2 to 4 times (UN
Regulation 65); of the slowest, three flashes with their ends fit into the ten seconds that are sampled."""
NYQUIST_HZ = 2 * FASTEST_HZ
"""Samples a second without which a lamp's dark or lit phases may be missed every time."""
MIN_SPAN_S = 6.0
"""More than two periods of the slowest lamp: both of its phases have been there."""
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
"""Of the samples may be against the rest (a bird, a broken frame) and the lamp is still steady, or still dark."""
MIN_FLASHES = 3
MAX_BURST = 3
"""A lamp may flash twice or thrice in quick succession, then pause; the bursts are what comes evenly then."""
RAGGED = 0.15
"""Typical deviation of the time between flashes, as a share of it and beside the time between two samples, above which
they are not a lamp's but, say, passing headlights. (Simulated, one look each: 3 % of random passes before a dead lamp
seem even; of flashing lamps at 10 to 30 samples a second 99.9 % are told, 99.8 % with three frames in ten dropped.)"""
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
    lit = _lit(contrast, max(lit_contrast, LIT_SHARE * bright), DARK_SHARE * bright)
    if _flashes(mono, lit):
        pattern = Pattern.FLASHING
    elif lit.mean() >= 1 - GLITCH_SHARE:
        pattern = Pattern.STEADY
    elif lit.mean() <= GLITCH_SHARE:
        pattern = Pattern.DARK
    else:
        pattern = Pattern.UNCLEAR
    return Shine(pattern, bright)


def _lit(contrast: Floats, lit_at: float, dark_at: float) -> npt.NDArray[np.bool_]:
    """Which samples are lit; one between the two levels is what the sample before it was. At least one is lit."""
    lit = contrast >= lit_at
    told = np.flatnonzero(lit | (contrast < dark_at))
    before = np.searchsorted(told, np.arange(len(contrast)), side="right") - 1
    return np.asarray(lit[told[np.maximum(before, 0)]])


def _flashes(mono: npt.NDArray[np.float64], lit: npt.NDArray[np.bool_]) -> bool:
    """Whether a lamp goes on and off again and again, at even times and as often as a flashing lamp does."""
    on = mono[1:][lit[1:] & ~lit[:-1]]
    off = mono[1:][~lit[1:] & lit[:-1]]
    slack = (mono[-1] - mono[0]) / (len(mono) - 1)
    for burst in range(1, MAX_BURST + 1):
        if min(len(on), len(off)) < burst * MIN_FLASHES:
            return False
        periods = on[burst:] - on[:-burst], off[burst:] - off[:-burst]
        period = float(np.median(periods[0]))
        if all(float(np.median(np.abs(p - period))) <= RAGGED * period + slack for p in periods):
            return bool(1 / FASTEST_HZ - slack <= period <= 1 / SLOWEST_HZ + slack)
    return False


def _places(camera: Camera) -> tuple[Place, ...]:
    return tuple(Place(f.id, fixture=f) for f in camera.fixtures if isinstance(f, LampFixture))


def _look(scene: Scene, place: Place, circumstances: Circumstances) -> tuple[Judgement, ...]:
    fixture = place.fixture
    assert isinstance(fixture, LampFixture)  # noqa: S101 (narrowing; `_places` makes no other)
    corners = to_pixels(fixture.polygon, scene.width, scene.height)
    (x1, y1), (x2, y2) = corners.min(axis=0), corners.max(axis=0)
    box = (float(x1), float(y1), float(x2), float(y2))
    verdict, reason, confidence = _judge(scene, fixture, box, circumstances)
    return (Judgement(fixture.id, verdict, reason, confidence, box),)


def _judge(scene: Scene, fixture: LampFixture, box: Box, circumstances: Circumstances) -> tuple[Verdict, Reason, float]:
    if circumstances.night is NightState.UNKNOWN:
        return Verdict.UNKNOWN, Reason.NO_CLOCK, 0.0
    if _in_the_way(scene, box):
        return Verdict.UNKNOWN, Reason.OCCLUDED, 0.0
    samples = next((s for s in scene.lamps if s.fixture == fixture.id), None)
    recent = _unbroken(samples, scene.stamp.mono) if samples is not None else None
    if recent is None:
        return Verdict.UNKNOWN, Reason.TOO_FEW_LOOKS, 0.0
    # Where the surround is so bright that no lamp could outshine it, a lamp cannot be told from a dark one.
    clear = recent.surround <= 1.0 - fixture.lit_contrast
    if clear.mean() < CLEAR_SHARE:
        return Verdict.UNKNOWN, Reason.UNCERTAIN, 0.0
    mono, contrast = recent.mono[clear], (recent.core - recent.surround)[clear]
    return _compare(shine(mono, contrast, fixture.lit_contrast), fixture, _rate(mono))


def _compare(seen: Shine, fixture: LampFixture, rate: float) -> tuple[Verdict, Reason, float]:
    """What a lamp did against what it should do."""
    steady, flashing = fixture.pattern != "flashing", fixture.pattern != "steady"
    sure = min(1.0, seen.bright)
    match seen.pattern:
        case Pattern.UNCLEAR:
            return Verdict.UNKNOWN, Reason.UNCERTAIN, 0.0
        case Pattern.FLASHING:
            return (Verdict.OK, Reason.SEEN, sure) if flashing else (Verdict.VIOLATION, Reason.WRONG_PATTERN, sure)
        case Pattern.STEADY if steady:
            return Verdict.OK, Reason.SEEN, sure
        case _ if flashing and rate < NYQUIST_HZ:
            return Verdict.UNKNOWN, Reason.TOO_FEW_LOOKS, 0.0  # it may flash between the samples
        case Pattern.STEADY:
            return Verdict.VIOLATION, Reason.WRONG_PATTERN, sure
        case Pattern.DARK:
            return Verdict.VIOLATION, Reason.UNLIT, 1.0 - max(0.0, seen.bright) / max(fixture.lit_contrast, 1e-9)


def _unbroken(samples: LampSamples, now: float) -> LampSamples | None:
    """The newest samples without a hole between them, or None where they are too few, too short or too old."""
    holes = np.flatnonzero(np.diff(samples.mono) > HOLE_S)
    start = int(holes[-1]) + 1 if len(holes) else 0
    mono = samples.mono[start:]
    if len(mono) < MIN_SAMPLES or mono[-1] - mono[0] < MIN_SPAN_S or now - mono[-1] > HOLE_S:
        return None
    return LampSamples(samples.fixture, mono, samples.core[start:], samples.surround[start:])


def _rate(mono: npt.NDArray[np.float64]) -> float:
    """Samples a second."""
    return (len(mono) - 1) / float(mono[-1] - mono[0])


def _in_the_way(scene: Scene, box: Box) -> bool:
    lamp = as_array([box])
    shared = intersection(lamp, fixtures.in_the_way(scene.detections).xyxy)
    return bool(np.any(shared >= COVERED_SHARE * area(lamp)[:, None]))


RULE = Rule(
    id="warning_light",
    clauses=("I.6.3", "II.P6", "II.D3"),
    needs=(),  # judged from brightness alone
    subject="fixture",
    severity=Severity.WARNING,
    confirm_s=fixtures.CONFIRM_S,
    min_looks=fixtures.MIN_LOOKS,
    clear_s=fixtures.CLEAR_S,
    every_s=fixtures.EVERY_S,
    hours="always",
    night_only=True,
    places=_places,
    look=_look,
)
