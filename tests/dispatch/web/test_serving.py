"""How the pages are served: TLS, a proxy before them, ports that are taken."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from broker.dispatch.clock import SystemClock
from broker.dispatch.web import server as server_module
from broker.dispatch.web.app import create
from broker.dispatch.web.auth import PER_ADDRESS
from broker.dispatch.web.guard import network_of
from broker.dispatch.web.server import ServerError, Tls, WebServer
from broker.pki import names
from broker.pki.authority import Pki
from tests.dispatch.web.builders import PASSWORD, Bench, faces, passwords
from tests.waiting import until


def app(bench: Bench, base: str) -> FastAPI:
    return create(
        engine=bench.engine,
        store=bench.store,
        clock=bench.clock,
        links=bench.links,
        base=base,
        hide_faces=faces(),
        passwords=passwords(),
    )


def test_over_tls_the_cookie_is_bound_to_this_host_and_to_tls(idle: Bench, tmp_path: Path) -> None:
    now = SystemClock().now()
    pki = Pki.create(tmp_path / "pki", "Test", [ipaddress.ip_network("127.0.0.0/8")], now)
    subject = names.server("127.0.0.1")
    pki.issue(subject, now)
    base = f"https://127.0.0.1:{idle.port}"
    server = WebServer(app(idle, base), "127.0.0.1", idle.port, Tls(*pki.files_of(subject)))
    server.start()
    try:
        context = ssl.create_default_context(cafile=str(pki.folder / "ca.pem"))
        with httpx.Client(base_url=base, verify=context, trust_env=False, headers={"Origin": base}) as client:
            answer = client.post("/login", data={"name": "wang", "password": PASSWORD})
            assert answer.headers["set-cookie"].startswith("__Host-banksman=")
            assert "secure" in answer.headers["set-cookie"].lower()
            assert "max-age" in answer.headers["strict-transport-security"]
            assert client.get("/").status_code == 200
    finally:
        server.stop()


@pytest.mark.parametrize(("proxies", "code"), [((), 429), (("127.0.0.1",), 303)])
def test_the_address_in_a_header_counts_from_a_configured_proxy_only(
    idle: Bench, proxies: tuple[str, ...], code: int
) -> None:
    server = WebServer(app(idle, idle.url), "127.0.0.1", idle.port, proxies=proxies)
    server.start()
    try:
        guesser = idle.reader()
        for n in range(PER_ADDRESS):
            guesser.headers["X-Forwarded-For"] = "203.0.113.7"
            guesser.log_in(f"name-{n}", "guess")
        guesser.headers["X-Forwarded-For"] = "203.0.113.8"
        assert guesser.log_in("wang").status_code == code
    finally:
        server.stop()


def test_a_port_that_is_taken_or_a_certificate_that_is_not_there_is_told(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=f"cannot listen on 127.0.0.1:{bench.port}"):
        WebServer(app(bench, bench.url), "127.0.0.1", bench.port).start()
    with pytest.raises(ServerError, match=r"no\.pem"):
        WebServer(app(bench, bench.url), "127.0.0.1", 0, Tls(tmp_path / "no.pem", tmp_path / "no.key")).start()


def closed(connection: socket.socket) -> bool:
    """Waits until the other end has closed, whatever it says before."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: ", id="half-a-head"),
        pytest.param(b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nname", id="refused-half-a-body"),
        pytest.param(
            b"POST /login HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\nContent-Length: 9\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\nname",
            id="half-a-body",
        ),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET", id="half-a-second-head"),
    ],
)
def test_who_says_nothing_more_is_let_go(idle: Bench, monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    monkeypatch.setattr(server_module, "HEAD_S", 0.2)
    monkeypatch.setattr(server_module._Guest, "body_s", 0.2)
    server = WebServer(app(idle, idle.url), "127.0.0.1", idle.port)
    server.start()
    try:
        with socket.create_connection(("127.0.0.1", idle.port), timeout=20) as connection:
            connection.sendall(begun.replace(b"HOST", f"127.0.0.1:{idle.port}".encode()))
            if begun.endswith(b"GET"):
                assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            assert closed(connection)
    finally:
        server.stop()


@pytest.mark.parametrize(("proxies", "answered"), [((), False), (("127.0.0.1",), True)])
def test_one_address_does_not_keep_all_others_out(
    idle: Bench, monkeypatch: pytest.MonkeyPatch, proxies: tuple[str, ...], answered: bool
) -> None:
    monkeypatch.setattr(server_module, "PER_ADDRESS", 3)
    server = WebServer(app(idle, idle.url), "127.0.0.1", idle.port, proxies=proxies)
    server.start()
    address = ("127.0.0.1", idle.port)
    try:
        with ExitStack() as held:
            for _ in range(3):
                first = held.enter_context(socket.create_connection(address, timeout=20))
                first.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
                assert first.recv(65536).startswith(b"HTTP/1.1 200")
            one_more = held.enter_context(socket.create_connection(address, timeout=20))
            if answered:
                one_more.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
                assert one_more.recv(65536).startswith(b"HTTP/1.1 200")
            else:
                assert closed(one_more)
        until(lambda: idle.reader().get("/healthz").status_code == 200, "let in again")
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("address", "guest"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("-", "-"),
        ("unknown", "unknown"),
    ],
)
def test_one_guest(address: str, guest: str) -> None:
    assert network_of(address) == guest


def test_guesses_out_of_one_ipv6_network_count_together(idle: Bench) -> None:
    server = WebServer(app(idle, idle.url), "127.0.0.1", idle.port, proxies=("127.0.0.1",))
    server.start()
    try:
        guesser = idle.reader()
        for n in range(PER_ADDRESS):
            guesser.headers["X-Forwarded-For"] = f"2001:db8:1:2::{n:x}"
            guesser.log_in(f"name-{n}", "guess")
        guesser.headers["X-Forwarded-For"] = "2001:db8:1:2:ffff::1"
        assert guesser.log_in("wang").status_code == 429
        guesser.headers["X-Forwarded-For"] = "2001:db8:1:3::1"
        assert guesser.log_in("wang").status_code == 303
    finally:
        server.stop()
