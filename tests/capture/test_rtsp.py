"""RTSP from a real server that is killed, stopped and restarted."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from edge.capture import opencv
from edge.capture.health import Limits
from edge.capture.rtsp import RtspStream
from edge.site.model import RtspSource
from edge.values import CameraCause, CameraState
from tests.capture.builders import camera, number_of, until
from tests.capture.conftest import OpenReader, RtspServer

StartServer = Callable[..., RtspServer]
PASSWORD = "s3cr3t/word"  # noqa: S105


def rtsp(url: str, transport: str = "tcp") -> dict[str, str]:
    return {"type": "rtsp", "url": url, "transport": transport}


def test_a_camera_that_hangs_is_noticed_and_comes_back(
    rtsp_server: StartServer, open_reader: OpenReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGSTOP is what a pulled cable looks like: the connection stays, nothing comes."""
    monkeypatch.setattr("edge.capture.rtsp.OPEN_TIMEOUT_S", 1.5)
    monkeypatch.setattr("edge.capture.probe.TIMEOUT_S", 1.5)
    server = rtsp_server("/live=smpte")
    limits = Limits(stall_s=2.0)
    reader = open_reader(camera(rtsp(server.url("/live"))), limits=limits)
    until(reader, CameraState.LIVE)
    assert reader.take(10, timeout=10) is not None
    server.signal(signal.SIGSTOP)
    began = time.monotonic()
    until(reader, CameraState.STALLED, CameraCause.TIMEOUT)
    assert time.monotonic() - began < limits.stall_s + 1
    lost = until(reader, CameraState.LOST, CameraCause.TIMEOUT)
    assert "does not answer" in lost.detail
    server.signal(signal.SIGCONT)
    until(reader, CameraState.LIVE)
    assert reader.take(0, timeout=5) is not None


def test_a_camera_that_dies_is_noticed_and_comes_back(rtsp_server: StartServer, open_reader: OpenReader) -> None:
    server = rtsp_server("/live=smpte")
    reader = open_reader(camera(rtsp(server.url("/live"))))
    until(reader, CameraState.LIVE)
    server.kill()
    began = time.monotonic()
    until(reader, CameraState.LOST, CameraCause.REFUSED)
    assert time.monotonic() - began < 2
    server.start()
    until(reader, CameraState.LIVE)
    assert reader.take(0, timeout=5) is not None


def test_causes_and_secrets(
    rtsp_server: StartServer,
    open_reader: OpenReader,
    unused_port: int,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server = rtsp_server("--user", "viewer", "--password", PASSWORD, "/live=smpte")
    right, wrong = "viewer:s3cr3t%2Fword@", "viewer:s3cr3t-wrong@"
    expected = {
        server.url("/live", wrong): (CameraState.LOST, CameraCause.AUTH, "401"),
        server.url("/live"): (CameraState.LOST, CameraCause.AUTH, "401"),
        server.url("/nowhere", right): (CameraState.LOST, CameraCause.NOT_FOUND, "404"),
        server.url("/live?user=viewer&pwd=s3cr3t-query", right): (CameraState.LIVE, CameraCause.NONE, ""),
        "rtsp://viewer:s3cr3t@127.0.0.1:9/live": (CameraState.LOST, CameraCause.REFUSED, "refused the connection"),
        "rtsp://viewer:12/s3cr3t@127.0.0.1/live": (CameraState.LOST, CameraCause.FORMAT, "write / as %2F"),
    }
    with caplog.at_level("DEBUG"):
        readers = {url: open_reader(camera(rtsp(url))) for url in expected}
        for url, (state, cause, said) in expected.items():
            status = until(readers[url], state, cause)
            assert said in status.detail
            assert "s3cr3t" not in repr(status)
    out, err = capfd.readouterr()
    assert "s3cr3t" not in caplog.text + out + err
    assert "lost auth" in caplog.text


def test_something_else_on_the_port_does_not_speak_rtsp(open_reader: OpenReader, mjpeg_server: object) -> None:
    url = mjpeg_server.url("/live").replace("http://", "rtsp://")  # type: ignore[attr-defined]
    status = until(open_reader(camera(rtsp(url))), CameraState.LOST, CameraCause.FORMAT)
    assert "does not speak RTSP" in status.detail


def test_dark_covered_and_frozen_pictures(rtsp_server: StartServer, open_reader: OpenReader) -> None:
    server = rtsp_server("/live=smpte", "/still=checkers-8", "/dark=black", "/covered=solid-color")
    limits = Limits(frozen_s=3, dark_s=1, covered_s=1)
    readers = {
        path: open_reader(camera(rtsp(server.url(path))), limits=limits)
        for path in ("/still", "/dark", "/covered", "/live")
    }
    until(readers["/dark"], CameraState.DARK)
    until(readers["/covered"], CameraState.COVERED)
    until(readers["/still"], CameraState.FROZEN)
    assert readers["/live"].status().state is CameraState.LIVE, "a corner of noise is enough to be alive"


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_slow_taker_gets_the_newest_picture(
    rtsp_server: StartServer, open_reader: OpenReader, transport: str
) -> None:
    """The pictures carry the wall clock of their making: their age at the taker stays small and does not grow."""
    server = rtsp_server("/clock=clock")
    reader = open_reader(camera(rtsp(server.url("/clock"), transport)))
    until(reader, CameraState.LIVE)
    ages, seen = [], 0
    for _ in range(5):
        frame = reader.take(seen + 6, timeout=5)
        assert frame is not None
        ages.append((round(time.time() * 100) - number_of(frame.image)) % 65536 / 100)
        seen = frame.seq
    assert max(ages) < 0.5, ages
    assert ages[-1] < ages[0] + 0.25, ages


def test_low_delay_options_are_in_force_though_opencv_was_imported_before(
    rtsp_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same server opened with them and without, in one run; without, FFmpeg studies the stream for two seconds."""
    stream = RtspStream(RtspSource.model_validate(rtsp(rtsp_server("/live=smpte").url("/live"))))

    def seconds_to_open() -> float:
        began = time.monotonic()
        stream.open()
        took = time.monotonic() - began
        stream.close()
        return took

    seconds_to_open()  # the server's pipeline is warm now
    with_options = seconds_to_open()
    monkeypatch.setattr(opencv, "_ENVIRONMENT", {})
    monkeypatch.delenv("OPENCV_FFMPEG_CAPTURE_OPTIONS")
    assert with_options < seconds_to_open() / 2
