"""Dispatch's pages and JSON as one application."""

from __future__ import annotations

from fastapi import FastAPI
from sqlalchemy import Engine

from broker.dispatch.clock import Clock
from broker.dispatch.evidence import Store
from broker.dispatch.web import admin, api, chains, entry, foreman, officer
from broker.dispatch.web.auth import Passwords
from broker.dispatch.web.guard import Guard
from broker.dispatch.web.links import Links
from broker.dispatch.web.pages import FORM, Web
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
    app.add_middleware(Guard, base=base)
    web = app.state.web = Web(
        engine=engine,
        store=store,
        clock=clock,
        links=links,
        base=base,
        hide_faces=hide_faces,
        passwords=passwords or Passwords(),
    )
    for part in (entry, api, officer, chains, admin, foreman):
        part.add(app, web)
    return app
