"""The listening end of sd_notify: a real socket, as the service manager has one."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from edge.service.notify import Notifier


class Manager:
    def __init__(self, folder: Path, *, abstract: bool = False) -> None:
        self.address = f"@banksman{folder}" if abstract else str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{self.address[1:]}" if abstract else self.address)

    def notifier(self) -> Notifier:
        return Notifier(self.address)

    def heard(self) -> list[str]:
        """What came since the last call."""
        self._socket.setblocking(False)
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(65536).decode())
            except BlockingIOError:
                return messages

    def until(self, start: str, seconds: float) -> list[str]:
        """What comes until a line begins so; fails where none does in time."""
        end, messages = time.monotonic() + seconds, []
        while (left := end - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                messages.append(self._socket.recv(65536).decode())
            except TimeoutError:
                break
            if any(line.startswith(start) for line in messages[-1].splitlines()):
                return messages
        raise AssertionError(f"no {start} within {seconds} s; heard {messages}")

    def listen(self, seconds: float) -> list[str]:
        """What comes within so many seconds: that something does not come has to be waited for."""
        time.sleep(seconds)
        return [line for message in self.heard() for line in message.splitlines()]

    def close(self) -> None:
        self._socket.close()
