"""Clock, disk, memory, heat and power of this computer."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil

from edge.clock import Stamp
from edge.doctor.result import Result, found
from edge.health import cpu_temperature

BUILT = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
"""No clock that is right shows a time before this program was written."""
DISK_WARN_MB, DISK_BAD_MB = 1_000, 100
MEMORY_WARN_MB = 500
HOT_C, TOO_HOT_C = 70.0, 80.0
"""A Raspberry Pi slows itself down from 80 °C on, step by step, and hard at 85 °C."""
SLOW_SYNC_MS = 100.0
"""An SD card in good health syncs 4 KB in some 5 to 30 ms; much more than this and alarms wait for it."""
_SYNCS = 12

# Bits of the Raspberry Pi firmware's `get_throttled`: now, and since it was switched on.
_WEAK, _WAS_WEAK = 1 << 0, 1 << 16
_SLOWED, _WAS_SLOWED = 0b1110, 0b1110 << 16  # frequency capped, throttled, soft temperature limit


def examine_clock(now: Stamp, *, trusted: bool) -> Result:
    if now.wall < BUILT:
        return found("clock", "behind", date=f"{datetime.fromtimestamp(now.wall, UTC):%Y-%m-%d}")
    if trusted:
        return found("clock", "trusted")
    return found("clock", "ok" if now.synced else "unsynced")


def examine_disk(
    folder: Path, allowed_mb: float | None = None, timer: Callable[[], float] = time.perf_counter
) -> Result:
    """Room, and how long a synced write takes, in the data folder or the nearest one above it that exists.

    allowed_mb: what the site file lets journal and evidence take together.
    """
    about = str(folder)
    try:
        used = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6
        there = folder
        while not there.exists():
            there = there.parent
        free = shutil.disk_usage(there).free / 1e6
        sync = float(np.percentile(_sync_times(there, timer), 95)) * 1000
    except OSError as error:
        return found("disk", "unwritable", about, error=error.strerror or str(error))
    room = f"{free:.0f}"
    if free < DISK_BAD_MB:
        return found("disk", "full", about, free=room)
    if free < DISK_WARN_MB:
        return found("disk", "nearly_full", about, free=room)
    if allowed_mb is not None and used + free < allowed_mb:
        return found("disk", "short", about, free=room, allowed=f"{allowed_mb:.0f}")
    return found("disk", "slow" if sync > SLOW_SYNC_MS else "ok", about, free=room, sync=f"{sync:.1f}")


def _sync_times(folder: Path, timer: Callable[[], float]) -> list[float]:
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_SYNCS):
            start = timer()
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
            took.append(timer() - start)
    return took


def examine_memory() -> Result:
    memory = psutil.virtual_memory()
    free, total = memory.available / 1e6, memory.total / 1e6
    return found("memory", "short" if free < MEMORY_WARN_MB else "ok", free=f"{free:.0f}", total=f"{total:.0f}")


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


def examine_heat(board: Board) -> Result:
    if board.degrees is None:
        return found("heat", "no_sensor")
    degrees, bits = f"{board.degrees:.0f}", board.throttled or 0
    if board.degrees >= TOO_HOT_C or (bits & _SLOWED and not bits & _WEAK):  # a weak supply slows it down too
        return found("heat", "too_hot", degrees=degrees)
    if board.degrees >= HOT_C:
        return found("heat", "hot", degrees=degrees)
    was = bits & _WAS_SLOWED and not bits & _WAS_WEAK
    return found("heat", "was_too_hot" if was else "ok", degrees=degrees)


def examine_power(board: Board) -> Result:
    if board.throttled is None and board.weak_now is None:
        return found("power", "no_sensor")
    bits = board.throttled or 0
    if bits & _WEAK or board.weak_now:
        return found("power", "weak")
    return found("power", "was_weak" if bits & _WAS_WEAK else "ok")
