"""What keeps boards from showing figures: address, TLS, token, version, boards, data source, InfluxDB behind it.

Looks only, changes nothing. What each finding means, and what to do, is in the catalogues below `check`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from dashboards import alerts
from dashboards.boards import BOARDS
from dashboards.faults import PushError, told
from dashboards.grafana import UNUSABLE, Grafana, GrafanaError
from dashboards.panels import DATASOURCE
from dashboards.push import edited, read_board
from dashboards.text import Language, catalogue

TRIED: Final = (12, 13)
"""Major versions of Grafana whose behaviour is held by tests."""
OLDEST: Final = 10
RIGHTS: Final = (
    "folders:create",
    "dashboards:create",
    "dashboards:write",
    "datasources:create",
    "datasources:write",
    "datasources:query",
    "alert.provisioning:write",
)
"""What pushing takes; the role Admin has them all."""
_ASKED: Final = 'SELECT count("journal_depth") AS "points" FROM "node" WHERE time > now() - 1d GROUP BY "site"'
"""With FROM: version 2 answers SHOW … for a database that it does not have, with nothing."""
_WHY: Final = (
    ("influx_database", r"database not found|dbrp|retention policy not found"),
    ("influx_token", r"unauthorized|authorization|forbidden|\b40[13]\b"),
    ("influx_tls", r"x509|certificate|tls:|server gave HTTP response to HTTPS"),
    ("influx_slow", r"deadline exceeded|timeout|timed out|\b504\b"),
    ("influx_away", r"refused|no such host|unreachable|no route|dial tcp|cannot assign|\bEOF\b|\b502\b|\b503\b"),
    ("influx_other", r""),
)
"""Which of its troubles InfluxDB's or Grafana's words mean; the first that fits."""


class Grade(StrEnum):
    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """key: below `check` of the catalogues, `found` and, unless it is OK, `do`. error: tells both itself."""

    grade: Grade
    key: str
    fields: dict[str, object]
    error: GrafanaError | None = None

    def told(self, language: Language) -> tuple[str, str]:
        """What was found, and what to do, which is empty where there is nothing to do."""
        text = catalogue(language)
        if self.error is not None:
            return told(self.error, language), ""
        do = f"check.{self.key}.do"
        return text(f"check.{self.key}.found", **self.fields), text(do, **self.fields) if do in text else ""


def check(grafana: Grafana) -> Iterator[Finding]:
    """Findings as they come; after one without which nothing further can be asked there is no more."""
    try:
        yield from _server(grafana)
        yield from _rights(grafana)
        yield from _boards(grafana)
        yield from _alerting(grafana)
        yield from _source(grafana)
    except GrafanaError as error:
        yield Finding(Grade.BAD, error.kind, {}, error)


def _server(grafana: Grafana) -> Iterator[Finding]:
    health = grafana.health()
    version = str(health.get("version") or "")
    major = int(match[1]) if (match := re.match(r"(\d+)\.", version)) else None
    if "database" not in health and major is None:
        yield _bad("not_grafana", url=grafana.url)
    elif major is None:
        yield _warn("version_hidden", url=grafana.url)
    elif major < OLDEST:
        yield _bad("version_old", version=version, oldest=OLDEST)
    elif major in TRIED:
        yield _ok("version", url=grafana.url, version=version)
    else:
        yield _warn("version_other", version=version, tried=", ".join(map(str, TRIED)))
    if health.get("database", "ok") != "ok":
        yield _bad("database", said=str(health["database"]))
    parts = urlsplit(grafana.url)
    if parts.scheme == "http" and not _here(parts.hostname or ""):
        yield _warn("clear", url=grafana.url)


def _rights(grafana: Grafana) -> Iterator[Finding]:
    try:
        held: Collection[str] = grafana.permissions()
    except GrafanaError as error:
        if error.kind in UNUSABLE:
            raise
        yield _warn("rights_hidden", said=error.said)
        return
    lacking = [right for right in RIGHTS if right not in held]
    yield _bad("rights", lacking=", ".join(lacking)) if lacking else _ok("rights_all")


def _boards(grafana: Grafana) -> Iterator[Finding]:
    good: list[str] = []
    missing: list[str] = []
    by_hand: list[str] = []
    files: list[str] = []
    for uid in BOARDS:
        try:
            answer = read_board(grafana, uid)
        except PushError:
            by_hand.append(uid)
            continue
        if answer is None:
            missing.append(uid)
        elif answer["meta"].get("provisioned"):
            files.append(uid)
        else:
            (by_hand if edited(answer) else good).append(uid)
    if good or files:
        yield _ok("boards", count=len(good) + len(files), of=len(BOARDS))
    if missing:
        yield _bad("boards_missing", uids=", ".join(missing))
    if by_hand:
        yield _warn("boards_edited", uids=", ".join(by_hand))
    if files:
        yield _ok("boards_file", uids=", ".join(files))


def _alerting(grafana: Grafana) -> Iterator[Finding]:
    try:
        missing = [rule["uid"] for rule in alerts.rules("en") if grafana.rule(rule["uid"]) is None]
        contacts = grafana.contact_points(alerts.RECEIVER)
    except GrafanaError as error:
        if error.kind in UNUSABLE:
            raise
        yield _warn("alerting_hidden", said=error.said)
        return
    yield _bad("rules_missing", uids=", ".join(missing)) if missing else _ok("rules")
    if not contacts:
        yield _warn("contacts_none")


def _source(grafana: Grafana) -> Iterator[Finding]:
    there = grafana.datasource(DATASOURCE)
    if there is None:
        yield _bad("source_missing", uid=DATASOURCE)
        return
    settings: dict[str, Any] = there.get("jsonData") or {}
    language = str(settings.get("version") or "InfluxQL")
    if there.get("type") != "influxdb" or language != "InfluxQL":
        yield _bad("source_other", uid=DATASOURCE, kind=f"{there.get('type')} {language}")
        return
    about = {"url": there.get("url") or "?", "database": settings.get("dbName") or there.get("database") or "?"}
    result = grafana.query(DATASOURCE, _ASKED)
    if said := str(result.get("error") or ""):
        key = next(key for key, words in _WHY if re.search(words, said, re.IGNORECASE))
        yield _bad(key, **about, said=said)
        return
    sites = len(result.get("frames") or ())
    yield _ok("figures", **about, sites=sites) if sites else _warn("figures_none", **about)


def _here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _ok(key: str, **fields: object) -> Finding:
    return Finding(Grade.OK, key, fields)


def _warn(key: str, **fields: object) -> Finding:
    return Finding(Grade.WARN, key, fields)


def _bad(key: str, **fields: object) -> Finding:
    return Finding(Grade.BAD, key, fields)
