"""`banksman enrol …` and the doors as `banksman dispatch web` opens them, from a settings file."""

from __future__ import annotations

import os
import re
import ssl
import stat
import time
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from broker.dispatch.clock import SystemClock
from broker.dispatch.database import open_engine
from broker.dispatch.settings import SettingsError, load
from broker.dispatch.worker import housekeeping
from broker.embedded import free_port
from broker.pki import names
from broker.pki.authority import Pki
from broker.pki.certificates import PRIVATE
from deploy.enrol import app
from deploy.pages import serving
from edge.enrol.identity import check
from tests.conftest import need
from tests.enrol.builders import NAME, Box
from tests.enrol.influx2 import ADMIN, Influx2Stub

PLAIN = """\
mqtt: {host: b}
web: {secret: 0123456789abcdef0123456789abcdef, port: WEB}
"""
WITH_DOOR = """\
influx: {url: "URL", org: banksman, token: dispatchs}
enrol: {host: 127.0.0.1, port: PORT, cert: pki/servers/127.0.0.1.pem, key: pki/servers/127.0.0.1.key, pki: pki,
  influx_admin_token_file: admin, influx_url: "https://influx.local:8086"}
"""


class Server:
    """A settings file, with all it names."""

    def __init__(self, folder: Path, influx: Influx2Stub, empty: Path) -> None:
        self.folder, self.influx, self.port = folder, influx, free_port()
        self.file = folder / "dispatch.yaml"
        self.pki = Pki.create(folder / "pki", "Test", PRIVATE, time.time())
        self.pki.issue(names.server("127.0.0.1"), time.time())
        (folder / "dispatch.db").write_bytes(empty.read_bytes())
        (folder / "admin").write_text(ADMIN + "\n")
        door = WITH_DOOR.replace("URL", influx.url).replace("PORT", str(self.port))
        self.file.write_text(PLAIN.replace("WEB", str(free_port())) + door)

    def run(self, command: str, *more: str) -> Result:
        return CliRunner().invoke(app, [command, str(self.file), *more])

    def states(self) -> list[str]:
        return [e.state.value for e in self.pki.entries(time.time()) if e.subject.name == NAME]


@pytest.fixture
def server(tmp_path: Path, influx: Influx2Stub, empty: Path) -> Server:
    return Server(tmp_path, influx, empty)


def test_a_token_from_the_command_line_opens_the_door_once(server: Server) -> None:
    made = server.run("new", NAME, "--hours", "1")
    assert made.exit_code == 0
    token = made.stdout.strip()
    settings = load(server.file)
    engine = open_engine(settings.database.get_secret_value())
    context = ssl.create_default_context(cafile=str(server.pki.ca_file))
    with serving(settings, engine, SystemClock()), httpx.Client(verify=context, trust_env=False) as client:
        url = f"https://127.0.0.1:{server.port}/enrol"
        answers = [client.post(url, json={"token": token, "csr": Box().csr()}) for _ in range(2)]
    assert [a.status_code for a in answers] == [200, 403]
    assert server.influx.may_write(answers[0].json()["influx"]["token"])
    listed = server.run("list")
    assert re.search(rf"{NAME}  made .* UTC  used .* UTC  certificate [0-9a-f]+\n", listed.stdout)
    assert token not in listed.stdout
    assert server.run("list", "south-yard").stdout == ""


def test_revoking_says_what_was_done_and_what_is_left(server: Server) -> None:
    server.run("new", NAME)
    server.run("offline", NAME, "--out", str(server.folder / "card"), "--replace")
    server.influx.trouble["DELETE"] = 503
    first = server.run("revoke", NAME)
    assert first.exit_code == 1
    assert "revoked certificate" in first.stdout
    assert "withdrew 1 token" in first.stdout
    assert "NOT DONE" in first.stderr
    assert "broker update" in first.stdout
    assert "again" in first.stdout
    second = server.run("revoke", NAME, "--reason", "key-compromise")
    assert (second.exit_code, "deleted 1 token of InfluxDB" in second.stdout) == (0, True)
    assert "nothing was left" in server.run("revoke", NAME).stdout
    assert not server.influx.authorizations
    assert server.states() == ["revoked"]


