"""What is on a card, and that it is the same however often, and in whichever way, it got there."""

from __future__ import annotations

import hashlib
import io
import json
import tomllib
import zipfile
from pathlib import Path

import pytest

from deploy.card.errors import CardError
from deploy.card.hooks import USER_DATA
from deploy.card.payload import FOLDER, GO_AWAY, Payload, inject, pack, unpack
from deploy.card.tree import Folder
from deploy.card.wifi import Wifi
from tests.card.builders import SECRETS, SERVER, TOKEN, Office
from tests.card.images import BOOKWORM, PRESEED, TRIXIE


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return Office.at(tmp_path_factory.mktemp("office"))


@pytest.fixture
def boot(tmp_path: Path) -> Path:
    return stock(tmp_path / "bootfs", TRIXIE)


def stock(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_that_a_node_needs_is_on_the_card(boot: Path, office: Office) -> None:
    inject(Folder(boot), office.payload(identity=TOKEN))
    card = everything(boot / FOLDER)
    assert set(card) == {
        "node.toml", "ca.pem", "enrol.json", "site.yaml", "wifi.nmconnection", "app.tar", "release.pub", "guard.py",
        "install.sh", "SHA256SUMS", "secret.sums",
    }  # fmt: skip
    node = tomllib.loads(card["node.toml"].decode())
    assert node["node"] == {
        "site": "north", "node": "gate-03", "name": '北门 "3" 号', "language": "zh-CN", "time_zone": "Asia/Shanghai",
    }  # fmt: skip
    assert node["server"] == SERVER.model_dump(exclude_none=True)
    assert (node["identity"], node["wifi"]) == ({"mode": "token"}, {"ssid": "工地 \\5G;", "country": "CN"})
    assert json.loads(card["enrol.json"]) == {
        "token": TOKEN.token, "url": SERVER.enrol_url, "expires": "2026-11-18T11:06:40Z",
    }  # fmt: skip


def test_an_offline_node_brings_its_key_and_no_token(boot: Path, office: Office) -> None:
    key = office.key()
    inject(Folder(boot), office.payload(identity=key))
    card = everything(boot / FOLDER)
    assert (card["node.pem"], card["node.key"], card["influx.token"]) == (key.certificate, key.key, key.influx)
    assert "enrol.json" not in card


@pytest.mark.parametrize("offline", [False, True])
def test_sums_name_everything_and_those_of_what_is_wiped_are_wiped(
    boot: Path, office: Office, *, offline: bool
) -> None:
    inject(Folder(boot), office.payload(identity=office.key() if offline else TOKEN))
    card = everything(boot / FOLDER)
    for sums, names in {
        "SHA256SUMS": set(card) - GO_AWAY - {"SHA256SUMS"},
        "secret.sums": (set(card) & GO_AWAY) - {"secret.sums"},
    }.items():
        said = {name: digest for digest, name in (line.split("  ") for line in card[sums].decode().splitlines())}
        assert said == {name: hashlib.sha256(card[name]).hexdigest() for name in names}
    assert "secret.sums" in GO_AWAY


def test_secrets_stand_only_in_files_that_the_node_wipes(boot: Path, office: Office) -> None:
    found = set()
    for identity in (office.key(), TOKEN):
        inject(Folder(boot), office.payload(identity=identity))
        for path, data in everything(boot).items():
            held = {secret for secret in SECRETS if secret in data}
            assert not held or path.removeprefix(f"{FOLDER}/") in GO_AWAY, path
            found |= held
    assert found == set(SECRETS)


@pytest.mark.parametrize("files", [TRIXIE, BOOKWORM, PRESEED], ids=["trixie", "bookworm", "preseed"])
def test_injecting_twice_gives_the_same_card(tmp_path: Path, office: Office, files: dict[str, bytes]) -> None:
    boot = stock(tmp_path / "bootfs", files)
    inject(Folder(boot), office.payload())
    once = everything(boot)
    inject(Folder(boot), office.payload())
    assert everything(boot) == once


@pytest.mark.parametrize("files", [TRIXIE, BOOKWORM, PRESEED], ids=["trixie", "bookworm", "preseed"])
def test_a_card_of_another_node_becomes_wholly_this_one(
    tmp_path: Path, office: Office, files: dict[str, bytes]
) -> None:
    fresh, used = stock(tmp_path / "fresh", files), stock(tmp_path / "used", files)
    inject(Folder(used), office.payload(node="crane-01", identity=TOKEN))
    (used / FOLDER / "STATUS.txt").write_text("of the other node")
    for boot in (fresh, used):
        inject(Folder(boot), office.payload(wifi=None))
    assert everything(used) == everything(fresh)


def test_a_partition_without_room_is_left_without_hooks(boot: Path, office: Office) -> None:
    class Small(Folder):
        def free(self) -> int:
            return 1_000_000

    with pytest.raises(CardError, match="MB free") as told:
        inject(Small(boot), office.payload())
    assert told.value.code == "boot.full"
    assert everything(boot) == TRIXIE


@pytest.mark.parametrize("missing", ["cmdline.txt", "config.txt"])
def test_another_drive_than_a_pi_boot_partition_is_refused(boot: Path, office: Office, missing: str) -> None:
    (boot / missing).unlink()
    before = everything(boot)
    with pytest.raises(CardError, match="bootfs"):
        inject(Folder(boot), office.payload())
    assert everything(boot) == before


def packed(payload: Payload, path: Path) -> Path:
    with path.open("wb") as out:
        pack(payload, out)
    return path


def test_a_node_file_makes_the_same_card_as_the_payload(tmp_path: Path, office: Office) -> None:
    straight, by_file = stock(tmp_path / "a", TRIXIE), stock(tmp_path / "b", TRIXIE)
    inject(Folder(straight), office.payload())
    inject(Folder(by_file), unpack(packed(office.payload(), tmp_path / "node.zip")))
    assert everything(by_file) == everything(straight)


def test_a_node_file_unpacked_by_hand_does_it_too(tmp_path: Path, boot: Path, office: Office) -> None:
    with zipfile.ZipFile(packed(office.payload(), tmp_path / "node.zip")) as archive:
        archive.extractall(boot)
    by_hand = everything(boot)
    inject(Folder(boot), office.payload())
    assert everything(boot) == by_hand | {"cmdline.txt": (boot / "cmdline.txt").read_bytes()}
    assert by_hand["user-data"] == USER_DATA


def test_the_same_payload_is_the_same_node_file(tmp_path: Path, office: Office) -> None:
    first = packed(office.payload(), tmp_path / "a.zip").read_bytes()
    assert packed(office.payload(), tmp_path / "b.zip").read_bytes() == first


def test_a_node_file_of_an_older_server_has_no_checksums_of_what_is_secret(tmp_path: Path, office: Office) -> None:
    path = packed(office.payload(), tmp_path / "node.zip")
    with zipfile.ZipFile(path) as archive:
        old = {name: archive.read(name) for name in archive.namelist() if not name.endswith("secret.sums")}
    path.write_bytes(_zip(old))
    inject(Folder(stock(tmp_path / "boot", TRIXIE)), unpack(path))
    assert {p.name for p in (tmp_path / "boot" / FOLDER).iterdir()} == set(office.payload().files) - {"secret.sums"}
    path.write_bytes(_zip(old | {"banksman/ca.pem": b"somebody else's"}))
    with pytest.raises(CardError) as told:
        unpack(path)
    assert told.value.code == "payload.damaged"


def test_a_damaged_node_file_is_refused(tmp_path: Path, office: Office) -> None:
    path = packed(office.payload(), tmp_path / "node.zip")
    whole = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        lacking = {name: archive.read(name) for name in archive.namelist()}
    cases = [
        ("payload.unreadable", b"no archive"),
        ("payload.lacks", _zip({k: v for k, v in lacking.items() if not k.endswith("ca.pem")})),
        ("payload.damaged", _zip(lacking | {"banksman/ca.pem": b"somebody else's"})),
        ("payload.damaged", _zip(lacking | {"banksman/site.yaml": bytes(700)})),
    ]
    for code, data in cases:
        path.write_bytes(data)
        with pytest.raises(CardError) as told:
            unpack(path)
        assert told.value.code == code


def _zip(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize(
    ("ssid", "password", "country", "code"),
    [
        ("", "12345678", "CN", "wifi.ssid"),
        ("名" * 11, "12345678", "CN", "wifi.ssid"),
        ("yard", "1234567", "CN", "wifi.password"),
        ("yard", "1" * 64, "CN", "wifi.password"),
        ("yard", "12345678\n[x]", "CN", "wifi.password"),
        ("yard", "12345678", "cn", "wifi.country"),
    ],
)
def test_a_wifi_that_cannot_be_is_refused(ssid: str, password: str, country: str, code: str) -> None:
    with pytest.raises(CardError) as told:
        Wifi(ssid, password, country)
    assert told.value.code == code
    assert password not in f"{told.value} {told.value.told('zh-CN')}" or not password
