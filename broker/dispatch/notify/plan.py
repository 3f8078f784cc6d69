"""What goes to one person now, as what, and what waits: pure.

Rows wait for one person (`tables.Delivery`). `settle` drops those with nothing left to tell, `plan` groups the rest: a
message for all cases of a site that broke the same rule within seconds, so that ten helmets are one message, and one
rule never hides another. Above a site's rate they become digests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from broker.dispatch.notify.message import About

GATHER_S = 3.0
"""A message waits this long for its like, and for its picture (design: at most 3 s)."""
GATHER_URGENT_S = 1.0
"""A critical one that has its picture already, and what needs none."""
STORM_WINDOW_S = 600.0
STORM_URGENT_S = 60.0
"""In a storm a digest with something urgent in it waits at most this long after the message before it."""

RAISING = (
    About.GIVEN,
    About.ESCALATION,
    About.REOPENED,
    About.RAISED,
    About.LATE,
    About.UPDATED,
    About.REPEAT,
)
"""What tells that something is wrong. Of several about one case the first in this order is told."""
_AT_ONCE = {About.GIVEN, About.HANDOVER, About.LATE, About.FEEDBACK, About.UNANSWERED, About.CERTIFICATES}
"""The picture is no matter, and what is alike comes together."""


class State(StrEnum):
    """`delivery.state`."""

    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"
    GIVEN_UP = "given_up"
    DROPPED = "dropped"


class Dropped(StrEnum):
    """Why a row is dropped: `delivery.code`."""

    OVER = "over"  # the case is closed or a false alarm
    TAKEN = "taken"  # somebody has it: nothing to urge
    ANSWERED = "answered"  # somebody was told what was done, or it was opened again
    MERGED = "merged"  # another message of the same case says it
    NOT_TOLD = "not_told"  # cleared, but this person never heard that it was raised
    LASTS = "lasts"  # cleared, but raised again since
    CLEARED = "cleared"  # came late, and all of it was over by then
    NO_ROLE = "no_role"  # this person has no role on the site any more
    NO_REPORT = "no_report"  # the roster knows no shift any more that ended then


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A row that waits, with its case as it is now.

    since: Unix s. not_before: when quiet hours let it go (Unix s; now or earlier: at once). heard: this person was told
    that it is raised, and not yet that it cleared. case None: of no case.
    """

    id: str
    case: str | None
    site: str
    about: About
    since: float
    not_before: float = 0.0
    rule: str = ""
    severity: str = "info"
    heard: bool = False
    over: bool = False
    cleared: bool = False
    taken: bool = False
    answered: bool = False
    picture: bool = False

    @property
    def urgent(self) -> bool:
        """Held back by nothing."""
        return self.severity == "critical" or self.about is About.ESCALATION

    @property
    def ready_at(self) -> float:
        wait = GATHER_S
        if self.about in _AT_ONCE:
            wait = 0.0
        elif self.about in {About.REPEAT, About.ESCALATION} or (self.urgent and self.picture):
            wait = GATHER_URGENT_S
        return max(self.since + wait, self.not_before)


@dataclass(frozen=True, slots=True)
class Parcel:
    """Rows that go as one message, about one thing or as a digest."""

    about: About
    rows: tuple[Waiting, ...]

    @property
    def cases(self) -> tuple[str, ...]:
        """What it names, each once."""
        return tuple(dict.fromkeys(row.case for row in self.rows if row.case is not None))


@dataclass(frozen=True, slots=True)
class Plan:
    """send: now. drop: row id and why. later: when to look again, Unix s; None where nothing waits."""

    send: tuple[Parcel, ...]
    drop: dict[str, Dropped]
    later: float | None


