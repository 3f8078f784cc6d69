"""Images like Raspberry Pi OS, made without root, and other people's programs that say what is in them.

`pi_image` has the layout of an official image in small: partition table, boot partition (a real FAT32, hence 34 MiB) at
8 MiB, ext4 behind it. mtools and `fsck.vfat` are the judges of what our own FAT32 writer did.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.conftest import need

MIB = 1024 * 1024
SECTOR = 512
BOOT_OFFSET = 8 * MIB
SMALLEST_FAT32 = 34 * MIB  # 65525 clusters of one sector, and two FATs
PACKAGES = {
    "mcopy": "mtools", "mdir": "mtools", "mkfs.vfat": "dosfstools", "fsck.vfat": "dosfstools", "sfdisk": "fdisk",
    "mkfs.ext4": "e2fsprogs", "xz": "xz-utils", "losetup": "mount",
    "bsdcat": "libarchive-tools", "shellcheck": "shellcheck",
}  # fmt: skip

_ANY = {
    "config.txt": b"# For more options see http://rptl.io/configtxt\narm_64bit=1\n[all]\n",
    "issue.txt": b"Raspberry Pi reference 2026-06-18\nGenerated using pi-gen, stage2\n",
    "kernel8.img": b"kernel " * 1000,
    "bcm2711-rpi-4-b.dtb": b"\xd0\x0d\xfe\xed" * 100,
    "overlays/README": b"Introduction\n============\n",
    "overlays/disable-bt.dtbo": b"\xd0\x0d\xfe\xed",
}
_CMDLINE = b"console=serial0,115200 console=tty1 root=PARTUUID=0badcafe-02 rootfstype=ext4 fsck.repair=yes rootwait"
# What the boot partition of an image holds, by how it is customised at first boot.
TRIXIE = _ANY | {
    "cmdline.txt": _CMDLINE + b"\n",
    "user-data": b"#cloud-config\n",
    "meta-data": b"dsmode: local\ninstance_id: rpios-image\n",
    "network-config": b"network:\n  version: 2\n",
}
BOOKWORM = _ANY | {"cmdline.txt": _CMDLINE + b" quiet init=/usr/lib/raspberrypi-sys-mods/firstboot\n"}
PRESEED = _ANY | {"cmdline.txt": _CMDLINE + b"\n", "rpi-preseed.toml": b"# rpi-preseed\n[system]\n"}


@dataclass(frozen=True)
class PiImage:
    """offset, size: of the boot partition, in bytes."""

    path: Path
    offset: int
    size: int


def tool(name: str) -> str:
    """The program's path; the test skips without it."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    need(found, f"{name} is not installed (apt-get install {PACKAGES.get(name, name)})")
    assert found is not None
    return found


def run(name: str, *arguments: object, given: bytes | None = None) -> bytes:
    """Its output. Raises AssertionError with what it said when it fails."""
    environment = os.environ | {"LC_ALL": "C.UTF-8", "MTOOLS_SKIP_CHECK": "1"}
    done = subprocess.run(
        [tool(name), *map(str, arguments)], input=given, capture_output=True, check=False, env=environment
    )
    said = (done.stdout + done.stderr).decode("utf-8", "replace")[-2000:]
    assert done.returncode == 0, f"{name} {' '.join(map(str, arguments))} ended with {done.returncode}: {said}"
    return done.stdout


def fat32(path: Path, size: int, *, offset: int = 0, sectors_per_cluster: int = 1, label: str = "bootfs") -> None:
    """Format a part of a file. The file grows where it is too short."""
    with path.open("ab") as file:
        file.truncate(max(offset + size, path.stat().st_size))
    run(
        "mkfs.vfat", "-F", 32, "-s", sectors_per_cluster, "-n", label, "--invariant",
        "--offset", offset // SECTOR, path, size // 1024,
    )  # fmt: skip


