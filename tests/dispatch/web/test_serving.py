"""How the pages are served: TLS, a proxy before them, ports that are taken."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from broker.dispatch.clock import SystemClock
from broker.dispatch.web.app import create
from broker.dispatch.web.auth import PER_ADDRESS
from broker.dispatch.web.server import ServerError, Tls, WebServer
from broker.pki import names
from broker.pki.authority import Pki
from tests.dispatch.web.builders import PASSWORD, Bench, faces, passwords


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
