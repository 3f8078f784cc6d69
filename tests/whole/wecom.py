"""WeCom as the world sees it from a server behind a proxy: the proxy's CONNECT leads to a stand-in on loopback.

So dispatch runs as it is, and calls `https://qyapi.weixin.qq.com` by its own name, with the certificate checked.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import urlsplit

from tests.servers import HOST, Authority
from tests.waiting import until

NAME = "qyapi.weixin.qq.com"
ADDRESS = f"https://{NAME}/cgi-bin/webhook/send?key=0f9d6c1e-robot"


@dataclass
class WeCom:
    """texts, pictures: what the robot was sent. environment: of a program that is to reach it."""

    environment: dict[str, str]
    texts: list[str] = field(default_factory=list)
    pictures: list[bytes] = field(default_factory=list)

    def message(self, words: str) -> str:
        """The first message that holds these words."""
        until(lambda: any(words in text for text in self.texts), f"{words!r} in {self.texts}", 60.0)
        return next(text for text in self.texts if words in text)

    @staticmethod
    def link(text: str) -> str:
        found = re.search(r"\]\((https://[^)]+/l/[^)]+)\)", text)
        assert found is not None, text
        return found[1]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wecom: ClassVar[WeCom]
    tls: ClassVar[ssl.SSLContext]

    def do_CONNECT(self) -> None:
        if self.path != f"{NAME}:443":
            self.send_error(403)
            return
        self.send_response(200)
        self.end_headers()
        self.connection = self.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", 0)
        self.close_connection = False

    def do_POST(self) -> None:
        body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != urlsplit(ADDRESS)._replace(scheme="", netloc="").geturl():
            answer = b'{"errcode": 93000, "errmsg": "invalid webhook url"}'
        elif body["msgtype"] == "image":
            self.wecom.pictures.append(base64.b64decode(body["image"]["base64"]))
            answer = b'{"errcode": 0, "errmsg": "ok"}'
        else:
            self.wecom.texts.append(body["markdown"]["content"])
            answer = b'{"errcode": 0, "errmsg": "ok"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """The test's output stays readable."""


@contextmanager
def wecom(folder: Path) -> Iterator[WeCom]:
    authority = Authority(folder, "The world's CA")
    card = authority.issue(NAME, host=NAME)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(card.cert, card.key)
    found = WeCom({"SSL_CERT_FILE": str(authority.cert)})
    server = ThreadingHTTPServer((HOST, 0), type("Handler", (_Handler,), {"tls": tls, "wecom": found}))
    server.daemon_threads = True
    found.environment["HTTPS_PROXY"] = f"http://{HOST}:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
