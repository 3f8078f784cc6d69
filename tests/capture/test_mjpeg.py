"""MJPEG over HTTP from a real server, and what the reader makes of a camera that misbehaves."""

from __future__ import annotations

import threading
import time
from urllib.parse import quote

import pytest

from edge.capture.health import Limits
from edge.capture.reader import MAX_HUNG
from edge.clock import SystemClock
from edge.values import CameraCause, CameraState, Frame
from tests.capture.builders import HEIGHT, WIDTH, camera, number_of, until
from tests.capture.conftest import OpenReader
from tests.capture.mjpeg_server import PASSWORD, USER, MjpegServer

LOGIN = f"{USER}:{quote(PASSWORD)}@"
WRONG = f"{USER}:s3cr3t-wrong@"
LAMP = {
    "kind": "warning_light",
    "id": "lamp-1",
    "polygon": [[0.4, 0.4], [0.6, 0.4], [0.6, 0.6], [0.4, 0.6]],
}


def mjpeg(url: str) -> dict[str, str]:
    return {"type": "mjpeg", "url": url}


@pytest.mark.parametrize(
    ("path", "login"),
    [
        ("/live", ""),
        ("/counted", ""),
        ("/without_length", ""),
        ("/some_damaged", ""),
        ("/basic", LOGIN),
        ("/digest", LOGIN),
        ("/digest_sha256?channel=1", LOGIN),
    ],
)
def test_streams_that_work(mjpeg_server: MjpegServer, open_reader: OpenReader, path: str, login: str) -> None:
    reader = open_reader(camera(mjpeg(mjpeg_server.url(path, login))))
    seen = 0
    for _ in range(5):
        frame = reader.take(seen, timeout=5)
        assert frame is not None
        assert frame.image.shape == (HEIGHT, WIDTH, 3)
        seen = frame.seq
    assert reader.status().state is CameraState.LIVE


@pytest.mark.parametrize(
    ("path", "cause", "said"),
    [
        ("/nowhere", CameraCause.NOT_FOUND, "answers 404 Not Found"),
        ("/moved", CameraCause.NOT_FOUND, "another address"),
        ("/basic", CameraCause.AUTH, "answers 401 Unauthorized"),
        (f"{WRONG}/basic", CameraCause.AUTH, "answers 401 Unauthorized"),
        (f"{WRONG}/digest", CameraCause.AUTH, "answers 401 Unauthorized"),
        ("/busy?pwd=s3cr3t-wrong", CameraCause.REFUSED, "answers 503 Service Unavailable"),
        ("/photo", CameraCause.FORMAT, "sends image/jpeg"),
        ("/no_parts", CameraCause.FORMAT, "not a multipart stream"),
        ("/damaged", CameraCause.DECODE, "damaged pictures in a row"),
        ("/tiny", CameraCause.FORMAT, "16 x 16 pixels"),
        ("/breaks_off", CameraCause.REFUSED, "closed the connection"),
    ],
)
def test_streams_that_do_not_work_say_why_and_keep_the_secret(  # noqa: PLR0917  (fixtures)
    mjpeg_server: MjpegServer,
    open_reader: OpenReader,
    caplog: pytest.LogCaptureFixture,
    path: str,
    cause: CameraCause,
    said: str,
) -> None:
    login, _, path = path.rpartition("@")
    with caplog.at_level("DEBUG"):
        reader = open_reader(camera(mjpeg(mjpeg_server.url(path, login and login + "@"))))
        status = until(reader, CameraState.LOST, cause)
    assert said in status.detail
    assert "s3cr3t" not in f"{status} {caplog.text} {reader.__dict__}"
    assert cause.value in caplog.text


def test_nobody_there_is_refused(open_reader: OpenReader, unused_port: int) -> None:
    reader = open_reader(camera(mjpeg(f"http://127.0.0.1:{unused_port}/live")))
    until(reader, CameraState.LOST, CameraCause.REFUSED)


def test_a_name_that_does_not_exist_is_not_found(open_reader: OpenReader) -> None:
    reader = open_reader(camera(mjpeg("http://no-such-camera.invalid/live")))
    until(reader, CameraState.LOST, CameraCause.NOT_FOUND)


def test_only_the_newest_frame_is_kept(mjpeg_server: MjpegServer, open_reader: OpenReader) -> None:
    """25 pictures a second; one that is taken after a while is the newest of them, not the next one."""
    reader = open_reader(camera(mjpeg(mjpeg_server.url("/counted"))))
    first = reader.take(0, timeout=5)
    assert first is not None
    later = reader.take(first.seq + 25, timeout=5)
    assert later is not None
    assert 26 <= later.seq - first.seq <= 35
    assert number_of(later.image) - number_of(first.image) == later.seq - first.seq, "every picture counts"


