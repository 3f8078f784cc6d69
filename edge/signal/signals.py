"""Blinks the light and sounds the siren, in a thread of its own that sleeps from one change to the next."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Self

from edge.clock import Clock
from edge.signal.codes import Sign, light
from edge.signal.light import LEDS, Light
from edge.signal.siren import GpioPin, Pin, SirenError, Sounding
from edge.site.model import Signal

log = logging.getLogger(__name__)

_LONGEST_S = 60.0
_AGAIN_S = 1.0
"""What could not be switched is tried again then."""


class Signals:
    """lamp, pin: None where there is none. `show` may be called from any thread and does not wait."""

    def __init__(self, clock: Clock, lamp: Light | None = None, pin: Pin | None = None, longest_s: float = 0.0) -> None:
        self._clock = clock
        self._lamp = lamp
        self._pin = pin
        self._sounding = Sounding(longest_s)
        self._sign, self._since = Sign.STARTING, clock.now().mono
        self._until = float("-inf")
        self._was: dict[str, bool] = {}
        self._failed: set[str] = set()
        self._news = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="signals", daemon=True)
        self.trouble: str | None = None
        """Why the siren cannot sound; None where it can, or where there is none."""

    @classmethod
    def of(cls, settings: Signal, clock: Clock, leds: Path = LEDS) -> Self:
        """As the site file has it. A board without this light has none; a siren that cannot be had is told."""
        lamp = None if settings.led is None else Light(leds / settings.led)
        pin: GpioPin | None = None
        trouble: str | None = None
        if settings.siren is not None:
            try:
                pin = GpioPin(settings.siren.line, active_low=settings.siren.active_low)
            except SirenError as error:
                trouble = str(error)
                log.error("signal.siren: %s", error)  # noqa: TRY400 nothing to trace
        longest_s = 0.0 if settings.siren is None else settings.siren.longest_s
        signals = cls(clock, lamp if lamp is not None and lamp.exists else None, pin, longest_s)
        signals.trouble = trouble
        return signals

    def start(self) -> None:
        """Take light and pin; where there is neither, nothing runs."""
        if self._lamp is not None:
            try:
                self._lamp.take()
            except OSError as error:
                log.warning("signal.led: the light cannot be used: %s", error)
                self._lamp = None
        if self._lamp is not None or self._pin is not None:
            self._thread.start()

    def stop(self) -> None:
        """Light and siren are as nobody used them."""
        self._over = True
        self._news.set()
        if self._thread.is_alive():
            self._thread.join()
        try:
            if self._lamp is not None:
                self._lamp.give_back()
            if self._pin is not None:
                self._pin.switch(on=False)
                self._pin.close()
        except OSError as error:
            log.warning("light and siren cannot be switched off: %s", error)

    def show(self, sign: Sign, loud: frozenset[str]) -> None:
        """What the light says from now on. loud: the open alarms that sound."""
        now = self._clock.now().mono
        until = self._sounding.update(loud, now)
        if sign is not self._sign or until != self._until:
            if sign is not self._sign:
                self._sign, self._since = sign, now
            self._until = until
            self._news.set()

    def turn(self) -> float:
        """Switch what is to be switched now; gives the seconds until the next change."""
        now = self._clock.now().mono
        wait = _LONGEST_S
        if self._lamp is not None:
            lit, wait = light(self._sign, now - self._since)
            self._switch("led", self._lamp, on=lit)
        if self._pin is not None:
            sounds = now < self._until
            self._switch("siren", self._pin, on=sounds)
            wait = min(wait, self._until - now) if sounds else wait
        return min(wait, _AGAIN_S) if self._failed else wait

    def _switch(self, name: str, what: Light | Pin, *, on: bool) -> None:
        if self._was.get(name) is on:
            return
        trouble = None
        try:
            what.switch(on=on)
        except OSError as error:
            trouble = error.strerror or str(error)
            if name not in self._failed:  # said once
                log.warning("signal.%s cannot be switched: %s", name, trouble)
            self._failed.add(name)
            self._was.pop(name, None)
        else:
            self._failed.discard(name)
            self._was[name] = on
        if name == "siren":
            self.trouble = trouble

    def _run(self) -> None:
        while not self._over:
            self._news.clear()
            self._news.wait(self.turn())
