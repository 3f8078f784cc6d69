"""The judging loop on cameras that show what the test says, on a clock that the test moves."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge import judge as judging
from edge.clock import ManualClock, Stamp
from edge.detect import LookError
from edge.evidence.recorder import Recorder
from edge.health import Pace
from edge.journal.journal import Journal
from edge.judge import MAX_FAILED, Judge, Watched
from edge.line import CameraLine
from edge.live import LiveBoard
from edge.node import all_terms
from edge.post import Post
from edge.rules import RULES
from edge.site.model import Evidence, JournalSettings
from edge.values import (
    Box,
    CameraCause,
    CameraState,
    CameraStatus,
    Detections,
    Frame,
    Image,
    Reason,
    Verdict,
    WearState,
)
from tests.evidence.builders import HIDDEN, SHARP, sharpness
from tests.node.builders import MODEL, NOON, H, Sight, W, detections, site_file, worker

BARE = worker(helmet=False)
FACE: Box = (380.0, 330.0, 420.0, 348.0)
"""The lower part of the head of `BARE`."""


class Camera:
    """An eye as the judge knows it: the newest of the frames that the test shows, in a state that the test sets."""

    def __init__(self, name: str, clock: ManualClock) -> None:
        self.name = name
        self.clock = clock
        self.state = CameraState.LIVE
        self.ended = False
        self.picture: Image = np.full((H, W, 3), 120, np.uint8)
        self._seq = 0
        self._frames: deque[Frame] = deque()

    def show(self, stamp: Stamp | None = None) -> None:
        self._frames.clear()
        self.queue(stamp or self.clock.now())

    def queue(self, stamp: Stamp) -> None:
        """A frame that waits for those before it to be taken, as a replay has them."""
        self._seq += 1
        self._frames.append(Frame(self.name, self._seq, stamp, self.picture))

    def take(self, after: int, timeout: float) -> Frame | None:
        del timeout
        while self._frames and self._frames[0].seq <= after:
            self._frames.popleft()
        return self._frames[0] if self._frames else None

    def status(self) -> CameraStatus:
        return CameraStatus(self.name, self.state, CameraCause.NONE, self.clock.now())

    def stop(self) -> None:
        self.ended = True


class Eyes:
    """What the detector sees, whatever the picture; fails as long as the test wants."""

    def __init__(self) -> None:
        self.people: Sequence[Sequence[Sight]] = ()
        self.fails = False
        self.looks = 0
        self.during: Callable[[], object] = lambda: None
        self.closer_says = WearState.OFF
        self.closer_fails = False

    def detect(self, image: Image, floor: float) -> Detections:
        del image, floor
        self.looks += 1
        self.during()
        if self.fails:
            raise RuntimeError("runtime 'onnx' gave numbers that are not finite")
        return detections(*self.people)

    def closer(self, image: Image, box: Box) -> WearState:
        """What the closer look says of anybody; it is asked with the frame as the camera gave it."""
        del box
        assert image.shape == (H, W, 3)
        if self.closer_fails:
            raise LookError("the closer look at 'helmet' gives [nan, 0.0, 0.0], not 3 finite numbers")
        return self.closer_says


class Looks(Executor):
    """Has the detector look as soon as it is asked to; while `held`, not before `let_go`."""

    def __init__(self) -> None:
        self.held = False
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._waiting.append((future, partial(fn, *args, **kwargs)))
        if not self.held:
            self.let_go()
        return future

    def let_go(self) -> None:
        while self._waiting:
            future, work = self._waiting.popleft()
            try:
                future.set_result(work())
            except (RuntimeError, ValueError) as error:
                future.set_exception(error)


class Bench:
    """A judge with any number of cameras."""

    def __init__(self, folder: Path, executor: Executor | None = None) -> None:
        self.clock = ManualClock(wall=NOON)
        self.eyes = Eyes()
        self.looks = Looks()
        self.journal = Journal(folder / "journal.db", self.clock, JournalSettings())
        self.recorder = Recorder(Evidence(), self.journal, self.clock, folder / "evidence")
        self.board = LiveBoard()
        self.judge = Judge(
            detector=self.eyes,  # type: ignore[arg-type]  # the judge asks nothing else of it
            executor=executor or self.looks,
            journal=self.journal,
            recorder=self.recorder,
            board=self.board,
            pace=Pace(),
            clock=self.clock,
            told=lambda: None,
        )

    def camera(self, name: str = "gate", fps: float = 5.0, *, replay: bool = False) -> Camera:
        site = site_file()
        camera = Camera(name, self.clock)
        closer = {"helmet": self.eyes.closer}
        line = CameraLine(site, site.cameras[0].model_copy(update={"id": name}), MODEL, RULES, closer=closer)
        self.judge.watched[name] = Watched(camera, Post(line, all_terms(site)), 1 / fps, replay)
        return camera

    def play(self, seconds: float, *cameras: Camera, fps: float = 5.0) -> None:
        """All cameras show frames for so long, and the judge has time for all of them."""
        for _ in range(round(seconds * fps)):
            self.clock.advance(1 / fps)
            for camera in cameras:
                camera.show()
            while self.judge.step():
                pass

    def next_look(self, camera: Camera) -> None:
        """The detector looks at a new frame of this camera until `looks.let_go`."""
        self.looks.held = True
        self.clock.advance(0.2)
        camera.show()
        assert self.judge.step()

    def told(self) -> list[tuple[str, Verdict, Reason]]:
        return [(e.change.value, e.verdict, e.reason) for e in self.journal.pending_alarms(100)]

    def verdict(self, rule: str) -> tuple[Verdict | None, Reason | None]:
        (state,) = [s for w in self.judge.watched.values() for s in w.states if s.instance.rule == rule]
        return state.verdict, state.reason

    def unknown_s(self, rule: str) -> int:
        return sum(c.unknown_s for c in self.journal.compliance(0) if c.instance.rule == rule)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.journal.close()


def test_a_breach_reaches_the_journal(bench: Bench) -> None:
    gate = bench.camera()
    bench.eyes.people = [BARE]
    bench.play(2.0, gate)
    assert bench.told() == [("raised", Verdict.VIOLATION, Reason.BARE)]


def test_a_replay_goes_on_through_darkness_and_counts_it_as_unknown(bench: Bench) -> None:
    clip = bench.camera(replay=True)
    clip.state = CameraState.DARK
    start = bench.clock.now()
    for n in range(50):
        clip.queue(start.plus(n / 5))
    for _ in range(50):
        assert bench.judge.step()
    assert clip.take(49, 0.0) is not None
    assert clip.take(50, 0.0) is None
    assert bench.eyes.looks == 0
    assert bench.unknown_s("helmet") == 9


def test_what_a_camera_showed_while_it_was_blind_is_not_judged_when_it_sees_again(bench: Bench) -> None:
    gate = bench.camera()
    gate.state = CameraState.FROZEN
    gate.show()
    bench.judge.step()
    gate.state = CameraState.LIVE
    bench.clock.advance(0.5)
    assert not bench.judge.step()
    assert bench.eyes.looks == 0


def test_a_blind_camera_shows_no_old_picture(bench: Bench) -> None:
    gate = bench.camera()
    bench.play(2.0, gate)
    assert bench.board.wait("gate", 0, 0.0) is not None
    gate.state = CameraState.STALLED
    bench.clock.advance(1.0)
    bench.judge.step()
    assert bench.board.wait("gate", 0, 0.0) is None


def test_a_camera_that_is_left_out_for_the_heat_is_unknown_and_never_ok(bench: Bench) -> None:
    gate = bench.camera()
    bench.eyes.people = [BARE]
    bench.play(2.0, gate)
    looks = bench.eyes.looks
    bench.judge.watched["gate"].off = Reason.NODE_HOT
    bench.play(10.0, gate)
    assert bench.eyes.looks == looks
    assert bench.board.wait("gate", 0, 0.0) is None, "no old picture either"
    assert bench.verdict("helmet") == (Verdict.UNKNOWN, Reason.NODE_HOT)
    assert bench.unknown_s("helmet") >= 8
    bench.judge.watched["gate"].off = None
    bench.play(3.0, gate)
    assert bench.verdict("helmet") == (Verdict.VIOLATION, Reason.BARE)


def test_a_face_that_was_missed_this_once_is_hidden_in_the_live_picture_too(bench: Bench) -> None:
    gate = bench.camera()
    gate.picture = np.random.default_rng(7).integers(0, 2, (H, W, 1), np.uint8).repeat(3, 2) * 255
    bench.eyes.people = [BARE]
    bench.play(1.0, gate)
    bench.eyes.people = []
    bench.play(0.2, gate)
    live = bench.board.wait("gate", 0, 0.0)
    assert live is not None
    shown = np.asarray(cv2.imdecode(np.frombuffer(live.jpeg(), np.uint8), cv2.IMREAD_COLOR), np.uint8)
    assert sharpness(shown, FACE) < HIDDEN
    assert sharpness(shown, (800.0, 100.0, 860.0, 160.0)) > SHARP


def test_a_frame_that_the_detector_fails_on_is_unknown_and_the_next_is_judged(bench: Bench) -> None:
    gate = bench.camera()
    bench.play(3.0, gate)
    bench.eyes.fails = True
    bench.play(2.0, gate)
    assert bench.unknown_s("helmet") >= 2
    bench.eyes.fails = False
    bench.eyes.people = [BARE]
    bench.play(2.0, gate)
    assert [change for change, *_ in bench.told()] == ["raised"]


def test_a_detector_that_fails_for_good_ends_the_program(bench: Bench) -> None:
    gate = bench.camera()
    bench.eyes.fails = True
    with pytest.raises(RuntimeError, match="not finite"):
        bench.play(60.0, gate)
    assert bench.eyes.looks == MAX_FAILED


@pytest.mark.parametrize("says", [WearState.ON, WearState.UNSEEN])
def test_nobody_is_blamed_whom_the_closer_look_does_not_blame(bench: Bench, says: WearState) -> None:
    gate = bench.camera()
    bench.eyes.people, bench.eyes.closer_says = [BARE], says
    bench.play(3.0, gate)
    assert bench.told() == []
    assert bench.verdict("helmet") == (Verdict.UNKNOWN, Reason.UNCERTAIN)


def test_a_closer_look_that_fails_leaves_one_person_unjudged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    gate = bench.camera()
    bench.eyes.people, bench.eyes.closer_fails = [BARE, worker(900.0)], True
    bench.play(2.0, gate)
    assert bench.verdict("helmet") == (Verdict.UNKNOWN, Reason.UNCERTAIN)
    assert bench.verdict("hi_vis") == (Verdict.OK, Reason.SEEN)  # what needs no closer look is judged
    assert "camera gate: frame 1: the closer look at 'helmet' gives" in caplog.text
    bench.eyes.closer_fails = False
    bench.play(2.0, gate)
    assert bench.verdict("helmet") == (Verdict.VIOLATION, Reason.BARE)


def test_closer_looks_that_fail_for_good_end_the_program_whatever_lies_between_them(bench: Bench) -> None:
    gate, yard = bench.camera(), bench.camera("yard")
    bench.eyes.closer_fails = True

    def somebody_now_and_then(times: int) -> None:
        for _ in range(times):
            bench.eyes.people = [BARE]
            bench.play(0.2, gate)
            bench.eyes.people = []
            bench.play(1.0, gate, yard)

    somebody_now_and_then(MAX_FAILED - 1)
    with pytest.raises(LookError, match="not 3 finite"):
        somebody_now_and_then(1)


@pytest.mark.parametrize("rates", [(5.0, 5.0), (2.0, 30.0), (30.0, 30.0)])
def test_a_slow_detector_starves_no_camera(bench: Bench, rates: tuple[float, float]) -> None:
    cameras = [bench.camera(name, fps) for name, fps in zip(("gate", "yard"), rates, strict=True)]
    bench.eyes.during = lambda: bench.clock.advance(0.25)
    looks, seen = Counter[str](), dict.fromkeys(("gate", "yard"), 0)
    for _ in range(40):
        for camera in cameras:
            camera.show()
        assert bench.judge.step()
        for name, watched in bench.judge.watched.items():
            looks[name] += watched.seq != seen[name]
            seen[name] = watched.seq
    assert looks["gate"] + looks["yard"] == 40
    assert looks["gate"] >= min(20, rates[0] * 40 * 0.25) - 1
    assert looks["yard"] >= 19


def test_a_replay_leaves_live_cameras_their_looks(bench: Bench) -> None:
    clip, gate = bench.camera("clip", replay=True), bench.camera("gate", 2.0)
    start = bench.clock.now()
    for n in range(400):
        clip.queue(start.plus(n / 5))
    seen = 0
    for _ in range(100):
        bench.clock.advance(0.1)
        gate.show()
        before = bench.judge.watched["gate"].seq
        assert bench.judge.step()
        seen += bench.judge.watched["gate"].seq != before
    assert seen == pytest.approx(20, abs=2)  # ten seconds at two looks a second


def test_a_look_that_became_due_since_the_last_step_does_not_wait(bench: Bench) -> None:
    gate = bench.camera()
    bench.play(1.0, gate)
    bench.clock.mono = bench.judge.watched["gate"].due - 0.001
    gate.show()
    assert not bench.judge.step()
    bench.clock.advance(0.002)
    assert bench.judge.idle_s() == 0.0


def test_the_last_frame_of_a_clip_is_judged_before_the_judge_leaves(bench: Bench) -> None:
    clip = bench.camera(fps=1.0)
    bench.play(1.0, clip, fps=1.0)
    bench.clock.advance(0.1)  # not due yet
    clip.show()
    clip.ended = True
    clip.state = CameraState.LOST
    bench.judge.run(lambda: False, to_the_end=True)
    assert bench.eyes.looks == 2


def test_a_clip_that_has_ended_still_lets_others_ask(bench: Bench) -> None:
    clip = bench.camera()
    clip.ended = True
    over, done = threading.Event(), threading.Event()
    with in_thread(lambda: bench.judge.run(over.is_set)):
        bench.judge.ask(done.set)
        assert done.wait(10.0)
        over.set()


def test_the_detector_looks_at_the_next_frame_while_the_last_one_is_settled(bench: Bench) -> None:
    gate = bench.camera()
    bench.eyes.people = [BARE]
    bench.play(1.0, gate)
    bench.next_look(gate)  # will raise the alarm
    bench.looks.let_go()
    bench.looks.held = False
    bench.clock.advance(0.2)
    gate.show()
    before: list[object] = []
    bench.eyes.during = lambda: before.append(bench.told())
    bench.judge.step()
    assert before == [[]]
    assert bench.told() == [("raised", Verdict.VIOLATION, Reason.BARE)]


def test_no_frame_waits_for_the_detector_the_newest_is_taken_when_it_is_free(bench: Bench) -> None:
    gate, yard = bench.camera("gate", 30.0), bench.camera("yard", 30.0)
    bench.next_look(gate)
    for _ in range(5):
        bench.clock.advance(0.1)
        gate.show()
        yard.show()
        assert not bench.judge.step()
    assert (bench.judge.watched["gate"].seq, bench.judge.watched["yard"].seq) == (1, 0)
    bench.looks.let_go()
    assert bench.judge.step()
    bench.looks.let_go()
    assert bench.judge.step()
    assert (bench.judge.watched["gate"].seq, bench.judge.watched["yard"].seq) == (6, 5)


def test_a_look_that_is_done_is_settled_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "_IDLE_S", 60.0)  # so that nothing else wakes the loop
    begun, free, over = threading.Event(), threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as executor:
        bench = Bench(tmp_path, executor)
        gate = bench.camera(fps=0.01)
        bench.eyes.during = lambda: [begun.set(), free.wait(10.0)]  # type: ignore[func-returns-value]
        gate.show()
        with in_thread(lambda: bench.judge.run(over.is_set)):
            assert begun.wait(10.0)
            free.set()
            assert bench.board.wait("gate", 0, 10.0) is not None
            over.set()
            bench.judge.wake()
    bench.journal.close()


def test_what_a_camera_saw_before_it_went_blind_still_counts(bench: Bench) -> None:
    gate = bench.camera()
    bench.eyes.people = [BARE]
    bench.play(1.0, gate)
    bench.next_look(gate)  # will raise the alarm
    gate.state = CameraState.STALLED
    bench.clock.advance(1.0)
    assert not bench.judge.step()
    assert bench.told() == []
    bench.looks.let_go()
    assert bench.judge.step()
    assert bench.told() == [("raised", Verdict.VIOLATION, Reason.BARE)]
    assert bench.board.wait("gate", 0, 0.0) is None


@pytest.mark.parametrize("heir", [True, False])
def test_a_look_for_a_camera_that_is_gone_is_dropped(bench: Bench, heir: bool) -> None:
    gate = bench.camera()
    bench.next_look(gate)
    del bench.judge.watched["gate"]
    if heir:
        bench.camera()  # another one that is called the same
    bench.looks.let_go()
    bench.judge.step()
    assert bench.board.wait("gate", 0, 0.0) is None


@pytest.mark.parametrize("gone", [True, False])
def test_a_bug_in_the_detector_ends_the_program(bench: Bench, gone: bool) -> None:
    def bug() -> None:
        raise ValueError("a picture must be")

    gate = bench.camera()
    bench.eyes.during = bug
    bench.next_look(gate)
    if gone:
        del bench.judge.watched["gate"]
    bench.looks.let_go()
    with pytest.raises(ValueError, match="a picture must be"):
        bench.judge.step()


def test_the_look_under_way_is_settled_before_the_judge_leaves(bench: Bench) -> None:
    gate = bench.camera()
    bench.next_look(gate)
    asked: list[None] = []

    def over() -> bool:
        asked.append(None)
        if len(asked) == 1:
            bench.judge.wake()
            return False
        bench.looks.let_go()
        return True

    bench.judge.run(over)
    assert bench.board.wait("gate", 0, 0.0) is not None


@contextmanager
def in_thread(work: Callable[[], object]) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join(10.0)
        assert not thread.is_alive()


def test_what_others_read_is_as_of_the_last_second_and_every_event(bench: Bench) -> None:
    gate = bench.camera()
    watched = bench.judge.watched["gate"]
    bench.play(1.0, gate)
    assert {s.verdict for s in watched.states} == {None}
    bench.eyes.people = [BARE]
    bench.play(1.2, gate)
    (helmet,) = [s for s in watched.states if s.instance.rule == "helmet"]
    assert (helmet.verdict, helmet.violating) == (Verdict.VIOLATION, 1)
    assert helmet.alarm is not None
    bench.eyes.people = []
    bench.play(3.5, gate)
    (helmet,) = [s for s in watched.states if s.instance.rule == "helmet"]
    assert (helmet.verdict, helmet.subjects) == (None, 0)
