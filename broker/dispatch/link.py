"""The worker's line to the broker: MQTT 5, a session that survives both ends, acknowledgements only on demand.

Messages wait in a bounded queue: the broker holds back what is not acknowledged, and anything beyond is left to be sent
again by its node. A message of an earlier connection is let go: the broker brings it again under another number, and
acknowledging the old number could hit a message that nobody has stored.
"""

from __future__ import annotations

import logging
import queue
import socket
import ssl
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions
from uuid6 import uuid7

from broker.dispatch import metrics
from broker.dispatch.clock import Clock
from broker.dispatch.intake import Received
from broker.dispatch.settings import Mqtt
from broker.messages import CONTENT_TYPE, MAX_PACKET, PREFIX, case_topic

log = logging.getLogger(__name__)

SESSION_EXPIRY_S: Final = 300
"""A worker that is away for longer is not coming back; Mosquitto gives a session its share even while it is away."""
KEEPALIVE_S: Final = 15
RECEIVE_MAXIMUM: Final = 1000
"""Messages that the broker may have under way to this worker; its own limit counts, too (`inflight` of broker.toml)."""
QUEUE: Final = 4 * RECEIVE_MAXIMUM
CONFIRM_S: Final = 10.0
MAX_UNSENT: Final = 20_000
CASES: Final = f"{PREFIX}/+/-/case/+"


class LinkError(Exception):
    """The line cannot be made as the settings say."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message, and how it is acknowledged."""

    received: Received
    mid: int
    qos: int
    connection: int


