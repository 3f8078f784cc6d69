"""A real HTTPS server that wants a client certificate, and whose next answers a test decides."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Pair:
    cert: Path
    key: Path


class Authority:
    """A certificate authority of its own; `pair` gives certificates that it has signed."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        own = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        self._cert = own.sign(self._key, hashes.SHA256())
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(self._cert.public_bytes(serialization.Encoding.PEM))

    def pair(self, name: str) -> Pair:
        """A certificate for `name` (also valid for 127.0.0.1), with its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        cert = self._builder(_named(name), key).add_extension(address, False).sign(self._key, hashes.SHA256())
        stem = name.replace("/", "-")
        made = Pair(self._folder / f"{stem}.crt", self._folder / f"{stem}.key")
        made.cert.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        made.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return made

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        issued = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
        return (
            issued.serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False)
        )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


@dataclass(frozen=True)
class Request:
    """One PUT as it came in. body: what had come when it was answered. port: of the client, one a connection."""

    path: str
    content_type: str
    length: int
    body: bytes
    client: str
    port: int


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: EvidenceServer

    def do_PUT(self) -> None:
        self.server.next_answer()(self)

    def read(self, count: int | None = None) -> None:
        """Take in the body, or its first bytes, and note the request."""
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length if count is None else count)
        subject = dict(pair[0] for pair in self.connection.getpeercert()["subject"])
        self.server.note(
            Request(
                self.path, self.headers["Content-Type"], length, body, subject["commonName"], self.client_address[1]
            )
        )

    def answer(self, code: int, **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 named by http.server
        pass


Answer = Callable[[Handler], None]


def says(code: int, **headers: str) -> Answer:
    """Reads all and answers so."""

    def answer(handler: Handler) -> None:
        handler.read()
        handler.answer(code, **headers)

    return answer


def cuts_after(count: int) -> Answer:
    """Reads a part of the body and hangs up."""

    def answer(handler: Handler) -> None:
        handler.read(count)
        handler.close_connection = True
        handler.connection.shutdown(2)

    return answer


def waits_for(event: threading.Event, before: int) -> Answer:
    """Reads the first bytes, then nothing until the event is set, then stores."""

    def answer(handler: Handler) -> None:
        handler.rfile.read(before)
        handler.server.reached.set()
        event.wait(20)
        handler.read(int(handler.headers["Content-Length"]) - before)
        handler.answer(201)

    return answer


class EvidenceServer(ThreadingHTTPServer):
    """Answers 201 unless told otherwise. requests: those that were read so far."""

    daemon_threads = True

    def __init__(self, server: Pair, client_ca: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server.cert, server.key)
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
        self.context = context
        # The handshake belongs to the connection's own thread, as it would in a real server.
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.requests: list[Request] = []
        self.reached = threading.Event()
        self._answers: list[Answer] = []
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server_address[1]}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()

    def will(self, *answers: Answer) -> None:
        """Answer the next requests so, in this order."""
        with self._news:
            self._answers += answers

    def next_answer(self) -> Answer:
        with self._news:
            return self._answers.pop(0) if self._answers else says(201)

    def note(self, request: Request) -> None:
        with self._news:
            self.requests.append(request)
            self._news.notify_all()

    def wait_for(self, count: int) -> list[Request]:
        """The requests, once there are so many."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.requests) >= count, 10), f"{self.requests}, not {count}"
            return list(self.requests)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up, or is not let in, is part of the tests."""
