"""The node's line to the broker: alarms out of the journal, status, health, commands (design: section 5).

One thread owns everything here: the connection, what is under way on it, what is sent next. `wake` and
`status_changed` only leave it a note, so neither a slow broker nor a dead one ever holds up a camera. What is not
confirmed stays in the journal; memory holds `outbox.CAPACITY` events and no more.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from broker.messages import Ack, Health, Message, MessageError, NodeTopics, Status
from edge.beat import Beats
from edge.clock import Clock, Stamp, backoff_s
from edge.journal.journal import Journal
from edge.site.model import Mqtt
from edge.uplink.commands import CommandDesk, Handler
from edge.uplink.link import CONNECT_TIMEOUT_S, KEEPALIVE_S, Link, LinkCause, LinkError, Waker
from edge.uplink.mapping import alarm_message, without_evidence
from edge.uplink.outbox import Outbox
from edge.values import AlarmEvent, LinkState

log = logging.getLogger(__name__)

BACKOFF_S = (1.0, 30.0)
"""Pause before the next attempt: the first, and the longest; doubled each time, times 0.5 to 1 by chance."""
STEADY_S = 10.0
"""A connection that lasted so long begins the pauses anew."""
BROKER_PATIENCE_S = 60.0
"""A broker that answers pings but confirms nothing for so long, and for so many turns, is left. The turns are there for
a computer that slept: its clock has moved, what came in the meantime is still to be read."""
_PATIENT_TURNS = 50
GOODBYE_S = 2.0
_TURN_S = 1.0
_STANDS_STILL_S = 180.0  # a name server that does not answer, then each address of the broker

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Sent:
    topic: str
    at: float
    event_id: str | None = None


class MqttUplink:
    """See the module.

    status, health: asked from the uplink's thread when they are due. commands: by name; carried out one at a time in a
    thread of their own, an expected failure raises `commands.CommandError`. Raises broker.messages.MessageError for a
    site or node that no topic may hold. `start` and `stop` once each.
    """

    def __init__(
        self,
        settings: Mqtt,
        site: str,
        node: str,
        journal: Journal,
        clock: Clock,
        *,
        status: Callable[[], Status],
        health: Callable[[], Health],
        commands: Mapping[str, Handler],
        health_period_s: float = 30.0,
        keepalive_s: int = KEEPALIVE_S,
        beats: Beats | None = None,
    ) -> None:
        self._settings = settings
        self._topics = NodeTopics(site, node)
        self._clock = clock
        self._status = status
        self._health = health
        self._health_period_s = health_period_s
        self._keepalive_s = keepalive_s
        self._waker = Waker()
        self._beat = (beats or Beats()).loop("mqtt", _STANDS_STILL_S)
        self._outbox = Outbox(journal, settings.resend_s)
        self._desk = CommandDesk(self._topics, commands, self._waker.wake)
        self._thread = threading.Thread(target=self._run, name="mqtt-uplink", daemon=True)
        self._stopping = threading.Event()
        self._state = LinkState.OFF
        self._trouble: LinkError | None = None
        self._untold: set[str] = set()  # what the node cannot say about itself
        # Of the present connection:
        self._sent: dict[int, _Sent] = {}
        self._turns_unheard = 0
        self._complaints: dict[str, str] = {}  # topic -> why the broker does not take it
        self._status_due = threading.Event()
        self._last_status: bytes | None = None
        self._health_at = 0.0

    # -- for others: any thread, never waiting -----------------------------------------------------------------------

    def start(self) -> None:
        """Connect in the background, and again whenever the connection ends."""
        self._state = LinkState.CONNECTING
        self._desk.start()
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye and end; waits a few seconds at most. What is not confirmed stays in the journal."""
        self._stopping.set()
        self._waker.wake()
        self._thread.join(GOODBYE_S + CONNECT_TIMEOUT_S)
        if self._thread.is_alive():
            log.warning("the broker connection hangs; it is left behind")
        self._desk.stop()
        self._state = LinkState.OFF

    def wake(self) -> None:
        """The journal has something new."""
        self._waker.wake()

    def status_changed(self) -> None:
        """What `status` gives is not what it was."""
        self._status_due.set()
        self._waker.wake()

    def health_changed(self) -> None:
        """A camera was lost, or sees again: this does not wait for the period to end."""
        self._health_at = float("-inf")
        self._waker.wake()

    @property
    def state(self) -> LinkState:
        return self._state

    @property
    def cause(self) -> LinkCause:
        """Why the connection is not as it should be; texts under `mqtt.cause.*`, what to do under `mqtt.do.*`."""
        trouble = self._trouble
        return trouble.cause if trouble is not None else LinkCause.NONE

    @property
    def detail(self) -> str:
        """One line for the installer, `<cause>: <what>`, without secrets; empty while all is well."""
        trouble = self._trouble
        return str(trouble) if trouble is not None else ""

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = self._clock.now().mono
            self._beat.work(began)
            try:
                self._connection()
            except LinkError as error:
                failure = error
            except Exception as error:  # alarms must find their way out again, whatever is wrong here
                failure = LinkError(LinkCause.INTERNAL, f"{type(error).__name__}; the log says more")
                if str(failure) != self.detail:
                    log.exception("the uplink failed; it starts over")
            else:
                break
            failures = 0 if self._clock.now().mono - began >= STEADY_S else failures + 1
            if self._trouble is None or self._trouble.cause is not failure.cause:
                log.warning("broker: %s", failure)
            self._trouble, self._state = failure, LinkState.DOWN
            self._pause(failures)
        self._state = LinkState.OFF
        self._beat.rest()
        self._waker.close()

    def _pause(self, failures: int) -> None:
        pause = backoff_s(failures + 1, *BACKOFF_S) * random.uniform(0.5, 1.0)  # noqa: S311 no secret
        until = self._clock.now().mono + pause
        while not self._stopping.is_set() and (left := until - self._clock.now().mono) > 0:
            self._beat.work(self._clock.now().mono)
            self._waker.wait(min(left, _TURN_S))

    def _connection(self) -> None:
        """One connection from its beginning to its end. Returns only when the node stops."""
        self._sent.clear()
        self._turns_unheard = 0
        client_id = f"{self._topics.site}:{self._topics.node}"  # unique; a slash is refused by some brokers
        with Link(self._settings, client_id, self._will(), self._keepalive_s) as link:
            link.open()
            began = self._clock.now().mono
            while not link.up:
                if self._stopping.is_set():
                    return
                if self._clock.now().mono - began > CONNECT_TIMEOUT_S:
                    raise LinkError(LinkCause.TIMEOUT, f"{self._settings.host}: connected, but no MQTT answer")
                link.turn(self._waker, _TURN_S)
            self._greet(link)
            while not self._stopping.is_set():
                self._beat.work(self._clock.now().mono)
                self._take_in(link)
                self._send_out(link)
                self._trouble = self._what_ails()
                link.turn(self._waker, _TURN_S)
            self._say_goodbye(link)

    def _greet(self, link: Link) -> None:
        now = self._clock.now().mono
        link.subscribe(self._topics.ack, self._topics.commands)
        self._outbox.restart(now)
        self._complaints = {}
        self._last_status = None
        self._status_due.set()
        self._health_at = now
        self._trouble, self._state = None, LinkState.UP
        log.info("connected to the broker %s:%d", self._settings.host, self._settings.port)

    def _what_ails(self) -> LinkError | None:
        for text in self._complaints.values():
            return LinkError(LinkCause.DENIED, text)
        silent = self._outbox.silent_s(self._clock.now().mono)
        if silent > 2 * self._settings.resend_s:
            return LinkError(LinkCause.UNCONFIRMED, f"the broker takes alarms, nobody confirmed any for {silent:.0f} s")
        return None

    # -- in ----------------------------------------------------------------------------------------------------------

    def _take_in(self, link: Link) -> None:
        now = self._clock.now().mono
        confirmed: list[str] = []
        receipts = link.receipts()
        self._turns_unheard = 0 if receipts or not self._sent else self._turns_unheard + 1
        for receipt in receipts:
            sent = self._sent.pop(receipt.number, None)
            if sent is None:
                continue
            if receipt.refusal is None:
                self._complaints.pop(sent.topic, None)
                if sent.event_id is not None and self._settings.confirm == "puback":
                    confirmed.append(sent.event_id)
                elif sent.event_id is not None and not receipt.heard:
                    self._outbox.unheard(sent.event_id, now)
            else:
                self._complain(sent.topic, f"the broker does not take {sent.topic}: {receipt.refusal}")
                if sent.event_id is not None:
                    self._outbox.refused(sent.event_id)
        for reason in link.denied:
            self._complain("", f"the broker does not let the node subscribe to its own topics: {reason}")
        for inbound in link.received():
            if inbound.topic != self._topics.ack:
                self._desk.take(inbound)
            elif not inbound.retain:
                confirmed += self._acked(inbound.payload)
        self._outbox.stored(confirmed, now)
        oldest = min((sent.at for sent in self._sent.values()), default=now)
        if now - oldest > BROKER_PATIENCE_S and self._turns_unheard > _PATIENT_TURNS:
            raise LinkError(LinkCause.TIMEOUT, f"the broker has confirmed nothing for {BROKER_PATIENCE_S:g} s")

    def _acked(self, payload: bytes) -> tuple[str, ...]:
        if self._settings.confirm != "dispatch":
            return ()
        try:
            return Ack.from_payload(payload).ids
        except MessageError as error:
            log.warning("an ack that cannot be read: %s", error)
            return ()

    def _complain(self, topic: str, text: str) -> None:
        if topic not in self._complaints:
            log.error("broker: %s", text)
        self._complaints[topic] = text

    # -- out ---------------------------------------------------------------------------------------------------------

    def _send_out(self, link: Link) -> None:
        now = self._clock.now()
        if link.room and self._status_due.is_set():
            self._status_due.clear()
            self._send_status(link)
        if link.room and now.mono >= self._health_at:
            self._health_at = now.mono + self._health_period_s
            self._send_message(link, self._topics.health, self._guarded(self._health, "health"))
        for answer in self._desk.answers(link.room):
            if len(answer.payload) <= link.max_payload:
                self._publish(link, answer.topic, answer.payload, correlation=answer.correlation)
            else:
                log.error("a reply of %d bytes is more than this broker takes", len(answer.payload))
        for event in self._outbox.due(now.mono, link.room):
            self._send_alarm(link, event, now)

    def _send_status(self, link: Link) -> None:
        status = self._guarded(self._status, "status")
        payload = self._guarded(status.to_payload, self._topics.status) if status is not None else None
        if payload is not None and payload != self._last_status:
            self._last_status = payload
            self._publish(link, self._topics.status, payload, retain=True)

    def _send_message(self, link: Link, topic: str, message: Message | None) -> None:
        payload = self._guarded(message.to_payload, topic) if message is not None else None
        if payload is None:
            return
        if len(payload) > link.max_payload:
            self._complain(topic, f"{topic}: {len(payload)} bytes, this broker takes at most {link.max_payload}")
            return
        self._publish(link, topic, payload, retain=True)

    def _send_alarm(self, link: Link, event: AlarmEvent, now: Stamp) -> None:
        try:
            message = alarm_message(event, now)
            topic = self._topics.alarm(event.instance.rule)
            payload = message.to_payload()
            if len(payload) > link.max_payload:
                payload = without_evidence(message).to_payload()
        except ValueError as error:  # pydantic's, and MessageError: the event breaks the contract
            self._outbox.set_aside(event.id, str(error))
            return
        if len(payload) > link.max_payload:
            self._outbox.set_aside(event.id, f"{len(payload)} bytes, this broker takes at most {link.max_payload}")
            return
        self._outbox.sent(event.id, now.mono)
        self._publish(link, topic, payload, event_id=event.id)

    def _publish(
        self,
        link: Link,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        correlation: bytes | None = None,
        event_id: str | None = None,
    ) -> None:
        number = link.publish(topic, payload, retain=retain, correlation=correlation)
        self._sent[number] = _Sent(topic, self._clock.now().mono, event_id)

    def _guarded(self, ask: Callable[[], _T], what: str) -> _T | None:
        """What the node says about itself, or None, with the reason in the log when that begins: alarms go out even
        where that fails."""
        try:
            told = ask()
        except Exception:  # any part of the node may be behind it
            if what not in self._untold:
                self._untold.add(what)
                log.exception("%s cannot be told", what)
            return None
        self._untold.discard(what)
        return told

    # -- the end -----------------------------------------------------------------------------------------------------

    def _will(self) -> tuple[str, bytes] | None:
        payload = self._offline(since=None)
        return None if payload is None else (self._topics.status, payload)

    def _offline(self, since: float | None) -> bytes | None:
        status = self._guarded(self._status, "status")
        if status is None:
            return None
        offline = status.model_copy(update={"state": "offline", "since": since})
        return self._guarded(offline.to_payload, self._topics.status)

    def _say_goodbye(self, link: Link) -> None:
        payload = self._offline(since=self._clock.now().wall)
        for _ in range(int(GOODBYE_S / 0.1)):
            if payload is not None and link.room:
                self._publish(link, self._topics.status, payload, retain=True)
                payload = None
            if payload is None and not self._sent:
                break
            link.turn(self._waker, 0.1)
            self._take_in(link)
        link.say_goodbye()
