"""A real HTTPS server for evidence, and what can be wrong with it."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edge.doctor import network
from edge.doctor.evidence import examine_evidence
from edge.doctor.result import Result
from edge.site.model import EvidenceUplink
from tests.doctor.builders import NAME
from tests.servers import HOST, Authority, Certificate


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self.server.asked.append(self.path)
        if self.server.status is None:
            self.wfile.write(b"220 mail.example.cn ESMTP\r\n")
            return
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 named by http.server
        pass


class Server(ThreadingHTTPServer):
    """Wants a certificate of `authority`. status: of the next answers; None: something else than HTTP."""

    daemon_threads = True

    def __init__(self, authority: Authority, own: Certificate) -> None:
        super().__init__((HOST, 0), Handler)
        self.status: int | None = 404
        self.asked: list[str] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(own.cert, own.key)
        context.load_verify_locations(authority.cert)
        context.verify_mode = ssl.CERT_REQUIRED
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that is not let in, or goes, is part of the tests."""


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[Server]:
    with Server(authority, authority.issue("dispatch", host=HOST, days=(-1, 90))) as running:
        yield running


def settings(port: int, authority: Authority, path: str = "", **more: Any) -> EvidenceUplink:
    node = authority.issue(NAME, days=(-1, 90))
    files = {"ca": authority.cert, "cert": node.cert, "key": node.key, **more}
    return EvidenceUplink.model_validate({"url": f"https://{HOST}:{port}{path}", **files})


def examined(uplink: EvidenceUplink) -> Result:
    return examine_evidence(uplink, time.time())


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a server that has nothing against our certificate, and so nothing to say about it."""
    monkeypatch.setattr(network, "SPEAKS_S", 0.05)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (200, "ok"),
        (404, "ok"),
        (405, "ok"),
        (501, "ok"),
        (401, "not_known"),
        (403, "not_known"),
        (500, "trouble"),
        (502, "trouble"),
        (None, "no_http"),
    ],
)
def test_what_it_answers(server: Server, authority: Authority, status: int | None, code: str) -> None:
    server.status = status
    assert examined(settings(server.port, authority)).code == code


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("path", ["", "/", "/yard", "/yard/"])
def test_nothing_is_asked_for_but_the_head_of_the_folder(server: Server, authority: Authority, path: str) -> None:
    server.status = 404
    server.asked.clear()
    assert examined(settings(server.port, authority, path)).code == "ok"
    assert server.asked == [f"{path.rstrip('/')}/evidence/"]


Wrong = Callable[[Authority, Authority], dict[str, Any]]
WRONG: dict[str, tuple[Wrong, str]] = {
    "another CA is trusted": (lambda _a, s: {"ca": s.cert}, "untrusted"),
    "no certificate": (lambda _a, _s: {"cert": None, "key": None}, "our_missing"),
    "certificate of another CA": (lambda _a, s: _pair(s.issue(NAME)), "our_unknown"),
    "certificate that has ended": (lambda a, _s: _pair(a.issue(NAME, days=(-9, -2))), "our_expired"),
    "no file": (lambda _a, _s: {"key": Path("/nowhere")}, "files"),
}


def _pair(files: Certificate) -> dict[str, Any]:
    return {"cert": files.cert, "key": files.key}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_the_node(server: Server, authority: Authority, stranger: Authority, case: str) -> None:
    more, code = WRONG[case]
    assert examined(settings(server.port, authority, **more(authority, stranger))).code == code


@pytest.mark.parametrize(
    ("host", "days", "code"),
    [
        (HOST, (-9, -2), "expired"),
        (HOST, (2, 90), "not_yet"),
        (HOST, (-1, 7), "ends_soon"),
        ("other.example.cn", (-1, 90), "name"),
    ],
)
def test_what_is_wrong_with_its_certificate(authority: Authority, host: str, days: tuple[int, int], code: str) -> None:
    with Server(authority, authority.issue("dispatch", host=host, days=days)) as running:
        assert examined(settings(running.port, authority)).code == code


def test_plain_http_is_no_tls(authority: Authority) -> None:
    plain = ThreadingHTTPServer((HOST, 0), BaseHTTPRequestHandler)
    threading.Thread(target=plain.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        assert examined(settings(plain.server_address[1], authority)).code == "no_tls"
    finally:
        plain.shutdown()
        plain.server_close()


def test_nobody_listens(authority: Authority, unused_port: int) -> None:
    result = examined(settings(unused_port, authority))
    assert (result.code, result.fields) == ("refused", {"section": "uplinks.evidence"})
