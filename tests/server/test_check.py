"""`banksman server check`: a table of faults, each put into something that runs, and what is said of it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from broker.dispatch.database import migrate, open_engine
from deploy.server import check, setup
from deploy.server.cards import cards_text
from deploy.server.check import Finding, Grade, Net
from deploy.server.settings import load
from deploy.text import LANGUAGES, catalogue
from tests.conftest import REPO
from tests.server.builders import ADDRESS, HOST, NAME, edit, make, server
from tests.server.stubs import GrafanaStub, InfluxStub
from tests.server.test_setup import World
from tests.servers import Authority, Certificate, Postgres

NOW = time.time()
DAY_S = 86_400


def told(findings: Iterator[Finding]) -> list[tuple[str, str]]:
    """Grade and key of each; each can be said in both languages."""
    found = list(findings)
    for one in found:
        for language in ("zh-CN", "en"):
            said, do = one.told(language)
            assert said
            assert "{" not in said + do
            assert bool(do) == (one.grade is not Grade.OK)
    return [(str(one.grade), one.key) for one in found]


# -- the folder --------------------------------------------------------------------------------------------------------


def _nothing(folder: Path) -> None:
    del folder


def _caddyfile(folder: Path) -> None:
    edit(folder / "proxy/Caddyfile", (r"max_size 32MB", "max_size 1GB"))


def _secret_open(folder: Path) -> None:
    (folder / "secrets/web").chmod(0o644)


def _key_open(folder: Path) -> None:
    next((folder / "pki/services").glob("dispatch.key")).chmod(0o644)


def _no_secret(folder: Path) -> None:
    (folder / "secrets/web").unlink()


def _no_authority(folder: Path) -> None:
    (folder / "pki/ca.pem").unlink()


GOOD = [("ok", "folder"), ("ok", "certificates")]


@pytest.mark.parametrize(
    ("fault", "days", "found"),
    [
        (_nothing, 0, GOOD),
        (_caddyfile, 0, [("warn", "stale"), ("ok", "certificates")]),
        (_secret_open, 0, [("ok", "folder"), ("bad", "readable"), ("ok", "certificates")]),
        (_key_open, 0, [("ok", "folder"), ("bad", "authority")]),
        (_no_secret, 0, [("bad", "broken")]),
        (_no_authority, 0, [("bad", "broken")]),
        (_nothing, 398 - 31, GOOD),
        (_nothing, 398 - 29, [("ok", "folder"), *5 * [("warn", "ends")]]),
        (_nothing, 399, [("ok", "folder"), *5 * [("bad", "ended")]]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_files(folder: Path, fault: Callable[[Path], None], days: int, found: list[tuple[str, str]]) -> None:
    fault(folder)
    assert told(check.files(folder, load(folder), time.time() + days * DAY_S)) == found


# -- from outside ------------------------------------------------------------------------------------------------------


@contextmanager
def door(certificate: Certificate | None, status: int = 200, body: bytes = b"ok") -> Iterator[int]:
    """A server on a free port, behind TLS or not."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """No noise."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Whoever does not trust it goes."""

    http = Server((ADDRESS, 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.cert, certificate.key)
        http.socket = context.wrap_socket(http.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield http.server_port
    finally:
        http.shutdown()
        http.server_close()


def here(name: str) -> str:
    del name
    return ADDRESS


def nowhere(name: str) -> str:
    raise socket.gaierror(-2, f"{name}: Name or service not known")


@pytest.mark.parametrize(
    ("served", "more", "found"),
    [
        ((NAME, 60, 200), {}, [("ok", "public")]),
        ((NAME, 10, 200), {}, [("warn", "public_ends_automatic"), ("ok", "public")]),
        ((NAME, -1, 200), {}, [("bad", "public_automatic")]),
        (("other.example.cn", 60, 200), {}, [("bad", "public_automatic")]),
        ((NAME, 60, 503), {}, [("bad", "pages")]),
        ((NAME, 60, 200), {"resolve": nowhere}, [("bad", "name")]),
        ((NAME, 60, 200), {"https": 9}, [("bad", "silent")]),
        ((NAME, 60, 200), {"trust": None}, [("bad", "public_automatic")]),
    ],
)
def test_public(
    made: Path, tmp_path: Path, served: tuple[str, int, int], more: dict[str, object], found: list[tuple[str, str]]
) -> None:
    name, days, status = served
    authority = Authority(tmp_path / "public")
    with door(authority.issue(name, host=name, days=(-9, days)), status) as port:
        net = replace(Net(https=port, trust=authority.cert, resolve=here), **more)  # type: ignore[arg-type]
        assert told(check.public(load(made), net, NOW)) == found


def test_what_to_do_about_ones_own_certificate_is_another(tmp_path: Path) -> None:
    folder = make(tmp_path / "srv", "--certificate", "files")
    authority = Authority(tmp_path / "public")
    for days, found in ((10, [("warn", "public_ends_files"), ("ok", "public")]), (-1, [("bad", "public_files")])):
        with door(authority.issue(NAME, host=NAME, days=(-9, days))) as port:
            net = Net(https=port, trust=authority.cert, resolve=here)
            assert told(check.public(load(folder), net, NOW)) == found


def test_nodes(made: Path, tmp_path: Path) -> None:
    own = Certificate(made / "dispatch/server.pem", made / "dispatch/server.key")
    other = Authority(tmp_path / "other").issue(HOST, host=HOST)

    def found(host: str, net: Net, later_s: float = 0) -> list[tuple[str, str]]:
        return told(check.nodes(made, load(made), host, net, time.time() + later_s))

    with door(own) as good, door(other) as wrong:
        net = Net(mqtt=good, evidence=good, enrol=good, influx=good, resolve=here)
        assert found(HOST, net) == found(ADDRESS, net) == [("ok", "doors")]
        assert found(HOST, replace(net, evidence=wrong)) == [("bad", "untrusted"), ("ok", "doors")]
        assert found("gate.local", net) == 4 * [("bad", "untrusted")]
        assert found(HOST, replace(net, mqtt=9, enrol=9)) == [("bad", "silent"), ("bad", "silent"), ("ok", "doors")]
        assert found(HOST, replace(net, resolve=nowhere)) == [("bad", "host")]
        assert found(HOST, net, 380 * DAY_S) == [*4 * [("warn", "door_ends")], ("ok", "doors")]


def no_dns(name: str) -> str:
    return name if name == ADDRESS else nowhere(name)


@pytest.mark.parametrize(
    ("hosts", "resolve", "found"),
    [
        (("banksman.local", ADDRESS), no_dns, {"banksman.local": ("bad", "mdns")}),
        (("banksman.local", ADDRESS), here, {"banksman.local": ("warn", "mdns")}),
        ((ADDRESS, "banksman.local"), no_dns, {"banksman.local": ("warn", "mdns")}),
        (("nodes.lan", ADDRESS), no_dns, {"nodes.lan": ("bad", "host")}),
        ((ADDRESS, "banksman.local"), here, {}),
    ],
)
def test_a_name_that_only_its_own_computer_announces(
    folder: Path, hosts: tuple[str, ...], resolve: Callable[[str], str], found: dict[str, tuple[str, str]]
) -> None:
    edit(folder / "server.toml", (r"(?m)^hosts = .*", f"hosts = {list(hosts)}".replace("'", '"')))
    net = Net(mqtt=9, evidence=9, enrol=9, influx=9, resolve=resolve)
    for host in hosts:
        said = [one for one in told(check.nodes(folder, load(folder), host, net, NOW)) if one != ("bad", "silent")]
        assert said == ([found[host]] if host in found else []), host


def test_cards_that_name_another_server_than_its_settings(folder: Path) -> None:
    assert told(check.on_cards(folder, load(folder))) == []
    path = folder / "cards/cards.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(cards_text(load(folder), "os.img.xz", "0" * 64, "app.tar", "release.pub"))
    assert told(check.on_cards(folder, load(folder))) == [("ok", "on_cards")]
    edit(path, (r"(?m)^influx_bucket = .*", 'influx_bucket = "{site}"'), (r"(?m)^ntp = .*", 'ntp = "time.lan"'))
    assert told(check.on_cards(folder, load(folder))) == [("warn", "cards_differ")]
    edit(folder / "server.toml", (r"(?m)^hosts = .*", f'hosts = ["{ADDRESS}", "{HOST}"]'))
    assert told(check.on_cards(folder, load(folder))) == [("bad", "cards_other")]
    path.write_text("image = 1\n")
    assert told(check.on_cards(folder, load(folder))) == [("bad", "cards_wrong")]


@contextmanager
def ntp(answer: Callable[[bytes], bytes]) -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((ADDRESS, 0))

        def serve() -> None:
            asked, who = udp.recvfrom(100)
            udp.sendto(answer(asked), who)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(udp.getsockname()[1])


def sntp(stratum: int, off_s: float) -> Callable[[bytes], bytes]:
    def answer(asked: bytes) -> bytes:
        assert len(asked) == 48
        assert asked[0] & 0x07 == 3  # a client
        now = time.time() + off_s + 2_208_988_800
        return bytes((0x24, stratum)) + 38 * b"\0" + struct.pack("!II", int(now), int(now % 1 * 2**32))

    return answer


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (sntp(3, 0), ("ok", "time")),
        (sntp(10, 0), ("warn", "alone")),
        (sntp(3, 30), ("bad", "clock")),
        (sntp(10, -5), ("bad", "clock")),
        (lambda _: b"short", ("bad", "no_time")),
    ],
)
def test_clock(answer: Callable[[bytes], bytes], found: tuple[str, str]) -> None:
    with ntp(answer) as port:
        assert told(check.clock(HOST, Net(ntp=port, resolve=here), time.time())) == [found]


