"""Clock, disk, memory, heat and power of this computer."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil

from edge.clock import Stamp
from edge.doctor.result import Result, found
from edge.health import Board, disk_code, heat_code, power_code

BUILT = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
"""No clock that is right shows a time before this program was written."""
MEMORY_WARN_MB = 500
SLOW_SYNC_MS = 100.0
"""An SD card in good health syncs 4 KB in some 5 to 30 ms; much more than this and alarms wait for it."""
_SYNCS = 12


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
    if (room_code := disk_code(free)) != "ok":
        return found("disk", room_code, about, free=room)
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


def examine_heat(board: Board) -> Result:
    code = heat_code(board)
    return found("heat", "no_sensor") if code is None else found("heat", code, degrees=f"{board.degrees:.0f}")


def examine_power(board: Board) -> Result:
    return found("power", power_code(board) or "no_sensor")
