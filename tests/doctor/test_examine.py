"""The whole examination, as a generator and as the command that a person runs on a terminal of 80 columns."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from ruamel.yaml import YAML

from edge.doctor import examine
from edge.doctor.bounded import within
from tests.doctor.builders import ModelFolder, code

BANKSMAN = str(Path(sys.executable).with_name("banksman"))


def site_file(folder: Path, photos: Path, **sections: Any) -> Path:
    """One short recording, a model that is not there (so that nothing takes long), a broker that is not there."""
    content: dict[str, Any] = {
        "site": {"id": "north-yard", "latitude": 39.91, "longitude": 116.4},
        "node": {"id": "gate-03", "data_dir": "data", "clock_trusted": True},
        "cameras": [
            {"id": "gate", "source": {"type": "folder", "path": str(photos), "realtime": False}},
            {"id": "far", "source": {"type": "rtsp", "url": "rtsp://admin:hunter2@127.0.0.1:1/live"}},
        ],
        "detector": {"model": "models/none"},
        "uplinks": {
            "mqtt": {
                "host": "127.0.0.1",
                "port": 1,
                "tls": False,
                "username": "north-yard/gate-03",
                "password": "hunter3",
            }
        },
        "page": {"password": "hunter4hunter4"},
    }
    text = StringIO()
    YAML().dump(content | sections, text)
    path = folder / "site.yaml"
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


def test_every_organ_is_announced_and_then_found(tmp_path: Path, street: Path) -> None:
    path = site_file(tmp_path, street)
    story: list[str] = []
    story.extend(code(r) for r in examine(path, begins=lambda *what: story.append(f"? {' '.join(what)}".strip())))
    assert [s for s in story if s.startswith("?")] == [
        f"? site_file {path}", f"? node {tmp_path / 'data'}", "? clock", f"? disk {tmp_path / 'data'}", "? memory",
        "? heat", "? power", "? page 127.0.0.1:8080", "? certificate", "? broker 127.0.0.1:1", "? camera gate",
        "? camera far", f"? model {tmp_path / 'models/none'}",
    ]  # fmt: skip
    assert story[1] == "site_file.missing", "the model"
    for finding in ("node.free", "clock.trusted", "broker.refused", "camera.ok", "camera.refused", "model.unusable"):
        assert finding in story
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("content", ["", "site: [", "site: {id: North}", "\x00", "- 1"])
def test_a_bad_site_file_is_named_and_the_machine_is_examined_all_the_same(tmp_path: Path, content: str) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(content)
    results = examine(path)
    assert code(next(results)) == "site_file.wrong"
    assert [r.organ for _, r in zip(range(5), results, strict=False)] == ["clock", "disk", "memory", "heat", "power"]


@pytest.mark.parametrize("path", ["none.yaml", "."])
def test_no_site_file(tmp_path: Path, path: str) -> None:
    assert code(next(examine(tmp_path / path))) == "site_file.wrong"


def test_what_hangs_is_left_behind(tmp_path: Path, street: Path) -> None:
    """A pipe that nobody writes to: opening it never returns, like a file on a drive that is gone."""
    pipe = tmp_path / "ca.pem"
    os.mkfifo(pipe)
    uplinks = {"mqtt": {"host": "127.0.0.1", "port": 1, "ca": str(pipe)}, "evidence": {"url": "https://127.0.0.1:1"}}
    found = [code(r) for r in examine(site_file(tmp_path, street, uplinks=uplinks), organ_s=1.0)]
    assert {"certificate.endless", "broker.endless"} <= set(found)
    assert {"evidence.refused", "model.unusable"} <= set(found), "the examination went on"


def test_a_bug_is_not_taken_for_a_finding() -> None:
    with pytest.raises(ZeroDivisionError):
        within(5.0, lambda: 1 // 0)


# -- the command -------------------------------------------------------------------------------------------------------


def doctor(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BANKSMAN, "doctor", *words], capture_output=True, text=True, timeout=90, check=False,
        env=os.environ | environment,
    )  # fmt: skip


def test_a_whole_examination(tmp_path: Path, street: Path, model: ModelFolder) -> None:
    model.only("onnx")
    cameras = [{"id": "gate", "source": {"type": "pan", "path": str(street), "seconds": 600}}]
    detector = {"model": str(model.path), "runtime": "onnx", "threads": 1}
    path = site_file(tmp_path, street, cameras=cameras, detector=detector, uplinks={}, page=None)
    done = doctor(str(path), "--lang", "en")
    assert done.stderr == ""
    assert f"+ Site file {path}: in order" in done.stdout
    assert re.search(r"^\+ Camera gate: 1280×720, \d+\.\d frames a second", done.stdout, re.MULTILINE)
    assert re.search(r"^\+ Detector onnx: .* ms a picture .* MB; .*\(\d+ boxes\)$", done.stdout, re.MULTILINE)
    assert re.search(r"^\+ Detector onnx: the right choice here", done.stdout, re.MULTILINE)
    bad = any(line.startswith("x ") for line in done.stdout.splitlines())
    assert done.returncode == (1 if bad else 0)


def test_bad_findings_end_with_one_and_no_secret_is_told(tmp_path: Path, street: Path) -> None:
    done = doctor(str(site_file(tmp_path, street)), "--lang", "en")
    assert (done.returncode, done.stderr) == (1, "")
    assert "x Broker 127.0.0.1:1: nothing listens there\n  → Is the server running" in done.stdout
    assert "hunter" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("To be mended: ")


def on_terminal(*words: str, columns: int) -> str:
    """What a terminal of this width shows."""
    main, side = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "LINES": "50", "TERM": "xterm"}
    process = subprocess.Popen([BANKSMAN, "doctor", *words], stdout=side, stderr=side, env=environment)
    os.close(side)
    shown = b""
    while True:
        try:
            more = os.read(main, 65536)
        except OSError:  # the other end is closed
            break
        if not more:
            break
        shown += more
    os.close(main)
    process.wait(20)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r", "\n")


@pytest.mark.parametrize("language", ["zh-CN", "en"])
@pytest.mark.parametrize("columns", [80, 40])
def test_lines_fit_the_terminal(tmp_path: Path, street: Path, language: str, columns: int) -> None:
    path = site_file(tmp_path, street)
    shown = on_terminal(str(path), "--lang", language, columns=columns)
    assert {"zh-CN": "MQTT 服务器", "en": "Broker"}[language] in shown
    assert {"zh-CN": "正在检查：摄像头 far", "en": "Camera far: being examined"}[language] in shown
    assert max(cell_len(line) for line in shown.splitlines()) <= columns
    assert not re.search("hunter", shown)


def test_a_terminal_without_chinese_gets_question_marks_not_a_traceback(tmp_path: Path, street: Path) -> None:
    path = site_file(tmp_path, street)
    done = doctor(str(path), "--lang", "zh-CN", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (1, "")
    assert "127.0.0.1:1" in done.stdout


def test_an_unknown_language_is_refused() -> None:
    done = doctor("--lang", "fr")
    assert done.returncode == 2
    assert "zh-CN, en" in done.stderr