# -- from inside -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres(durable=False) as running:
        yield running


def test_database(folder: Path, postgres: Postgres) -> None:
    settings = folder / "dispatch/dispatch.yaml"
    url = postgres.database()
    edit(settings, (r"(?m)^database: .*", f"database: {url}"))
    assert told(check.database(folder)) == [("bad", "tables")]
    engine = open_engine(url)
    migrate(engine)
    assert told(check.database(folder)) == [("ok", "database"), ("warn", "no_admin")]
    setup.admin(folder, "li", "a long password", NOW)
    (finding,) = check.database(folder)
    assert finding.grade is Grade.OK
    assert re.match(r"\d+", str(finding.fields["version"]))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'v0000'")
    engine.dispose()
    assert told(check.database(folder)) == [("bad", "tables")]
    edit(settings, (r"(?m)^database: .*", f"database: {url}_not_there"))
    assert told(check.database(folder)) == [("bad", "no_database")]
    edit(settings, (r"(?m)^database: .*", "database: mysql://x"))
    assert told(check.database(folder)) == [("bad", "broken")]


def _pair() -> tuple[socket.socket, int]:
    """A listener whose port is followed by a free one."""
    while True:
        listener = socket.create_server((ADDRESS, 0))
        port = int(listener.getsockname()[1])
        try:
            socket.create_server((ADDRESS, port + 1)).close()
        except (OSError, OverflowError):
            listener.close()
            continue
        return listener, port


