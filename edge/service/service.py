"""Tells the service manager how the node is, and feeds its watchdog only while every loop comes round."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from edge.beat import Beats
from edge.clock import Clock
from edge.service.notify import Notifier

log = logging.getLogger(__name__)

TICK_S = 1.0
FEEDS = 3
"""Messages within the time that the watchdog allows: two may be lost."""
CHANGE_S = 150.0
"""A node may be opened or closed for so long: a journal of 500 MB is checked, a last clip is written."""


class Service:
    """One program under a service manager; `tick` each second, in a thread of its own where `start` was called.

    allowed_s: how long the manager waits for a message; None: it does not ask.
    """

    def __init__(self, notifier: Notifier, allowed_s: float | None, clock: Clock) -> None:
        self.beats = Beats()
        self._notifier = notifier
        self._allowed_s = allowed_s
        self._clock = clock
        self._change = self.beats.loop("change", CHANGE_S)
        self._fed = float("-inf")
        self._ready = False
        self._late: tuple[str, ...] = ()
        self._told = ""
        self._telling = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="service", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """The program ends because it was asked to."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self._notifier.send(STOPPING="1")

    def say(self, status: str, *, ready: bool = False) -> None:
        """One line about the node. ready: it judges, or has said why it cannot; once said it stays so."""
        with self._telling:
            lines = {}
            if ready and not self._ready:
                self._ready = True
                lines["READY"] = "1"
            if status != self._told:
                self._told = lines["STATUS"] = status
            if lines:
                self._notifier.send(**lines)

    @contextmanager
    def changing(self, status: str) -> Iterator[None]:
        """While the node is opened or closed, which has a deadline as well."""
        self.say(status)
        self._change.work(self._clock.now().mono)
        try:
            yield
        finally:
            self._change.rest()

    def tick(self) -> None:
        now = self._clock.now().mono
        late = self.beats.late(now)
        if tuple(late) != self._late:
            self._late = tuple(late)
            if late:
                stands = ", ".join(f"{name} for {since:.0f} s" for name, since in late.items())
                log.critical("stands still: %s; the service manager is not fed until it moves", stands)
            else:
                log.warning("all loops come round again")
        if self._allowed_s is not None and not late and now - self._fed >= self._allowed_s / FEEDS:
            self._fed = now
            self._notifier.send(WATCHDOG="1")

    def _run(self) -> None:
        while not self._over.wait(TICK_S):
            self.tick()
