"""How a camera is, told from what its reader reports and from time passing. Pure: no threads, no clock of its own."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from random import Random

from edge.capture.look import Look
from edge.clock import Stamp, backoff_s
from edge.values import CameraCause, CameraState, CameraStatus

_FPS_WINDOW_S = 5.0
_REMEMBERED = 256  # pictures: more than an encoder makes of a still one from one key frame to the next
_STALL_INTERVALS = 4  # a slow camera may be silent for so many of its own intervals


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds.

    stall_s: without a frame, then the camera is STALLED and opened anew.
    open_s: from the start of an attempt to its first frame. The sources' own limits (open 4 s, probe 3 s) end earlier.
    frozen_s: without a picture that was not seen before. Longer than the time between key frames: encoders that save
        bits send an empty night street as one picture in the meantime.
    dark_s, covered_s: how long a picture must be so; someone walking past close to the lens is no cover.
    recover_s: how long it must be well again.
    healthy_s: of frames, then the next loss is met with a quick retry again.
    """

    stall_s: float = 3.0
    open_s: float = 10.0
    frozen_s: float = 30.0
    dark_s: float = 3.0
    covered_s: float = 5.0
    recover_s: float = 1.0
    healthy_s: float = 10.0


@dataclass(slots=True)
class Backoff:
    """Waiting times between attempts: doubling, bounded, scattered so that cameras do not come all at once."""

    first_s: float = 0.5
    most_s: float = 15.0
    scatter: float = 0.25
    random: Random = field(default_factory=Random)
    _attempts: int = 0

    def next(self) -> float:
        self._attempts += 1
        wait = backoff_s(self._attempts, self.first_s, self.most_s)
        return wait * (1 + self.scatter * self.random.uniform(-1, 1))

    def reset(self) -> None:
        self._attempts = 0


# Cameras lock an account after a handful of wrong passwords, some for half an hour; each attempt here is two logins.
AUTH_RETRY_S = 300.0


@dataclass(slots=True)
class Lasting:
    """A condition that counts once it has lasted, and is gone once it has been gone for a while."""

    on_s: float
    off_s: float
    on: bool = False
    _since: float | None = None

    def update(self, now_on: bool, mono: float) -> bool:
        if now_on == self.on:
            self._since = None
        else:
            self._since = mono if self._since is None else self._since
            if mono - self._since >= (self.off_s if self.on else self.on_s):
                self.on, self._since = now_on, None
        return self.on


class Act(Enum):
    """What a tick asks of the reader."""

    NOTHING = auto()
    OPEN = auto()  # start an attempt; asked again until `opening` is called
    ABANDON = auto()  # the attempt that runs hangs: let go of it


class _Phase(Enum):
    WAITING = auto()  # until the next attempt
    OPENING = auto()
    RUNNING = auto()
    OVER = auto()  # a recording that ended: no further attempt


