"""What init has made, run for real: broker, database, worker with jobs, pages, doors."""

from __future__ import annotations

import json
import random
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from broker.dispatch.database import transaction
from broker.dispatch.enrol import new_token
from broker.embedded import free_port
from broker.mosquitto.config import update
from broker.pki import names
from broker.pki.authority import Pki, Reason
from deploy.server import setup
from deploy.server.settings import load
from tests.broker.builders import Card, Client
from tests.conftest import REPO
from tests.server.builders import ADDRESS, edit, make
from tests.servers import Postgres, mosquitto_binary, wait_until_listening
from tests.waiting import until

NODE = names.node("north-yard/gate-03")
BANKSMAN = Path(sys.executable).with_name("banksman")


class Site:
    """A folder for containers, its programs as compose starts them; only addresses and ports are the test's."""

    def __init__(self, folder: Path, database: str) -> None:
        mosquitto_binary()
        self.folder, self.pki = make(folder), Pki(folder / "pki")
        self.mqtt, self.pages, self.evidence, self.enrol = (free_port() for _ in range(4))
        self.metrics = _pair()
        edit(
            folder / "broker/broker.toml",
            (r'folder = "/mosquitto/config"', f'folder = "{folder}/broker"\naddress = "{ADDRESS}"'),
            (r'user = "banksman"', 'user = "root"'),  # who cannot give files in a temporary folder to anybody else
            (r"port = 8883", f"port = {self.mqtt}"),
        )
        update(folder / "broker", self.pki, time.time())
        self.settings = folder / "dispatch/dispatch.yaml"
        edit(
            self.settings,
            (r"(?m)^database: .*", f'database: "{database}"'),
            (r'"/var/lib/banksman/evidence"', f'"{folder}/evidence"'),
            (r'"mosquitto\.internal"', f'"{ADDRESS}", "port": {self.mqtt}'),
            (r'"port": 8090', f'"port": {self.pages}'),
            (r'"port": 8443', f'"host": "{ADDRESS}", "port": {self.evidence}'),
            (r'"port": 8444', f'"host": "{ADDRESS}", "port": {self.enrol}'),
            (r'"port": 9464', f'"port": {self.metrics}'),
        )
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._card = folder.parent / "card"
        self._card.mkdir()

    def __enter__(self) -> Self:
        self.start("broker", "sh", REPO / "deploy/containers/broker.sh", self.folder / "broker")
        self.wait("broker", self.mqtt)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.wait(90)

    def start(self, name: str, *command: str | Path) -> None:
        with (self.folder.parent / f"{name}.log").open("wb") as out:
            self._processes[name] = subprocess.Popen([*map(str, command)], stdout=out, stderr=out, cwd=REPO)

    def wait(self, name: str, port: int) -> None:
        wait_until_listening(port, self._processes[name], self.folder.parent / f"{name}.log", 60)

    def log(self, name: str) -> str:
        return (self.folder.parent / f"{name}.log").read_text(errors="replace")

    def node(self) -> Card:
        """A node's certificate, as it lies on the node."""
        cert, key = self.pki.files_of(NODE)
        if not cert.exists():
            self.pki.issue(NODE, time.time(), replace=True)
        card = Card(self._card / "node.pem", self._card / "node.key")
        card.cert.write_bytes(cert.read_bytes())
        card.key.write_bytes(key.read_bytes())
        return card

    def gets_in(self, card: Card) -> bool:
        try:
            with Client(self.mqtt, self.pki.ca_file, card):
                return True
        except (OSError, AssertionError):
            return False

    def get(self, port: int, path: str) -> str:
        with urllib.request.urlopen(f"http://{ADDRESS}:{port}{path}", timeout=10) as answer:
            return str(answer.read().decode())


def _pair() -> int:
    """A port that is free, as the one after it is: worker and jobs.

    Below those that the system gives out: whoever connects to one of these too early may be connected to himself.
    """
    for port in random.sample(range(21_000, 31_000, 2), 100):
        try:
            for one in (port, port + 1):
                socket.create_server((ADDRESS, one)).close()
        except OSError:
            continue
        return port
    raise RuntimeError("no two free ports")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with (
        Postgres(durable=False) as postgres,
        Site(tmp_path_factory.mktemp("running") / "srv", postgres.database()) as site,
    ):
        yield site


def test_broker_reads_what_was_revoked_without_being_told(site: Site) -> None:
    card = site.node()
    assert site.gets_in(card)
    site.pki.revoke(NODE, Reason.KEY_COMPROMISE, time.time())
    update(site.folder / "broker", site.pki, time.time())  # as the pages do, in another container
    until(lambda: not site.gets_in(card), "the revoked node still gets in")
    assert site.gets_in(site.node())
    assert site.log("broker").count("Reloading config") == 1


def test_dispatch_comes_up_with_its_settings(site: Site) -> None:
    done = [step.key for step in setup.database(site.folder, load(site.folder))]
    assert done == ["database", "sites"]
    for name in ("worker", "web"):
        site.start(name, BANKSMAN, "dispatch", name, site.settings)
    site.wait("worker", site.metrics)
    site.wait("web", site.pages)
    until(lambda: "dispatch_broker_connected 1.0" in site.get(site.metrics, "/metrics"), "no line to the broker")
    # As compose asks whether they are well.
    until(lambda: _answers(site, site.metrics + 1), "jobs do not answer", 90)  # they give way to all others
    assert site.get(site.pages, "/healthz") == "ok"
    trusting = ssl.create_default_context(cafile=site.pki.ca_file)
    for port, who in ((site.evidence, site.node()), (site.enrol, None)):
        if who is not None:
            trusting.load_cert_chain(who.cert, who.key)
        request = urllib.request.Request(f"https://{ADDRESS}:{port}/", method="GET")
        with pytest.raises(urllib.error.HTTPError) as refused:  # nothing there; but TLS and the door are
            urllib.request.urlopen(request, timeout=10, context=trusting)  # noqa: S310
        assert refused.value.code in (404, 405)


def test_a_box_enrols_and_the_one_it_replaces_is_turned_away(site: Site) -> None:
    """By the door of the pages, into the broker beside them; nobody tells the broker."""
    first = _enrolled(site, "first")
    assert site.gets_in(first)
    second = _enrolled(site, "second")
    assert site.gets_in(second)
    until(lambda: not site.gets_in(first), "the box that was replaced still gets in")


def _enrolled(site: Site, name: str) -> Card:
    engine = setup.engine_of(site.folder)
    with transaction(engine) as session:
        token = new_token(session, "north-yard", "gate-09", "test", time.time(), 1, replace=True)
    engine.dispose()
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "north-yard/gate-09")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    body = json.dumps({"token": token, "csr": csr.public_bytes(pem).decode()}).encode()
    request = urllib.request.Request(
        f"https://{ADDRESS}:{site.enrol}/enrol", body, {"Content-Type": "application/json"}
    )
    trusting = ssl.create_default_context(cafile=site.pki.ca_file)
    with urllib.request.urlopen(request, timeout=60, context=trusting) as answer:  # noqa: S310
        handed = json.loads(answer.read())
    card = Card(site.folder.parent / f"{name}.pem", site.folder.parent / f"{name}.key")
    card.cert.write_text(handed["certificate"])
    plain = serialization.NoEncryption()
    card.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return card


def _answers(site: Site, port: int) -> bool:
    try:
        return "python_info" in site.get(port, "/metrics")
    except OSError:
        return False
