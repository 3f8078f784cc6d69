"""Drives that may become a card: removable ones, never one that this computer runs from.

What each system says of its drives is read by a pure function: `linux` from `lsblk --json`, `macos` from
`diskutil … -plist`, `windows` from PowerShell. Those for macOS and Windows were written from the documented formats and
have not been tried on such computers, nor has `unmount` there.
"""

from __future__ import annotations

import json
import plistlib
import shutil
import subprocess
import sys
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.card.errors import CardError

GB = 10**9
SMALLEST, LARGEST = 7 * GB, 260 * GB  # cards sold as 8 to 256 GB
_LSBLK = ("lsblk", "--json", "--bytes", "--output", "NAME,PATH,TYPE,SIZE,RM,RO,VENDOR,MODEL,MOUNTPOINTS")
_FOR_USERS = ("/media/", "/run/media/", "/mnt/")  # what is mounted elsewhere, the system needs
_POWERSHELL = """
[Console]::OutputEncoding = [Text.Encoding]::UTF8
ConvertTo-Json -Depth 3 @(Get-Disk | ForEach-Object { $disk = $_; [pscustomobject]@{
  Number = $disk.Number; FriendlyName = $disk.FriendlyName; BusType = "$($disk.BusType)"; Size = $disk.Size
  IsBoot = $disk.IsBoot; IsSystem = $disk.IsSystem; IsReadOnly = $disk.IsReadOnly
  MediaType = (Get-CimInstance Win32_DiskDrive -Filter "Index=$($disk.Number)").MediaType
  Letters = @(Get-Partition -DiskNumber $disk.Number -ErrorAction SilentlyContinue |
    Where-Object { $_.DriveLetter -match '[A-Z]' } | ForEach-Object { "$($_.DriveLetter):" })
} })
"""


@dataclass(frozen=True)
class Drive:
    """size: in bytes. mounted: device and mount point of each of its partitions that is; under Windows letter twice.

    stand_in: a file or loop device, which is taken only where it is named.
    """

    path: str
    name: str
    size: int
    removable: bool
    system: bool
    read_only: bool = False
    mounted: tuple[tuple[str, str], ...] = ()
    stand_in: bool = False


def cards() -> list[Drive]:
    """Drives to offer. Raises CardError `drive.no_listing` where this computer cannot say which it has."""
    return [d for d in _listed() if d.removable and not d.system and not d.stand_in and SMALLEST <= d.size <= LARGEST]


def find(given: str) -> Drive:
    """What somebody named: a drive, a loop device, or a file that is or becomes one. Raises CardError `drive.unknown`.

    A file that is empty or not there yet may become as large as its disk has room.
    """
    path = Path(given).resolve() if sys.platform != "win32" or not given.startswith("\\\\.\\") else Path(given)
    if path.is_file() or (not path.exists() and path.parent.is_dir() and not given.startswith(("/dev/", "\\\\.\\"))):
        size = path.stat().st_size if path.exists() else 0
        room = size or shutil.disk_usage(path.parent).free
        return Drive(str(path), path.name, room, removable=False, system=False, stand_in=True)
    listed = _listed()
    for drive in listed:
        if str(path) == drive.path or given.casefold() == drive.path.casefold():
            return drive
    known = ", ".join(drive.path for drive in listed if drive.removable) or "–"
    raise CardError("drive.unknown", given=given, known=known)


def check(drive: Drive) -> None:
    """Raises CardError where it may not be written: `drive.system`, `.fixed`, `.size`, `.read_only`, `.mounted`."""
    gb = round(drive.size / GB)
    if drive.system:
        raise CardError("drive.system", path=drive.path, points=_points(drive))
    if not drive.removable and not drive.stand_in:
        raise CardError("drive.fixed", path=drive.path, name=drive.name)
    if not drive.stand_in and not SMALLEST <= drive.size <= LARGEST:
        raise CardError("drive.size", path=drive.path, gb=gb)
    if drive.read_only:
        raise CardError("drive.read_only", path=drive.path)
    if drive.mounted and sys.platform != "win32":  # there `device.held` locks its volumes
        raise CardError("drive.mounted", path=drive.path, points=_points(drive), command=_how_to_unmount(drive))


def unmount(drive: Drive) -> None:
    """Take away what the system has mounted of it. Raises CardError `drive.busy` where something is still using it."""
    commands: list[list[str]] = []
    if sys.platform == "darwin":
        commands = [["diskutil", "unmountDisk", drive.path]]
    elif sys.platform != "win32":
        commands = [_umount(device) for device, _ in drive.mounted]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - paths of devices
        if done.returncode:
            raise CardError("drive.busy", path=drive.path, error=done.stderr.strip() or done.stdout.strip())


