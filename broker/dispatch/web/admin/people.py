"""People, their contacts and roles."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import FastAPI, Form, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import delete, select, true
from sqlalchemy.orm import Session as Transaction
from uuid6 import uuid7

from broker.dispatch.database import reading, transaction
from broker.dispatch.notify.channels import standard
from broker.dispatch.tables import Contact, Membership, Person, Role, Session, Site
from broker.dispatch.text import LANGUAGES
from broker.dispatch.web import audit
from broker.dispatch.web.admin.desks import AfterChange, PeopleDesk, everywhere, unmanned
from broker.dispatch.web.admin.fields import LONGEST_NAME, Key, Line, PersonId, RowId, number, one_of
from broker.dispatch.web.auth import LEAST_PASSWORD, LONGEST_PASSWORD, PasswordError
from broker.dispatch.web.pages import Changing, FormError, Known, Web, cleaned
from broker.dispatch.web.rights import EVERYWHERE

CHANNELS = tuple(standard())
_LOGIN = re.compile(r"[a-z0-9][a-z0-9._@-]{1,63}")
LONGEST_ADDRESS = 2000


def add(app: FastAPI, web: Web) -> None:
    _add_people(app, web)
    _add_contacts(app, web)
    _add_roles(app, web)


def _add_people(app: FastAPI, web: Web) -> None:
    people = PeopleDesk(web)

    @app.post("/admin/people", include_in_schema=False)
    def add_person(visitor: Changing, id: RowId, login: Key, name: Line, language: Key) -> Response:  # noqa: A002
        everywhere(visitor)
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
    def person_page(request: Request, visitor: Known, person: PersonId, told: AfterChange) -> Response:
        everywhere(visitor)
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
            empty = [(sites[s], unmanned(db, s, web.clock.now())) for s in told.sites if s in sites]
        return web.render(
            request, "person.html", "admin", visitor, person=row, contacts=contacts, members=members, sites=sites,
            roles=list(Role), channels=CHANNELS, langs=LANGUAGES, new_id=str(uuid7()), least=LEAST_PASSWORD,
            longest=LONGEST_PASSWORD, told=told, empty=[(site, names) for site, names in empty if names],
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
    people = PeopleDesk(web)

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
    people = PeopleDesk(web)

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
