"""STUBS of what setup asks of InfluxDB 2 and of Grafana beyond what others' stubs have; strict. Neither is to be had.

InfluxDB, after its API reference (2.9): before its set-up it knows no token; a set-up is done once (422 then); a bucket
that exists is 422; a mapping wants ids that exist, and virtual ones are listed beside those that were made; tokens are
told once, when they are made. Grafana, after the reference of its service accounts: basic authentication, and a key.
"""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.dashboards.stub_grafana import ADMIN as ALL_RIGHTS
from tests.dashboards.stub_grafana import StubGrafana
from tests.enrol.influx2 import _ORG_ID, ADMIN, ORG, Influx2Stub

Json = dict[str, Any]
_MISSING = 404, {"code": "not found", "message": "not found"}


@dataclass
class InfluxStub(Influx2Stub):
    """One that nobody has set up. version: an older one has no /api/v2/setup."""

    buckets: dict[str, str] = field(default_factory=dict)
    version: str = "2.9.1"
    admin: str = ""
    mappings: list[Json] = field(default_factory=list)
    kept_s: int = 0
    writes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._handler.do_PATCH = self._handler.do_GET  # type: ignore[attr-defined]

    def answer(self, method: str, address: str, who: str, body: bytes) -> tuple[int, Any]:  # noqa: PLR0911, PLR0912
        path, asked = urlsplit(address).path, dict(parse_qsl(urlsplit(address).query))
        if self.version.startswith("1."):
            return 404, None
        if path == "/health":
            return 200, {"name": "influxdb", "status": "pass", "version": f"v{self.version}"}
        if path == "/api/v2/setup":
            return self._setup(method, json.loads(body) if body else {})
        mine = any(who == f"Token {one['token']}" for one in self.authorizations.values())
        if mine and (method, path) == ("GET", "/api/v2/buckets"):
            return 200, {"buckets": []}
        if mine and path == "/query":  # of a database that is mapped; somebody has written
            series = {"name": "node", "tags": {"site": "north-yard"}, "columns": ["time", "points"], "values": [[0, 5]]}
            return 200, {"results": [{"statement_id": 0, "series": [series]} if self.mappings else {"statement_id": 0}]}
        if not self.admin or who != f"Token {self.admin}":
            return 401, {"code": "unauthorized", "message": "unauthorized access"}
        if method != "GET":
            self.writes.append(f"{method} {path}")
        match method, path.split("/")[3:]:
            case "GET", ["buckets"]:
                status, found = super().answer(method, address, f"Token {ADMIN}", body)
                for one in found.get("buckets", ()):
                    one["retentionRules"] = [{"type": "expire", "everySeconds": self.kept_s}] if self.kept_s else []
                return status, found
            case "POST", ["buckets"]:
                made = json.loads(body)
                if made["name"] in self.buckets or made["orgID"] != _ORG_ID:
                    return 422, {"code": "conflict", "message": "bucket with name already exists"}
                self.buckets[made["name"]] = secrets.token_hex(8)
                return 201, {"id": self.buckets[made["name"]], **made}
            case "PATCH", ["buckets", which] if which in self.buckets.values():
                (rule,) = json.loads(body)["retentionRules"]
                self.kept_s = rule["everySeconds"]
                return 200, {"id": which}
            case "GET", ["dbrps"]:
                if asked.get("orgID") != _ORG_ID:
                    return 400, {"code": "invalid", "message": "orgID is required"}
                virtual = [
                    {"id": i, "orgID": _ORG_ID, "database": n, "bucketID": i, "default": True, "virtual": True}
                    for n, i in self.buckets.items()
                    if not any(one["database"] == n for one in self.mappings)
                ]
                return 200, {"content": [o for o in self.mappings + virtual if o["database"] == asked.get("db")]}
            case "POST", ["dbrps"]:
                made = json.loads(body)
                if set(made) != {"orgID", "bucketID", "database", "retention_policy", "default"}:
                    return 400, {"code": "invalid", "message": "not a mapping"}
                if made["bucketID"] not in self.buckets.values():
                    return 400, {"code": "invalid", "message": "no such bucket"}
                self.mappings.append(made)
                return 201, made
        return super().answer(method, address, f"Token {ADMIN}", body)

    def _setup(self, method: str, wanted: Json) -> tuple[int, Any]:
        if method == "GET":
            return 200, {"allowed": not self.admin}
        if self.admin:
            return 422, {"code": "conflict", "message": "onboarding has already been completed"}
        if not all(wanted.get(key) for key in ("username", "password", "org", "bucket", "token")):
            return 400, {"code": "invalid", "message": "username, password, org and bucket are needed"}
        if wanted["org"] != ORG or len(wanted["password"]) < 8:
            return 422, {"code": "invalid", "message": "password"}
        self.admin = wanted["token"]
        self.buckets[wanted["bucket"]] = secrets.token_hex(8)
        self.kept_s = wanted["retentionPeriodSeconds"]
        return 201, {"auth": {"token": self.admin}}

    def rights(self, token: str) -> set[str]:
        """What a token may do with the bucket."""
        (one,) = [one for one in self.authorizations.values() if one["token"] == token]
        assert all(p["resource"]["id"] == self.buckets["banksman"] for p in one["permissions"])
        return {permission["action"] for permission in one["permissions"]}


class GrafanaStub(StubGrafana):
    """Knows nobody but its first user."""

    def __init__(self, password: str) -> None:
        super().__init__("13.2.3", prefix="/grafana")
        self.rights.clear()
        self._first = "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()
        self.accounts: dict[int, Json] = {}
        self.keys: dict[int, Json] = {}

    def respond(self, method: str, target: str, token: str, raw: bytes) -> tuple[int, Any]:  # noqa: PLR0911
        parts = urlsplit(target)
        path = parts.path.removeprefix("/grafana/api/").split("/")
        if not token.startswith("Basic ") or path[0] != "serviceaccounts":
            return super().respond(method, target, token, raw)
        if token != self._first:
            return 401, {"message": "Invalid username or password", "messageId": "password-auth.failed"}
        body = json.loads(raw) if raw else {}
        match method, path[1:]:
            case "GET", ["search"]:
                name = dict(parse_qsl(parts.query))["query"]
                return 200, {"serviceAccounts": [one for one in self.accounts.values() if name in one["name"]]}
            case "POST", []:
                if any(one["name"] == body["name"] for one in self.accounts.values()):
                    return 400, {"message": "service account already exists"}
                made = {"id": len(self.accounts) + 2, "name": body["name"], "role": body["role"]}
                self.accounts[made["id"]] = made
                return 201, made
            case "GET", [account, "tokens"] if int(account) in self.accounts:
                return 200, [{k: one[k] for k in ("id", "name")} for one in self.keys.values()]
            case "POST", [account, "tokens"] if int(account) in self.accounts:
                if any(one["name"] == body["name"] for one in self.keys.values()):
                    return 409, {"message": "service account token with given name already exists"}
                made = {"id": len(self.keys) + 1, "name": body["name"], "key": f"glsa_{secrets.token_hex(16)}"}
                self.keys[made["id"]] = made
                self.rights[made["key"]] = ALL_RIGHTS if self.accounts[int(account)]["role"] == "Admin" else frozenset()
                return 200, made
            case "DELETE", [account, "tokens", which] if int(account) in self.accounts:
                self.rights.pop(self.keys.pop(int(which))["key"])
                return 200, {"message": "Service account token deleted"}
        return _MISSING
