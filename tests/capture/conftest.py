"""Servers that the cameras are played by: real ones, on free ports, ended by their process id."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.capture.reader import CameraReader
from edge.clock import Clock, SystemClock
from edge.site.model import Camera
from tests.capture.mjpeg_server import MjpegServer
from tests.conftest import need

SYSTEM_PYTHON = "/usr/bin/python3"
_SERVER = Path(__file__).with_name("rtsp_server.py")

OpenReader = Callable[..., CameraReader]


@pytest.fixture
def open_reader(tmp_path: Path) -> Iterator[OpenReader]:
    """Starts readers and stops them at the end."""
    readers: list[CameraReader] = []

    def start(camera: Camera, clock: Clock | None = None, **more: Any) -> CameraReader:
        reader = CameraReader(camera, clock or SystemClock(), tmp_path, **more)
        readers.append(reader)
        reader.start()
        return reader

    yield start
    for reader in readers:
        reader.stop()


@pytest.fixture(scope="session")
def has_rtsp_server() -> None:
    done = subprocess.run(
        [SYSTEM_PYTHON, "-c", "import gi; gi.require_version('GstRtspServer', '1.0')"], capture_output=True, check=False
    )
    need(done.returncode == 0, "gst-rtsp-server for the system's Python not found (tests/tools.sh installs it)")


class RtspServer:
    """One process of `rtsp_server.py`."""

    def __init__(self, port: int, *arguments: str) -> None:
        self.port = port
        self._command = [SYSTEM_PYTHON, str(_SERVER), str(port), *arguments]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, which also ends a stopped process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def url(self, path: str, login: str = "") -> str:
        return f"rtsp://{login}127.0.0.1:{self.port}{path}"


@pytest.fixture
def rtsp_server(has_rtsp_server: None, unused_port: int) -> Iterator[Callable[..., RtspServer]]:
    servers: list[RtspServer] = []

    def start(*arguments: str) -> RtspServer:
        server = RtspServer(unused_port, *arguments)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def mjpeg_server() -> Iterator[MjpegServer]:
    with MjpegServer() as server:
        yield server
