"""`banksman run`, `check` and `demo` as a person starts them: real processes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from rich.console import Console

from broker.messages import CameraHealth, Health
from deploy.demo import DemoError, Screen, _kept_photos, _unpack, free_port
from edge.text import catalogue
from tests.capture.mjpeg_server import MjpegServer
from tests.conftest import REPO
from tests.node.test_node import SiteOnDisk, disk, wait_for
from tests.servers import Wire

__all__ = ["disk"]

END_S = 60.0
"""The demo finishes its clips first."""
BANKSMAN = str(Path(sys.executable).with_name("banksman"))


def banksman(*words: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BANKSMAN, *words], capture_output=True, text=True, timeout=timeout, check=False, cwd=REPO)


class Lines:
    """What a process prints, line by line, as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[str] = []
        self._more = threading.Condition()
        self._ended = False
        self._process = process
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._more:
                self.lines.append(line)
                self._more.notify_all()
        with self._more:
            self._ended = True
            self._more.notify_all()

    def wait(self, pattern: str, patience_s: float) -> re.Match[str]:
        """The first line that matches. Fails with all that was printed when none comes."""
        end = time.monotonic() + patience_s
        with self._more:
            while True:
                for line in self.lines:
                    if match := re.search(pattern, line):
                        return match
                assert not self._ended, f"it ended:\n{''.join(self.lines)}"
                assert self._more.wait(end - time.monotonic()), f"no {pattern!r} in:\n{''.join(self.lines)}"


@contextmanager
def started(*words: str) -> Iterator[tuple[subprocess.Popen[str], Lines]]:
    process = subprocess.Popen(
        [BANKSMAN, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPO
    )  # fmt: skip
    try:
        yield process, Lines(process)
    finally:
        process.kill()
        process.wait()


def test_run_watches_until_sigterm_and_ends_in_order(disk: SiteOnDisk) -> None:
    with started("run", str(disk.path)) as (process, lines):
        lines.wait("alarm raised: gate/street/", 60.0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20.0) == 0


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("site: {id: North}", "site"),
        ("site: [", "1:"),
        ("", "empty"),
    ],
)
def test_a_bad_site_file_is_explained_without_a_traceback(
    tmp_path: Path, command: str, content: str, says: str
) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(content)
    done = banksman(command, str(path), *(["--lang", "en"] if command == "check" else []))
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert says in done.stdout + done.stderr


@pytest.mark.parametrize("command", [("run", "/"), ("check", "/"), ("model", "export", "no-such-weights.pt", "out")])
def test_a_path_that_is_no_file_is_named_without_a_traceback(command: tuple[str, ...]) -> None:
    done = banksman(*command)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert (done.stdout + done.stderr).strip()


def test_check_is_silent_about_a_good_file_but_for_one_word(disk: SiteOnDisk) -> None:
    done = banksman("check", str(disk.path), "--lang", "en")
    assert done.returncode == 0, done.stdout
    assert len(done.stdout.splitlines()) <= 1


def test_demo_shows_alarms_of_a_real_detector_within_a_minute(unused_port: int) -> None:
    with started("demo", "--port", str(unused_port), "--for", "120", "--lang", "en") as (process, lines):
        began = time.monotonic()
        url = lines.wait(r"Page +(http://127\.0\.0\.1:\d+)/", 30.0)[1]
        raised = lines.wait(r"banksman/1/demo/desk/alarm/helmet", 60.0)
        assert raised
        assert time.monotonic() - began < 60.0
        with httpx.Client(base_url=url, trust_env=False, timeout=20.0) as client:
            # The picture reaches the disk just behind its alarm.
            wait_for(
                lambda: re.search(r'src="/alarms/[0-9a-f-]+/[0-9a-f]{64}', client.get("/alarms?lang=en").text), 10.0
            )
        process.send_signal(signal.SIGINT)
        assert process.wait(END_S) == 0


def test_demos_dispatch_tells_the_person_on_duty_and_its_link_opens_the_case_with_its_picture() -> None:
    with started("demo", "--lang", "en") as (process, lines):
        dispatch = lines.wait(r"Dispatch +(http://127\.0\.0\.1:\d+)/", 30.0)[1]
        told = lines.wait(rf"^ *Message .*Somebody in a no-entry zone.* ({dispatch}/l/\S+)", 60.0)
        origin = {"Origin": dispatch, "Accept": "text/html"}
        with httpx.Client(base_url=dispatch, headers=origin, trust_env=False, timeout=20.0) as foreman:
            assert "It is mine" in foreman.get(f"{told[1]}?lang=en").text
            case = foreman.post(told[1], data={"do": "take"}).headers["location"]

            def picture() -> str:
                return "".join(re.findall(r'src="(/evidence/[^"]+)"', foreman.get(case).text)[:1])

            wait_for(picture, 20.0)
            assert foreman.get(picture()).headers["content-type"] == "image/jpeg"
        with httpx.Client(base_url=dispatch, headers=origin, trust_env=False, timeout=20.0) as officer:
            who = lines.wait(r"log in as (\w+), password (\w+)", 1.0)
            assert officer.post("/login", data={"name": who[1], "password": who[2]}).status_code == 303
            assert case in officer.get("/open").text
        process.send_signal(signal.SIGINT)
        assert process.wait(END_S) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(dispatch, trust_env=False)


def page_at(url: str) -> str:
    """The page; nothing while it does not listen yet."""
    try:
        return httpx.get(url, trust_env=False, timeout=20.0).text
    except httpx.ConnectError:
        return ""


