"""What the journal hands out besides the plain values of the line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from edge.clock import Stamp
from edge.values import EvidenceRef, Instance


class JournalError(Exception):
    """The journal cannot be opened; the text says which file, why, and what to do."""


class Trouble(StrEnum):
    """Why the journal cannot write; texts and what to do about it in the catalogues under `page.journal.*`."""

    NONE = "none"
    DISK_FULL = "disk_full"
    READ_ONLY = "read_only"
    IO = "io"
    CORRUPT = "corrupt"
    DATABASE = "database"  # any other error of SQLite


@dataclass(frozen=True, slots=True)
class JournalState:
    """How the journal is.

    trouble: of the last write; alarms are then kept in memory (`held`), still sent, and written as soon as it works.
    lost: alarm events that found no room even in memory. Anything but 0 means that safety messages were lost.
    dropped: what was thrown away for want of space since the start, by kind: clip, snapshot, reading, tally.
    moved_aside: the damaged database that was found at start; a new one was begun beside it.
    salvaged: waiting and open alarms that could still be read from it.
    """

    trouble: Trouble = Trouble.NONE
    detail: str = ""
    held: int = 0
    lost: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    moved_aside: Path | None = None
    salvaged: int = 0

    @property
    def ok(self) -> bool:
        return self.trouble is Trouble.NONE


@dataclass(frozen=True, slots=True)
class StoredEvidence:
    """An evidence file that the journal knows: `alarm` is the raise-to-clear it belongs to."""

    ref: EvidenceRef
    alarm: str
    path: Path
    at: Stamp


@dataclass(frozen=True, slots=True)
class Compliance:
    """Seconds of one rule instance. hour: Unix time of the hour's start in s; None for the whole period."""

    instance: Instance
    ok_s: int
    violation_s: int
    unknown_s: int
    breach_s: int
    hour: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """Numbers of one sensor, or of the node itself, at one instant. number: of its row, 0 while it has none."""

    name: str
    at: Stamp
    values: Mapping[str, float | int | str | None]
    number: int = 0
