"""Only removable drives are offered, and none that this computer runs from is ever taken.

`lsblk` is really asked on this machine. What it says of readers and cards, and what macOS and Windows say, is written
here after the documented formats: nothing was recorded there.
"""

from __future__ import annotations

import json
import plistlib
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from deploy.card import device, drives
from deploy.card.drives import GB, Drive, cards, check, find, linux, macos, unmount, windows
from deploy.card.errors import CardError
from tests.card.images import MIB, loop_device, run, tool
from tests.conftest import need


def code_of_check(drive: Drive) -> str:
    with pytest.raises(CardError) as caught:
        check(drive)
    return caught.value.code


# -- Linux -------------------------------------------------------------------------------------------------------------


def block(name: str, size: int = 32 * GB, *points: str, **more: Any) -> dict[str, Any]:
    """A device as `lsblk` names it; `children` as in a tree."""
    return {
        "name": name, "path": f"/dev/{name}", "type": "disk", "size": size, "rm": False, "ro": False,
        "vendor": None, "model": None, "mountpoints": points or (None,),
    } | more  # fmt: skip


def parts(*mounted: dict[str, Any]) -> dict[str, Any]:
    return {"children": [part | {"type": "part"} for part in mounted]}


READER = block(
    "sdb", 31_914_983_424, rm=True, vendor="Generic ", model="MassStorageClass",
    **parts(block("sdb1", GB, "/media/li/bootfs"), block("sdb2", 30 * GB, "/media/li/rootfs")),
)  # fmt: skip
ROOT_ON_LVM = block(
    "nvme0n1", 512 * GB, model="SAMSUNG MZVL2512",
    **parts(block("nvme0n1p1", GB, "/boot/efi"), block("nvme0n1p2", 511 * GB, **parts(block("vg-root", GB, "/")))),
)  # fmt: skip
SD, EMMC = block("mmcblk0"), block("mmcblk1", 64 * GB)
LINUX: dict[str, tuple[dict[str, Any], str]] = {
    "a card in a reader, mounted": (READER, "drive.mounted"),
    "a card in a slot": (SD, ""),
    "memory that is soldered in": (EMMC, "drive.fixed"),
    "root on LVM": (ROOT_ON_LVM, "drive.system"),
    "root on a removable stick": (block("sdc", rm=True, **parts(block("sdc1", GB, "/"))), "drive.system"),
    "a card that holds /home": (block("sdc", rm=True, **parts(block("sdc1", GB, "/home"))), "drive.system"),
    "a card that holds swap": (block("sdc", rm=True, **parts(block("sdc1", GB, "[SWAP]"))), "drive.system"),
    "a drive on USB": (block("sdd", 128 * GB, model="Portable SSD"), "drive.fixed"),
    "an old card": (block("sde", 2 * GB, rm=True), "drive.size"),
    "a large stick": (block("sde", 512 * GB, rm=True), "drive.size"),
    "a card of 8 GB": (block("sde", 7_800_000_000, rm=True), ""),
    "a card of 256 GB": (block("sde", 256_060_514_304, rm=True), ""),
    "a card that is locked": (block("sde", rm=True, ro=True), "drive.read_only"),
}


@pytest.mark.parametrize("case", LINUX)
def test_linux(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    given, code = LINUX[case]
    said = json.dumps({"blockdevices": [given]})
    (drive,) = linux(said, {"mmcblk0"})
    if code:
        assert code_of_check(drive) == code
    else:
        check(drive)
    monkeypatch.setattr(drives, "_listed", lambda: linux(said, {"mmcblk0"}))
    offered = [drive] if code in {"", "drive.mounted", "drive.read_only"} else []
    assert cards() == offered


def test_what_is_told_of_a_drive() -> None:
    (drive,) = linux(json.dumps({"blockdevices": [READER]}), set())
    assert drive == Drive(
        "/dev/sdb", "Generic MassStorageClass", 31_914_983_424, removable=True, system=False,
        mounted=(("/dev/sdb1", "/media/li/bootfs"), ("/dev/sdb2", "/media/li/rootfs")),
    )  # fmt: skip


def test_a_reader_without_a_card_and_a_dvd_are_no_drives() -> None:
    said = json.dumps({"blockdevices": [block("sdb", 0, rm=True), block("sr0", GB, rm=True, type="rom")]})
    assert linux(said, set()) == []


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Path]:
    backing = tmp_path / "card"
    with backing.open("wb") as file:
        file.truncate(8 * MIB)
    with loop_device(backing) as found:
        yield found


