"""The real door over TLS, with a real authority, and boxes that knock at it."""

from __future__ import annotations

import ipaddress
import json
import ssl
import time
from pathlib import Path
from typing import Any, Self

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr
from sqlalchemy import Engine, select
from typer.testing import CliRunner, Result

from broker.dispatch.clock import ManualClock
from broker.dispatch.database import reading, transaction
from broker.dispatch.enrol import new_token
from broker.dispatch.enrol.authorizations import Authorizations
from broker.dispatch.enrol.office import Influx, Office
from broker.dispatch.settings import Influx as InfluxSettings
from broker.dispatch.tables import Attempt, Enrolment
from broker.dispatch.web.enrol import create
from broker.dispatch.web.server import Tls, WebServer
from broker.pki import names
from broker.pki.authority import Pki
from deploy.node import app
from tests.enrol.influx2 import ADMIN, ORG, Influx2Stub
from tests.waiting import until

SITE, NODE = "north-yard", "gate-03"
NAME = f"{SITE}/{NODE}"
HOUR_S = 3600.0
SECRET = "a secret of the installation, 32+"  # noqa: S105


class Box:
    """A computer with a key of its own."""

    def __init__(self, curve: ec.EllipticCurve | None = None) -> None:
        self.key = ec.generate_private_key(curve or ec.SECP256R1())

    def csr(self, name: str = NAME) -> str:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(self.key, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM).decode()

    def owns(self, certificate: str) -> bool:
        return x509.load_pem_x509_certificate(certificate.encode()).public_key() == self.key.public_key()


class Place:
    """A site server with its door open. clock: the server's; certificates are for real time, where it begins."""

    def __init__(
        self, folder: Path, engine: Engine, influx: Influx2Stub | None = None, *, pki: Pki | None = None,
        broker: Path | None = None, secret: str = SECRET,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.engine = engine
        self.clock = ManualClock(time.time())
        self.stub = influx
        self.pki_networks = [ipaddress.ip_network("127.0.0.0/8")]
        self.pki = pki or Pki.create(folder / "pki", "Test", self.pki_networks, self.clock.now())
        granting = None
        if influx is not None:
            settings = InfluxSettings(url=influx.url, org=ORG, token=SecretStr("dispatchs-own"))
            granting = Influx(Authorizations(settings, ADMIN, timeout_s=2.0), "https://influx.local:8086", ORG)
        self.office = Office(engine, self.pki, secret, influx=granting, broker=broker)
        server = names.server("127.0.0.1")
        if not self.pki.files_of(server)[0].exists():
            self.pki.issue(server, self.clock.now())
        tls = Tls(*self.pki.files_of(server), nodes_only=True)
        self.server = WebServer(create(engine, self.office, self.clock), "127.0.0.1", 0, tls)

    def __enter__(self) -> Self:
        self.server.start()
        context = ssl.create_default_context(cafile=str(self.pki.ca_file))
        self.client = httpx.Client(base_url=self.url, verify=context, trust_env=False, timeout=20.0)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.server.stop()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server.port}"

    def token(self, node: str = NODE, hours: float = 72) -> str:
        with transaction(self.engine) as session:
            return new_token(session, SITE, node, "officer-1", self.clock.now(), hours, replace=True)

    def ask(self, token: object, csr: object) -> httpx.Response:
        return self.client.post("/enrol", json={"token": token, "csr": csr})

    def enrol(self, box: Box, node: str = NODE) -> dict[str, Any]:
        """With a new token; returns when what follows the answer is done, too."""
        answer = self.ask(self.token(node), box.csr(f"{SITE}/{node}"))
        assert answer.status_code == 200, answer.text
        until(lambda: self.rows()[-1].settled_at)
        got: dict[str, Any] = answer.json()
        return got

    def rows(self) -> list[Enrolment]:
        with reading(self.engine) as session:
            return list(session.scalars(select(Enrolment).order_by(Enrolment.id)))

    def attempts(self) -> int:
        """How often somebody has asked."""
        with reading(self.engine) as session:
            return len(session.scalars(select(Attempt)).all())

    def states(self) -> list[str]:
        """Of the node's certificates, in the order of their issue."""
        return [e.state.value for e in self.pki.entries(self.clock.now()) if e.subject.name == NAME]


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


class Card:
    """The folder `banksman` of a card, and where its node's files go."""

    def __init__(self, folder: Path, place: Place, *, mode: str = "token", more: str = "", node: str = NODE) -> None:
        self.folder, self.etc = folder / "boot" / "banksman", folder / "etc"
        self.folder.mkdir(parents=True)
        self.place = place
        self.write(
            "node.toml",
            f"""\
[node]
site = "{SITE}"
node = "{node}"
name = "北门"
language = "en"
time_zone = "Asia/Shanghai"
{more}
[server]
name = "127.0.0.1"
enrol_url = "{place.url}/enrol"
evidence_url = "https://127.0.0.1:8443"
mqtt_host = "127.0.0.1"
mqtt_port = 8883
influx_url = "https://influx.local:8086"
influx_org = "banksman"
influx_bucket = "banksman"
ntp = "127.0.0.1"
page_url = "https://banksman.example.cn"

[identity]
mode = "{mode}"
""",
        )
        self.write("ca.pem", place.pki.ca_file.read_text())

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def give(self, token: str) -> None:
        """As the server writes it."""
        body = {"token": token, "url": f"{self.place.url}/enrol", "expires": "2026-12-01T00:00:00Z"}
        self.write("enrol.json", json.dumps(body, indent=1) + "\n")

    def run(self, *more: str) -> Result:
        """`banksman node enrol`."""
        return CliRunner().invoke(app, ["enrol", str(self.folder), "--etc", str(self.etc), *more])

    def file(self, name: str) -> bytes:
        return (self.etc / name).read_bytes()

    def secrets(self) -> list[str]:
        """What on the card is none of a finder's business."""
        found = [path.name for path in self.folder.iterdir() if path.suffix in {".key", ".token"}]
        enrol = self.folder / "enrol.json"
        return found + ([str(json.loads(enrol.read_text())["token"])] if enrol.exists() else [])
