"""What keeps strangers out of the page: sessions, login attempts, host and origin checks, response headers."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.clock import Clock
from edge.site.model import Page

SESSION_S = 12 * 3600.0  # a working day; then log in again
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_ATTEMPTS, _ATTEMPTS_ALL, _WINDOW_S = 5, 60, 60.0  # failed logins a minute: from one address, from all together
_ADDRESSES = 256  # addresses remembered; the oldest is forgotten first, the limit on all together still holds
_REVOKED = 256
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
}


def local_path(path: str | None) -> str:
    """A path on this page to go to after the login, or `/` for anything else."""
    return path if path and _LOCAL_PATH.fullmatch(path) else "/"


class Sessions:
    """Signed session cookies of one run of the page; a restart of the node ends them all."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._revoked: OrderedDict[str, None] = OrderedDict()

    def _sign(self, body: str) -> str:
        return hmac.new(self._key, body.encode(), hashlib.sha256).hexdigest()

    def issue(self) -> str:
        """A new cookie value. Its end counts on the monotonic clock, which no time server can move."""
        body = f"{int(self._clock.now().mono + SESSION_S)}.{secrets.token_hex(16)}"
        return f"{body}.{self._sign(body)}"

    def valid(self, cookie: str | None) -> bool:
        if cookie is None or not cookie.isascii():
            return False
        body, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(self._sign(body), signature):
            return False
        return body not in self._revoked and int(body.partition(".")[0]) > self._clock.now().mono

    def revoke(self, cookie: str | None) -> None:
        """End one session."""
        if cookie is not None and self.valid(cookie):
            self._revoked[cookie.rpartition(".")[0]] = None
            while len(self._revoked) > _REVOKED:
                self._revoked.popitem(last=False)


@dataclass
class LoginGate:
    """Compares the password in constant time and slows down guessing. Used from the event loop's thread only."""

    password: str
    clock: Clock
    _failed: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)
    _all: deque[float] = field(default_factory=deque)

    def wait_s(self, address: str) -> float:
        """Seconds until this address may try again; 0 when it may now."""
        now = self.clock.now().mono
        wait = 0.0
        for failed, limit in ((self._failed.get(address, deque()), _ATTEMPTS), (self._all, _ATTEMPTS_ALL)):
            while failed and failed[0] <= now - _WINDOW_S:
                failed.popleft()
            if len(failed) >= limit:
                wait = max(wait, failed[0] + _WINDOW_S - now)
        return wait

    def admits(self, address: str, password: str) -> bool:
        """Whether the password is right; a wrong one counts. Ask `wait_s` first."""
        # Digests have one length, so that the comparison does not tell the length of the password.
        given, wanted = (hashlib.sha256(p.encode()).digest() for p in (password, self.password))
        if hmac.compare_digest(given, wanted):
            self._failed.pop(address, None)
            return True
        now = self.clock.now().mono
        self._all.append(now)
        self._failed.setdefault(address, deque()).append(now)
        self._failed.move_to_end(address)
        while len(self._failed) > _ADDRESSES:
            self._failed.popitem(last=False)
        return False


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


class Guard:
    """ASGI middleware: refuses foreign hosts and origins, adds the security headers to every answer."""

    def __init__(self, app: ASGIApp, page: Page) -> None:
        self._app = app
        self._scheme = "https" if page.tls_cert else "http"
        # Without a password only this computer may ask; a foreign name in Host means DNS rebinding.
        self._loopback_only = page.password is None

    def _refusal(self, scope: Scope) -> tuple[HTTPStatus, str] | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._loopback_only and _hostname(host) not in LOOPBACK:
            return HTTPStatus.MISDIRECTED_REQUEST, "This page answers to 127.0.0.1 and localhost only."
        if scope["method"] in ("GET", "HEAD"):
            return None
        if scope["method"] != "POST":
            return HTTPStatus.METHOD_NOT_ALLOWED, "Only GET and POST."
        if headers.get("origin") != f"{self._scheme}://{host}":
            return HTTPStatus.FORBIDDEN, "A change must come from this page itself (Origin)."
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, with_headers)
        else:
            status, text = refusal
            await PlainTextResponse(text, status)(scope, receive, with_headers)
