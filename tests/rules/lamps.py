"""Lamps as a camera samples them: exposure, noise, jitter, dropped frames, ripple, drifting exposure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.values import LampSamples
from tests.rules.builders import NOON

Times = npt.NDArray[np.float64]
Light = Callable[[Times], npt.NDArray[np.float64]]
"""Share of its full light, 0..1, that a lamp gives at these times."""

EXPOSURE_PARTS = 8


def steady(ripple: float = 0.0, hz: float = 100.0) -> Light:
    """A lamp that shines all the time; `ripple` of its light is switched off and on by mains or PWM."""
    return lambda t: np.where(np.mod(t * hz, 1.0) < 0.5, 1.0 - ripple, 1.0)


def flashing(hz: float = 1.0, duty: float = 0.5, phase: float = 0.0, pulses: int = 1) -> Light:
    """A lamp that is lit for `duty` of each period; with more pulses, that often in the first half of it."""

    def light(t: Times) -> npt.NDArray[np.float64]:
        in_period = np.mod(t * hz + phase, 1.0)
        if pulses > 1:
            in_period = np.where(in_period < 0.5, np.mod(in_period * 2 * pulses, 1.0), 1.0)
        return np.asarray(in_period < duty, dtype=np.float64)

    return light


def dark(t: Times) -> npt.NDArray[np.float64]:
    return np.zeros(len(t))


def headlights(*passes: tuple[float, float]) -> Light:
    """A dead lamp with something bright before it, from and to so many seconds of the ten."""
    return lambda t: np.asarray(np.any([(a <= t) & (t < b) for a, b in passes], axis=0), dtype=np.float64)


@dataclass(frozen=True)
class Sampler:
    """A camera that watches a lamp for `seconds`, the last sample at `until`.

    jitter: of the times, share of a frame. dropped: share of the frames. noise: of the brightness, one deviation.
    full, surround: brightness of the lamp at full light and of its surround. drift: share of both that the exposure
    takes away by the end.
    """

    fps: float = 25.0
    seconds: float = 10.0
    exposure_s: float = 0.02
    noise: float = 0.02
    jitter: float = 0.2
    dropped: float = 0.05
    full: float = 0.9
    surround: float = 0.1
    drift: float = 0.0
    seed: int = 0
    until: float = NOON.mono

    def watch(self, light: Light) -> LampSamples:
        rng = np.random.default_rng(self.seed)
        times = np.arange(round(self.fps * self.seconds) + 1) / self.fps
        times = times + rng.uniform(-0.5, 0.5, len(times)) * self.jitter / self.fps
        kept = rng.random(len(times)) >= self.dropped
        kept[-1] = True
        times = times[kept]
        open_for = times[:, None] + np.linspace(0, self.exposure_s, EXPOSURE_PARTS)
        given = light(open_for.ravel()).reshape(open_for.shape).mean(axis=1)
        gain = 1.0 - self.drift * times / self.seconds
        core = (self.surround + (self.full - self.surround) * given) * gain + rng.normal(0, self.noise, len(times))
        ring = self.surround * gain + rng.normal(0, self.noise / 4, len(times))
        return LampSamples(
            "lamp-1",
            times - times[-1] + self.until,
            np.clip(core, 0, 1).astype(np.float32),
            np.clip(ring, 0, 1).astype(np.float32),
        )
