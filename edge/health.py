"""How the node itself is: speed, memory, heat, disk. Numbers that a machine does not give are None, never invented."""

from __future__ import annotations

import shutil
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import psutil

from edge.clock import Clock

CORES = psutil.cpu_count() or 1
_KEEP_S = 60.0
_CPU_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Speed:
    """Over the last minute. fps: frames judged a second; latency: from frame to journal, milliseconds.

    None where it cannot be told: the frames of a replay are not of now.
    """

    fps: float
    latency_p50_ms: float | None
    latency_p95_ms: float | None


class Pace:
    """Counts judged frames. Thread-safe; bounded by the minute it looks back."""

    def __init__(self) -> None:
        self._frames: deque[tuple[float, float | None]] = deque(maxlen=4096)
        self._lock = Lock()

    def frame(self, mono: float, latency_s: float | None) -> None:
        with self._lock:
            self._frames.append((mono, latency_s))

    def speed(self, mono: float) -> Speed:
        with self._lock:
            while self._frames and self._frames[0][0] < mono - _KEEP_S:
                self._frames.popleft()
            frames = list(self._frames)
        if len(frames) < 2:
            return Speed(0.0, None, None)
        fps = len(frames) / max(mono - frames[0][0], 1e-3)
        latencies = [latency for _, latency in frames if latency is not None]
        if not latencies:
            return Speed(fps, None, None)
        p50, p95 = np.percentile(latencies, (50, 95)) * 1000
        return Speed(fps, float(p50), float(p95))


@dataclass(frozen=True, slots=True)
class Machine:
    """rss_mb: of this process. cpu_percent: of this process, 100 = one core."""

    rss_mb: float
    cpu_percent: float | None
    cpu_temp_c: float | None
    disk_free_mb: float | None


def cpu_temperature(sys: Path = Path("/sys")) -> float | None:
    """Degrees Celsius of the first thermal zone (the SoC on a Raspberry Pi)."""
    try:
        return int((sys / "class/thermal/thermal_zone0/temp").read_text()) / 1000
    except (OSError, ValueError):
        return None


class MachineWatch:
    """Asks the machine. Thread-safe."""

    def __init__(self, data_dir: Path, clock: Clock) -> None:
        self._process = psutil.Process()
        self._data_dir = data_dir
        self._clock = clock
        self._lock = Lock()
        self._process.cpu_percent()  # the first call only begins to count
        self._counted = clock.now().mono
        self._cpu: float | None = None

    def read(self) -> Machine:
        return Machine(
            rss_mb=self._process.memory_info().rss / 1e6,
            cpu_percent=self._cpu_percent(),
            cpu_temp_c=cpu_temperature(),
            disk_free_mb=shutil.disk_usage(self._data_dir).free / 1e6 if self._data_dir.exists() else None,
        )

    def _cpu_percent(self) -> float | None:
        """Since the last count, which others may have asked for a moment ago: over less than a second it is noise."""
        with self._lock:
            now = self._clock.now().mono
            if now - self._counted >= _CPU_EVERY_S:
                self._cpu, self._counted = self._process.cpu_percent(), now
            return self._cpu
