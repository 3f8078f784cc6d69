"""The Cards page: who may, what comes out, what is written down, what nobody learns."""

from __future__ import annotations

import hashlib
import json
import logging
import lzma
import shutil
import threading
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pypdf
import pytest
import typer
from sqlalchemy import select

from broker import files
from broker.dispatch.database import reading, transaction
from broker.dispatch.enrol.tokens import find
from broker.dispatch.settings import Settings
from broker.dispatch.tables import Audit, Enrolment, Node
from broker.dispatch.text import LANGUAGES
from broker.dispatch.web.app import create
from broker.dispatch.web.server import WebServer
from deploy.card import page, workshop
from deploy.card.cards import Cards
from deploy.card.joined import base
from deploy.card.workshop import Workshop
from deploy.pages import serving
from tests.browser import FAINT_TEXTS
from tests.card.builders import Office
from tests.card.images import assert_sound, files_of, pi_image, xz
from tests.card.test_joined import sha256
from tests.dispatch.web.builders import Bench, faces, passwords
from tests.dispatch.web.conftest import idle, migrated  # noqa: F401 fixtures
from tests.dispatch.web.test_browser import (  # noqa: F401 a fixture among them
    SIZES,
    SMALL_TARGETS,
    TAP_PX,
    UNREAD,
    Visit,
    everywhere,
    visit,
)  # fmt: skip

ORDER = {
    "node": "gate-03", "name": "北门 3 号", "language": "zh-CN", "time_zone": "Asia/Shanghai", "camera": "rtsp",
    "address": "rtsp://user:camera-password@10.0.0.20/stream2", "ssid": "yard", "wifi_password": "wifi-password",
    "country": "CN", "latitude": "39.9", "longitude": "116.4",
}  # fmt: skip
FORM = "/cards/north"


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Cards:
    office = Office.at(tmp_path_factory.mktemp("office"))
    image = xz(pi_image(office.folder / "os.img").path)
    found = office.cards.model_copy(update={"image_sha256": sha256(image)})
    base(image, found.image_sha256, found.folder)  # once for all tests
    return found


@pytest.fixture
def bench(idle: Bench, cards: Cards) -> Iterator[Bench]:  # noqa: F811
    """With the Cards page."""
    app = create(
        engine=idle.engine, store=idle.store, clock=idle.clock, links=idle.links, base=idle.url, hide_faces=faces(),
        passwords=passwords(),
    )  # fmt: skip
    shutil.rmtree(cards.folder / "made", ignore_errors=True)
    shop = page.add(app, app.state.web, cards)
    idle.workshop = shop  # type: ignore[attr-defined]
    server = WebServer(app, "127.0.0.1", idle.port)
    server.start()
    try:
        yield idle
    finally:
        server.stop()
        shop.join()


def shop(bench: Bench) -> Workshop:
    found: Workshop = bench.workshop  # type: ignore[attr-defined]
    return found


def made(bench: Bench, who: str = "zhao", **fields: str) -> str:
    """The address of a card that was ordered, and is ready."""
    answer = bench.logged_in(who).submit(FORM, ORDER | fields, page=FORM)
    assert answer.status_code == 303, answer.text
    shop(bench).join()
    return str(answer.headers["location"])


def test_a_card_comes_as_image_manifest_and_file(bench: Bench, tmp_path: Path) -> None:
    at = made(bench)
    reader = bench.logged_in("zhao")
    assert reader.get(f"{at}/image").headers["content-disposition"] == 'attachment; filename="north-gate-03.img.xz"'
    packed = reader.get(f"{at}/image").content
    image = tmp_path / "node.img"
    image.write_bytes(lzma.decompress(packed))
    assert_sound(image, 34 * 1024 * 1024, offset=8 * 1024 * 1024)
    card = {k.removeprefix("banksman/"): v for k, v in files_of(image, offset=8 * 1024 * 1024).items()}
    (entry,) = reader.get(f"{at}/manifest").json()["os_list"]
    assert entry["extract_sha256"] == hashlib.sha256(image.read_bytes()).hexdigest()
    assert (entry["extract_size"], entry["image_download_size"]) == (image.stat().st_size, len(packed))
    with zipfile.ZipFile(BytesIO(reader.get(f"{at}/node.zip").content)) as archive:
        for name in archive.namelist():
            assert card[name.removeprefix("banksman/")] == archive.read(name)
    token = json.loads(card["enrol.json"])["token"]
    with reading(bench.engine) as db:
        row = find(db, token)
        assert row is not None
        assert (row.site, row.node, row.by) == ("north", "gate-03", bench.installer)
    assert b"camera-password" in card["site.yaml"]