class Link:
    """start: in the background, again and again. Everything else from any thread."""

    def __init__(self, settings: Mqtt, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._inbox: queue.Queue[Inbound] = queue.Queue(QUEUE)
        self._connection = 0
        self._since: float | None = None
        self._trouble = ""
        self._retaining = threading.Lock()
        self._confirmed = threading.Condition()
        self._answers: dict[int, bool] | None = None
        self._unconfirmed: set[int] = set()
        self._retained: dict[str, bytes] | None = None
        self._marked = threading.Event()
        self._mark = case_topic("dispatch", str(uuid7()))
        """A case of nobody: a message to oneself, which comes behind what the broker had retained before it."""
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        client.max_inflight_messages_set(RECEIVE_MAXIMUM)
        client.max_queued_messages_set(MAX_UNSENT)
        client.reconnect_delay_set(min_delay=1, max_delay=30)
        client.on_connect = self._on_connect
        client.on_connect_fail = lambda *_: self._troubled(f"cannot be reached: {sys.exception()}")
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_socket_open = _no_delay
        if settings.username is not None:
            password = settings.password.get_secret_value() if settings.password is not None else None
            client.username_pw_set(settings.username, password)
        if settings.tls:
            client.tls_set_context(_context(settings))

    def start(self) -> None:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        properties.MaximumPacketSize = MAX_PACKET
        # clean_start False from the first connect on: else Mosquitto does not keep the session over its own restart.
        self._client.connect_async(
            self._settings.host, self._settings.port, KEEPALIVE_S, clean_start=False, properties=properties
        )
        self._client.loop_start()

    def stop(self) -> None:
        """What is not acknowledged comes again, here or to another worker."""
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def connection(self) -> int:
        """Counts the connections; 0 before the first."""
        return self._connection

    @property
    def listening_since(self) -> float | None:
        """Unix s; None while it is not connected."""
        return self._since

    def receive(self, most: int, timeout: float) -> list[Inbound]:
        """What has come, at most `most`; waits for the first at most `timeout` seconds."""
        batch: list[Inbound] = []
        try:
            batch.append(self._inbox.get(timeout=timeout))
            while len(batch) < most:
                batch.append(self._inbox.get_nowait())
        except queue.Empty:
            pass
        metrics.QUEUE.set(self._inbox.qsize())
        return [one for one in batch if one.connection == self._connection]

    def acknowledge(self, batch: list[Inbound]) -> None:
        """To the broker: it may forget them."""
        for one in batch:
            if one.connection == self._connection:
                self._client.ack(one.mid, one.qos)

    def send(self, topic: str, payload: bytes) -> bool:
        """Publish, to be sent as soon as there is a connection. False: too much waits already."""
        sent = self._client.publish(topic, payload, qos=1, properties=_content())
        return sent.rc is not MQTTErrorCode.MQTT_ERR_QUEUE_SIZE

    def retain(self, messages: Mapping[str, bytes]) -> set[str]:
        """See `publish.Sender`."""
        with self._retaining:  # publishing, and reconciling in another thread
            return self._retain(messages)

    def _retain(self, messages: Mapping[str, bytes]) -> set[str]:
        with self._confirmed:
            answers: dict[int, bool] = {}
            self._answers = answers
        # Not under the lock: paho holds one of its own when it calls `_on_publish`, and takes it in `publish`.
        sent = {
            topic: self._client.publish(topic, payload, qos=1, retain=True, properties=_content()).mid
            for topic, payload in messages.items()
        }
        with self._confirmed:
            self._unconfirmed = set(sent.values()) - answers.keys()
            self._confirmed.wait_for(lambda: not self._unconfirmed, CONFIRM_S)
            self._answers = None
        return {topic for topic, mid in sent.items() if answers.get(mid)}

    def retained_cases(self, timeout: float = CONFIRM_S) -> dict[str, bytes]:
        """Case topics as the broker holds them. Raises TimeoutError where it does not tell them all in time."""
        self._marked.clear()
        found: dict[str, bytes] = {}
        self._retained = found
        try:
            self._client.subscribe(CASES, qos=0)
            self._client.publish(self._mark, b"", qos=0)
            if not self._marked.wait(timeout):
                raise TimeoutError("the broker does not tell which cases it holds")
            return found
        finally:
            self._retained = None
            self._client.unsubscribe(CASES)

    # -- paho's thread -----------------------------------------------------------------------------------------------

    def _troubled(self, why: str) -> None:
        if self._trouble != why:
            log.warning("broker %s:%d: %s", self._settings.host, self._settings.port, why)
        self._trouble = why

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Any) -> None:
        if reason.is_failure:
            self._troubled(f"it said: {reason}")
            return
        self._trouble = ""
        self._connection += 1
        self._since = self._clock.now()
        metrics.CONNECTED.set(1)
        log.info("connected to the broker %s:%d", self._settings.host, self._settings.port)
        share = f"$share/{self._settings.share_group.get_secret_value()}/{PREFIX}/+/+"
        # Health goes to every worker, as it comes: the share of a worker that died waits in its session until that
        # expires, and half of all nodes would seem silent. Nothing retained: that may be old.
        health = SubscribeOptions(qos=0, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
        shared = SubscribeOptions(qos=1)
        client.subscribe([(f"{share}/alarm/+", shared), (f"{share}/status", shared), (f"{PREFIX}/+/+/health", health)])

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: ReasonCode, _props: Any) -> None:
        self._since = None
        metrics.CONNECTED.set(0)
        if reason.is_failure:  # else it was asked for
            self._troubled(f"connection lost: {reason}")

    def _on_subscribe(self, _client: Any, _data: Any, _mid: int, reasons: list[ReasonCode], _props: Any) -> None:
        for reason in reasons:
            if reason.is_failure:
                log.error("the broker does not let dispatch subscribe: %s", reason)

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""  # of no contract; `intake.read` says so
        if topic == self._mark:
            self._marked.set()
            return
        if topic.startswith(PREFIX) and "/-/case/" in topic:
            if self._retained is not None and message.retain and message.payload:
                self._retained[topic] = bytes(message.payload)
            return
        received = Received(topic, bytes(message.payload), self._clock.now())
        try:
            self._inbox.put_nowait(Inbound(received, message.mid, message.qos, self._connection))
        except queue.Full:
            metrics.OVERFLOWN.inc()  # not acknowledged: its node sends it again

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: ReasonCode, _props: Any) -> None:
        if reason.is_failure:
            self._troubled(f"it does not take a message of dispatch: {reason}")
        with self._confirmed:
            if self._answers is not None:
                self._answers[mid] = not reason.is_failure
                self._unconfirmed.discard(mid)
                if not self._unconfirmed:
                    self._confirmed.notify()


def _no_delay(_client: Any, _data: Any, sock: Any) -> None:
    # Else a small packet waits for the other end's delayed TCP acknowledgement of the one before it: 40 ms.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@cache  # paho takes long to make them
def _content() -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ContentType = CONTENT_TYPE
    properties.PayloadFormatIndicator = 1  # UTF-8
    return properties


def _context(settings: Mqtt) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.cert is not None:
            context.load_cert_chain(settings.cert, settings.key, password="")  # else it asks a terminal
    except OSError as error:
        files = ", ".join(str(f) for f in (settings.ca, settings.cert, settings.key) if f is not None)
        raise LinkError(f"mqtt: the certificate files cannot be used ({files}): {error}") from error
    return context
