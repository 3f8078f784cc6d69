"""Bars as inline SVG, readable in black and white: a bar by value, a small open box where nothing was judged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import escape

from dashboards.colours import BAD, UNKNOWN

_WIDTH: Final = 680
_HEIGHT: Final = 130
_LEFT, _RIGHT, _TOP = 44, 674, 10
_GROUND: Final = 108
_INK: Final = "#333"


@dataclass(frozen=True, slots=True)
class Bar:
    """value: None where nothing was judged."""

    label: str
    value: float | None


def bars(items: Sequence[Bar]) -> str:
    """Upright bars over a common ground, with three lines to measure them by."""
    highest = _round_up(max((item.value or 0 for item in items), default=0))
    step = (_RIGHT - _LEFT) / max(1, len(items))
    wide = step * 0.7

    def tall(value: float) -> float:
        return (_GROUND - _TOP) * value / highest

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" xmlns="http://www.w3.org/2000/svg" font-size="9.5">']
    for value in (0, highest / 2, highest):
        y = _GROUND - tall(value)
        parts.append(f'<path d="M {_LEFT} {y:.1f} H {_RIGHT}" stroke="{_INK if value == 0 else "#ccc"}"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 3.3:.1f}" text-anchor="end" fill="{_INK}">{value:g}</text>')
    for n, item in enumerate(items):
        x = _LEFT + n * step + (step - wide) / 2
        if item.value is None:
            style, height = f'fill="none" stroke="{UNKNOWN}"', 5.0
        else:
            style, height = f'fill="{BAD}"', max(1.0, tall(item.value)) if item.value else 0.0
        parts.append(
            f'<rect x="{x:.1f}" y="{_GROUND - height:.1f}" width="{wide:.1f}" height="{height:.1f}" {style}/>'
            f'<text x="{x + wide / 2:.1f}" y="{_GROUND + 13}" text-anchor="middle" fill="{_INK}">'
            f"{escape(item.label)}</text>"
        )
    return "".join([*parts, "</svg>"])


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, …; 1 for nothing."""
    if value <= 0:
        return 1
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)