def test_what_an_offline_card_needs(server: Server) -> None:
    out = server.folder / "card"
    done = server.run("offline", NAME, "--out", str(out))
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in out.iterdir()) == ["ca.pem", "influx.token", "node.key", "node.pem"]
    assert [stat.S_IMODE((out / n).stat().st_mode) for n in ("node.key", "influx.token")] == [0o600, 0o600]
    key, certificate, ca = ((out / n).read_bytes() for n in ("node.key", "node.pem", "ca.pem"))
    check(key, certificate, ca, NAME)
    assert server.influx.may_write((out / "influx.token").read_text().strip())
    again = server.run("offline", NAME, "--out", str(out))
    assert (again.exit_code, "not empty" in again.stderr) == (2, True)
    server.influx.trouble["POST"] = 503
    second = "offline", NAME, "--replace", "--out", str(server.folder / "second")
    assert server.run(*second).exit_code == 2
    assert server.run(*second).exit_code == 0
    assert server.states() == ["revoked", "revoked", "valid"], "the second was cut off by InfluxDB"
    assert len(server.influx.authorizations) == 1


@pytest.mark.parametrize("command", ["new", "offline"])
def test_a_node_that_is_there_keeps_its_box_unless_it_is_said_that_another_replaces_it(
    server: Server, command: str
) -> None:
    assert server.run("offline", NAME, "--out", str(server.folder / "first")).exit_code == 0
    out = () if command == "new" else ("--out", str(server.folder / "second"))
    refused = server.run(command, NAME, *out)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert f"{NAME} has a box already" in refused.stderr
    assert "--replace" in refused.stderr
    assert not list((server.folder / "second").glob("*"))
    assert server.states() == ["valid"]
    assert server.run(command, NAME, *out, "--replace").exit_code == 0


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("new", "North/gate"), "north"),
        (("new", "north-yard"), "SITE/NODE"),
        (("new", NAME, "--hours", "0"), "hours"),
        (("revoke", "-/dispatch"), "dispatch"),
        (("offline", "gate", "--out", "x"), "SITE/NODE"),
    ],
)
def test_bad_input_is_told(server: Server, command: tuple[str, ...], told: str) -> None:
    result = server.run(*command)
    assert result.exit_code == 2
    assert told.lower() in result.stderr.lower()


def test_without_its_section_nothing_can_be_revoked(server: Server) -> None:
    server.file.write_text(PLAIN.replace("WEB", "8090"))
    result = server.run("revoke", NAME)
    assert (result.exit_code, "no section enrol" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda s: (s.folder / "admin").unlink(), "enrol.influx_admin_token_file"),
        (lambda s: (s.folder / "admin").write_text("two words"), "must hold the token alone"),
        (lambda s: (s.folder / "pki" / "ca.pem").unlink(), "enrol.pki"),
        (
            lambda s: s.file.write_text(re.sub(r"influx: .*\n", "", s.file.read_text(), count=1)),
            "needs a section influx",
        ),
    ],
)
def test_what_the_settings_name_and_is_not_there(server: Server, spoil: object, told: str) -> None:
    assert callable(spoil)
    spoil(server)
    result = server.run("revoke", NAME)
    assert result.exit_code == 2
    assert told in result.stderr
    assert ADMIN not in result.output


def test_root_leaves_nothing_that_the_authoritys_user_could_not_write(server: Server) -> None:
    need(os.geteuid() == 0, "only root can give a folder away")
    os.chown(server.pki.folder, 12345, -1)
    before = {path: path.stat().st_mtime_ns for path in server.pki.folder.rglob("*")}
    for command in (("revoke", NAME), ("offline", NAME, "--out", str(server.folder / "card"))):
        result = server.run(*command)
        assert result.exit_code == 2
        assert "setpriv --reuid=12345" in result.stderr
    assert {path: path.stat().st_mtime_ns for path in server.pki.folder.rglob("*")} == before


def test_the_worker_goes_on_with_what_is_left(server: Server) -> None:
    server.run("offline", NAME, "--out", str(server.folder / "card"))
    server.influx.trouble["DELETE"] = 503
    assert server.run("revoke", NAME).exit_code == 1
    settings = load(server.file)
    housekeeping(settings, open_engine(settings.database.get_secret_value()))["enrolment"].work(time.time())
    assert not server.influx.authorizations


def test_the_worker_says_what_is_wrong_with_the_settings(server: Server) -> None:
    (server.folder / "admin").unlink()
    settings = load(server.file)
    with pytest.raises(SettingsError, match="influx_admin_token_file"):
        housekeeping(settings, open_engine(settings.database.get_secret_value()))
