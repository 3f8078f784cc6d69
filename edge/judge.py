"""The judging loop: one detector for all cameras, the one whose look is due first goes first (earliest deadline).

While the detector looks at a frame in a thread of its own, the loop settles the frame before: tracks, rules, alarms,
journal. One look is under way at a time, and none waits: a frame is taken when the detector is free for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Protocol

from edge.beat import Beats
from edge.clock import Clock, Stamp
from edge.detect import Detector
from edge.evidence.heads import DETECTION_FLOOR
from edge.evidence.recorder import Recorder
from edge.health import Pace
from edge.journal.journal import Journal
from edge.line import Looked
from edge.live import LiveBoard
from edge.post import Post
from edge.values import AlarmChange, AlarmEvent, CameraStatus, Detections, Frame, PlaceState, Reason, Verdict

log = logging.getLogger(__name__)

TICK_S = 1.0
MAX_FAILED = 20
"""Frames in a row that the detector may fail on, and closer looks that may fail in a row; then the program ends, so
that a fresh one is started."""
STANDS_STILL_S = 20.0
"""The loop comes round four times a second, a slow look takes one: neither is alive after so long."""
_IDLE_S = 0.25  # longest wait: a camera that goes blind wakes nobody


class Eye(Protocol):
    """What the judge asks of a camera; `edge.capture.reader.CameraReader` is one."""

    def take(self, after: int, timeout: float) -> Frame | None: ...
    def status(self) -> CameraStatus: ...
    def stop(self) -> None: ...
    @property
    def ended(self) -> bool: ...


@dataclass(slots=True)
class Watched:
    """One camera with its post.

    period_s: between two looks. replay: frames carry media time and each one is judged.
    due: monotonic time of the next look. seq: of the frame taken last. now: of the frame settled last.
    off: why it is not judged though it may be seen; None: it is judged.
    states: how its rule instances stood after the last event or second; what other threads may read.
    """

    reader: Eye
    post: Post
    period_s: float
    replay: bool
    due: float = float("-inf")
    seq: int = 0
    now: Stamp | None = None
    ticked: float = float("-inf")
    off: Reason | None = None
    states: tuple[PlaceState, ...] = ()

    @property
    def sees(self) -> bool:
        """Whether frames may be judged. The last frames of a clip that has ended may."""
        return self.off is None and (self.reader.status().state.sees or self.reader.ended)

    def time(self, now: Stamp) -> Stamp:
        """The post's time when the clock says `now`."""
        return (self.now or now) if self.replay else now

    def publish(self, stamp: Stamp) -> None:
        self.states = self.post.states(stamp)


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """A frame that was taken. seen: what the detector sees in it; None where the camera was blind."""

    watched: Watched
    frame: Frame
    seen: Future[Detections] | None

    @property
    def done(self) -> bool:
        return self.seen is None or self.seen.done()


