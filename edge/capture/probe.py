"""Why an RTSP camera gives no picture. OpenCV says only that it failed; the camera itself says why."""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass
from typing import BinaryIO

from edge.capture.source import SourceError
from edge.capture.url import CameraUrl, network_error
from edge.values import CameraCause

TIMEOUT_S = 3.0
_MAX_SDP = 65536


@dataclass(frozen=True)
class _Reply:
    code: int
    words: str
    headers: http.client.HTTPMessage
    body: str


def diagnose(where: CameraUrl) -> SourceError | None:
    """Ask a camera to describe its stream, as a player would; None where it does so as it should.

    Each step waits at most TIMEOUT_S.
    """
    try:
        with socket.create_connection((where.host, where.port), TIMEOUT_S) as raw:
            # As FFmpeg does: cameras sign their certificates themselves, so there is nothing to check them against.
            line = _unchecked().wrap_socket(raw, server_hostname=where.host) if where.tls else raw
            return _judge(where, _describe(line, where))
    except OSError as error:
        return network_error(where, error)
    except (ValueError, http.client.HTTPException):
        return SourceError(CameraCause.FORMAT, f"{where}: what answers there does not speak RTSP")


def _unchecked() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _describe(line: socket.socket, where: CameraUrl) -> _Reply:
    """DESCRIBE, a second time with the credentials where the camera asks for them (RFC 2326, RFC 7616)."""
    host = f"[{where.host}]" if ":" in where.host else where.host
    uri = f"{where.scheme}://{host}:{where.port}{where.target}"
    with line.makefile("rb") as replies:

        def ask(number: int, extra: str = "") -> _Reply:
            line.sendall(
                f"DESCRIBE {uri} RTSP/1.0\r\nCSeq: {number}\r\nAccept: application/sdp\r\n{extra}\r\n".encode()
            )
            return _read(replies)

        reply = ask(1)
        if reply.code == 401 and where.user:
            challenges = reply.headers.get_all("WWW-Authenticate", [])
            answers = (where.authorization(challenge, "DESCRIBE", uri) for challenge in challenges)
            answer = next((a for a in answers if a), None)
            if answer:
                reply = ask(2, f"Authorization: {answer}\r\n")
        return reply


def _read(replies: BinaryIO) -> _Reply:
    """One reply. Raises ValueError or HTTPException for what is not RTSP, ConnectionError where nothing came."""
    first = replies.readline(1024).decode("ascii")
    if not first:
        raise ConnectionResetError
    protocol, code, words = [*first.split(None, 2), "", "", ""][:3]
    if not protocol.startswith("RTSP/"):
        raise ValueError(f"not RTSP: {protocol!r}")
    headers = http.client.parse_headers(replies)
    length = min(int(headers.get("Content-Length", 0)), _MAX_SDP)
    return _Reply(int(code), words.strip(), headers, replies.read(length).decode("utf-8", "replace"))


def _judge(where: CameraUrl, reply: _Reply) -> SourceError | None:
    said = f"{where} answers {reply.code} {reply.words}"
    match reply.code:
        case 200 if "m=video" in reply.body:
            return None
        case 200:
            return SourceError(CameraCause.FORMAT, f"{where} offers no video")
        case 401 | 403:
            return SourceError(CameraCause.AUTH, said)
        case 404 | 410:
            return SourceError(CameraCause.NOT_FOUND, said)
        case _:
            return SourceError(CameraCause.REFUSED, said)
