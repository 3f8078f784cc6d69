"""Time as a parameter: everything on the node that depends on time is handed a `Clock`."""

from __future__ import annotations

import ctypes
import os
import time
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_ADJTIMEX_UNSYNCED = 5  # TIME_ERROR in <sys/timex.h>: the kernel clock is not synchronised


@dataclass(frozen=True, slots=True)
class Stamp:
    """One instant as the node knows it.

    wall: Unix time in seconds, as right as the clock was then.
    mono: seconds on the monotonic clock of this boot; differences are always right.
    boot: id of the boot `mono` belongs to.
    synced: whether the wall clock was synchronised when the stamp was taken.
    """

    wall: float
    mono: float
    boot: str
    synced: bool

    def plus(self, seconds: float) -> Stamp:
        """The same clock, `seconds` later."""
        return replace(self, wall=self.wall + seconds, mono=self.mono + seconds)


def backoff_s(failures: int, first_s: float, longest_s: float) -> float:
    """How long to wait after so many failures in a row, 1 or more: doubled each time, bounded.

    Whoever waits adds its own scatter.
    """
    return min(longest_s, first_s * 2.0 ** min(failures - 1, 64))  # a float ends at 2 to the power of 1024


class Clock(Protocol):
    """What a part of the node may ask about time."""

    def now(self) -> Stamp: ...


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except FileNotFoundError:  # not Linux: a process is the longest time its monotonic clock is known to hold
        return str(uuid.uuid4())


class _Timex(ctypes.Structure):
    # struct timex is 208 bytes on 64-bit Linux; only `modes` (0 = read) is ever set and only the return value is read.
    _fields_ = [("modes", ctypes.c_uint), ("rest", ctypes.c_ubyte * 252)]


def kernel_clock_synced() -> bool:
    """Whether the kernel says that its clock is disciplined by NTP (`adjtimex(2)`)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "adjtimex"):
        return False
    state = int(libc.adjtimex(ctypes.byref(_Timex())))
    return 0 <= state < _ADJTIMEX_UNSYNCED


class SystemClock:
    """The machine's clocks. Asks the kernel about synchronisation at most every `ask_every` seconds.

    trusted: True where the installer says that the clock is right though no NTP disciplines it (a container, an RTC).
    """

    def __init__(self, *, trusted: bool = False, ask_every: float = 10.0) -> None:
        self._boot = _boot_id()
        self._trusted = trusted
        self._ask_every = ask_every
        self._asked = float("-inf")
        self._synced = trusted

    def now(self) -> Stamp:
        mono = time.monotonic()
        if not self._trusted and mono - self._asked >= self._ask_every:
            self._asked = mono
            self._synced = kernel_clock_synced()
        return Stamp(wall=time.time(), mono=mono, boot=self._boot, synced=self._synced)


@dataclass
class ManualClock:
    """A clock that moves only when it is told to: for tests, replays and benchmarks."""

    wall: float = 1_790_000_000.0
    mono: float = 1_000.0
    boot: str = field(default_factory=lambda: "boot-" + os.urandom(4).hex())
    synced: bool = True

    def now(self) -> Stamp:
        return Stamp(self.wall, self.mono, self.boot, self.synced)

    def advance(self, seconds: float) -> Stamp:
        self.wall += seconds
        self.mono += seconds
        return self.now()
