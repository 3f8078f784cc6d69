"""Brings nodes to a release in stages: one node, the rest of its site, all others. Stops at the first failure.

Nothing is written down here: how far each node is, it says itself. Whoever starts a roll-out again goes on where it
stopped; nodes that have the release answer so at once.
"""

from __future__ import annotations

import queue
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from uuid6 import uuid7

from broker.dispatch.settings import Mqtt
from broker.messages import (
    CONTENT_TYPE,
    MAX_PACKET,
    PREFIX,
    Command,
    Kind,
    MessageError,
    NodeTopics,
    Reply,
    Status,
    UpdateOrder,
    UpdateReport,
    parse_topic,
)

AT_ONCE = 10
"""Nodes that fetch at the same time."""
REPLY_S = 60.0
"""A node answers the command within it."""
PATIENCE_S = 3600.0
"""A node whose report has not changed for so long has failed."""
_CONNECT_S = 20.0
_SETTLE_S = 1.0  # retained states come right behind the subscription; so long after the last one they are all there
_WHO = "roll-out"
_BEGUN = ("fetching", "installing", "trying")


class RollOutError(Exception):
    """The roll-out cannot begin; says why."""


@dataclass(frozen=True, slots=True)
class Said:
    """What came from a node. reply: to the command that carried `correlation`."""

    node: str
    status: Status | None = None
    reply: Reply | None = None
    correlation: bytes = b""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended on one node. `offline`: it was not asked; others as in `UpdateReport.state`, or a refusal's code."""

    node: str
    good: bool
    code: str
    message: str = ""


class Line:
    """The connection to the broker. Nodes are named `site/node`. Made by `connected`."""

    def __init__(self, client: paho.Client) -> None:
        self.inbox: queue.SimpleQueue[Said] = queue.SimpleQueue()
        self._client = client
        client.on_message = self._on_message

    def ask(self, node: str, order: UpdateOrder) -> bytes:
        """Send the command; gives the correlation data of its reply."""
        topics = NodeTopics(*node.split("/"))
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ResponseTopic = f"{topics.reply('update')}/{_WHO}"
        properties.CorrelationData = correlation = uuid7().bytes
        properties.ContentType = CONTENT_TYPE
        payload = Command(args=order.model_dump()).to_payload()
        self._client.publish(topics.command("update"), payload, qos=1, properties=properties)
        return correlation

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = parse_topic(message.topic)
            node = f"{topic.site}/{topic.node}"
            if topic.kind is Kind.STATUS and message.payload:
                self.inbox.put(Said(node, status=Status.from_payload(message.payload)))
            elif topic.kind is Kind.REPLY and topic.name == "update":
                correlation = getattr(message.properties, "CorrelationData", b"")
                self.inbox.put(Said(node, reply=Reply.from_payload(message.payload), correlation=correlation))
        except (MessageError, UnicodeDecodeError):
            return  # what no node of ours has sent


@contextmanager
def connected(settings: Mqtt) -> Iterator[Line]:
    """settings: with a certificate of the roll-out's own. Raises RollOutError."""
    client = paho.Client(
        CallbackAPIVersion.VERSION2, client_id=f"{_WHO}-{uuid7().hex[-8:]}", protocol=MQTTProtocolVersion.MQTTv5
    )
    subscribed = threading.Event()
    refused: list[str] = []
    line = Line(client)

    def on_connect(_c: Any, _d: Any, _flags: Any, reason: Any, _p: Any) -> None:
        if reason.is_failure:
            refused.append(str(reason))
        client.subscribe([(f"{PREFIX}/+/+/status", 1), (f"{PREFIX}/+/+/command/update/reply/{_WHO}", 1)])

    client.on_connect = on_connect
    client.on_subscribe = lambda *_: subscribed.set()
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.MaximumPacketSize = MAX_PACKET
    where = f"broker {settings.host}:{settings.port}"
    try:
        if settings.tls:
            context = ssl.create_default_context(cafile=settings.ca)
            if settings.cert is not None:
                context.load_cert_chain(settings.cert, settings.key)
            client.tls_set_context(context)
        client.connect(settings.host, settings.port, properties=properties)
    except OSError as error:
        raise RollOutError(f"{where}: {error}") from error
    client.loop_start()
    try:
        if not subscribed.wait(_CONNECT_S):
            raise RollOutError(f"{where}: {refused[0] if refused else 'no answer'}")
        yield line
    finally:
        client.disconnect()
        client.loop_stop()


