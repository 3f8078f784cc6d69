"""States of a camera as a table of time and events; nothing here waits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.capture.health import AUTH_RETRY_S, Act, Backoff, CameraHealth, Lasting, Limits
from edge.capture.look import Look
from edge.clock import ManualClock
from edge.values import CameraCause, CameraState, Image
from tests.capture.builders import HEIGHT, WIDTH, flat, noisy, scene, write_video

LIMITS = Limits(stall_s=3, open_s=10, frozen_s=30, dark_s=3, covered_s=5, recover_s=1, healthy_s=10)
STILL = scene()
BLACK = flat(4, noise=1)
NIGHT = flat(12, noise=2)
NIGHT[100:140, 150:170] = 255  # one lamp
FINGER = flat(90)


class Camera:
    """A health with its clock, driven like a reader does: 10 frames and 2 looks a second."""

    def __init__(self, live: bool = True) -> None:
        self.clock = ManualClock()
        self.health = CameraHealth("gate", self.clock.now(), live=live, limits=LIMITS, backoff=Backoff(scatter=0.0))

    def open(self) -> Camera:
        assert self.health.tick(self.clock.now()) is Act.OPEN
        self.health.opening(self.clock.now())
        return self

    def show(self, seconds: float, picture: Callable[[], Image] = scene, fps: float = 10) -> Camera:
        for n in range(round(seconds * fps)):
            at = self.clock.advance(1 / fps)
            self.health.arrived(at)
            if n % max(1, round(fps / 2)) == 0:
                self.health.looked(at, Look.of(picture()), WIDTH, HEIGHT)
            assert self.health.tick(at) is Act.NOTHING
        return self

    def wait(self, seconds: float) -> Act:
        """Ticks until something is asked for, at most so long."""
        for _ in range(round(seconds * 5)):
            act = self.health.tick(self.clock.advance(0.2))
            if act is not Act.NOTHING:
                return act
        return Act.NOTHING

    def fail(self, cause: CameraCause) -> Camera:
        self.health.failed(self.clock.now(), cause, "what was seen")
        return self

    @property
    def state(self) -> CameraState:
        return self.health.status().state


def test_a_camera_is_opening_until_its_first_frame_and_live_from_then() -> None:
    camera = Camera().open()
    assert camera.state is CameraState.OPENING
    camera.clock.advance(2)
    assert camera.state is CameraState.OPENING
    status = camera.show(2).health.status()
    assert status.state is CameraState.LIVE
    assert status.cause is CameraCause.NONE
    assert (status.width, status.height) == (WIDTH, HEIGHT)
    assert status.fps == pytest.approx(10)
    assert status.since.mono == pytest.approx(camera.clock.mono - 2, abs=0.11)


@pytest.mark.parametrize(
    ("picture", "seconds", "state"),
    [
        pytest.param(scene, 60, CameraState.LIVE, id="a scene with noise"),
        pytest.param(lambda: NIGHT, 20, CameraState.LIVE, id="a night with a lamp"),
        pytest.param(lambda: BLACK, 2.5, CameraState.LIVE, id="dark for a moment"),
        pytest.param(lambda: BLACK, 4.0, CameraState.DARK, id="dark for long enough"),
        pytest.param(lambda: FINGER, 4.5, CameraState.LIVE, id="covered for a moment"),
        pytest.param(lambda: flat(90), 6.0, CameraState.COVERED, id="covered for long enough"),
        pytest.param(lambda: STILL, 29.0, CameraState.LIVE, id="still for a while"),
        pytest.param(lambda: STILL, 31.0, CameraState.FROZEN, id="still for too long"),
        pytest.param(lambda: BLACK, 60.0, CameraState.DARK, id="dark says more than frozen"),
        pytest.param(lambda: FINGER, 60.0, CameraState.COVERED, id="covered says more than frozen"),
    ],
)
def test_what_a_picture_does_to_the_state(picture: Callable[[], Image], seconds: float, state: CameraState) -> None:
    camera = Camera().open().show(2).show(seconds, picture)
    assert camera.state is state


@pytest.mark.parametrize("bad", [BLACK, FINGER, STILL], ids=["dark", "covered", "frozen"])
def test_a_blind_camera_that_sees_again_is_live_again(bad: Image) -> None:
    camera = Camera().open().show(1).show(40, lambda: bad)
    assert not camera.state.sees
    assert camera.show(2).state is CameraState.LIVE


def test_a_camera_at_the_limit_of_darkness_does_not_flicker() -> None:
    """Between the two limits the state stays what it was."""
    between = noisy(scene(noise=0) / 6 + 2, 1)
    assert Camera().open().show(2).show(20, lambda: between).state is CameraState.LIVE
    assert Camera().open().show(10, lambda: BLACK).show(20, lambda: between).state is CameraState.DARK


@pytest.mark.parametrize("live", [True, False])
def test_a_still_recording_is_not_a_frozen_camera(live: bool) -> None:
    state = Camera(live=live).open().show(120, lambda: STILL).state
    assert state is (CameraState.FROZEN if live else CameraState.LIVE)


@pytest.mark.parametrize(("noise", "state"), [(0, CameraState.FROZEN), (1, CameraState.LIVE)])
def test_a_frozen_picture_is_told_from_a_quiet_scene_behind_a_video_encoder(
    tmp_path: Path, noise: float, state: CameraState
) -> None:
    """A minute of H.264: the encoder gives each still picture several looks, and smooths most noise away."""
    quiet = scene(noise=0, width=160, height=120)
    video = write_video(tmp_path / "quiet.mp4", (noisy(quiet, noise) for _ in range(600)), fps=10)
    with av.open(str(video)) as container:
        pictures = (frame.to_ndarray(format="bgr24") for n, frame in enumerate(container.decode(video=0)) if n % 5 == 0)
        camera = Camera().open().show(59, lambda: next(pictures))  # type: ignore[arg-type]
    assert camera.state is state


def test_silence_is_noticed_within_the_limit_and_the_camera_opened_anew() -> None:
    camera = Camera().open().show(5)
    silent_since = camera.clock.mono
    assert camera.wait(60) is Act.ABANDON
    assert camera.clock.mono - silent_since == pytest.approx(LIMITS.stall_s, abs=0.3)
    status = camera.health.status()
    assert (status.state, status.cause, status.fps) == (CameraState.STALLED, CameraCause.TIMEOUT, 0)
    assert camera.wait(1) is Act.OPEN
    camera.open()
    assert camera.state is CameraState.STALLED, "until it shows a picture or fails"
    assert camera.show(1).state is CameraState.LIVE


def test_a_recording_that_nobody_takes_from_is_not_stalled() -> None:
    camera = Camera(live=False).open().show(1)
    assert camera.wait(600) is Act.NOTHING
    assert camera.state is CameraState.LIVE


@pytest.mark.parametrize("interval", [1.0, 2.0, 8.0])
def test_a_slow_camera_is_given_four_of_its_own_intervals(interval: float) -> None:
    camera = Camera().open().show(interval * 6, fps=1 / interval)
    assert camera.health.status().fps == pytest.approx(1 / interval)
    patience = max(LIMITS.stall_s, 4 * interval)
    assert camera.wait(patience - 0.5) is Act.NOTHING
    assert camera.wait(1.5) is Act.ABANDON


def test_an_opening_that_hangs_is_given_up() -> None:
    camera = Camera().open()
    assert camera.wait(LIMITS.open_s - 0.5) is Act.NOTHING
    assert camera.wait(2) is Act.ABANDON
    status = camera.health.status()
    assert (status.state, status.cause) == (CameraState.LOST, CameraCause.TIMEOUT)


def test_waiting_times_double_up_to_a_bound_and_start_over_after_a_healthy_spell() -> None:
    camera = Camera()
    waits = []
    for _ in range(7):
        camera.open().fail(CameraCause.REFUSED)
        began = camera.clock.mono
        assert camera.wait(60) is Act.OPEN
        waits.append(camera.clock.mono - began)
    assert waits == pytest.approx([0.5, 1, 2, 4, 8, 15, 15], abs=0.21)

    camera.open().show(LIMITS.healthy_s / 2).fail(CameraCause.REFUSED)
    assert camera.wait(10) is Act.NOTHING, "a camera that breaks off at once is not hammered"
    camera.wait(10)
    camera.open().show(LIMITS.healthy_s + 1).fail(CameraCause.REFUSED)
    assert camera.wait(1) is Act.OPEN


def test_wrong_passwords_are_retried_rarely() -> None:
    camera = Camera().open().fail(CameraCause.AUTH)
    assert camera.wait(AUTH_RETRY_S - 1) is Act.NOTHING
    assert camera.wait(2) is Act.OPEN


def test_a_recording_that_ended_is_not_opened_again() -> None:
    camera = Camera(live=False).open().show(1).fail(CameraCause.ENDED)
    assert camera.wait(1000) is Act.NOTHING
    status = camera.health.status()
    assert (status.state, status.cause, status.detail) == (CameraState.LOST, CameraCause.ENDED, "what was seen")


@given(st.integers(0, 10_000), st.integers(1, 200))
def test_no_wait_leaves_its_bounds(seed: int, attempts: int) -> None:
    backoff = Backoff(first_s=0.5, most_s=15, scatter=0.25, random=Random(seed))  # noqa: S311
    for _ in range(attempts):
        assert 0.5 * 0.75 <= backoff.next() <= 15 * 1.25


@given(st.lists(st.booleans(), min_size=1, max_size=80))
def test_a_condition_changes_only_after_it_has_lasted(seen: list[bool]) -> None:
    """Compared with the definition: on after the last 3 looks said so, off after the last 2 did not."""
    lasting, on = Lasting(on_s=2, off_s=1), False
    for n in range(len(seen)):
        newest = seen[: n + 1]
        if on and len(newest) >= 2 and not any(newest[-2:]):
            on = False
        elif not on and len(newest) >= 3 and all(newest[-3:]):
            on = True
        assert lasting.update(seen[n], float(n)) is on
