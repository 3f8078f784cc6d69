"""How fast a runtime is on this computer, and what it costs in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import psutil

from edge.detect.detector import Detector
from edge.values import Image

_WARM_UP = 2


@dataclass(frozen=True, slots=True)
class Speed:
    """Milliseconds a picture, median and 95th percentile, over `frames` pictures; memory of the whole process in MB."""

    ms_p50: float
    ms_p95: float
    rss_mb: float
    frames: int


def measure(
    detector: Detector,
    images: Sequence[Image],
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Speed:
    """Detect in turn in `images` for so long, at least once in each, after a short warm-up.

    clock: seconds, rising.
    """
    if not images:
        raise ValueError("at least one picture is needed to measure speed")
    for image in images[:_WARM_UP]:
        detector.detect(image)
    took: list[float] = []
    end = clock() + seconds
    while len(took) < len(images) or clock() < end:
        image = images[len(took) % len(images)]
        start = clock()
        detector.detect(image)
        took.append(clock() - start)
    p50, p95 = np.percentile(np.array(took) * 1000.0, [50, 95])
    rss = psutil.Process().memory_info().rss / 1e6
    return Speed(float(p50), float(p95), rss, len(took))
