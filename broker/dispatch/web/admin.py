"""The administrator's pages: sites with their members, shifts, duties, holidays and chain; people with their contacts.

People, and whoever may do something on all sites, are the business of administrators of all sites; an administrator
of a site manages that site. A new row brings its id in the form, so that a form sent twice makes one row. After each
change of a site the whole roster is read as the norm's clock reads it; what would make no sense is not kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any
from zoneinfo import available_timezones

from fastapi import FastAPI, Form, HTTPException, Query, Request, Response
from fastapi import Path as PathParam
from fastapi.responses import RedirectResponse
from sqlalchemy import delete, func, select, true
from sqlalchemy.orm import Session as Transaction
from uuid6 import uuid7

from broker.dispatch import roster
from broker.dispatch.database import reading, transaction
from broker.dispatch.norm import NormError
from broker.dispatch.norm.country import public_holidays
from broker.dispatch.notify.channels import standard
from broker.dispatch.tables import (
    Audit,
    ChainStep,
    Contact,
    Duty,
    Holiday,
    Membership,
    Person,
    Role,
    Session,
    Shift,
    Site,
)
from broker.dispatch.text import LANGUAGES
from broker.dispatch.web import audit
from broker.dispatch.web.auth import LEAST_PASSWORD, LONGEST_PASSWORD, PasswordError
from broker.dispatch.web.pages import PER_PAGE, Changing, FormError, Ident, Known, Web, cleaned
from broker.dispatch.web.rights import EVERYWHERE, Right, Visitor

CHANNELS = tuple(standard())
LONGEST_NAME, LONGEST_ADDRESS = 80, 2000
_ZONES = sorted(zone for zone in available_timezones() if "/" in zone and not zone.startswith(("Etc/", "posix/")))
_IDENT = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_LOGIN = re.compile(r"[a-z0-9][a-z0-9._@-]{1,63}")
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_RULE = re.compile(r"[a-z0-9_]{1,64}")
_UUID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"

RowId = Annotated[str, Form(pattern=_UUID)]
Key = Annotated[str, Form(max_length=64, pattern=r"^[^\x00]*$")]
PersonId = Annotated[str, PathParam(pattern=r"^[0-9A-Za-z][0-9A-Za-z-]{0,63}$")]
Line = Annotated[str, Form(max_length=400)]


def minute_of(text: str) -> int:
    """`HH:MM` as minutes after midnight. Raises FormError."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise FormError("web.error.time")
    return int(match[1]) * 60 + int(match[2])


def _quiet(text: str) -> int | None:
    return minute_of(text) if text else None


def clock_of(minute: int | None) -> str:
    return "" if minute is None else f"{minute // 60:02}:{minute % 60:02}"


def number(text: str, least: int, most: int) -> int:
    """Raises FormError."""
    if not re.fullmatch(r"\d{1,9}", text.strip()) or not least <= int(text) <= most:
        raise FormError("web.error.number", least=least, most=most)
    return int(text)


