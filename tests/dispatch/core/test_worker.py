"""A worker on a real broker: acks after the commit, case topics, what is refused, what goes away."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from prometheus_client import REGISTRY
from sqlalchemy import Engine, select

from broker.dispatch import desk
from broker.dispatch.cases import FalseAlarm
from broker.dispatch.clock import Clock, ManualClock, SystemClock
from broker.dispatch.database import migrate, open_engine, reading, transaction
from broker.dispatch.inbox import RECEIVE_MAXIMUM, Inbox
from broker.dispatch.link import Link
from broker.dispatch.settings import Mqtt
from broker.dispatch.tables import Case, Event, Job, Node, Refused
from broker.dispatch.worker import Worker
from broker.embedded import free_port
from broker.messages import Health, NodeTopics, Status, case_topic
from tests.dispatch.core.builders import NODE, NOW, message
from tests.servers import Mosquitto, Postgres, Wire
from tests.waiting import until


class Peer:
    """Node, siren and everybody else: publishes, and keeps what comes back."""

    def __init__(self, port: int) -> None:
        self.acked: list[str] = []
        self.cases: dict[str, bytes] = {}
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id="peer", protocol=MQTTProtocolVersion.MQTTv5
        )
        client.on_connect = lambda c, *_: c.subscribe(
            [("banksman/1/+/+/ack", 1), ("banksman/1/north-yard/-/case/+", 1)]
        )
        client.on_message = lambda _c, _d, m: self._take(m)
        client.connect("127.0.0.1", port)
        client.loop_start()
        until(client.is_connected)

    def _take(self, there: paho.MQTTMessage) -> None:
        if "/case/" in there.topic:
            self.cases[there.topic] = bytes(there.payload)
        else:
            self.acked += json.loads(there.payload)["ids"]

    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10)

    def flood(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """In their order; until the broker has them all."""
        for sent in [self._client.publish(topic, payload, qos=1) for topic, payload in messages]:
            sent.wait_for_publish(30)

    def alarm(self, **changes: Any) -> None:
        there = message(**changes)
        self.send(NODE.alarm(there.rule), there.to_payload())

    def states(self) -> list[str]:
        return sorted(json.loads(payload)["state"] for payload in self.cases.values() if payload)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as server:
        yield server


@pytest.fixture
def peer(broker: Mosquitto) -> Iterator[Peer]:
    there = Peer(broker.port)
    yield there
    there.close()


@contextmanager
def running(
    engine: Engine, port: int, name: str = "dispatch-1", clock: Clock | None = None, inbox: Inbox | None = None
) -> Iterator[Link]:
    """port: of the broker, or of what leads there."""
    stop, clock = threading.Event(), clock or SystemClock()
    link = Link(Mqtt(host="127.0.0.1", port=port, tls=False, client_id=name), clock, inbox)
    thread = threading.Thread(target=Worker(engine, link, clock, {}, {}).run, args=(stop,))
    thread.start()
    try:
        yield link
    finally:
        stop.set()
        thread.join(30)


@contextmanager
def working(
    engine: Engine,
    broker: Mosquitto,
    name: str = "dispatch-1",
    clock: Clock | None = None,
    inbox: Inbox | None = None,
) -> Iterator[Link]:
    with running(engine, broker.port, name, clock, inbox) as link:
        until(lambda: f"as {name} " in broker.log() and broker.log().count("Sending SUBACK") >= 2)
        yield link


def rows(engine: Engine, table: Any) -> list[Any]:
    with reading(engine) as session:
        return list(session.scalars(select(table)))


def test_an_alarm_is_stored_acknowledged_and_published(both: Engine, broker: Mosquitto, peer: Peer) -> None:
    with working(both, broker):
        peer.alarm()
        until(lambda: peer.acked == ["e1"])
        assert [e.id for e in rows(both, Event)] == ["e1"], "the ack comes after the commit"
        until(lambda: peer.states() == ["open"])
        peer.alarm()
        until(lambda: peer.acked == ["e1", "e1"], "what comes again is acknowledged again")
        with transaction(both) as session:
            desk.do(session, rows(both, Case)[0].id, FalseAlarm("a bucket"), "ann", NOW)
        until(lambda: list(peer.cases.values()) == [b""], "closing publishes empty")


def test_what_cannot_be_read_is_kept_and_blocks_nothing(both: Engine, broker: Mosquitto, peer: Peer) -> None:
    with working(both, broker):
        peer.send(NODE.alarm("helmet"), b"{")
        peer.send(NODE.alarm("hi_vis"), message(id="e9").to_payload())
        peer.alarm()
        until(lambda: peer.acked == ["e1"])
        until(lambda: sorted(r.code for r in rows(both, Refused)) == ["not_json", "wrong"])


def test_case_topics_are_put_right_at_the_start(both: Engine, broker: Mosquitto, peer: Peer) -> None:
    with working(both, broker):
        peer.alarm()
        peer.alarm(id="e2", alarm="a2", place="gate")
        until(lambda: peer.states() == ["open", "open"])
    old, lost = sorted(peer.cases)
    peer.send(old, peer.cases[old].replace(b'"version":1', b'"version":7'), retain=True)
    peer.send(lost, b"", retain=True)
    peer.send(case_topic("north-yard", "of-nobody"), b"garbage", retain=True)
    until(lambda: len(peer.cases) == 3)
    with working(both, broker):
        until(lambda: [bool(p) for _, p in sorted(peer.cases.items())] == [True, True, False])
        until(lambda: all(b'"version":1' in peer.cases[topic] for topic in (old, lost)))


def test_two_workers_share_and_the_messages_of_one_that_left_are_not_lost(
    both: Engine, broker: Mosquitto, peer: Peer
) -> None:
    with working(both, broker, "dispatch-1"):
        with working(both, broker, "dispatch-2"):
            for n in range(20):
                peer.alarm(id=f"e{n}", alarm=f"a{n}", place=f"p{n}")
            until(lambda: len(set(peer.acked)) == 20)
        for n in range(20, 40):
            peer.alarm(id=f"e{n}", alarm=f"a{n}", place=f"p{n}")
        with working(both, broker, "dispatch-2"):
            until(lambda: len(set(peer.acked)) == 40)
    assert len(rows(both, Event)) == 40


def test_while_the_database_is_away_nothing_is_acknowledged_and_nothing_lost(broker: Mosquitto, peer: Peer) -> None:
    with Postgres() as server:
        engine = open_engine(server.database(), ping=False)  # as a worker does
        migrate(engine)
        with working(engine, broker):
            peer.alarm()
            until(lambda: peer.acked == ["e1"])
            server.kill()
            for n in range(2, 9):
                peer.alarm(id=f"e{n}", alarm=f"a{n}", place=f"p{n}")
            assert peer.acked == ["e1"]
            server.start()
            until(lambda: len(peer.acked) == 8)
            assert len(rows(engine, Event)) == 8
        engine.dispose()


def figure(name: str) -> float:
    return REGISTRY.get_sample_value(f"dispatch_{name}") or 0.0


def alarms(numbers: Iterable[int]) -> list[tuple[str, bytes]]:
    """Of as many cases."""
    made = [message(id=f"e{n}", alarm=f"a{n}", place=f"p{n}") for n in numbers]
    return [(NODE.alarm(there.rule), there.to_payload()) for there in made]


def test_health_takes_no_room_from_alarms_while_the_database_is_away(tmp_path: Path) -> None:
    """More of both than a worker has room for; the broker would have more alarms under way than the worker allows."""
    health = Health(at=NOW, period_s=30, uptime_s=1, fps=5, journal_depth=0).to_payload()
    nodes = [f"gate-{n}" for n in range(200)]
    many = RECEIVE_MAXIMUM + 200
    overflown = figure("queue_overflown_total")
    with (
        Mosquitto(tmp_path / "broker", more=f"max_inflight_messages {4 * RECEIVE_MAXIMUM}") as broker,
        Postgres() as server,
        closing(Peer(broker.port)) as peer,
    ):
        engine = open_engine(server.database(), ping=False)
        migrate(engine)
        with working(engine, broker):
            peer.flood(alarms([0]))
            until(lambda: peer.acked == ["e0"])
            server.kill()
            peer.flood((NodeTopics("north-yard", node).health, health) for node in nodes * 24)
            peer.flood(alarms(range(1, many)))
            until(lambda: figure("queue_messages") >= RECEIVE_MAXIMUM)
            assert peer.acked == ["e0"]
            server.start()
            until(lambda: len(set(peer.acked)) == many, timeout=60)
            peer.flood(alarms(range(many, many + 20)))
            until(lambda: len(set(peer.acked)) == many + 20)
            assert sorted(e.id for e in rows(engine, Event)) == sorted(f"e{n}" for n in range(many + 20))
            until(lambda: {n.id for n in rows(engine, Node)} == set(nodes))
            assert figure("queue_messages") == 0
            assert figure("queue_overflown_total") == overflown, "there was room for all that was under way"
        engine.dispose()


def test_a_last_will_says_nothing_of_an_alarm_that_came_after_it(
    broker: Mosquitto, peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    """Even where both are stored together, as after an outage."""
    alive = Status(state="online", since=NOW, version="1", model="site-v1", site_file_hash="", clock_ok=True)
    will = alive.model_copy(update={"state": "offline", "since": None})
    with Postgres() as server:
        engine = open_engine(server.database(), ping=False)
        migrate(engine)
        with working(engine, broker):
            peer.flood(alarms([1, 2]))
            until(lambda: sorted(peer.acked) == ["e1", "e2"])
            server.kill()
            peer.flood(alarms([3]))
            until(lambda: "does not store" in caplog.text)
            again = message(id="e4", alarm="a1", place="p1", seq=2, event="updated", subjects=2)
            peer.flood(
                [
                    (NODE.status, will.to_payload()),
                    (NODE.status, alive.to_payload()),
                    (NODE.alarm(again.rule), again.to_payload()),
                ]
            )
            server.start()
            until(lambda: sorted(peer.acked) == ["e1", "e2", "e3", "e4"])
            until(lambda: len(rows(engine, Case)) == 4, "one of them that the node was silent")
            assert {c.place: c.unverified for c in rows(engine, Case) if c.rule == "helmet"} == {
                "p1": False,
                "p2": True,
                "p3": True,
            }
        engine.dispose()


def test_what_found_no_room_is_fetched_again(broker: Mosquitto, peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    """A broker that does not keep to the receive maximum: here the worker has less room than it says."""
    overflown = figure("queue_overflown_total")
    with Postgres() as server:
        engine = open_engine(server.database(), ping=False)
        migrate(engine)
        with working(engine, broker, inbox=Inbox(owed=8)) as link:
            peer.flood(alarms([0]))
            until(lambda: peer.acked == ["e0"])
            server.kill()
            peer.flood(alarms(range(1, 31)))
            until(lambda: figure("queue_overflown_total") > overflown)
            assert link.connection == 1, "it stays for what it can still store"
            server.start()
            until(lambda: len(set(peer.acked)) == 31, timeout=60)
            peer.flood(alarms(range(31, 35)))
            until(lambda: len(set(peer.acked)) == 35)
            assert len(rows(engine, Event)) == 35
            assert "more under way" in caplog.text
        engine.dispose()


def test_a_worker_that_is_off_the_broker_does_not_hold_up_the_case_topics(
    both: Engine, broker: Mosquitto, peer: Peer
) -> None:
    with Wire(free_port()) as nowhere, running(both, nowhere.port, "dispatch-2"), working(both, broker):
        for n in range(1, 13):
            peer.flood(alarms([n]))
            until(lambda: len(peer.states()) == n, f"case {n} is published", timeout=5)  # noqa: B023


def say(peer: Peer, node: str) -> None:
    health = Health(at=NOW, period_s=30, uptime_s=1, fps=5, journal_depth=0)
    peer.send(NodeTopics("north-yard", node).health, health.to_payload(), retain=True)


def test_every_worker_hears_every_node_while_another_one_is_away(tmp_path: Path, broker: Mosquitto, peer: Peer) -> None:
    """The broker keeps the share of the one that is away for it: of alarms, which their nodes send again."""
    engine = open_engine(f"sqlite:///{tmp_path / 'dispatch.db'}")
    migrate(engine)
    with working(engine, broker, "dispatch-2"):
        with working(engine, broker, "dispatch-1"):
            pass
        for node in ("gate-01", "gate-02", "gate-03", "gate-04"):
            say(peer, node)
        until(lambda: len(rows(engine, Node)) == 4)
    engine.dispose()


def test_no_node_is_silent_because_the_database_was_away(
    broker: Mosquitto, peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    with Postgres() as server:
        engine = open_engine(server.database())
        migrate(engine)

        def looked() -> float:
            return max(float(job.due) for job in rows(engine, Job) if job.kind == "silence")

        with working(engine, broker, clock=clock):
            say(peer, NODE.node)
            until(lambda: rows(engine, Node) != [])
            server.kill()
            peer.alarm()
            clock.advance(600)
            caplog.clear()
            until(lambda: "does not store" in caplog.text)
            server.start()
            until(lambda: peer.acked == ["e1"])
            until(lambda: looked() >= clock.now())
            assert [case.rule for case in rows(engine, Case)] == ["helmet"]
            clock.advance(91)
            until(lambda: looked() >= clock.now())
            assert sorted(case.rule for case in rows(engine, Case)) == ["helmet", "node_health"]
        engine.dispose()
