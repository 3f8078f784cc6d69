"""What setup and check ask of InfluxDB 2 and of Grafana, over HTTP. No token is in a message."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from deploy.server.settings import ORG, ServerError

TIMEOUT_S = 20.0
USER = "admin"
"""Of InfluxDB and of Grafana."""
ACCOUNT = "banksman"
"""Grafana's service account, by which boards are pushed."""


class _Http:
    """One server. what: its name in messages."""

    what = ""

    def __init__(self, url: str, headers: Mapping[str, str], auth: tuple[str, str] | None = None) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, headers=dict(headers), auth=auth, timeout=TIMEOUT_S, trust_env=False)

    def ask(self, method: str, path: str, body: object = None, **params: str) -> httpx.Response:
        """Whatever it answers. Raises ServerError where nobody does."""
        try:
            return self._client.request(method, path, json=body, params=params or None)
        except httpx.HTTPError as error:
            raise ServerError(f"{self.what} at {self.url} does not answer ({type(error).__name__})") from error

    def json(self, method: str, path: str, body: object = None, **params: str) -> Any:
        """Raises ServerError where the answer is no success, or not JSON."""
        return self._read(self.ask(method, path, body, **params), f"{method} {path}")

    def _read(self, answer: httpx.Response, asked: str) -> Any:
        if not answer.is_success:
            said = f"{answer.status_code} {_said(answer)}".strip()
            raise ServerError(f"{self.what} at {self.url}: {asked}: {said}")
        try:
            return answer.json() if answer.content else None
        except ValueError as error:
            raise ServerError(f"{self.what} at {self.url}: {asked} is not answered in JSON") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()


def _said(answer: httpx.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        return ""
    return str(body.get("message", ""))[:200] if isinstance(body, dict) else ""


class Influx(_Http):
    """InfluxDB 2 as its operator. Paths and bodies: its API, version 2."""

    what = "InfluxDB"

    def __init__(self, url: str, token: str) -> None:
        super().__init__(url, {"Authorization": f"Token {token}"})

    def onboard(self, token: str, password: str) -> bool:
        """The first user, organisation, bucket and operator token of an empty InfluxDB; False where it has them."""
        answer = self.ask("GET", "/api/v2/setup")
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise ServerError(f"{self.what} at {self.url} is not version 2; 2.9 is needed (docs/server.md)")
        if not self._read(answer, "GET /api/v2/setup")["allowed"]:
            return False
        first = {"username": USER, "password": password, "org": ORG, "bucket": ORG, "token": token}
        self.json("POST", "/api/v2/setup", first | {"retentionPeriodSeconds": 0})
        return True

    def version(self) -> str:
        """Empty where it does not say."""
        answer = self.ask("GET", "/health")
        try:
            body = answer.json()
        except ValueError:
            return ""
        return str(body.get("version", "")).removeprefix("v") if isinstance(body, dict) else ""

    def organisation(self) -> str:
        """Its id. Raises ServerError."""
        answer = self.ask("GET", "/api/v2/orgs", org=ORG)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise ServerError(
                f"{self.what} at {self.url} does not know the token of secrets/influx-admin: it was set up by somebody "
                "else. Put an operator token of it into that file, or begin with an empty InfluxDB"
            )
        found = answer.json().get("orgs", []) if answer.is_success else []
        if not found:
            raise ServerError(f"{self.what} at {self.url} has no organisation {ORG!r}")
        return str(found[0]["id"])

    def bucket(self, org: str) -> tuple[str, int] | None:
        """Id, and how long it keeps its points in seconds (0: for ever); None where there is none."""
        answer = self.ask("GET", "/api/v2/buckets", name=ORG, orgID=org)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        (one,) = self._read(answer, "GET /api/v2/buckets")["buckets"]
        rules = [rule["everySeconds"] for rule in one.get("retentionRules", ()) if rule["type"] == "expire"]
        return str(one["id"]), min(rules, default=0)

    def make_bucket(self, org: str) -> str:
        made = self.json("POST", "/api/v2/buckets", {"orgID": org, "name": ORG, "retentionRules": []})
        return str(made["id"])

    def keep_for_ever(self, bucket: str) -> None:
        self.json("PATCH", f"/api/v2/buckets/{bucket}", {"retentionRules": [{"type": "expire", "everySeconds": 0}]})

    def is_mapped(self, org: str, bucket: str) -> bool:
        """Whether InfluxQL finds the bucket by the database's name, by a mapping of its own."""
        found = self.json("GET", "/api/v2/dbrps", orgID=org, db=ORG).get("content") or ()
        return any(
            one["bucketID"] == bucket and one.get("default") and not one.get("virtual")
            for one in found
            if one["database"] == ORG
        )

    def map(self, org: str, bucket: str) -> None:
        made = {"orgID": org, "bucketID": bucket, "database": ORG, "retention_policy": "autogen", "default": True}
        self.json("POST", "/api/v2/dbrps", made)

    def make_token(self, org: str, bucket: str, role: str, actions: tuple[str, ...]) -> str:
        """For one bucket. Those of this role that are there are deleted: what InfluxDB told only once, nobody has."""
        description = f"banksman {role}"
        for old in self.json("GET", "/api/v2/authorizations", orgID=org).get("authorizations", ()):
            if old.get("description") == description:
                self.json("DELETE", f"/api/v2/authorizations/{old['id']}")
        resource = {"type": "buckets", "id": bucket, "orgID": org}
        permissions = [{"action": action, "resource": resource} for action in actions]
        body = {"orgID": org, "description": description, "permissions": permissions, "status": "active"}
        return str(self.json("POST", "/api/v2/authorizations", body)["token"])

    def knows(self, token: str) -> bool:
        """Whether the token is one of its own. What it may do was said when it was made."""
        with Influx(self.url, token) as as_its_owner:
            return as_its_owner.ask("GET", "/api/v2/buckets").status_code != httpx.codes.UNAUTHORIZED


class Grafana(_Http):
    """Grafana as its first user, who makes the service account."""

    what = "Grafana"

    def __init__(self, url: str, password: str) -> None:
        super().__init__(url, {"Accept": "application/json"}, (USER, password))

    def knows(self, token: str) -> bool:
        """Whether the service account's token is good."""
        with _Http(self.url, {"Authorization": f"Bearer {token}"}) as as_its_owner:
            return as_its_owner.ask("GET", "/api/access-control/user/permissions").is_success

    def make_token(self) -> str:
        """Of the service account, which is made where it is not there; its former tokens are deleted."""
        answer = self.ask("GET", "/api/serviceaccounts/search", query=ACCOUNT, perpage="100")
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise ServerError(
                f"{self.what} at {self.url} does not take the password of secrets/grafana-admin for {USER}; reset it: "
                "grafana cli admin reset-admin-password"
            )
        found = answer.json().get("serviceAccounts", []) if answer.is_success else []
        there = [one for one in found if one["name"] == ACCOUNT]
        if there:
            account = there[0]["id"]
            for old in self.json("GET", f"/api/serviceaccounts/{account}/tokens"):
                if old["name"] == ACCOUNT:
                    self.json("DELETE", f"/api/serviceaccounts/{account}/tokens/{old['id']}")
        else:
            account = self.json("POST", "/api/serviceaccounts", {"name": ACCOUNT, "role": "Admin"})["id"]
        return str(self.json("POST", f"/api/serviceaccounts/{account}/tokens", {"name": ACCOUNT})["key"])
