"""`banksman node enrol`: a box with a card becomes its node, whatever happens in between."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner

from broker.pki import names
from broker.pki.authority import Pki, Reason
from deploy.card.status import addresses
from deploy.node import app
from edge.rules import RULES
from edge.site.load import check, load, missing_files
from tests.enrol.builders import NAME, NODE, SITE, Box, Card, Place
from tests.waiting import until

KEY_FILES = ("node.pem", "node.key", "influx.token")


@pytest.fixture
def card(tmp_path: Path, place: Place) -> Card:
    card = Card(tmp_path, place)
    card.give(place.token())
    return card


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def key_of(card: Card) -> object:
    return x509.load_pem_x509_certificate(card.file("node.pem")).public_key()


# -- with a token ------------------------------------------------------------------------------------------------------


def test_a_box_becomes_the_node_of_its_card(card: Card, place: Place) -> None:
    result = card.run()
    assert (result.exit_code, result.output) == (0, f"This box is {NAME} now.\n")
    assert card.file("ca.pem") == place.pki.ca_file.read_bytes()
    assert [mode(card.etc / n) for n in ("node.key", "influx.token", "node.pem")] == [0o600, 0o600, 0o644]
    assert place.stub is not None
    assert place.stub.may_write(card.file("influx.token").decode())
    assert place.states() == ["valid"]
    assert card.file("node.toml") == (card.folder / "node.toml").read_bytes()


def test_its_first_site_file_is_in_order_and_names_what_was_handed_out(card: Card) -> None:
    card.run()
    path = card.etc / "site.yaml"
    assert check(path, RULES) == []
    site = load(path, RULES)
    assert missing_files(site, path) == []
    assert (site.site.id, site.node.id, site.language) == (SITE, NODE, "en")
    assert (round(site.site.latitude, 1), round(site.site.longitude, 1)) == (31.2, 121.5)
    mqtt, influx = site.uplinks.mqtt, site.uplinks.influx
    assert mqtt is not None
    assert influx is not None
    assert (mqtt.host, mqtt.port, mqtt.key) == ("127.0.0.1", 8883, card.etc / "node.key")
    assert (influx.url, influx.token_file) == ("https://influx.local:8086", card.etc / "influx.token")
    assert site.page is not None
    assert site.page.password is None
    assert mode(path) == 0o660


def test_the_token_is_wiped_where_it_stood_and_nothing_else(card: Card) -> None:
    enrol = card.folder / "enrol.json"
    before = json.loads(enrol.read_text())
    witness = card.folder / "same-blocks"
    os.link(enrol, witness)  # a file that is written anew would leave its old blocks behind
    card.run()
    assert json.loads(enrol.read_text()) == before | {"token": ""}
    assert before["token"] not in witness.read_text()


def test_no_secret_is_left_but_where_it_belongs(card: Card) -> None:
    token = card.secrets()[0]
    card.run()
    holders = {p.name for p in card.etc.rglob("*") if p.is_file() and b"PRIVATE KEY" in p.read_bytes()}
    assert holders == {"node.key"}
    assert not any(token.encode() in p.read_bytes() for p in card.etc.rglob("*") if p.is_file())


def test_done_is_done(card: Card, place: Place) -> None:
    card.run()
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in card.etc.glob("*.*")}
    rows = len(place.rows())
    place.server.stop()  # nobody is asked
    result = card.run()
    assert (result.exit_code, result.output) == (0, f"This box is {NAME} already.\n")
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in card.etc.glob("*.*")} == before
    assert len(place.rows()) == rows


def test_after_a_lost_answer_the_same_key_gets_the_same_certificate(
    card: Card, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = card.secrets()[0]
    with monkeypatch.context() as cut:
        cut.setattr("edge.enrol.enrol._Work.keep", _power_cut)
        assert card.run().exit_code == 1
    assert place.states() == ["valid"]
    assert card.secrets() == [token]
    assert card.run().exit_code == 0
    assert place.states() == ["valid"]


def _power_cut(*_: object) -> None:
    raise RuntimeError


def test_the_answer_once_on_disk_nobody_is_asked_again(
    card: Card, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as cut:
        cut.setattr("edge.enrol.enrol._install", _power_cut)
        assert card.run().exit_code == 1
    place.server.stop()
    assert card.run().exit_code == 0
    assert card.secrets() == [""]


def test_a_token_cut_short_while_it_was_wiped(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as cut:
        cut.setattr("edge.enrol.enrol._wiped", _power_cut)
        assert card.run().exit_code == 1
    (card.folder / "enrol.json").write_bytes(b'{"token": "", "ur\0\0\0\0')
    assert card.run().exit_code == 0
    assert card.secrets() == [""]
    assert card.run().exit_code == 0


def test_a_card_that_cannot_be_written_keeps_no_box_from_work(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(30, "Read-only file system", "enrol.json")

    with monkeypatch.context() as worn:
        worn.setattr("edge.enrol.card._overwrite", broken)
        result = card.run()
        assert result.exit_code == 0
        assert "still there" in result.output
        assert card.run().exit_code == 0
    assert card.run().exit_code == 0
    assert card.secrets() == [""]


# -- refused -----------------------------------------------------------------------------------------------------------


def used(card: Card) -> None:
    assert card.place.ask(card.secrets()[0], Box().csr()).status_code == 200


def expired(card: Card) -> None:
    card.place.clock.advance(73 * 3600)


def unknown(card: Card) -> None:
    card.give("x" * 32)


def withdrawn(card: Card) -> None:
    card.place.office.revoke(SITE, NODE, Reason.KEY_COMPROMISE, card.place.clock.now())


@pytest.mark.parametrize(
    ("spoil", "told", "chinese"),
    [
        (used, "used by another box", "已被另一台设备使用"),
        (expired, "has expired", "已过期"),
        (unknown, "does not know", "不认识"),
        (withdrawn, "was withdrawn", "已被撤回"),
    ],
)
def test_a_refused_card_says_what_to_do(card: Card, spoil: object, told: str, chinese: str) -> None:
    assert callable(spoil)
    spoil(card)
    result = card.run()
    assert result.exit_code == 4
    assert told in result.output
    assert "new card" in result.output
    assert chinese in card.run("--lang", "zh-CN").output
    assert not (card.etc / "node.pem").exists()


ELSEWHERE = """\
site: {id: south-yard, latitude: 39.9, longitude: 116.4}
node: {id: gate-03}
cameras: [{id: a, source: {type: usb}}]
"""


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("node.toml", None, "lacks"),
        ("node.toml", "[node]\n", "node.site"),
        ("node.toml", "a b", "node.toml"),
        ("ca.pem", None, "lacks"),
        ("ca.pem", "hello", "ca.pem"),
        ("enrol.json", "{", "enrol.json"),
        ("enrol.json", None, "no token any more"),
        ("site.yaml", "site: [", "not in order"),
        ("site.yaml", ELSEWHERE, "is for south-yard/gate-03, but the card is for"),
    ],
)  # fmt: skip
def test_a_card_that_is_not_in_order_is_refused_before_its_token_is_used(
    card: Card, place: Place, name: str, content: str | None, told: str
) -> None:
    (card.folder / name).unlink(missing_ok=True)
    if content is not None:
        card.write(name, content)
    result = card.run("--lang", "en")
    assert result.exit_code == 4
    assert told in result.output
    assert [row.used_at for row in place.rows()] == [None]


# -- later -------------------------------------------------------------------------------------------------------------


def test_a_server_that_is_away_is_asked_again_later(card: Card, place: Place) -> None:
    place.server.stop()
    result = card.run()
    assert result.exit_code == 3
    assert "does not answer" in result.output
    assert card.secrets() != [""]


def test_a_server_that_cannot_just_now_is_asked_again_later(card: Card, place: Place) -> None:
    assert place.stub is not None
    place.stub.trouble["POST"] = 503
    result = card.run()
    assert result.exit_code == 3
    assert "HTTP 503" in result.output
    assert card.run().exit_code == 0


def test_somebody_elses_server_does_not_get_the_token(card: Card, place: Place, tmp_path: Path) -> None:
    other = Pki.create(tmp_path / "other", "Other", place.pki_networks, time.time())
    card.write("ca.pem", other.ca_file.read_text())
    result = card.run()
    assert result.exit_code == 3
    assert "cannot prove" in result.output
    assert [row.used_at for row in place.rows()] == [None]
    assert place.attempts() == 0


@pytest.mark.parametrize(("days", "told"), [(30, "clock of this box is behind"), (-500, "has ended")])
def test_a_clock_that_is_wrong_is_told_and_waited_for(
    card: Card, place: Place, tmp_path: Path, days: int, told: str
) -> None:
    """The certificate begins after, or ends before, what this computer's clock says."""
    moved = time.time() + days * 86_400
    place.pki.issue(names.server("127.0.0.1"), moved, replace=True)
    place.server.stop()
    again = Place(tmp_path, place.engine, place.stub, pki=place.pki)
    with again:
        card.write("node.toml", (card.folder / "node.toml").read_text().replace(place.url, again.url))
        result = card.run()
    assert result.exit_code == 3
    assert told in result.output


