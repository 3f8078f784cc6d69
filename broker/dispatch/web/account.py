"""Everybody's own page: who one is here, and a new password."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Form, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from broker.dispatch.database import reading, transaction
from broker.dispatch.tables import Person
from broker.dispatch.web import audit
from broker.dispatch.web.auth import LEAST_PASSWORD, LONGEST_PASSWORD, PasswordError
from broker.dispatch.web.pages import Changing, FormError, Known, Web
from broker.dispatch.web.rights import Visitor

_Password = Annotated[str, Form(max_length=1000)]


def add(app: FastAPI, web: Web) -> None:
    def kept(visitor: Visitor) -> str | None:
        """The hash that somebody has. Raises HTTPException for who came by a link: that is no log-in."""
        if visitor.linked:
            raise HTTPException(403, "log in with a password")
        with reading(web.engine) as db:
            return db.get_one(Person, visitor.id).password

    @app.get("/me", include_in_schema=False)
    def me(request: Request, visitor: Known, changed: str = "") -> Response:
        has = kept(visitor) is not None
        with reading(web.engine) as db:
            sites = {site.id: site.name for site in web.sites(db, visitor)}
        return web.render(
            request, "me.html", "me", visitor, has=has, changed=changed == "1", sites=sites, least=LEAST_PASSWORD,
            longest=LONGEST_PASSWORD,
        )  # fmt: skip

    @app.post("/me/password", include_in_schema=False)
    def change(visitor: Changing, old: _Password = "", password: _Password = "", again: _Password = "") -> Response:
        """The old one is asked for: a phone that lies about must not be enough to keep its owner out."""
        before = kept(visitor)
        web.spend("password", visitor.id)
        if not web.passwords.right(before, old):
            with transaction(web.engine) as db:
                audit.note(db, web.clock.now(), visitor.id, "own_password_failed", visitor.name)
            raise FormError("web.error.old_password", status=403)
        if password != again:
            raise FormError("web.error.not_the_same")
        try:
            hashed = web.passwords.hash(password)
        except PasswordError as error:
            raise FormError("web.error.password", least=LEAST_PASSWORD, most=LONGEST_PASSWORD) from error
        with transaction(web.engine) as db:
            person = db.get_one(Person, visitor.id)
            person.password = hashed
            web.sessions.close_all(db, visitor.id, but=visitor.key)
            audit.note(db, web.clock.now(), visitor.id, "own_password_set", person.login)
        return RedirectResponse("/me?changed=1", 303)
