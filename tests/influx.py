"""A real influxd (1.x) behind the write interface of InfluxDB 2, for tests.

The shim adds what 1.x lacks: the address `/api/v2/write`, a token, and trouble on demand. What is written and asked is
influxd's own doing.
"""

from __future__ import annotations

import gzip
import json
import shutil
import ssl
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import psutil

from broker.embedded import free_port
from tests.conftest import need
from tests.servers import HOST, START_S, Certificate, wait_until_listening

TOKEN = "a-token-of-the-test"  # noqa: S105
ORG = "banksman"


class Influx:
    """Configuration, data and log are in `folder`. url: of the shim; https with a `certificate`."""

    def __init__(self, folder: Path, certificate: Certificate | None = None) -> None:
        self._binary = shutil.which("influxd")
        need(self._binary, "influxd is not installed (apt-get install influxdb)")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._port = free_port()
        self.trouble: deque[tuple[int, dict[str, str]]] = deque()
        """Answers to the next writes, instead of influxd's: status and headers."""
        self.answering = threading.Event()
        """Cleared: writes wait, and get no answer."""
        self.answering.set()
        self.bodies: list[tuple[str, bytes]] = []
        """What came: encoding, and the text."""
        self.received = 0
        """Bytes of it on the wire."""
        self._certificate = certificate
        self._shim = self._listen(0)
        self.url = f"http{'s' if certificate else ''}://{HOST}:{self._shim.server_port}"

    def _listen(self, port: int) -> ThreadingHTTPServer:
        shim = ThreadingHTTPServer((HOST, port), self._handler())
        if self._certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._certificate.cert, self._certificate.key)
            # The handshake belongs to the thread of the connection, not to that which waits for the next one.
            shim.socket = context.wrap_socket(shim.socket, server_side=True, do_handshake_on_connect=False)
        return shim

    def leave(self) -> None:
        """Nobody listens any more."""
        self._shim.shutdown()
        self._shim.server_close()

    def come_back(self) -> None:
        self._shim = self._listen(self._shim.server_port)
        threading.Thread(target=self._shim.serve_forever, daemon=True).start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                path, _, query = self.path.partition("?")
                status, headers, answer = outer.answer(path, dict(urllib.parse.parse_qsl(query)), self.headers, body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                if status != 204:
                    self.wfile.write(answer)

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_: object) -> None:
                """No noise."""

        return Handler

    def answer(self, path: str, asked: dict[str, str], headers: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """One request: status, headers, body."""
        if headers.get("Authorization") != f"Token {TOKEN}":
            return 401, {}, b'{"code":"unauthorized","message":"unauthorized access"}'
        if path == "/query":
            return self._ask(f"/query?{urllib.parse.urlencode(asked)}", {}, body)
        if path == "/api/v2/write":
            return self._take(asked, headers, body)
        if path == "/api/v2/delete":
            return self._delete(asked, json.loads(body))
        return 404, {}, b'{"code":"not found","message":"path not found"}'

    def _take(self, asked: dict[str, str], headers: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """A write."""
        encoding = headers.get("Content-Encoding", "identity")
        self.received += len(body)
        self.bodies.append((encoding, gzip.decompress(body) if encoding == "gzip" else body))
        self.answering.wait(START_S)
        if self.trouble:
            status, more = self.trouble.popleft()
            return status, more, b'{"code":"trouble","message":"of the test"}'
        if asked.get("org") != ORG or not asked.get("bucket"):
            return 400, {}, b'{"code":"invalid","message":"org or bucket missing"}'
        precision = {"ns": "n", "us": "u"}.get(asked.get("precision", "ns"), asked.get("precision", "ns"))
        to = urllib.parse.urlencode({"db": asked["bucket"], "precision": precision})
        status, more, said = self._ask(f"/write?{to}", {"Content-Encoding": encoding}, body)
        if status == 204 and not body:  # InfluxDB 2 is stricter here
            return 400, {}, b'{"code":"invalid","message":"writing requires points"}'
        if status >= 300:
            said = json.dumps({"code": "invalid", "message": json.loads(said)["error"]}).encode()
        return status, more, said

    def _delete(self, asked: dict[str, str], what: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """A deletion of one measurement, as InfluxDB 1 does it."""
        measurement = what["predicate"].removeprefix("_measurement=")
        span = f"time >= '{what['start']}' AND time < '{what['stop']}'"
        form = {"db": asked["bucket"], "q": f"DELETE FROM {measurement} WHERE {span}"}  # noqa: S608
        status, _, said = self._ask(f"/query?{urllib.parse.urlencode(form)}", {}, b"")
        (result,) = json.loads(said)["results"]
        if status == 200 and "error" not in result:
            return 204, {}, b""
        return 404, {}, json.dumps({"code": "not found", "message": result.get("error", "")}).encode()

    def _ask(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        request = urllib.request.Request(f"http://{HOST}:{self._port}{path}", body, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=START_S) as answer:  # noqa: S310
                return answer.status, {}, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, {}, error.read()

    def query(self, database: str, text: str) -> list[dict[str, Any]]:
        """Rows of an InfluxQL query; `time` in nanoseconds."""
        form = urllib.parse.urlencode({"db": database, "epoch": "ns", "q": text})
        status, _, answer = self._ask(f"/query?{form}", {}, b"")
        assert status == 200, answer
        (result,) = json.loads(answer)["results"]
        assert "error" not in result, result
        return [
            dict(zip(series["columns"], row, strict=True))
            for series in result.get("series", ())
            for row in series["values"]
        ]

    def write(self, database: str, lines: bytes) -> None:
        """Write lines past the shim."""
        status, _, said = self._ask(f"/write?{urllib.parse.urlencode({'db': database})}", {}, lines)
        assert status == 204, said

    def cpu_s(self) -> float:
        """Seconds of processor time that influxd has taken."""
        times = psutil.Process(self._process.pid).cpu_times()
        return times.user + times.system

    def create(self, database: str) -> None:
        self.query(database, f'CREATE DATABASE "{database}"')

    def __enter__(self) -> Self:
        data = self._folder / "data"
        config = self._folder / "influxdb.conf"
        config.write_text(
            f'reporting-enabled = false\nbind-address = "{HOST}:0"\n'
            f'[meta]\ndir = "{data}/meta"\n[data]\ndir = "{data}/data"\nwal-dir = "{data}/wal"\n'
            f'[http]\nbind-address = "{HOST}:{self._port}"\nlog-enabled = false\n[monitor]\nstore-enabled = false\n'
        )
        log = self._folder / "log"
        with log.open("ab") as out:
            self._process = subprocess.Popen([str(self._binary), "-config", str(config)], stdout=out, stderr=out)
        wait_until_listening(self._port, self._process, log)
        threading.Thread(target=self._shim.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.answering.set()
        self.leave()
        self._process.terminate()
        self._process.wait(START_S)
