"""Does the broker let this node in, and to its own topics?"""

from __future__ import annotations

import os
import queue
import ssl
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from broker.messages import NodeTopics, Reply
from edge.doctor.certificate import SOON_DAYS, days_left
from edge.doctor.network import CONNECT_S, Far, knock
from edge.doctor.result import Result
from edge.site.model import Mqtt
from edge.uplink.tls import TlsFileError, client_context

_NOT_LET_IN = (0x86, 0x87, 0x8A, 0x8C)  # bad user name or password, not authorized, banned, bad authentication method
_NO_MQTT5 = (0x01, 0x84)  # unsupported protocol version, in MQTT 3 and 5


def examine_broker(settings: Mqtt, site: str, node: str, wall: float, *, node_runs: bool = False) -> Result:
    """Connect as the node does, but under a client id of its own: a running node keeps its connection and session.

    With a certificate that does not help: a broker in production knows a client by its certificate alone, and a second
    login ends the first. So while the node runs, only the certificates of both sides are tried.
    """
    far = Far("broker", "uplinks.mqtt", settings.host, settings.port)
    try:
        context = client_context(settings.ca, settings.cert, settings.key) if settings.tls else None
        ends = None if context is None else knock(far, context)
        if node_runs and ends is not None and settings.cert is not None:
            days = days_left(ends, wall)
            return far.found("ends_soon" if days < SOON_DAYS else "node_runs", days=days)
        trouble = _log_in(far, settings, context, NodeTopics(site, node))
    except TlsFileError:
        return far.found("files")  # `examine_certificates` says why
    except (OSError, UnicodeError) as error:
        return far.fault(error)
    if trouble is not None:
        return trouble
    if ends is None:
        return far.found("plain")
    days = days_left(ends, wall)
    return far.found("ends_soon" if days < SOON_DAYS else "ok", days=days)


class _Visit:
    """A short MQTT 5 connection that leaves nothing behind. What the broker says is put into `said`, in its order."""

    def __init__(self, settings: Mqtt, context: ssl.SSLContext | None) -> None:
        self.said: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"doctor-{os.urandom(6).hex()}",
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_S
        if context is not None:
            client.tls_set_context(context)
        if settings.username is not None:
            client.username_pw_set(
                settings.username, settings.password.get_secret_value() if settings.password is not None else None
            )
        client.on_connect = lambda _c, _d, _f, reason, _p: self.said.put(("connected", reason))
        client.on_publish = lambda _c, _d, _m, reason, _p: self.said.put(("published", reason))
        client.on_disconnect = lambda _c, _d, _f, reason, _p: self.said.put(("gone", reason))

    def hear(self, seconds: float) -> tuple[str, Any]:
        """The next word, and its reason code; `silent` when none comes."""
        try:
            return self.said.get(timeout=seconds)
        except queue.Empty:
            return "silent", None


def _log_in(far: Far, settings: Mqtt, context: ssl.SSLContext | None, topics: NodeTopics) -> Result | None:
    """None where the broker takes the node, and what it publishes.

    The message is a reply that nobody asked for, and so nobody minds. Subscribing would prove less: Mosquitto lets
    anybody subscribe to anything, and looks at its access list when there is something to deliver.
    """
    visit = _Visit(settings, context)
    client, topic = visit.client, topics.reply("doctor")
    # Also how long paho waits for the TLS handshake; longer than we wait, else it hangs up on a silent broker itself.
    client.connect(settings.host, settings.port, keepalive=2 * int(CONNECT_S), clean_start=True)
    client.loop_start()
    try:
        word, reason = visit.hear(CONNECT_S)
        if word == "connected" and not reason.is_failure:
            client.publish(topic, Reply(ok=True).to_payload(), qos=1)
            word, reason = visit.hear(CONNECT_S)
            if word == "published" and not reason.is_failure:
                return None
            if word != "silent":  # refused, or shown the door for it
                return far.found("denied", topic=topic, error=reason)
    finally:
        client.disconnect()
        client.loop_stop()
    if word == "silent":
        return far.found("silent")
    if word == "gone" or reason.value in _NO_MQTT5:
        return far.found("no_mqtt5")
    if reason.value not in _NOT_LET_IN:
        return far.found("unwilling", error=reason)
    who = "password" if settings.username is not None else "certificate" if settings.cert is not None else "nobody"
    return far.found(f"login_{who}", error=reason)
