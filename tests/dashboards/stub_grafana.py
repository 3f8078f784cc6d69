"""The part of Grafana's HTTP API that pushing uses, as a real HTTP server with the rules of Grafana 12 and 13.

What it enforces: service-account tokens and their rights, the JSON schema of boards, versions (409, 412), what comes
from provisioning files, references between things, secrets that are never shown. Queries go to the InfluxDB of its data
source. It draws nothing.
"""

from __future__ import annotations

import copy
import json
import re
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

from jsonschema import Draft7Validator

from tests.conftest import REPO
from tests.servers import HOST, Certificate

Json = dict[str, Any]
SCHEMA = REPO / ".cache" / "grafana" / "dashboard-13.2.3.json"
TOKEN = "glsa_OfTheTestOnly_0a1b2c3d"  # noqa: S105
HIDDEN = "[REDACTED]"
SECRET_SETTINGS = {"dingding": ("url",), "wecom": ("url",), "email": (), "webhook": ()}
VIEWER = frozenset({"dashboards:read", "folders:read", "datasources:read", "datasources:query"})
EDITOR = VIEWER | {"folders:create", "folders:write", "dashboards:create", "dashboards:write", "alert.rules:write"}
ADMIN = EDITOR | {"datasources:create", "datasources:write", "alert.provisioning:read", "alert.provisioning:write"}


@dataclass(frozen=True, slots=True)
class Trouble:
    """Once, for the next call that fits. path: searched for, without `/api`.

    lose: the thing is done, but the connection ends without a reply; hang: nothing comes until `stop`; first: called
    before the thing is done, as if somebody else had been faster.
    """

    method: str
    path: str
    how: Literal["lose", "hang", "answer", "first"]
    status: int = 500
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    first: Callable[[], None] | None = None


