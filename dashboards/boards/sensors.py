"""Sensors: histories against limits.

The limits are defaults that nobody has confirmed: the rule book has no figures for gas, noise and heat, and the
standards below were not at hand. Each panel says so in its title until an installation sets its own (`Setup.limits`,
`push --limit`). They are drawn, no more: no alarm comes of them here.

After CJJ 6-2009, table 5.3.3 (air in shafts and pipes): O2 19.5 to 23.5 %; H2S 10 mg/m3, at 20 degrees 7 ppm; CO
20 mg/m3, 17 ppm; a tenth of the lower explosive limit. Noise at the site's edge: GB 12523-2011 (70 dB(A) by day, 55 at
night), replaced by GB 12523-2025 since 2026. Heat: national rules of 2012 (from 37 degrees outdoor work is cut to 6 h,
from 40 it stops).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dashboards import colours
from dashboards import queries as q
from dashboards.boards.rows import last_readings, shifts
from dashboards.panels import DEFAULT, Board, Setup
from dashboards.queries import GRAFANA
from dashboards.text import Language


@dataclass(frozen=True, slots=True)
class Limits:
    """marks: where the colour changes, rising, in `unit` (Grafana's words); looks: colours, one more than marks.

    columns: what of each step of time is held against them. Of gas it is the worst, since a mean over minutes hides a
    peak that kills.
    """

    unit: str
    marks: tuple[float, ...]
    looks: tuple[str, ...]
    columns: tuple[str, ...] = ("max",)


DEFAULTS: Final[Mapping[str, Limits]] = {
    "o2": Limits("percent", (19.5, 23.5), (colours.BAD, colours.GOOD, colours.BAD), ("min", "max")),
    "h2s": Limits("ppm", (7,), (colours.GOOD, colours.BAD)),
    "co": Limits("ppm", (17,), (colours.GOOD, colours.BAD)),
    "ch4": Limits("percent", (10,), (colours.GOOD, colours.BAD)),
    "noise": Limits("suffix: dB(A)", (55, 70), (colours.GOOD, colours.CARE, colours.BAD), ("mean",)),
    "temperature": Limits("celsius", (37, 40), (colours.GOOD, colours.CARE, colours.BAD), ("mean",)),
}
"""By quantity; `Setup.limits` puts other marks in their place."""


def board(language: Language, setup: Setup = DEFAULT) -> dict[str, Any]:
    """The board `banksman-sensors`."""
    b = Board("banksman-sensors", language, setup, shown=("site", "node"), start="now-24h", shifts=shifts(GRAFANA))
    for quantity, known in DEFAULTS.items():
        marks = setup.limits.get(quantity, known.marks)
        levels = tuple(zip((None, *marks), known.looks, strict=True))
        history = q.sensor_history(GRAFANA, quantity)
        ours = quantity not in setup.limits
        b.limited(quantity, history, known.columns, levels, unit=known.unit, ours=ours)
    b.row("all")
    b.table("latest", [last_readings(GRAFANA)], w=24, h=10, timed=True)
    return b.build()
