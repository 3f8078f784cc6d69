"""Rows of people, shifts, holidays and chains as the plain values that the norm's clock works with."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker.dispatch import tables
from broker.dispatch.database import Among, look, table_of
from broker.dispatch.norm import NormError
from broker.dispatch.norm.calendar import Duty, Holiday, Shift, ShiftAt, SiteCalendar
from broker.dispatch.norm.repeat import QuietHours
from broker.dispatch.norm.review import REVIEW_S, InLine, Step, in_line

log = logging.getLogger(__name__)

EVERYWHERE = "*"
"""Site of a membership on all sites."""
RANK: Sequence[tables.Role] = (tables.Role.OFFICER, tables.Role.FOREMAN, tables.Role.ADMIN, tables.Role.INSTALLER)
"""Who of a site is asked first where nothing else says it."""


@dataclass(frozen=True)
class Roster:
    """Who answers for a site, and when. members: ids of all who belong to it, those who decide first. left: duties of
    people who may take no cases there any more."""

    calendar: SiteCalendar
    chain: tuple[Step, ...]
    members: tuple[str, ...]
    quiet: QuietHours | None
    repeat_min: tuple[int, ...]
    left: tuple[Duty, ...] = ()

    def of(self, shift: ShiftAt, now: float) -> SiteCalendar:
        """Who was on a shift and on what followed it, where it is over, whoever left since; else who is."""
        if shift.end > now or not self.left:
            return self.calendar
        return replace(self.calendar, duties=(*self.calendar.duties, *self.left))

    def in_line(self, at: float, rule: str) -> InLine:
        """Who is told of a case first (`review.in_line`)."""
        return in_line(self.calendar, self.chain, self.members, at, rule)


def read(session: Session, site_id: str) -> Roster:
    """The roster of a site. Duties and steps count only for people who are active and may take a case there: whoever
    left, or has another role now, would get alarms whose link opens nothing. Only who was on a shift that is over does
    not change any more (`Roster.of`).

    A site whose chain has nobody in it has one step: all its members, when the five minutes are over. Raises
    LookupError for a site that is not known, NormError for rows that make no sense.
    """
    found = read_all(session, [site_id])[site_id]
    if isinstance(found, Roster):
        return found
    raise found


def read_all(session: Session, site_ids: Iterable[str]) -> dict[str, Roster | LookupError | NormError]:
    """Rosters by site, in one round trip; for a site that has none that can be used, why not (see `read`)."""
    ids = sorted(set(site_ids))
    rows = _rows(session, ids)
    found: dict[str, Roster | LookupError | NormError] = {}
    for site_id in ids:
        try:
            found[site_id] = _roster(rows, site_id)
        except (LookupError, NormError) as error:
            found[site_id] = error
    return found


def of_admins(session: Session, site_id: str) -> Roster:
    """For a site that nobody has entered, or whose rows make no sense: its alarms go to administrators of all sites,
    at once and again when the five minutes are over. Quiet hours and repeats are unknown: none."""
    rows = _rows(session, [site_id])
    site = rows.sites.get(site_id)
    admins = _members(rows, EVERYWHERE).get(tables.Role.ADMIN, ())
    return Roster(
        calendar=SiteCalendar(site.time_zone if site else "UTC"),
        chain=(Step(int(REVIEW_S), admins),),
        members=admins,
        quiet=None,
        repeat_min=(),
    )


def calendar_of(session: Session, site: tables.Site) -> SiteCalendar:
    """The calendar of a site. Raises NormError for rows that make no sense."""
    return _calendar(_rows(session, [site.id]), site.id)


def calendars(session: Session, site_ids: Iterable[str]) -> dict[str, SiteCalendar]:
    """Time zones, shifts and holidays of sites, without who is on duty.

    Of a site whose rows make no sense its time zone alone, which is said in the log; of one that nobody entered, UTC.
    """
    ids = sorted(set(site_ids))
    if not ids:
        return {}
    of = {"sites": ids}
    session.flush()
    sites, shifts, holidays = look(session, (_SITES, of), (_SHIFTS, of), (_HOLIDAYS, of))
    rows = _Rows({row.id: row for row in sites}, _by_site(shifts), _by_site(holidays), {}, {}, {})
    found = {}
    for site_id in ids:
        if site_id not in rows.sites:
            found[site_id] = SiteCalendar("UTC")
            continue
        try:
            found[site_id] = _calendar(rows, site_id)
        except NormError as error:
            log.error("site %s: its shifts cannot be used: %s", site_id, error)  # noqa: TRY400 the text says it all
            found[site_id] = SiteCalendar(rows.sites[site_id].time_zone)
    return found


# -- rows --------------------------------------------------------------------------------------------------------------

_SITE, _SHIFT, _DUTY, _HOLIDAY = (table_of(t) for t in (tables.Site, tables.Shift, tables.Duty, tables.Holiday))
_PERSON, _MEMBER, _STEP = (table_of(t) for t in (tables.Person, tables.Membership, tables.ChainStep))

_SITES = select(_SITE.c.id, _SITE.c.time_zone, _SITE.c.quiet_start, _SITE.c.quiet_end, _SITE.c.repeat_min).where(
    Among(_SITE.c.id, "sites")
)
_SHIFTS = select(_SHIFT).where(Among(_SHIFT.c.site, "sites")).order_by(_SHIFT.c.id)
_HOLIDAYS = select(_HOLIDAY).where(Among(_HOLIDAY.c.site, "sites")).order_by(_HOLIDAY.c.day)
_DUTIES = (
    select(_SHIFT.c.site, _DUTY)
    .select_from(_DUTY)
    .join(_SHIFT, _SHIFT.c.id == _DUTY.c.shift)
    .where(Among(_SHIFT.c.site, "sites"))
    .order_by(_DUTY.c.id)
)
_MEMBERS = (
    select(_MEMBER.c.site, _MEMBER.c.role, _PERSON.c.id.label("person"), _PERSON.c.name)
    .join(_PERSON, _PERSON.c.id == _MEMBER.c.person)
    .where(Among(_MEMBER.c.site, "sites_and_all"), _PERSON.c.active)
)
_STEPS = (
    select(_STEP.c.site, _STEP.c.after_s, _STEP.c.person, _STEP.c.role)
    .where(Among(_STEP.c.site, "sites"))
    .order_by(_STEP.c.after_s, _STEP.c.id)
)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Each by site."""

    sites: Mapping[str, Any]
    shifts: Mapping[str, Sequence[Any]]
    holidays: Mapping[str, Sequence[Any]]
    duties: Mapping[str, Sequence[Any]]
    members: Mapping[str, Sequence[Any]]
    """Those of `EVERYWHERE` under it."""
    steps: Mapping[str, Sequence[Any]]


