"""The demo's dispatch: the real worker and pages on SQLite in the demo's folder, one site, one person on duty day and
night. Nothing leaves this computer: messages to people are lines in the terminal."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape
from sqlalchemy import Engine

from broker.dispatch.clock import SystemClock
from broker.dispatch.database import migrate, open_engine, transaction
from broker.dispatch.notify.channels.base import Outcome, Sent
from broker.dispatch.notify.formats import short
from broker.dispatch.notify.message import Sheet
from broker.dispatch.settings import Settings
from broker.dispatch.tables import Contact, Duty, Membership, Person, Role, Shift, Site
from broker.dispatch.web.auth import Passwords
from broker.dispatch.web.rights import EVERYWHERE
from broker.pki import names
from broker.pki.authority import Pki
from broker.pki.certificates import PRIVATE
from deploy.dispatch import work
from deploy.pages import serving
from edge.text import Catalogue

HOST: Final = "127.0.0.1"
LOGIN: Final = "demo"
CHANNEL: Final = "terminal"


@dataclass(frozen=True, slots=True)
class Terminal:
    """A channel whose far end is this terminal: one line each. Takes every address."""

    console: Console
    word: str

    def send(self, sheet: Sheet, address: str, now: float) -> Outcome:  # noqa: ARG002  # there is one terminal
        self.console.print(f"[cyan]{self.word:>8}[/] {escape(short(sheet))}", highlight=False, soft_wrap=True)
        return Sent()


@dataclass(frozen=True, slots=True)
class Dispatch:
    """url: of the pages, where `LOGIN` gets in with the password. evidence: the node's section `uplinks.evidence`."""

    url: str
    password: str
    evidence: dict[str, str]


@contextmanager
def dispatching(
    folder: Path, node: str, ports: tuple[int, int, int], text: Catalogue, console: Console
) -> Iterator[Dispatch]:
    """Dispatch for one node (`site/node`), until the end of the `with`.

    ports: of the broker, of the pages, and of the door for evidence.
    """
    broker, pages, door = ports
    clock = SystemClock()
    pki = Pki.create(folder / "pki", "Banksman demo", PRIVATE, clock.now())
    server, card = (pki.issue(who, clock.now(), days=30) for who in (names.server(HOST), names.node(node)))
    url = f"http://{HOST}:{pages}"
    settings = Settings.model_validate(
        {
            "database": f"sqlite:///{folder / 'dispatch.db'}",
            "evidence": folder / "evidence",
            "mqtt": {"host": HOST, "port": broker, "tls": False},
            "web": {"host": HOST, "port": pages, "url": url, "secret": secrets.token_urlsafe(32)},
            "upload": {
                "host": HOST, "port": door, "cert": server.cert, "key": server.key,
                "client_ca": pki.ca_file, "crl": pki.crl_file,
            },
        }
    )  # fmt: skip
    engine = open_engine(settings.database.get_secret_value())
    migrate(engine)
    password = secrets.token_hex(6)
    _people(engine, node.partition("/")[0], text, Passwords().hash(password), clock.now())
    stop = threading.Event()
    ways = {CHANNEL: Terminal(console, text("demo.message"))}
    worker = threading.Thread(target=work, args=(settings, engine, clock, ways, stop), name="dispatch")
    evidence = {
        "url": f"https://{HOST}:{door}", "ca": str(pki.ca_file), "cert": str(card.cert), "key": str(card.key),
    }  # fmt: skip
    with serving(settings, engine, clock):
        worker.start()
        try:
            yield Dispatch(url, password, evidence)
        finally:
            stop.set()
            worker.join()
    engine.dispose()


def _people(engine: Engine, site: str, text: Catalogue, password: str, now: float) -> None:
    """One person, foreman and officer and administrator, on duty day and night."""
    person = {"id": LOGIN, "login": LOGIN, "name": text("demo.person"), "language": text.language}
    with transaction(engine) as session:
        session.add(Site(id=site, name=text("demo.site"), language=text.language))
        session.add(Person(**person, password=password, created_at=now))
        session.flush()
        roles = ((site, Role.FOREMAN), (site, Role.OFFICER), (EVERYWHERE, Role.ADMIN))
        session.add_all([Membership(person=LOGIN, site=place, role=role) for place, role in roles])
        session.add(Contact(id="terminal", person=LOGIN, channel=CHANNEL, address="-"))
        session.add(Shift(id="always", site=site, name=text("demo.shift"), start=0, end=0))
        session.flush()
        session.add(Duty(id="always", shift="always", person=LOGIN))
