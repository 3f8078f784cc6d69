"""Stand-ins for the services, on loopback: they keep what they got and answer what the test wants."""

from __future__ import annotations

import email
import email.policy
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiosmtpd.controller import Controller

from broker.embedded import free_port


@dataclass
class Answer:
    """What the stub answers. hang: say nothing until the test is over; trickle: a byte now and then, for ever."""

    body: bytes = b"{}"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    trickle: bool = False

    @classmethod
    def of(cls, body: object, status: int = 200) -> Answer:
        return cls(json.dumps(body).encode(), status)


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Service:
    """An HTTP service; `answers` are used up one by one, the last one stays. decide: answers in their stead."""

    def __init__(self) -> None:
        self.decide: Callable[[Request], Answer] | None = None
        self.requests: list[Request] = []
        self.answers: list[Answer] = [Answer()]
        self.over = threading.Event()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                service.take(self)

            def do_PUT(self) -> None:
                service.take(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.origin = f"http://127.0.0.1:{self.server.server_address[1]}"

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        request = Request(handler.command, parts.path, query, dict(handler.headers.items()), body)
        self.requests.append(request)
        if self.decide is not None:
            answer = self.decide(request)
        else:
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer.hang:
            self.over.wait(30)
            return
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        if answer.trickle:
            handler.end_headers()
            while not self.over.wait(0.05):
                try:
                    handler.wfile.write(b" ")
                except OSError:
                    return
            return
        handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        handler.wfile.write(answer.body)

    def answer(self, *answers: Answer) -> None:
        self.answers = list(answers)


@contextmanager
def service() -> Iterator[Service]:
    stub = Service()
    thread = threading.Thread(target=stub.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        stub.over.set()
        stub.server.shutdown()
        stub.server.server_close()
        thread.join()


class Mailbox:
    """An SMTP server; `refusal`: what it says to DATA instead of taking the mail."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.refusal: str | None = None

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802
        if self.refusal:
            return self.refusal
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"


@contextmanager
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=free_port(), ready_timeout=20)
    controller.start()
    try:
        yield box, controller.port
    finally:
        controller.stop()