def test_this_machine(loop: Path) -> None:
    """What it runs from is known for it."""
    tool("lsblk")
    source = Path(run("findmnt", "--noheadings", "--output", "SOURCE", "/").decode().strip())
    need(source.is_block_device(), "this machine does not run from a block device")
    listed = drives._listed()
    assert any(drive.system for drive in listed)
    assert str(loop) in {drive.path for drive in listed if drive.stand_in}
    assert not [drive for drive in cards() if drive.system or drive.stand_in]
    for drive in listed:
        if drive.system:
            assert code_of_check(find(drive.path)) == "drive.system"


def test_a_mounted_drive_is_let_go_first(loop: Path, tmp_path: Path) -> None:
    run("mkfs.ext4", "-q", loop)
    point = tmp_path / "media"
    point.mkdir()
    mounted = subprocess.run(["mount", str(loop), str(point)], capture_output=True, check=False)
    need(mounted.returncode == 0, f"nothing can be mounted here: {mounted.stderr.decode()}")
    drive = find(str(loop))
    try:
        assert drive.mounted == ((str(loop), str(point)),)
        assert code_of_check(drive) == "drive.system", "it is mounted where the system mounts no media for people"
        with pytest.raises(CardError) as caught, device.held(drive):
            pytest.fail("it was to be had")
        assert caught.value.code == "drive.busy"
        with (point / "open").open("wb"), pytest.raises(CardError) as caught:
            unmount(drive)
        assert caught.value.code == "drive.busy"
        unmount(drive)
    finally:
        subprocess.run(["umount", str(point)], capture_output=True, check=False)
    assert find(str(loop)).mounted == ()
    with device.held(find(str(loop))):
        check(find(str(loop)))


def test_a_computer_that_cannot_say_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drives, "_LSBLK", ("false",))
    with pytest.raises(CardError) as caught:
        cards()
    assert caught.value.code == "drive.no_listing"
    monkeypatch.setattr(drives, "_LSBLK", ("no-such-lsblk",))
    with pytest.raises(CardError) as caught:
        cards()
    assert caught.value.code == "drive.no_listing"


# -- named by hand -----------------------------------------------------------------------------------------------------


def test_a_file_is_taken_where_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "card.img").write_bytes(bytes(1000))
    there, new = find(str(tmp_path / "card.img")), find(str(tmp_path / "new.img"))
    assert (there.size, there.stand_in) == (1000, True)
    assert new.size > 1000
    check(there)
    check(new)
    assert not (tmp_path / "new.img").exists()


@pytest.mark.parametrize("given", ["/dev/no-such-drive", "/no/such/folder/card.img", "/dev/null", "", "/"])
def test_what_is_no_drive(given: str) -> None:
    with pytest.raises(CardError) as caught:
        find(given)
    assert caught.value.code == "drive.unknown"


def test_by_another_name(loop: Path, tmp_path: Path) -> None:
    (tmp_path / "by-id").symlink_to(loop)
    assert find(str(tmp_path / "by-id")).path == str(loop)


# -- macOS and Windows -------------------------------------------------------------------------------------------------


def plist(value: Mapping[str, Any]) -> str:
    return plistlib.dumps(value).decode()


def mac_disk(name: str, size: int, *, removable: bool, writable: bool = True) -> str:
    return plist({
        "DeviceIdentifier": name, "DeviceNode": f"/dev/{name}", "WholeDisk": True, "TotalSize": size,
        "Internal": not removable, "RemovableMedia": removable, "WritableMedia": writable,
        "MediaName": f"Media of {name}", "BusProtocol": "Secure Digital" if removable else "Apple Fabric",
    })  # fmt: skip


