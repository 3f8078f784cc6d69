"""The worker's line to the broker: MQTT 5, a session that survives both ends, acknowledgements only on demand.

What comes waits in a bounded inbox (`inbox.py`): the broker holds back what is not acknowledged.

A connection that ended is thrown away, with paho's client. What was not acknowledged on it the broker brings again
under another number, and acknowledging the old number could hit a message that nobody has stored. What was not
confirmed on it must not go out on the next: a retained state would by then come after a newer one of another worker.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
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
from broker.dispatch.inbox import RECEIVE_MAXIMUM, Inbound, Inbox
from broker.dispatch.intake import Received
from broker.dispatch.settings import Mqtt
from broker.messages import CONTENT_TYPE, MAX_PACKET, PREFIX, case_topic

log = logging.getLogger(__name__)

SESSION_EXPIRY_S: Final = 300
"""A worker that is away for longer is not coming back; Mosquitto gives a session its share even while it is away."""
KEEPALIVE_S: Final = 15
CONFIRM_S: Final = 10.0
PAUSE_S: Final = (1.0, 30.0)
"""From one try to connect to the next, doubled each time up to the second."""
MAX_UNSENT: Final = 20_000
CASES: Final = f"{PREFIX}/+/-/case/+"


class LinkError(Exception):
    """The line cannot be made as the settings say."""


class _Client(paho.Client):
    """Tells when its loop, and so its thread, ended: by some ways paho leaves it without calling `on_disconnect`."""

    on_end: Callable[[], None] | None = None

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:
        on_end = self.on_end
        try:
            return super().loop_forever(timeout, retry_first_connection)
        finally:
            if on_end is not None:
                on_end()


class _Line:
    """One connection, from before it is made to its end. number, since: 0 and None until the broker agreed. refused: it
    said no."""

    def __init__(self, client: _Client) -> None:
        self.client = client
        self.number = 0
        self.since: float | None = None
        self.refused = False
        self.over = threading.Event()
        """It ended, or is to be left."""
        self.ended = threading.Event()

    @property
    def up(self) -> bool:
        return self.since is not None and not self.over.is_set()

    def release(self) -> None:
        """It ended. Its callbacks know it, and so would keep paho's sockets open until somebody looks for circles."""
        self.client.on_connect = self.client.on_disconnect = self.client.on_message = self.client.on_end = None


