"""Dispatch's pages and JSON as one application."""

from __future__ import annotations

from fastapi import FastAPI
from sqlalchemy import Engine

from broker.dispatch.clock import Clock
from broker.dispatch.evidence import Store
from broker.dispatch.web import account, admin, api, chains, entry, foreman, linked, officer
from broker.dispatch.web.auth import Passwords
from broker.dispatch.web.guard import Guard, LargeForms
from broker.dispatch.web.links import Links
from broker.dispatch.web.pages import FORM, PHOTO_FORM, PHOTO_PATHS, Web
from broker.dispatch.web.photo import HideFaces


def create(
    *,
    engine: Engine,
    store: Store,
    clock: Clock,
    links: Links,
    base: str,
    hide_faces: HideFaces,
    passwords: Passwords | None = None,
) -> FastAPI:
    """base: address under which people reach the pages, e.g. `https://dispatch.example.org`; requests for other hosts
    are refused, and cookies are for TLS only where it begins with `https:`.

    hide_faces: what every photo passes before it is kept.
    """
    app = FastAPI(
        title="Banksman dispatch", version="1", docs_url=None, redoc_url=None, openapi_url=None, max_body_size=FORM
    )
    app.router.redirect_slashes = False
    web = app.state.web = Web(
        engine=engine,
        store=store,
        clock=clock,
        links=links,
        base=base,
        hide_faces=hide_faces,
        passwords=passwords or Passwords(),
    )
    app.add_middleware(LargeForms, paths=PHOTO_PATHS, ordinary=FORM, largest=PHOTO_FORM, known=web.known)
    app.add_middleware(Guard, base=base)  # before everything else
    for part in (entry, linked, account, api, officer, chains, admin, foreman):
        part.add(app, web)
    return app
