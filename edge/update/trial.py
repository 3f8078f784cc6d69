"""Whether a release on probation is well: it must do what worked before it came, and nothing more.

A camera that was dark before, a broker that was away, say nothing about a release.
"""

from __future__ import annotations

import json
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from edge.update.guard import Found

WELL_S = 300.0
"""A release is well that has run for so long, and then does what worked before."""
GIVE_UP_S = 900.0
"""One that does not by then is not well."""
BEFORE = "before.json"
_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Works:
    """What of the node works now, and what it is meant to have, in words such as `broker` or `camera gate`."""

    now: frozenset[str]
    meant: frozenset[str]


@dataclass(frozen=True, slots=True)
class Trial:
    """before: what worked before the release came. began: when it was started, monotonic s."""

    before: frozenset[str]
    began: float

    def look(self, mono: float, works: Works) -> Found | None:
        """None: it is too early to say."""
        ran = mono - self.began
        if ran < WELL_S:
            return None
        missing = sorted((self.before & works.meant) - works.now)
        if not missing:
            return Found("good")
        if ran < GIVE_UP_S:
            return None
        return Found("rolled_back", missing[0].split()[0], f"worked before, and not since: {', '.join(missing)}")


def write_before(folder: Path, works: AbstractSet[str]) -> None:
    """Raises OSError."""
    (folder / BEFORE).write_text(json.dumps(sorted(works)), encoding="utf-8")


def read_before(folder: Path) -> frozenset[str]:
    """Nothing where nothing is written down: such a release is only asked to run."""
    try:
        with (folder / BEFORE).open("rb") as file:
            values = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError):
        return frozenset()
    return frozenset(one for one in values if isinstance(one, str)) if isinstance(values, list) else frozenset()