def test_demo_says_that_its_source_was_lost_and_came_back(unused_port: int) -> None:
    with MjpegServer() as camera, Wire(urlsplit(camera.url("/")).port or 0) as wire:
        source = f"http://127.0.0.1:{wire.port}/live"
        with started("demo", "--source", source, "--port", str(unused_port), "--lang", "en") as (_, lines):
            url = lines.wait(r"http://127\.0\.0\.1:\d+/$", 30.0).group()
            # A rate is shown from the second picture on; before, nobody can tell that pictures stopped to come.
            wait_for(lambda: re.search(r'data-state="live".*?data-fps>[^<]*[1-9]', page_at(url), re.DOTALL), 30.0)
            wire.freeze()
            lines.wait(r"Camera Street · No picture comes · No answer · Check the camera's power", 20.0)
            wire.thaw()
            lines.wait(r"Camera Street · Live", 40.0)


def health(state: str, cause: str = "none") -> bytes:
    camera = CameraHealth(camera="street", state=state, cause=cause, since=1.0)
    return Health(at=1.0, period_s=30, uptime_s=5, fps=4, journal_depth=0, cameras=(camera,)).to_payload()


@pytest.mark.parametrize(
    ("language", "seen", "lines"),
    [
        ("en", [("opening",), ("live",), ("live",)], []),
        ("en", [("lost", "ended"), ("lost", "ended")], ["Street · No connection · Recording is over"]),
        ("en", [("live",), ("frozen",), ("live",), ("live",)], ["Street · Picture frozen", "Street · Live"]),
        ("en", [("stalled", "timeout"), ("lost", "refused")], ["No picture comes · No answer", "Connection refused"]),
        ("zh-CN", [("lost", "auth"), ("live",)], ["街道 · 连接不上 · 访问被拒", "街道 · 正常"]),
    ],
)
def test_the_demos_terminal_tells_changes_of_a_camera_and_nothing_else(
    language: str, seen: list[tuple[str, ...]], lines: list[str]
) -> None:
    printed = StringIO()
    screen = Screen(Console(file=printed, width=200), catalogue(language))
    for told in seen:
        screen.take("banksman/1/demo/desk/health", health(*told))
    shown = printed.getvalue().splitlines()
    assert len(shown) == len(lines)
    assert all(line in told for line, told in zip(lines, shown, strict=True))


@pytest.mark.parametrize(
    ("words", "lang", "says"),
    [
        (("demo", "--source", "no-such-file.mp4"), "zh_CN.UTF-8", "不是文件"),
        (("demo", "--source", "no-such-file.mp4", "--lang", "en"), "zh_CN.UTF-8", "neither a file"),
        (("demo", "--source", str(REPO / "docs")), "zh_CN.UTF-8", "没有图片"),
        (("demo", "--source", "99", "--lang", "zh-CN"), "C.UTF-8", "不能大于 63"),
        (("check", "site.yaml", "--lang", "tlh"), "zh_CN.UTF-8", "不在可选之列"),
        (("check", "site.yaml", "--lang", "tlh"), "C.UTF-8", "is none of"),
        (("run", "no-such.yaml"), "zh_CN.UTF-8", "没有这个文件"),
        (("run", "no-such.yaml"), "C.UTF-8", "no such file"),
    ],
)
def test_errors_are_told_in_the_language_of_the_terminal(words: tuple[str, ...], lang: str, says: str) -> None:
    done = subprocess.run(
        [BANKSMAN, *words], capture_output=True, text=True, timeout=60.0, check=False, cwd=REPO,
        env=os.environ | {"LC_ALL": lang},
    )  # fmt: skip
    assert done.returncode == 2
    assert says in done.stderr


def test_a_port_that_is_taken_is_named_in_both_languages() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DemoError) as caught:
            free_port(port)
    assert caught.value.told("en").startswith(f"port {port} is in use")
    assert caught.value.told("zh-CN").startswith(f"端口 {port} 已被占用")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("no-such-file.mp4", "neither a file"),
        ("rtsp://user:s3cret@", "url: is not a complete address"),
        ("rtsp://user:s3cret@host:99999/x", "url: is not a complete address"),
        ("99", "index: must be at most 63"),
        (str(REPO / "docs"), "pictures"),
    ],
)
def test_demo_names_what_is_wrong_with_a_source_and_no_password(source: str, says: str) -> None:
    done = banksman("demo", "--source", source, "--lang", "en", "--for", "20")
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "s3cret" not in done.stdout + done.stderr


class TestPhotos:
    """Of the demo, from a wheel that is as it should be or is not."""

    @staticmethod
    def wheel(folder: Path, *names: str) -> Path:
        path = folder / "ultralytics-8.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(f"ultralytics/assets/{name}", b"a photo")
        return path

    def test_appear_whole(self, tmp_path: Path) -> None:
        _unpack(self.wheel(tmp_path, "bus.jpg", "zidane.jpg"), tmp_path / "photos")
        assert sorted(p.name for p in (tmp_path / "photos").iterdir()) == ["bus.jpg", "zidane.jpg"]

    @pytest.mark.parametrize("damage", ["lacks one", "is no archive"])
    def test_from_a_bad_wheel_there_are_none(self, tmp_path: Path, damage: str) -> None:
        wheel = self.wheel(tmp_path, "bus.jpg")
        if damage == "is no archive":
            wheel.write_bytes(b"half a download")
        with pytest.raises(DemoError, match="not in ultralytics"):
            _unpack(wheel, tmp_path / "photos")
        assert not (tmp_path / "photos").exists()

    def test_go_beside_the_site_file_where_nobody_has_a_home(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a-file").touch()
        monkeypatch.setenv("HOME", str(tmp_path / "a-file"))
        assert _kept_photos(tmp_path / "spare") == tmp_path / "spare"
        monkeypatch.setenv("HOME", str(tmp_path))
        assert _kept_photos(tmp_path / "spare") == tmp_path / ".cache" / "banksman" / "photos"
