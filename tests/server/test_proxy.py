"""The Caddyfile in a real Caddy: people get pages and boards under one name, nodes write points and no more."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import pytest

from broker.embedded import free_port
from deploy.server import layout
from tests.server.builders import ADDRESS, HOST, NAME, edit, make, program, run
from tests.servers import Authority, wait_until_listening


class Upstream:
    """Stands for pages, Grafana or InfluxDB: says what it was asked."""

    def __init__(self, name: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                seen = [name, self.command, self.path, self.headers["Host"], *(
                    f"{key}={self.headers[key]}" for key in ("X-Forwarded-For", "X-Forwarded-Proto", "Authorization")
                ), f"{len(body)}"]  # fmt: skip
                said = "\n".join(map(str, seen)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                """No noise."""

        self._server = ThreadingHTTPServer((ADDRESS, 0), Handler)
        self.address = f"{ADDRESS}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Caddy:
    """The proxy of a plain server, on ports of the test, with the administrator's own certificate."""

    def __init__(self, tmp: Path) -> None:
        binary = program("caddy", "caddy")
        self.folder = make(tmp / "srv", "--plain", "--certificate", "files")
        self.public = Authority(tmp / "public")
        certificate = self.public.issue(NAME, host=NAME)
        (self.folder / "proxy/cert.pem").write_bytes(certificate.cert.read_bytes())
        (self.folder / "proxy/key.pem").write_bytes(certificate.key.read_bytes())
        self.upstreams = {name: Upstream(name) for name in ("pages", "grafana", "influx")}
        self.https, self.http, self.nodes, self.health = (free_port() for _ in range(4))
        file = self.folder / "proxy/Caddyfile"
        edit(
            file,
            (r"\tadmin off", f"\tadmin off\n\thttp_port {self.http}\n\thttps_port {self.https}"),
            (rf"127\.0\.0\.1:{layout.PAGES}", self.upstreams["pages"].address),
            (r"127\.0\.0\.1:3000", self.upstreams["grafana"].address),
            (r"127\.0\.0\.1:8087", self.upstreams["influx"].address),
            (rf"https://:{layout.INFLUX}", f"https://:{self.nodes}"),
            (rf"http://:{layout.HEALTH}", f"http://:{self.health}"),
        )
        self.log = tmp / "log"
        environment = {"HOME": str(tmp), "XDG_DATA_HOME": str(tmp / "data"), "XDG_CONFIG_HOME": str(tmp / "config")}
        with self.log.open("wb") as log:
            command = [binary, "run", "--config", str(file), "--adapter", "caddyfile"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        for port in (self.https, self.nodes, self.health):
            wait_until_listening(port, self._process, self.log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)
        for upstream in self.upstreams.values():
            upstream.stop()

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, list[str]]:
        """As people do."""
        context = ssl.create_default_context(cafile=self.public.cert)
        return _ask(context, self.https, (method, path), {"Host": NAME} | (headers or {}), NAME)

    def write(
        self, method: str, path: str, *, name: str = HOST, ca: Path | None = None, tls: ssl.TLSVersion | None = None
    ) -> tuple[int, list[str]]:
        """As nodes do, who trust the private authority. name: by which they call the server."""
        context = ssl.create_default_context(cafile=ca or self.folder / "pki/ca.pem")
        if tls is not None:
            context.maximum_version = tls
        headers = {"Host": f"{name}:{self.nodes}", "Authorization": "Token t"}
        return _ask(context, self.nodes, (method, path), headers, name)


def _ask(
    context: ssl.SSLContext, port: int, what: tuple[str, str], headers: dict[str, str], name: str
) -> tuple[int, list[str]]:
    with socket.create_connection((ADDRESS, port), timeout=10) as plain:
        connection = http.client.HTTPConnection(name)
        connection.sock = context.wrap_socket(plain, server_hostname=name)  # an address is checked, and not sent
        connection.request(*what, b"node f=1 1" if what[0] == "POST" else None, headers)
        answer = connection.getresponse()
        said = answer.read().decode().split("\n")
        connection.close()
        return answer.status, said


@pytest.fixture(scope="module")
def caddy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caddy]:
    with Caddy(tmp_path_factory.mktemp("caddy")) as running:
        yield running


