"""Grafana boards as code: one file a board; each gives the JSON of a board in one language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dashboards.boards import cases, fleet, sensors, site, sites
from dashboards.panels import Make

BOARDS: Final[Mapping[str, Make]] = {
    "banksman-site": site.board,
    "banksman-sites": sites.board,
    "banksman-cases": cases.board,
    "banksman-sensors": sensors.board,
    "banksman-fleet": fleet.board,
}