class Judge:
    """Runs in the thread that calls `run`. Others may only call `ask` and `wake`.

    executor: where the detector looks; shut it down before the detector is closed.
    told: called each time that the journal has a new event. beats: where the loop and the detector say that they go on.
    """

    def __init__(
        self,
        *,
        detector: Detector,
        executor: Executor,
        journal: Journal,
        recorder: Recorder,
        board: LiveBoard,
        pace: Pace,
        clock: Clock,
        told: Callable[[], None],
        beats: Beats | None = None,
    ) -> None:
        self._detector = detector
        self._executor = executor
        self._journal = journal
        self._recorder = recorder
        self._board = board
        self._pace = pace
        self._clock = clock
        self._told = told
        beats = beats or Beats()
        self._beat, self._looking = (beats.loop(name, STANDS_STILL_S) for name in ("judge", "detector"))
        self._asked: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._news = threading.Event()
        self._under_way: _Look | None = None
        self._failed = self._failed_closer = 0
        self._stepped = clock.now()
        self.watched: dict[str, Watched] = {}

    # -- from other threads ------------------------------------------------------------------------------------

    def wake(self) -> None:
        """A camera has a new frame."""
        self._news.set()

    def ask(self, work: Callable[[], object]) -> None:
        """Have something done between two frames."""
        self._asked.put(work)
        self._news.set()

    # -- the loop ----------------------------------------------------------------------------------------------

    def run(self, over: Callable[[], bool], *, to_the_end: bool = False) -> None:
        """Judge until `over` says so; `to_the_end`: also until every camera is a clip that has ended."""
        while not over():
            if self.step():
                continue
            # Once more: the last frame may have come just before the end.
            if to_the_end and self.ended and self._under_way is None and not self.step():
                return
            self._news.wait(self.idle_s())
            self._news.clear()
        if self._under_way is not None:
            self._finish(self._under_way)
        self._beat.rest()
        self._looking.rest()

    @property
    def ended(self) -> bool:
        return bool(self.watched) and all(w.reader.ended for w in self.watched.values())

    def step(self) -> bool:
        """Do what is to be done now. False: no frame was taken and no look was done; the one under way will wake."""
        self._do_asked()
        now = self._stepped = self._clock.now()
        self._beat.work(now.mono)
        last = self._done()
        taken = self._under_way is None and self._take(now)  # before the last one is settled: nobody waits for that
        done = [look for look in (last, self._done()) if look is not None]
        for look in done:
            self._finish(look)
        self._tick(self._clock.now())
        return taken or bool(done)

    def _do_asked(self) -> None:
        asked = False
        while True:
            try:
                work = self._asked.get_nowait()
            except Empty:
                break
            work()
            asked = True
        if asked:
            now = self._clock.now()
            for watched in self.watched.values():
                watched.publish(watched.time(now))

    def idle_s(self) -> float:
        """Until the next look that was not due in the last step: one that has become due since must not wait."""
        now = self._clock.now().mono
        waiting = [max(0.0, w.due - now) for w in self.watched.values() if w.due > self._stepped.mono]
        return min([_IDLE_S, *waiting])

    def _done(self) -> _Look | None:
        """The look that was under way, if it is done."""
        look = self._under_way
        if look is None or not look.done:
            return None
        self._under_way = None
        self._looking.rest()
        return look

    def _take(self, now: Stamp) -> bool:
        """Take the frame whose look is due first, and have the detector look at it."""
        for watched in sorted(self.watched.values(), key=lambda w: w.due):
            if watched.due > now.mono and not watched.reader.ended:
                continue
            # Asked before the frame is taken: the last one before a camera froze or went dark may still be there.
            sees = watched.sees
            frame = watched.reader.take(watched.seq, 0.0)
            if frame is None:
                continue
            watched.seq = frame.seq
            # On a grid, so that a slow look does not lower the rate; not further back than now, so that none pile up.
            # A replay is always due, but not before a camera that has waited for longer.
            watched.due = max(watched.due + (0.0 if watched.replay else watched.period_s), now.mono)
            self._looking.work(now.mono)
            self._under_way = _Look(watched, frame, self._look_at(frame) if sees else None)
            return True
        return False

    def _look_at(self, frame: Frame) -> Future[Detections]:
        seen = self._executor.submit(self._detector.detect, frame.image, DETECTION_FLOOR)
        seen.add_done_callback(lambda _: self._news.set())
        return seen

    def _finish(self, look: _Look) -> None:
        """Settle a look; waits for the detector where that is still looking."""
        watched, frame = look.watched, look.frame
        watched.now = frame.stamp
        if look.seen is None:
            return
        seen = self._result(frame, look.seen)
        if self.watched.get(frame.camera) is not watched:
            return  # a new site file ended this watch meanwhile
        if seen is None:
            self._settle(watched, watched.post.blind(frame.stamp, Reason.UNCERTAIN), None)
            return
        looked, events = watched.post.judge(frame, seen)
        self._count(looked)
        hidden = self._recorder.judged(frame, looked.heads)
        self._settle(watched, events, looked)
        self._board.put(looked, hidden)
        done = self._clock.now()
        self._pace.frame(done.mono, None if watched.replay else done.mono - frame.stamp.mono)

    def _result(self, frame: Frame, seen: Future[Detections]) -> Detections | None:
        """None where the detector failed. Raises what is no failure but a bug, and the last of too many failures."""
        try:
            found = seen.result()
        except RuntimeError as error:
            self._failed += 1
            if self._failed >= MAX_FAILED:
                raise
            log.error("camera %s: frame %d cannot be judged: %s", frame.camera, frame.seq, error)  # noqa: TRY400
            return None
        self._failed = 0
        return found

    def _count(self, looked: Looked) -> None:
        """Closer looks that failed one after the other, however many frames lie between them. Raises the last of too
        many: where nobody can be blamed any more, all looks well."""
        for error in looked.closer:
            self._failed_closer = 0 if error is None else self._failed_closer + 1
            if error is None:
                continue
            if self._failed_closer >= MAX_FAILED:
                raise error
            log.error("camera %s: frame %d: %s", looked.frame.camera, looked.frame.seq, error)

    def _tick(self, now: Stamp) -> None:
        for camera, watched in self.watched.items():
            stamp = watched.time(now)
            if stamp.mono - watched.ticked < TICK_S:
                continue
            sees = watched.sees
            if not sees and self._under_way is not None and self._under_way.watched is watched:
                continue  # first what it still saw, then that it is blind
            watched.ticked = stamp.mono
            if not sees:
                self._board.forget(camera)
                self._settle(watched, watched.post.blind(stamp, watched.off or Reason.CAMERA_BLIND), None)
            self._journal.tallies(watched.post.tick(stamp))
            watched.publish(stamp)

    def _settle(self, watched: Watched, events: Sequence[AlarmEvent], looked: Looked | None) -> None:
        for event in events:
            self.record(watched.post, event, looked)
        if events:
            watched.publish(events[-1].at)

    def record(self, post: Post, event: AlarmEvent, looked: Looked | None) -> None:
        """Into the journal, and only then to anybody else."""
        if looked is not None and event.change is not AlarmChange.CLEARED and event.verdict is Verdict.VIOLATION:
            marks = looked.violators(event.instance)
            event = post.attach(event, self._recorder.snapshot(event.alarm, looked.frame, looked.heads, marks))
        event = self._journal.alarm(event)
        log.info(
            "alarm %s: %s, %d in violation, verdict %s (%s)",
            event.change, event.instance, event.subjects, event.verdict, event.reason,
        )  # fmt: skip
        if event.change is AlarmChange.RAISED:
            raised = event
            self._recorder.clip(
                raised.alarm,
                raised.instance.source,
                raised.at,
                on_done=lambda ref: self.ask(partial(post.attach, raised, ref)),
            )
        self._told()
