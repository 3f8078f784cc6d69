"""The board's light, by the files of the Linux LED class (`Documentation/leds/leds-class.rst` of the kernel)."""

from __future__ import annotations

import re
from pathlib import Path

LEDS = Path("/sys/class/leds")


class Light:
    """folder: of the light, as /sys/class/leds/ACT. Every method may raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._trigger = "none"
        self._full = "1"

    @property
    def exists(self) -> bool:
        return self._folder.is_dir()

    def take(self) -> None:
        """From here on nothing else switches it."""
        triggers = (self._folder / "trigger").read_text()
        chosen = re.search(r"\[(.+?)\]", triggers)
        self._trigger = chosen[1] if chosen else "none"
        self._full = (self._folder / "max_brightness").read_text().strip()
        self._write("trigger", "none")

    def switch(self, *, on: bool) -> None:
        self._write("brightness", self._full if on else "0")

    def give_back(self) -> None:
        """It shows again what it showed before."""
        self._write("brightness", "0")
        self._write("trigger", self._trigger)

    def _write(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text)
