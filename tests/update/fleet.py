"""Nodes that take updates for real: broker with access list, nodes' door, guard; only cameras are made up.

What the service manager does on a node (run root's oneshot when a release is ready, start the node anew) a thread does
here, and the hours of probation pass in moments.
"""

from __future__ import annotations

import ssl
import threading
from pathlib import Path
from typing import Self

import httpx

from broker.dispatch.clock import SystemClock as DispatchClock
from broker.dispatch.database import open_engine
from broker.dispatch.evidence import Store
from broker.dispatch.web.server import Revoked, Tls, WebServer
from broker.dispatch.web.upload import create
from broker.messages import Health, Status
from broker.mosquitto.settings import FILE
from broker.pki import names
from edge.clock import ManualClock, SystemClock
from edge.journal.journal import Journal
from edge.site.model import EvidenceUplink as Server
from edge.site.model import JournalSettings, Mqtt
from edge.update.trial import Works
from edge.update.updater import READY, Installation, Updater
from edge.uplink.mqtt import MqttUplink
from tests.broker.builders import Card
from tests.broker.builders import Installation as Broker
from tests.servers import HOST
from tests.update.builders import Box, Maker

ALL = frozenset({"camera gate", "broker"})
ROLL_OUT = names.service("roll-out")


class Yard:
    """The site server, and nodes by name (`site/node`)."""

    def __init__(self, folder: Path, maker: Maker) -> None:
        self.folder = folder
        self.maker = maker
        self.broker = Broker(folder)
        settings = self.broker.folder / FILE
        settings.write_text(settings.read_text() + '\n[[services]]\nname = "roll-out"\nrole = "dispatch"\n')
        self.broker.update()
        self.releases = folder / "releases"
        self.releases.mkdir()
        self.nodes: dict[str, Node] = {}
        clock, pki = DispatchClock(), self.broker.pki
        server = self.broker.card(names.server(HOST))
        app = create(
            open_engine(f"sqlite:///{folder}/dispatch.db"), Store(folder / "evidence"), clock,
            Revoked(pki.crl_file), self.releases,
        )  # fmt: skip
        self.door = WebServer(app, HOST, 0, Tls(server.cert, server.key, client_ca=pki.ca_file))

    def add(self, name: str, **how: frozenset[str]) -> Node:
        node = Node(self, name, **how)
        self.nodes[name] = node
        return node

    def client(self, card: Card | None) -> httpx.Client:
        context = ssl.create_default_context(cafile=self.broker.pki.ca_file)
        if card is not None:
            context.load_cert_chain(card.cert, card.key)
        return httpx.Client(base_url=f"https://{HOST}:{self.door.port}", verify=context, trust_env=False)

    def settings(self) -> Path:
        """dispatch.yaml, as far as a roll-out reads it."""
        path = self.folder / "dispatch.yaml"
        path.write_text(
            f"mqtt: {{host: {HOST}, port: {self.broker.port}, ca: {self.broker.pki.ca_file}}}\n"
            f"web: {{secret: {'x' * 32}}}\nreleases: {self.releases}\n"
        )
        return path

    def __enter__(self) -> Self:
        self.broker.start()
        self.door.start()
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes.values():
            node.end()
        self.door.stop()
        self.broker.stop()


class Node:
    """One node. works: what works on it, before the update and on each version of a release."""

    def __init__(self, yard: Yard, name: str, **works: frozenset[str]) -> None:
        self.box = Box(yard.folder / name.replace("/", "-"), yard.maker)
        self.box.old_program("0.1.0", 1)
        self.failed: list[str] = []
        self._yard = yard
        self._site, self._node = name.split("/")
        self._card = yard.broker.card(names.node(name))
        self._works = {version.replace("_", "."): what for version, what in works.items()}
        self._clock = ManualClock()
        self._over = threading.Event()
        self._journal = Journal(self.box.folder / "journal.db", SystemClock(), JournalSettings())
        self._start()
        self._manager = threading.Thread(target=self._manage, daemon=True)
        self._manager.start()

    def works(self) -> Works:
        model = self.box.inuse("current-model")
        return Works(now=self._works.get(model.rpartition("-")[2] if model else "", ALL), meant=ALL)

    def _start(self) -> None:
        self.box.start()
        ca, cert, key = self._yard.broker.pki.ca_file, self._card.cert, self._card.key
        server = Server(url=f"https://{HOST}:{self._yard.door.port}", ca=ca, cert=cert, key=key)
        self.updater = Updater(
            Installation(self.box.root, self.box.var, self._yard.maker.public_key), server, self._clock,
            works=self.works, told=self._told, failed=self.failed.append,
        )  # fmt: skip
        self._uplink = MqttUplink(
            Mqtt(host=HOST, port=self._yard.broker.port, ca=ca, cert=cert, key=key), self._site, self._node,
            self._journal, SystemClock(), status=self._status, health=self._health,
            commands={"update": self.updater.command},
        )  # fmt: skip
        self._uplink.start()

    def _told(self) -> None:
        self._uplink.status_changed()

    def _status(self) -> Status:
        return Status(
            state="online", since=1.0, version="0.1.0", model="site-v1", site_file_hash="ab", clock_ok=True,
            update=self.updater.report(),
        )  # fmt: skip

    def _health(self) -> Health:
        return Health(at=1.0, period_s=30, uptime_s=5, fps=4, journal_depth=0)

    def _manage(self) -> None:
        while not self._over.wait(0.02):
            ready = self.box.var / READY
            if ready.exists():
                good = self.box.run(
                    "install", ready, self._yard.maker.public_key, self.box.root, "--var", self.box.var
                ).returncode == 0  # fmt: skip
                ready.unlink()
                if good:
                    self._restart()
            self._clock.advance(60.0)
            self.updater.look()
            if self.failed:
                self.failed.clear()
                self._restart()

    def _restart(self) -> None:
        self._stop()
        self._start()

    def _stop(self) -> None:
        self.updater.stop()
        self._uplink.stop()

    def end(self) -> None:
        self._over.set()
        self._manager.join()
        self._stop()
        self._journal.close()
