"""The emulated computer: starts from the card's partitions, says on its serial line what it does."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.boot.image import System

CPU, CORES, MEMORY_MB = "cortex-a72", 2, 2048


class Machine:
    """Its network reaches this computer's loopback as 10.0.2.2, and nothing else."""

    def __init__(self, system: System, card: Path, cmdline: str, log: Path) -> None:
        self._log = log
        self._control = log.with_suffix(".qmp")
        # The last console is the one that init writes to. Nobody is there whom systemd could ask at a first boot.
        words = f"{cmdline} console=ttyAMA0 panic=-1 systemd.show_status=no systemd.firstboot=off"
        self._command = [
            "nice", "qemu-system-aarch64", "-machine", "virt", "-cpu", CPU, "-smp", str(CORES), "-m", str(MEMORY_MB),
            "-display", "none", "-no-reboot", "-kernel", str(system.kernel), "-initrd", str(system.initrd),
            "-append", words, "-drive", f"file={card},format=raw,if=none,id=card", "-device", "virtio-blk,drive=card",
            "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=",
            "-serial", f"file:{log}", "-qmp", f"unix:{self._control},server=on,wait=off",
        ]  # fmt: skip

    def __enter__(self) -> Self:
        self._control.unlink(missing_ok=True)
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait(30)

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def log(self) -> str:
        """What came over the serial line until now, without colours."""
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "")

    def has_said(self, words: str, after: str = "") -> bool | None:
        """None: not yet. after: other words, which must have been said before."""
        log = self.log()
        return words in (log.partition(after)[2] if after else log) or None

    def switch_off(self, patience_s: float) -> bool:
        """As its power button does; whether it came to an end by itself."""
        with socket.socket(socket.AF_UNIX) as line, line.makefile("rw") as talk:
            line.connect(os.fspath(self._control))
            for command in ("qmp_capabilities", "system_powerdown"):
                talk.write(json.dumps({"execute": command}) + "\n")
                talk.flush()
                while "return" not in json.loads(talk.readline()):
                    pass  # a greeting, or an event
        deadline = time.monotonic() + patience_s
        while self.runs and time.monotonic() < deadline:
            time.sleep(1)
        return not self.runs
