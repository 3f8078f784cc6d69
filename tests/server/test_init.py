"""`banksman server init`: everything follows from a few answers; secrets are made once; twice is as once."""

from __future__ import annotations

import hashlib
import os
import pty
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509

from broker.dispatch import settings as dispatch
from broker.mosquitto import check as broker_check
from broker.mosquitto import settings as mosquitto
from broker.pki import check as pki_check
from broker.pki import names
from broker.pki.authority import Pki
from broker.pki.certificates import PRIVATE
from deploy.card import cards
from deploy.release import wheels
from deploy.server import layout
from deploy.server.settings import load
from tests.server.builders import ADDRESS, FIRST, HOST, NAME, edit, make, server, snapshot
from tests.servers import mosquitto_binary
from tests.update.builders import Maker


@pytest.mark.parametrize("more", [(), ("--plain", "--workers", "2"), ("--without-boards", "--certificate", "files")])
def test_twice_is_once(tmp_path: Path, more: tuple[str, ...]) -> None:
    folder = make(tmp_path / "srv", *more)
    before = snapshot(folder)
    assert "nothing has changed" in server("init", folder)
    assert "nothing has changed" in server("init", folder, *FIRST, *more)
    assert snapshot(folder) == before


def test_what_is_missing_is_made_and_the_rest_stays(folder: Path) -> None:
    before = snapshot(folder)
    for name in ("secrets/web", "proxy/Caddyfile", "dispatch/ca.pem", "broker/acl"):
        (folder / name).unlink()
    said = server("init", folder)
    after = snapshot(folder)
    assert after.keys() == before.keys()
    changed = {name for name in after if after[name] != before[name]}
    # A new secret is in the settings that hold it.
    assert changed == {"secrets/web", "proxy/Caddyfile", "dispatch/ca.pem", "broker/acl", "dispatch/dispatch.yaml"}
    assert "restart: proxy, web, worker" in said
    assert "reload (SIGHUP): mosquitto" in said


def test_secrets_are_for_their_readers_alone(folder: Path) -> None:
    words = {name: layout.secret(folder, name) for name in layout.SECRETS}
    words["share group"] = mosquitto.load(folder / "broker").share_group
    assert len(set(words.values())) == len(words)
    assert all(len(word) >= 32 for word in words.values())
    for path in filter(Path.is_file, folder.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text()
        secret = "PRIVATE KEY" in text or any(word in text for word in words.values())
        assert not (secret and mode & 0o077), f"{path}: {mode:o}"
        assert not (path.parent.name == "secrets" and mode != 0o600), f"{path}: {mode:o}"
    for name in ("secrets", "dispatch", "pki"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o700


def test_no_secret_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "srv"
    said = server("init", folder, *FIRST)
    said += server("init", folder)
    assert "secrets/postgres" in said
    for name in layout.SECRETS:
        assert layout.secret(folder, name) not in said


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "--name"),
        (("--name", NAME), "--host"),
        (("--name", "10.0.0.1", "--host", HOST), "name: '10.0.0.1': a full name is needed"),
        (("--name", "site", "--host", HOST), "name: 'site': a full name is needed"),
        (("--name", "https://site.cn", "--host", HOST), "neither a host name in small letters nor an IP address"),
        (("--name", NAME, "--host", "Banksman.Lan"), "hosts.0: 'Banksman.Lan' is neither"),
        (("--name", NAME, "--host", NAME), "nodes, who trust the private authority alone"),
        (("--name", NAME, "--host", "banksman.local", "--host", ADDRESS), "not in DNS"),
        ((*FIRST, "--site", "North Yard"), "sites.1"),
        ((*FIRST, "--language", "de"), "language: Input should be 'zh-CN' or 'en'"),
        ((*FIRST, "--zone", "Mars/Olympus"), "'Mars/Olympus' is no time zone"),
        ((*FIRST, "--workers", "3"), "workers: Input should be less than or equal to 2"),
        ((*FIRST, "--certificate", "self"), "certificate: Input should be 'automatic' or 'files'"),
        ((*FIRST, "--email", 'a@b.cn" }'), "email"),
        ((*FIRST, "--ntp", "a b"), "ntp.0"),
    ],
)
def test_bad_answers_are_told_and_make_nothing(tmp_path: Path, options: tuple[str, ...], told: str) -> None:
    assert told in server("init", tmp_path / "srv", *options, code=2)
    assert not (tmp_path / "srv").exists()


