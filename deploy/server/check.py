"""Does the site server stand as it should? Asked as people and nodes ask it, and from inside. Changes nothing.

What each finding means, and what to do, is in the catalogues below `server.check`.
"""

from __future__ import annotations

import datetime as dt
import http.client
import os
import shutil
import socket
import ssl
import stat
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from cryptography import x509
from sqlalchemy import Connection
from sqlalchemy import text as sql
from sqlalchemy.exc import DBAPIError

from broker.dispatch.database import DatabaseError
from broker.dispatch.settings import SettingsError
from broker.mosquitto.settings import BrokerError
from broker.pki import check as pki_check
from broker.pki.names import PkiError
from dashboards.check import Grade as BoardGrade
from dashboards.check import check as boards_check
from dashboards.faults import told as told_of_boards
from dashboards.grafana import GrafanaError
from dashboards.push import State, plan
from dashboards.text import Language
from deploy.card import cards
from deploy.card.errors import CardError
from deploy.server import layout, setup
from deploy.server.cards import server_of
from deploy.server.layout import Places, secret
from deploy.server.make import stale
from deploy.server.services import Grafana, Influx
from deploy.server.settings import MDNS, ServerError, ServerSettings
from deploy.text import catalogue

TIMEOUT_S = 10.0
DAY_S = 86_400.0
PUBLIC_AHEAD_S = 14 * DAY_S
"""Caddy renews at two thirds of a certificate's life, a month before the end of most: two weeks are late."""
_ASIDE = {"ntp", "page_url", "influx_org", "influx_bucket"}
"""Of what cards say: nodes reach the server without it, and a person may have meant it so (docs/enrolment.md)."""
DISK_WARN, DISK_BAD = 0.10, 0.03
"""Shares that are free."""
CLOCK_S = 1.0
"""Nodes and server may be apart by so much: dates of alarms are in whole seconds."""
UNSYNCHRONISED = 10
"""The stratum that our chrony tells while it follows nobody."""
_SINCE_1900_S = 2_208_988_800
INFLUX = (2, 9)
POSTGRES = 15
"""Debian 12's, the oldest that tests have met."""


class Grade(StrEnum):
    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """key: below `server.check` of the catalogues, `found` and, unless it is OK, `do`."""

    grade: Grade
    key: str
    fields: dict[str, object] = field(default_factory=dict)

    def told(self, language: Language) -> tuple[str, str]:
        """What was found, and what to do, which is empty where there is nothing to do."""
        text = catalogue(language)
        do = f"server.check.{self.key}.do"
        fields = {k: v(language) if callable(v) else v for k, v in self.fields.items()}
        return text(f"server.check.{self.key}.found", **fields), text(do, **fields) if do in text else ""


def _resolve(name: str) -> str:
    """An address of a name. Raises OSError."""
    return str(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0][4][0])


@dataclass(frozen=True, slots=True)
class Net:
    """How the server is reached from outside. trust: of the public certificate; None: as browsers do."""

    https: int = 443
    mqtt: int = layout.MQTT
    evidence: int = layout.EVIDENCE
    enrol: int = layout.ENROL
    influx: int = layout.INFLUX
    ntp: int = 123
    resolve: Callable[[str], str] = _resolve
    trust: Path | None = None


def check(
    folder: Path, settings: ServerSettings, places: Places, now: float, net: Net | None = None
) -> Iterator[Finding]:
    """Findings as they come."""
    net = net or Net()
    yield from files(folder, settings, now)
    yield from public(settings, net, now)
    for host in settings.hosts:
        yield from nodes(folder, settings, host, net, now)
    yield from on_cards(folder, settings)
    yield from clock(settings.hosts[0], net, now)
    yield from database(folder)
    for number in range(1, settings.workers + 1):
        yield from worker(number, *worker_address(settings, number))
    if settings.boards:
        yield from influx(folder, places)
        yield from boards(folder, settings, places)
    for path in dict.fromkeys((folder, layout.EVIDENCE_FOLDER)):
        yield from disk(path)


# -- the folder --------------------------------------------------------------------------------------------------------


