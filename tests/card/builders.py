"""Payloads of a node whose names are all its own."""

from __future__ import annotations

import sysconfig
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from broker.pki import certificates, names
from broker.pki.authority import Pki
from deploy.card.cards import Cards, Wanted, payload
from deploy.card.node import Node, Server
from deploy.card.payload import Key, Payload, Token
from deploy.card.wifi import Wifi
from tests.conftest import REPO
from tests.update.builders import Maker

SERVER = Server(
    name="site.example.cn",
    enrol_url="https://10.0.0.5:8444/enrol",
    evidence_url="https://10.0.0.5:8443",
    mqtt_host="10.0.0.5",
    influx_url="https://10.0.0.5:8086",
    ntp="10.0.0.5",
    page_url="https://banksman.example.cn",
)
WIFI = Wifi("工地 \\5G;", "pass\\word 8 ", "CN")
TOKEN = Token("the-secret-token", 1_795_000_000.0)
CAMERA = "rtsp://user:camera-password@10.0.0.20/stream2"
SECRETS = (b"PRIVATE KEY", b"influx secret", b"the-secret-token", b"pass\\\\word", b"camera-password", b"page-password")
# A banksman whose command is the checkout's own, in the venv of a release.
OWN = "from deploy.cli import main\nmain()"


@dataclass
class Office:
    """Where cards are made: the authority, and releases that are really signed."""

    folder: Path
    maker: Maker
    pki: Pki

    @classmethod
    def at(cls, folder: Path) -> Office:
        return cls(folder, Maker(folder), Pki.create(folder / "pki", "Test", certificates.PRIVATE, time.time()))

    @cached_property
    def app(self) -> Path:
        return self.maker.app("0.1.0", 1, OWN, pth=f"{REPO}\n{sysconfig.get_path('purelib')}\n")

    @cached_property
    def cards(self) -> Cards:
        return Cards(
            image=self.folder / "os.img.xz", image_sha256="0" * 64, release=self.app,
            release_pub=self.maker.public_key, ca=self.folder / "pki/ca.pem", folder=self.folder / "cards",
            server=SERVER,
        )  # fmt: skip

    def key(self, site: str = "north", node: str = "gate-03") -> Key:
        handed = self.pki.issue(names.node(f"{site}/{node}"), time.time(), replace=True)
        assert handed.key is not None
        return Key(handed.cert.read_bytes(), handed.key.read_bytes(), b"influx secret")

    def payload(
        self, site: str = "north", node: str = "gate-03", *,
        identity: Key | Token = TOKEN, wifi: Wifi | None = WIFI, app: Path | None = None,
    ) -> Payload:  # fmt: skip
        wanted = Wanted(Node(site=site, node=node, name='北门 "3" 号'), "page-password", CAMERA, wifi)
        cards = self.cards if app is None else self.cards.model_copy(update={"release": app})
        return payload(cards, wanted, identity)
