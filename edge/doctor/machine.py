"""Clock, disk, memory and heat of this computer."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

from edge.clock import Clock
from edge.doctor.result import Grade, Result
from edge.health import cpu_temperature

DISK_WARN_MB, DISK_BAD_MB = 1_000, 100
MEMORY_WARN_MB = 500
HOT_C, TOO_HOT_C = 70.0, 80.0
"""A Raspberry Pi slows down from 80 °C on (research: SoC soft limit)."""
SLOW_SYNC_MS = 100.0
"""An SD card in good health syncs 4 KB in some 5 to 30 ms; much more than this and alarms wait for it."""
_SYNCS = 12
_THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")  # Raspberry Pi only
_UNDER_VOLTAGE, _WAS_UNDER_VOLTAGE = 1 << 0, 1 << 16


def examine_clock(clock: Clock, *, trusted: bool) -> Result:
    if trusted:
        return Result("clock", Grade.OK, "trusted")
    return Result("clock", Grade.OK, "ok") if clock.now().synced else Result("clock", Grade.BAD, "unsynced")


def examine_disk(folder: Path, timer: Callable[[], float] = time.perf_counter) -> Result:
    """Room, and how long a synced write takes, in the data folder or the nearest one above it that exists."""
    while not folder.exists():
        folder = folder.parent
    about = str(folder)
    free = shutil.disk_usage(folder).free / 1e6
    try:
        took = _sync_times(folder, timer)
    except OSError as error:
        return Result("disk", Grade.BAD, "unwritable", about, {"error": error.strerror or str(error)})
    p95 = float(np.percentile(took, 95)) * 1000
    numbers = {"free": f"{free:.0f}", "sync": f"{p95:.1f}"}
    if free < DISK_BAD_MB:
        return Result("disk", Grade.BAD, "full", about, numbers)
    if free < DISK_WARN_MB:
        return Result("disk", Grade.WARN, "nearly_full", about, numbers)
    if p95 > SLOW_SYNC_MS:
        return Result("disk", Grade.WARN, "slow", about, numbers)
    return Result("disk", Grade.OK, "ok", about, numbers)


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
    numbers = {"free": f"{memory.available / 1e6:.0f}", "total": f"{memory.total / 1e6:.0f}"}
    short = memory.available / 1e6 < MEMORY_WARN_MB
    return Result("memory", Grade.WARN if short else Grade.OK, "short" if short else "ok", fields=numbers)


def examine_heat(degrees: float | None = None, flags: int | None = None) -> Result:
    """degrees, flags: read from this computer where they are not given."""
    degrees = cpu_temperature() if degrees is None else degrees
    flags = _throttled() if flags is None else flags
    if flags is not None and flags & (_UNDER_VOLTAGE | _WAS_UNDER_VOLTAGE):
        return Result("heat", Grade.BAD, "under_voltage")
    if degrees is None:
        return Result("heat", Grade.SKIP, "no_sensor")
    numbers = {"degrees": f"{degrees:.0f}"}
    if degrees >= TOO_HOT_C:
        return Result("heat", Grade.BAD, "too_hot", fields=numbers)
    return Result(
        "heat", Grade.WARN if degrees >= HOT_C else Grade.OK, "hot" if degrees >= HOT_C else "ok", fields=numbers
    )


def _throttled() -> int | None:
    try:
        return int(_THROTTLED.read_text(), 16)
    except (OSError, ValueError):
        return None