def files(folder: Path, settings: ServerSettings, now: float) -> Iterator[Finding]:
    """What is on disk: as init would make it, secrets to nobody else, certificates of the private authority."""
    try:
        old = stale(folder, settings)
        yield Finding(Grade.WARN, "stale", {"files": ", ".join(old)}) if old else Finding(Grade.OK, "folder")
        trouble = list(pki_check.problems(folder / "pki", now))
        ending = pki_check.expiring(folder / "pki", now)
    except (ServerError, PkiError, BrokerError, OSError) as error:
        yield Finding(Grade.BAD, "broken", {"why": error})
        return
    for path in sorted((folder / "secrets").iterdir()):
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Finding(Grade.BAD, "readable", {"path": path})
    for line in trouble:
        yield Finding(Grade.BAD, "authority", {"line": line})
    for one in ending:
        ended = one.not_after <= now
        fields: dict[str, object] = {"kind": one.kind, "name": one.name, "day": _day(one.not_after)}
        yield Finding(Grade.BAD if ended else Grade.WARN, "ended" if ended else "ends", fields)
    if not trouble and not ending:
        yield Finding(Grade.OK, "certificates")


# -- from outside ------------------------------------------------------------------------------------------------------


def public(settings: ServerSettings, net: Net, now: float) -> Iterator[Finding]:
    """As people reach it: the name, its certificate, pages behind it."""
    name = settings.name
    try:
        address = net.resolve(name)
    except OSError:
        yield Finding(Grade.BAD, "name", {"name": name})
        return
    context = ssl.create_default_context(cafile=str(net.trust) if net.trust else None)
    try:
        status, ends = _get(address, net.https, name, "/healthz", context)
    except ssl.SSLCertVerificationError as error:
        yield Finding(Grade.BAD, f"public_{settings.certificate}", {"name": name, "why": error.verify_message})
        return
    except OSError as error:
        yield Finding(Grade.BAD, "silent", {"where": f"{name}:{net.https} ({address})", "why": _why(error)})
        return
    if ends - now < PUBLIC_AHEAD_S:
        yield Finding(Grade.WARN, f"public_ends_{settings.certificate}", {"name": name, "day": _day(ends)})
    if status != http.HTTPStatus.OK:
        yield Finding(Grade.BAD, "pages", {"name": name, "status": status})
    else:
        yield Finding(Grade.OK, "public", {"name": name, "day": _day(ends)})


def nodes(folder: Path, settings: ServerSettings, host: str, net: Net, now: float) -> Iterator[Finding]:
    """As nodes reach it by one of its names: every door, with the certificate of the private authority.

    By the first of the names all nodes whose cards are made here.
    """
    first = host == settings.hosts[0]
    try:
        address = net.resolve(host)
    except OSError:
        if not host.endswith(MDNS):
            yield Finding(Grade.BAD, "host", {"host": host})
        else:  # further names are not those of cards
            yield Finding(Grade.BAD if first else Grade.WARN, "mdns", {"host": host})
        return
    if first and host.endswith(MDNS):
        yield Finding(Grade.WARN, "mdns", {"host": host})
    doors = {"mqtt": net.mqtt, "evidence": net.evidence, "enrol": net.enrol}
    doors |= {"points": net.influx} if settings.boards else {}
    good = []
    for door, port in doors.items():
        where = f"{host}:{port} ({door})"
        try:
            context = ssl.create_default_context(cafile=folder / "pki/ca.pem")
            with (
                socket.create_connection((address, port), TIMEOUT_S) as plain,
                context.wrap_socket(plain, server_hostname=host) as line,
            ):
                ends = _ends(line)
        except ssl.SSLCertVerificationError as error:
            yield Finding(Grade.BAD, "untrusted", {"where": where, "why": error.verify_message})
        except OSError as error:
            yield Finding(Grade.BAD, "silent", {"where": where, "why": _why(error)})
        else:
            if ends - now < pki_check.AHEAD_S:
                yield Finding(Grade.WARN, "door_ends", {"where": where, "day": _day(ends)})
            good.append(f"{port} ({door})")
    if good:
        yield Finding(Grade.OK, "doors", {"host": host, "doors": ", ".join(good)})


def on_cards(folder: Path, settings: ServerSettings) -> Iterator[Finding]:
    """Whether cards tell nodes the same as server.toml does now. Nothing where there is no *Cards* page."""
    path = folder / layout.CARDS / "cards.toml"
    if not path.is_file():
        return
    try:
        told = cards.load(path).server
    except CardError as error:
        yield Finding(Grade.BAD, "cards_wrong", {"why": lambda lang, e=error: e.told(lang)})
        return
    now = server_of(settings)
    other = [key for key in type(now).model_fields if getattr(told, key) != getattr(now, key)]
    if not other:
        yield Finding(Grade.OK, "on_cards", {"host": told.name})
    elif set(other) <= _ASIDE:
        yield Finding(Grade.WARN, "cards_differ", {"keys": ", ".join(other)})
    else:
        yield Finding(Grade.BAD, "cards_other", {"keys": ", ".join(other), "host": told.name})


