"""A node's uplink and the people at the far end of it: an observer, and a dispatch that stores and acknowledges."""

from __future__ import annotations

import json
import os
import queue
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pydantic import SecretStr

from broker.messages import Ack, AlarmMessage, Command, Health, NodeTopics, Reply, Status
from edge.clock import Clock, SystemClock
from edge.journal.journal import Journal
from edge.site.model import JournalSettings, Mqtt
from edge.uplink.commands import CommandError
from edge.uplink.mqtt import MqttUplink
from edge.values import LinkState
from tests.waiting import WAIT_S, until

SITE, NODE = "north-yard", "gate-03"
NAME = f"{SITE}/{NODE}"
TOPICS = NodeTopics(SITE, NODE)
NODE_PASSWORD, DISPATCH_PASSWORD = "node's own secret", "dispatch's own secret"
USERS = {NAME: NODE_PASSWORD, "dispatch": DISPATCH_PASSWORD}
ACL = "pattern readwrite banksman/1/%u/#\n\nuser dispatch\ntopic readwrite banksman/1/#\n"


def settings(port: int, **more: Any) -> Mqtt:
    return Mqtt(**{"host": "127.0.0.1", "port": port, "tls": False} | more)


def with_password(port: int, password: str = NODE_PASSWORD, **more: Any) -> Mqtt:
    return settings(port, username=NAME, password=SecretStr(password), **more)


@dataclass
class Reporter:
    """What the node says about itself."""

    state: Status = field(
        default_factory=lambda: Status(
            state="online", since=1.0, version="0.1.0", model="site-v1", site_file_hash="ab" * 8, clock_ok=True
        )
    )

    def status(self) -> Status:
        return self.state

    def health(self) -> Health:
        return Health(at=1.0, period_s=30, uptime_s=5, fps=4, journal_depth=0)


def ping(command: Command) -> Reply:
    return Reply(ok=True, result=dict(command.args))


def refuse(_command: Command) -> Reply:
    raise CommandError("not_now", "the camera is busy")


def broken(_command: Command) -> Reply:
    raise ZeroDivisionError("a bug, somewhere in the node")


def huge(_command: Command) -> Reply:
    return Reply(ok=True, result="x" * 70_000)


HANDLERS: Mapping[str, Callable[[Command], Reply]] = {"ping": ping, "refuse": refuse, "broken": broken, "huge": huge}


@dataclass
class Node:
    """A running uplink with its journal."""

    uplink: MqttUplink
    journal: Journal
    clock: Clock
    reporter: Reporter

    def up(self) -> None:
        until(lambda: self.uplink.state is LinkState.UP, f"connected ({self.uplink.detail})")

    def down(self, cause: str | None) -> None:
        """cause: None for any."""
        until(
            lambda: self.uplink.state is LinkState.DOWN and cause in (None, self.uplink.cause),
            f"{cause}, but it is {self.uplink.state} {self.uplink.detail}",
        )

    def delivered(self, timeout: float = WAIT_S) -> None:
        until(lambda: self.journal.pending_alarms(1) == (), "everything delivered", timeout)


@contextmanager
def running(
    folder: Path,
    mqtt: Mqtt,
    clock: Clock | None = None,
    *,
    reporter: Reporter | None = None,
    commands: Mapping[str, Callable[[Command], Reply]] = HANDLERS,
    **how: Any,
) -> Iterator[Node]:
    clock, reporter = clock or SystemClock(trusted=True), reporter or Reporter()
    journal = Journal(folder / "journal.db", clock, JournalSettings())
    uplink = MqttUplink(
        mqtt, SITE, NODE, journal, clock, status=reporter.status, health=reporter.health, commands=commands, **how
    )
    uplink.start()
    try:
        yield Node(uplink, journal, clock, reporter)
    finally:
        uplink.stop()
        journal.close()
    assert uplink.state is LinkState.OFF


@dataclass
class Observer:
    """Another client of the broker: sees everything of the site, and may publish. `ack`: plays dispatch."""

    port: int
    user: str | None = "dispatch"
    password: str | None = DISPATCH_PASSWORD
    client_id: str = ""
    ack: bool = False
    session_s: int = 0
    seen: queue.SimpleQueue[paho.MQTTMessage] = field(default_factory=queue.SimpleQueue)
    arrived: dict[str, float] = field(default_factory=dict)
    """With `ack`: monotonic time of the first arrival of each event."""

    def __enter__(self) -> Self:
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=self.client_id, protocol=MQTTProtocolVersion.MQTTv5
        )
        if self.user:
            client.username_pw_set(self.user, self.password)
        client.on_message = self._on_message
        ready: queue.SimpleQueue[object] = queue.SimpleQueue()
        client.on_subscribe = lambda *a: ready.put(a)
        client.on_connect = lambda c, *_: c.subscribe("banksman/1/#", qos=1)
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = self.session_s
        client.connect("127.0.0.1", self.port, clean_start=not self.session_s, properties=session)
        client.loop_start()
        ready.get(timeout=WAIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        self.seen.put(message)
        if self.ack and "/alarm/" in message.topic:
            event_id = AlarmMessage.from_payload(message.payload).id
            self.arrived.setdefault(event_id, time.monotonic())
            self.store(event_id)

    def store(self, *ids: str) -> None:
        """Name these ids on the node's ack topic."""
        self.publish(TOPICS.ack, Ack(ids=ids).to_payload())

    def publish(self, topic: str, payload: bytes, retain: bool = False, **properties: Any) -> None:
        made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        for name, value in properties.items():
            setattr(made, name, value)
        self._client.publish(topic, payload, qos=1, retain=retain, properties=made)

    def next(self, kind: str, timeout: float = WAIT_S) -> paho.MQTTMessage:
        """The next message whose topic holds `kind`; those before it are dropped."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                message = self.seen.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {kind} within {timeout} s") from None
            if kind in message.topic:
                return message

    def alarms(self, count: int) -> list[AlarmMessage]:
        return [AlarmMessage.from_payload(self.next("/alarm/").payload) for _ in range(count)]

    def status(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.next("/status").payload)
        return told

    def quiet(self, kind: str, barrier: str = "banksman/1/north-yard/other/status") -> None:
        """The broker has nothing of this kind before a message that is published now."""
        self.publish(barrier, b"{}")
        self._none_before(kind, lambda message: message.topic == barrier)

    def nothing_more(self, kind: str) -> None:
        """The node sends nothing of this kind before it answers a command that is sent now."""
        correlation = os.urandom(8)
        self.publish(TOPICS.command("ping"), b"", CorrelationData=correlation)
        self._none_before(kind, lambda message: getattr(message.properties, "CorrelationData", None) == correlation)

    def _none_before(self, kind: str, is_end: Callable[[paho.MQTTMessage], bool]) -> None:
        while not is_end(message := self.next("")):
            assert kind not in message.topic, f"{message.topic}: {message.payload[:200]!r}"

    def call(self, name: str, payload: bytes = b"", correlation: bytes = b"", **how: Any) -> Reply:
        """A command and its reply, matched by correlation data."""
        properties = {"ResponseTopic": TOPICS.reply(name), "CorrelationData": correlation} | how
        self.publish(TOPICS.command(name), payload, **properties)
        return self.reply(correlation)

    def reply(self, correlation: bytes | None) -> Reply:
        while True:
            message = self.next("/reply")
            if getattr(message.properties, "CorrelationData", None) == correlation:
                return Reply.from_payload(message.payload)
