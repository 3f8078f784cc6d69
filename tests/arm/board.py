"""A Raspberry Pi's processor and system without the box: programs of Debian's arm64 run under QEMU, one at a time.

Nothing is started as root or in a chroot, and nothing is installed by the emulated system itself: packages are only
unpacked, which takes seconds.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import uv

from tests.conftest import REPO, need

KEPT = REPO / "var" / "arm"
SUITE = "trixie"  # what Raspberry Pi OS is made from
PYTHON = "3.13"
PLATFORM = "aarch64-manylinux_2_40"
CPU = "cortex-a72"
"""Of the Pi 4. It lacks what newer ones have, and QEMU then stops at such an instruction as the Pi does."""
SYSTEM = ("python3", f"libpython{PYTHON}-stdlib", "libstdc++6", "ca-certificates")


@dataclass(frozen=True)
class Board:
    """qemu: the emulator. root: a tree of Debian's arm64. packages: where the wheels are installed."""

    qemu: Path
    root: Path
    packages: Path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Python of the board, which sees the installed wheels and nothing of this machine's."""
        environment = {
            "QEMU_CPU": CPU,
            "LANG": "C.UTF-8",
            "PYTHONHOME": str(self.root / "usr"),
            "PYTHONPATH": str(self.packages),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [str(self.qemu), "-L", str(self.root), str(self.root / "usr" / "bin" / f"python{PYTHON}")]
        return subprocess.Popen(
            [*command, *arguments], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )


def board(wheels: Path, packages: Path) -> Board:
    """With `banksman[node]` installed from a folder of wheels and nothing else into `packages`."""
    install(wheels, packages)
    return Board(emulator(), system(), packages)


def install(wheels: Path, packages: Path) -> None:
    """By uv, which follows the board's markers. Offline: a package that is missing in `wheels` fails here; without a
    cache, which would give the node of an earlier run, since its version is the same."""
    command = [
        uv.find_uv_bin(), "pip", "install", "--quiet", "--offline", "--no-cache", "--no-index",
        f"--find-links={wheels}", f"--python={sys.executable}",
        f"--python-version={PYTHON}", f"--python-platform={PLATFORM}", f"--target={packages}", "banksman[node]",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def emulator() -> Path:
    """QEMU 10 of Debian 13, a static program; that of Debian 12 (7.2) crashes on ONNX Runtime."""
    kept = KEPT / f"qemu-aarch64-{SUITE}"
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=_kept()) as work:
            unpack(Path(work) / "tree", "qemu-user")
            (Path(work) / "tree/usr/bin/qemu-aarch64").replace(kept)
    return kept


def system() -> Path:
    kept = KEPT / f"root-{SUITE}"
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=_kept()) as work:
            tree = Path(work) / "tree"
            unpack(tree, *SYSTEM, arch="arm64")
            (tree / "lib").symlink_to("usr/lib")  # packages hold only what lies below /usr
            tree.replace(kept)
    return kept


def unpack(tree: Path, *packages: str, arch: str | None = None) -> None:
    """Debian's packages and what they need, signatures checked, unpacked into a new folder."""
    need(shutil.which("mmdebstrap"), "mmdebstrap is not installed (sh tests/arm/tools.sh)")
    command = ["mmdebstrap", "--quiet", "--variant=extract", f"--include={','.join(packages)}"]
    if arch is not None:
        need(shutil.which("arch-test"), "arch-test is not installed (sh tests/arm/tools.sh)")
        command.append(f"--arch={arch}")
    done = subprocess.run([*command, SUITE, str(tree)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _kept() -> Path:
    KEPT.mkdir(parents=True, exist_ok=True)
    return KEPT