class RefusedError(Exception):
    def __init__(self, code: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.code, self.body = code, {"message": message, **more}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Whoever does not trust the certificate, or has waited long enough, goes; nothing to tell."""


class StubGrafana:
    """alters: boards are kept otherwise than they were sent. empty: replies to writing are empty.

    rights: of each token. prefix: path before `/api`.
    """

    def __init__(
        self,
        version: str = "13.0.1",
        *,
        alters: bool = False,
        empty: bool = False,
        prefix: str = "",
        certificate: Certificate | None = None,
    ) -> None:
        self.version, self.alters, self.empty, self.prefix = version, alters, empty, prefix
        self.token = TOKEN
        self.rights: dict[str, frozenset[str]] = {TOKEN: ADMIN}
        self.folders: dict[str, Json] = {}
        self.sources: dict[str, Json] = {}
        self.boards: dict[str, Json] = {}
        """`dashboard` and `meta`."""
        self.rules: dict[str, Json] = {}
        self.contacts: dict[str, Json] = {}
        self.writes: list[str] = []
        """Method and path of all that changed something."""
        self.asked: list[str] = []
        self.troubles: list[Trouble] = []
        self._schema = json.loads(SCHEMA.read_text()) if SCHEMA.exists() else None
        if self._schema is not None:
            self._schema["definitions"]["AnnotationTarget"]["additionalProperties"] = True
        self._lock = threading.RLock()
        self._released = threading.Event()
        self._server = _Server((HOST, 0), self._handler())
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.cert, certificate.key)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
            scheme = "https"
        self.url = f"{scheme}://{HOST}:{self._server.server_port}{prefix}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    def state(self) -> Json:
        """Everything that is kept."""
        kept = (self.folders, self.sources, self.boards, self.rules, self.contacts)
        return {str(number): copy.deepcopy(one) for number, one in enumerate(kept)}

    # -- people at its pages -------------------------------------------------------------------------------------------

    def edit(self, uid: str, change: Callable[[Json], None]) -> None:
        """Somebody changes a board in the browser and saves it."""
        with self._lock:
            board = copy.deepcopy(self.boards[uid]["dashboard"])
            change(board)
            self._keep(board, self.boards[uid]["meta"]["folderUid"])

    def _keep(self, board: Json, folder: str) -> int:
        old = self.boards.get(board["uid"])
        version = 1 if old is None else old["dashboard"]["version"] + 1
        if old is not None and self.major >= 13:
            same = {k: v for k, v in board.items() if k not in ("id", "version")}
            was = {k: v for k, v in old["dashboard"].items() if k not in ("id", "version")}
            version -= same == was
        number = len(self.boards) + 1 if old is None else old["dashboard"]["id"]
        meta = {"version": version, "folderUid": folder, "provisioned": False, "canSave": True, "type": "db"}
        self.boards[board["uid"]] = {"meta": meta, "dashboard": board | {"id": number, "version": version}}
        return version

    # -- calls ---------------------------------------------------------------------------------------------------------

    def _answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        for pattern, handle in (
            (r"GET /folders/([^/]+)", lambda uid: self._get(self.folders, uid, "folder not found")),
            (r"POST /folders", lambda: self._post_folder(body)),
            (r"PUT /folders/([^/]+)", lambda uid: self._put_folder(uid, body)),
            (r"GET /datasources/uid/([^/]+)", self._get_source),
            (r"POST /datasources", lambda: self._post_source(body)),
            (r"PUT /datasources/uid/([^/]+)", lambda uid: self._put_source(uid, body)),
            (r"POST /ds/query", lambda: self._query(body)),
            (r"GET /dashboards/uid/([^/]+)", self._get_board),
            (r"POST /dashboards/db", lambda: self._post_board(body)),
            (r"GET /v1/provisioning/alert-rules", lambda: (200, list(self.rules.values()))),
            (r"GET /v1/provisioning/alert-rules/([^/]+)", lambda uid: self._get(self.rules, uid, "")),
            (r"POST /v1/provisioning/alert-rules", lambda: self._post_rule(body)),
            (r"PUT /v1/provisioning/alert-rules/([^/]+)", lambda uid: self._put_rule(uid, body)),
            (r"DELETE /v1/provisioning/alert-rules/([^/]+)", lambda uid: self._delete(self.rules, uid, 204)),
            (r"GET /v1/provisioning/contact-points", lambda: self._get_contacts(query.get("name"))),
            (r"POST /v1/provisioning/contact-points", lambda: self._post_contact(body)),
            (r"PUT /v1/provisioning/contact-points/([^/]+)", lambda uid: self._put_contact(uid, body)),
            (r"DELETE /v1/provisioning/contact-points/([^/]+)", self._delete_contact),
        ):
            if match := re.fullmatch(pattern, f"{method} {path}"):
                return handle(*map(urllib.parse.unquote, match.groups()))
        # Among them /datasources/{number}, which 13 has no more, and the channels of old alerting.
        raise RefusedError(404, "Not found")

    def _get(self, kept: dict[str, Json], uid: str, missing: str) -> tuple[int, Any]:
        if uid not in kept:
            raise RefusedError(404, missing)
        return 200, kept[uid]

    def _delete(self, kept: dict[str, Json], uid: str, status: int) -> tuple[int, Any]:
        self._not_of_file(kept.get(uid))
        kept.pop(uid, None)
        return status, None

    def _post_folder(self, body: Json) -> tuple[int, Any]:
        if body["uid"] in self.folders:
            raise RefusedError(412, "a folder with that uid already exists", status="name-exists")
        self.folders[body["uid"]] = {
            "id": len(self.folders) + 1,
            "uid": body["uid"],
            "title": body["title"],
            "version": 1,
        }
        return 200, self.folders[body["uid"]]

    def _put_folder(self, uid: str, body: Json) -> tuple[int, Any]:
        folder = self._get(self.folders, uid, "folder not found")[1]
        if not body.get("overwrite") and body.get("version") != folder["version"]:
            raise RefusedError(412, "the folder has been changed by someone else", status="version-mismatch")
        folder |= {"title": body["title"], "version": folder["version"] + 1}
        return 200, folder

    def _get_source(self, uid: str) -> tuple[int, Any]:
        source = self._get(self.sources, uid, "Data source not found")[1]
        shown = {key: value for key, value in source.items() if key != "secureJsonData"}
        return 200, shown | {"secureJsonFields": dict.fromkeys(source["secureJsonData"], True)}

    def _post_source(self, body: Json) -> tuple[int, Any]:
        if any(body["name"] == source["name"] or body["uid"] == uid for uid, source in self.sources.items()):
            raise RefusedError(409, "data source with the same name already exists")
        base = {"id": len(self.sources) + 1, "orgId": 1, "version": 1, "readOnly": False, "basicAuth": False}
        self.sources[body["uid"]] = {"secureJsonData": {}} | body | base
        return 200, {"message": "Datasource added", "datasource": self._get_source(body["uid"])[1]}

    def _put_source(self, uid: str, body: Json) -> tuple[int, Any]:
        source = self._get(self.sources, uid, "Data source not found")[1]
        if source["readOnly"]:
            raise RefusedError(403, "Cannot update read-only data source")
        if body.get("version") and body["version"] != source["version"]:
            raise RefusedError(409, "Datasource has already been updated by someone else. Please reload and try again")
        secret = source["secureJsonData"] | body.get("secureJsonData", {})
        fixed = {key: source[key] for key in ("id", "orgId", "readOnly", "basicAuth")}
        self.sources[uid] = body | fixed | {"secureJsonData": secret, "version": source["version"] + 1}
        return 200, {"message": "Datasource updated", "datasource": self._get_source(uid)[1]}

    def _query(self, body: Json) -> tuple[int, Any]:
        (asked,) = body["queries"]
        source = self._get(self.sources, asked["datasource"]["uid"], "Data source not found")[1]
        self.asked.append(asked["query"])
        text = urllib.parse.urlencode({"db": source["jsonData"]["dbName"], "q": asked["query"], "epoch": "ms"})
        headers = {"Authorization": source["secureJsonData"].get("httpHeaderValue1", "")}
        try:
            request = urllib.request.Request(f"{source['url']}/query?{text}", headers=headers)  # noqa: S310
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                (result,) = json.load(answer)["results"]
        except urllib.error.HTTPError as error:
            said = error.read().decode()
            return 400, {"results": {"A": {"error": f"InfluxDB returned error: {said}", "status": 400, "frames": []}}}
        except urllib.error.URLError as error:
            said = f'Post "{source["url"]}/query": dial tcp: {error.reason}'
            return 400, {"results": {"A": {"error": said, "status": 500, "frames": []}}}
        if "error" in result:
            return 400, {"results": {"A": {"error": result["error"], "status": 400, "frames": []}}}
        frames = [{"schema": {"name": one["name"]}, "data": one["values"]} for one in result.get("series", ())]
        return 200, {"results": {"A": {"status": 200, "frames": frames}}}

    def _get_board(self, uid: str) -> tuple[int, Any]:
        board = self._get(self.boards, uid, "Dashboard not found")[1]
        if "elements" in board["dashboard"]:
            raise RefusedError(406, "dashboard api version not supported, use /apis/dashboard.grafana.app/v2/… instead")
        return 200, board

    def _post_board(self, body: Json) -> tuple[int, Any]:
        board, folder = copy.deepcopy(body["dashboard"]), body.get("folderUid", "")
        if not board.get("title"):
            raise RefusedError(400, "Dashboard title cannot be empty", status="empty-name")
        if not re.fullmatch(r"[\w-]{1,40}", board["uid"], re.ASCII):
            raise RefusedError(400, "uid contains illegal characters or is too long")
        if folder and folder not in self.folders:
            raise RefusedError(400, "folder not found")
        if faults := self.faults(board):
            raise RefusedError(400, f"bad request data: {faults[0]}")
        old = self.boards.get(board["uid"])
        if old is not None and old["meta"]["provisioned"]:
            raise RefusedError(400, "Cannot save provisioned dashboard")
        if old is not None and not body.get("overwrite") and board.get("version") != old["dashboard"]["version"]:
            raise RefusedError(412, "The dashboard has been changed by someone else", status="version-mismatch")
        if self.alters:
            board.setdefault("timepicker", {"refresh_intervals": ["5s", "1m"]})
            board["annotations"].setdefault("list", []).insert(0, {"name": "Annotations & Alerts", "builtIn": 1})
            board["annotations"]["list"] = list({a["name"]: a for a in board["annotations"]["list"]}.values())
        version = self._keep(board, folder)
        kept = self.boards[board["uid"]]["dashboard"]
        return 200, {"id": kept["id"], "uid": board["uid"], "status": "success", "version": version, "slug": "x"}

    def faults(self, board: Json) -> list[str]:
        """By the schema of Grafana 13, where npm could make it; numbers that Grafana gives itself may be null."""
        if self._schema is None:
            return []
        known = {key: value for key, value in board.items() if not (key == "id" and value is None)}
        return [f"{one.json_path}: {one.message}" for one in Draft7Validator(self._schema).iter_errors(known)]

    def _checked_rule(self, body: Json, old: Json | None) -> Json:
        if body["folderUID"] not in self.folders:
            raise RefusedError(400, "invalid alert rule: folder does not exist")
        if body["condition"] not in [step["refId"] for step in body["data"]]:
            raise RefusedError(400, f"invalid alert rule: condition {body['condition']} does not exist")
        if body["noDataState"] not in ("Alerting", "NoData", "OK", "KeepLast"):
            raise RefusedError(400, "invalid alert rule: unknown NoData state")
        if body["execErrState"] not in ("Alerting", "Error", "OK", "KeepLast"):
            raise RefusedError(400, "invalid alert rule: unknown Error state")
        if not re.fullmatch(r"(\d+[smhd])+", body["for"]):
            raise RefusedError(400, "invalid alert rule: for")
        receiver = (body.get("notification_settings") or {}).get("receiver")
        if receiver and receiver not in {point["name"] for point in self.contacts.values()}:
            raise RefusedError(400, f"invalid alert rule: receiver {receiver} does not exist")
        self._not_of_file(old)
        made: Json = {"keep_firing_for": "0s", "record": None, "notification_settings": None} | copy.deepcopy(body)
        for step in made["data"]:
            step["queryType"] = ""
            step["model"] = {"intervalMs": 1000, "maxDataPoints": 43200} | step["model"]
        number = len(self.rules) + 1 if old is None else old["id"]
        return made | {"id": number, "updated": "2026-05-01T00:00:00Z", "provenance": "api"}

    def _post_rule(self, body: Json) -> tuple[int, Any]:
        if body["uid"] in self.rules:
            raise RefusedError(409, "rule with this UID already exists")
        self.rules[body["uid"]] = self._checked_rule(body, None)
        return 201, self.rules[body["uid"]]

    def _put_rule(self, uid: str, body: Json) -> tuple[int, Any]:
        self.rules[uid] = self._checked_rule(body, self._get(self.rules, uid, "")[1])
        return 200, self.rules[uid]

    def _get_contacts(self, name: str | None) -> tuple[int, Any]:
        points = [copy.deepcopy(point) for point in self.contacts.values() if name in (None, point["name"])]
        for point in points:
            point["settings"] |= dict.fromkeys(SECRET_SETTINGS[point["type"]], HIDDEN)
        return 200, points

    def _checked_contact(self, body: Json, old: Json | None) -> Json:
        if body["type"] not in SECRET_SETTINGS:
            raise RefusedError(400, f"unknown receiver type {body['type']}")
        if not body["settings"].get("addresses" if body["type"] == "email" else "url"):
            raise RefusedError(400, "required field is not specified")
        self._not_of_file(old)
        return copy.deepcopy(body) | {"provenance": "api"}

    def _post_contact(self, body: Json) -> tuple[int, Any]:
        if body["uid"] in self.contacts:
            raise RefusedError(409, "receiver with this UID already exists")
        self.contacts[body["uid"]] = self._checked_contact(body, None)
        return 202, self.contacts[body["uid"]]

    def _put_contact(self, uid: str, body: Json) -> tuple[int, Any]:
        self.contacts[uid] = self._checked_contact(body, self._get(self.contacts, uid, "")[1])
        return 202, {"message": "contactpoint updated"}

    def _delete_contact(self, uid: str) -> tuple[int, Any]:
        name = self._get(self.contacts, uid, "")[1]["name"]
        used = {(rule["notification_settings"] or {}).get("receiver") for rule in self.rules.values()}
        if name in used and [point["name"] for point in self.contacts.values()].count(name) == 1:
            raise RefusedError(409, "contact point is in use")
        return self._delete(self.contacts, uid, 202)

    def _not_of_file(self, thing: Json | None) -> None:
        if thing is not None and thing.get("provenance") == "file":
            raise RefusedError(409, "cannot change provenance from 'file' to 'api'")

    # -- HTTP ----------------------------------------------------------------------------------------------------------

    def _needed(self, method: str, path: str) -> str:
        """The right that a call takes."""
        for start, read, write in (
            ("/folders", "folders:read", "folders:create"),
            ("/datasources", "datasources:read", "datasources:create"),
            ("/ds/query", "", "datasources:query"),
            ("/dashboards", "dashboards:read", "dashboards:write"),
            ("/v1/provisioning", "alert.provisioning:read", "alert.provisioning:write"),
        ):
            if path.startswith(start):
                return read if method == "GET" else write
        return ""

    def _refusal(self, method: str, path: str, token: str) -> tuple[int, Json] | None:
        if token not in self.rights:
            return 401, {"message": "Invalid API key", "messageId": "api-key.invalid", "traceID": ""}
        needed = self._needed(method, path)
        if needed and needed not in self.rights[token]:
            said = f"You'll need additional permissions to perform this action. Permissions needed: {needed}"
            return 403, {"accessErrorId": "ACE1", "message": said, "title": "Access denied"}
        return None

    def respond(self, method: str, target: str, token: str, raw: bytes) -> tuple[int, Any]:
        """Status and JSON; None for an empty reply."""
        parts = urllib.parse.urlsplit(target)
        path = parts.path.removeprefix(f"{self.prefix}/api")
        if path == parts.path:
            return 404, b"<html><title>404 message</title></html>"
        if path == "/health":
            return 200, {"database": "ok", "version": self.version}
        if refusal := self._refusal(method, path, token):
            return refusal
        if path == "/access-control/user/permissions":
            return 200, {right: ["*"] for right in sorted(self.rights[token])}
        with self._lock:
            try:
                body = json.loads(raw) if raw else None
                query = dict(urllib.parse.parse_qsl(parts.query))
                status, answer = self._answer(method, path, query, body)
            except RefusedError as refused:
                return refused.code, refused.body
            if method != "GET" and path != "/ds/query":
                self.writes.append(f"{method} {path}")
            return status, None if self.empty and method != "GET" and path != "/ds/query" else copy.deepcopy(answer)

    def trouble(self, method: str, target: str) -> Trouble | None:
        with self._lock:
            for one in self.troubles:
                if one.method == method and re.search(one.path, target):
                    self.troubles.remove(one)
                    return one
        return None

    def wait(self) -> None:
        self._released.wait()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        grafana = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body are sent apart; the second would wait 40 ms

            def _serve(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                token = self.headers.get("Authorization", "").removeprefix("Bearer ")
                trouble = grafana.trouble(self.command, self.path)
                if trouble is not None and trouble.how == "answer":
                    self._send(trouble.status, trouble.body, trouble.headers)
                    return
                if trouble is not None and trouble.first is not None:
                    trouble.first()
                status, answer = grafana.respond(self.command, self.path, token, raw)
                if trouble is not None and trouble.how in ("lose", "hang"):
                    if trouble.how == "hang":
                        grafana.wait()
                    self.close_connection = True
                    return
                if isinstance(answer, bytes):
                    self._send(status, answer, (("Content-Type", "text/html"),))
                    return
                body = b"" if answer is None else json.dumps(answer).encode()
                self._send(status, body, (("Content-Type", "application/json"),))

            def _send(self, status: int, body: bytes, headers: tuple[tuple[str, str], ...]) -> None:
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        return Handler