def pi_image(
    path: Path,
    *,
    files: Mapping[str, bytes] = TRIXIE,
    scheme: Literal["dos", "gpt"] = "dos",
    boot_size: int = SMALLEST_FAT32,
    root_size: int = 8 * MIB,
    sectors_per_cluster: int = 1,
    root: Path | None = None,
) -> PiImage:
    """Make an image at `path`. files: of the boot partition. root: a folder that becomes the ext4 partition."""
    gpt_tail = MIB
    with path.open("wb") as file:
        file.truncate(BOOT_OFFSET + boot_size + root_size + gpt_tail)
    boot_type, root_type = ("c", "83") if scheme == "dos" else ("EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "L")
    table = (
        f"label: {scheme}\n{'label-id: 0x0badcafe' if scheme == 'dos' else ''}\n"
        f"start={BOOT_OFFSET // SECTOR}, size={boot_size // SECTOR}, type={boot_type}\n"
        f"start={(BOOT_OFFSET + boot_size) // SECTOR}, size={root_size // SECTOR}, type={root_type}\n"
    )
    run("sfdisk", "--quiet", path, given=table.encode())
    fat32(path, boot_size, offset=BOOT_OFFSET, sectors_per_cluster=sectors_per_cluster)
    put(path, files, offset=BOOT_OFFSET)
    run(
        "mkfs.ext4", "-q", "-F", "-L", "rootfs", "-E", f"offset={BOOT_OFFSET + boot_size}",
        *(() if root is None else ("-d", root)), path, f"{root_size // 1024}k",
    )  # fmt: skip
    return PiImage(path, BOOT_OFFSET, boot_size)


def xz(path: Path) -> Path:
    """The file compressed, beside it."""
    run("xz", "-0", "-T0", "--keep", "--force", path)
    return path.with_name(path.name + ".xz")


# -- mtools and fsck.vfat ----------------------------------------------------------------------------------------------


def _at(image: Path, offset: int) -> str:
    return f"{image}@@{offset}"


def put(image: Path, files: Mapping[str, bytes], *, offset: int = 0) -> None:
    """Write files with mtools, folders made as needed."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            file = Path(folder, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        if files:
            run("mcopy", "-i", _at(image, offset), "-s", "-o", "-Q", *sorted(Path(folder).iterdir()), "::/")


def files_of(image: Path, *, offset: int = 0) -> dict[str, bytes]:
    """All files of the FAT, as mtools reads them, by path."""
    with tempfile.TemporaryDirectory() as folder:
        run("mcopy", "-i", _at(image, offset), "-s", "-n", "-Q", "::/", folder)
        found = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def folders_of(image: Path, *, offset: int = 0) -> set[str]:
    """All folders of the FAT, as mtools reads them."""
    listed = run("mdir", "-i", _at(image, offset), "-/", "-b", "::/").decode()
    return {line.removeprefix("::/").rstrip("/") for line in listed.splitlines() if line.endswith("/")}


def assert_sound(image: Path, size: int | None = None, *, offset: int = 0) -> str:
    """`fsck.vfat` finds nothing to mend; what it says. size: of the FAT32; by default the rest of the file."""
    with part_of(image, size, offset=offset) as part:
        return run("fsck.vfat", "-n", part).decode()


@contextmanager
def part_of(image: Path, size: int | None = None, *, offset: int = 0) -> Iterator[Path]:
    """A part of a file as a file of its own, with holes where it is empty; the file itself where the part is all."""
    whole = image.stat().st_size
    size = whole - offset if size is None else size
    if (offset, size) == (0, whole):
        yield image
        return
    with tempfile.NamedTemporaryFile(dir=image.parent) as copy, image.open("rb") as source:
        source.seek(offset)
        copy.truncate(size)
        for start in range(0, size, MIB):
            block = source.read(min(MIB, size - start))
            if block.count(0) != len(block):
                copy.seek(start)
                copy.write(block)
        copy.flush()
        yield Path(copy.name)


# -- a card ------------------------------------------------------------------------------------------------------------


@contextmanager
def loop_device(backing: Path) -> Iterator[Path]:
    """A file as a block device, as a card is one; the test skips where this machine or user has no loop devices."""
    done = subprocess.run([tool("losetup"), "--show", "-f", str(backing)], capture_output=True, check=False)
    need(done.returncode == 0, f"no loop device to be had: {done.stderr.decode().strip()}")
    device = Path(done.stdout.decode().strip())
    try:
        yield device
    finally:
        subprocess.run([tool("losetup"), "-d", str(device)], capture_output=True, check=False)
