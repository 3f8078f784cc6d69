"""Rows of people, shifts, holidays and chains as the plain values that the norm's clock works with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker.dispatch import tables
from broker.dispatch.norm import NormError
from broker.dispatch.norm.calendar import Duty, Holiday, Shift, SiteCalendar
from broker.dispatch.norm.repeat import QuietHours
from broker.dispatch.norm.review import REVIEW_S, InLine, Step, in_line

EVERYWHERE = "*"
"""Site of a membership on all sites."""
RANK = (tables.Role.OFFICER, tables.Role.FOREMAN, tables.Role.ADMIN, tables.Role.INSTALLER)
"""Who of a site is asked first where nothing else says it."""


@dataclass(frozen=True)
class Roster:
    """Who answers for a site, and when. members: ids of all who belong to it, those who decide first."""

    calendar: SiteCalendar
    chain: tuple[Step, ...]
    members: tuple[str, ...]
    quiet: QuietHours | None
    repeat_min: tuple[int, ...]

    def in_line(self, at: float, rule: str) -> InLine:
        """Who is told of a case first (`review.in_line`)."""
        return in_line(self.calendar, self.chain, self.members, at, rule)


def read(session: Session, site_id: str) -> Roster:
    """The roster of a site; people who are not active any more are left out.

    A site without a chain has one step: all its members, when the five minutes are over. Raises LookupError for a site
    that is not known, NormError for rows that make no sense.
    """
    site = session.get(tables.Site, site_id)
    if site is None:
        raise LookupError(f"site {site_id!r} is not known")
    members = _members(session, site_id)
    everybody = tuple(dict.fromkeys(person for role in RANK for person in members.get(role, ())))
    return Roster(
        calendar=calendar_of(session, site),
        chain=_chain(session, site_id, members) or (Step(int(REVIEW_S), everybody),),
        members=everybody,
        quiet=_quiet(site),
        repeat_min=tuple(site.repeat_min),
    )


def of_admins(session: Session, site_id: str) -> Roster:
    """For a site that nobody has entered, or whose rows make no sense: its alarms go to administrators of all sites,
    at once and again when the five minutes are over. Quiet hours and repeats are unknown: none."""
    site = session.get(tables.Site, site_id)
    admins = _members(session, EVERYWHERE).get(tables.Role.ADMIN, ())
    return Roster(
        calendar=SiteCalendar(site.time_zone if site else "UTC"),
        chain=(Step(int(REVIEW_S), admins),),
        members=admins,
        quiet=None,
        repeat_min=(),
    )


def calendar_of(session: Session, site: tables.Site) -> SiteCalendar:
    """The calendar of a site."""
    shifts = session.scalars(select(tables.Shift).where(tables.Shift.site == site.id))
    holidays = session.scalars(select(tables.Holiday).where(tables.Holiday.site == site.id))
    duties = session.scalars(
        select(tables.Duty)
        .join(tables.Shift, tables.Shift.id == tables.Duty.shift)
        .join(tables.Person, tables.Person.id == tables.Duty.person)
        .where(tables.Shift.site == site.id, tables.Person.active)
    )
    return SiteCalendar(
        zone=site.time_zone,
        shifts=tuple(Shift(s.id, s.name, s.start, s.end, s.weekdays, s.on_holidays) for s in shifts),
        holidays=tuple(Holiday(_day(h.day, NormError.HOLIDAY, "holiday"), h.name, h.working) for h in holidays),
        duties=tuple(
            Duty(
                shift=d.shift,
                person=d.person,
                rule=d.rule,
                position=d.position,
                from_day=None if d.from_day is None else _day(d.from_day, NormError.DUTY, f"duty of {d.person}"),
                to_day=None if d.to_day is None else _day(d.to_day, NormError.DUTY, f"duty of {d.person}"),
            )
            for d in duties
        ),
    )


def _day(text: str, code: str, where: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise NormError(code, f"{where}: {text!r} is no day; write it as 2026-10-01") from error


def _members(session: Session, site_id: str) -> dict[str, tuple[str, ...]]:
    """Active people of a site by role, in order of their names."""
    rows = session.execute(
        select(tables.Membership.role, tables.Person.id)
        .join(tables.Person, tables.Person.id == tables.Membership.person)
        .where(tables.Membership.site.in_([site_id, EVERYWHERE]), tables.Person.active)
        .order_by(tables.Person.name, tables.Person.id)
    )
    found: dict[str, dict[str, None]] = {}
    for role, person in rows:
        found.setdefault(role, {})[person] = None
    return {role: tuple(people) for role, people in found.items()}


def _chain(session: Session, site_id: str, members: dict[str, tuple[str, ...]]) -> tuple[Step, ...]:
    rows = session.execute(
        select(tables.ChainStep, tables.Person.active)
        .outerjoin(tables.Person, tables.Person.id == tables.ChainStep.person)
        .where(tables.ChainStep.site == site_id)
        .order_by(tables.ChainStep.after_s, tables.ChainStep.id)
    )
    return tuple(
        Step(step.after_s, members.get(step.role, ()), step.role)
        if step.role
        else Step(step.after_s, (step.person,) if active and step.person else ())
        for step, active in rows
    )


def _quiet(site: tables.Site) -> QuietHours | None:
    if site.quiet_start is None and site.quiet_end is None:
        return None
    if site.quiet_start is None or site.quiet_end is None:
        raise NormError(
            NormError.QUIET, f"site {site.id}: quiet hours have a start or an end only; set both or neither"
        )
    return QuietHours(site.quiet_start, site.quiet_end)