# -- other boxes, other places -----------------------------------------------------------------------------------------


def test_a_new_box_takes_the_node_over(card: Card, place: Place, tmp_path: Path) -> None:
    card.run()
    assert place.stub is not None
    old = card.file("influx.token").decode()
    box = Card(tmp_path / "second", place)
    box.give(place.token())
    assert box.run().exit_code == 0
    until(lambda: place.states() == ["revoked", "valid"], "the old certificate is still good")
    until(lambda: not place.stub.may_write(old), "the old token is still good")  # type: ignore[union-attr]
    assert place.stub.may_write(box.file("influx.token").decode())


def test_a_new_card_gives_a_box_a_new_key(card: Card, place: Place) -> None:
    card.run()
    first = key_of(card)
    card.give(place.token())
    assert card.run().exit_code == 0
    assert key_of(card) != first
    until(lambda: place.states() == ["revoked", "valid"])


def test_a_box_that_is_moved_gets_a_site_file_of_its_new_place(card: Card, place: Place, tmp_path: Path) -> None:
    card.run()
    second = Card(tmp_path / "second", place, node="gate-04")
    second.etc = card.etc
    second.give(place.token("gate-04"))
    assert second.run().exit_code == 0
    assert load(card.etc / "site.yaml", RULES).node.id == "gate-04"
    assert load(card.etc / "site.yaml.old", RULES).node.id == NODE


