"""One camera, read by a thread that keeps only the newest frame, and watched by another.

A read can block for many seconds and cannot be interrupted. So the watchdog never reads: a reader thread that hangs is
left to time out by itself, and a new one opens the camera again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from threading import Condition, Event, Thread

from edge.beat import Beats
from edge.capture.health import Act, CameraHealth, Limits
from edge.capture.kinds import source_for
from edge.capture.lamps import LampSampler
from edge.capture.look import Look
from edge.capture.source import Source, SourceError, Timing
from edge.clock import Clock, Stamp
from edge.site.model import Camera, LampFixture
from edge.values import CameraCause, CameraState, CameraStatus, Frame, Image

WATCH_EVERY_S = 0.2
LOOK_EVERY_S = 0.5  # picture health: twice a second
KEEP_FPS = 10.0  # frames a second that are converted and handed on, unless more are judged or lamps are sampled
MAX_HUNG = 3  # reader threads that may hang at a time; no further attempt until one of them has timed out
MAX_DAMAGED = 30  # pictures in a row
MIN_SIDE = 32  # pixels
_JOIN_S = 2.0
_STANDS_STILL_S = 30.0  # of the watchdog, which comes round five times a second

log = logging.getLogger(__name__)


class _Session:
    """One attempt: a source and the thread that reads it."""

    def __init__(self, source: Source, run: Callable[[_Session], None], name: str) -> None:
        self.source = source
        self.over = Event()  # set: whatever the thread still brings is ignored
        self.thread = Thread(target=run, args=(self,), name=name, daemon=True)


class CameraReader:
    """Frames of one camera, and how it is.

    base: what relative paths in the site file start from.
    sinks: called in the reader thread with every frame that is kept; must be quick.
    wake: called, in one of the reader's threads, when a new frame can be taken and when the camera's state has changed.
    beats: where the watchdog says that it goes on; a camera that hangs does not stop it.
    """

    def __init__(
        self,
        camera: Camera,
        clock: Clock,
        base: Path,
        sinks: Sequence[Callable[[Frame], None]] = (),
        *,
        wake: Callable[[], None] | None = None,
        limits: Limits | None = None,
        beats: Beats | None = None,
    ) -> None:
        self._camera = camera
        self._clock = clock
        self._base = base
        self._sinks = tuple(sinks)
        self._wake = wake
        self._lamps = [fixture for fixture in camera.fixtures if isinstance(fixture, LampFixture)]
        self._timing = source_for(camera.source, base).timing
        self._changed = Condition()  # guards everything below
        self._health = CameraHealth(camera.id, clock.now(), live=self._timing is Timing.LIVE, limits=limits)
        self._told = CameraState.OPENING
        self._session: _Session | None = None
        self._hung: list[Thread] = []
        self._frame: Frame | None = None
        self._seq = 0
        self._taken = 0
        self._ended = False
        self._stop = Event()
        self._beat = (beats or Beats()).loop(f"camera {camera.id}", _STANDS_STILL_S)
        self._watchdog = Thread(target=self._watch, name=f"watch-{camera.id}", daemon=True)

    def start(self) -> None:
        self._watchdog.start()

    def stop(self) -> None:
        """Ends both threads; one that hangs in a read is left to time out. Nobody waits in `take` afterwards.

        Call it before the program ends: the interpreter cannot end a thread that is inside OpenCV cleanly.
        """
        with self._changed:
            self._stop.set()
            session = self._let_go()
            self._changed.notify_all()
        if self._watchdog.is_alive():
            self._watchdog.join()
        if session is not None:
            session.thread.join(_JOIN_S)

    def take(self, after: int, timeout: float) -> Frame | None:
        """The newest frame with a seq above `after`, waiting up to `timeout` seconds for one.

        None when none came, and at once where none will come: the recording is over, or the reader stopped.
        A recording that plays as fast as it can goes on when its frame was taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._newer(after) or self._ended or self._stop.is_set(), timeout)
            if self._frame is None or not self._newer(after):
                return None
            self._taken = self._frame.seq
            self._changed.notify_all()
            return self._frame

    def _newer(self, after: int) -> bool:
        return self._frame is not None and self._frame.seq > after

    def status(self) -> CameraStatus:
        with self._changed:
            return self._health.status()

    @property
    def ended(self) -> bool:
        """Whether a recording was played to its end. Its last frame may still wait to be taken."""
        return self._ended

    # The watchdog's thread

    def _watch(self) -> None:
        while True:
            with self._changed:
                self._check_thread()
                now = self._clock.now()
                self._beat.work(now.mono)
                act = self._health.tick(now)
                if act is Act.ABANDON:
                    self._abandon()
                elif act is Act.OPEN:
                    self._open()
                changed = self._tell()
            if changed and self._wake is not None:
                self._wake()
            if self._stop.wait(WATCH_EVERY_S):
                self._beat.rest()
                return

    def _check_thread(self) -> None:
        """A reader thread that died without a word: a fault in this program, whose traceback is in the log."""
        if self._session is not None and not self._session.thread.is_alive():
            self._let_go()
            self._health.failed(self._clock.now(), CameraCause.DECODE, "the reader failed; see the log of the service")

    def _open(self) -> None:
        self._hung = [thread for thread in self._hung if thread.is_alive()]
        if len(self._hung) >= MAX_HUNG or self._stop.is_set():
            return
        self._health.opening(self._clock.now())
        source = source_for(self._camera.source, self._base)
        self._session = _Session(source, self._run, f"read-{self._camera.id}")
        self._session.thread.start()

    def _abandon(self) -> None:
        session = self._let_go()
        if session is not None:
            self._hung.append(session.thread)

    def _let_go(self) -> _Session | None:
        """From here on the session's frames are ignored. An old picture must not be judged as a new one."""
        session, self._session, self._frame = self._session, None, None
        if session is not None:
            session.over.set()
        return session

    def _tell(self) -> bool:
        """Log the state where it is another than before, and say whether it is."""
        status = self._health.status()
        if status.state is self._told:
            return False
        self._told = status.state
        log.info("camera %s: %s %s %s", status.camera, status.state, status.cause, status.detail)
        return True

    # The reader's thread

    def _run(self, session: _Session) -> None:
        with closing(session.source):
            try:
                session.source.open()
                self._read(session)
            except SourceError as error:
                self._failed(session, error)

    def _failed(self, session: _Session, error: SourceError) -> None:
        with self._changed:
            if session.over.is_set():
                return
            self._ended = error.cause is CameraCause.ENDED
            last = self._frame if self._ended else None
            self._let_go()
            self._frame = last
            self._health.failed(self._clock.now(), error.cause, error.detail)
            self._tell()
            self._changed.notify_all()
        if self._wake is not None:
            self._wake()

    def _read(self, session: _Session) -> None:
        source, lamps = session.source, LampSampler(self._lamps)
        interval = 1 / max(KEEP_FPS, self._camera.judge_fps)
        every = bool(lamps) or self._timing is Timing.FREE
        started = self._clock.now()
        keep_at = look_at = float("-inf")
        damaged = 0
        while True:
            stamp = self._stamp(session, started, source.advance())
            seq = self._arrived(session)
            if seq is None:
                return
            # Half an interval of slack, so that a camera's jitter does not make every second frame of it too early.
            if not every and stamp.mono < keep_at - interval / 2:
                continue
            keep_at = max(keep_at, stamp.mono - interval) + interval
            image = source.picture()
            if image is None:
                damaged += 1
                if damaged >= MAX_DAMAGED:
                    raise SourceError(CameraCause.DECODE, f"{damaged} damaged pictures in a row")
                continue
            damaged = 0
            height, width = image.shape[:2]
            if min(height, width) < MIN_SIDE:
                raise SourceError(CameraCause.FORMAT, f"pictures of {width} x {height} pixels are too small to judge")
            if stamp.mono >= look_at:
                look_at = stamp.mono + LOOK_EVERY_S
                self._look(session, stamp, image)
            if lamps:
                lamps.sample(image, stamp.mono)
            self._hand_on(session, Frame(self._camera.id, seq, stamp, image, lamps.samples()))

    def _stamp(self, session: _Session, started: Stamp, media: float) -> Stamp:
        """When the picture was taken; a recording in real time is waited for until it is due."""
        if self._timing is Timing.FREE:
            return started.plus(media)
        if self._timing is Timing.PACED:
            session.over.wait(max(0.0, started.mono + media - self._clock.now().mono))
        return self._clock.now()

    def _arrived(self, session: _Session) -> int | None:
        """The frame's number; None where this session was abandoned."""
        with self._changed:
            if session.over.is_set():
                return None
            self._health.arrived(self._clock.now())
            self._seq += 1
            return self._seq

    def _look(self, session: _Session, stamp: Stamp, image: Image) -> None:
        look = Look.of(image)
        with self._changed:
            if not session.over.is_set():
                self._health.looked(stamp, look, width=image.shape[1], height=image.shape[0])

    def _hand_on(self, session: _Session, frame: Frame) -> None:
        for sink in self._sinks:
            sink(frame)
        with self._changed:
            if session.over.is_set():
                return
            self._frame = frame
            self._changed.notify_all()
        if self._wake is not None:
            self._wake()
        if self._timing is Timing.FREE:
            with self._changed:
                self._changed.wait_for(lambda: self._taken >= frame.seq or session.over.is_set())