def day_of(text: str) -> str:
    """An ISO date as it is. Raises FormError."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise FormError("web.error.day") from error


def one_of(text: str, known: object, key: str = "web.error.choice") -> str:
    if text not in known:  # type: ignore[operator]
        raise FormError(key)
    return text


def add(app: FastAPI, web: Web) -> None:
    parts = (
        _add_sites,
        _add_site_rows,
        _add_days,
        _add_removal,
        _add_people,
        _add_contacts,
        _add_roles,
        _add_audit,
    )
    for part in parts:
        part(app, web)


class _Desk:
    """What the routes of a site share: rights, the change itself, what is written down, the check of the whole."""

    def __init__(self, web: Web) -> None:
        self.web = web

    def change(
        self, visitor: Visitor, site: str, action: str, subject: str, do: Callable[[Transaction], None], **detail: Any
    ) -> Response:
        """Raises HTTPException, FormError."""
        self.allow(visitor, site)
        with transaction(self.web.engine) as db:
            if db.get(Site, site) is None:
                raise HTTPException(404, "no such site")
            do(db)
            db.flush()
            try:
                roster.read(db, site)
            except NormError as error:
                raise FormError("web.error.norm", detail=error.detail) from error
            audit.note(db, self.web.clock.now(), visitor.id, action, subject, site=site, **detail)
        return RedirectResponse(f"/admin/sites/{site}", 303)

    def allow(self, visitor: Visitor, site: str) -> None:
        if not visitor.may(Right.MANAGE, site):
            raise HTTPException(404, "no such site")


def _everywhere(visitor: Visitor) -> None:
    if not visitor.may(Right.MANAGE, EVERYWHERE):
        raise HTTPException(403, "for administrators of all sites")


def _add_sites(app: FastAPI, web: Web) -> None:
    desk = _Desk(web)

    @app.get("/admin", include_in_schema=False)
    def overview(request: Request, visitor: Known) -> Response:
        if not visitor.anywhere(Right.MANAGE):
            raise HTTPException(403, "for administrators")
        with reading(web.engine) as db:
            sites = web.sites(db, visitor, Right.MANAGE)
            everywhere = visitor.may(Right.MANAGE, EVERYWHERE)
            people = db.scalars(select(Person).order_by(Person.name, Person.login)).all() if everywhere else []
        return web.render(
            request, "admin.html", "admin", visitor, sites=sites, people=people, everywhere=everywhere,
            zones=_ZONES, langs=LANGUAGES, new_id=str(uuid7()),
        )  # fmt: skip

    @app.post("/admin/sites", include_in_schema=False)
    def add_site(
        visitor: Changing,
        id: Key,  # noqa: A002 the field's name
        name: Line,
        time_zone: Key,
        language: Key,
    ) -> Response:
        _everywhere(visitor)
        if not _IDENT.fullmatch(id):
            raise FormError("web.error.ident")
        name = cleaned(name, LONGEST_NAME, lines=False)
        one_of(time_zone, _ZONES)
        one_of(language, LANGUAGES)
        with transaction(web.engine) as db:
            if db.get(Site, id) is not None:
                raise FormError("web.error.taken")
            db.add(Site(id=id, name=name, time_zone=time_zone, language=language))
            audit.note(db, web.clock.now(), visitor.id, "site_added", id, site=id, name=name)
        return RedirectResponse(f"/admin/sites/{id}", 303)

    @app.get("/admin/sites/{site}", include_in_schema=False)
    def site_page(request: Request, visitor: Known, site: Ident) -> Response:
        desk.allow(visitor, site)
        with reading(web.engine) as db:
            row = db.get(Site, site)
            if row is None:
                raise HTTPException(404, "no such site")
            names = dict(db.execute(select(Person.id, Person.name).order_by(Person.name)).all())
            members = db.scalars(select(Membership).where(Membership.site.in_([site, EVERYWHERE]))).all()
            shifts = db.scalars(select(Shift).where(Shift.site == site).order_by(Shift.start, Shift.name)).all()
            duties = db.scalars(
                select(Duty)
                .join(Shift, Shift.id == Duty.shift)
                .where(Shift.site == site)
                .order_by(Shift.start, Duty.position, Duty.id)
            ).all()
            holidays = db.scalars(select(Holiday).where(Holiday.site == site).order_by(Holiday.day.desc())).all()
            chain = db.scalars(select(ChainStep).where(ChainStep.site == site).order_by(ChainStep.after_s)).all()
        t = web.text(request, visitor)
        return web.render(
            request,
            "site.html",
            "admin",
            visitor,
            t=t,
            site=row,
            names=names,
            members=sorted(members, key=lambda m: (names.get(m.person, ""), m.role)),
            shifts=[(s, clock_of(s.start), clock_of(s.end), _weekdays(s.weekdays)) for s in shifts],
            shift_names={s.id: s.name for s in shifts},
            duties=duties,
            holidays=holidays,
            chain=chain,
            quiet=(clock_of(row.quiet_start), clock_of(row.quiet_end)),
            roles=list(Role),
            zones=_ZONES,
            langs=LANGUAGES,
            rules=sorted({key.split(".")[1] for key in t.texts if key.startswith("rule.")} - {"other"}),
            new_id=str(uuid7()),
            year=date.fromtimestamp(web.clock.now()).year,  # noqa: DTZ012 only what stands in the form at first
        )

    @app.post("/admin/sites/{site}", include_in_schema=False)
    def change_site(
        *, visitor: Changing, site: Ident, name: Line, time_zone: Key, language: Key, retention_days: Key,
        storm_per_10min: Key, repeat_min: Line = "", quiet_start: Key = "", quiet_end: Key = "", hold: Key = "",
    ) -> Response:  # fmt: skip
        values = {
            "name": cleaned(name, LONGEST_NAME, lines=False),
            "time_zone": one_of(time_zone, _ZONES),
            "language": one_of(language, LANGUAGES),
            "retention_days": number(retention_days, 1, 3650),
            "storm_per_10min": number(storm_per_10min, 1, 1000),
            "repeat_min": sorted({number(m, 1, 10_080) for m in re.split(r"[\s,;，、]+", repeat_min.strip()) if m}),
            "quiet_start": _quiet(quiet_start),
            "quiet_end": _quiet(quiet_end),
            "hold": hold == "1",
        }

        def do(db: Transaction) -> None:
            row = db.get_one(Site, site)
            for field, value in values.items():
                setattr(row, field, value)

        return desk.change(visitor, site, "site_changed", site, do, **values)


def _weekdays(bits: int) -> list[int]:
    return [day for day in range(7) if bits >> day & 1]


def _add_site_rows(app: FastAPI, web: Web) -> None:
    desk = _Desk(web)

    @app.post("/admin/sites/{site}/members", include_in_schema=False)
    def add_member(visitor: Changing, site: Ident, login: Key, role: Key) -> Response:
        one_of(role, list(Role))

        def do(db: Transaction) -> None:
            person = db.scalar(select(Person.id).where(Person.login == login.strip().lower()))
            if person is None:
                raise FormError("web.error.login")
            db.merge(Membership(person=person, site=site, role=role))

        return desk.change(visitor, site, "member_added", login, do, role=role)

    @app.post("/admin/sites/{site}/members/remove", include_in_schema=False)
    def remove_member(visitor: Changing, site: Ident, person: Key, role: Key) -> Response:
        def do(db: Transaction) -> None:
            mine = (Membership.person == person, Membership.site == site, Membership.role == role)
            db.execute(delete(Membership).where(*mine))

        return desk.change(visitor, site, "member_removed", person, do, role=role)

    @app.post("/admin/sites/{site}/shifts", include_in_schema=False)
    def add_shift(
        *, visitor: Changing, site: Ident, id: RowId, name: Line, start: Key, end: Key,  # noqa: A002 the field's name
        weekdays: Annotated[list[str], Form()] = [], on_holidays: Key = "",  # noqa: B006 FastAPI copies it
    ) -> Response:  # fmt: skip
        bits = sum(1 << day for day in {number(d, 0, 6) for d in weekdays[:14]})
        row = Shift(
            id=id, site=site, name=cleaned(name, LONGEST_NAME, lines=False), start=minute_of(start),
            end=minute_of(end), weekdays=bits, on_holidays=on_holidays == "1",
        )  # fmt: skip
        return desk.change(
            visitor, site, "shift_added", row.name, lambda db: _once(db, row), start=start, end=end, weekdays=bits
        )

    @app.post("/admin/sites/{site}/duties", include_in_schema=False)
    def add_duty(
        *, visitor: Changing, site: Ident, id: RowId, shift: Key, person: Key, rule: Key = "",  # noqa: A002
        position: Key = "0", from_day: Key = "", to_day: Key = "",
    ) -> Response:  # fmt: skip
        if rule and not _RULE.fullmatch(rule):
            raise FormError("web.error.choice")
        row = Duty(
            id=id, shift=shift, person=person, rule=rule or None, position=number(position, 0, 99),
            from_day=day_of(from_day) if from_day else None, to_day=day_of(to_day) if to_day else None,
        )  # fmt: skip

        def do(db: Transaction) -> None:
            of_site = db.scalar(select(Shift.site).where(Shift.id == shift))
            if of_site != site:
                raise FormError("web.error.choice")
            _member(db, person, site)
            _once(db, row)

        return desk.change(visitor, site, "duty_added", person, do, shift=shift, rule=rule, from_day=from_day,
                           to_day=to_day)  # fmt: skip

    @app.post("/admin/sites/{site}/chain", include_in_schema=False)
    def add_step(
        *, visitor: Changing, site: Ident, id: RowId, after_min: Key, person: Key = "", role: Key = "",  # noqa: A002
    ) -> Response:  # fmt: skip
        if bool(person) == bool(role):
            raise FormError("web.error.person_or_role")
        if role:
            one_of(role, list(Role))
        row = ChainStep(
            id=id, site=site, after_s=number(after_min, 5, 10_080) * 60, person=person or None, role=role or None
        )

        def do(db: Transaction) -> None:
            if person:
                _member(db, person, site)
            _once(db, row)

        return desk.change(visitor, site, "step_added", person or role, do, after_s=row.after_s)


def _add_days(app: FastAPI, web: Web) -> None:
    desk = _Desk(web)

    @app.post("/admin/sites/{site}/holidays", include_in_schema=False)
    def add_holiday(visitor: Changing, site: Ident, day: Key, name: Line = "", working: Key = "") -> Response:
        row = Holiday(
            site=site, day=day_of(day), name=cleaned(name, LONGEST_NAME, lines=False) if name.strip() else "",
            working=working == "1",
        )  # fmt: skip
        return desk.change(visitor, site, "holiday_added", row.day, lambda db: _merge(db, row), working=row.working)

    @app.post("/admin/sites/{site}/holidays/fill", include_in_schema=False)
    def fill_holidays(visitor: Changing, site: Ident, country: Key, year: Key) -> Response:
        """Those of a country; what is there for a day already stays."""
        chosen = number(year, 2000, 2100)
        country = country.strip().upper()

        def do(db: Transaction) -> None:
            try:
                found = public_holidays(country, chosen, db.get_one(Site, site).language)
            except NormError as error:
                raise FormError("web.error.norm", detail=error.detail) from error
            there = set(db.scalars(select(Holiday.day).where(Holiday.site == site)))
            for h in found:
                if h.day.isoformat() not in there:
                    db.add(Holiday(site=site, day=h.day.isoformat(), name=h.name[:LONGEST_NAME], working=h.working))

        return desk.change(visitor, site, "holidays_filled", country, do, year=chosen)

    @app.post("/admin/sites/{site}/holidays/remove", include_in_schema=False)
    def remove_holiday(visitor: Changing, site: Ident, day: Key) -> Response:
        def do(db: Transaction) -> None:
            db.execute(delete(Holiday).where(Holiday.site == site, Holiday.day == day))

        return desk.change(visitor, site, "holiday_removed", day, do)


def _add_removal(app: FastAPI, web: Web) -> None:
    desk = _Desk(web)
    of_site = {
        "shifts": lambda site, key: delete(Shift).where(Shift.id == key, Shift.site == site),
        "chain": lambda site, key: delete(ChainStep).where(ChainStep.id == key, ChainStep.site == site),
        "duties": lambda site, key: delete(Duty).where(
            Duty.id == key, Duty.shift.in_(select(Shift.id).where(Shift.site == site))
        ),
    }

    @app.post("/admin/sites/{site}/{what}/remove", include_in_schema=False)
    def remove(visitor: Changing, site: Ident, what: str, id: Key) -> Response:  # noqa: A002 the field's name
        if what not in of_site:
            raise HTTPException(404, "no such thing")

        def do(db: Transaction) -> None:
            db.execute(of_site[what](site, id))

        return desk.change(visitor, site, f"{what}_removed", id, do)


def _once(db: Transaction, row: Shift | Duty | ChainStep) -> None:
    """Add a row, unless this very form has done so already. An id that exists stays what it is, whoever's it is."""
    if db.get(type(row), row.id) is None:
        db.add(row)