def test_zones_that_were_drawn_outlive_a_new_card(card: Card, place: Place) -> None:
    card.run()
    path = card.etc / "site.yaml"
    path.write_text(path.read_text() + "# drawn\n")
    before = path.read_bytes()
    card.give(place.token())
    assert card.run().exit_code == 0
    assert path.read_bytes() == before


# -- the site file alone, before anybody is asked ----------------------------------------------------------------------

WORKS = f"""\
site: {{id: {SITE}, latitude: 39.9, longitude: 116.4}}
node: {{id: {NODE}}}
cameras: [{{id: gate, source: {{type: usb}}}}]
"""
DRAWN = f"{WORKS}# drawn\n"
UNREADABLE = ["", "\0" * 700, "site:\n  id: nor"]


@pytest.fixture
def bare(tmp_path: Path, place: Place) -> Card:
    """A card with a site file and its checksum, for a box that has nothing."""
    card = Card(tmp_path, place)
    bring(card, WORKS)
    card.etc.mkdir()
    return card


def bring(card: Card, text: str) -> None:
    card.write("site.yaml", text)
    card.write("secret.sums", f"{hashlib.sha256(text.encode()).hexdigest()}  site.yaml\n")


def take(card: Card) -> tuple[int, str]:
    """`banksman node site`."""
    result = CliRunner().invoke(app, ["site", str(card.folder), "--etc", str(card.etc)])
    return result.exit_code, result.output


