"""A real node process under a real notify socket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.service.driver import HANGS, STANDS_STILL_S
from tests.service.manager import Manager
from tests.service.site import write_site

ALLOWED_S = 1.0
START_S = 60.0
EXIT_REFUSED = 2
FED = "WATCHDOG=1"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path)
    yield manager
    manager.close()


@contextmanager
def node(manager: Manager, site: Path) -> Iterator[subprocess.Popen[str]]:
    environ = os.environ | {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": f"{ALLOWED_S * 1e6:.0f}"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.service.driver", str(site.parent), "run", str(site)],
        cwd=REPO, env=environ, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_node_is_ready_when_it_judges_and_fed_while_no_part_of_it_hangs(manager: Manager, tmp_path: Path) -> None:
    with node(manager, write_site(tmp_path)) as process:
        started = manager.until("READY=1", START_S)
        status = started[-1].splitlines()[-1]
        assert status.startswith("STATUS=sees 1 of 2 cameras | not seen: lost | no broker"), status
        # Neither camera nor broker nor InfluxDB comes back, and that is no lack of progress.
        for _ in range(3):
            manager.until(FED, START_S)

        for part in HANGS:
            (tmp_path / part).touch()
            manager.listen(STANDS_STILL_S + 1.0)  # fed until the deadline of the part has passed
            assert FED not in manager.listen(ALLOWED_S), f"{part} hangs, for longer than the manager waits"
            (tmp_path / part).unlink()
            manager.until(FED, START_S)

        process.send_signal(signal.SIGTERM)
        manager.until("STOPPING=1", START_S)
        _, log = process.communicate(timeout=START_S)
        assert process.returncode == 0, log
        for name in ("judge", "detector", "house"):
            assert f"stands still: {name} for" in log


def test_a_node_that_sees_nothing_is_ready_once_it_has_said_why(manager: Manager, tmp_path: Path) -> None:
    with node(manager, write_site(tmp_path, works=False)):
        started = manager.until("READY=1", START_S)
        assert "STATUS=starts" in started
        assert "STATUS=sees 0 of 1 cameras | not seen: lost" in started[-1]
        manager.until(FED, START_S)


def test_a_node_that_cannot_start_says_why_and_is_never_ready(manager: Manager, tmp_path: Path) -> None:
    site = write_site(tmp_path)
    site.write_text("site: {id: x}\ncamera: []\n")
    with node(manager, site) as process:
        assert process.wait(START_S) == EXIT_REFUSED
        told = "\n".join(manager.heard())
        assert "READY" not in told
        assert "STATUS=" in told
        assert "site.yaml" in told
