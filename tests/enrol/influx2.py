"""A STUB of InfluxDB 2, of its addresses for organisations, buckets, authorizations and writing; strict.

There is no InfluxDB 2 to run tests against here. Facts from its API reference (2.7): names that do not exist are 404
with `not found`, an authorization is made with 201 and tells its token, a deletion is 204, a token without the right is
403, an unknown one 401.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

ADMIN = "operator-token-of-the-test=="
ORG = "banksman"
_ORG_ID = "0a0a0a0a0a0a0a0a"


@dataclass
class Influx2Stub:
    """buckets: name to id. trouble: status of the answer to the next request of a method, instead of doing it."""

    buckets: dict[str, str] = field(default_factory=lambda: {"banksman": "0b0b0b0b0b0b0b0b"})
    authorizations: dict[str, dict[str, Any]] = field(default_factory=dict)
    trouble: dict[str, int] = field(default_factory=dict)
    lose_answer: set[str] = field(default_factory=set)
    """Methods whose next request is done, but gets no answer."""
    asked: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, answer = outer.answer(self.command, self.path, self.headers.get("Authorization", ""), body)
                if self.command in outer.lose_answer:
                    outer.lose_answer.discard(self.command)
                    self.close_connection = True
                    return
                text = json.dumps(answer).encode() if answer is not None else b""
                self.send_response(status)
                self.send_header("Content-Type", "application/json; charset=utf-8")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_DELETE = _do  # noqa: N815

            def log_message(self, *_: object) -> None:
                """No noise."""

        self._handler = Handler
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Nobody listens any more; it may be started again, on the same port."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- what it does ------------------------------------------------------------------------------------------------

    def answer(self, method: str, address: str, who: str, body: bytes) -> tuple[int, Any]:  # noqa: PLR0911 as many as addresses
        parts = urlsplit(address)
        asked = dict(parse_qsl(parts.query))
        self.asked.append((method, parts.path))
        if (status := self.trouble.pop(method, 0)) != 0:
            return status, {"code": "internal error", "message": f"trouble, {who}"}
        if parts.path == "/api/v2/write":
            return self._write(who, asked)
        if who != f"Token {ADMIN}":
            return 401, {"code": "unauthorized", "message": "unauthorized access"}
        match method, parts.path.split("/")[1:]:
            case "GET", ["api", "v2", "orgs"]:
                if asked.get("org", ORG) != ORG:
                    return _missing(f'organization name "{asked["org"]}" not found')
                return 200, {"orgs": [{"id": _ORG_ID, "name": ORG}]}
            case "GET", ["api", "v2", "buckets"]:
                name = asked.get("name")
                if asked.get("orgID") != _ORG_ID or (name is not None and name not in self.buckets):
                    return _missing(f'bucket "{name}" not found')
                found = {n: i for n, i in self.buckets.items() if name in (None, n)}
                rule = {"type": "expire", "everySeconds": 0}
                rows = [{"id": i, "name": n, "orgID": _ORG_ID, "retentionRules": [rule]} for n, i in found.items()]
                return 200, {"buckets": rows}
            case "GET", ["api", "v2", "authorizations"]:
                if asked.get("orgID") != _ORG_ID:
                    return _missing("organization not found")
                return 200, {"authorizations": [one | {"token": ""} for one in self.authorizations.values()]}
            case "POST", ["api", "v2", "authorizations"]:
                return self._make(json.loads(body))
            case "DELETE", ["api", "v2", "authorizations", which]:
                if self.authorizations.pop(which, None) is None:
                    return _missing("authorization not found")
                return 204, None
        return 404, {"code": "not found", "message": "path not found"}

    def _make(self, wanted: dict[str, Any]) -> tuple[int, Any]:
        if wanted.get("orgID") != _ORG_ID or not wanted.get("permissions"):
            return 400, {"code": "invalid", "message": "orgID and permissions are required"}
        for permission in wanted["permissions"]:
            resource = permission["resource"]
            known = resource.get("type") == "buckets" and resource.get("id") in self.buckets.values()
            if permission["action"] not in {"read", "write"} or not known or resource.get("orgID") != _ORG_ID:
                return 400, {"code": "invalid", "message": "permission is not valid"}
        made = {"id": secrets.token_hex(8), "token": f"{secrets.token_urlsafe(64)}==", "createdAt": _now()}
        self.authorizations[made["id"]] = {**wanted, **made}
        return 201, self.authorizations[made["id"]]

    def _write(self, who: str, asked: dict[str, str]) -> tuple[int, Any]:
        mine = [one for one in self.authorizations.values() if who == f"Token {one['token']}"]
        if not mine or mine[0].get("status") != "active":
            return 401, {"code": "unauthorized", "message": "unauthorized access"}
        target = {"type": "buckets", "id": self.buckets.get(asked["bucket"]), "orgID": _ORG_ID}
        if not any(p["action"] == "write" and p["resource"] == target for p in mine[0]["permissions"]):
            return 403, {"code": "forbidden", "message": "insufficient permissions for write"}
        return 204, None

    # -- what a test asks ----------------------------------------------------------------------------------------------

    def may_write(self, token: str, bucket: str = "banksman") -> bool:
        return self._write(f"Token {token}", {"bucket": bucket})[0] == 204


def _missing(what: str) -> tuple[int, Any]:
    return 404, {"code": "not found", "message": what}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
