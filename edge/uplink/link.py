"""One connection to the broker, from the name look-up to its end. No threads: all happens in the caller's `turn`.

paho-mqtt is driven by its external-loop interface, so its callbacks run inside `turn`, only take notes, and the network
is read no faster than the notes are dealt with. A connection that ended is thrown away, with paho's client: what was
not confirmed is the journal's to know, and a message must not be repeated with the age it once had.

The session at the broker outlives the connection. `clean_start` is False from the first connect on, because Mosquitto
keeps a session over its own restart only if it was opened so.
"""

from __future__ import annotations

import select
import socket
import ssl
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from broker.messages import CONTENT_TYPE, MAX_PACKET
from edge.site.model import Mqtt
from edge.uplink.tls import TlsFileError, client_context, words

KEEPALIVE_S = 15
"""A dead line is noticed after twice this by the node, after one and a half by the broker."""
CONNECT_TIMEOUT_S = 10.0
SESSION_EXPIRY_S = 3600
"""Acks and commands wait so long for a node that is away. Longer would carry out commands that nobody expects."""
MAX_INFLIGHT = 20
RECEIVE_MAXIMUM = 64
_TOPIC_AND_PROPERTIES = 512  # bytes of a packet that are not payload: topics of this contract have at most 170


class LinkCause(StrEnum):
    """Why the connection is not as it should be; texts and what to do about it in the catalogues: `mqtt.cause.*`,
    `mqtt.do.*`."""

    NONE = "none"
    DNS = "dns"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    TLS = "tls"
    AUTH = "auth"
    CLOSED = "closed"
    TAKEN_OVER = "taken_over"  # somebody else connected under this node's name
    DENIED = "denied"  # connected, but the broker forbids a topic
    UNCONFIRMED = "unconfirmed"  # connected, but dispatch confirms nothing
    INTERNAL = "internal"


class LinkError(Exception):
    """The connection could not be made, or ended. `text` is one line without secrets."""

    def __init__(self, cause: LinkCause, text: str) -> None:
        self.cause = cause
        self.text = " ".join(text.split())
        super().__init__(f"{cause}: {self.text}")


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message that came in."""

    topic: str
    payload: bytes
    retain: bool = False
    dup: bool = False
    response_topic: str | None = None
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The broker's answer to one publish.

    refusal: its reason, None where it took the message. heard: whether anybody has subscribed, as far as it says so.
    """

    number: int
    refusal: str | None
    heard: bool


