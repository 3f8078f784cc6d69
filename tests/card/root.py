"""A throw-away system in which `install.sh` really runs: this machine's /usr, all else its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import REPO, need

_USERS = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
_GROUPS = "root:x:0:\nvideo:x:44:\ndialout:x:20:\nnogroup:x:65534:\n"
_SETUP = """
set -e
root=$1; shift
mount --bind {repo} "$root{repo}"
for at in /usr {venv}; do mkdir -p "$root$at"; mount --rbind "$at" "$root$at"; done
[ $1 = 0 ] || mount -t tmpfs -o size=$1m tmpfs "$root/opt"; shift
boot="$root/boot/firmware"
[ $1 = rw ] || {{ mount --bind "$boot" "$boot"; mount -o remount,bind,ro "$boot"; }}; shift
mount -t proc proc "$root/proc"
for at in null zero urandom random; do touch "$root/dev/$at"; mount --bind "/dev/$at" "$root/dev/$at"; done
code=0
chroot "$root" /usr/bin/env -i "$@" || code=$?  # not as the first process, which nothing kills
exit $code
"""


CARD = "/boot/firmware/banksman"
_NOT_OURS = (
    "etc/ssl/",
    "etc/alternatives/",
    "opt/banksman/releases/0.1.0/lib/",
    "opt/banksman/.",
    "opt/banksman/state.json",
)
_TIME = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


@dataclass(frozen=True)
class Ran:
    """How a run ended: its exit code (137: killed) and all that it said."""

    code: int
    said: str


class Root:
    """A root file system with a boot partition at /boot/firmware. disk_mb: of /opt, then empty at each run.

    worn: the boot partition has gone read-only.
    """

    def __init__(self, path: Path, disk_mb: int = 0) -> None:
        tested = shutil.which("unshare") and os.geteuid() == 0
        need(tested, "install.sh is tried behind a change of root, which needs root and unshare (util-linux)")
        probe = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
        need(probe.returncode == 0, "this machine allows no mount namespaces, so install.sh cannot be tried")
        self.path = path
        self.disk_mb = disk_mb
        self.worn = False
        for name in ("boot/firmware", "dev", "etc", "opt", "proc", "run", "tmp", "var/lib", str(REPO).lstrip("/")):
            (path / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (path / name).symlink_to(f"usr/{name}")
        for name, target in {"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}.items():
            (path / "dev" / name).symlink_to(f"/proc/self/{target}")
        for name, text in {"passwd": _USERS, "group": _GROUPS, "hosts": "127.0.0.1\tlocalhost\n"}.items():
            (path / "etc" / name).write_text(text)
        for name in ("ld.so.cache", "ssl", "alternatives", "nsswitch.conf"):
            subprocess.run(["cp", "-a", f"/etc/{name}", path / "etc"], check=True)

    @property
    def boot(self) -> Path:
        return self.path / "boot/firmware"

    def opt(self, name: str) -> Path:
        """A file of /opt."""
        return self.path / "opt" / name

    def run(self, *command: str, network: bool = False, **environment: str) -> Ran:
        """network: the machine's own; by default there is none."""
        setup = _SETUP.format(venv=REPO / ".venv", repo=REPO)
        given = [f"{key}={value}" for key, value in environment.items()]
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", *([] if network else ["--net"]), "/bin/sh", "-c", setup, "-",
             self.path, str(self.disk_mb), "ro" if self.worn else "rw", *given, *command],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        return Ran(done.returncode, done.stdout + done.stderr)

    def install(self, *, network: bool = False, **environment: str) -> Ran:
        """As the service that the hook puts in place runs it."""
        return self.run("/bin/bash", f"{CARD}/install.sh", "go", network=network, **environment)

    def install_until(self, command: int) -> Ran:
        """The same, killed before its command of this number, counted from 1: bash runs what is in BASH_ENV first."""
        return self._cut(f"[ $((++cut)) -lt {command} ]")

    def install_until_wiped(self, name: str) -> Ran:
        """The same, killed when this file is overwritten on the card, and still there."""
        return self._cut(f"[[ $BASH_COMMAND != rm* || ${{file-}} != {name}* ]]")

    def _cut(self, unless: str) -> Ran:
        (self.path / "tmp/cut").write_text(f"cut=0; set -T; trap '{unless} || kill -9 $$' DEBUG\n")
        return self.install(BASH_ENV="/tmp/cut")  # noqa: S108 of the root

    def has_program_of(self, other: Root) -> None:
        """The program is installed already, as it is in another one: that takes long and is tried enough."""
        subprocess.run(["cp", "-al", other.path / "opt/.", self.path / "opt"], check=True)

    def state(self) -> dict[str, tuple[int, bytes]]:
        """Mode and content of every file of the node and its card; of STATUS.txt without its time."""
        found = {}
        for top in (self.path / "etc", self.path / "var", self.path / "boot", self.path / "opt/banksman"):
            for path in top.rglob("*"):
                name = str(path.relative_to(self.path))
                if path.is_file() and not path.is_symlink() and not name.startswith(_NOT_OURS):
                    found[name] = (path.stat().st_mode, _TIME.sub(b"", path.read_bytes()))
                elif path.is_symlink():
                    found[name] = (0, str(path.readlink()).encode())
        return found
