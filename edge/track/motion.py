"""How tracked boxes move: a Kalman filter over all tracks at once, for any time between frames.

Position is the middle of the box's upper edge: the head's end stays visible when legs go behind a barrier. Velocity is
an Ornstein-Uhlenbeck process: it keeps its direction for a few seconds and then fades, so a hidden track neither stops
at once nor runs away, and one look or ten looks a second need no tuning (its exact discretisation: Gillespie 1996,
Phys. Rev. E 54, 2084). Size is a random walk of the logarithms of width and height.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from edge.values import Floats

Doubles = npt.NDArray[np.float64]

SPEED = 0.8
"""Standard deviation of velocity in body scales a second: 1.7 m tall, walking at 1.4 m/s."""
FADES_S = 3.0
"""Time constant after which a body has forgotten where it was heading."""
POSITION_NOISE = 0.04
"""Standard deviation of a box's place in body scales."""
SIZE_NOISE = 0.2
"""Standard deviation of log width and log height: arms move, legs vanish behind things."""
SIZE_DRIFT = 0.3
"""Growth of the same per square root of a second."""
REACH = 1.25
"""Body scales from where a track is expected within which it can be found, however long it was out of sight: farther
away it is more likely somebody else. Running at 3 m/s, half a second takes 0.9."""
MOST_VAGUE = 8.0
"""What a vague prediction costs at most against a sharp one."""
_MIN_SIDE = 1.0


@dataclass(slots=True, eq=False)
class Motion:
    """State of n tracks: parallel arrays, pixels and seconds.

    place, velocity: (n, 2), of the middle of the upper edge. log_size: (n, 2), of width and height.
    pp, pv, vv: (n,), variances of place and velocity and their covariance, per axis, in squared body scales.
    ss: (n,), variance of log_size, per side.
    """

    place: Doubles
    velocity: Doubles
    log_size: Doubles
    pp: Doubles
    pv: Doubles
    vv: Doubles
    ss: Doubles

    @classmethod
    def start(cls, boxes: Floats) -> Motion:
        """Tracks that begin at these boxes (n, 4), heading nobody knows where."""
        place, log_size = _measured(boxes)
        n = len(boxes)
        return cls(
            place=place,
            velocity=np.zeros((n, 2)),
            log_size=log_size,
            pp=np.full(n, POSITION_NOISE**2),
            pv=np.zeros(n),
            vv=np.full(n, SPEED**2),
            ss=np.full(n, SIZE_NOISE**2),
        )

    def __len__(self) -> int:
        return len(self.place)

    @property
    def scale(self) -> Doubles:
        """(n,) body scale in pixels: the height, or twice the width where the lower half is not seen."""
        size = np.exp(self.log_size)
        return np.asarray(np.maximum(size[:, 1], 2 * size[:, 0]))

    def keep(self, rows: npt.NDArray[np.bool_]) -> Motion:
        return Motion(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def join(self, other: Motion) -> Motion:
        return Motion(**{f.name: np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)})

    def predict(self, dt: float) -> None:
        """Move on by dt seconds."""
        fade = float(np.exp(-dt / FADES_S))
        reach = FADES_S * (1 - fade)
        self.place += self.velocity * reach
        self.velocity *= fade
        self.pp += 2 * reach * self.pv + reach**2 * self.vv
        self.pp += SPEED**2 * FADES_S**2 * max(0.0, 2 * dt / FADES_S - 3 + 4 * fade - fade**2)
        self.pv = fade * (self.pv + reach * self.vv) + SPEED**2 * FADES_S * (1 - fade) ** 2
        self.vv = fade**2 * self.vv + SPEED**2 * (1 - fade**2)
        self.ss += SIZE_DRIFT**2 * dt

    def surprise(self, boxes: Floats) -> Doubles:
        """(n, m) how unlikely each box (m, 4) is for each track: twice the negative log-likelihood, from 0 up.

        Squared Mahalanobis distance of place and log size, plus what a vague prediction costs against a sharp one;
        `inf` out of reach.
        """
        place, log_size = _measured(boxes)
        variance = self.pp + POSITION_NOISE**2
        away = (place[None] - self.place[:, None]) / self.scale[:, None, None]
        grown = log_size[None] - self.log_size[:, None]
        vague = np.minimum(2 * np.log(variance / POSITION_NOISE**2), MOST_VAGUE)
        square = (away**2).sum(axis=2)
        cost = square / variance[:, None] + vague[:, None]
        cost += (grown**2).sum(axis=2) / (self.ss + SIZE_NOISE**2)[:, None]
        cost[square > REACH**2] = np.inf
        return np.asarray(cost)

    def correct(self, rows: npt.NDArray[np.intp], boxes: Floats) -> None:
        """Take in what was seen: boxes (k, 4) of tracks `rows` (k,)."""
        place, log_size = _measured(boxes)
        variance = self.pp[rows] + POSITION_NOISE**2
        gain_p, gain_v = self.pp[rows] / variance, self.pv[rows] / variance
        gain_s = self.ss[rows] / (self.ss[rows] + SIZE_NOISE**2)
        missed = place - self.place[rows]
        self.place[rows] += gain_p[:, None] * missed
        self.velocity[rows] += gain_v[:, None] * missed
        self.log_size[rows] += gain_s[:, None] * (log_size - self.log_size[rows])
        self.vv[rows] -= gain_v * self.pv[rows]
        self.pv[rows] *= 1 - gain_p
        self.pp[rows] *= 1 - gain_p
        self.ss[rows] *= 1 - gain_s


def _measured(boxes: Floats) -> tuple[Doubles, Doubles]:
    """Place (n, 2) and log size (n, 2) of boxes; a box without extent counts as one pixel wide and high."""
    x1, y1, x2, y2 = boxes.astype(np.float64).T
    size = np.maximum(np.column_stack([x2 - x1, y2 - y1]), _MIN_SIDE)
    return np.column_stack([(x1 + x2) / 2, y1]), np.log(size)