def test_at_a_terminal_it_asks(tmp_path: Path) -> None:
    near, far = pty.openpty()
    banksman = str(Path(sys.executable).with_name("banksman"))
    command = [banksman, "server", "init", str(tmp_path / "srv"), "--lang", "en"]
    with subprocess.Popen(command, stdin=far, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        os.write(near, f"{NAME}\n{HOST} {ADDRESS}\nnorth-yard quay\n\nfiles\n".encode())
        said = process.communicate(timeout=60)[0]
    os.close(near)
    os.close(far)
    assert process.returncode == 0, said
    settings = load(tmp_path / "srv")
    assert (settings.name, settings.hosts, settings.sites) == (NAME, (HOST, ADDRESS), ("north-yard", "quay"))
    assert (settings.language, settings.certificate) == ("zh-CN", "files")


def test_an_option_does_not_overrule_the_file(folder: Path) -> None:
    before = snapshot(folder)
    said = server("init", folder, "--workers", "2", code=2)
    assert "workers is not what the option says" in said
    assert str(folder / "server.toml") in said
    assert snapshot(folder) == before


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name = ", "server.toml: Invalid value"),
        (f'name = "{NAME}"\nhosts = []', "server.toml: hosts: Tuple should have at least 1 item"),
        (f'name = "{NAME}"\nhosts = ["{HOST}"]\nwrokers = 2', "server.toml: wrokers: Extra inputs are not permitted"),
    ],
)
def test_faults_of_the_file_are_told_with_their_place(folder: Path, text: str, told: str) -> None:
    (folder / "server.toml").write_text(text)
    assert told in server("init", folder, code=2)


