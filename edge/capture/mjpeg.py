"""JPEG pictures over HTTP (`multipart/x-mixed-replace`), read without FFmpeg.

So the camera's own answer gives the cause, a read never blocks longer than its limit, and pictures that nobody wants
are not decoded.
"""

from __future__ import annotations

import http.client
from email.message import Message

import cv2
import numpy as np

from edge.capture.source import SourceError, Timing
from edge.capture.url import CameraUrl, network_error
from edge.site.model import MjpegSource
from edge.values import CameraCause, Image

OPEN_TIMEOUT_S = 4.0
READ_TIMEOUT_S = 6.0
_CHUNK = 65536
_MAX_PICTURE = 16 * 1024 * 1024


class MjpegStream:
    """One HTTP request whose answer never ends."""

    timing = Timing.LIVE

    def __init__(self, config: MjpegSource) -> None:
        self._config = config
        self._connection: http.client.HTTPConnection | None = None
        self._parts: _Parts | None = None
        self._jpeg = b""

    @property
    def _where(self) -> CameraUrl:
        return CameraUrl.parse(self._config.url.get_secret_value())

    def open(self) -> None:
        where = self._where
        try:
            answer = self._ask(where)
        except OSError as error:
            raise network_error(where, error) from None
        except http.client.HTTPException:
            raise SourceError(CameraCause.FORMAT, f"{where}: what answers there does not speak HTTP") from None
        _check(where, answer)
        boundary = answer.headers.get_param("boundary")
        if answer.headers.get_content_maintype() != "multipart" or not isinstance(boundary, str):
            kind = answer.headers.get_content_type()
            raise SourceError(
                CameraCause.FORMAT, f"{where} sends {kind}, wanted is a multipart stream of JPEG pictures"
            )
        self._parts = _Parts(answer, boundary)

    def _ask(self, where: CameraUrl, challenge: str | None = None) -> http.client.HTTPResponse:
        """The answer to GET; asked a second time with the credentials where the camera wants them."""
        self.close()
        kind = http.client.HTTPSConnection if where.tls else http.client.HTTPConnection
        self._connection = kind(where.host, where.port, timeout=OPEN_TIMEOUT_S)
        authorization = where.authorization(challenge, "GET", where.target) if challenge else None
        self._connection.request("GET", where.target, headers={"Authorization": authorization} if authorization else {})
        self._connection.sock.settimeout(READ_TIMEOUT_S)
        answer = self._connection.getresponse()
        if answer.status == 401 and where.user and challenge is None:
            for offered in answer.headers.get_all("WWW-Authenticate", []):
                if where.authorization(offered, "GET", where.target):
                    return self._ask(where, offered)
        return answer

    def advance(self) -> float:
        if self._parts is None:
            raise RuntimeError("advance() before open()")
        where = self._where
        try:
            self._jpeg = self._parts.read()
        except OSError as error:
            raise network_error(where, error) from None
        except (ValueError, http.client.HTTPException):
            raise SourceError(CameraCause.FORMAT, f"{where} sends something that is not a multipart stream") from None
        return 0.0

    def picture(self) -> Image | None:
        if not self._jpeg:
            return None
        return cv2.imdecode(np.frombuffer(self._jpeg, np.uint8), cv2.IMREAD_COLOR)  # type: ignore[return-value]

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _check(where: CameraUrl, answer: http.client.HTTPResponse) -> None:
    said = f"{where} answers {answer.status} {answer.reason}"
    match answer.status:
        case 200:
            return
        case 401 | 403:
            raise SourceError(CameraCause.AUTH, said)
        case 301 | 302 | 303 | 307 | 308:
            raise SourceError(CameraCause.NOT_FOUND, f"{said}: the stream has another address, which must be given")
        case 404 | 410:
            raise SourceError(CameraCause.NOT_FOUND, said)
        case _:
            raise SourceError(CameraCause.REFUSED, said)


class _Parts:
    """The bodies of a multipart stream, one after the other."""

    def __init__(self, answer: http.client.HTTPResponse, boundary: str) -> None:
        self._answer = answer
        self._mark = b"--" + boundary.strip('"').removeprefix("--").encode()
        self._rest = bytearray()

    def read(self) -> bytes:
        """The next body. Raises ValueError where the stream is no multipart, OSError where it breaks off."""
        self._until(self._mark)
        head = Message()
        for line in self._until(b"\r\n\r\n").decode("latin-1").split("\r\n"):
            name, colon, value = line.partition(":")
            if colon:
                head[name] = value.strip()
        length = head.get("Content-Length")
        if length is None:
            body = self._until(b"\r\n" + self._mark)
            self._rest[:0] = self._mark  # it also begins the next part
            return body
        return self._take(int(length))

    def _until(self, mark: bytes) -> bytes:
        """What comes before `mark`, which is dropped."""
        searched = 0
        while (at := self._rest.find(mark, searched)) < 0:
            searched = max(0, len(self._rest) - len(mark))
            self._fill()
        found = bytes(self._rest[:at])
        del self._rest[: at + len(mark)]
        return found

    def _take(self, length: int) -> bytes:
        if not 0 <= length <= _MAX_PICTURE:
            raise ValueError(f"a picture of {length} bytes")
        while len(self._rest) < length:
            self._fill()
        found = bytes(self._rest[:length])
        del self._rest[:length]
        return found

    def _fill(self) -> None:
        if len(self._rest) > _MAX_PICTURE:
            raise ValueError("no end of a part")
        got = self._answer.read1(_CHUNK)
        if not got:
            raise ConnectionResetError
        self._rest += got
