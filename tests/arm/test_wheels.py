"""What no release can be made of is said in words; the wheels of a good one are tested on the board."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.release.wheels import TARGETS, WheelError, fetch, resolve

PYPROJECT = """
[project]
name = "banksman"
version = "0"
requires-python = ">=3.11"
[project.optional-dependencies]
node = [{needs!r}]
"""


def checkout(folder: Path, needs: str, pins: str) -> Path:
    (folder / "pyproject.toml").write_text(PYPROJECT.format(needs=needs))
    (folder / "requirements.txt").write_text(pins)
    return folder


@pytest.mark.parametrize("target", TARGETS)
def test_markers_are_those_of_the_target(target: str) -> None:
    lock = resolve(TARGETS[target])
    assert "\nncnn==" in lock  # for aarch64 only
    assert "--hash=sha256:" in lock
    assert "nvidia" not in lock


def test_a_package_without_a_wheel_is_named(tmp_path: Path) -> None:
    with pytest.raises(WheelError, match=r"no wheels of Python 3\.13 on aarch64[\s\S]*sdnotify"):
        resolve(TARGETS["aarch64-cp313"], checkout(tmp_path, "sdnotify", "sdnotify==0.3.2\n"))


def test_a_package_that_is_not_pinned_is_named(tmp_path: Path) -> None:
    with pytest.raises(WheelError, match=r"not pinned in requirements\.txt.*: uuid6=="):
        resolve(TARGETS["aarch64-cp313"], checkout(tmp_path, "uuid6", "tzdata==2026.6\n"))


def test_a_pin_that_the_project_cannot_take_is_named(tmp_path: Path) -> None:
    with pytest.raises(WheelError, match=r"uuid6"):
        resolve(TARGETS["aarch64-cp313"], checkout(tmp_path, "uuid6>=2025", "uuid6==2024.7.10\n"))


def test_an_unknown_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WheelError, match="choose aarch64-cp313"):
        fetch(tmp_path / "wheels", "riscv64-cp313")


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old.whl").touch()
    with pytest.raises(WheelError, match="not empty"):
        fetch(tmp_path, "aarch64-cp313")


def test_what_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WheelError, match="built from a checkout"):
        fetch(tmp_path / "wheels", "aarch64-cp313", tmp_path)