def test_a_change_of_the_file_reaches_everything_that_follows_from_it(folder: Path) -> None:
    edit(folder / "broker/broker.toml", (r"\n# Clients", "\n[limits]\nconnections = 50\n\n# Clients"))
    before, group = snapshot(folder), mosquitto.load(folder / "broker").share_group
    edit(
        folder / "server.toml",
        (r"(?m)^hosts = .*", f'hosts = ["{HOST}", "10.9.8.7"]'),
        (r"(?m)^workers = 1", "workers = 2"),
        (r"(?m)^sirens = .*", 'sirens = ["north-yard", "quay"]'),
    )
    said = server("init", folder)
    after = snapshot(folder)
    assert {name for name in before if name.startswith("secrets/") and after[name] != before[name]} == set()
    broker = mosquitto.load(folder / "broker")
    assert broker.hosts == (HOST, "10.9.8.7", "mosquitto.internal")
    assert broker.share_group == group
    assert broker.limits.connections == 50
    roles = {service.name: service.role for service in broker.services}
    assert roles == {
        "dispatch": "dispatch", "dispatch-2": "dispatch", "grafana": "viewer", "roll-out": "dispatch",
        "siren-north-yard": "siren", "siren-quay": "siren",
    }  # fmt: skip
    second = dispatch.load(folder / "dispatch/dispatch-2.yaml")
    assert second.mqtt.client_id == "dispatch-2"
    assert second.mqtt.share_group.get_secret_value() == group
    certificate = x509.load_pem_x509_certificate((folder / "dispatch/server.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(name.value) for name in names} == {HOST, "10.9.8.7", "mosquitto.internal"}
    assert (folder / "proxy/nodes.pem").read_bytes() == (folder / "dispatch/server.pem").read_bytes()
    assert "COMPOSE_PROFILES=boards,second-worker\n" in (folder / ".env").read_text()
    assert "docker compose up -d" in said
    assert "nothing has changed" in server("init", folder)


def test_names_outside_of_the_private_ones_are_the_authoritys_too(tmp_path: Path) -> None:
    folder = tmp_path / "srv"
    server("init", folder, "--name", NAME, "--host", "nodes.site.example.cn", "--host", "203.0.113.5")
    assert not list(pki_check.problems(folder / "pki", time.time()))
    edit(folder / "server.toml", (r"203\.0\.113\.5", "203.0.113.6"))
    assert "203.0.113.6: this authority signs for" in server("init", folder, code=2)


def test_the_broker_runs_with_it(folder: Path) -> None:
    mosquitto_binary()
    assert list(broker_check.problems(folder / "broker", time.time())) == []
    assert list(pki_check.problems(folder / "pki", time.time())) == []


@pytest.mark.parametrize("more", [(), ("--plain",)])
def test_dispatch_takes_its_settings(tmp_path: Path, more: tuple[str, ...]) -> None:
    folder = make(tmp_path / "srv", *more)
    settings = dispatch.load(folder / "dispatch/dispatch.yaml")
    assert settings.web.url == f"https://{NAME}"
    assert settings.influx is None
    assert settings.upload is not None
    assert settings.enrol is not None
    assert settings.metrics is not None
    wanted = [
        settings.mqtt.ca, settings.mqtt.cert, settings.mqtt.key, settings.upload.cert, settings.upload.key,
        settings.upload.client_ca, settings.upload.crl, settings.enrol.cert, settings.enrol.key,
        settings.enrol.pki / "ca.pem", settings.enrol.broker and settings.enrol.broker / "broker.toml",
    ]  # fmt: skip
    assert [path for path in wanted if path is None or not path.is_file()] == []
    assert settings.mqtt.host in mosquitto.load(folder / "broker").hosts


def test_a_roll_out_has_its_certificate(folder: Path) -> None:
    cert, key = Pki(folder / "pki").files_of(names.service("roll-out"))
    assert cert.is_file()
    assert key.is_file()


def _card_files(maker: Maker) -> tuple[str, str, str, str]:
    """An image, its checksum, a signed release, and the key for it."""
    image = maker.folder / "raspios.img.xz"
    image.write_bytes(b"as downloaded")
    sha256 = hashlib.sha256(image.read_bytes()).hexdigest()
    return str(image), sha256, str(maker.app("9.9.9", 1, target="aarch64-cp313")), str(maker.public_key)


def test_cards_that_are_described_have_their_page_and_keep_it(folder: Path) -> None:
    assert dispatch.load(folder / "dispatch/dispatch.yaml").cards is None
    maker = Maker(folder.parent)
    image, sha256, release, public = _card_files(maker)
    server("cards", folder, image, release, "--sha256", sha256, "--public-key", public)
    described = dispatch.load(folder / "dispatch/dispatch.yaml").cards
    assert described is not None
    found = cards.load(described)
    assert cards.check(found).version == "9.9.9"
    assert found.ca.read_bytes() == (folder / "pki/ca.pem").read_bytes()
    settings = load(folder)
    assert found.server.name == settings.hosts[0]
    assert found.server.page_url == f"https://{settings.name}"
    assert "nothing has changed" in server("init", folder)


def test_cards_of_another_image_or_a_release_of_somebody_else_are_refused(folder: Path) -> None:
    image, sha256, release, _ = _card_files(Maker(folder.parent))
    wrong = "0" * 64
    assert wrong in server("cards", folder, image, release, "--sha256", wrong, "--public-key", release, code=2)
    stranger = folder.parent / "stranger"
    stranger.mkdir()
    other = str(Maker(stranger).public_key)
    assert "not signed" in server("cards", folder, image, release, "--sha256", sha256, "--public-key", other, code=2)
    assert not (folder / "cards/cards.toml").exists()


@pytest.mark.parametrize(
    ("image", "target", "wanted"),
    [
        ("2026-06-18-raspios-trixie-arm64-lite.img.xz", "aarch64-cp313", None),
        ("2026-06-18-raspios-trixie-arm64-lite.img.xz", "aarch64-cp311", "aarch64-cp313"),
        ("2025-05-13-raspios-bookworm-arm64-lite.img.xz", "aarch64-cp311", None),
        ("2025-05-13-raspios-bookworm-arm64-lite.img.xz", "aarch64-cp313", "aarch64-cp311"),
        ("raspios-lite.img.xz", "x86_64-cp313", "aarch64-cp313"),
        ("raspios-lite.img.xz", "any", None),
    ],
)
def test_a_release_that_no_box_would_take_goes_onto_no_card(
    folder: Path, image: str, target: str, wanted: str | None
) -> None:
    maker = Maker(folder.parent)
    (maker.folder / image).write_bytes(b"as downloaded")
    sha256 = hashlib.sha256(b"as downloaded").hexdigest()
    release = str(maker.app("9.9.9", 1, target=target))
    asked = str(maker.folder / image), release, "--sha256", sha256, "--public-key", str(maker.public_key)
    said = server("cards", folder, *asked, code=2 if wanted else 0)
    assert (folder / "cards/cards.toml").exists() == (wanted is None)
    if wanted:
        assert f"is for {target}; {image} needs a release for {wanted}" in said
        assert wanted in wheels.TARGETS


def test_a_first_host_that_only_the_server_itself_could_announce_may_follow_another(tmp_path: Path) -> None:
    server("init", tmp_path / "srv", "--name", NAME, "--host", ADDRESS, "--host", "banksman.local")
    assert load(tmp_path / "srv").hosts == (ADDRESS, "banksman.local")
    edit(tmp_path / "srv/server.toml", (r"(?m)^hosts = .*", f'hosts = ["banksman.local", "{ADDRESS}"]'))
    server("init", tmp_path / "srv")  # one that was made so before can still be brought up to date; check tells


@pytest.mark.parametrize("runs", [(), ("--plain",)])
def test_the_user_of_dispatch_can_read_influxdbs_operator_token(tmp_path: Path, runs: tuple[str, ...]) -> None:
    """Not in `secrets`, which is root's."""
    folder = make(tmp_path / "srv", *runs)
    layout.keep_secret(folder, layout.INFLUX_DISPATCH, "made-by-setup")
    server("init", folder)
    settings = dispatch.load(folder / "dispatch/dispatch.yaml")
    assert settings.enrol is not None
    assert settings.enrol.influx_admin_token_file == folder / "dispatch/influx-admin"
    assert layout.secret(folder, "influx-admin") == (folder / "dispatch/influx-admin").read_text().strip()
    assert stat.S_IMODE((folder / "dispatch/influx-admin").stat().st_mode) == 0o600


def test_the_authority_of_before_stays(tmp_path: Path) -> None:
    folder = tmp_path / "srv"
    folder.mkdir()
    Pki.create(folder / "pki", "Earlier", PRIVATE, time.time())
    before = (folder / "pki/ca.pem").read_bytes()
    make(folder)
    assert (folder / "pki/ca.pem").read_bytes() == before
    assert (folder / "dispatch/ca.pem").read_bytes() == before


def test_addresses_that_clients_use_are_in_the_certificate(made: Path) -> None:
    certificate = x509.load_pem_x509_certificate((made / "broker/server.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(name.value) for name in names} == {HOST, ADDRESS, "mosquitto.internal"}
