"""A stand-in for the image of Raspberry Pi OS Lite: Debian 13 arm64 with what that one brings, on the same partitions.

Unpacked and configured from outside, without root's help and without running a program of it. Not there: the Pi's
firmware and kernel. QEMU starts Debian's kernel with the command line that the card's boot partition has.
"""

from __future__ import annotations

import lzma
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.arm.board import unpack
from tests.card.images import MIB, TRIXIE, pi_image

PACKAGES = (
    "base-files", "base-passwd", "bash", "busybox-static", "ca-certificates", "cloud-init", "coreutils", "dash",
    "dbus", "debianutils", "diffutils", "e2fsprogs", "findutils", "gawk", "grep", "gzip", "hostname",
    "init-system-helpers", "iproute2", "kmod", "libc-bin", "libstdc++6", "linux-image-arm64", "login", "mount",
    "netbase", "netcat-openbsd", "openssl", "passwd", "procps", "python3", "python3-venv", "sed", "systemd-sysv",
    "systemd-timesyncd", "tar", "tzdata", "udev", "util-linux",
)  # fmt: skip
ENABLED = (
    "systemd-networkd", "systemd-timesyncd", "cloud-init-main", "cloud-init-local", "cloud-init-network",
    "cloud-config", "cloud-final",
)  # fmt: skip
BOOT, ROOT = 512 * MIB, 2560 * MIB
"""Of the official image the first; of a card of 16 GB the second would be five times as large."""
DRIVERS = ("virtio_blk", "virtio_pci", "ext4", "crc32c_generic")
FILES = {
    "etc/fstab": "/dev/vda2 / ext4 defaults,noatime 0 1\n/dev/vda1 /boot/firmware vfat defaults 0 2\n",
    "etc/hosts": "127.0.0.1\tlocalhost\n",
    "etc/hostname": "raspberrypi\n",
    "etc/machine-id": "uninitialized\n",
    # As rpi-cloud-init-mods has it.
    "etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg": (
        "datasource_list: [NoCloud, None]\ndatasource: {NoCloud: {seedfrom: 'file:///boot/firmware'}}\n"
    ),
    "etc/systemd/system/cloud-init-main.service.d/boot.conf": "[Unit]\nRequiresMountsFor=/boot/firmware\n",
    "etc/systemd/network/80-wired.network": "[Match]\nName=en* eth*\n[Network]\nDHCP=ipv4\n",
    # All that is logged can be read from outside.
    "etc/systemd/journald.conf.d/00-serial.conf": (
        "[Journal]\nForwardToConsole=yes\nTTYPath=/dev/ttyAMA0\nMaxLevelConsole=info\n"
    ),
    # Of a Pi's second it makes twenty or more: no limit is about that.
    "etc/systemd/system.conf.d/emulated.conf": (
        "[Manager]\nDefaultTimeoutStartSec=15min\nDefaultDeviceTimeoutSec=15min\n"
    ),
    "etc/systemd/system/banksman-node.service.d/emulated.conf": "[Service]\nTimeoutStartSec=20min\nWatchdogSec=10min\n",
}
INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /dev /new
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for driver in /drivers/*; do /bin/busybox insmod "$driver"; done
until [ -b /dev/vda2 ]; do /bin/busybox sleep 0.1; done
/bin/busybox mount -t ext4 -o noatime /dev/vda2 /new
/bin/busybox mount --move /dev /new/dev
exec /bin/busybox switch_root /new /usr/lib/systemd/systemd
"""


@dataclass(frozen=True)
class System:
    """image: of the whole card, as it is downloaded. kernel, initrd: what QEMU starts in the firmware's stead."""

    image: Path
    kernel: Path
    initrd: Path


def make(folder: Path) -> System:
    """About a minute."""
    tree = folder / "tree"
    unpack(tree, *PACKAGES, arch="arm64")
    _configure(tree)
    kernel, version = _kernel(tree, folder / "kernel")
    initrd = _initrd(tree, version, folder)
    image = pi_image(folder / "raspios.img", files=TRIXIE, boot_size=BOOT, root_size=ROOT, root=tree)
    shutil.rmtree(tree)
    return System(image.path, kernel, initrd)


def _configure(tree: Path) -> None:
    """What the packages' own scripts would have done."""
    for name in ("boot/firmware", "proc", "sys", "dev", "run", "tmp", "root", "var/log", "var/tmp"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    for name in ("passwd", "group"):
        shutil.copy(tree / f"usr/share/base-passwd/{name}.master", tree / "etc" / name)
    shutil.copy(tree / "usr/share/libc-bin/nsswitch.conf", tree / "etc/nsswitch.conf")
    for name in ("bin", "sbin", "lib"):
        if not (tree / name).exists():
            (tree / name).symlink_to(f"usr/{name}")
    for name, program in {"sh": "dash", "awk": "gawk", "nc": "nc.openbsd"}.items():
        if not (tree / "usr/bin" / name).exists():
            (tree / "usr/bin" / name).symlink_to(program)
    for name, text in FILES.items():
        file = tree / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    trusted = sorted((tree / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    (tree / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
    (tree / "etc/ssl/certs/ca-certificates.crt").write_bytes(b"".join(file.read_bytes() for file in trusted))
    shutil.rmtree(tree / "etc/init.d")  # systemctl would start programs of the tree for what has a script there
    _run("systemd-sysusers", f"--root={tree}")
    _run("systemctl", f"--root={tree}", "set-default", "multi-user.target")
    _run("systemctl", f"--root={tree}", "enable", *ENABLED)


def _kernel(tree: Path, to: Path) -> tuple[Path, str]:
    (found,) = (tree / "boot").glob("vmlinuz-*")
    shutil.copy(found, to)
    version = found.name.removeprefix("vmlinuz-")
    _run("depmod", "-b", tree, version)
    return to, version


def _initrd(tree: Path, version: str, folder: Path) -> Path:
    """busybox, the drivers of a disk of QEMU in the order of their needs, and a script that goes on from there."""
    content = folder / "initrd"
    for name in ("bin", "drivers"):
        (content / name).mkdir(parents=True)
    shutil.copy(tree / "usr/bin/busybox", content / "bin/busybox")
    modules = tree / "usr/lib/modules" / version
    needs = dict(line.split(":", 1) for line in (modules / "modules.dep").read_text().splitlines())
    order: list[str] = []
    for driver in DRIVERS:
        path = next((path for path in needs if Path(path).name.startswith(f"{driver}.ko")), None)
        if path is not None:  # else it is built in
            order += [*reversed(needs[path].split()), path]
    for number, path in enumerate(dict.fromkeys(order)):
        data = (modules / path).read_bytes()
        plain = lzma.decompress(data) if path.endswith(".xz") else data
        (content / "drivers" / f"{number:02}-{Path(path).name.removesuffix('.xz')}").write_bytes(plain)
    (content / "init").write_text(INIT)
    for name in ("init", "bin/busybox"):
        (content / name).chmod(0o755)
    to = folder / "initrd.cpio"
    names = "\n".join(str(path.relative_to(content)) for path in sorted(content.rglob("*")))
    with to.open("wb") as out:
        subprocess.run(
            ["cpio", "--quiet", "--create", "--format=newc"], input=names.encode(), stdout=out, cwd=content, check=True
        )
    return to


def _run(*command: str | Path) -> None:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False,
        env=os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stderr}"