class Waker:
    """Ends a `turn` early, from any thread; any number of calls before it count as one."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        return self._reader.fileno()

    def wake(self) -> None:
        try:
            self._writer.send(b"x")
        except OSError:
            return  # full: it has been called a thousand times already; closed: nobody waits any more

    def wait(self, timeout: float) -> None:
        """Until woken, at most `timeout` seconds."""
        poll = select.poll()
        poll.register(self, select.POLLIN)
        if poll.poll(timeout * 1000):
            self.clear()

    def clear(self) -> None:
        try:
            while self._reader.recv(4096):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


def explain(error: OSError | UnicodeError, where: str) -> LinkError:
    """What a failed connect means, in one line."""
    if isinstance(error, socket.gaierror | UnicodeError):
        return LinkError(LinkCause.DNS, f"{where}: the name cannot be resolved ({error})")
    if isinstance(error, ConnectionRefusedError):
        return LinkError(LinkCause.REFUSED, f"{where}: nobody listens there")
    if isinstance(error, TimeoutError):
        return LinkError(LinkCause.TIMEOUT, f"{where}: no answer within {CONNECT_TIMEOUT_S:g} s")
    if isinstance(error, ssl.SSLError):
        return LinkError(LinkCause.TLS, f"{where}: {words(error)}")
    if isinstance(error, ConnectionError):
        return LinkError(LinkCause.CLOSED, f"{where}: {words(error)}")
    return LinkError(LinkCause.UNREACHABLE, f"{where}: {words(error)}")


_NO_MATCHING_SUBSCRIBERS = 0x10
_CAUSES = {
    0x86: LinkCause.AUTH,  # bad user name or password
    0x87: LinkCause.AUTH,  # not authorized
    0x8A: LinkCause.AUTH,  # banned
    0x8C: LinkCause.AUTH,  # bad authentication method
    0x8D: LinkCause.TIMEOUT,  # keep alive timeout
    0x8E: LinkCause.TAKEN_OVER,
}


class Link:
    """Make it, `open` it, then call `turn` again and again; each may raise LinkError. `close` in any case."""

    def __init__(
        self, settings: Mqtt, client_id: str, will: tuple[str, bytes] | None, keepalive_s: int = KEEPALIVE_S
    ) -> None:
        """will: topic and payload of the retained last will."""
        self._settings = settings
        self._keepalive_s = keepalive_s
        self._where = f"{settings.host}:{settings.port}"
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(MAX_INFLIGHT)  # whoever publishes asks for `room`, so paho never queues
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_log = self._on_log
        if settings.username is not None:
            client.username_pw_set(
                settings.username, settings.password.get_secret_value() if settings.password is not None else None
            )
        if will is not None:
            client.will_set(*will, qos=1, retain=True, properties=_content(PacketTypes.WILLMESSAGE))
        self._open_publishes: set[int] = set()
        self._received: list[Inbound] = []
        self._receipts: list[Receipt] = []
        self._error_in_log = ""
        self._end: LinkError | None = None
        self._window = MAX_INFLIGHT
        self.up = False
        self.max_payload = MAX_PACKET - _TOPIC_AND_PROPERTIES
        self.denied: list[str] = []
        """Subscriptions that the broker refused, with its reason."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Connect and send CONNECT; blocks for at most a few times CONNECT_TIMEOUT_S. `up` once the broker agrees."""
        if self._settings.tls:
            try:
                context = client_context(self._settings.ca, self._settings.cert, self._settings.key)
            except TlsFileError as error:
                raise LinkError(LinkCause.TLS, str(error)) from error
            self._client.tls_set_context(context)
        properties = _properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        properties.MaximumPacketSize = MAX_PACKET
        try:
            self._client.connect(
                self._settings.host, self._settings.port, self._keepalive_s, clean_start=False, properties=properties
            )
        except (OSError, UnicodeError) as error:
            raise explain(error, self._where) from error
        sock = self._client.socket()
        if isinstance(sock, socket.socket):
            # Else a small packet waits for the other end's delayed TCP acknowledgement of the one before it: 40 ms.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def turn(self, waker: Waker, timeout: float) -> None:
        """Wait for the network or the waker, at most `timeout` seconds, and do what the network wants."""
        sock = self._client.socket()
        if sock is not None and not isinstance(sock, socket.socket):
            raise TypeError(f"paho gave a {type(sock).__name__} where a socket was expected")
        if sock is not None:
            poll = select.poll()
            poll.register(waker, select.POLLIN)
            poll.register(sock, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
            decrypted = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
            ready = dict(poll.poll(0 if decrypted else timeout * 1000))
            state = ready.get(sock.fileno(), 0)
            if waker.fileno() in ready:
                waker.clear()
            if decrypted or state & ~select.POLLOUT:
                self._client.loop_read()
            if state & select.POLLOUT and self._client.want_write():
                self._client.loop_write()
            self._client.loop_misc()
        if self._end is not None:
            raise self._end
        if self._client.socket() is None:
            raise LinkError(LinkCause.CLOSED, f"{self._where}: connection lost")

    @property
    def room(self) -> int:
        """How many more messages may be published before the broker confirms one; publish no more than that."""
        return self._window - len(self._open_publishes) if self.up else 0

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, correlation: bytes | None = None) -> int:
        """Send with QoS 1. Gives the number that its receipt will carry."""
        properties = _content(PacketTypes.PUBLISH)
        if correlation is not None:
            properties.CorrelationData = correlation
        number = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties).mid
        self._open_publishes.add(number)
        return number

    def subscribe(self, *filters: str) -> None:
        """With QoS 1, and never what is retained: these topics carry events."""
        options = SubscribeOptions(qos=1, noLocal=True, retainAsPublished=True, retainHandling=2)
        self._client.subscribe([(f, options) for f in filters])

    def receipts(self) -> list[Receipt]:
        """Those that came since the last call."""
        taken, self._receipts = self._receipts, []
        return taken

    def received(self) -> list[Inbound]:
        """What came in since the last call."""
        taken, self._received = self._received, []
        return taken

    def say_goodbye(self) -> None:
        """Tell the broker that this is a wanted end, so that it drops the last will."""
        self._client.disconnect()

    def close(self) -> None:
        """End the connection at once; without a goodbye before, the broker publishes the last will."""
        sock = self._client.socket()
        if sock is not None:
            sock.close()

    # -- paho's callbacks: they take notes ---------------------------------------------------------------------------

    def _ended(self, cause: LinkCause, text: str) -> None:
        self._end = self._end or LinkError(cause, f"{self._where}: {text}")

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: ReasonCode, props: Any) -> None:
        if reason.is_failure:
            self._ended(_CAUSES.get(reason.value, LinkCause.CLOSED), f"the broker said: {reason}")
            return
        self._window = max(1, min(MAX_INFLIGHT, getattr(props, "ReceiveMaximum", MAX_INFLIGHT)))
        packet = getattr(props, "MaximumPacketSize", MAX_PACKET)
        self.max_payload = min(self.max_payload, packet - _TOPIC_AND_PROPERTIES)
        self.up = True

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: ReasonCode, _props: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            self._ended(_CAUSES.get(reason.value, LinkCause.CLOSED), f"the broker said: {reason}")
        elif self._settings.tls and not self.up:
            # TLS 1.3: the broker looks at the certificate after the handshake; its word is lost if CONNECT crosses it.
            why = self._error_in_log or "closed without a word"
            self._ended(LinkCause.TLS, f"the broker does not seem to accept the node's certificate: {why}")
        elif "keep" in str(reason).lower():
            self._ended(LinkCause.TIMEOUT, f"the broker has been silent for {2 * self._keepalive_s} s")
        elif not self.up:
            self._ended(
                LinkCause.CLOSED,
                "closed before the broker answered: a wrong user name or password, or no MQTT 5 broker? "
                f"{self._error_in_log}",
            )
        else:
            self._ended(LinkCause.CLOSED, f"connection lost {self._error_in_log}".rstrip())

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""  # of no contract; whoever looks at it says so
        properties = message.properties
        self._received.append(
            Inbound(
                topic=topic,
                payload=bytes(message.payload),
                retain=message.retain,
                dup=message.dup,
                response_topic=getattr(properties, "ResponseTopic", None),
                correlation=getattr(properties, "CorrelationData", None),
            )
        )

    def _on_publish(self, _client: Any, _data: Any, number: int, reason: ReasonCode, _props: Any) -> None:
        self._open_publishes.discard(number)
        refusal = str(reason) if reason.is_failure else None
        self._receipts.append(Receipt(number, refusal, heard=reason.value != _NO_MATCHING_SUBSCRIBERS))

    def _on_subscribe(self, _client: Any, _data: Any, _mid: int, reasons: list[ReasonCode], _props: Any) -> None:
        self.denied += [str(reason) for reason in reasons if reason.is_failure]

    def _on_log(self, _client: Any, _data: Any, level: int, text: str) -> None:
        if level == LogLevel.MQTT_LOG_ERR:
            self._error_in_log = text


def _properties(packet: int) -> Properties:
    return Properties(packet)  # type: ignore[no-untyped-call]


def _content(packet: int) -> Properties:
    properties = _properties(packet)
    properties.ContentType = CONTENT_TYPE
    properties.PayloadFormatIndicator = 1  # UTF-8
    return properties
