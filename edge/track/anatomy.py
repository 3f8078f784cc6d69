"""Where on a person's box a hat, a head and a vest are found, and how big they are.

The numbers come from 1954 helmets and bare heads and 1818 vests and bare torsos of the `train` photos of the
Roboflow-100 set construction-safety-gsnvb v2 (`rf100_cs`) that lie in one labelled person only, standing, bent,
sitting, cut off, from in front and behind. Hats are measured by their upper edge and their width, which are the same
whether a data set draws the box around the hat alone or around the whole head with the face.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.values import Box, Floats

Doubles = npt.NDArray[np.float64]

LIMIT = 9.0
"""Sum of squared deviations up to which a part can belong to a person: three standard deviations in one measure."""

HAT_SCALE = 0.395
"""Hat width = 0.395 * body width^0.7 * body height^0.3, in the median; log standard deviation 0.26, and 0.5 % and
99.5 % quantiles at -0.71 and +0.70. The mixture holds from whole bodies (0.5 of the width) to bent ones (0.4)."""
HAT_SIZE_DEVIATION = 0.3

HAT_DROP = 0.045
"""Upper edge of the hat below that of the body, in hat widths: the mean. 0.5 % and 99.5 % quantiles are -0.22 and 0.64
(a raised arm, a bent back), for narrow and for wide boxes alike; only who lies (wider than high) gets more room. Held
before the chest a hat is 1.3 or more below, under the arm or at the hip 3."""
HAT_DROP_DEVIATION = 0.25

HAT_ASIDE_DEVIATION = 0.12, 0.12
"""Middle of the hat beside that of the body, in body widths: 0.12, and 0.12 more for each body height of body width.
Measured 0.12 for people three times as high as wide, rising over 0.14 and 0.16 to 0.17 for square boxes (who bends or
sits), 0.27 beyond (who lies); widened by a quarter for the tails, since who bends has the head at the very edge."""

VEST_WIDTH = 0.795
"""Vest width in body widths, in the median; log standard deviation 0.22."""
VEST_SIZE_DEVIATION = 0.3
VEST_DOWN = 0.487
"""Middle of the vest below the upper edge of the body, in body heights: 0.37 on a whole body, 0.6 on half of one."""
VEST_DOWN_DEVIATION = 0.18
VEST_ASIDE_DEVIATION = 0.11
"""Middle of the vest beside that of the body, in body widths; measured 0.073."""

HEAD_LENGTH = 1.45
"""Crown of the hat to chin, in hat widths: by eye, on 60 heads of `rf100_cs` seen from in front."""


@dataclass(frozen=True, slots=True, eq=False)
class _Boxes:
    left: Doubles
    top: Doubles
    width: Doubles
    height: Doubles

    @classmethod
    def of(cls, boxes: Floats) -> _Boxes:
        x1, y1, x2, y2 = boxes.astype(np.float64).T
        return cls(x1, y1, np.maximum(x2 - x1, 1.0), np.maximum(y2 - y1, 1.0))

    @property
    def centre(self) -> Doubles:
        return self.left + self.width / 2

    @property
    def middle(self) -> Doubles:
        return self.top + self.height / 2


def hat_misfit(bodies: Floats, hats: Floats) -> Doubles:
    """(n, m) how far each hat or bare head (m, 4) is from where the body (n, 4) wears it; at most `LIMIT`, or `inf`."""
    body, hat = _Boxes.of(bodies), _Boxes.of(hats)
    stooping = (body.width / body.height)[:, None]
    drop = (hat.top[None] - body.top[:, None]) / hat.width[None] - HAT_DROP
    drop /= HAT_DROP_DEVIATION * np.maximum(stooping, 1.0)
    aside = (hat.centre[None] - body.centre[:, None]) / body.width[:, None]
    aside /= HAT_ASIDE_DEVIATION[0] + HAT_ASIDE_DEVIATION[1] * stooping
    expected = HAT_SCALE * body.width**0.7 * body.height**0.3
    size = np.log(hat.width[None] / expected[:, None])
    return _limited(drop**2 + aside**2 + (size / HAT_SIZE_DEVIATION) ** 2)


def vest_misfit(bodies: Floats, vests: Floats) -> Doubles:
    """(n, m) the same for vests and bare torsos (m, 4)."""
    body, vest = _Boxes.of(bodies), _Boxes.of(vests)
    down = (vest.middle[None] - body.top[:, None]) / body.height[:, None] - VEST_DOWN
    aside = (vest.centre[None] - body.centre[:, None]) / body.width[:, None]
    size = np.log(vest.width[None] / (VEST_WIDTH * body.width[:, None]))
    return _limited(
        (down / VEST_DOWN_DEVIATION) ** 2 + (aside / VEST_ASIDE_DEVIATION) ** 2 + (size / VEST_SIZE_DEVIATION) ** 2
    )


def likely_head(body: Box, width: int, height: int) -> Box:
    """The head of a body on which none was seen, crown to chin: in the middle of the upper edge, clipped to the frame.

    Where the frame's edge cuts the head off, what is left of the box touches that edge.
    """
    across = HAT_SCALE * max(body[2] - body[0], 1.0) ** 0.7 * max(body[3] - body[1], 1.0) ** 0.3
    centre, top = (body[0] + body[2]) / 2, body[1]
    chin = max(top, min(body[3], top + HEAD_LENGTH * across))
    return in_frame((centre - across / 2, top, centre + across / 2, chin), width, height)


def in_frame(box: Box, width: int, height: int) -> Box:
    """The part of a box that lies in a frame; without area where none does."""
    x1, y1 = min(max(box[0], 0.0), width), min(max(box[1], 0.0), height)
    return x1, y1, max(x1, min(box[2], width)), max(y1, min(box[3], height))


def _limited(misfit: Doubles) -> Doubles:
    return np.where(misfit <= LIMIT, misfit, np.inf)
