"""The judging loop: one detector for all cameras, the one whose look is due first goes first (earliest deadline)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Protocol

from edge.clock import Clock, Stamp
from edge.detect import Detector
from edge.evidence.recorder import Recorder
from edge.health import Pace
from edge.journal.journal import Journal
from edge.line import DETECTION_FLOOR, Looked
from edge.live import LiveBoard
from edge.post import Post
from edge.values import AlarmChange, AlarmEvent, CameraStatus, Frame, Verdict

log = logging.getLogger(__name__)

TICK_S = 1.0
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
    due: monotonic time of the next look. seq: of the frame judged last. now: the post's time.
    """

    reader: Eye
    post: Post
    period_s: float
    replay: bool
    due: float = float("-inf")
    seq: int = 0
    now: Stamp | None = None
    ticked: float = float("-inf")


class Judge:
    """Runs in the thread that calls `run`. Others may only call `ask` and `wake`.

    told: called each time that the journal has a new event.
    """

    def __init__(
        self,
        *,
        detector: Detector,
        journal: Journal,
        recorder: Recorder,
        board: LiveBoard,
        pace: Pace,
        clock: Clock,
        told: Callable[[], None],
    ) -> None:
        self._detector = detector
        self._journal = journal
        self._recorder = recorder
        self._board = board
        self._pace = pace
        self._clock = clock
        self._told = told
        self._asked: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._news = threading.Event()
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

    def run(self, over: Callable[[], bool]) -> None:
        """Judge until `over` says so, or until every camera is a clip that has ended."""
        while not over():
            if self.step():
                continue
            if self.ended and not self.step():  # once more: the last frame may have come just before the end
                return
            self._news.wait(self._idle_s())
            self._news.clear()

    @property
    def ended(self) -> bool:
        return bool(self.watched) and all(w.reader.ended for w in self.watched.values())

    def step(self) -> bool:
        """Do what is to be done now. False: there was no frame to judge."""
        self._do_asked()
        now = self._clock.now()
        frame = None
        for watched in sorted(self.watched.values(), key=lambda w: w.due):
            if watched.due > now.mono:
                break
            frame = self._judge_one(watched, now)
            if frame is not None:
                break
        self._tick(self._clock.now())
        return frame is not None

    def _do_asked(self) -> None:
        while True:
            try:
                work = self._asked.get_nowait()
            except Empty:
                return
            work()

    def _idle_s(self) -> float:
        now = self._clock.now().mono
        waiting = [w.due - now for w in self.watched.values() if w.due > now]
        return min([_IDLE_S, *waiting])

    def _judge_one(self, watched: Watched, now: Stamp) -> Frame | None:
        # Blind first: the last frame before a camera froze or went dark may still be there, and must not be judged.
        if not watched.reader.status().state.sees and not watched.reader.ended:
            return None
        frame = watched.reader.take(watched.seq, 0.0)
        if frame is None:
            return None
        watched.seq, watched.now = frame.seq, frame.stamp
        if not watched.replay:
            # On a grid, so that a slow look does not lower the rate; not further back than now, so that none pile up.
            watched.due = max(watched.due + watched.period_s, now.mono)
        looked, events = watched.post.judge(frame, self._detector.detect(frame.image, DETECTION_FLOOR))
        self._recorder.judged(frame, looked.heads)
        for event in events:
            self.record(watched.post, event, looked)
        self._board.put(looked)
        done = self._clock.now()
        self._pace.frame(done.mono, 0.0 if watched.replay else done.mono - frame.stamp.mono)
        return frame

    def _tick(self, now: Stamp) -> None:
        for camera, watched in self.watched.items():
            stamp = (watched.now or now) if watched.replay else now
            if stamp.mono - watched.ticked < TICK_S:
                continue
            watched.ticked = stamp.mono
            if not watched.reader.status().state.sees and not watched.reader.ended:
                self._board.forget(camera)
                for event in watched.post.blind(stamp):
                    self.record(watched.post, event, None)
            self._journal.tallies(watched.post.tick(stamp))

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
