"""The units of updates under a real systemd: what is handed over is installed in a sandbox, tried, rolled back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edge.update import guard
from edge.update.updater import READY
from tests.service.test_systemd import NAMESPACES, machine
from tests.update.builders import Maker
from tests.waiting import until

INSTALL_S = 120.0
RUNS = """
import os, socket, time
print("runs {version}", flush=True)
line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
line.connect(os.environ["NOTIFY_SOCKET"])
line.send(b"READY=1")
while True:
    line.send(b"WATCHDOG=1")
    time.sleep(1)
"""
CRASHES = 'print("crashes {version}", flush=True)\nraise SystemExit(3)\n'


@pytest.fixture
def folder(tmp_path: Path, proof: bool) -> Path:
    if not proof:
        pytest.skip("part of the full-size run: make proof")
    if os.geteuid() != 0 or not Path("/lib/systemd/systemd").exists():
        pytest.skip("a systemd of its own wants root and the package systemd")
    if subprocess.run([*NAMESPACES, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("namespaces are not to be had here")
    tmp_path.chmod(0o755)
    return tmp_path


@pytest.mark.timeout(600)
def test_a_release_that_is_handed_over_is_installed_tried_and_rolled_back(folder: Path, maker: Maker) -> None:
    shutil.copy(maker.public_key, folder / "release.pub")
    shutil.copy(maker.app("0.1.0", 1, RUNS.format(version="0.1.0")), folder / "old.tar")
    with machine(folder, "tests/update/inside.sh") as inside:
        opt, var = inside.root / "opt/banksman", inside.root / "var/lib/banksman/update"

        def log(unit: str) -> str:
            path = folder / f"{unit}.log"
            return path.read_text() if path.exists() else ""

        def hand_over(tar: Path) -> None:
            shutil.copy(tar, var / "part")
            (var / "part").rename(var / READY)
            until(lambda: not (var / READY).exists(), f"not dealt with: {log('update')}", INSTALL_S)

        def last() -> tuple[str, str, str]:
            found = guard.read_state(opt).last
            assert found is not None
            return found.version, found.outcome, found.code

        until(lambda: "runs 0.1.0" in log("node"), f"does not start: {(folder / 'outside').read_text()}", INSTALL_S)
        hand_over(maker.app("0.2.0", 2, RUNS.format(version="0.2.0")))
        until(lambda: "runs 0.2.0" in log("node"), f"not started anew: {log('update')} {log('node')}", INSTALL_S)
        assert ((opt / "current").readlink().as_posix(), last()) == ("releases/0.2.0", ("0.2.0", "trying", "ok"))

        hand_over(maker.app("0.3.0", 3, CRASHES.format(version="0.3.0")))
        assert last() == ("0.3.0", "refused", "on_probation")
        trial = guard.read_state(opt).probation
        assert trial is not None
        (var / guard.VERDICT).write_text(json.dumps({"id": trial.id, "well": True, "code": "ok", "message": ""}))
        hand_over(maker.app("0.3.0", 3, CRASHES.format(version="0.3.0")))
        until(lambda: last() == ("0.3.0", "rolled_back", "starts"), f"{log('update')} {log('node')}", INSTALL_S)
        assert log("node").count("crashes 0.3.0") == guard.MAX_STARTS
        until(lambda: log("node").count("runs 0.2.0") == 2, "the old one does not run again", INSTALL_S)
        assert (opt / "current").readlink().as_posix() == "releases/0.2.0"

        broken = bytearray(maker.app("0.4.0", 4).read_bytes())
        broken[1000] ^= 1
        (folder / "broken.tar").write_bytes(broken)
        hand_over(folder / "broken.tar")
        assert last()[1:] == ("refused", "signature")
        assert log("node").count("runs 0.2.0") == 2, "started anew though nothing was installed"