def test_worker() -> None:
    lines = {"up": b"# HELP\ndispatch_broker_connected 1.0\n", "cut": b"# HELP\ndispatch_broker_connected 0.0\n"}
    for name, found in (("up", ("ok", "working")), ("cut", ("bad", "no_broker"))):
        listener, port = _pair()
        listener.close()
        with _metrics(port, lines[name]), _metrics(port + 1, b""):
            assert told(check.worker(1, ADDRESS, port)) == [found]
        with _metrics(port, lines[name]):  # its jobs are gone
            assert told(check.worker(1, ADDRESS, port)) == [("bad", "worker")]


@contextmanager
def _metrics(port: int, body: bytes) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/metrics" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """No noise."""

    http = ThreadingHTTPServer((ADDRESS, port), Handler)
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    yield
    http.shutdown()
    http.server_close()


@pytest.fixture
def world(folder: Path) -> Iterator[World]:
    password = (folder / "secrets/grafana-admin").read_text().strip()
    with InfluxStub() as influx, GrafanaStub(password) as grafana:
        world = World(folder, influx, grafana)
        world.set_up_influx()
        yield world


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (lambda _: None, ("ok", "influx")),
        (lambda world: setattr(world.influx, "version", "2.7.12"), ("bad", "influx_version")),
        (lambda world: setattr(world.influx, "version", "1.6.7"), ("bad", "influx_version")),
        (lambda world: setattr(world.influx, "version", "3.1.0"), ("bad", "influx_version")),
        (lambda world: world.influx.buckets.clear(), ("bad", "unset")),
        (lambda world: world.influx.mappings.clear(), ("bad", "unset")),
        (lambda world: world.influx.authorizations.clear(), ("bad", "unset")),
        (lambda world: setattr(world.influx, "kept_s", 35 * DAY_S), ("bad", "unset")),
        (lambda world: setattr(world.influx, "admin", "of another"), ("bad", "service")),
        (lambda world: (world.folder / "secrets/influx-grafana").unlink(), ("bad", "service")),
    ],
)
def test_influx(world: World, fault: Callable[[World], None], found: tuple[str, str]) -> None:
    fault(world)
    assert told(check.influx(world.folder, world.places)) == [found]


CONTACT = ("warn", "boards_say")
"""Of alert rules nobody is told, before somebody is named: docs/dashboards.md."""
MISSING = ("bad", "boards_say")


def test_influx_is_away(world: World) -> None:
    places = world.places
    world.influx.stop()
    assert told(check.influx(world.folder, places)) == [("bad", "service")]


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (lambda _: None, [CONTACT, ("ok", "boards")]),
        (lambda world: world.grafana.boards.pop("banksman-site"), [MISSING, CONTACT, ("warn", "boards_old")]),
        (lambda world: world.influx.mappings.clear(), [CONTACT, ("warn", "boards_say"), ("ok", "boards")]),
        (lambda world: edit(world.folder / "server.toml", ("zh-CN", "en")), [CONTACT, ("warn", "boards_old")]),
        (lambda world: world.grafana.rights.clear(), [("bad", "unset")]),
        (lambda world: (world.folder / "secrets/grafana").unlink(), [("bad", "service")]),
    ],
)
def test_boards(world: World, fault: Callable[[World], None], found: list[tuple[str, str]]) -> None:
    world.set_up_grafana()
    fault(world)
    assert told(check.boards(world.folder, load(world.folder), world.places)) == found


@pytest.mark.parametrize(("free", "found"), [(0.5, "ok"), (0.09, "warn"), (0.02, "bad")])
def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, found: str) -> None:
    usage = os.statvfs(tmp_path)
    total = usage.f_blocks * usage.f_frsize
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(total, 0, int(total * free)))
    ((grade, key),) = told(check.disk(tmp_path))
    assert (grade, key) == (found, "disk" if found == "ok" else "disk_full")


def test_no_folder_for_pictures(tmp_path: Path) -> None:
    assert told(check.disk(tmp_path / "evidence")) == [("bad", "no_folder")]


# -- together ----------------------------------------------------------------------------------------------------------


def test_everything_is_asked_and_the_exit_code_says_whether_all_is_well(tmp_path: Path) -> None:
    """Nothing runs: all of it is told, one after the other."""
    folder = tmp_path / "srv"
    server("init", folder, "--name", "nothing.invalid", "--host", "localhost", "--host", ADDRESS)
    edit(folder / "dispatch/dispatch.yaml", (r"@postgres/", f"@{ADDRESS}:9/"))
    said = server("check", folder, code=1)
    assert "✓ private authority" in said
    for what in (
        "✗ nothing.invalid: no address", "✗ localhost:8883 (mqtt) does not answer", f"✗ {ADDRESS}:8444 (enrol)",
        "✗ localhost gives nodes no time", "✗ database does not answer", "✗ worker 1", "✗ InfluxDB at",
    ):  # fmt: skip
        assert what in said
    assert re.search(rf"(?m)^[✓✗!] {folder}: .*GB", said)  # its disk, however full it is here
    assert len(re.findall(r"(?m)^  → ", said)) == len(re.findall(r"(?m)^[✗!] ", said))


def test_both_languages_have_all_texts() -> None:
    texts = [
        {key: sorted(re.findall(r"{(\w+)}", text)) for key, text in catalogue(language).texts.items()}
        for language in LANGUAGES
    ]
    ours = [{key: fields for key, fields in one.items() if key.startswith("server.")} for one in texts]
    assert ours[0] == ours[1]
    told_of = set(re.findall(r'Grade\.\w+(?: if [^,]+?)?, f?"(\w+)"', (REPO / "deploy/server/check.py").read_text()))
    assert {key for key in told_of if f"server.check.{key}.found" not in ours[0]} == {
        "public_",
        "public_ends_",
    } & told_of
