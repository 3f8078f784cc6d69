"""What the rules about declared fixtures share: how often they are looked at, and what may stand in front of them."""

from __future__ import annotations

from edge.values import Detections

CONFIRM_S = 60.0
MIN_LOOKS = 3
CLEAR_S = 60.0
EVERY_S = 10.0
"""Seven looks a confirmation. They cost next to nothing: the frame was in the detector anyway, for the people in it."""

IN_THE_WAY = ("person", "vehicle", "machinery")
"""Classes that come and go, and hide what stands behind them."""


def in_the_way(detections: Detections) -> Detections:
    """What may hide a fixture in this picture."""
    return detections.of(*IN_THE_WAY)
