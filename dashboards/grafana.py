"""Grafana's HTTP API through `grafana-api`, with what that library lacks.

The library calls and signs; here are time-outs, retries of what may be repeated, empty replies, paths by uid (those by
number are gone in Grafana 13) and errors as data. The token is in no text that leaves this file.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Sequence
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

import requests
from grafana_api.grafana_face import GrafanaFace
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from broker.addresses import is_token, is_web_address

CONNECT_S: Final = 5.0
READ_S: Final = 30.0
RETRIES: Final = 2
_BUSY: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE)
_MAX_SAID: Final = 300

Json = dict[str, Any]


class Kind(StrEnum):
    """What went wrong, as keys of the catalogue (`push.error.…`)."""

    ADDRESS = "address"
    UNREACHABLE = "unreachable"
    TLS = "tls"
    SLOW = "slow"
    MOVED = "moved"
    NOT_GRAFANA = "not_grafana"
    TOKEN = "token"  # noqa: S105
    RIGHT = "right"
    MISSING = "missing"
    CONFLICT = "conflict"
    REFUSED = "refused"
    BROKEN = "broken"


UNUSABLE: Final = frozenset(
    {Kind.ADDRESS, Kind.UNREACHABLE, Kind.TLS, Kind.SLOW, Kind.MOVED, Kind.NOT_GRAFANA, Kind.TOKEN}
)
"""With these nothing else will succeed either."""


class GrafanaError(Exception):
    """Grafana did not do what was asked. said: its own words, without secrets. status: 0 where there was no answer."""

    def __init__(self, kind: Kind, url: str, said: str = "", status: int = 0) -> None:
        super().__init__(f"{url}: {kind} {status or ''} {said}".strip())
        self.kind, self.url, self.said, self.status = kind, url, said, status


_KINDS: Final[Mapping[int, Kind]] = {
    HTTPStatus.UNAUTHORIZED: Kind.TOKEN,
    HTTPStatus.FORBIDDEN: Kind.RIGHT,
    HTTPStatus.NOT_FOUND: Kind.MISSING,
    HTTPStatus.CONFLICT: Kind.CONFLICT,
    HTTPStatus.PRECONDITION_FAILED: Kind.CONFLICT,
}


class Grafana:
    """One organisation. url: as in the browser, with the path before `/api` if any. token: of a service account.

    ca: who signs its certificate (PEM). secrets: further texts that no message may hold.
    """

    def __init__(
        self,
        url: str,
        token: str,
        ca: Path | None = None,
        *,
        secrets: Sequence[str] = (),
        read_s: float = READ_S,
        retries: int = RETRIES,
    ) -> None:
        self._secrets = [secret for secret in (token, *secrets) if secret]
        if not is_web_address(url) or (parts := urlsplit(url)).query:
            raise GrafanaError(Kind.ADDRESS, "")  # it is not repeated
        self.url = url.rstrip("/")
        if not is_token(token):
            raise GrafanaError(Kind.TOKEN, self.url)
        if ca is not None:
            try:
                ssl.create_default_context(cafile=str(ca))
            except OSError as error:
                raise GrafanaError(Kind.TLS, self.url, f"{ca}: {error.strerror or error}") from error
        path = parts.path.strip("/")
        self._face = GrafanaFace(
            token,
            host=parts.netloc,
            url_path_prefix=f"{path}/" if path else "",
            protocol=parts.scheme,
            verify=True if ca is None else str(ca),
            timeout=(CONNECT_S, read_s),
        )
        # What changes something is sent once: the second time it would meet its own version. Asking may be repeated.
        again = Retry(
            total=retries,
            status_forcelist=_BUSY,
            allowed_methods={"GET"},
            backoff_factor=0.3,
            backoff_max=5,
            raise_on_status=False,
            respect_retry_after_header=False,
        )
        session: requests.Session = self._face.api.s
        session.mount("http://", HTTPAdapter(max_retries=again))
        session.mount("https://", HTTPAdapter(max_retries=again))
        session.headers["Accept"] = "application/json"
        session.hooks["response"].append(self._look)

    # -- calls ---------------------------------------------------------------------------------------------------------

    def health(self) -> Json:
        """Version and more, without any right; the version may be hidden."""
        return self._object("GET", "/health")

    def permissions(self) -> Mapping[str, Sequence[str]]:
        """Actions that the token may do, and on what."""
        return self._object("GET", "/access-control/user/permissions")

    def folder(self, uid: str) -> Json | None:
        return self._maybe(f"/folders/{_in_path(uid)}")

    def create_folder(self, uid: str, title: str) -> None:
        self._call("POST", "/folders", {"uid": uid, "title": title})

    def rename_folder(self, uid: str, title: str) -> None:
        self._call("PUT", f"/folders/{_in_path(uid)}", {"title": title, "overwrite": True})

    def datasource(self, uid: str) -> Json | None:
        return self._maybe(f"/datasources/uid/{_in_path(uid)}")

    def create_datasource(self, source: Json) -> None:
        self._call("POST", "/datasources", source)

    def update_datasource(self, uid: str, source: Json) -> None:
        """With its `version`, if anybody was faster it is a conflict."""
        self._call("PUT", f"/datasources/uid/{_in_path(uid)}", source)

    def query(self, uid: str, text: str) -> Json:
        """Asks InfluxQL of the data source as a panel would: the result, with `error` where there is none."""
        asked = {"refId": "A", "datasource": {"uid": uid}, "rawQuery": True, "query": text, "resultFormat": "table"}
        try:
            answer = self._object("POST", "/ds/query", {"queries": [asked], "from": "now-1h", "to": "now"})
        except GrafanaError as error:
            # Grafana passes on as its own failure that the data source has failed.
            if error.kind in (Kind.REFUSED, Kind.BROKEN, Kind.MISSING):
                return {"error": error.said or str(error.status)}
            raise
        result: Json = (answer.get("results") or {}).get("A") or {}
        return result

    def board(self, uid: str) -> Json | None:
        """`dashboard` and `meta`; None where there is none. Raises Kind.REFUSED with status 406 for one of schema 2."""
        return self._maybe(f"/dashboards/uid/{_in_path(uid)}")

    def save_board(self, board: Json, folder: str, *, message: str, overwrite: bool) -> Json:
        """Gives its new `version`, or nothing where the reply is empty."""
        asked = {"dashboard": board, "folderUid": folder, "message": message, "overwrite": overwrite}
        return self._object("POST", "/dashboards/db", asked)

    def rule(self, uid: str) -> Json | None:
        return self._maybe(f"/v1/provisioning/alert-rules/{_in_path(uid)}")

    def create_rule(self, rule: Json) -> None:
        self._call("POST", "/v1/provisioning/alert-rules", rule)

    def update_rule(self, uid: str, rule: Json) -> None:
        self._call("PUT", f"/v1/provisioning/alert-rules/{_in_path(uid)}", rule)

    def rules(self) -> list[Json]:
        """All of the organisation."""
        found = self._call("GET", "/v1/provisioning/alert-rules")
        return found if isinstance(found, list) else []

    def delete_rule(self, uid: str) -> None:
        """Gone afterwards, whether it was there or not."""
        self._delete(f"/v1/provisioning/alert-rules/{_in_path(uid)}")

    def contact_points(self, name: str) -> list[Json]:
        """Of that name; their secrets are not shown."""
        found = self._call("GET", f"/v1/provisioning/contact-points?name={_in_path(name)}")
        return found if isinstance(found, list) else []

    def create_contact_point(self, point: Json) -> None:
        self._call("POST", "/v1/provisioning/contact-points", point)

    def update_contact_point(self, uid: str, point: Json) -> None:
        self._call("PUT", f"/v1/provisioning/contact-points/{_in_path(uid)}", point)

    def delete_contact_point(self, uid: str) -> None:
        """Gone afterwards, whether it was there or not."""
        self._delete(f"/v1/provisioning/contact-points/{_in_path(uid)}")

    # -- how -----------------------------------------------------------------------------------------------------------

    def _maybe(self, path: str) -> Json | None:
        try:
            return self._object("GET", path)
        except GrafanaError as error:
            if error.kind is Kind.MISSING:
                return None
            raise

    def _delete(self, path: str) -> None:
        try:
            self._call("DELETE", path)
        except GrafanaError as error:
            if error.kind is not Kind.MISSING:
                raise

    def _object(self, method: str, path: str, json: Json | None = None) -> Json:
        answer = self._call(method, path, json)
        if not isinstance(answer, dict):
            raise GrafanaError(Kind.NOT_GRAFANA, self.url, f"{method} {path}")
        return answer

    def _call(self, method: str, path: str, json: Json | None = None) -> Any:
        """The answer; `{}` where it is empty, which the library takes for a failure after the thing is done."""
        try:
            return getattr(self._face.api, method)(path, json=json)
        except requests.exceptions.JSONDecodeError as error:
            if error.doc.strip():
                raise GrafanaError(Kind.NOT_GRAFANA, self.url, self._safe(error.doc[:80])) from None
            return {}
        # `from None`: what requests raises holds the request, and with it the token.
        except requests.exceptions.SSLError as error:
            raise GrafanaError(Kind.TLS, self.url, self._safe(_reason(error))) from None
        except requests.exceptions.Timeout:
            raise GrafanaError(Kind.SLOW, self.url) from None
        except requests.exceptions.InvalidURL:
            raise GrafanaError(Kind.ADDRESS, "") from None
        except (requests.exceptions.RequestException, OSError) as error:
            kind = Kind.SLOW if "Read timed out" in str(error) else Kind.UNREACHABLE
            raise GrafanaError(kind, self.url, self._safe(_reason(error))) from None

    def _look(self, answer: requests.Response, **_: object) -> None:
        """Before the library reads it: that stumbles over failures that are no JSON, and follows where others point."""
        if answer.is_redirect:
            raise GrafanaError(Kind.MOVED, self.url, self._safe(answer.headers.get("Location", "")), answer.status_code)
        if answer.status_code < HTTPStatus.BAD_REQUEST:
            return
        kind = _KINDS.get(answer.status_code)
        if kind is None:
            kind = Kind.BROKEN if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR else Kind.REFUSED
        raise GrafanaError(kind, self.url, self._safe(_said(answer)), answer.status_code)

    def _safe(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return " ".join(text.split())[:_MAX_SAID]

    def close(self) -> None:
        self._face.api.s.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _in_path(text: str) -> str:
    return quote(text, safe="")


def _said(answer: requests.Response) -> str:
    """Grafana's words for a failure; where a data source has failed, that one's."""
    try:
        body = answer.json()
    except ValueError:
        return answer.reason or ""
    if not isinstance(body, dict):
        return answer.reason or ""
    results = body.get("results")
    inner = results.get("A") if isinstance(results, dict) else None
    return str((inner or {}).get("error") or body.get("message") or body.get("error") or answer.reason or "")


def _reason(error: BaseException) -> str:
    """The innermost cause: the outer ones name classes and objects."""
    reason = getattr(error.args[0], "reason", error.args[0]) if error.args else error
    told = str(getattr(reason, "args", (reason,))[-1] if isinstance(reason, BaseException) else reason)
    return re.sub(r"^\w+\(.*?\): ", "", told)
