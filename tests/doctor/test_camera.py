"""Real sources: a folder, a file, a network stream, ports that answer nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.clock import SystemClock
from edge.doctor import camera as doctor_camera
from edge.doctor.camera import examine_camera
from edge.doctor.result import Grade, Result, tell
from edge.site.model import Camera
from edge.values import Image
from tests.capture.conftest import RtspServer, has_rtsp_server, rtsp_server

__all__ = ["has_rtsp_server", "rtsp_server"]


def camera(source: dict[str, Any], **more: Any) -> Camera:
    return Camera.model_validate({"id": "gate", "source": source, **more})


def examined(config: Camera, base: Path, **more: Any) -> tuple[Result, list[Image]]:
    return examine_camera(config, SystemClock(), base, **more)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cameras here are steady, so a shorter look will do."""
    monkeypatch.setattr(doctor_camera, "SETTLE_S", 0.5)
    monkeypatch.setattr(doctor_camera, "LOOK_S", 1.5)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 256, (240, 320, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), noise)
    return folder


def test_a_folder_gives_its_rate_size_and_pictures(photos: Path) -> None:
    config = camera({"type": "folder", "path": str(photos), "fps": 10, "loop": True}, judge_fps=5)
    result, pictures = examined(config, photos, keep=3)
    assert (result.grade, result.code) == (Grade.OK, "ok")
    assert (result.fields["width"], result.fields["height"], result.fields["wanted"]) == (320, 240, "5")
    assert 8 <= float(result.fields["fps"]) <= 12
    assert [p.shape for p in pictures] == [(240, 320, 3)] * 3


@pytest.mark.parametrize("realtime", [True, False])
def test_a_recording_that_is_over_soon_is_in_order(photos: Path, realtime: bool) -> None:
    config = camera({"type": "folder", "path": str(photos), "fps": 20, "realtime": realtime})
    began = time.monotonic()
    result, pictures = examined(config, photos)
    assert result.code == "ok"
    assert pictures
    assert time.monotonic() - began < doctor_camera.LOOK_S


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ({"type": "file", "path": "none.mp4"}, "not_found"),
        ({"type": "folder", "path": "none"}, "not_found"),
        ({"type": "usb", "index": 63}, "not_found"),
        ({"type": "rtsp", "url": "rtsp://camera.invalid/stream"}, "not_found"),
    ],
)
def test_what_is_not_there(tmp_path: Path, source: dict[str, Any], code: str) -> None:
    result, pictures = examined(camera(source), tmp_path)
    assert (result.code, pictures) == (code, [])


def test_a_file_that_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello")
    result, _ = examined(camera({"type": "file", "path": "text.mp4"}), tmp_path)
    assert result.code in ("decode", "format")


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_closed_port_is_refused_at_once_and_no_secret_is_told(tmp_path: Path, scheme: str, unused_port: int) -> None:
    kind = {"rtsp": "rtsp", "http": "mjpeg"}[scheme]
    config = camera({"type": kind, "url": f"{scheme}://admin:hunter2@127.0.0.1:{unused_port}/live?password=hunter2"})
    began = time.monotonic()
    result, _ = examined(config, tmp_path)
    assert result.code == "refused"
    assert time.monotonic() - began < 8
    for language in ("zh-CN", "en"):
        told = tell(result, language)
        assert "hunter2" not in told.finding + told.advice


@contextmanager
def silent() -> Iterator[int]:
    """Takes connections and says nothing: a camera that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_camera_that_hangs_is_given_up(tmp_path: Path) -> None:
    with silent() as port:
        began = time.monotonic()
        result, _ = examined(camera({"type": "rtsp", "url": f"rtsp://127.0.0.1:{port}/live"}), tmp_path)
        assert result.code == "timeout"
        assert time.monotonic() - began < doctor_camera.OPEN_S + 5


def test_a_camera_that_does_not_open_beside_a_node_may_have_one_viewer_only(tmp_path: Path, unused_port: int) -> None:
    config = camera({"type": "rtsp", "url": f"rtsp://127.0.0.1:{unused_port}/live"})
    result, _ = examined(config, tmp_path, node_runs=True)
    assert (result.grade, result.code) == (Grade.WARN, "beside_node")


def test_a_device_that_the_node_holds_is_left_alone(tmp_path: Path) -> None:
    result, _ = examined(camera({"type": "usb"}), tmp_path, node_runs=True)
    assert (result.grade, result.code) == (Grade.SKIP, "held")


@pytest.mark.parametrize(
    ("pattern", "wanted", "code"),
    [("smpte", 30, "slow"), ("black", 5, "dark")],
)
def test_a_network_camera(
    rtsp_server: Callable[..., RtspServer], tmp_path: Path, pattern: str, wanted: int, code: str
) -> None:
    server = rtsp_server(f"/live={pattern}")
    config = camera({"type": "rtsp", "url": server.url("/live")}, judge_fps=wanted)
    result, pictures = examined(config, tmp_path)
    assert result.code == code
    assert pictures
    if "fps" in result.fields:
        assert 12 <= float(result.fields["fps"]) <= 18, "it gives 15"


def test_a_wrong_password_is_tried_once(rtsp_server: Callable[..., RtspServer], tmp_path: Path) -> None:
    server = rtsp_server("/live=smpte", "--user", "viewer", "--password", "right")
    config = camera({"type": "rtsp", "url": server.url("/live", "viewer:hunter2@")})
    result, _ = examined(config, tmp_path)
    assert result.code == "auth"
    assert "hunter2" not in tell(result, "en").finding
