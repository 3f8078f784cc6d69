"""Starts guard.py so that it is killed before a step, see `cut.py`."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.update.builders import Box

CUT = Path(__file__).with_name("cut.py")


def cut(box: Box, number: int, *arguments: str | Path) -> list[str]:
    """The steps that were begun, the last of which was not done; all of them where the program came to its end."""
    log = box.folder / "steps"
    process = subprocess.Popen(
        [sys.executable, "-I", CUT, str(number), log, *arguments], start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    _, said = process.communicate(timeout=120)
    assert process.returncode in (0, -signal.SIGKILL), said
    return [re.sub(rf"{box.folder}/?", "", line) for line in log.read_text().splitlines()]
