"""The production broker as `banksman broker init` makes it, and clients that say what the broker answered."""

from __future__ import annotations

import queue
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from broker.embedded import free_port
from broker.mosquitto.config import Update, update
from broker.mosquitto.settings import FILE, create, load
from broker.pki import names
from broker.pki.authority import Pki
from broker.pki.certificates import PRIVATE
from broker.pki.names import Subject
from tests.servers import HOST, START_S, mosquitto_binary, wait_until_listening
from tests.waiting import WAIT_S

SITE, OTHER_SITE = "north-yard", "south-yard"
A, B, C = (names.node(f"{SITE}/gate-03"), names.node(f"{SITE}/gate-04"), names.node(f"{OTHER_SITE}/gate-03"))
DISPATCH, DISPATCH_2 = names.service("dispatch"), names.service("dispatch-2")
GRAFANA, SIREN, WATCHER = names.service("grafana"), names.service(f"siren-{SITE}"), names.service("watcher")
_MORE = (("dispatch-2", "dispatch"), ("watcher", "viewer"))
TOPIC = "banksman/1"


@dataclass(frozen=True)
class Card:
    """What a client shows: PEM files."""

    cert: Path
    key: Path


class Installation:
    """An authority, and a broker on loopback that runs from a generated folder. Restarts keep the port."""

    def __init__(self, folder: Path, *changes: tuple[str, str]) -> None:
        """changes: to broker.toml, old text and new."""
        self._binary = mosquitto_binary()
        self.pki = Pki.create(folder / "pki", "Test", PRIVATE, time.time())
        self.folder = folder / "broker"
        self.port = free_port()
        create(self.folder, ("localhost", HOST), (SITE,), self.port)
        # Root may not be able to hand files in a temporary folder to anybody else.
        more = "".join(f'\n[[services]]\nname = "{n}"\nrole = "{r}"\n' for n, r in _MORE)
        self.change(("port = ", 'user = "root"\nport = '), *changes)
        (self.folder / FILE).write_text((self.folder / FILE).read_text() + more)
        self.update()
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "log"

    def change(self, *changes: tuple[str, str]) -> None:
        path = self.folder / FILE
        text = path.read_text()
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new, 1)
        path.write_text(text)

    def update(self) -> Update:
        return update(self.folder, self.pki, time.time())

    @property
    def group(self) -> str:
        return load(self.folder).share_group

    def card(self, who: Subject) -> Card:
        """The certificate of somebody; issued when asked for the first time."""
        cert, key = self.pki.files_of(who)
        if not cert.exists():
            self.pki.issue(who, time.time())
        return Card(cert, key)

    def copy(self, who: Subject, to: Path) -> Card:
        """As it lies on the node: what happens in the authority's folder does not reach it."""
        there = self.card(who)
        return Card(Path(shutil.copy(there.cert, f"{to}.pem")), Path(shutil.copy(there.key, f"{to}.key")))

    def client(self, who: Subject | Card | None, **how: Any) -> Client:
        card = self.card(who) if isinstance(who, Subject) else who
        return Client(self.port, self.pki.ca_file, card, **how)

    # -- the process -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        with self._log.open("ab") as log:
            command = [self._binary, "-c", str(self.folder / "mosquitto.conf")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until_listening(self.port, self._process, self._log)

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def reload(self) -> None:
        """Returns when the broker has read everything again: it answers to a client that came after the signal."""
        before = self.log().count("Reloading config")
        self._signal(signal.SIGHUP)
        deadline = time.monotonic() + WAIT_S
        while self.log().count("Reloading config") == before:
            assert time.monotonic() < deadline, "the broker did not reload"
            # A connection wakes its loop. It says nothing, so that the broker is waited for here: many, one after the
            # other, fill its queue while it is busy with reading, and the next one would not be let in.
            with (
                socket.create_connection((HOST, self.port), timeout=WAIT_S) as silent,
                suppress(TimeoutError, ConnectionResetError),
            ):
                silent.settimeout(0.05)
                silent.recv(1)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._wait()

    def stop(self) -> None:
        self._signal(signal.SIGTERM)
        self._wait()

    def restart(self) -> None:
        self.stop()
        self.start()

    def _signal(self, which: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(which)

    def _wait(self) -> None:
        assert self._process is not None
        self._process.wait(START_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()


@dataclass
class Client:
    """One MQTT 5 connection. Answers are the broker's own words; `Success`, or why not."""

    port: int
    ca: Path
    card: Card | None
    client_id: str = "some-client"
    clean: bool = True
    session_s: int = 0
    will: tuple[str, bytes] | None = None
    max_tls: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    password: tuple[str, str] | None = None
    events: queue.SimpleQueue[tuple[str, str]] = field(default_factory=queue.SimpleQueue)
    inbox: queue.SimpleQueue[tuple[str, bytes]] = field(default_factory=queue.SimpleQueue)
    session_present: bool = False

    def open(self) -> str:
        context = ssl.create_default_context(cafile=self.ca)
        context.maximum_version = self.max_tls
        if self.card is not None:
            context.load_cert_chain(self.card.cert, self.card.key)
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        client.tls_set_context(context)
        if self.password is not None:
            client.username_pw_set(*self.password)
        if self.will is not None:
            client.will_set(*self.will, qos=1)
        client.on_connect = self._on_connect
        client.on_disconnect = lambda _c, _d, _f, reason, _p: self.events.put(("gone", str(reason)))
        client.on_publish = lambda _c, _d, _m, reason, _p: self.events.put(("published", str(reason)))
        client.on_subscribe = lambda _c, _d, _m, reasons, _p: self.events.put(("subscribed", str(reasons[0])))
        client.on_message = lambda _c, _d, message: self.inbox.put((message.topic, bytes(message.payload)))
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = self.session_s
        try:
            client.connect(HOST, self.port, clean_start=self.clean, properties=properties)
        except OSError as error:
            return f"not connected: {error}"
        client.loop_start()
        return self._answer("connected")

    def _on_connect(self, _c: object, _d: object, flags: paho.ConnectFlags, reason: object, _p: object) -> None:
        self.session_present = flags.session_present
        self.events.put(("connected", str(reason)))

    def _answer(self, kind: str) -> str:
        try:
            word, reason = self.events.get(timeout=WAIT_S)
        except queue.Empty:
            raise AssertionError(f"no answer ({kind}) within {WAIT_S} s") from None
        return reason if word == kind else f"{word}: {reason}"

    def publish(self, topic: str, payload: bytes = b"x", *, retain: bool = False) -> str:
        self._client.publish(topic, payload, qos=1, retain=retain)
        return self._answer("published")

    def subscribe(self, *filters: str, retained: bool = True) -> None:
        """The broker grants whatever is asked for; what it delivers is another matter."""
        how = SubscribeOptions(qos=1, retainHandling=0 if retained else 2)
        self._client.subscribe([(one, how) for one in filters])
        assert self._answer("subscribed") == "Granted QoS 1"

    def received(self, until: str) -> list[tuple[str, bytes]]:
        """What came before the first message on the topic `until`."""
        found = []
        while (message := self.next())[0] != until:
            found.append(message)
        return found

    def next(self) -> tuple[str, bytes]:
        try:
            return self.inbox.get(timeout=WAIT_S)
        except queue.Empty:
            raise AssertionError(f"no message within {WAIT_S} s") from None

    def gone(self) -> str:
        """Why the broker ended the connection."""
        return self._answer("gone")

    def drop(self) -> None:
        """As if the cable were pulled: no DISCONNECT."""
        plain = self._client.socket()
        assert isinstance(plain, socket.socket)
        plain.shutdown(socket.SHUT_RDWR)
        self.gone()
        self._client.loop_stop()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> Self:
        answer = self.open()
        assert answer == "Success", answer
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def watching(place: Installation, *filters: str) -> Iterator[Client]:
    """A client that sees everything that the broker lets through from now on."""
    with place.client(WATCHER) as viewer:
        viewer.subscribe(*(filters or (f"{TOPIC}/#",)), retained=False)
        yield viewer
