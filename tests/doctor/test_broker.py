"""A real Mosquitto, with everything that can be wrong between it and a node."""

from __future__ import annotations

import datetime as dt
import importlib.util
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from paho.mqtt.enums import CallbackAPIVersion

from broker.embedded import EmbeddedBroker
from edge.doctor import broker, network
from edge.doctor.broker import examine_broker
from edge.doctor.result import Result, tell
from edge.site.model import Mqtt
from tests.conftest import need
from tests.doctor.builders import ACL, NAME, NODE, SITE, mqtt
from tests.servers import HOST, Authority, BrokerTls, Mosquitto

WORD = "node's own secret"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """On loopback a broker that minds our certificate says so at once."""
    monkeypatch.setattr(network, "SPEAKS_S", 0.5)


def examined(settings: Mqtt, node: str = NODE) -> Result:
    result = examine_broker(settings, SITE, node, time.time())
    for language in ("zh-CN", "en"):
        assert WORD not in str(tell(result, language))
    return result


# -- with certificates on both sides, as in production -----------------------------------------------------------------


@pytest.fixture(scope="module")
def secure(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    tls = BrokerTls(authority, authority.issue("broker", host=HOST, days=(-1, 90)))
    with Mosquitto(tmp_path_factory.mktemp("broker"), tls=tls, acl=ACL) as running:
        yield running


def with_certificate(port: int, authority: Authority, name: str = NAME, **more: Any) -> Mqtt:
    node = authority.issue(name, days=more.pop("days", (-1, 90)))
    return mqtt(port, **{"tls": True, "ca": authority.cert, "cert": node.cert, "key": node.key, **more})


def test_the_node_is_let_in(secure: Mosquitto, authority: Authority) -> None:
    result = examined(with_certificate(secure.port, authority))
    assert (result.code, result.fields) == ("ok", {"days": 89})


Wrong = Callable[[int, Authority, Authority], Mqtt]
WRONG: dict[str, tuple[Wrong, str]] = {
    "another CA is trusted": (lambda p, a, s: with_certificate(p, a, ca=s.cert), "untrusted"),
    "only the system's CAs": (lambda p, a, _s: with_certificate(p, a, ca=None), "untrusted"),
    "no certificate": (lambda p, a, _s: mqtt(p, tls=True, ca=a.cert), "our_missing"),
    "certificate of another CA": (lambda p, a, s: with_certificate(p, s, ca=a.cert), "our_unknown"),
    "certificate that has ended": (lambda p, a, _s: with_certificate(p, a, days=(-9, -2)), "our_expired"),
    "certificate of another node": (lambda p, a, _s: with_certificate(p, a, "north-yard/gate-04"), "denied"),
    "no file": (lambda p, a, _s: with_certificate(p, a, ca=Path("/nowhere")), "files"),
    "TLS is off": (lambda p, _a, _s: mqtt(p), "no_mqtt5"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_the_node(secure: Mosquitto, authority: Authority, stranger: Authority, case: str) -> None:
    settings, code = WRONG[case]
    assert examined(settings(secure.port, authority, stranger)).code == code


@pytest.mark.parametrize(
    ("host", "days", "code"),
    [
        (HOST, (-9, -2), "expired"),
        (HOST, (2, 90), "not_yet"),
        (HOST, (-1, 7), "ends_soon"),
        ("other.example.cn", (-1, 90), "name"),
        ("192.0.2.7", (-1, 90), "name"),
    ],
)
def test_what_is_wrong_with_the_brokers_certificate(
    authority: Authority, tmp_path: Path, host: str, days: tuple[int, int], code: str
) -> None:
    tls = BrokerTls(authority, authority.issue("broker", host=host, days=days))
    with Mosquitto(tmp_path, tls=tls) as running:
        assert examined(with_certificate(running.port, authority)).code == code


def test_a_revoked_certificate(authority: Authority, tmp_path: Path) -> None:
    settings = with_certificate(1, authority)
    assert settings.cert is not None
    serial = x509.load_pem_x509_certificate(settings.cert.read_bytes()).serial_number
    crl = tmp_path / "crl.pem"
    crl.write_bytes(revocation_list(authority, serial))
    tls = BrokerTls(authority, authority.issue("broker", host=HOST))
    with Mosquitto(tmp_path / "broker", tls=tls, more=f"crlfile {crl}") as running:
        assert examined(settings.model_copy(update={"port": running.port})).code == "our_revoked"
        assert examined(with_certificate(running.port, authority)).code in ("ok", "ends_soon")


def revocation_list(authority: Authority, serial: int) -> bytes:
    now = dt.datetime.now(dt.UTC)
    revoked = (
        x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - dt.timedelta(hours=1)).build()
    )
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority._name).add_revoked_certificate(revoked)
    builder = builder.last_update(now - dt.timedelta(hours=1)).next_update(now + dt.timedelta(days=1))
    return builder.sign(authority._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


# -- with passwords ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    users = {NAME: WORD, "stranger": WORD}
    with Mosquitto(tmp_path_factory.mktemp("plain"), users=users, acl=ACL) as running:
        yield running


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"username": NAME, "password": WORD}, "plain"),
        ({"username": NAME, "password": f"not {WORD}"}, "login_password"),
        ({"username": NAME}, "login_password"),
        ({"username": "nobody", "password": WORD}, "login_password"),
        ({}, "login_nobody"),
        ({"username": "stranger", "password": WORD}, "denied"),
        ({"tls": True}, "no_tls"),
        ({"host": "no-such-host.invalid", "tls": True}, "dns"),
        ({"host": "a..b", "tls": True}, "dns"),
    ],
)
def test_passwords_and_ports(plain: Mosquitto, more: dict[str, Any], code: str) -> None:
    assert examined(mqtt(plain.port, **more)).code == code