def known(line: Line) -> dict[str, Status]:
    """The nodes that the broker knows of, and what they said last."""
    found: dict[str, Status] = {}
    while True:
        try:
            said = line.inbox.get(timeout=_SETTLE_S)
        except queue.Empty:
            return found
        if said.status is not None:
            found[said.node] = said.status


def stages(nodes: Iterable[str]) -> list[list[str]]:
    """The first node, the rest of its site, all others. In the order given, each once."""
    first, *others = dict.fromkeys(nodes)
    site = first.partition("/")[0]
    here = [node for node in others if node.partition("/")[0] == site]
    return [stage for stage in ([first], here, [node for node in others if node not in here]) if stage]


@dataclass
class _Node:
    """One that was asked. changed: when it last said something new."""

    name: str
    correlation: bytes
    changed: float
    answered: bool = False
    report: UpdateReport | None = None


@dataclass
class RollOut:
    """told: called with each node and what it reports. now: monotonic seconds."""

    line: Line
    order: UpdateOrder
    told: Callable[[str, str], None]
    now: Callable[[], float]
    _asked: dict[str, _Node] = field(default_factory=dict)

    def run(self, nodes: dict[str, Status], wanted: Sequence[str]) -> list[Outcome]:
        """How it ended on each node that it came to. wanted: in the order in which they are to be updated.

        Nodes that are offline are left out; a later run takes them.
        """
        online = [node for node in wanted if node in nodes and nodes[node].state == "online"]
        ended = [Outcome(node, good=False, code="offline") for node in wanted if node not in online]
        for stage in stages(online) if online else []:
            done = self._stage(stage)
            ended += done
            if not all(one.good for one in done):
                break
        return ended

    def _stage(self, nodes: Sequence[str]) -> list[Outcome]:
        """Those that were begun are waited for; after a failure no other is begun."""
        waiting, ended = list(nodes), list[Outcome]()
        while waiting or self._asked:
            if any(not one.good for one in ended):
                waiting.clear()
            while waiting and len(self._asked) < AT_ONCE:
                name = waiting.pop(0)
                self._asked[name] = _Node(name, self.line.ask(name, self.order), self.now())
            with suppress(queue.Empty):
                self._hear(self.line.inbox.get(timeout=1.0))
            for node in list(self._asked.values()):
                outcome = self._outcome(node)
                if outcome is not None:
                    del self._asked[node.name]
                    ended.append(outcome)
                    self.told(node.name, f"{outcome.code} {outcome.message}".strip())
        return ended

    def _hear(self, said: Said) -> None:
        node = self._asked.get(said.node)
        if node is None:
            return
        if said.reply is not None and said.correlation == node.correlation:
            node.answered, node.changed = True, self.now()
            if said.reply.ok:
                node.report = _report(said.reply.result)
            else:
                node.report = self._ended("refused", said.reply.code, said.reply.message)
        elif node.answered and said.status is not None and said.status.update not in (None, node.report):
            node.report, node.changed = said.status.update, self.now()
        else:
            return
        if node.report is not None and node.report.state in _BEGUN:
            self.told(node.name, f"{node.report.state} {node.report.percent} % {node.report.message}".strip())

    def _outcome(self, node: _Node) -> Outcome | None:
        """None: it goes on."""
        report, silent = node.report, self.now() - node.changed
        if not node.answered:
            return Outcome(node.name, good=False, code="no_answer") if silent > REPLY_S else None
        if report is not None and report.state not in _BEGUN and self._is_ours(report):
            why = "" if report.state == "good" else f"{report.code}: {report.message}"
            return Outcome(node.name, good=report.state == "good", code=report.state, message=why)
        return Outcome(node.name, good=False, code="stuck") if silent > PATIENCE_S else None

    def _is_ours(self, report: UpdateReport) -> bool:
        order = self.order
        return (report.name, report.version, report.sequence) == (order.name, order.version, order.sequence)

    def _ended(self, state: str, code: str, message: str) -> UpdateReport:
        about = {"name": self.order.name, "version": self.order.version, "sequence": self.order.sequence}
        return UpdateReport.model_validate({"state": state, "code": code, "message": message} | about)


def _report(result: object) -> UpdateReport | None:
    return UpdateReport.model_validate(result) if isinstance(result, dict) else None
