"""The siren: when it sounds, and the pin that it hangs on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

DEVICES = Path("/dev")


class SirenError(Exception):
    """The pin cannot be used; the text says why, in one line."""


class Sounding:
    """Each alarm sounds from its first second on, for so long at most; then the siren waits for another. Pure."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._since: dict[str, float] = {}

    def update(self, alarms: frozenset[str], mono: float) -> float:
        """The alarms that are open at `mono`. Until when it sounds, monotonic s; in the past where it is silent."""
        self._since = {alarm: self._since.get(alarm, mono) for alarm in alarms}
        return max(self._since.values(), default=float("-inf")) + self._longest_s


class Pin(Protocol):
    """Something that can be switched on and off. Raises OSError."""

    def switch(self, *, on: bool) -> None: ...
    def close(self) -> None: ...


class GpioPin:
    """A line of a GPIO chip, by its name: on which chip it is differs between boards. Raises SirenError."""

    def __init__(self, line: str, *, active_low: bool, devices: Path = DEVICES) -> None:
        with _library() as gpiod:
            self._gpiod = gpiod
            chip, self._offset = self._find(line, devices)
            settings = gpiod.LineSettings(
                direction=gpiod.line.Direction.OUTPUT,
                active_low=active_low,
                output_value=gpiod.line.Value.INACTIVE,
            )
            self._request = gpiod.request_lines(chip, consumer="banksman", config={self._offset: settings})

    def _find(self, line: str, devices: Path) -> tuple[str, int]:
        for path in sorted(devices.glob("gpiochip*")):
            with self._gpiod.Chip(str(path)) as chip:
                for offset in range(chip.get_info().num_lines):
                    if chip.get_line_info(offset).name == line:
                        return str(path), offset
        raise SirenError(f"no GPIO line is called {line} here; `gpioinfo` lists those that there are")

    def switch(self, *, on: bool) -> None:
        values = self._gpiod.line.Value
        self._request.set_value(self._offset, values.ACTIVE if on else values.INACTIVE)

    def close(self) -> None:
        self._request.release()


@contextmanager
def _library() -> Iterator[Any]:
    """Imported where a siren is set up: a node without one does without it."""
    try:
        import gpiod  # noqa: PLC0415

        yield gpiod
    except ImportError as error:
        raise SirenError("the package gpiod is not installed: pip install gpiod") from error
    except OSError as error:
        raise SirenError(f"the GPIO line cannot be opened: {error.strerror or error}") from error