def test_frames_are_kept_ten_times_a_second_but_all_are_counted(
    mjpeg_server: MjpegServer, open_reader: OpenReader
) -> None:
    kept: list[Frame] = []
    enough = threading.Event()

    def sink(frame: Frame) -> None:
        kept.append(frame)
        if len(kept) == 20:
            enough.set()

    reader = open_reader(camera(mjpeg(mjpeg_server.url("/counted")), judge_fps=2), sinks=[sink])
    assert enough.wait(10)
    fps = reader.status().fps
    took = kept[19].stamp.mono - kept[0].stamp.mono
    assert fps == pytest.approx((kept[19].seq - kept[0].seq) / took, rel=0.25)
    assert fps > 15
    assert took > 1.7, "not more than ten a second"
    assert len({id(frame.image) for frame in kept}) == len(kept), "each in an array of its own"


def test_lamps_are_sampled_from_every_picture(mjpeg_server: MjpegServer, open_reader: OpenReader) -> None:
    reader = open_reader(camera(mjpeg(mjpeg_server.url("/live")), fixtures=[LAMP]))
    frame = reader.take(20, timeout=10)
    assert frame is not None
    (samples,) = frame.lamps
    assert samples.fixture == "lamp-1"
    assert len(samples.mono) == frame.seq
    assert samples.mono[-1] == frame.stamp.mono


def test_waiting_ends_with_the_wake_of_any_camera(mjpeg_server: MjpegServer, open_reader: OpenReader) -> None:
    woken = threading.Event()
    reader = open_reader(camera(mjpeg(mjpeg_server.url("/live"))), wake=woken.set)
    assert woken.wait(10)
    assert reader.take(0, timeout=0) is not None


def test_a_silent_camera_is_stalled_and_comes_back(mjpeg_server: MjpegServer, open_reader: OpenReader) -> None:
    limits = Limits(stall_s=1.0)
    reader = open_reader(camera(mjpeg(mjpeg_server.url("/pauses"))), limits=limits)
    last = reader.take(9, timeout=10) or reader.take(8, timeout=1)
    until(reader, CameraState.STALLED, CameraCause.TIMEOUT)
    assert last is None or SystemClock().now().mono - last.stamp.mono < limits.stall_s + 1
    assert reader.take(0, timeout=0) is None, "a picture from before the silence is not handed out as a new one"
    mjpeg_server.resumed.set()
    until(reader, CameraState.LIVE)
    again = reader.take(0, timeout=5)
    assert again is not None
    assert again.seq > 10, "the count goes on"


def test_a_still_camera_is_frozen_and_a_changed_size_is_followed(
    mjpeg_server: MjpegServer, open_reader: OpenReader
) -> None:
    still = open_reader(camera(mjpeg(mjpeg_server.url("/still"))), limits=Limits(frozen_s=1.5))
    resized = open_reader(camera(mjpeg(mjpeg_server.url("/resized")), fixtures=[LAMP]))
    frame = resized.take(24, timeout=10)
    assert frame is not None
    assert (frame.width, frame.height) == (640, 480)
    until(still, CameraState.FROZEN)
    assert still.take(0, timeout=2) is not None, "frames still come; the state says that they are not to be judged"
    status = until(resized, CameraState.LIVE)
    assert (status.width, status.height) == (640, 480)


def test_reader_threads_that_hang_do_not_pile_up(mjpeg_server: MjpegServer, open_reader: OpenReader) -> None:
    """A camera that takes connections and says nothing: attempts go on, but never with more threads than a few."""

    def hanging() -> int:
        return sum(thread.name == "read-gate" for thread in threading.enumerate())

    woken = threading.Event()
    reader = open_reader(camera(mjpeg(mjpeg_server.url("/silent"))), limits=Limits(open_s=0.2), wake=woken.set)
    assert woken.wait(5), "a change of state wakes too"
    status = until(reader, CameraState.LOST, CameraCause.TIMEOUT)
    assert "no picture within 0.2 s" in status.detail
    most, deadline = 0, time.monotonic() + 3.5
    while time.monotonic() < deadline:
        most = max(most, hanging())
        assert most <= MAX_HUNG
        time.sleep(0.05)
    assert most == MAX_HUNG
    began = time.monotonic()
    reader.stop()
    assert time.monotonic() - began < 3, "stopping does not wait for those that hang"
    assert reader.take(0, timeout=60) is None
