"""Runs guard.py and pulls the plug before its Nth step: `python -I cut.py N STEPS ARGUMENT…`.

A step is whatever changes the disk or starts a program. Their names go into the file STEPS as they come. SIGKILL takes
the whole process group, as a power cut would; what was written and not synced yet is still there, unlike after a power
cut, so the order of steps is looked at as well (`test_power_cut.py`).
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

GUARD = Path(__file__).parents[2] / "edge/update/guard.py"
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "shutil.rmtree", "subprocess.Popen"}


def main(number: int, log: Path, arguments: list[str]) -> int:
    spec = importlib.util.spec_from_file_location("guard", GUARD)
    assert spec is not None
    assert spec.loader is not None
    guard = importlib.util.module_from_spec(spec)
    sys.modules["guard"] = guard
    spec.loader.exec_module(guard)
    steps = log.open("w", buffering=1)
    count = 0

    def step(name: str, what: object) -> None:
        nonlocal count
        count += 1
        print(name, what, file=steps)
        if count == number:
            os.killpg(0, signal.SIGKILL)

    def heard(event: str, given: tuple[Any, ...]) -> None:
        if event in CHANGES:
            step(event, given[0] if event != "os.rename" else f"{given[0]} {given[1]}")
        elif event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR):
            step("write", given[0])

    def counted(name: str, call: Callable[..., None]) -> Callable[..., None]:
        def counting(*what: Any) -> None:
            step(name, Path(f"/proc/self/fd/{what[0]}").readlink() if what else "")
            call(*what)

        return counting

    os.fsync, os.sync = counted("fsync", os.fsync), counted("sync", os.sync)
    sys.addaudithook(heard)
    return int(guard.main(arguments))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
