"""The first page of administrators, and sites with all that hangs on them."""

from __future__ import annotations

import re
from datetime import date

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import select
from sqlalchemy.orm import Session as Transaction
from uuid6 import uuid7

from broker.dispatch.database import reading, transaction
from broker.dispatch.tables import ChainStep, Duty, Holiday, Membership, Person, Role, Shift, Site
from broker.dispatch.text import LANGUAGES
from broker.dispatch.web import audit
from broker.dispatch.web.admin.desks import AfterChange, SiteDesk, everywhere, unmanned
from broker.dispatch.web.admin.fields import LONGEST_NAME, ZONES, Key, Line, clock_of, minute_of, number, one_of
from broker.dispatch.web.pages import Changing, FormError, Ident, Known, Web, cleaned
from broker.dispatch.web.rights import EVERYWHERE, Right

_IDENT = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


def add(app: FastAPI, web: Web) -> None:
    desk = SiteDesk(web)

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
            zones=ZONES, langs=LANGUAGES, new_id=str(uuid7()),
        )  # fmt: skip

    @app.post("/admin/sites", include_in_schema=False)
    def add_site(
        visitor: Changing,
        id: Key,  # noqa: A002 the field's name
        name: Line,
        time_zone: Key,
        language: Key,
    ) -> Response:
        everywhere(visitor)
        if not _IDENT.fullmatch(id):
            raise FormError("web.error.ident")
        name = cleaned(name, LONGEST_NAME, lines=False)
        one_of(time_zone, ZONES)
        one_of(language, LANGUAGES)
        with transaction(web.engine) as db:
            if db.get(Site, id) is not None:
                raise FormError("web.error.taken")
            db.add(Site(id=id, name=name, time_zone=time_zone, language=language))
            audit.note(db, web.clock.now(), visitor.id, "site_added", id, site=id, name=name)
        return RedirectResponse(f"/admin/sites/{id}", 303)

    @app.get("/admin/sites/{site}", include_in_schema=False)
    def site_page(request: Request, visitor: Known, site: Ident, told: AfterChange) -> Response:
        desk.allow(visitor, site)
        with reading(web.engine) as db:
            row = db.get(Site, site)
            if row is None:
                raise HTTPException(404, "no such site")
            names = dict(db.execute(select(Person.id, Person.name).order_by(Person.name)).all())
            active = set(db.scalars(select(Person.id).where(Person.active)))
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
            empty = unmanned(db, site, web.clock.now())
        acting = {m.person for m in members if m.person in active and Role(m.role).acts}
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
            acting=acting,
            acting_roles=[role for role in Role if role.acts],
            staffed={m.role for m in members if m.person in acting and Role(m.role).acts},
            told=told,
            empty=empty,
            zones=ZONES,
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
            "time_zone": one_of(time_zone, ZONES),
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

        return desk.change(visitor, site, "site_changed", site, do, values)


def _quiet(text: str) -> int | None:
    return minute_of(text) if text else None


def _weekdays(bits: int) -> list[int]:
    return [day for day in range(7) if bits >> day & 1]
