"""All that the page may ask of the node. `edge.node` implements `NodeView`; besides it the page knows the plain values
and rows of the line, none of its working parts.

Every method may be called from several threads at once and may block for as long as it says. Pictures that come out of
a view have their faces pixelated already: the page never sees a raw frame.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from edge.clock import Stamp
from edge.journal.rows import Compliance, JournalState, StoredEvidence
from edge.site.model import SiteFile, Zone
from edge.values import AlarmEvent, Box, CameraStatus, Instance, LinkState, PlaceState, Reason, Verdict

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class LiveBox:
    """One judgement in the picture; a person judged by two rules is two of these with the same `box` (pixels)."""

    box: Box
    rule: str
    verdict: Verdict
    reason: Reason


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds of some rule instances together, and what boards and reports make of the same seconds.

    compliance: ok ÷ (ok + violation). unknown_share: unknown ÷ (ok + violation + unknown). None where there was nothing
    to divide: what nobody judged is neither kept nor broken.
    """

    ok_s: int = 0
    violation_s: int = 0
    unknown_s: int = 0
    breach_s: int = 0

    @property
    def compliance(self) -> float | None:
        judged = self.ok_s + self.violation_s
        return self.ok_s / judged if judged else None

    @property
    def unknown_share(self) -> float | None:
        whole = self.ok_s + self.violation_s + self.unknown_s
        return self.unknown_s / whole if whole else None


def figures(rows: Iterable[Compliance], by: Callable[[Instance], Key]) -> dict[Key, Figures]:
    """The figures of each group of rule instances, in the order of their first rows."""
    sums: dict[Key, Figures] = {}
    for row in rows:
        had = sums.get(by(row.instance), Figures())
        sums[by(row.instance)] = Figures(
            had.ok_s + row.ok_s,
            had.violation_s + row.violation_s,
            had.unknown_s + row.unknown_s,
            had.breach_s + row.breach_s,
        )
    return sums


class LiveView(Protocol):
    """One judged frame of one camera; `width` and `height` in pixels are those that `boxes` refer to."""

    @property
    def camera(self) -> str: ...
    @property
    def seq(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def stamp(self) -> Stamp: ...
    @property
    def boxes(self) -> Sequence[LiveBox]: ...

    def jpeg(self) -> bytes:
        """The frame as JPEG of any size with the same aspect, faces pixelated. Encoded at the first call only."""
        ...


@dataclass(frozen=True, slots=True)
class Uplink:
    """How one way out of the node is.

    cause: why it is not as it should be, a code of the catalogues (`mqtt.cause`, `upload`, `influx`); `none` while all
        is well.
    detail: one line for the installer, without secrets. aside: files or points that the far end refuses for what they
        are. waiting: points that wait, where they are counted for this way alone.
    """

    state: LinkState
    cause: str = "none"
    detail: str = ""
    aside: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """How the node is. None where this machine has no such number.

    fps: frames judged a second, all cameras together. latency_*: from the frame to its judgement.
    journal_depth: rows that are not delivered yet. uptime_s: since the node started.
    mqtt: alarms to the broker. uploads: pictures and clips to the site server. influx: points to InfluxDB.
    disk, heat, power: how the machine is, as codes of `banksman doctor` (`doctor.<organ>.<code>`); None where this
        machine does not tell. cooling: what is left undone for the heat, a word of `service.cooling`; None: nothing.
    """

    version: str
    model: str
    runtime: str
    fps: float
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    rss_mb: float
    cpu_temp_c: float | None
    cpu_percent: float | None
    disk_free_mb: float | None
    journal: JournalState
    journal_depth: int
    mqtt: Uplink
    uploads: Uplink
    influx: Uplink
    clock_synced: bool
    uptime_s: float
    disk: str | None
    heat: str | None
    power: str | None
    cooling: str | None = None


class NodeView(Protocol):
    """The node as the page sees it."""

    def site(self) -> SiteFile:
        """The site file in force: the last good one."""
        ...

    def site_error(self) -> str | None:
        """What is wrong with the site file on disk, if it is not the one in force."""
        ...

    def cameras(self) -> tuple[CameraStatus, ...]:
        """In the order of the site file."""
        ...

    def live(self, camera: str, after: int, timeout: float) -> LiveView | None:
        """The newest judged frame unless its `seq` is `after`; waits up to `timeout` seconds for another, then None."""
        ...

    def states(self) -> tuple[PlaceState, ...]:
        """Every rule instance that is switched on."""
        ...

    def alarms(self, limit: int) -> tuple[AlarmEvent, ...]:
        """The newest event of each of the `limit` newest alarms and of every open one, newest alarm first."""
        ...

    def alarm(self, alarm: str) -> tuple[AlarmEvent, ...]:
        """All events of one alarm that are still in the journal, oldest first; empty for an unknown id."""
        ...

    def evidence(self, alarm: str) -> tuple[StoredEvidence, ...]:
        """Pictures and clips of one alarm that are still on this node, oldest first."""
        ...

    def compliance(self, hours: int) -> tuple[Compliance, ...]:
        """Tallies of the last `hours` hours up to now, one row a rule instance."""
        ...

    def health(self) -> Health: ...

    def save_zones(self, camera: str, zones: Sequence[Zone], language: str) -> None:
        """Write these zones of a camera to the site file; when it returns, `site()` has them.

        Raises edge.site.load.SiteFileError, told in `language`, where the file as a whole would not be right, OSError
        where it cannot be written.
        """
        ...
