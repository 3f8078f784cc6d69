"""Colours that people with any of the common kinds of colour blindness can tell apart.

The palette is Okabe and Ito's ("Color Universal Design", 2008); a test holds the distances as seen with protanopia,
deuteranopia and tritanopia (Machado, Oliveira and Fernandes, 2009). No board says anything by colour alone.
"""

from __future__ import annotations

from typing import Final

BLUE: Final = "#0072B2"
VERMILION: Final = "#D55E00"
ORANGE: Final = "#E69F00"
SKY: Final = "#56B4E9"
GREEN: Final = "#009E73"
YELLOW: Final = "#F0E442"
PURPLE: Final = "#CC79A7"
GREY: Final = "#999999"

GOOD: Final = BLUE
BAD: Final = VERMILION
CARE: Final = ORANGE
UNKNOWN: Final = GREY

SERIES: Final = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW, GREY)
"""For series that mean nothing good or bad, in this order."""
