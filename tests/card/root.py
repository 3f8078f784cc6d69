"""A throw-away system in which `install.sh` really runs: this machine's /usr, all else its own."""

from __future__ import annotations

import os
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
for at in /usr {venv}; do mkdir -p "$root$at"; mount --rbind "$at" "$root$at"; done
mount --bind {repo} "$root{repo}"
mount -t tmpfs -o size=$1m tmpfs "$root/opt"; shift
[ ! -d "$root/kept" ] || cp -a "$root/kept/." "$root/opt/"
mount -t proc proc "$root/proc"
for at in null zero urandom random; do touch "$root/dev/$at"; mount --bind "/dev/$at" "$root/dev/$at"; done
code=0
chroot "$root" /usr/bin/env -i "$@" || code=$?
rm -rf "$root/kept"; cp -a "$root/opt" "$root/kept"
exit $code
"""


@dataclass(frozen=True)
class Ran:
    """How a run ended: its exit code (137: killed) and all that it said."""

    code: int
    said: str


class Root:
    """A root file system with a boot partition at /boot/firmware. /opt has `disk_mb`, and outlives a run."""

    def __init__(self, path: Path, disk_mb: int = 2000) -> None:
        tested = shutil.which("unshare") and os.geteuid() == 0
        need(tested, "install.sh is tried behind a change of root, which needs root and unshare (util-linux)")
        probe = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
        need(probe.returncode == 0, "this machine allows no mount namespaces, so install.sh cannot be tried")
        self.path = path
        self.disk_mb = disk_mb
        for name in ("boot/firmware", "dev", "etc", "opt", "proc", "run", "tmp", "var/lib", str(REPO).lstrip("/")):
            (path / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (path / name).symlink_to(f"usr/{name}")
        for name, text in {"passwd": _USERS, "group": _GROUPS, "hosts": "127.0.0.1\tlocalhost\n"}.items():
            (path / "etc" / name).write_text(text)
        for name in ("ld.so.cache", "ssl", "alternatives", "nsswitch.conf"):
            subprocess.run(["cp", "-a", f"/etc/{name}", path / "etc"], check=True)

    @property
    def boot(self) -> Path:
        return self.path / "boot/firmware"

    def opt(self, name: str) -> Path:
        """A file of /opt after a run."""
        return self.path / "kept" / name

    def run(self, *command: str, **environment: str) -> Ran:
        setup = _SETUP.format(venv=REPO / ".venv", repo=REPO)
        given = [f"{key}={value}" for key, value in environment.items()]
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "/bin/sh", "-c", setup, "-", self.path, str(self.disk_mb),
             *given, *command],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        return Ran(done.returncode, done.stdout + done.stderr)

    def install(self, **environment: str) -> Ran:
        """As the service that the hook puts in place runs it."""
        return self.run("/bin/bash", "/boot/firmware/banksman/install.sh", "go", **environment)
