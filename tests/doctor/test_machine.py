"""Clock, disk, memory, heat and power."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.clock import ManualClock
from edge.doctor.machine import (
    examine_clock,
    examine_disk,
    examine_heat,
    examine_memory,
    examine_power,
)
from edge.health import DISK_BAD_MB, DISK_WARN_MB, Board, MachineWatch


@pytest.mark.parametrize(
    ("clock", "trusted", "code"),
    [
        (ManualClock(), False, "ok"),
        (ManualClock(synced=False), False, "unsynced"),
        (ManualClock(synced=False), True, "trusted"),
        (ManualClock(wall=86_400.0), False, "behind"),
        (ManualClock(wall=86_400.0), True, "behind"),
    ],
)
def test_clock(clock: ManualClock, trusted: bool, code: str) -> None:
    assert examine_clock(clock.now(), trusted=trusted).code == code


def test_disk_is_measured_and_left_as_it_was(tmp_path: Path) -> None:
    result = examine_disk(tmp_path)
    assert result.code in ("ok", "slow")
    assert float(result.fields["free"]) > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("free_mb", "code"),
    [
        (0, "full"),
        (DISK_BAD_MB - 1, "full"),
        (DISK_BAD_MB, "nearly_full"),
        (DISK_WARN_MB - 1, "nearly_full"),
        (DISK_WARN_MB, "ok"),
    ],
)
def test_room_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: ManualClock, free_mb: float, code: str
) -> None:
    """For the doctor and for the node's own page alike."""
    usage = shutil.disk_usage(tmp_path)._replace(free=int(free_mb * 1e6))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert examine_disk(tmp_path, timer=lambda: 0.0).code == code
    assert MachineWatch(tmp_path, clock).read().disk == code


def test_a_data_folder_that_is_still_to_be_made_is_judged_by_where_it_will_be(tmp_path: Path) -> None:
    result = examine_disk(tmp_path / "a" / "b")
    assert result.code in ("ok", "slow")
    assert not (tmp_path / "a").exists()


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert examine_disk(tmp_path / "data").code == "unwritable"


def test_a_folder_that_takes_no_files_is_told() -> None:
    assert examine_disk(Path("/proc/self")).code in ("unwritable", "full")


def test_a_slow_card_is_told(tmp_path: Path) -> None:
    ticks: Iterator[float] = itertools.count(0.0, 0.25)
    result = examine_disk(tmp_path, timer=lambda: next(ticks))
    assert (result.code, result.fields["sync"]) == ("slow", "250.0")


def test_what_is_kept_already_counts_for_what_may_be_kept(tmp_path: Path) -> None:
    free = float(examine_disk(tmp_path).fields["free"])
    assert examine_disk(tmp_path, allowed_mb=free * 2).code == "short"
    with (tmp_path / "old.mp4").open("wb") as kept:
        kept.truncate(int(free * 2e6))  # sparse: takes no room
    assert examine_disk(tmp_path, allowed_mb=free * 2).code in ("ok", "slow")


def test_memory_adds_up() -> None:
    result = examine_memory()
    assert 0 < float(result.fields["free"]) <= float(result.fields["total"])


def tree(root: Path, **files: str) -> Path:
    """A /sys with these files: `thermal`, `throttled`, `volt`."""
    paths = {
        "thermal": "class/thermal/thermal_zone0/temp",
        "throttled": "bus/platform/drivers/raspberrypi-firmware/soc@107c000000:firmware/get_throttled",
        "volt": "class/hwmon/hwmon2/in0_lcrit_alarm",
    }
    for name, content in files.items():
        path = root / paths[name]
        path.parent.mkdir(parents=True)
        path.write_text(content + "\n")
    if "volt" in files:
        (root / "class/hwmon/hwmon2/name").write_text("rpi_volt\n")
    return root


@pytest.mark.parametrize(
    ("files", "heat", "power"),
    [
        ({}, "no_sensor", "no_sensor"),
        ({"thermal": "48312"}, "ok", "no_sensor"),
        ({"thermal": "71000", "throttled": "0"}, "hot", "ok"),
        ({"thermal": "81000", "throttled": "e"}, "too_hot", "ok"),
        ({"thermal": "66000", "throttled": "8"}, "too_hot", "ok"),
        ({"thermal": "50000", "throttled": "80000"}, "was_too_hot", "ok"),
        ({"thermal": "50000", "throttled": "50005"}, "ok", "weak"),  # slowed down by the supply, not by heat
        ({"thermal": "50000", "throttled": "50000"}, "ok", "was_weak"),
        ({"thermal": "50000", "volt": "0"}, "ok", "ok"),
        ({"thermal": "50000", "volt": "1"}, "ok", "weak"),
        ({"thermal": "broken", "throttled": "what"}, "no_sensor", "no_sensor"),
    ],
)
def test_heat_and_power_as_the_kernel_tells_them(tmp_path: Path, files: dict[str, str], heat: str, power: str) -> None:
    board = Board.read(tree(tmp_path, **files))
    assert (examine_heat(board).code, examine_power(board).code) == (heat, power)


def test_this_computer_can_be_read() -> None:
    board = Board.read()
    assert board.degrees is None or -40 < board.degrees < 130
