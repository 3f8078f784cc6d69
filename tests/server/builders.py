"""A server's folder, made by the command that makes it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from typer.testing import CliRunner

from deploy.server.cli import app
from tests.conftest import REPO, need

NAME, HOST, ADDRESS = "site.example.cn", "banksman.lan", "127.0.0.1"
FIRST = ("--name", NAME, "--host", HOST, "--host", ADDRESS, "--site", "north-yard", "--siren", "north-yard")


def server(command: str, folder: Path, *options: str, code: int = 0, asked: str = "") -> str:
    """What `banksman server COMMAND` says. code: how it must end. asked: what is typed."""
    done = CliRunner().invoke(app, [command, str(folder), *options, "--lang", "en"], input=asked)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


def make(folder: Path, *options: str) -> Path:
    """A new folder."""
    server("init", folder, *FIRST, *options)
    return folder


def program(name: str, package: str) -> str:
    """The test skips where there is none."""
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/bin")
    need(path, f"{name} is not installed (apt-get install {package})")
    return str(path)


def compose_program() -> str:
    """Debian's compose plugin, as `make tools` unpacks it."""
    path = REPO / ".cache/compose/docker-compose"
    need(path.exists(), "docker-compose is not there (make tools)")
    return str(path)


def run(*command: str | Path, code: int | None = 0, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, timeout=60, cwd=cwd
    )
    said = done.stdout + done.stderr
    assert code is None or done.returncode == code, said
    return said


def edit(path: Path, *changes: tuple[str, str]) -> None:
    """Replace texts, by regular expressions, each of which must be there."""
    text = path.read_text()
    for old, new in changes:
        text, count = re.subn(old, new, text)
        assert count, f"{old} is not in {path}"
    path.write_text(text)


def snapshot(folder: Path) -> dict[str, tuple[bytes, int, int, int]]:
    """Of every file what is in it, mode, owner, and when it was written."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            stat = path.stat()
            found[str(path.relative_to(folder))] = path.read_bytes(), stat.st_mode, stat.st_uid, stat.st_mtime_ns
    return found