def _merge(db: Transaction, row: Holiday) -> None:
    db.merge(row)


def _member(db: Transaction, person: str, site: str) -> None:
    """Raises FormError for somebody who does not belong to the site."""
    of_site = (Membership.person == person, Membership.site.in_([site, EVERYWHERE]))
    if db.scalar(select(func.count()).select_from(Membership).where(*of_site)) == 0:
        raise FormError("web.error.member")


class _People:
    """What the routes of a person share."""

    def __init__(self, web: Web) -> None:
        self.web = web

    def change(
        self, visitor: Visitor, person: str, action: str, do: Callable[[Transaction, Person], None], **detail: Any
    ) -> Response:
        _everywhere(visitor)
        with transaction(self.web.engine) as db:
            row = db.get(Person, person)
            if row is None:
                raise HTTPException(404, "nobody of this id")
            do(db, row)
            db.flush()
            _admin_left(db)
            audit.note(db, self.web.clock.now(), visitor.id, action, row.login, **detail)
        return RedirectResponse(f"/admin/people/{person}", 303)


def _add_people(app: FastAPI, web: Web) -> None:
    people = _People(web)

    @app.post("/admin/people", include_in_schema=False)
    def add_person(visitor: Changing, id: RowId, login: Key, name: Line, language: Key) -> Response:  # noqa: A002
        _everywhere(visitor)
        login = login.strip().lower()
        if not _LOGIN.fullmatch(login):
            raise FormError("web.error.login_form")
        one_of(language, LANGUAGES)
        name = cleaned(name, LONGEST_NAME, lines=False)
        with transaction(web.engine) as db:
            if db.get(Person, id) is None:
                if db.scalar(select(Person.id).where(Person.login == login)) is not None:
                    raise FormError("web.error.taken")
                now = web.clock.now()
                db.add(Person(id=id, login=login, name=name, language=language, password=None, created_at=now))
                audit.note(db, now, visitor.id, "person_added", login, name=name)
        return RedirectResponse(f"/admin/people/{id}", 303)

    @app.get("/admin/people/{person}", include_in_schema=False)
    def person_page(request: Request, visitor: Known, person: PersonId) -> Response:
        _everywhere(visitor)
        with reading(web.engine) as db:
            row = db.get(Person, person)
            if row is None:
                raise HTTPException(404, "nobody of this id")
            # Without the addresses: they are secrets, and nobody needs to read them.
            contacts = db.execute(
                select(Contact.id, Contact.channel, Contact.position, Contact.enabled)
                .where(Contact.person == person)
                .order_by(Contact.position, Contact.id)
            ).all()
            members = db.scalars(select(Membership).where(Membership.person == person)).all()
            sites = {s.id: s.name for s in db.scalars(select(Site).order_by(Site.name))}
        return web.render(
            request, "person.html", "admin", visitor, person=row, contacts=contacts, members=members, sites=sites,
            roles=list(Role), channels=CHANNELS, langs=LANGUAGES, new_id=str(uuid7()), least=LEAST_PASSWORD,
            longest=LONGEST_PASSWORD,
        )  # fmt: skip

    @app.post("/admin/people/{person}", include_in_schema=False)
    def change_person(visitor: Changing, person: PersonId, name: Line, language: Key, active: Key = "") -> Response:
        name = cleaned(name, LONGEST_NAME, lines=False)
        one_of(language, LANGUAGES)

        def do(db: Transaction, row: Person) -> None:
            row.name, row.language, row.active = name, language, active == "1"
            if not row.active:
                web.sessions.close_all(db, person)

        return people.change(visitor, person, "person_changed", do, name=name, language=language, active=active == "1")

    @app.post("/admin/people/{person}/password", include_in_schema=False)
    def set_password(visitor: Changing, person: PersonId, password: Annotated[str, Form(max_length=1000)]) -> Response:
        try:
            hashed = web.passwords.hash(password)
        except PasswordError as error:
            raise FormError("web.error.password", least=LEAST_PASSWORD, most=LONGEST_PASSWORD) from error

        def do(db: Transaction, row: Person) -> None:
            row.password = hashed
            mine = Session.id != visitor.key if person == visitor.id else true()
            db.execute(delete(Session).where(Session.person == person, mine))

        return people.change(visitor, person, "password_set", do)


