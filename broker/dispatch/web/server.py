"""Runs an application in a thread: pages over HTTP or HTTPS, evidence over TLS with the nodes' certificates."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h11
import uvicorn
from cryptography import x509
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from broker.dispatch.web.guard import network_of
from broker.dispatch.web.upload import Peer
from broker.pki.names import PkiError, node

HEAD_S = 20.0
"""A connection that asks for nothing for so long is closed: whoever holds it open keeps others out."""
BODY_S = 300.0
"""A form, with its photo, is here by then. Evidence has limits of its own."""
AT_ONCE = 512
PER_ADDRESS = 128
"""Connections in all, and of one address (behind which a whole site may sit)."""
_START_S = 20.0
_STOP_S = 5


class ServerError(Exception):
    """An application cannot be served; says where and what would be right."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM. client_ca: only those with a certificate of this authority get in. nodes_only: nobody with a
    browser, which may be older than TLS 1.3, has to."""

    cert: Path
    key: Path
    client_ca: Path | None = None
    nodes_only: bool = False

    def context(self) -> ssl.SSLContext:
        """Raises ServerError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.cert, self.key)
            if self.client_ca is not None or self.nodes_only:
                context.minimum_version = ssl.TLSVersion.TLSv1_3
            if self.client_ca is not None:
                context.load_verify_locations(self.client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except OSError as error:  # ssl.SSLError is one
            raise ServerError(f"cannot use {self.cert}, {self.key} or {self.client_ca}: {error}") from error
        return context


def peer_of(certificate: Mapping[str, Any] | None) -> Peer | None:
    """The node that a certificate names, as `ssl.SSLSocket.getpeercert` gives it; None for any other certificate."""
    if not certificate:
        return None
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    try:
        site, _, name = node(names[0]).name.partition("/") if len(names) == 1 else ("", "", "")
    except PkiError:
        return None
    return Peer(site, name, int(certificate["serialNumber"], 16)) if site else None


class Revoked:
    """Serial numbers that were taken back, read anew whenever the file of revocation lists has changed."""

    def __init__(self, crl: Path) -> None:
        self._crl = crl
        self._lock = threading.Lock()
        self._read: tuple[int, int] | None = None
        self._serials: frozenset[int] = frozenset()

    def __call__(self, serial: int) -> bool:
        """Raises OSError, ValueError where the lists cannot be read: then nobody gets in."""
        with self._lock:
            stat = self._crl.stat()
            version = stat.st_mtime_ns, stat.st_ino
            if version != self._read:
                self._serials = frozenset(entry.serial_number for crl in _crls(self._crl.read_bytes()) for entry in crl)
                self._read = version
            return serial in self._serials


def _crls(pem: bytes) -> list[x509.CertificateRevocationList]:
    end = b"-----END X509 CRL-----"
    return [x509.load_pem_x509_crl(part + end) for part in pem.split(end) if part.strip()]


class _Guest(H11Protocol):
    """A connection that does not outstay its welcome: uvicorn alone waits for a request for ever."""

    body_s: float | None = BODY_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.guest = ""
        self._waits_for: object = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.guest = network_of(self.client[0]) if self.client else ""
        of_mine = [c for c in self.connections if isinstance(c, _Guest) and c.guest == self.guest]
        if len(of_mine) > PER_ADDRESS and not self.config.proxy_headers:  # behind a proxy all have one address
            transport.abort()
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._wait(None, None)

    def handle_events(self) -> None:
        super().handle_events()
        self._watch()

    def _watch(self) -> None:
        """Set the clock by what has to come next."""
        theirs = self.conn.their_state
        if theirs is h11.SEND_BODY:
            self._wait(theirs, self.body_s)
        elif theirs is h11.IDLE and self.timeout_keep_alive_task is None:
            self._wait(theirs, HEAD_S)
        else:
            self._wait(None, None)

    def _wait(self, what: object, seconds: float | None) -> None:
        if what is self._waits_for:
            return
        self._waits_for = what
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)


class _WithPeer(_Guest):
    """Tells the application whose certificate the connection has: `request.state.peer`."""

    body_s = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "peer": peer_of(transport.get_extra_info("peercert"))}


class _Server(uvicorn.Server):
    """uvicorn that says when it is ready."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.ready.set()


class WebServer:
    """uvicorn in a thread: HTTP/1.1, no signal handlers, no access log (addresses of links are secrets).

    proxies: addresses whose `X-Forwarded-For` and `-Proto` are believed. port: 0 for any free one.
    """

    def __init__(
        self, app: FastAPI, host: str, port: int, tls: Tls | None = None, proxies: tuple[str, ...] = ()
    ) -> None:
        self._app = app
        self._host = host
        self._tls = tls
        self._proxies = proxies
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self.port = port

    def start(self) -> None:
        """Returns once it answers. Raises ServerError where the address or a certificate cannot be used."""
        context = self._tls.context() if self._tls else None
        config = uvicorn.Config(
            self._app,
            loop="asyncio",
            http=_WithPeer if self._tls and self._tls.client_ca else _Guest,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(self._proxies),
            forwarded_allow_ips=list(self._proxies),
            limit_concurrency=AT_ONCE,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=_STOP_S,
            ssl_context_factory=(lambda _config, _default: context) if context else None,
        )
        listener = self._listen()
        self.port = int(listener.getsockname()[1])
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="web", daemon=True)
        self._thread.start()
        if not self._server.ready.wait(_START_S):
            self.stop()
            raise ServerError(f"not up after {_START_S:g} s on {self._host}:{self.port}")

    def _listen(self) -> socket.socket:
        try:
            family, _, _, _, address = socket.getaddrinfo(self._host, self.port, type=socket.SOCK_STREAM)[0]
            # Bound here, not in the thread: an address in use is an error of start().
            return socket.create_server(address[:2], family=family, backlog=256)
        except OSError as error:
            raise ServerError(f"cannot listen on {self._host}:{self.port}: {error.strerror or error}") from error

    def stop(self) -> None:
        """Waits for the thread. Harmless when it was not started."""
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join(_STOP_S + 5)
        self._server = self._thread = None
