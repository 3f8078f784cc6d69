"""The official image, from a real HTTPS server on loopback."""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from deploy.card.download import download
from deploy.card.errors import CardError
from deploy.card.unpack import Step
from tests.servers import HOST, Authority

IMAGE = bytes(range(256)) * 10_000
SHA256 = hashlib.sha256(IMAGE).hexdigest()
NAME = "2026-06-18-raspios-trixie-arm64-lite.img.xz"


class Publisher(ThreadingHTTPServer):
    """As downloads.raspberrypi.com: a name for the newest, which leads to the image, beside which is its checksum."""

    def __init__(self, authority: Authority) -> None:
        super().__init__((HOST, 0), Answer)
        certificate = authority.issue("publisher", host=HOST)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.cert, certificate.key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"https://{HOST}:{self.server_address[1]}"
        self.leads_to = f"{self.url}/images/{NAME}"
        self.content = {f"/images/{NAME}": IMAGE, f"/images/{NAME}.sha256": f"{SHA256}  {NAME}\n".encode()}
        self.promised = len(IMAGE)
        self.asked: list[str] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the tests."""


class Answer(BaseHTTPRequestHandler):
    server: Publisher

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        if self.path == "/latest":
            self.send_response(302)
            self.send_header("Location", self.server.leads_to)
            self.end_headers()
            return
        content = self.server.content.get(self.path)
        self.send_response(404 if content is None else 200)
        content = content or b""
        self.send_header("Content-Length", str(self.server.promised if content is IMAGE else len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET  # noqa: N815 - what http.server calls

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    server = Publisher(Authority(tmp_path / "ca"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(publisher: Publisher, tmp_path: Path) -> Iterator[httpx.Client]:
    with httpx.Client(verify=ssl.create_default_context(cafile=tmp_path / "ca" / "ca.pem"), trust_env=False) as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "images"


def untold(step: Step, done: int, total: int) -> None:
    pass


def test_the_newest_image(publisher: Publisher, client: httpx.Client, folder: Path) -> None:
    told: list[tuple[Step, int, int]] = []
    path = download(f"{publisher.url}/latest", folder, lambda *progress: told.append(progress), client=client)
    assert (path.name, path.read_bytes()) == (NAME, IMAGE)
    assert told == sorted(told)
    assert told[-1] == ("download", len(IMAGE), len(IMAGE))
    assert list(folder.iterdir()) == [path]


def test_what_is_there_already_is_not_fetched_again(publisher: Publisher, client: httpx.Client, folder: Path) -> None:
    first = download(f"{publisher.url}/latest", folder, untold, client=client)
    assert download(f"{publisher.url}/latest", folder, untold, client=client) == first
    assert publisher.asked.count(f"GET /images/{NAME}") == 1
    first.write_bytes(b"half of it")
    assert download(f"{publisher.url}/latest", folder, untold, client=client).read_bytes() == IMAGE


def test_a_checksum_that_is_known_is_not_asked_for(publisher: Publisher, client: httpx.Client, folder: Path) -> None:
    download(publisher.leads_to, folder, untold, client=client, sha256=SHA256)
    assert f"GET /images/{NAME}.sha256" not in publisher.asked


WRONG = {
    "http": "download.not_https",
    "leads to http": "download.not_https",
    "leads nowhere": "download.failed",
    "leads in a ring": "download.failed",
    "no checksum": "download.no_checksum",
    "a page instead of a checksum": "download.no_checksum",
    "another content": "image.checksum",
    "cut short": "download.failed",
    "not the publisher": "download.failed",
    "no such server": "download.failed",
}


@pytest.mark.parametrize("case", WRONG)
def test_what_goes_wrong(publisher: Publisher, client: httpx.Client, folder: Path, unused_port: int, case: str) -> None:
    url = f"{publisher.url}/latest"
    match case:
        case "http":
            url = url.replace("https", "http")
        case "leads to http":
            publisher.leads_to = publisher.leads_to.replace("https", "http")
        case "leads nowhere":
            publisher.leads_to += ".old"
        case "leads in a ring":
            publisher.leads_to = url
        case "no checksum":
            del publisher.content[f"/images/{NAME}.sha256"]
        case "a page instead of a checksum":
            publisher.content[f"/images/{NAME}.sha256"] = b"<html>"
        case "another content":
            publisher.content[f"/images/{NAME}"] = b"something else"
        case "cut short":
            publisher.promised += 1
        case "not the publisher":
            client = httpx.Client(trust_env=False)
        case "no such server":
            url = f"https://{HOST}:{unused_port}/latest"
    with pytest.raises(CardError) as caught:
        download(url, folder, untold, client=client)
    assert caught.value.code == WRONG[case]
    assert caught.value.told("zh-CN") != caught.value.told("en")
    assert not folder.exists() or not list(folder.iterdir()), "a part is left behind"
