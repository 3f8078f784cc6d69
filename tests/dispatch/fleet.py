"""Many nodes at once: alarm events at a given rate, each sent again until dispatch says that it has stored it."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import deque
from dataclasses import dataclass, field

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from uuid6 import uuid7

from broker.messages import Ack, AlarmMessage, NodeTopics, parse_topic

SITES = 20
RULES = ("helmet", "hi_vis", "barrier")


@dataclass
class Life:
    """A raise-to-clear of one place after the other."""

    topics: NodeTopics
    source: str
    rule: str
    alarm: str = ""
    events: int = 0
    last: int = 0

    def next(self, seq: int, rng: random.Random) -> AlarmMessage:
        if self.events == self.last:
            self.alarm, self.events, self.last = str(uuid7()), 0, rng.randint(2, 6)
        self.events += 1
        event = "raised" if self.events == 1 else "cleared" if self.events == self.last else "updated"
        now = time.time()
        return AlarmMessage(
            id=str(uuid7()),
            alarm=self.alarm,
            seq=seq,
            event=event,
            source=self.source,
            place="trench",
            rule=self.rule,
            clause=("I.6.1",),
            severity="warning",
            verdict="ok" if event == "cleared" else "violation",
            reason="seen" if event == "cleared" else "bare",
            subjects=rng.randint(1, 4),
            confidence=0.9,
            first_seen=now - 1,
            last_seen=now,
            at=now,
            age_s=0.0,
            clock_ok=True,
        )


@dataclass
class Sent:
    topic: str
    message: AlarmMessage
    first: float
    last: float


@dataclass
class Fleet:
    """port: of a broker that lets anybody in. Latencies are from the first sending to the ack, in seconds."""

    port: int
    nodes: int
    seed: int = 1
    resend_s: float = 30.0
    latencies: list[float] = field(default_factory=list)
    ids: set[tuple[str, str, str]] = field(default_factory=set)
    resent: int = 0

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)  # noqa: S311 no secret
        self._lives = [
            Life(NodeTopics(f"site-{n % SITES}", f"node-{n}"), f"cam-{c}", rule)
            for n in range(self.nodes)
            for c, rule in enumerate(RULES)
        ]
        self._seq = {life.topics: itertools.count(1) for life in self._lives}
        self._waiting: dict[tuple[str, str, str], Sent] = {}
        self._by_age: deque[tuple[str, str, str]] = deque()
        self._lock = threading.Lock()
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id="fleet", protocol=MQTTProtocolVersion.MQTTv5
        )
        client.max_inflight_messages_set(500)
        client.reconnect_delay_set(1, 1)
        client.on_connect = lambda c, *_: c.subscribe("banksman/1/+/+/ack", qos=1)
        client.on_message = lambda _c, _d, message: self._acked(message)

    def __enter__(self) -> Fleet:
        self._client.connect("127.0.0.1", self.port)
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _acked(self, message: paho.MQTTMessage) -> None:
        now = time.monotonic()
        topic = parse_topic(message.topic)
        for one in Ack.from_payload(message.payload).ids:
            with self._lock:
                sent = self._waiting.pop((topic.site, topic.node or "", one), None)
            if sent is not None:
                self.latencies.append(now - sent.first)

    @property
    def unanswered(self) -> int:
        return len(self._waiting)

    def run(self, rate: float, count: int) -> None:
        """Send `count` new events at `rate` a second."""
        began = time.monotonic()
        for n in range(count):
            due = began + n / rate
            while (ahead := due - time.monotonic()) > 0:
                time.sleep(min(ahead, 0.01))
            life = self._rng.choice(self._lives)
            message = life.next(next(self._seq[life.topics]), self._rng)
            key = (life.topics.site, life.topics.node, message.id)
            now = time.monotonic()
            sent = Sent(life.topics.alarm(life.rule), message, now, now)
            self.ids.add(key)
            with self._lock:
                self._waiting[key] = sent
            self._by_age.append(key)
            self._send(sent)
            if n % 100 == 0:
                self.resend()

    def drain(self, timeout: float) -> None:
        """Until all are answered. Raises AssertionError."""
        deadline = time.monotonic() + timeout
        while self._waiting:
            assert time.monotonic() < deadline, f"{len(self._waiting)} events unanswered after {timeout} s"
            self.resend()
            time.sleep(0.05)

    def resend(self) -> None:
        """What has waited too long, as a node does, with its age."""
        now = time.monotonic()
        for _ in range(len(self._by_age)):
            sent = self._waiting.get(self._by_age[0])
            if sent is None:
                self._by_age.popleft()
                continue
            if now - sent.last < self.resend_s:
                return
            sent.last = now
            self.resent += 1
            self._by_age.rotate(-1)
            self._send(sent)

    def _send(self, sent: Sent) -> None:
        message = sent.message.model_copy(update={"age_s": time.monotonic() - sent.first})
        self._client.publish(sent.topic, message.to_payload(), qos=1)