def clock(host: str, net: Net, now: float) -> Iterator[Finding]:
    """The time that nodes get (SNTP, RFC 5905 section 14), against this computer's."""
    began = time.monotonic()
    try:
        with socket.socket(
            socket.AF_INET6 if ":" in (address := net.resolve(host)) else socket.AF_INET, socket.SOCK_DGRAM
        ) as udp:
            udp.settimeout(2)
            udp.connect((address, net.ntp))
            udp.send(b"\x23" + 39 * b"\0" + os.urandom(8))
            answer = udp.recv(100)
        seconds, fraction = struct.unpack("!II", answer[40:48])
    except (OSError, struct.error):
        yield Finding(Grade.BAD, "no_time", {"host": host})
        return
    apart = seconds - _SINCE_1900_S + fraction / 2**32 - now - (time.monotonic() - began)
    if abs(apart) > CLOCK_S:
        yield Finding(Grade.BAD, "clock", {"seconds": f"{apart:+.1f}"})
    elif answer[1] >= UNSYNCHRONISED or answer[1] == 0:
        yield Finding(Grade.WARN, "alone", {"host": host})
    else:
        yield Finding(Grade.OK, "time", {"host": host, "stratum": answer[1]})


# -- from inside -------------------------------------------------------------------------------------------------------


def database(folder: Path) -> Iterator[Finding]:
    """PostgreSQL: answers, version, tables, somebody who may log in."""
    head = tables().get_current_head()
    try:
        engine = setup.engine_of(folder)
    except (SettingsError, DatabaseError) as error:
        yield Finding(Grade.BAD, "broken", {"why": error})
        return
    try:
        with engine.connect() as connection:
            there = revision(connection)
            version = ""
            if engine.dialect.name == "postgresql":
                version = str(connection.execute(sql("SHOW server_version")).scalar())
        if version and int(version.partition(".")[0]) < POSTGRES:
            yield Finding(Grade.WARN, "postgres_old", {"version": version, "wanted": POSTGRES})
        if there != head:
            yield Finding(Grade.BAD, "tables", {"there": there or "-", "head": head})
        else:
            yield Finding(Grade.OK, "database", {"version": version})
            if not setup.has_admin(folder):
                yield Finding(Grade.WARN, "no_admin", {"file": folder / "dispatch/dispatch.yaml"})
    except DBAPIError as error:
        yield Finding(Grade.BAD, "no_database", {"why": str(error.orig).strip().partition("\n")[0]})
    finally:
        engine.dispose()


def tables() -> ScriptDirectory:
    """The versions of the tables that this program knows."""
    config = Config()
    config.set_main_option("script_location", "broker.dispatch:migrations")
    return ScriptDirectory.from_config(config)


def revision(connection: Connection) -> str | None:
    """Of the tables in a database; None where there are none."""
    return MigrationContext.configure(connection).get_current_revision()


def worker_address(settings: ServerSettings, number: int) -> tuple[str, int]:
    """Where a worker tells its figures; the next port is its jobs'."""
    if settings.runs == "containers":
        return ("worker" if number == 1 else f"worker-{number}"), layout.METRICS
    return "127.0.0.1", layout.METRICS + 2 * (number - 1)


def worker(number: int, host: str, port: int) -> Iterator[Finding]:
    """A worker of dispatch: both its processes, and its line to the broker."""
    told = []
    for at in (port, port + 1):
        try:
            with urllib.request.urlopen(f"http://{host}:{at}/metrics", timeout=TIMEOUT_S) as answer:
                told.append(answer.read().decode())
        except OSError as error:
            yield Finding(Grade.BAD, "worker", {"number": number, "where": f"{host}:{at}", "why": _why(error)})
            return
    if "\ndispatch_broker_connected 1" not in told[0]:
        yield Finding(Grade.BAD, "no_broker", {"number": number})
    else:
        yield Finding(Grade.OK, "working", {"number": number})


