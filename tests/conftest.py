"""Fixtures that every test may use. What a test needs and this machine lacks is said in words."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings
from playwright.sync_api import Browser, sync_playwright

from broker.embedded import free_port
from edge.clock import ManualClock

REPO = Path(__file__).resolve().parent.parent
SMALL_DISK = 4 * 1024 * 1024
SHARED = Path(os.environ.get("BANKSMAN_SHARED", REPO.parent / "shared"))

# Property tests say what holds, not how long it takes: a busy machine must not fail them.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def need(present: object, what: str) -> None:
    """Skip where a tool or data set is absent; where everything must be there (CI), fail instead."""
    if present:
        return
    if os.environ.get("BANKSMAN_REQUIRE_ALL"):
        pytest.fail(f"{what}; BANKSMAN_REQUIRE_ALL is set, so this may not be skipped")
    pytest.skip(what)


SLOW = ("card/test_install_sh", "whole/", "models/", "node/", "detect/", "page/", "evidence/", "dashboards/", "kill/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first: a worker that gets one last is waited for by all others."""
    items.sort(key=lambda item: not item.nodeid.removeprefix("tests/").startswith(SLOW))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of labelled photos, clips and starting weights."""
    need((SHARED / "data").is_dir(), f"labelled data not found at {SHARED} (set BANKSMAN_SHARED)")
    return SHARED


def street_photos() -> Path:
    """A folder with photos of people in a street, those that `make demo` shows."""
    spec = find_spec("ultralytics")
    need(spec, "ultralytics, whose package brings the street photos, is not installed (make train-env)")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "assets"


@pytest.fixture(scope="session")
def street() -> Path:
    return street_photos()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One for the whole run: playwright's synchronous interface is not to be entered twice."""
    chromium = shutil.which("chromium")
    need(chromium, "chromium is not installed (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=[
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
            ],
        )  # fmt: skip
        yield browser
        browser.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def unused_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    return free_port()


@pytest.fixture(scope="session")
def proof() -> bool:
    """Whether this is the full-size run (`make proof`)."""
    return bool(os.environ.get("BANKSMAN_PROOF"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 4 MB."""
    need(os.geteuid() == 0, "a small disk can only be mounted by root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(disk)], capture_output=True, check=False
    )
    need(mount.returncode == 0, f"cannot mount a small disk: {mount.stderr.decode()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)