def test_the_site_file_is_taken_over_before_the_server_is_asked(bare: Card) -> None:
    for _ in range(2):
        assert take(bare) == (0, f"The site file of {NAME} is taken over from the card.\n")
        assert bare.file("site.yaml").decode() == WORKS
        assert mode(bare.etc / "site.yaml") == 0o660
    (bare.folder / "site.yaml").unlink()
    (bare.folder / "secret.sums").unlink()
    assert take(bare)[0] == 0


@pytest.mark.parametrize("content", [*UNREADABLE, f"{WORKS} ", None])
def test_a_site_file_that_is_not_what_was_written_is_not_taken_over(bare: Card, content: str | None) -> None:
    (bare.folder / "site.yaml").unlink()
    if content is not None:
        bare.write("site.yaml", content)
    code, told = take(bare)
    assert code == 4
    assert "site.yaml" in told
    assert "Make the card again" in told
    assert not (bare.etc / "site.yaml").exists()


@pytest.mark.parametrize("content", UNREADABLE)
def test_one_that_no_checksum_belongs_to_has_to_be_readable(bare: Card, content: str) -> None:
    (bare.folder / "secret.sums").unlink()
    bare.write("site.yaml", content)
    assert take(bare)[0] == 4
    assert not (bare.etc / "site.yaml").exists()


@pytest.mark.parametrize("content", UNREADABLE)
def test_one_that_cannot_be_read_gives_way_and_stays_beside(bare: Card, content: str) -> None:
    (bare.etc / "site.yaml").write_text(content)
    assert take(bare)[0] == 0
    assert bare.file("site.yaml").decode() == WORKS
    assert bare.file("site.yaml.broken").decode() == content


def test_the_last_good_one_comes_before_the_card_s(bare: Card) -> None:
    """What was drawn on the page is in it."""
    (bare.etc / "site.yaml").write_text("\0" * 700)
    (bare.etc / ".site.yaml.last-good").write_text(DRAWN)
    for _ in range(2):
        assert take(bare)[0] == 0
        assert bare.file("site.yaml").decode() == DRAWN
        (bare.etc / "site.yaml").unlink()  # as a power cut leaves it


def test_one_that_cannot_be_read_stays_where_the_card_has_no_better(bare: Card) -> None:
    (bare.etc / "site.yaml").write_text("site: [")
    bare.write("site.yaml", "")
    assert take(bare)[0] == 4
    assert bare.file("site.yaml").decode() == "site: ["


@pytest.mark.parametrize("content", ["", "site: [", "\0" * 700])
def test_one_that_cannot_be_read_stays_where_there_is_nothing_better(bare: Card, place: Place, content: str) -> None:
    """A slip of whoever wrote it, and a card that is wiped already: no first site file follows, no token is used."""
    (bare.etc / "site.yaml").write_text(content)
    (bare.folder / "site.yaml").unlink()
    (bare.folder / "secret.sums").unlink()
    bare.give(place.token())
    for code, told in (take(bare), ((ran := bare.run("--lang", "en")).exit_code, ran.output)):
        assert code == 4
        assert f"not in order: {bare.etc / 'site.yaml'}" in told
    assert bare.file("site.yaml").decode() == content
    assert list(bare.etc.glob("site.yaml.*")) == []
    assert [row.used_at for row in place.rows()] == [None]


def test_a_folder_in_its_place_is_told(bare: Card) -> None:
    (bare.etc / "site.yaml").mkdir()
    code, told = take(bare)
    assert (code, "folder" in told) == (4, True)


def test_one_that_is_mended_stays_the_service_s(bare: Card) -> None:
    """Which the page saves zones as; nobody puts it right while the node works and waits for its server."""
    path = bare.etc / "site.yaml"
    path.write_text("site: [")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 1235)
    before = path.stat()
    assert take(bare)[0] == 0
    after = path.stat()
    assert path.read_text() == WORKS
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)


def test_each_one_that_could_not_be_read_is_kept(bare: Card) -> None:
    for content in ("site: [", "site: {", "too big" * 100_000):
        (bare.etc / "site.yaml").write_text(content)
        assert take(bare)[0] == 0
    kept = [bare.file(f"site.yaml.broken{n}").decode() for n in ("", ".2", ".3")]
    assert kept == ["site: [", "site: {", "too big" * 100_000]


