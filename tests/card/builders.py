"""Payloads of a node whose names are all its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deploy.card.node import Identity, Network, Node, NodeFile, Server
from deploy.card.payload import Key, Payload, Token, build
from deploy.card.wifi import Wifi
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
KEY = Key(certificate=b"a certificate", key=b"the secret key of the node", influx=b"the secret token")
TOKEN = Token("the-secret-token", 1_795_000_000.0)
SECRETS = (b"the secret key", b"the secret token", b"the-secret-token", b"pass\\\\word", b"camera-password")
SITE_FILE = b"""\
site: {id: north, latitude: 39.91, longitude: 116.4}
node: {id: gate-03}
cameras: [{id: gate, source: {type: rtsp, url: "rtsp://user:camera-password@10.0.0.20/stream2"}}]
"""


def node_file(site: str = "north", node: str = "gate-03", *, mode: str = "key", wifi: Wifi | None = WIFI) -> NodeFile:
    return NodeFile(
        node=Node(site=site, node=node, name='北门 "3" 号'),
        server=SERVER,
        identity=Identity.model_validate({"mode": mode}),
        wifi=Network(ssid=wifi.ssid, country=wifi.country) if wifi else None,
    )


@dataclass
class Office:
    """Where payloads are made, with real signed releases."""

    maker: Maker
    app: Path

    @classmethod
    def at(cls, folder: Path, **more: str) -> Office:
        maker = Maker(folder)
        return cls(maker, maker.app("0.1.0", 1, **more))

    def payload(
        self, site: str = "north", node: str = "gate-03", *,
        identity: Key | Token = KEY, wifi: Wifi | None = WIFI, app: Path | None = None,
    ) -> Payload:  # fmt: skip
        mode = "key" if isinstance(identity, Key) else "token"
        return build(
            node_file(site, node, mode=mode, wifi=wifi),
            ca=b"the certificate authority\n", identity=identity, site_file=SITE_FILE, app=app or self.app,
            release_pub=self.maker.public_key.read_bytes(), wifi=wifi,
        )  # fmt: skip