MAC_LISTING = plist({
    "AllDisks": ["disk0", "disk0s2", "disk4", "disk4s1", "disk4s2", "disk5", "disk44"],
    "WholeDisks": ["disk0", "disk4", "disk5", "disk44"],
    "AllDisksAndPartitions": [
        {"DeviceIdentifier": "disk0", "Size": 500 * GB, "Partitions": [{"DeviceIdentifier": "disk0s2", "Size": GB}]},
        {"DeviceIdentifier": "disk4", "Size": 32 * GB, "Partitions": [
            {"DeviceIdentifier": "disk4s1", "Size": GB, "MountPoint": "/Volumes/bootfs", "VolumeName": "bootfs"},
            {"DeviceIdentifier": "disk4s2", "Size": GB},
        ]},
        {"DeviceIdentifier": "disk5", "Size": 64 * GB},
        {"DeviceIdentifier": "disk44", "Size": 64 * GB},
    ],
})  # fmt: skip
MAC_DISKS = {
    "disk0": mac_disk("disk0", 500 * GB, removable=False),
    "disk4": mac_disk("disk4", 32 * GB, removable=True),
    "disk5": mac_disk("disk5", 64 * GB, removable=True, writable=False),
    "disk44": mac_disk("disk44", 64 * GB, removable=True),
}


def mac_root(store: str) -> str:
    return plist({
        "MountPoint": "/", "ParentWholeDisk": "disk3", "APFSPhysicalStores": [{"APFSPhysicalStore": store}],
    })  # fmt: skip


def test_macos() -> None:
    inner, card, locked, other = macos(MAC_LISTING, MAC_DISKS, mac_root("disk0s2"))
    assert card == Drive(
        "/dev/disk4", "Media of disk4", 32 * GB, removable=True, system=False,
        mounted=(("/dev/disk4s1", "/Volumes/bootfs"),),
    )  # fmt: skip
    assert (inner.system, inner.removable) == (True, False)
    assert (locked.system, locked.removable, locked.read_only) == (False, True, True)
    assert not other.system


def test_macos_that_runs_from_a_stick() -> None:
    found = macos(MAC_LISTING, MAC_DISKS, mac_root("disk4s2"))
    assert [drive.path for drive in found if drive.system] == ["/dev/disk4"]


def windows_disk(number: int, **more: Any) -> dict[str, Any]:
    return {
        "Number": number, "FriendlyName": f"Disk {number}", "BusType": "USB", "Size": 32 * GB, "IsBoot": False,
        "IsSystem": False, "IsReadOnly": False, "MediaType": "Removable Media", "Letters": [],
    } | more  # fmt: skip


WINDOWS: dict[str, tuple[dict[str, Any], bool, bool]] = {  # removable, system
    "a card in a reader": (windows_disk(2, Letters=["E:", "F:"]), True, False),
    "a card in a slot": (windows_disk(2, BusType="SD", MediaType=None), True, False),
    "a drive on USB": (windows_disk(2, MediaType="External hard disk media"), False, False),
    "C:": (windows_disk(0, BusType="NVMe", MediaType="Fixed hard disk media", IsBoot=True), False, True),
    "a tablet's own memory": (windows_disk(0, BusType="SD", MediaType=None, IsBoot=True, IsSystem=True), True, True),
}


@pytest.mark.parametrize("case", WINDOWS)
def test_windows(case: str) -> None:
    given, removable, system = WINDOWS[case]
    for said in (json.dumps([given]), json.dumps(given)):  # PowerShell 5 takes a list of one apart
        (drive,) = windows(said)
        assert (drive.path, drive.removable, drive.system) == (
            f"\\\\.\\PhysicalDrive{given['Number']}",
            removable,
            system,
        )
        assert [point for _, point in drive.mounted] == given["Letters"]


def test_windows_with_an_empty_reader_or_nothing() -> None:
    assert windows(json.dumps([windows_disk(1, Size=0)])) == windows("") == []
