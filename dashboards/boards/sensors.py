"""Sensors: histories against limits.

Limits are drawn for the quantities that a rule or standard names; the sensor must measure in the unit that the panel
says. Sources: O2, H2S, CO and CH4 in shafts and pipes: CJJ 6-2009 (O2 19.5 to 23.5 %; H2S 10 mg/m3, at 20 degrees
7 ppm; CO 20 mg/m3, 17 ppm; a tenth of the lower explosive limit); noise at the site's edge: GB 12523-2011 (70 dB(A) by
day, 55 at night); heat: work safety rules of 2012 (from 37 degrees outdoor work is cut to 6 h, from 40 it stops).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dashboards import colours
from dashboards import queries as q
from dashboards.boards.rows import last_readings, shifts
from dashboards.panels import DEFAULT, Board, Setup, Steps
from dashboards.queries import GRAFANA
from dashboards.text import Language

LIMITS: Final[Mapping[str, tuple[str, Steps]]] = {
    "o2": ("percent", ((None, colours.BAD), (19.5, colours.GOOD), (23.5, colours.BAD))),
    "h2s": ("ppm", ((None, colours.GOOD), (7, colours.BAD))),
    "co": ("ppm", ((None, colours.GOOD), (17, colours.BAD))),
    "ch4": ("percent", ((None, colours.GOOD), (10, colours.BAD))),
    "noise": ("suffix: dB(A)", ((None, colours.GOOD), (55, colours.CARE), (70, colours.BAD))),
    "temperature": ("celsius", ((None, colours.GOOD), (37, colours.CARE), (40, colours.BAD))),
}
"""Unit and levels by quantity."""


def board(language: Language, setup: Setup = DEFAULT) -> dict[str, Any]:
    """The board `banksman-sensors`."""
    b = Board("banksman-sensors", language, setup, shown=("site", "node"), start="now-24h", shifts=shifts(GRAFANA))
    for quantity, (unit, levels) in LIMITS.items():
        history = q.sensor_history(GRAFANA, quantity)
        b.lines(quantity, history, ("mean",), w=8, h=8, unit=unit, levels=levels, every="10s")
    b.row("all")
    b.table("latest", [last_readings(GRAFANA)], w=24, h=10, timed=True)
    return b.build()
