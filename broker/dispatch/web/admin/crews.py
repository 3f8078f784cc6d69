"""Who belongs to a site and when: members, shifts, duties, the escalation chain."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, cast

from fastapi import FastAPI, Form, Response
from sqlalchemy import Delete, delete, select
from sqlalchemy.orm import Session as Transaction

from broker.dispatch.tables import ChainStep, Duty, Membership, Person, Role, Shift
from broker.dispatch.web.admin.desks import SiteDesk
from broker.dispatch.web.admin.fields import LONGEST_NAME, Key, Line, RowId, day_of, minute_of, number, one_of
from broker.dispatch.web.pages import Changing, FormError, Ident, Web, cleaned
from broker.dispatch.web.rights import EVERYWHERE, Visitor

Row = Shift | Duty | ChainStep
_RULE = re.compile(r"[a-z0-9_]{1,64}")


def add(app: FastAPI, web: Web) -> None:
    _add_rows(app, web)
    _add_removal(app, web)


def _add_rows(app: FastAPI, web: Web) -> None:
    desk = SiteDesk(web)

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

        return desk.change(visitor, site, "member_removed", person, do, leaves=person, role=role)

    @app.post("/admin/sites/{site}/shifts", include_in_schema=False)
    def add_shift(
        *, visitor: Changing, site: Ident, id: RowId, name: Line, start: Key, end: Key,  # noqa: A002 the field's name
        weekdays: Annotated[list[str], Form()] = [], on_holidays: Key = "", change: Key = "",  # noqa: B006 it is copied
    ) -> Response:  # fmt: skip
        bits = sum(1 << day for day in {number(d, 0, 6) for d in weekdays[:14]})
        row = Shift(
            id=id, site=site, name=cleaned(name, LONGEST_NAME, lines=False), start=minute_of(start),
            end=minute_of(end), weekdays=bits, on_holidays=on_holidays == "1",
        )  # fmt: skip
        return _kept(desk, visitor, row, site, row.name, "shift", change)

    @app.post("/admin/sites/{site}/duties", include_in_schema=False)
    def add_duty(
        *, visitor: Changing, site: Ident, id: RowId, shift: Key, person: Key, rule: Key = "",  # noqa: A002
        position: Key = "0", from_day: Key = "", to_day: Key = "", change: Key = "",
    ) -> Response:  # fmt: skip
        if rule and not _RULE.fullmatch(rule):
            raise FormError("web.error.choice")
        row = Duty(
            id=id, shift=shift, person=person, rule=rule or None, position=number(position, 0, 99),
            from_day=day_of(from_day) if from_day else None, to_day=day_of(to_day) if to_day else None,
        )  # fmt: skip

        def check(db: Transaction) -> None:
            of_site = db.scalar(select(Shift.site).where(Shift.id == shift))
            if of_site != site:
                raise FormError("web.error.choice")
            _acting(db, person, site)

        return _kept(desk, visitor, row, site, person, "duty", change, check)

    @app.post("/admin/sites/{site}/chain", include_in_schema=False)
    def add_step(
        *, visitor: Changing, site: Ident, id: RowId, after_min: Key, person: Key = "", role: Key = "",  # noqa: A002
        change: Key = "",
    ) -> Response:  # fmt: skip
        if bool(person) == bool(role):
            raise FormError("web.error.person_or_role")
        if role:
            one_of(role, [r for r in Role if r.acts], "web.error.acting_role")
        row = ChainStep(
            id=id, site=site, after_s=number(after_min, 5, 10_080) * 60, person=person or None, role=role or None
        )

        def check(db: Transaction) -> None:
            if person:
                _acting(db, person, site)

        return _kept(desk, visitor, row, site, person or role, "step", change, check)


def _add_removal(app: FastAPI, web: Web) -> None:
    desk = SiteDesk(web)

    def add_route(what: str, gone: Callable[[str, str], Delete]) -> None:
        @app.post(f"/admin/sites/{{site}}/{what}/remove", include_in_schema=False)
        def remove(visitor: Changing, site: Ident, id: Key) -> Response:  # noqa: A002 the field's name
            def do(db: Transaction) -> None:
                db.execute(gone(site, id))

            return desk.change(visitor, site, f"{what}_removed", id, do)

    add_route("shifts", lambda site, key: delete(Shift).where(Shift.id == key, Shift.site == site))
    add_route("chain", lambda site, key: delete(ChainStep).where(ChainStep.id == key, ChainStep.site == site))
    of_site = select(Shift.id)
    add_route(
        "duties",
        lambda site, key: delete(Duty).where(Duty.id == key, Duty.shift.in_(of_site.where(Shift.site == site))),
    )


def _kept(  # noqa: PLR0917
    desk: SiteDesk,
    visitor: Visitor,
    row: Row,
    site: str,
    subject: str,
    what: str,
    change: str,
    check: Callable[[Transaction], None] = lambda _: None,
) -> Response:
    """Add a row, unless this very form has done so already; or, with `change`, put it in the place of its id.

    What is written down names what it is now, and what it was.
    """
    columns = [column.key for column in type(row).__table__.columns if column.key not in {"id", "site"}]
    now = {name: getattr(row, name) for name in columns}
    detail: dict[str, Any] = dict(now)

    def do(db: Transaction) -> None:
        check(db)
        there = cast("Row | None", db.get(type(row), row.id))
        if change != "1":
            if there is None:
                db.add(row)
            return
        if there is None or _site_of(db, there) != site:
            raise FormError("web.error.gone", status=409)
        before = {f"{name}_before": old for name in columns if (old := getattr(there, name)) != now[name]}
        detail.update(before)
        for name, value in now.items():
            setattr(there, name, value)

    return desk.change(visitor, site, f"{what}_{'changed' if change == '1' else 'added'}", subject, do, detail)


def _site_of(db: Transaction, row: Row) -> str | None:
    return db.scalar(select(Shift.site).where(Shift.id == row.shift)) if isinstance(row, Duty) else row.site


def _acting(db: Transaction, person: str, site: str) -> None:
    """Raises FormError for somebody who does not belong to the site, or may take none of its cases."""
    of_site = (Membership.person == person, Membership.site.in_([site, EVERYWHERE]), Person.active)
    roles = db.scalars(select(Membership.role).join(Person, Person.id == Membership.person).where(*of_site)).all()
    if not roles:
        raise FormError("web.error.member")
    if not any(Role(role).acts for role in roles):
        raise FormError("web.error.acting")