def test_a_certificate_that_is_known_but_may_not_log_in(authority: Authority, tmp_path: Path) -> None:
    tls = BrokerTls(authority, authority.issue("broker", host=HOST), client_certificates=False)
    with Mosquitto(tmp_path, tls=tls, users={NAME: WORD}) as running:
        assert examined(with_certificate(running.port, authority)).code == "login_certificate"


def test_nobody_listens(unused_port: int) -> None:
    assert examined(mqtt(unused_port)).code == "refused"


@pytest.mark.parametrize("tls", [False, True])
def test_a_broker_that_hangs_is_given_up(plain: Mosquitto, tls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (broker, network):
        monkeypatch.setattr(module, "CONNECT_S", 1.0)
    plain.hang()
    try:
        began = time.monotonic()
        assert examined(mqtt(plain.port, tls=tls)).code == ("timeout" if tls else "silent")
        assert time.monotonic() - began < 10
    finally:
        plain.resume()


def test_a_web_server_is_no_broker() -> None:
    server = ThreadingHTTPServer((HOST, 0), BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        assert examined(mqtt(server.server_address[1])).code == "no_mqtt5"
    finally:
        server.shutdown()
        server.server_close()


def test_a_connected_node_keeps_its_connection(plain: Mosquitto) -> None:
    node = paho.Client(CallbackAPIVersion.VERSION2, client_id="banksman-north-yard-gate-03", protocol=paho.MQTTv5)
    node.username_pw_set(NAME, WORD)
    node.connect(HOST, plain.port)
    node.loop_start()
    try:
        assert examined(mqtt(plain.port, username=NAME, password=WORD)).code == "plain"
        said = node.publish(f"banksman/1/{NAME}/status", "{}", qos=1)
        said.wait_for_publish(10)
        assert said.is_published()
        assert "already connected" not in plain.log()
    finally:
        node.disconnect()
        node.loop_stop()


def test_the_embedded_broker_takes_the_doctor_too() -> None:
    need(importlib.util.find_spec("iotcore"), "iotcore is not installed (the demo extra)")
    with EmbeddedBroker() as running:
        assert examined(mqtt(running.port)).code == "plain"