def test_a_box_that_is_cut_off_while_it_mends_has_one_all_the_time(bare: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare.etc / "site.yaml").write_text("site: [")
    with monkeypatch.context() as cut:
        cut.setattr("edge.enrol.site.replace", _power_cut)
        assert take(bare)[0] == 1
    assert bare.file("site.yaml").decode() == "site: ["
    assert take(bare)[0] == 0
    assert bare.file("site.yaml").decode() == WORKS
    assert [path.name for path in bare.etc.glob("site.yaml.*")] == ["site.yaml.broken"]


@pytest.mark.parametrize("content", ["", DRAWN, WORKS])
def test_one_that_works_is_never_written_over(bare: Card, content: str) -> None:
    (bare.etc / "site.yaml").write_text(DRAWN)
    bring(bare, WORKS)
    bare.write("site.yaml", content)
    assert take(bare)[0] == 0
    assert bare.file("site.yaml").decode() == DRAWN
    assert not (bare.etc / "site.yaml.broken").exists()


def test_a_box_that_is_moved_keeps_its_own_until_it_has_its_new_name(bare: Card, place: Place) -> None:
    """The card is wiped of the new one at once."""
    before = ELSEWHERE.replace("id: a,", "id: old,")
    (bare.etc / "site.yaml").write_text(before)
    assert take(bare)[0] == 0
    assert bare.file("site.yaml").decode() == before
    (bare.folder / "site.yaml").write_bytes(bytes(300))  # half wiped
    assert take(bare)[0] == 0
    (bare.folder / "site.yaml").unlink()
    (bare.folder / "secret.sums").unlink()
    bare.give(place.token())
    assert bare.run().exit_code == 0
    assert bare.file("site.yaml").decode().startswith(WORKS)
    assert bare.file("site.yaml.old").decode() == before
    assert [path.name for path in (bare.etc / "enrol").iterdir() if "site" in path.name] == []


def test_the_address_of_the_page_is_told_in_both_languages(bare: Card) -> None:
    (bare.etc / "site.yaml").write_text(f'{WORKS}page: {{host: 0.0.0.0, password: "12345678"}}\n')
    for language, said in (("en", "Page of the node"), ("zh-CN", "节点网页")):
        told = CliRunner().invoke(app, ["page", "--etc", str(bare.etc), "--lang", language]).output
        for address in addresses():
            assert f"http://{address}:8080/" in told
        assert said in told


# -- site files that the card brings -----------------------------------------------------------------------------------

