"""Messages to the service manager, by the protocol of sd_notify(3): one datagram of `NAME=value` lines to a socket.

The protocol is stable and meant to be spoken without a library; see docs/decisions.md.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)


class Notifier:
    """address: the socket of `NOTIFY_SOCKET`; a leading `@` means the abstract namespace. None: nobody listens."""

    def __init__(self, address: str | None) -> None:
        self._address = None if address is None else f"\0{address[1:]}" if address.startswith("@") else address
        self._failed = False

    @property
    def heard(self) -> bool:
        """Whether there is a service manager to tell."""
        return self._address is not None

    def send(self, **lines: str) -> None:
        """Never waits and never raises: a manager that cannot be told ends the program by its own watchdog."""
        if self._address is None:
            return
        text = "\n".join(f"{name}={' '.join(value.split())}" for name, value in lines.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
                to.setblocking(False)
                to.sendto(text.encode(), self._address)
        except OSError as error:
            if not self._failed:
                log.warning("the service manager cannot be told: %s", error.strerror or error)
            self._failed = True
        else:
            self._failed = False


def watchdog_s(environ: Mapping[str, str], pid: int) -> float | None:
    """How often this process must be heard of, s; None: nobody asks (sd_watchdog_enabled(3)).

    Raises ValueError where `WATCHDOG_USEC` is no positive number.
    """
    if "WATCHDOG_USEC" not in environ or environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    text = environ["WATCHDOG_USEC"]
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"WATCHDOG_USEC must be a positive number of microseconds, not {text!r}")
    return int(text) / 1e6


def from_environment() -> tuple[Notifier, float | None]:
    """Whom to tell, and how often, as this process was started."""
    return Notifier(os.environ.get("NOTIFY_SOCKET")), watchdog_s(os.environ, os.getpid())
