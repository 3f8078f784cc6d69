"""The broker that tries things out: the same uplink on `iotcore`."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker, EmbeddedBrokerError
from edge.values import LinkState
from tests.conftest import need
from tests.journal.builders import event
from tests.mqtt.builders import Observer, running, settings
from tests.servers import HOST, Wire
from tests.waiting import until


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedBroker]:
    need(importlib.util.find_spec("iotcore"), "iotcore is not installed (the demo extra)")
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def dispatch(embedded: EmbeddedBroker) -> Iterator[Observer]:
    with Observer(embedded.port, user=None, ack=True, client_id="dispatch") as observer:
        yield observer


def test_alarms_status_and_commands(embedded: EmbeddedBroker, dispatch: Observer, tmp_path: Path) -> None:
    with running(tmp_path, settings(embedded.port)) as node:
        assert dispatch.status()["state"] == "online"
        made = [node.journal.alarm(event(node.clock.now())) for _ in range(50)]
        node.uplink.wake()
        assert [m.id for m in dispatch.alarms(50)] == [e.id for e in made]
        node.delivered()
        reply = dispatch.call("ping", b'{"args": {"a": 1}}', b"who asks")
        assert (reply.ok, reply.result) == (True, {"a": 1})
        assert dispatch.call("reboot", correlation=b"again").code == "unknown_command"
    assert dispatch.status()["state"] == "offline"


def test_the_last_will(embedded: EmbeddedBroker, dispatch: Observer, tmp_path: Path) -> None:
    with Wire(embedded.port) as wire, running(tmp_path, settings(wire.port)) as node:
        node.up()
        while dispatch.status()["state"] != "online":
            pass
        wire.cut()
        while (told := dispatch.status())["state"] != "offline":
            pass
        assert told["since"] is None


def test_it_listens_on_loopback_only_and_ends(tmp_path: Path) -> None:
    broker = EmbeddedBroker()
    assert broker.port == 0
    broker.start()
    broker.start()  # once is enough
    port = broker.port
    with running(tmp_path, settings(port)) as node:
        node.up()
        listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        assert [line.split()[1].split(":")[0] for line in listening.splitlines() if f":{port:04X} 0" in line][:1] == [
            "0100007F"
        ]
        broker.stop()
        until(lambda: node.uplink.state is LinkState.DOWN, "down")
    broker.stop()
    assert broker.port == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port), timeout=5)


def test_a_port_that_is_taken_is_named(embedded: EmbeddedBroker) -> None:
    with pytest.raises(EmbeddedBrokerError, match=f"127.0.0.1:{embedded.port}.*another port"):
        EmbeddedBroker(embedded.port).start()


def test_without_iotcore_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(EmbeddedBrokerError, match=r"banksman\[demo\]"):
        EmbeddedBroker().start()