BROUGHT = f"""\
# ours
site: {{id: {SITE}, latitude: 39.9, longitude: 116.4}}
node: {{id: {NODE}}}
cameras:
  - {{id: gate, source: {{type: usb}}}}
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_site_file_without_uplinks_gets_them_at_its_end(card: Card, end: str) -> None:
    (card.folder / "site.yaml").write_bytes(BROUGHT.replace("\n", end).encode())
    assert card.run().exit_code == 0
    written = card.file("site.yaml")
    assert written.startswith(BROUGHT.replace("\n", end).encode())
    assert written.count(b"\r\n") == (written.count(b"\n") if end == "\r\n" else 0)
    site = load(card.etc / "site.yaml", RULES)
    assert missing_files(site, card.etc / "site.yaml") == []
    assert site.uplinks.evidence is not None


def test_a_site_file_with_uplinks_stays_as_it_is(card: Card) -> None:
    text = f"{BROUGHT}uplinks: {{mqtt: {{host: b, ca: ca.pem, cert: node.pem, key: node.key}}}}\n"
    card.write("site.yaml", text)
    assert card.run().exit_code == 0
    assert card.file("site.yaml").decode() == text


def test_a_site_file_that_cannot_take_uplinks_says_what_is_needed(card: Card, place: Place) -> None:
    card.write("site.yaml", f"{BROUGHT}uplinks: {{}}\n")
    result = card.run()
    assert result.exit_code == 4
    assert 'host: "127.0.0.1"' in result.output
    assert [row.used_at for row in place.rows()] == [None]


def test_with_a_password_of_the_card_the_page_opens_to_the_site(card: Card) -> None:
    text = (card.folder / "node.toml").read_text()
    card.write("node.toml", f'{text}\n[page]\npassword = "eine lange \\"Phrase\\""\n')
    assert card.run().exit_code == 0
    page = load(card.etc / "site.yaml", RULES).page
    assert page is not None
    assert page.password is not None
    assert (page.host, page.password.get_secret_value()) == ("0.0.0.0", 'eine lange "Phrase"')  # noqa: S104


# -- with the key on the card ------------------------------------------------------------------------------------------


@pytest.fixture
def offline(tmp_path: Path, place: Place) -> Card:
    """A card for a site that cannot reach the server."""
    card = Card(tmp_path, place, mode="key")
    place.pki.issue(names.node(NAME), place.clock.now())
    for kept, name in zip(place.pki.files_of(names.node(NAME)), KEY_FILES, strict=False):
        card.write(name, kept.read_text())
    card.write("influx.token", "a-token==\n")
    place.server.stop()
    return card


def test_keys_move_from_the_card_to_the_box(offline: Card) -> None:
    brought = {name: (offline.folder / name).read_bytes() for name in KEY_FILES}
    for name in KEY_FILES:
        os.link(offline.folder / name, offline.folder.parent / name)  # the same blocks
    assert offline.run().exit_code == 0
    assert {name: offline.file(name) for name in KEY_FILES} == brought
    assert [mode(offline.etc / n) for n in KEY_FILES] == [0o644, 0o600, 0o600]
    assert offline.secrets() == []
    assert not any((offline.folder.parent / name).read_bytes().strip(b"\0") for name in KEY_FILES)
    site = load(offline.etc / "site.yaml", RULES)
    assert site.uplinks.influx is not None
    assert missing_files(site, offline.etc / "site.yaml") == []
    result = offline.run()
    assert (result.exit_code, "already" in result.output) == (0, True)


def test_without_a_token_for_influxdb_the_site_file_names_none(offline: Card) -> None:
    (offline.folder / "influx.token").unlink()
    assert offline.run().exit_code == 0
    assert load(offline.etc / "site.yaml", RULES).uplinks.influx is None


def test_a_card_wiped_half_way_is_wiped_to_its_end(offline: Card) -> None:
    offline.run()
    offline.write("node.pem", "\0" * 500)
    offline.write("node.key", offline.file("node.key").decode())
    assert offline.run().exit_code == 0
    assert offline.secrets() == []


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("node.key", None, "no key and certificate"),
        ("node.pem", "hello", "not in order"),
        ("node.key", "hello", "not in order"),
        ("ca.pem", None, "lacks"),
    ],
)
def test_an_offline_card_that_is_not_in_order(offline: Card, name: str, content: str | None, told: str) -> None:
    (offline.folder / name).unlink()
    if content is not None:
        offline.write(name, content)
    result = offline.run()
    assert result.exit_code == 4
    assert told in result.output
    assert not (offline.etc / "node.key").exists()


def test_the_certificate_of_another_node_is_not_installed(offline: Card, place: Place) -> None:
    other = names.node(f"{SITE}/gate-04")
    place.pki.issue(other, place.clock.now())
    for kept, name in zip(place.pki.files_of(other), KEY_FILES, strict=False):
        offline.write(name, kept.read_text())
    result = offline.run()
    assert result.exit_code == 4
    assert "for north-yard/gate-04, but the card is for north-yard/gate-03" in result.output


# -- the program -------------------------------------------------------------------------------------------------------


def test_the_program_itself(card: Card) -> None:
    program = [sys.executable, "-c", "from deploy.cli import main; main()", "node", "enrol"]
    done = subprocess.run(
        [*program, str(card.folder), "--etc", str(card.etc)], capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout.decode()) == (0, f"This box is {NAME} now.\n"), done.stderr.decode()
