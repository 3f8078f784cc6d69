"""A real HTTPS server that wants a client certificate, and whose next answers a test decides."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.servers import HOST, Certificate


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

    def __init__(self, server: Certificate, client_ca: Path) -> None:
        super().__init__((HOST, 0), Handler)
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
        return f"https://{HOST}:{self.server_address[1]}"

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
