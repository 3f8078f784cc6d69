"""Dispatch's pages, and the doors for evidence and for new boxes, as `banksman dispatch run` and `web` serve them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from PIL import Image
from sqlalchemy import Engine

from broker.dispatch.clock import Clock
from broker.dispatch.enrol.office import Office
from broker.dispatch.evidence import Store
from broker.dispatch.settings import Settings
from broker.dispatch.web import app as pages
from broker.dispatch.web import enrol as enrolment
from broker.dispatch.web import upload
from broker.dispatch.web.links import Links
from broker.dispatch.web.photo import FacesError, HideFaces
from broker.dispatch.web.server import Revoked, ServerError, Tls, WebServer
from deploy.card.errors import CardError
from edge.site.model import Detector

# One thread, and one photo at a time: the other cores are for workers and pages.
_DETECTOR = Detector(runtime="onnx", threads=1)


class Faces:
    """Hides the faces in photos, one at a time. The detector is loaded with the first photo; where that fails, with the
    next one again."""

    def __init__(self, detector: Detector = _DETECTOR) -> None:
        self._detector = detector
        self._turn = threading.Lock()
        self._hide: HideFaces | None = None

    def __call__(self, photo: Image.Image) -> Image.Image:
        """As `HideFaces`."""
        with self._turn:
            if self._hide is None:
                try:
                    from deploy.faces import hider  # noqa: PLC0415 brings OpenCV and a runtime, which pages alone need not
                except ImportError as error:
                    raise FacesError(f"a package of the `server` extra is missing: {error}") from error
                self._hide = hider(self._detector)
            return self._hide(photo)


@contextmanager
def serving(settings: Settings, engine: Engine, clock: Clock) -> Iterator[None]:
    """They answer inside the `with`. An address or a certificate that cannot be used ends the program with 2."""
    store = Store(settings.evidence)
    web = settings.web
    links = Links(web.secret.get_secret_value(), web.url)
    tls = Tls(web.cert, web.key) if web.cert is not None and web.key is not None else None
    application = pages.create(engine=engine, store=store, clock=clock, links=links, base=web.url, hide_faces=Faces())
    if settings.cards is not None:
        from deploy.card import cards, page  # noqa: PLC0415 brings xz and codes, which pages alone need not

        try:
            page.add(application, application.state.web, cards.load(settings.cards))
        except (CardError, OSError) as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from error
    servers = [WebServer(application, web.host, web.port, tls, web.proxies)]
    if (door := settings.upload) is not None:
        evidence = upload.create(engine, store, clock, Revoked(door.crl), settings.releases)
        servers.append(WebServer(evidence, door.host, door.port, Tls(door.cert, door.key, door.client_ca)))
    if (enrol := settings.enrol) is not None:
        boxes = enrolment.create(engine, Office.of(settings, enrol, engine), clock)
        servers.append(WebServer(boxes, enrol.host, enrol.port, Tls(enrol.cert, enrol.key, nodes_only=True)))
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
