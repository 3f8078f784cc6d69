"""Dispatch's pages and the door for evidence, as `banksman dispatch run` and `web` serve them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from sqlalchemy import Engine

from broker.dispatch.clock import Clock
from broker.dispatch.evidence import Store
from broker.dispatch.settings import Settings
from broker.dispatch.web import app as pages
from broker.dispatch.web import upload
from broker.dispatch.web.links import Links
from broker.dispatch.web.server import Revoked, ServerError, Tls, WebServer


@contextmanager
def serving(settings: Settings, engine: Engine, clock: Clock) -> Iterator[None]:
    """They answer inside the `with`. An address or a certificate that cannot be used ends the program with 2."""
    store = Store(settings.evidence)
    web = settings.web
    links = Links(web.secret.get_secret_value(), web.url)
    tls = Tls(web.cert, web.key) if web.cert is not None and web.key is not None else None
    application = pages.create(engine=engine, store=store, clock=clock, links=links, base=web.url)
    servers = [WebServer(application, web.host, web.port, tls, web.proxies)]
    if (door := settings.upload) is not None:
        evidence = upload.create(engine, store, clock, Revoked(door.crl))
        servers.append(WebServer(evidence, door.host, door.port, Tls(door.cert, door.key, door.client_ca)))
    try:
        try:
            for server in servers:
                server.start()
        except ServerError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from error
        yield
    finally:
        for server in servers:
            server.stop()
