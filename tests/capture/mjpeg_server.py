"""A real HTTP server that streams JPEG pictures in the ways that cameras do."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, ClassVar, Self
from urllib.request import parse_http_list, parse_keqv_list

import cv2
import numpy as np

from tests.capture.builders import numbered, scene

USER, PASSWORD = "viewer", "pa:ss w0rd"
_PERIOD_S = 0.04
_BASIC = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()
_DIGEST = 'Digest realm="yard", nonce="n0nce", qop="auth", algorithm={}'


def _jpeg(picture: Any) -> bytes:
    return cv2.imencode(".jpg", picture)[1].tobytes()


class _Handler(BaseHTTPRequestHandler):
    ended: ClassVar[Event]
    resumed: ClassVar[Event]
    shown: ClassVar[list[Any]]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """The test's output stays readable."""

    def do_GET(self) -> None:
        serve = getattr(self, "serve_" + self.path.split("?")[0].strip("/"), None)
        if serve is None:
            self.send_error(404)
        else:
            serve()

    def _begin(self, kind: str = 'multipart/x-mixed-replace; boundary="--yard"') -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()

    def _part(self, data: bytes, length: bool = True) -> None:
        size = f"Content-Length: {len(data)}\r\n" if length else ""
        self.wfile.write(b"--yard\r\nContent-Type: image/jpeg\r\n" + size.encode() + b"\r\n" + data + b"\r\n")

    def _stream(
        self, picture: Any, pictures: int = 100_000, *, length: bool = True, period_s: float = _PERIOD_S
    ) -> None:
        """`picture(n)` gives the n-th picture: an image, or the bytes to send for one."""
        self._begin()
        for n in range(pictures):
            made = picture(n)
            try:
                self._part(made if isinstance(made, bytes) else _jpeg(made), length)
            except OSError:
                return
            if self.ended.wait(period_s):
                return

    def serve_live(self) -> None:
        self._stream(lambda _: scene())

    def serve_shown(self) -> None:
        """Never the same picture twice, which would be a frozen camera: there is a lamp in a corner that flickers."""

        def picture(n: int) -> Any:
            made = self.shown[0].copy()
            made[:16, :16] = np.random.default_rng(n).integers(0, 255, 3)
            return made

        self._stream(picture, period_s=0.1)

    def serve_counted(self) -> None:
        self._stream(numbered)

    def serve_without_length(self) -> None:
        self._stream(numbered, length=False)

    def serve_still(self) -> None:
        data = _jpeg(scene())
        self._stream(lambda _: data)

    def serve_damaged(self) -> None:
        self._stream(lambda _: b"this is no JPEG picture")

    def serve_some_damaged(self) -> None:
        self._stream(lambda n: b"" if n % 3 == 1 else numbered(n))

    def serve_resized(self) -> None:
        self._stream(lambda n: scene(width=320, height=240) if n < 20 else scene(width=640, height=480))

    def serve_tiny(self) -> None:
        self._stream(lambda _: np.zeros((16, 16, 3), np.uint8))

    def serve_breaks_off(self) -> None:
        self._stream(numbered, pictures=5)

    def serve_pauses(self) -> None:
        """Ten pictures, then nothing until `resumed`."""
        if not self.resumed.is_set():
            self._stream(numbered, pictures=10)
            self.resumed.wait()
        self._stream(numbered)

    def serve_silent(self) -> None:
        self.ended.wait()

    def serve_photo(self) -> None:
        self._begin("image/jpeg")
        self.wfile.write(_jpeg(scene()))

    def serve_no_parts(self) -> None:
        self._begin()
        self.wfile.write(b"--yard\r\nContent-Length: many\r\n\r\n")

    def serve_moved(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/live")
        self.end_headers()

    def serve_busy(self) -> None:
        self.send_error(503)

    def serve_basic(self) -> None:
        self._guarded('Basic realm="yard"', self.headers.get("Authorization") == _BASIC)

    def serve_digest(self) -> None:
        self._guarded(_DIGEST.format("MD5"), self._knows("md5"))

    def serve_digest_sha256(self) -> None:
        self._guarded(_DIGEST.format("SHA-256"), self._knows("sha256"))

    def _knows(self, algorithm: str) -> bool:
        """RFC 7616, section 3.4."""
        scheme, _, rest = self.headers.get("Authorization", "").partition(" ")
        if scheme != "Digest":
            return False
        given = parse_keqv_list(parse_http_list(rest))

        def digest(*words: str) -> str:
            return hashlib.new(algorithm, ":".join(words).encode()).hexdigest()

        secret, what = digest(USER, "yard", PASSWORD), digest("GET", self.path)
        wanted = digest(secret, "n0nce", given["nc"], given["cnonce"], "auth", what)
        return given["uri"] == self.path and given["response"] == wanted

    def _guarded(self, challenge: str, welcome: bool) -> None:
        if welcome:
            self.serve_live()
            return
        self.send_response(401)
        self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Length", "0")
        self.end_headers()


class MjpegServer:
    """On a free port, each request in a thread of its own."""

    def __init__(self) -> None:
        self.ended, self.resumed = Event(), Event()
        self._shown = [scene()]
        more = {"ended": self.ended, "resumed": self.resumed, "shown": self._shown}
        handler = type("Handler", (_Handler,), more)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.resumed.set()
        self._server.shutdown()
        self._server.server_close()

    def show(self, picture: Any) -> None:
        """What `/shown` sends from now on."""
        self._shown[0] = picture

    def url(self, path: str, login: str = "") -> str:
        return f"http://{login}127.0.0.1:{self._server.server_port}{path}"