class CameraHealth:
    """The state of one camera. Not thread-safe: its reader calls it under its lock.

    live: a camera, as against a recording, which neither stalls nor freezes.
    """

    def __init__(
        self,
        camera: str,
        at: Stamp,
        *,
        live: bool,
        limits: Limits | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self._camera = camera
        self._live = live
        self._limits = limits or Limits()
        self._backoff = backoff or Backoff()
        self._phase = _Phase.WAITING
        self._retry_at = at.mono
        self._began = at.mono  # of the attempt that runs
        self._arrivals: deque[float] = deque(maxlen=512)
        self._size = (0, 0)
        self._state, self._cause, self._detail, self._since = CameraState.OPENING, CameraCause.NONE, "", at
        self._forget_picture()

    def _forget_picture(self) -> None:
        limits = self._limits
        self._dark = Lasting(limits.dark_s, limits.recover_s)
        self._covered = Lasting(limits.covered_s, limits.recover_s)
        self._seen: deque[int] = deque(maxlen=_REMEMBERED)
        self._new_at = 0.0  # when a picture came that had not been seen before

    @property
    def state(self) -> CameraState:
        return self._state

    def opening(self, at: Stamp) -> None:
        """An attempt begins. A camera that was lost or stalled stays so until it shows a picture."""
        self._phase = _Phase.OPENING
        self._began = at.mono
        self._arrivals.clear()
        self._forget_picture()

    def arrived(self, at: Stamp) -> None:
        """A frame came."""
        if self._phase is _Phase.OPENING:
            self._phase = _Phase.RUNNING
            self._enter(CameraState.LIVE, at)
        if self._arrivals and at.mono - self._began >= self._limits.healthy_s:
            self._backoff.reset()
        self._arrivals.append(at.mono)

    def looked(self, at: Stamp, look: Look, width: int, height: int) -> None:
        """What the newest frame looks like."""
        self._size = (width, height)
        if self._phase is not _Phase.RUNNING:
            return
        dark = self._dark.update(look.dark(self._dark.on), at.mono)
        # A dark picture has no structure either; darkness says more.
        covered = self._covered.update(not dark and look.covered(self._covered.on), at.mono)
        if look.fingerprint not in self._seen:
            self._seen.append(look.fingerprint)
            self._new_at = at.mono
        frozen = self._live and at.mono - self._new_at >= self._limits.frozen_s
        if dark:
            self._enter(CameraState.DARK, at)
        elif covered:
            self._enter(CameraState.COVERED, at)
        elif frozen:
            self._enter(CameraState.FROZEN, at)
        else:
            self._enter(CameraState.LIVE, at)

    def failed(self, at: Stamp, cause: CameraCause, detail: str) -> None:
        """The attempt that ran is over: it could not open, or broke off; ENDED: a recording was played to its end."""
        self._enter(CameraState.LOST, at, cause, detail)
        if cause is CameraCause.ENDED:
            self._phase = _Phase.OVER
            return
        self._phase = _Phase.WAITING
        self._retry_at = at.mono + (AUTH_RETRY_S if cause is CameraCause.AUTH else self._backoff.next())

    def tick(self, at: Stamp) -> Act:
        """What to do now; call it a few times a second."""
        if self._phase is _Phase.WAITING:
            return Act.OPEN if at.mono >= self._retry_at else Act.NOTHING
        if self._phase is _Phase.OPENING and at.mono - self._began > self._limits.open_s:
            self.failed(at, CameraCause.TIMEOUT, f"no picture within {self._limits.open_s:g} s")
            return Act.ABANDON
        if self._phase is _Phase.RUNNING and self._live and at.mono - self._arrivals[-1] > self._patience():
            silent = at.mono - self._arrivals[-1]
            self._enter(CameraState.STALLED, at, CameraCause.TIMEOUT, f"no picture for {silent:.0f} s")
            self._phase, self._retry_at = _Phase.WAITING, at.mono
            return Act.ABANDON
        return Act.NOTHING

    def _patience(self) -> float:
        if len(self._arrivals) < 2:
            return self._limits.open_s
        interval = (self._arrivals[-1] - self._arrivals[0]) / (len(self._arrivals) - 1)
        return max(self._limits.stall_s, _STALL_INTERVALS * interval)

    def _fps(self) -> float:
        """Over the last seconds, at least over two frames; 0 while none come."""
        if self._phase is not _Phase.RUNNING:
            return 0.0
        recent = [mono for mono in self._arrivals if mono >= self._arrivals[-1] - _FPS_WINDOW_S]
        recent = recent if len(recent) > 1 else list(self._arrivals)[-2:]
        span = recent[-1] - recent[0]
        return (len(recent) - 1) / span if span > 0 else 0.0

    def _enter(self, state: CameraState, at: Stamp, cause: CameraCause = CameraCause.NONE, detail: str = "") -> None:
        if state is not self._state:
            self._since = at
        self._state, self._cause, self._detail = state, cause, detail

    def status(self) -> CameraStatus:
        return CameraStatus(
            camera=self._camera,
            state=self._state,
            cause=self._cause,
            since=self._since,
            fps=self._fps(),
            width=self._size[0],
            height=self._size[1],
            detail=self._detail,
        )
