"""What every request passes: host and origin, and the headers of every answer."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOCAL_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")  # no scheme, no host, no backslash, no blank

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: browsers would then send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "X-Robots-Tag": "noindex, nofollow",
}
_MAY_DIFFER = "Cross-Origin-Resource-Policy"
"""A page may say that another program of this host shows it."""


def local_path(path: str | None) -> str:
    """A path on these pages to go to after the log-in, or `/` for anything else."""
    return path if path and _LOCAL_PATH.fullmatch(path) else "/"


def network_of(address: str) -> str:
    """What counts as one guest: an IPv4 address; of IPv6 the /64, for everybody has one of those to choose from."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address  # a proxy may say anything
    if ip.version == 6 and ip.ipv4_mapped is None:
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip if ip.version == 4 else ip.ipv4_mapped)


class LargeForms:
    """ASGI middleware: the body of a request to `paths` that is larger than `ordinary` bytes, or does not say how large
    it is, is read only of somebody who is known; others are sent to the log-in before a byte of it is read.

    largest: what these paths take at most, as their routes say it.
    """

    def __init__(
        self, app: ASGIApp, paths: re.Pattern[str], ordinary: int, largest: int, known: Callable[[Request], object]
    ) -> None:
        self._app = app
        self._paths = paths
        self._ordinary = ordinary
        login = RedirectResponse("/login", HTTPStatus.SEE_OTHER, {"Connection": "close"})
        # Else the limit of the application would say 413 to somebody who has only been logged out meanwhile.
        self._login = RequestBodyLimitMiddleware(login, largest)
        self._known = known

    def _large(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["method"] != "POST" or not self._paths.fullmatch(scope["path"]):
            return False
        length = Headers(scope=scope).get("content-length", "")
        return not length.isdigit() or int(length) > self._ordinary

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if self._large(scope) and await run_in_threadpool(self._known, Request(scope)) is None:
            app = self._login
        await app(scope, receive, send)


class Guard:
    """ASGI middleware. base: the address under which people reach the pages; other hosts are refused, health aside."""

    def __init__(self, app: ASGIApp, base: str) -> None:
        self._app = app
        parts = urlsplit(base)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._host = parts.netloc
        self._headers = dict(HEADERS)
        if parts.scheme == "https":
            self._headers["Strict-Transport-Security"] = "max-age=31536000"

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[HTTPStatus, str] | None:
        if scope["path"] != "/healthz" and headers.get("host") != self._host:
            return HTTPStatus.MISDIRECTED_REQUEST, f"These pages answer to {self._host} only."
        if scope["method"] in ("GET", "HEAD"):
            return None
        origin = headers.get("origin")
        # Programs send no Origin; for them the token in the header does. A browser's form always brings one.
        is_json = headers.get("content-type", "").partition(";")[0].strip() == "application/json"
        if origin != self._origin and not (origin is None and is_json):
            return HTTPStatus.FORBIDDEN, "A change must come from these pages themselves (Origin)."
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                own = answered.get(_MAY_DIFFER)
                answered.update(self._headers)
                if own is not None:
                    answered[_MAY_DIFFER] = own
                answered.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope, Headers(scope=scope))
        if refusal is None:
            await self._app(scope, receive, with_headers)
        else:
            status, text = refusal
            await PlainTextResponse(text, status)(scope, receive, with_headers)
