"""TLS with certificates on both sides, as in production: the certificate's CN is the user name of the access list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.site.model import Mqtt
from tests.journal.builders import event
from tests.mqtt.builders import ACL, NAME, running, settings
from tests.servers import HOST, Authority, BrokerTls, Certificate, Mosquitto
from tests.waiting import until


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def broker(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    tls = BrokerTls(authority, authority.issue("broker", host=HOST))
    with Mosquitto(tmp_path_factory.mktemp("broker"), tls=tls, acl=ACL) as running_broker:
        yield running_broker


def secured(broker: Mosquitto, authority: Authority, **more: Any) -> Mqtt:
    node = authority.issue(NAME)
    return settings(broker.port, **{"tls": True, "ca": authority.cert, "cert": node.cert, "key": node.key} | more)


def test_the_certificate_alone_lets_the_node_in_and_to_its_own_topics(
    broker: Mosquitto, authority: Authority, tmp_path: Path
) -> None:
    with running(tmp_path, secured(broker, authority, confirm="puback")) as node:
        node.journal.alarm(event(node.clock.now()))
        node.uplink.wake()
        node.delivered()
        until(lambda: node.uplink.detail == "", "nothing to complain about")
    assert f"(p5, c0, k15, u'{NAME}')" in broker.log()


def test_another_nodes_certificate_does_not(broker: Mosquitto, authority: Authority, tmp_path: Path) -> None:
    other = authority.issue("north-yard/gate-04")
    with running(tmp_path, secured(broker, authority, cert=other.cert, key=other.key, confirm="puback")) as node:
        made = node.journal.alarm(event(node.clock.now()))
        node.uplink.wake()
        until(lambda: node.uplink.cause == "denied", "denied")
        assert node.journal.pending_alarms(9) == (made,)


class Cupboard:
    """Certificates and files of every kind but the right one."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        self.authority = authority
        self.stranger = Authority(folder / "stranger")
        self.none = folder / "none.pem"
        self.text = folder / "text.pem"
        self.text.write_text("hello")

    @staticmethod
    def both(made: Certificate) -> dict[str, Any]:
        return {"cert": made.cert, "key": made.key}


WRONG: dict[str, tuple[Callable[[Cupboard], dict[str, Any]], str]] = {
    "the broker is signed by somebody else": (lambda c: {"ca": c.stranger.cert}, "certificate not accepted"),
    "the broker is another host": (lambda _: {"host": "localhost"}, "certificate not accepted"),
    "no certificate of its own": (lambda _: {"cert": None, "key": None}, "the node's certificate"),
    "a certificate of somebody else's": (lambda c: c.both(c.stranger.issue(NAME)), "the node's certificate"),
    "a certificate that has expired": (
        lambda c: c.both(c.authority.issue(NAME, days=(-20, -10))),
        "the node's certificate",
    ),
    "a key with a password": (lambda c: c.both(c.authority.issue(NAME, password=b"x")), "node certificate"),
    "a key of another certificate": (lambda c: {"key": c.authority.issue("other").key}, "key values mismatch"),
    "no such CA file": (lambda c: {"ca": c.none}, "no such file"),
    "no such certificate file": (lambda c: {"cert": c.none}, "no such file"),
    "a CA file that is none": (lambda c: {"ca": c.text}, "CA certificate"),
    "a certificate file that is none": (lambda c: {"cert": c.text}, "node certificate"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_certificates_is_said(
    broker: Mosquitto, authority: Authority, tmp_path: Path, case: str
) -> None:
    change, says = WRONG[case]
    with running(tmp_path, secured(broker, authority, **change(Cupboard(authority, tmp_path)))) as node:
        node.down("tls")
        assert says.lower() in node.uplink.detail.lower().replace("_", " ")
        assert "\n" not in node.uplink.detail


def test_a_certificate_that_is_put_right_is_taken_without_a_restart(
    broker: Mosquitto, authority: Authority, tmp_path: Path
) -> None:
    good, cert = authority.issue(NAME), tmp_path / "node.pem"
    with running(tmp_path, secured(broker, authority, cert=cert, key=good.key)) as node:
        node.down("tls")
        cert.write_bytes(good.cert.read_bytes())
        node.up()


def test_a_broker_that_speaks_no_tls_is_named(tmp_path: Path, authority: Authority) -> None:
    with (
        Mosquitto(tmp_path / "plain") as plain,
        running(tmp_path, settings(plain.port, tls=True, ca=authority.cert)) as node,
    ):
        node.down(None)
        assert node.uplink.cause in ("tls", "closed")
