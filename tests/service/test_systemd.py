"""The real unit under a real systemd: process 1 of namespaces of its own."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import REPO, need
from tests.service.site import write_site
from tests.waiting import until

START_S = 90.0
SEEN_AS = Path("/mnt/test")
NAMESPACES = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--fork", "--kill-child", "--mount-proc"]
CGROUPS = Path("/sys/fs/cgroup")


class Machine:
    """What is asked of the systemd inside. init: its process id, as it is seen from outside."""

    def __init__(self, init: int) -> None:
        self.root = Path(f"/proc/{init}/root")
        self._enter = ["nsenter", "-t", str(init), "-m", "-p", "-C"]

    def show(self, *names: str) -> dict[str, str]:
        asked = [*self._enter, "systemctl", "show", "banksman-node", *(f"-p{name}" for name in names)]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        return dict(line.split("=", 1) for line in done.stdout.splitlines())

    def systemctl(self, *args: str) -> None:
        subprocess.run([*self._enter, "systemctl", *args], check=True, capture_output=True)


@contextmanager
def own_cgroups(name: str) -> Iterator[list[Path]]:
    """Folders of our own in every hierarchy of cgroups, so that the systemd inside meddles with nobody."""
    made = []
    for hierarchy in sorted({CGROUPS, *(p for p in CGROUPS.iterdir() if p.is_dir())}):
        folder = hierarchy / name
        if hierarchy.name != "cpuset" and (hierarchy / "cgroup.procs").exists() and hierarchy.is_mount():
            folder.mkdir()
            made.append(folder)
    try:
        yield made
    finally:
        for folder in made:
            for path, _, _ in os.walk(folder, topdown=False):
                until(partial(_gone, Path(path)), f"{path} is still in use")


def _gone(cgroup: Path) -> bool:
    try:
        cgroup.rmdir()
    except OSError:  # its last process is just ending
        return False
    return True


@contextmanager
def machine(folder: Path, script: str = "tests/service/inside.sh") -> Iterator[Machine]:
    """script: makes the system inside, and becomes its process 1."""
    packages = site.getsitepackages()[0]
    inside = str(REPO / script)
    cgroup = f"banksman-{os.getpid()}"
    with own_cgroups(cgroup) as cgroups, (folder / "outside").open("wb") as outside:
        enter = "; ".join([*(f"echo $$ >{c}/cgroup.procs" for c in cgroups), 'exec "$@"'])
        process = subprocess.Popen(
            ["sh", "-ec", enter, "sh", *NAMESPACES,
             "sh", inside, cgroup, str(folder), str(REPO), sys.base_prefix, packages],
            stdout=outside, stderr=outside,
        )  # fmt: skip
        try:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            until(
                lambda: process.poll() is not None or (children.exists() and children.read_text().split()),
                "no process 1",
            )
            assert process.poll() is None, (folder / "outside").read_text()
            yield Machine(int(children.read_text().split()[0]))
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if os.geteuid() != 0 or not Path("/lib/systemd/systemd").exists():
        pytest.skip("a systemd of its own wants root and the package systemd")
    need(shutil.which("unshare") and shutil.which("nsenter"), "unshare and nsenter are not installed")
    trial = subprocess.run([*NAMESPACES, "true"], capture_output=True, check=False)
    if trial.returncode != 0:
        pytest.skip("namespaces are not to be had here")
    tmp_path.chmod(0o755)  # the service has a user of its own
    write_site(tmp_path, data="/var/lib/banksman", seen_as=SEEN_AS)
    return tmp_path


def test_the_unit_starts_a_node_in_its_sandbox_and_restarts_it_when_it_hangs(folder: Path) -> None:
    with machine(folder) as inside:

        def state(name: str) -> str:
            return inside.show(name).get(name, "")

        def log() -> str:
            return (folder / "log").read_text() if (folder / "log").exists() else ""

        until(lambda: state("ActiveState") == "active", f"not active: {log()[-3000:]}", START_S)
        assert "sees 1 of 2 cameras" in state("StatusText")
        assert "it writes its site file; puts a file beside it; writes its data." in log(), "no less and no more"
        assert "adjtimex gives -1" not in log()
        assert "adjtimex gives " in log(), "whether the clock is synchronised can be asked in the sandbox"
        assert state("NRestarts") == "0"

        (folder / "detector").touch()
        until(lambda: state("NRestarts") == "1", "a node whose detector hangs is not started again", START_S)
        assert "stands still: detector for" in log()
        assert "Fatal Python error: Aborted" in log(), "where each thread stood is in the log"
        (folder / "detector").unlink()
        until(lambda: state("ActiveState") == "active", f"not active again: {log()[-3000:]}", START_S)

        inside.systemctl("stop", "banksman-node")
        assert state("Result") == "success"