class Link:
    """start: in the background, again and again. Everything else from any thread; `receive` from one."""

    def __init__(self, settings: Mqtt, clock: Clock, inbox: Inbox | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._inbox = inbox or Inbox()
        self._tls = _context(settings) if settings.tls else None
        self._connection = 0
        self._trouble = ""
        self._retaining = threading.Lock()
        self._confirmed = threading.Condition()
        self._answers: dict[int, bool] | None = None
        self._unconfirmed: set[int] = set()
        self._retained: dict[str, bytes] | None = None
        self._marked = threading.Event()
        self._mark = case_topic("dispatch", str(uuid7()))
        """A case of nobody: a message to oneself, which comes behind what the broker had retained before it."""
        self._stopping = threading.Event()
        self._line = self._new_line()
        self._thread = threading.Thread(target=self._keep, name="link", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What is not acknowledged comes again, here or to another worker."""
        self._stopping.set()
        self._leave(self._line)
        self._thread.join()

    @property
    def connection(self) -> int:
        """Counts the connections; 0 before the first."""
        return self._connection

    @property
    def listening_since(self) -> float | None:
        """Unix s; None while it is not connected."""
        line = self._line
        return line.since if line.up else None

    def receive(self, most: int, timeout: float) -> list[Inbound]:
        """What has come, at most `most`; waits for the first at most `timeout` seconds.

        What an earlier call gave has been acknowledged by now, or is not going to be.
        """
        line = self._line
        if line.up and self._inbox.spilled and not self._inbox.owed:
            self._leave(line)  # only now: what could be stored is acknowledged, and so does not come again
        return self._inbox.take(most, timeout)

    def acknowledge(self, batch: list[Inbound]) -> None:
        """To the broker: it may forget them."""
        line = self._line
        for one in batch:
            if one.qos and one.connection == line.number and line.up:
                line.client.ack(one.mid, one.qos)

    def send(self, topic: str, payload: bytes) -> bool:
        """Publish. False: there is no connection, or too much waits already."""
        line = self._line
        if not line.up:
            return False
        sent = line.client.publish(topic, payload, qos=1, properties=_content())
        return sent.rc is MQTTErrorCode.MQTT_ERR_SUCCESS

    def retain(self, messages: Mapping[str, bytes]) -> set[str]:
        """See `publish.Sender`. What is not confirmed in time will not come later: the connection is left."""
        with self._retaining:  # publishing, and reconciling in another thread
            return self._retain(messages)

    def _retain(self, messages: Mapping[str, bytes]) -> set[str]:
        line = self._line
        if not line.up:
            return set()
        with self._confirmed:
            answers: dict[int, bool] = {}
            self._answers = answers
        # Not under the lock: paho holds one of its own when it calls `_on_publish`, and takes it in `publish`.
        published = {
            topic: line.client.publish(topic, payload, qos=1, retain=True, properties=_content())
            for topic, payload in messages.items()
        }
        sent = {t: info.mid for t, info in published.items() if info.rc is not MQTTErrorCode.MQTT_ERR_QUEUE_SIZE}
        with self._confirmed:
            self._unconfirmed = set(sent.values()) - answers.keys()
            in_time = self._confirmed.wait_for(lambda: not self._unconfirmed or line.over.is_set(), CONFIRM_S)
            self._answers = None
        if not in_time:
            log.error("the broker confirms nothing for %g s; connecting anew", CONFIRM_S)
            self._leave(line)
        return {topic for topic, mid in sent.items() if answers.get(mid)}

    def retained_cases(self, timeout: float = CONFIRM_S) -> dict[str, bytes]:
        """Case topics as the broker holds them. Raises TimeoutError where it does not tell them all in time."""
        client = self._line.client
        self._marked.clear()
        found: dict[str, bytes] = {}
        self._retained = found
        try:
            client.subscribe(CASES, qos=0)
            client.publish(self._mark, b"", qos=0)
            if not self._marked.wait(timeout):
                raise TimeoutError("the broker does not tell which cases it holds")
            return found
        finally:
            self._retained = None
            client.unsubscribe(CASES)

    # -- one connection after the other ------------------------------------------------------------------------------

    def _keep(self) -> None:
        pause, longest = PAUSE_S
        while not self._stopping.is_set():
            line = self._line
            self._hold(line)
            line.release()
            pause = PAUSE_S[0] if line.number else min(2 * pause, longest)
            self._stopping.wait(pause)
            self._line = self._new_line()

    def _hold(self, line: _Line) -> None:
        """Connect; until the connection ended."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        properties.MaximumPacketSize = MAX_PACKET
        where = (self._settings.host, self._settings.port, KEEPALIVE_S)
        try:
            # clean_start False from the first connect on: else Mosquitto does not keep the session over its restart.
            line.client.connect(*where, clean_start=False, properties=properties)
        except (OSError, UnicodeError) as error:
            self._troubled(f"cannot be reached: {error}")
            return
        line.client.loop_start()
        line.over.wait()
        line.client.disconnect()
        line.ended.wait()

    def _leave(self, line: _Line) -> None:
        line.over.set()
        with self._confirmed:
            self._confirmed.notify_all()

    def _new_line(self) -> _Line:
        settings = self._settings
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        line = _Line(client)
        client.max_inflight_messages_set(RECEIVE_MAXIMUM)
        client.max_queued_messages_set(MAX_UNSENT)
        client.on_connect = lambda _c, _d, _f, reason, _p: self._on_connect(line, reason)
        client.on_disconnect = lambda _c, _d, _f, reason, _p: self._on_disconnect(line, reason)
        client.on_end = lambda: self._on_end(line)
        client.on_message = lambda _c, _d, message: self._on_message(line, message)
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_socket_open = _no_delay
        if settings.username is not None:
            password = settings.password.get_secret_value() if settings.password is not None else None
            client.username_pw_set(settings.username, password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        return line

    # -- paho's thread -----------------------------------------------------------------------------------------------

    def _troubled(self, why: str) -> None:
        if self._trouble != why:
            log.warning("broker %s:%d: %s", self._settings.host, self._settings.port, why)
        self._trouble = why

    def _on_connect(self, line: _Line, reason: ReasonCode) -> None:
        if reason.is_failure:
            line.refused = True
            self._troubled(f"it said: {reason}")
            return
        self._trouble = ""
        self._inbox.forget_owed()
        self._connection += 1
        line.number = self._connection
        line.since = self._clock.now()
        metrics.CONNECTED.set(1)
        log.info("connected to the broker %s:%d", self._settings.host, self._settings.port)
        share = f"$share/{self._settings.share_group.get_secret_value()}/{PREFIX}/+/+"
        # Health goes to every worker, as it comes: the share of a worker that died waits in its session until that
        # expires, and half of all nodes would seem silent. Nothing retained: that may be old.
        health = SubscribeOptions(qos=0, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
        shared = SubscribeOptions(qos=1)
        line.client.subscribe(
            [(f"{share}/alarm/+", shared), (f"{share}/status", shared), (f"{PREFIX}/+/+/health", health)]
        )

    def _on_disconnect(self, line: _Line, reason: ReasonCode) -> None:
        metrics.CONNECTED.set(0)
        if reason.is_failure and not line.refused:  # else it was asked for, or why is told already
            self._troubled(f"connection lost: {reason}")
        line.ended.set()
        self._leave(line)

    def _on_end(self, line: _Line) -> None:
        """Whatever ended paho's loop, even an error in it: else `_hold` would wait for ever."""
        if line.ended.is_set():
            return
        metrics.CONNECTED.set(0)
        if not line.over.is_set():
            self._troubled("connection lost: it cannot be read any more")
        line.ended.set()
        self._leave(line)

    def _on_subscribe(self, _client: Any, _data: Any, _mid: int, reasons: list[ReasonCode], _props: Any) -> None:
        for reason in reasons:
            if reason.is_failure:
                log.error("the broker does not let dispatch subscribe: %s", reason)

    def _on_message(self, line: _Line, message: paho.MQTTMessage) -> None:
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
        spilled = self._inbox.spilled
        if self._inbox.put(Inbound(received, message.mid, message.qos, line.number)):
            return
        if message.qos == 0:
            metrics.DROPPED.inc()
            return
        metrics.OVERFLOWN.inc()
        if not spilled:
            log.error("the broker has more under way to this worker than it may; it will bring the rest once more")

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: ReasonCode, _props: Any) -> None:
        if reason.is_failure:
            self._troubled(f"it does not take a message of dispatch: {reason}")
        with self._confirmed:
            if self._answers is not None:
                self._answers[mid] = not reason.is_failure
                self._unconfirmed.discard(mid)
                if not self._unconfirmed:
                    self._confirmed.notify_all()


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