def plan(waiting: Iterable[Waiting], sent_at: Sequence[float], storm: int, now: float) -> Plan:
    """What one person gets now, the urgent first.

    sent_at: when the messages of the last ten minutes went (Unix s). storm: how many in ten minutes are the limit.
    """
    alive, drop = settle(waiting)
    groups: dict[tuple[str, str, str], list[Waiting]] = {}
    later: list[float] = []
    calm: list[float] = []  # the same of what the rate holds back
    for row in alive:
        if row.not_before > now:
            later.append(row.not_before)
        else:
            groups.setdefault(_alike(row), []).append(row)
    ready = []
    for rows in groups.values():
        at = min(row.ready_at for row in rows)
        if at > now:
            bound = not any(row.urgent or row.about is About.HANDOVER for row in rows)
            (calm if bound else later).append(at)
        elif rows[0].about is About.LATE and all(row.cleared for row in rows):
            drop |= {row.id: Dropped.CLEARED for row in rows}
        else:
            ready.append(Parcel(_gravest(rows), tuple(rows)))
    ready.sort(key=lambda parcel: not any(row.urgent for row in parcel.rows))
    send, slot = _within_rate(ready, sent_at, storm, now)
    if slot is not None:
        later.append(slot)
        calm = []  # it would only join those that wait: looking each time would be most of the work in a storm
    later += calm
    return Plan(tuple(send), drop, min(later, default=None))


def settle(waiting: Iterable[Waiting]) -> tuple[list[Waiting], dict[str, Dropped]]:
    """The rows with something to tell, at most one a case but for feedback; why the others have nothing."""
    alive: list[Waiting] = []
    drop: dict[str, Dropped] = {}
    cases: dict[str, list[Waiting]] = {}
    for row in waiting:
        if row.case is None or row.about in {About.FEEDBACK, About.HANDOVER}:
            alive.append(row)
        elif row.over:
            drop[row.id] = Dropped.OVER
        elif row.about is About.UNANSWERED:
            if row.answered:
                drop[row.id] = Dropped.ANSWERED
            else:
                alive.append(row)
        elif row.taken and row.about in {About.REPEAT, About.ESCALATION}:
            drop[row.id] = Dropped.TAKEN
        else:
            cases.setdefault(row.case, []).append(row)
    for rows in cases.values():
        keep, why = _one_of(rows)
        drop |= {row.id: why for row in rows if row is not keep}
        if keep is not None:
            alive.append(keep)
    return alive, drop


def _one_of(rows: list[Waiting]) -> tuple[Waiting | None, Dropped]:
    """The row of a case that is told, and why the others are not."""
    raising = sorted((r for r in rows if r.about in RAISING), key=lambda r: (RAISING.index(r.about), r.since))
    clears = [r for r in rows if r.about is About.CLEARED]
    if clears and rows[0].heard and rows[0].cleared and all(r.about in {About.UPDATED, About.REPEAT} for r in raising):
        return clears[0], Dropped.MERGED
    if raising:
        return raising[0], Dropped.MERGED  # it says by itself where it has cleared since
    return None, Dropped.LASTS if rows[0].heard else Dropped.NOT_TOLD


def _alike(row: Waiting) -> tuple[str, str, str]:
    """What may be one message has the same."""
    if row.about in RAISING and row.about not in _AT_ONCE:
        return row.site, "alert", row.rule
    return row.site, row.about, row.rule if row.about is About.CLEARED else ""


def _gravest(rows: Sequence[Waiting]) -> About:
    abouts = {row.about for row in rows}
    return next((about for about in RAISING if about in abouts), rows[0].about)


def _within_rate(
    ready: list[Parcel], sent_at: Sequence[float], storm: int, now: float
) -> tuple[list[Parcel], float | None]:
    """What goes within the rate; and when the rest may, where some must wait."""
    always = [p for p in ready if p.about is About.HANDOVER]
    rest = [p for p in ready if p.about is not About.HANDOVER]
    recent = sorted(at for at in sent_at if at > now - STORM_WINDOW_S)
    room = storm - len(recent)
    if not rest or len(rest) <= room:
        return always + rest, None
    if room <= 0:
        slot = recent[-storm] + STORM_WINDOW_S
        if any(row.urgent for p in rest for row in p.rows):
            slot = min(slot, recent[-1] + STORM_URGENT_S)
        if slot > now:
            return always, slot
    if len(rest) > 1:
        rest = [Parcel(About.DIGEST, tuple(row for p in rest for row in p.rows))]
    return always + rest, None