def _add_contacts(app: FastAPI, web: Web) -> None:
    people = _People(web)

    @app.post("/admin/people/{person}/contacts", include_in_schema=False)
    def add_contact(
        *, visitor: Changing, person: PersonId, id: RowId, channel: Key,  # noqa: A002 the field's name
        address: Annotated[str, Form(max_length=LONGEST_ADDRESS)], position: Key = "0",
    ) -> Response:  # fmt: skip
        one_of(channel, CHANNELS)
        address = cleaned(address, LONGEST_ADDRESS, lines=False)
        place = number(position, 0, 99)

        def do(db: Transaction, _: Person) -> None:
            if db.get(Contact, id) is None:
                db.add(Contact(id=id, person=person, channel=channel, address=address, position=place))

        return people.change(visitor, person, "contact_added", do, channel=channel, position=place)

    @app.post("/admin/people/{person}/contacts/switch", include_in_schema=False)
    def switch_contact(visitor: Changing, person: PersonId, id: Key, on: Key = "") -> Response:  # noqa: A002
        def do(db: Transaction, _: Person) -> None:
            contact = db.get(Contact, id)
            if contact is not None and contact.person == person:
                contact.enabled = on == "1"

        return people.change(visitor, person, "contact_switched", do, contact=id, on=on == "1")

    @app.post("/admin/people/{person}/contacts/remove", include_in_schema=False)
    def remove_contact(visitor: Changing, person: PersonId, id: Key) -> Response:  # noqa: A002 the field's name
        def do(db: Transaction, _: Person) -> None:
            db.execute(delete(Contact).where(Contact.id == id, Contact.person == person))

        return people.change(visitor, person, "contact_removed", do, contact=id)


