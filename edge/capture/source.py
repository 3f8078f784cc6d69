"""What every kind of camera or recording looks like to the reader: one small protocol, one coded error.

A source is opened, read and closed by a single thread. None of its calls may log, raise or keep credentials.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from edge.values import CameraCause, Image


class SourceError(Exception):
    """A source that cannot be opened, or broke off.

    cause: what the installer is told. detail: one line, without credentials.
    """

    def __init__(self, cause: CameraCause, detail: str) -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause = cause
        self.detail = detail


class Timing(Enum):
    """Who sets the pace."""

    LIVE = "live"  # the camera: whoever is slow misses frames
    PACED = "paced"  # a recording in real time: the reader waits until each picture is due
    FREE = "free"  # a recording as fast as its pictures are taken: none is dropped, stamps are media time


class Source(Protocol):
    """Where pictures come from. Made without touching the outside; `open` may be called once."""

    @property
    def timing(self) -> Timing: ...

    def open(self) -> None:
        """Connect. Raises SourceError."""

    def advance(self) -> float:
        """Wait for the next picture without converting it.

        Returns its media time, seconds since the first picture, never falling; 0.0 for a LIVE source, whose pictures
        are of now. Raises SourceError, with cause ENDED where a recording is over.
        """

    def picture(self) -> Image | None:
        """The picture of the last `advance`, (height, width, 3) uint8 BGR, in an array that nobody else holds.

        None where this one picture is damaged. Raises SourceError where the whole source is.
        """

    def close(self) -> None:
        """Let go of everything; also after a failed `open`."""