def test_imager_gets_the_image_without_logging_in_and_can_go_on_where_it_was_cut_off(bench: Bench) -> None:
    at = made(bench)
    url = bench.logged_in("zhao").get(f"{at}/manifest").json()["os_list"][0]["url"].removeprefix(bench.url)
    imager = bench.reader()
    whole = imager.get(url)
    assert whole.headers["content-length"] == str(len(whole.content))
    for asked, start, end in (
        ("bytes=0-0", 0, 1),
        ("bytes=1000-", 1000, None),
        ("bytes=5-1048580", 5, 1_048_581),
        (f"bytes={len(whole.content) - 7}-99999999999", -7, None),
    ):
        part = imager.get(url, headers={"Range": asked})
        assert part.status_code == 206
        assert part.content == whole.content[start:end], asked
    assert imager.get(url, headers={"Range": f"bytes={len(whole.content)}-"}).status_code == 416
    number, key, name = url.removeprefix("/cards/get/").split("/")
    for wrong in (f"{number}/{key[:-1]}/{name}", f"{number}/{key}/other.img.xz", f"{key}/{number}/{name}"):
        assert imager.get(f"/cards/get/{wrong}").status_code == 404


def test_installers_and_administrators_of_the_site_make_cards(bench: Bench) -> None:
    made = 0
    for who, status in (("wang", 404), ("chen", 404), ("smith", 404), ("zhao", 303), ("root", 303)):
        reader = bench.logged_in(who)
        answer = reader.post(FORM, data=ORDER | {"node": f"of-{who}", "csrf": reader.token("/me")})
        made += status == 303
        with reading(bench.engine) as db:
            assert (answer.status_code, len(db.scalars(select(Enrolment)).all())) == (status, made), who


def test_others_see_neither_page_nor_card(bench: Bench) -> None:
    at = made(bench)
    for who in ("wang", "chen", "smith"):
        reader = bench.logged_in(who)
        assert reader.get("/cards").status_code == 403
        for path in (at, f"{at}/image", f"{at}/manifest", f"{at}/node.zip", f"{at}/label.pdf", FORM):
            assert reader.get(path).status_code == 404, path
        assert 'href="/cards"' not in reader.get("/").text
    assert bench.reader().get(at).status_code == 303  # to the log-in
    assert 'href="/cards"' in bench.logged_in("zhao").get("/").text
    assert 'href="/cards"' in bench.logged_in("root").get("/admin").text


def test_a_form_of_nobody_s_session_makes_nothing(bench: Bench) -> None:
    reader = bench.logged_in("zhao")
    for fields in (ORDER, ORDER | {"csrf": "0" * 43}):
        assert reader.post(FORM, data=fields).status_code == 403
    at = made(bench)
    assert reader.post(f"{at}/remove", data={}).status_code == 403
    assert reader.get(at).status_code == 200