def _add_roles(app: FastAPI, web: Web) -> None:
    people = _People(web)

    @app.post("/admin/people/{person}/roles", include_in_schema=False)
    def add_role(visitor: Changing, person: PersonId, site: Key, role: Key) -> Response:
        one_of(role, list(Role))

        def do(db: Transaction, _: Person) -> None:
            if site != EVERYWHERE and db.get(Site, site) is None:
                raise FormError("web.error.choice")
            db.merge(Membership(person=person, site=site, role=role))

        return people.change(visitor, person, "role_added", do, of_site=site, role=role)

    @app.post("/admin/people/{person}/roles/remove", include_in_schema=False)
    def remove_role(visitor: Changing, person: PersonId, site: Key, role: Key) -> Response:
        def do(db: Transaction, _: Person) -> None:
            mine = (Membership.person == person, Membership.site == site, Membership.role == role)
            db.execute(delete(Membership).where(*mine))

        return people.change(visitor, person, "role_removed", do, of_site=site, role=role)


def _add_audit(app: FastAPI, web: Web) -> None:
    @app.get("/admin/audit", include_in_schema=False)
    def written_down(request: Request, visitor: Known, page: Annotated[int, Query(ge=1, le=100_000)] = 1) -> Response:
        if not visitor.anywhere(Right.MANAGE):
            raise HTTPException(403, "for administrators")
        t = web.text(request, visitor)
        with reading(web.engine) as db:
            managed = [site.id for site in web.sites(db, visitor, Right.MANAGE)]
            mine = true() if visitor.may(Right.MANAGE, EVERYWHERE) else Audit.site.in_(managed)
            rows = db.scalars(
                select(Audit).where(mine).order_by(Audit.at.desc(), Audit.id.desc()).limit(PER_PAGE + 1)
                .offset((page - 1) * PER_PAGE)
            ).all()  # fmt: skip
            words = web.words(db, t)
        lines = [
            (words.stamp(row.at, row.site), words.person(row.actor), row.action, row.subject, row.site, row.detail)
            for row in rows[:PER_PAGE]
        ]
        return web.render(
            request, "audit.html", "admin", visitor, t=t, lines=lines, page=page, more=len(rows) > PER_PAGE
        )


def _admin_left(db: Transaction) -> None:
    """Raises FormError where nobody would be left to let anybody in."""
    left = db.scalar(
        select(func.count())
        .select_from(Membership)
        .join(Person, Person.id == Membership.person)
        .where(
            Membership.site == EVERYWHERE,
            Membership.role == Role.ADMIN.value,
            Person.active,
            Person.password.is_not(None),
        )
    )
    if not left:
        raise FormError("web.error.last_admin")