def _rows(session: Session, site_ids: Sequence[str]) -> _Rows:
    session.flush()  # what is asked past the session sees only what the database has
    of = {"sites": list(site_ids)}
    sites, *others = look(
        session,
        (_SITES, of),
        (_SHIFTS, of),
        (_HOLIDAYS, of),
        (_DUTIES, of),
        (_MEMBERS, {"sites_and_all": [*site_ids, EVERYWHERE]}),
        (_STEPS, of),
    )
    return _Rows({row.id: row for row in sites}, *map(_by_site, others))


def _by_site(rows: Sequence[Any]) -> dict[str, list[Any]]:
    found = defaultdict[str, list[Any]](list)
    for row in rows:
        found[row.site].append(row)
    return found


def _roster(rows: _Rows, site_id: str) -> Roster:
    site = rows.sites.get(site_id)
    if site is None:
        raise LookupError(f"site {site_id!r} is not known")
    members = _members(rows, site_id)
    everybody = tuple(dict.fromkeys(person for role in RANK for person in members.get(role, ())))
    chain = _chain(rows, site_id, members)
    acting = _acting(members)
    return Roster(
        calendar=_calendar(rows, site_id),
        chain=chain if any(step.people for step in chain) else (Step(int(REVIEW_S), everybody),),
        members=everybody,
        quiet=_quiet(site),
        repeat_min=tuple(site.repeat_min),
        left=tuple(_duty(d) for d in rows.duties.get(site_id, ()) if d.person not in acting),
    )


def _calendar(rows: _Rows, site_id: str) -> SiteCalendar:
    acting = _acting(_members(rows, site_id))
    return SiteCalendar(
        zone=rows.sites[site_id].time_zone,
        shifts=tuple(
            Shift(s.id, s.name, s.start, s.end, s.weekdays, s.on_holidays) for s in rows.shifts.get(site_id, ())
        ),
        holidays=tuple(
            Holiday(_day(h.day, NormError.HOLIDAY, "holiday"), h.name, h.working)
            for h in rows.holidays.get(site_id, ())
        ),
        duties=tuple(_duty(d) for d in rows.duties.get(site_id, ()) if d.person in acting),
    )


def _duty(row: Any) -> Duty:
    return Duty(
        shift=row.shift,
        person=row.person,
        rule=row.rule,
        position=row.position,
        from_day=None if row.from_day is None else _day(row.from_day, NormError.DUTY, f"duty of {row.person}"),
        to_day=None if row.to_day is None else _day(row.to_day, NormError.DUTY, f"duty of {row.person}"),
    )


def _day(text: str, code: str, where: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise NormError(code, f"{where}: {text!r} is no day; write it as 2026-10-01") from error


def _members(rows: _Rows, site_id: str) -> dict[str, tuple[str, ...]]:
    """Active people of a site, and of all sites, by role, in order of their names."""
    found = defaultdict[str, dict[str, tuple[str, str]]](dict)
    for row in (*rows.members.get(site_id, ()), *rows.members.get(EVERYWHERE, ())):
        found[row.role][row.person] = (row.name, row.person)
    return {role: tuple(sorted(people, key=people.__getitem__)) for role, people in found.items()}


def _acting(members: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    """Those of them who may take a case."""
    return frozenset(person for role in RANK if role.acts for person in members.get(role, ()))


def _chain(rows: _Rows, site_id: str, members: Mapping[str, tuple[str, ...]]) -> tuple[Step, ...]:
    acting = _acting(members)
    steps = [
        (s.after_s, members.get(s.role, ()) if s.role else (s.person,), s.role) for s in rows.steps.get(site_id, ())
    ]
    return tuple(Step(after_s, tuple(p for p in people if p in acting), role) for after_s, people, role in steps)


def _quiet(site: Any) -> QuietHours | None:
    if site.quiet_start is None and site.quiet_end is None:
        return None
    if site.quiet_start is None or site.quiet_end is None:
        raise NormError(
            NormError.QUIET, f"site {site.id}: quiet hours have a start or an end only; set both or neither"
        )
    return QuietHours(site.quiet_start, site.quiet_end)
