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
DISK_WARN_MB, DISK_BAD_MB = 1_000, 100
HOT_C, TOO_HOT_C = 70.0, 80.0
"""A Raspberry Pi slows itself down from 80 °C on, step by step, and hard at 85 °C."""
_KEEP_S = 60.0
_CPU_EVERY_S = 1.0

# Bits of the Raspberry Pi firmware's `get_throttled`: now, and since it was switched on.
_WEAK, _WAS_WEAK = 1 << 0, 1 << 16
_SLOWED, _WAS_SLOWED = 0b1110, 0b1110 << 16  # frequency capped, throttled, soft temperature limit


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


def cpu_temperature(sys: Path = Path("/sys")) -> float | None:
    """Degrees Celsius of the first thermal zone (the SoC on a Raspberry Pi)."""
    try:
        return int((sys / "class/thermal/thermal_zone0/temp").read_text()) / 1000
    except (OSError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Board:
    """What the board says of itself; None where it says nothing. throttled: the firmware's bits."""

    degrees: float | None
    throttled: int | None
    weak_now: bool | None

    @classmethod
    def read(cls, sys: Path = Path("/sys")) -> Board:
        """From the kernel's files. The firmware is found by its driver: its device lies elsewhere on each board."""
        alarm = next((h.parent for h in sorted(sys.glob("class/hwmon/*/name")) if _text(h) == "rpi_volt"), None)
        weak = None if alarm is None else _number(alarm, "in0_lcrit_alarm")
        return cls(
            degrees=cpu_temperature(sys),
            throttled=_number(sys, "bus/platform/drivers/raspberrypi-firmware/*/get_throttled", 16),
            weak_now=None if weak is None else bool(weak),
        )


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # the sensor is there, but does not answer
        return ""


def _number(folder: Path, pattern: str, base: int = 10) -> int | None:
    for path in sorted(folder.glob(pattern)):
        try:
            return int(_text(path), base)
        except ValueError:
            continue
    return None


# How the machine is, in the codes of `banksman doctor`, for it and for the page.


def disk_code(free_mb: float) -> str:
    return "full" if free_mb < DISK_BAD_MB else "nearly_full" if free_mb < DISK_WARN_MB else "ok"


def heat_code(board: Board) -> str | None:
    """None: this computer tells no temperature."""
    if board.degrees is None:
        return None
    bits = board.throttled or 0
    if board.degrees >= TOO_HOT_C or (bits & _SLOWED and not bits & _WEAK):  # a weak supply slows it down too
        return "too_hot"
    if board.degrees >= HOT_C:
        return "hot"
    return "was_too_hot" if bits & _WAS_SLOWED and not bits & _WAS_WEAK else "ok"


def power_code(board: Board) -> str | None:
    """None: this computer does not watch its supply."""
    if board.throttled is None and board.weak_now is None:
        return None
    bits = board.throttled or 0
    if bits & _WEAK or board.weak_now:
        return "weak"
    return "was_weak" if bits & _WAS_WEAK else "ok"


@dataclass(frozen=True, slots=True)
class Machine:
    """rss_mb: of this process. cpu_percent: of this process, 100 = one core. disk, heat, power: codes as above."""

    rss_mb: float
    cpu_percent: float | None
    cpu_temp_c: float | None
    disk_free_mb: float | None
    disk: str | None
    heat: str | None
    power: str | None


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
        self.power: str | None = None
        """As it was read last."""

    def read(self) -> Machine:
        board = Board.read()
        free = shutil.disk_usage(self._data_dir).free / 1e6 if self._data_dir.exists() else None
        self.power = power_code(board)
        return Machine(
            rss_mb=self._process.memory_info().rss / 1e6,
            cpu_percent=self._cpu_percent(),
            cpu_temp_c=board.degrees,
            disk_free_mb=free,
            disk=None if free is None else disk_code(free),
            heat=heat_code(board),
            power=self.power,
        )

    def _cpu_percent(self) -> float | None:
        """Since the last count, which others may have asked for a moment ago: over less than a second it is noise."""
        with self._lock:
            now = self._clock.now().mono
            if now - self._counted >= _CPU_EVERY_S:
                self._cpu, self._counted = self._process.cpu_percent(), now
            return self._cpu