@pytest.mark.parametrize(
    ("path", "by"),
    [
        ("/", "pages"), ("/cases/1?next=%2F", "pages"), ("/api/cases", "pages"), ("/grafanax", "pages"),
        ("/grafana/", "grafana"), ("/grafana/d/banksman-site?orgId=1", "grafana"),
    ],
)  # fmt: skip
def test_people_get_pages_and_boards_under_one_name(caddy: Caddy, path: str, by: str) -> None:
    status, said = caddy.ask("GET", path)
    assert status == 200
    # Grafana serves from below its path; pages refuse another host and believe the proxy's word on addresses.
    assert said[:6] == [by, "GET", path, NAME, f"X-Forwarded-For={ADDRESS}", "X-Forwarded-Proto=https"]


def test_nobody_lends_oneself_another_address(caddy: Caddy) -> None:
    _, said = caddy.ask("GET", "/", {"X-Forwarded-For": "10.0.0.1", "X-Forwarded-Proto": "http"})
    assert said[4:6] == [f"X-Forwarded-For={ADDRESS}", "X-Forwarded-Proto=https"]


def test_plain_http_is_sent_to_https(caddy: Caddy) -> None:
    connection = http.client.HTTPConnection(ADDRESS, caddy.http, timeout=10)
    connection.request("GET", "/cases", headers={"Host": NAME})
    answer = connection.getresponse()
    assert answer.status == 308
    assert answer.headers["Location"].startswith(f"https://{NAME}")


@pytest.mark.parametrize("name", [HOST, ADDRESS])
def test_nodes_write_points(caddy: Caddy, name: str) -> None:
    status, said = caddy.write("POST", "/api/v2/write?bucket=banksman&org=banksman&precision=ns", name=name)
    assert status == 200
    assert said[:3] == ["influx", "POST", "/api/v2/write?bucket=banksman&org=banksman&precision=ns"]
    assert said[6:] == ["Authorization=Token t", "10"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"), ("GET", "/api/v2/setup"), ("POST", "/api/v2/setup"), ("GET", "/query?q=SHOW+DATABASES"),
        ("POST", "/api/v2/delete"), ("GET", "/api/v2/write"), ("POST", "/api/v2/write/x"),
        ("POST", "/api/v2/authorizations"), ("POST", "/api/v2/write/../setup"),
        ("POST", "/api/v2/write%2f..%2fsetup"), ("POST", "//api/v2/setup"),
    ],
)  # fmt: skip
def test_nodes_do_nothing_else(caddy: Caddy, method: str, path: str) -> None:
    status, said = caddy.write(method, path)
    assert status == 404
    assert said == [""]


def test_nodes_door_has_the_private_certificate_and_new_tls_alone(caddy: Caddy) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        caddy.write("POST", "/api/v2/write", ca=caddy.public.cert)
    with pytest.raises(ssl.SSLCertVerificationError):
        caddy.write("POST", "/api/v2/write", name=NAME)
    with pytest.raises(ssl.SSLError):
        caddy.write("POST", "/api/v2/write", tls=ssl.TLSVersion.TLSv1_2)


def test_the_log_holds_no_links_and_no_cookies(caddy: Caddy) -> None:
    gone = Upstream("gone")
    gone.stop()
    caddy.upstreams["pages"].stop()
    status, _ = caddy.ask("GET", "/l/secret-of-a-link", {"Cookie": "session=secret-of-a-session"})
    assert status == 502
    log = caddy.log.read_text()
    assert "502" in log
    assert "secret-of" not in log


@pytest.mark.parametrize("runs", [(), ("--plain",)])
@pytest.mark.parametrize("certificate", [("--certificate", "files"), ("--email", "it@example.cn")])
@pytest.mark.parametrize("boards", [(), ("--without-boards",)])
def test_caddy_takes_it(tmp_path: Path, runs: tuple[str], certificate: tuple[str], boards: tuple[str]) -> None:
    binary = program("caddy", "caddy")
    folder = make(tmp_path / "srv", *runs, *certificate, *boards)
    file = folder / "proxy/Caddyfile"
    if not runs:
        file.write_text(file.read_text().replace("/etc/caddy", str(folder / "proxy")))
    (folder / "proxy/cert.pem").write_bytes((folder / "proxy/nodes.pem").read_bytes())
    (folder / "proxy/key.pem").write_bytes((folder / "proxy/nodes.key").read_bytes())
    assert "Valid configuration" in run(binary, "validate", "--config", file, "--adapter", "caddyfile")
    assert run(binary, "fmt", file, code=None) == file.read_text()  # as Caddy itself would write it
    assert ("grafana" in file.read_text()) == (not boards)