def _umount(device: str) -> list[str]:
    return ["udisksctl", "unmount", "--block-device", device] if shutil.which("udisksctl") else ["umount", device]


def _how_to_unmount(drive: Drive) -> str:
    if sys.platform == "darwin":
        return f"diskutil unmountDisk {drive.path}"
    return "; ".join(" ".join(_umount(device)) for device, _ in drive.mounted)


def _points(drive: Drive) -> str:
    return ", ".join(point for _, point in drive.mounted) or "–"


# -- what each system says ---------------------------------------------------------------------------------------------


def _listed() -> list[Drive]:
    if sys.platform == "win32":
        return windows(_said("powershell", "-NoProfile", "-NonInteractive", "-Command", _POWERSHELL))
    if sys.platform == "darwin":
        listing = _said("diskutil", "list", "-plist", "physical")
        whole = plistlib.loads(listing.encode()).get("WholeDisks", [])
        about = {name: _said("diskutil", "info", "-plist", name) for name in whole}
        return macos(listing, about, _said("diskutil", "info", "-plist", "/"))
    kinds = {path.parts[3]: path.read_text().strip() for path in Path("/sys/block").glob("mmcblk*/device/type")}
    return linux(_said(*_LSBLK), {name for name, kind in kinds.items() if kind == "SD"})


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, check=True)  # noqa: S603 - the commands are above
    except (OSError, subprocess.CalledProcessError) as error:
        said = (
            error.stderr.decode("utf-8", "replace").strip() if isinstance(error, subprocess.CalledProcessError) else ""
        )
        raise CardError("drive.no_listing", command=command[0], error=said or error) from error
    return done.stdout.decode("utf-8", "replace")


def linux(lsblk: str, sd_cards: Container[str]) -> list[Drive]:
    """lsblk: as `_LSBLK` prints it. sd_cards: names of the MMC devices that are cards, and not soldered in (eMMC)."""
    found = []
    for disk in json.loads(lsblk)["blockdevices"]:
        if disk["type"] not in {"disk", "loop"} or not disk["size"]:
            continue
        mounted = tuple(_mounts(disk))
        found.append(
            Drive(
                disk["path"],
                " ".join(part.strip() for part in (disk["vendor"], disk["model"]) if part) or disk["name"],
                int(disk["size"]),
                removable=bool(disk["rm"]) or disk["name"] in sd_cards,
                system=any(not point.startswith(_FOR_USERS) for _, point in mounted),
                read_only=bool(disk["ro"]),
                mounted=mounted,
                stand_in=disk["type"] == "loop",
            )
        )
    return found


def _mounts(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Device and mount point, of a drive, its partitions, and what lies on these (LVM, encryption)."""
    for point in part["mountpoints"]:
        if point:
            yield part["path"], point
    for child in part.get("children", ()):
        yield from _mounts(child)


def macos(listing: str, about: Mapping[str, str], root: str) -> list[Drive]:
    """listing: `diskutil list -plist physical`. about: `diskutil info -plist` of each whole disk in it; root: of /."""
    parts = {
        disk["DeviceIdentifier"]: tuple(
            (f"/dev/{part['DeviceIdentifier']}", part["MountPoint"])
            for part in (disk, *disk.get("Partitions", ()))
            if part.get("MountPoint")
        )
        for disk in plistlib.loads(listing.encode())["AllDisksAndPartitions"]
    }
    of_root = plistlib.loads(root.encode())
    stores = [store["APFSPhysicalStore"] for store in of_root.get("APFSPhysicalStores", ())]
    running = [*stores, of_root.get("ParentWholeDisk", "")]
    found = []
    for name, text in about.items():
        disk = plistlib.loads(text.encode())
        own = any(part == name or part.startswith(f"{name}s") for part in running)
        found.append(
            Drive(
                disk["DeviceNode"],
                disk.get("MediaName") or name,
                disk["TotalSize"],
                removable=disk["RemovableMedia"],
                system=own or any(point == "/" for _, point in parts.get(name, ())),
                read_only=not disk["WritableMedia"],
                mounted=parts.get(name, ()),
            )
        )
    return found


def windows(disks: str) -> list[Drive]:
    """disks: what `_POWERSHELL` prints. A disk on USB counts as removable where Windows calls its medium so."""
    given = json.loads(disks or "[]")
    return [
        Drive(
            f"\\\\.\\PhysicalDrive{disk['Number']}",
            disk["FriendlyName"],
            disk["Size"],
            removable=disk["MediaType"] == "Removable Media" or disk["BusType"] in {"SD", "MMC"},
            system=disk["IsBoot"] or disk["IsSystem"],
            read_only=disk["IsReadOnly"],
            mounted=tuple((letter, letter) for letter in disk["Letters"]),
        )
        for disk in (given if isinstance(given, list) else [given])
        if disk["Size"]
    ]
