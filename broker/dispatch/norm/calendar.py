"""A site's calendar: its time zone, who is on which shift, and on which days.

The post is manned round the clock (II.H1.5), so a moment that no shift covers, or that nobody is on duty for, is a gap
with a name and never passed over in silence.

Clocks that are changed: a time of day that is skipped counts as the first moment after it, one that comes twice as the
first. So where one shift ends when another starts, there is neither gap nor overlap on those days either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from broker.dispatch.norm import NormError

DAY_MIN = 24 * 60
ALL_DAYS = 0b1111111
SATURDAY = 5
_DAY = timedelta(days=1)


class GapReason(StrEnum):
    """Why nobody is on duty."""

    NO_SHIFT = "no_shift"
    NOBODY_ON_SHIFT = "nobody_on_shift"


@dataclass(frozen=True, slots=True)
class Shift:
    """A stretch of the day. `start`, `end`: minutes; `end` at or before `start`: it ends the next day.

    weekdays: bit 0 is Monday, of the day on which it starts. Raises NormError.
    """

    id: str
    name: str
    start: int
    end: int
    weekdays: int = ALL_DAYS
    on_holidays: bool = True

    def __post_init__(self) -> None:
        for what, minute in (("start", self.start), ("end", self.end)):
            check_minute(minute, NormError.SHIFT, f"shift {self.name!r}: {what}")
        if not 0 < self.weekdays <= ALL_DAYS:
            raise NormError(NormError.SHIFT, f"shift {self.name!r}: it runs on no weekday; choose at least one")


@dataclass(frozen=True, slots=True)
class Duty:
    """Somebody on a shift, for one rule or (None) all, where it starts from `from_day` to `to_day` inclusive."""

    shift: str
    person: str
    rule: str | None = None
    position: int = 0
    from_day: date | None = None
    to_day: date | None = None

    def __post_init__(self) -> None:
        if self.from_day and self.to_day and self.to_day < self.from_day:
            raise NormError(
                NormError.DUTY, f"duty of {self.person}: the last day {self.to_day} is before the first {self.from_day}"
            )

    def covers(self, day: date, rule: str | None) -> bool:
        return (
            (self.from_day is None or self.from_day <= day)
            and (self.to_day is None or day <= self.to_day)
            and (rule is None or self.rule is None or self.rule == rule)
        )


@dataclass(frozen=True, slots=True)
class Holiday:
    """A day that differs from its weekday. `working`: a Saturday or Sunday worked in exchange for another day."""

    day: date
    name: str = ""
    working: bool = False


@dataclass(frozen=True, slots=True)
class ShiftAt:
    """A shift on one day, from `start` until before `end`; `day` is the local date on which it starts."""

    shift: Shift
    day: date
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Gap:
    """From `start` until before `end` nobody is on duty for every rule."""

    start: float
    end: float
    reason: GapReason


def check_minute(minute: int, code: str, what: str) -> None:
    """Raises NormError where `minute` is no time of day."""
    if not 0 <= minute < DAY_MIN:
        raise NormError(code, f"{what} is {minute}; a time of day is 0 to {DAY_MIN - 1} minutes after midnight")


@dataclass(frozen=True)
class SiteCalendar:
    """Time zone, shifts, holidays and duties of a site. Raises NormError where they do not fit together."""

    zone: str
    shifts: tuple[Shift, ...] = ()
    holidays: tuple[Holiday, ...] = ()
    duties: tuple[Duty, ...] = ()

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: the name of a folder, such as "Asia"
            raise NormError(
                NormError.ZONE, f"time zone {self.zone!r} is not known; write it as Asia/Shanghai or Europe/Berlin"
            ) from error
        ids = {shift.id for shift in self.shifts}
        if len(ids) < len(self.shifts):
            raise NormError(NormError.SHIFT, "two shifts have the same id")
        if lost := {duty.shift for duty in self.duties} - ids:
            raise NormError(
                NormError.DUTY, f"duties name shifts that the site does not have: {', '.join(sorted(lost))}"
            )
        if len(self._holidays) < len(self.holidays):
            raise NormError(NormError.HOLIDAY, "a day stands twice among the holidays")

    @cached_property
    def _tz(self) -> ZoneInfo:
        return ZoneInfo(self.zone)

    @cached_property
    def _holidays(self) -> dict[date, Holiday]:
        return {holiday.day: holiday for holiday in self.holidays}

    # -- time of day ---------------------------------------------------------------------------------------------------

    def local(self, at: float) -> datetime:
        return datetime.fromtimestamp(at, self._tz)

    def instant(self, day: date, minute: int) -> float:
        """When it is `minute` on `day`; from 1440 on, on the next day. Never falls as day and minute rise."""
        wall = datetime.combine(day, time(), self._tz) + timedelta(minutes=minute)  # a wall clock's sum: same tzinfo
        while wall.astimezone(UTC).astimezone(self._tz) != wall:  # skipped when the clocks were put forward
            wall += timedelta(minutes=1)
        return wall.timestamp()

    def window(self, day: date, start: int, end: int) -> tuple[float, float]:
        """First moment of a stretch of the day and the first after it; `end` at or before `start`: on the next day."""
        return self.instant(day, start), self.instant(day, end if end > start else end + DAY_MIN)

    def days_around(self, at: float) -> Iterator[date]:
        """Local dates whose windows may hold `at`: tomorrow's too, where clocks were just put back over midnight."""
        today = self.local(at).date()
        return (today + k * _DAY for k in range(-1, 2))

    # -- shifts --------------------------------------------------------------------------------------------------------

    def runs_on(self, shift: Shift, day: date) -> bool:
        """Whether a shift starts on a day.

        A worked Saturday is treated as the Friday before it, a worked Sunday as the Monday after it: whoever works on
        that day works, and the weekend's crew stays at home.
        """
        weekday = day.weekday()
        holiday = self._holidays.get(day)
        if holiday and holiday.working:
            weekday = {SATURDAY: 4, SATURDAY + 1: 0}.get(weekday, weekday)
        elif holiday and not shift.on_holidays:
            return False
        return bool(shift.weekdays >> weekday & 1)

    def starting(self, day: date) -> list[ShiftAt]:
        """The shifts that start on a day, in order of their start. One that the clocks skip whole is none."""
        found = [
            ShiftAt(shift, day, *self.window(day, shift.start, shift.end))
            for shift in self.shifts
            if self.runs_on(shift, day)
        ]
        return sorted((s for s in found if s.start < s.end), key=lambda s: (s.start, s.shift.id))

    def running(self, at: float) -> tuple[ShiftAt, ...]:
        """All shifts that run at `at`, the one begun last first: it has taken over."""
        found = [s for day in self.days_around(at) for s in self.starting(day) if s.start <= at < s.end]
        return tuple(sorted(found, key=lambda s: (-s.start, s.shift.id)))

    def shift_at(self, at: float) -> ShiftAt | None:
        """The shift in charge at `at`; None is the gap `no_shift`."""
        return next(iter(self.running(at)), None)

    def upcoming(self, at: float) -> Iterator[ShiftAt]:
        """Shifts that end after `at`, in order of their start, up to the week after the last holiday that is known.

        By then every shift that will ever run again has come by.
        """
        today = self.local(at).date()
        last = max([today, *self._holidays]) + 8 * _DAY
        day = today - _DAY
        while self.shifts and day <= last:
            yield from (s for s in self.starting(day) if s.end > at)
            day += _DAY

    def next_boundary(self, at: float) -> float | None:
        """When the next shift starts or ends after `at`; None where none ever does."""
        best: float | None = None
        for s in self.upcoming(at):
            if best is not None and s.start >= best:
                break
            edge = s.start if s.start > at else s.end
            best = edge if best is None else min(best, edge)
        return best

    def next_ending(self, at: float) -> tuple[ShiftAt, ...]:
        """The shift that ends next after `at`, or all that end then; empty where none ever does. For the hand-over."""
        found: list[ShiftAt] = []
        for s in self.upcoming(at):
            if found and s.start >= found[0].end:
                break
            if not found or s.end < found[0].end:
                found = [s]
            elif s.end == found[0].end:
                found.append(s)
        return tuple(found)

    # -- people --------------------------------------------------------------------------------------------------------

    def people(self, shift: ShiftAt, rule: str | None = None) -> tuple[str, ...]:
        """Ids of those on a shift for a rule (None: any), first to last; at one position those named for the rule lead.

        Who is on a night shift stays on it past midnight: the day of its start counts.
        """
        duties = [d for d in self.duties if d.shift == shift.shift.id and d.covers(shift.day, rule)]
        duties.sort(key=lambda d: (d.position, d.rule is None, d.person))
        return tuple(dict.fromkeys(d.person for d in duties))

    def on_duty(self, at: float, rule: str) -> tuple[str, ...]:
        """Ids of those on duty for a rule at `at`, first to last; where shifts overlap, the one begun last comes first.

        Empty is a gap: `gap_at` names it, `review.in_line` says who is next.
        """
        return tuple(dict.fromkeys(p for s in self.running(at) for p in self.people(s, rule)))

    def gap_at(self, at: float, rule: str) -> GapReason | None:
        """Why nobody is on duty for a rule at `at`; None where somebody is."""
        running = self.running(at)
        if not running:
            return GapReason.NO_SHIFT
        return None if any(self.people(s, rule) for s in running) else GapReason.NOBODY_ON_SHIFT

    def unmanned(self, at: float) -> tuple[Shift, ...]:
        """The shifts that, when they run at `at` or else start next, have nobody for a rule that nobody is named for.
        For the roster's page."""
        following: dict[str, ShiftAt] = {}
        for s in self.upcoming(at):
            following.setdefault(s.shift.id, s)
            if len(following) == len(self.shifts):
                break
        return tuple(s.shift for s in following.values() if not self.people(s, rule=""))

    def gaps(self, start: float, end: float) -> tuple[Gap, ...]:
        """The gaps from `start` until before `end`, for a rule that nobody is named for. For the roster's page."""
        edges = [start]
        while (edge := self.next_boundary(edges[-1])) is not None and edge < end:
            edges.append(edge)
        found: list[Gap] = []
        for a, b in pairwise([*edges, end]):
            reason = self.gap_at(a, rule="")
            if reason is None:
                continue
            if found and found[-1].end == a and found[-1].reason == reason:
                found[-1] = Gap(found[-1].start, b, reason)
            else:
                found.append(Gap(a, b, reason))
        return tuple(found)