def test_what_was_done_is_written_down_and_no_secret_anywhere(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    at = made(bench)
    card = shop(bench).get(at.rsplit("/", 1)[1])
    assert card is not None
    reader = bench.logged_in("zhao")
    with zipfile.ZipFile(BytesIO(reader.get(f"{at}/node.zip").content)) as archive:
        token = json.loads(archive.read("banksman/enrol.json"))["token"]
    reader.submit(f"{at}/remove", page=at)
    with reading(bench.engine) as db:
        lines = db.execute(select(Audit.action, Audit.actor, Audit.site, Audit.subject)).all()
    told = ("north", "north/gate-03")
    assert {("card_made", bench.installer, *told), ("card_removed", bench.installer, *told)} <= {
        tuple(x) for x in lines
    }
    everything = f"{bench.rows()} {caplog.text}"
    for secret in (token, card.password, "wifi-password", "camera-password"):
        assert secret not in everything
    assert reader.get(at).status_code == 404
    assert not (shop(bench).cards.folder / "made" / card.id).exists()


def test_only_the_server_s_own_user_reads_what_is_kept(bench: Bench) -> None:
    made(bench)
    folder = shop(bench).cards.folder / "made"
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_card_is_gone_with_its_token(bench: Bench) -> None:
    at = made(bench)
    bench.clock.advance(shop(bench).cards.hours * 3600 - 1)
    reader = bench.logged_in("zhao")
    assert reader.get(at).status_code == 200
    bench.clock.advance(1)
    assert reader.get(at).status_code == 404
    assert list((shop(bench).cards.folder / "made").iterdir()) == []


WRONG = (
    ({"node": "Gate 3"}, "small letters"),
    ({"node": ""}, "small letters"),
    ({"latitude": "39.9", "longitude": ""}, "both or neither"),
    ({"latitude": "91"}, "-90 to 90"),
    ({"latitude": "north"}, "-90 to 90"),
    ({"time_zone": "Mars/Olympus"}, "time zone"),
    ({"wifi_password": "short"}, "8 to 63"),
    ({"country": "C1"}, "two capital letters"),
    ({"address": "http://10.0.0.20/"}, "rtsp://"),
    ({"address": "rtsp://"}, "site file"),
    ({"camera": "webcam"}, "usb, csi"),
)


def test_a_wrong_form_is_told_and_makes_no_token(bench: Bench) -> None:
    reader = bench.logged_in("zhao")
    for fields, told in WRONG:
        answer = reader.submit(FORM, ORDER | fields, page=FORM)
        assert (answer.status_code, told in answer.text) == (422, True), (fields, answer.text)
        assert "wifi-password" not in answer.text
    with reading(bench.engine) as db:
        assert db.scalars(select(Enrolment)).all() == []


@pytest.mark.parametrize(("language", "told"), [("en", "exists already"), ("zh-CN", "已经存在")])
@pytest.mark.parametrize("online", [True, False])
def test_a_name_in_use_is_refused_and_nothing_is_made(bench: Bench, online: bool, language: str, told: str) -> None:
    with transaction(bench.engine) as db:
        db.add(Node(site="north", id="gate-03", online=online, heard_at=bench.clock.now() - 60))
    reader = bench.logged_in("zhao")
    for sure in ({}, {"replace": ""}, {"replace": "1"}, {"replace": "gate-04"}):
        answer = reader.submit(f"{FORM}?lang={language}", ORDER | sure, page=FORM)
        assert (answer.status_code, f"gate-03 {told}" in answer.text) == (422, True)
    with reading(bench.engine) as db:
        assert db.scalars(select(Enrolment)).all() == []
    assert list(shop(bench)) == []


def test_a_new_box_for_the_same_place_has_to_be_asked_for(bench: Bench) -> None:
    with transaction(bench.engine) as db:
        db.add(Node(site="north", id="gate-03", online=True, heard_at=bench.clock.now() - 60))
    reader = bench.logged_in("zhao")
    assert 'name="replace"' not in reader.get(FORM).text
    replacing = f"{FORM}?node=gate-03"
    assert f'href="{replacing}"' in reader.get("/cards").text
    assert 'name="replace" value="gate-03" required' in reader.get(replacing).text
    assert reader.submit(FORM, ORDER | {"replace": "gate-03"}, page=replacing).status_code == 303


def test_a_second_card_of_one_name_has_to_be_asked_for_too(bench: Bench) -> None:
    made(bench)
    reader = bench.logged_in("zhao")
    answer = reader.submit(FORM, ORDER, page=FORM)
    assert (answer.status_code, "no box has used yet" in answer.text) == (422, True)
    assert f'href="{FORM}?node=gate-03"' in reader.get("/cards").text
    assert "no box has used it yet" in reader.get("/cards").text
    assert reader.submit(FORM, ORDER | {"replace": "gate-03"}, page=f"{FORM}?node=gate-03").status_code == 303
    bench.clock.advance(shop(bench).cards.hours * 3600)
    again = bench.logged_in("zhao")  # nobody can use those two any more
    assert again.submit(FORM, ORDER, page=FORM).status_code == 303


def test_a_server_without_release_says_so_before_there_is_a_token(bench: Bench) -> None:
    shop(bench).cards = shop(bench).cards.model_copy(update={"release": Path("/nowhere/app.tar")})
    answer = bench.logged_in("zhao").submit(FORM, ORDER, page=FORM)
    assert (answer.status_code, "/nowhere/app.tar" in answer.text) == (422, True)
    with reading(bench.engine) as db:
        assert db.scalars(select(Enrolment)).all() == []


def test_an_image_that_is_not_the_official_one_fails_in_words(bench: Bench) -> None:
    shop(bench).cards = shop(bench).cards.model_copy(update={"image_sha256": "0" * 64})
    at = made(bench)
    assert "SHA-256" in bench.logged_in("zhao").get(at).text
    assert "SHA-256" in bench.logged_in("zhao").get(f"{at}?lang=zh-CN").text
    assert bench.logged_in("zhao").get(f"{at}/image").status_code == 404


def test_a_card_stays_whole_when_there_is_a_newer_image(bench: Bench, tmp_path: Path) -> None:
    at = made(bench)
    before = bench.logged_in("zhao").get(f"{at}/image").content
    other = tmp_path / "newer.img"
    other.write_bytes(pi_image(tmp_path / "os.img").path.read_bytes() + bytes(4096))
    newer = xz(other)
    shop(bench).cards = shop(bench).cards.model_copy(update={"image": newer, "image_sha256": sha256(newer)})
    assert bench.logged_in("zhao").get(f"{at}/image").content == before


def test_whoever_looks_while_a_card_is_ordered_does_not_take_it_away(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = files.write
    looks: list[threading.Thread] = []

    def slow(path: Path, data: bytes, mode: int = files.PUBLIC) -> None:
        looks.append(threading.Thread(target=lambda: list(shop(bench)), daemon=True))
        looks[-1].start()
        looks[-1].join(0.2)
        write(path, data, mode)

    monkeypatch.setattr(files, "write", slow)
    at = made(bench)
    assert looks
    assert bench.logged_in("zhao").get(f"{at}/node.zip").status_code == 200


def test_a_restart_in_the_middle_is_told(bench: Bench) -> None:
    at = made(bench)
    file = shop(bench).cards.folder / "made" / at.rsplit("/", 1)[1] / "card.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | {"state": "making", "made": None}))
    Workshop(shop(bench).cards, bench.clock.now)
    assert "restarted" in bench.logged_in("zhao").get(at).text


def test_there_are_so_many_cards_at_a_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workshop, "MOST", 1)
    made(bench)
    answer = bench.logged_in("zhao").submit(FORM, ORDER, page=FORM)
    assert (answer.status_code, "Remove those" in answer.text) == (422, True)


def test_a_label_is_printed(bench: Bench) -> None:
    at = made(bench)
    answer = bench.logged_in("zhao").get(f"{at}/label.pdf?size=62x29&lang=zh-CN")
    assert "北门 3 号" in pypdf.PdfReader(BytesIO(answer.content)).pages[0].extract_text()
    assert bench.logged_in("zhao").get(f"{at}/label.pdf?size=a0").status_code == 422
    assert bench.logged_in("zhao").get(f"{at}/label.exe").status_code == 404


@everywhere
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_fits_can_be_read_and_be_tapped(
    visit: Visit,  # noqa: F811
    bench: Bench,
    language: str,
    size: str,
    tmp_path: Path,
) -> None:
    with transaction(bench.engine) as db:
        for name, online in (("gate-03", True), ("crane-01", False)):
            db.add(Node(site="north", id=name, online=online, heard_at=bench.clock.now() - 60))
    at = made(bench, node="gate-04")
    visit.come_in(bench.installer)
    for name, path in (("cards", "/cards"), ("order", f"{FORM}?node=gate-03"), ("made", at)):
        shown = visit.go(path, language)
        assert shown.evaluate("document.documentElement.lang") == language, path
        shown.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        shown.screenshot(path=tmp_path / f"{name}-{size}-{language}.png", full_page=True)
        assert shown.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["viewport"]["width"], path
        for scheme in ("light", "dark"):
            shown.emulate_media(color_scheme=scheme)
            assert shown.evaluate(FAINT_TEXTS, UNREAD) == [], f"{path} {scheme}"
        if size == "phone":
            assert shown.evaluate(SMALL_TARGETS, TAP_PX) == [], path


@pytest.mark.parametrize("size", ["phone"])
def test_an_installer_orders_a_card_with_a_phone(visit: Visit, bench: Bench, size: str) -> None:  # noqa: F811
    visit.come_in(bench.installer)
    shown = visit.go("/cards")
    shown.get_by_role("link", name="Card for a new node").first.click()
    shown.get_by_label("Short name of the node").fill("gate-04")
    shown.get_by_label("Name for people").fill("North gate")
    shown.get_by_role("button", name="Make the card").click()
    shop(bench).join()
    shown.reload()
    with shown.expect_download() as download:
        shown.get_by_role("link", name="Imager file").click()
    manifest = json.loads(Path(download.value.path()).read_bytes())
    assert manifest["os_list"][0]["name"] == "North gate – north/gate-04"


def test_the_server_has_the_page_where_its_settings_name_cards(
    idle: Bench,  # noqa: F811
    cards: Cards,
    tmp_path: Path,
) -> None:
    server = "\n".join(f"{k} = {json.dumps(v)}" for k, v in cards.server.model_dump(exclude_none=True).items())
    files = {k: str(getattr(cards, k)) for k in ("image", "image_sha256", "release", "release_pub", "ca", "folder")}
    top = "\n".join(f"{k} = {json.dumps(v)}" for k, v in files.items())
    (tmp_path / "cards.toml").write_text(f"{top}\n[server]\n{server}\n")
    web = {"port": idle.port, "url": idle.url, "secret": "0123456789abcdef" * 4}
    settings = Settings.model_validate(
        {"mqtt": {"host": "127.0.0.1", "tls": False}, "web": web, "cards": "cards.toml"}, context={"folder": tmp_path}
    )
    with serving(settings, idle.engine, idle.clock):
        assert "Card for a new node" in idle.logged_in("zhao").get("/cards").text
    (tmp_path / "cards.toml").write_text(f"{top}\n[server]\n{server}\nmqtt_prot = 1\n")
    with pytest.raises(typer.Exit), serving(settings, idle.engine, idle.clock):
        pass
