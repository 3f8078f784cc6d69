"""Runs the page in a thread of its own."""

from __future__ import annotations

import socket
import threading

import uvicorn
from fastapi import FastAPI

from edge.site.model import Page

_START_S = 20.0
_STOP_S = 5


class PageError(Exception):
    """The page cannot be served; says where and what would be right."""


class _Server(uvicorn.Server):
    """uvicorn that says when it is ready."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.ready.set()


class PageServer:
    """uvicorn in a thread: HTTP/1.1, one event loop, no signal handlers, no access log. One start, one stop."""

    def __init__(self, app: FastAPI, page: Page) -> None:
        self._app = app
        self._page = page
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where a browser on this computer finds the page."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._page.host, self._page.host)  # noqa: S104
        scheme = "https" if self._page.tls_cert else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self._page.port}/"

    def start(self) -> None:
        """Returns once the page answers. Raises PageError where the address or the certificate cannot be used."""
        page = self._page
        config = uvicorn.Config(
            self._app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=64,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=_STOP_S,
            ssl_certfile=page.tls_cert,
            ssl_keyfile=page.tls_key,
        )
        try:
            config.load()
        except OSError as error:  # ssl.SSLError is one
            raise PageError(f"page: cannot use the certificate {page.tls_cert} with {page.tls_key}: {error}") from error
        listener = self._listen()
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="page", daemon=True)
        self._thread.start()
        if not self._server.ready.wait(_START_S):
            self.stop()
            raise PageError(f"page: not up after {_START_S:g} s on {page.host}:{page.port}")

    def _listen(self) -> socket.socket:
        host, port = self._page.host, self._page.port
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            # Bound here, not in the thread: an address in use is an error of start().
            return socket.create_server(address[:2], family=family, backlog=64)
        except OSError as error:
            raise PageError(f"page: cannot listen on {host}:{port}: {error.strerror or error}") from error

    def stop(self) -> None:
        """Ends long polls and waits for the thread. Harmless when it was not started."""
        if self._server is None or self._thread is None:
            return
        self._app.state.stopping.set()
        self._server.should_exit = True
        self._thread.join(_STOP_S + 5)
        self._server = self._thread = None