def influx(folder: Path, places: Places) -> Iterator[Finding]:
    """InfluxDB: answers, version, what setup has made in it."""
    try:
        with Influx(f"http://{places.influx}", secret(folder, "influx-admin")) as server:
            version = server.version()
            if _number(version)[:2] < INFLUX or _number(version)[0] > INFLUX[0]:
                yield Finding(Grade.BAD, "influx_version", {"version": version or "?"})
                return
            org = server.organisation()
            bucket = server.bucket(org)
            unset = [
                what
                for what, there in (
                    ("bucket", bucket is not None),
                    ("DBRP", bucket is not None and server.is_mapped(org, bucket[0])),
                    *((name, server.knows(secret(folder, name))) for name in setup.TOKENS),
                )
                if not there
            ]
            if bucket is not None and bucket[1]:
                unset.append(f"retention {bucket[1] // 86_400} d")
    except ServerError as error:
        yield Finding(Grade.BAD, "service", {"why": error})
        return
    yield (
        Finding(Grade.BAD, "unset", {"what": ", ".join(unset)})
        if unset
        else Finding(Grade.OK, "influx", {"version": version})
    )


def boards(folder: Path, settings: ServerSettings, places: Places) -> Iterator[Finding]:
    """Grafana: what `banksman dashboards check` finds, and whether boards are those of this version."""
    grades = {BoardGrade.OK: Grade.OK, BoardGrade.WARN: Grade.WARN, BoardGrade.BAD: Grade.BAD}
    try:
        with Grafana(setup.grafana_url(places), secret(folder, "grafana-admin")) as server:
            if not server.knows(secret(folder, layout.GRAFANA)):
                yield Finding(Grade.BAD, "unset", {"what": "grafana"})
                return
        with setup.connected(folder, places) as api:
            for one in boards_check(api):
                if one.grade is not BoardGrade.OK:
                    told = one.told
                    yield Finding(
                        grades[one.grade],
                        "boards_say",
                        {"found": lambda lang, t=told: t(lang)[0], "do": lambda lang, t=told: t(lang)[1]},
                    )
            states = {State.SAME, State.FILE}
            differ = [
                item.title
                for item, found in plan(api, setup.wanted(folder, settings, places))
                if found.state not in states
            ]
    except ServerError as error:
        yield Finding(Grade.BAD, "service", {"why": error})
        return
    except GrafanaError as error:
        yield Finding(Grade.BAD, "service", {"why": lambda lang, e=error: told_of_boards(e, lang)})
        return
    yield Finding(Grade.WARN, "boards_old", {"titles": ", ".join(differ)}) if differ else Finding(Grade.OK, "boards")


def disk(path: Path) -> Iterator[Finding]:
    """Room on the disk of a folder."""
    try:
        usage = shutil.disk_usage(path)
    except OSError as error:
        yield Finding(Grade.BAD, "no_folder", {"path": path, "why": _why(error)})
        return
    free = usage.free / usage.total
    grade = Grade.BAD if free < DISK_BAD else Grade.WARN if free < DISK_WARN else Grade.OK
    key = "disk" if grade is Grade.OK else "disk_full"
    yield Finding(grade, key, {"path": path, "percent": f"{free:.0%}", "gb": f"{usage.free / 1e9:.1f}"})


# -- small things ------------------------------------------------------------------------------------------------------


def _get(address: str, port: int, name: str, path: str, context: ssl.SSLContext) -> tuple[int, float]:
    """Status of an answer, and when the certificate ends. Raises OSError."""
    with (
        socket.create_connection((address, port), TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=name) as line,
    ):
        ends = _ends(line)
        connection = http.client.HTTPConnection(name)
        connection.sock = line
        try:
            connection.request("GET", path)
            return connection.getresponse().status, ends
        except http.client.HTTPException as error:
            raise ConnectionError(type(error).__name__) from error


def _ends(line: ssl.SSLSocket) -> float:
    der = line.getpeercert(binary_form=True)
    assert der is not None  # noqa: S101 the handshake has checked it
    return x509.load_der_x509_certificate(der).not_valid_after_utc.timestamp()


def _why(error: OSError) -> str:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    return getattr(inner, "strerror", None) or str(inner) or type(inner).__name__


def _day(moment: float) -> str:
    return f"{dt.datetime.fromtimestamp(moment, dt.UTC):%Y-%m-%d}"


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.partition("-")[0].split(".") if part.isdecimal()) or (0,)
