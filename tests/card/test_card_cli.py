"""`banksman card …` from the settings of a server to a card that holds its node."""

from __future__ import annotations

import json
import lzma
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import cv2
import numpy as np
import pypdf
import pytest
from typer.testing import CliRunner, Result

from deploy.card.cli import app
from deploy.card.drives import Drive
from deploy.card.payload import unpack
from tests.card.builders import SERVER, Office
from tests.card.images import TRIXIE, PiImage, files_of, pi_image, xz
from tests.card.test_joined import sha256
from tests.card.test_payload import everything, stock


def card(*arguments: object, answers: str = "", lang: str = "en") -> Result:
    return CliRunner().invoke(
        app, [*map(str, arguments)], input=answers, env={"LANG": "zh_CN.UTF-8" if lang != "en" else "C"}
    )


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return Office.at(tmp_path_factory.mktemp("office"))


@pytest.fixture(scope="module")
def official(office: Office) -> PiImage:
    image = pi_image(office.folder / "os.img")
    xz(image.path)
    return image


@pytest.fixture(scope="module")
def settings(office: Office, official: PiImage) -> Path:
    (office.folder / "release.tar").write_bytes(office.app.read_bytes())
    path = office.folder / "cards.toml"
    lines = "\n".join(f"{k} = {json.dumps(v)}" for k, v in SERVER.model_dump(exclude_none=True).items())
    office.maker.public_key.rename(office.folder / "release-key.pub")
    path.write_text(
        f'image = "os.img.xz"\nimage_sha256 = "{sha256(official.path.with_name("os.img.xz"))}"\n'
        f'release = "release.tar"\nrelease_pub = "release-key.pub"\nca = "pki/ca.pem"\n[server]\n{lines}\n'
    )
    return path


@pytest.fixture(scope="module")
def node_zip(settings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("laptop")
    (folder / "token").write_text("the-secret-token\n")
    done = card(
        "pack", settings, "north/gate-03", "--out", folder / "node.zip", "--token-file", folder / "token",
        "--called", "北门 3 号", "--wifi", "yard", answers="wifi password\n",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    (folder / "told").write_text(done.stderr)
    return folder / "node.zip"


def test_a_node_file_is_readable_by_its_maker_only_and_tells_the_page_s_password_once(node_zip: Path) -> None:
    assert node_zip.stat().st_mode & 0o777 == 0o600
    payload = unpack(node_zip)
    assert payload.node.node.id == "north/gate-03"
    assert payload.node.wifi is not None
    told = re.search(r"Password of the node's page: (\S+)", node_zip.with_name("told").read_text())
    assert told is not None
    assert f'password: "{told[1]}"'.encode() in bytes(payload.files["site.yaml"])  # type: ignore[arg-type]


def test_flash_writes_a_whole_card_after_the_node_s_name_was_typed(
    node_zip: Path, official: PiImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.card.flash.WORK", tmp_path / "work")
    target = tmp_path / "card"
    target.write_bytes(b"\xff" * (official.path.stat().st_size + 1_000_000))
    before = target.read_bytes()
    image = official.path.with_name("os.img.xz")
    common = ("flash", "--node", node_zip, "--image", image, "--sha256", sha256(image), "--drive", target)
    refused = card(*common, answers="yes\n")
    assert refused.exit_code == 1
    assert target.read_bytes() == before
    done = card(*common, answers="gate-03\n")
    assert done.exit_code == 0, done.output
    assert files_of(target, offset=official.offset)["banksman/app.tar"]
    assert "north/gate-03" in done.output


def test_a_drive_is_chosen_by_a_number_of_the_list(
    node_zip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = [Drive(str(tmp_path / name), name, 16 * 10**9, removable=True, system=False) for name in ("one", "two")]
    monkeypatch.setattr("deploy.card.drives.cards", lambda: there)
    done = card("flash", "--node", node_zip, answers="0\n3\nx\n2\nno\n")
    assert (done.exit_code, "Nothing was written" in done.output) == (1, True)
    assert done.output.count("Number of the card") == 4
    assert f"Everything on {tmp_path / 'two'} (two, 16 GB) will be erased" in done.output


def test_a_wrong_checksum_writes_nothing(
    node_zip: Path, official: PiImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.card.flash.WORK", tmp_path / "work")
    target = tmp_path / "card"
    target.write_bytes(b"\xff" * 60_000_000)
    image = official.path.with_name("os.img.xz")
    done = card(
        "flash", "--node", node_zip, "--image", image, "--sha256", "0" * 64, "--drive", target, answers="gate-03\n"
    )
    assert done.exit_code == 2
    assert "SHA-256" in done.output
    assert target.read_bytes().count(0xFF) == 60_000_000


def test_apply_fills_a_mounted_card(node_zip: Path, tmp_path: Path) -> None:
    boot = stock(tmp_path / "bootfs", TRIXIE)
    done = card("apply", boot, "--node", node_zip)
    assert done.exit_code == 0, done.output
    assert {"banksman/install.sh", "banksman/enrol.json"} < set(everything(boot))


def test_what_is_no_card_is_said_in_the_terminal_s_language(node_zip: Path, tmp_path: Path) -> None:
    (tmp_path / "stick").mkdir()
    assert "bootfs" in card("apply", tmp_path / "stick", "--node", node_zip).output
    assert "启动分区" in card("apply", tmp_path / "stick", "--node", node_zip, lang="zh").output
    assert card("apply", tmp_path / "stick", "--node", node_zip).exit_code == 2


def test_images_and_their_manifest(
    node_zip: Path, official: PiImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.card.flash.WORK", tmp_path / "work")
    image = official.path.with_name("os.img.xz")
    done = card("image", node_zip, "--image", image, "--sha256", sha256(image), "--out", tmp_path / "made")
    assert done.exit_code == 0, done.output
    manifest = json.loads((tmp_path / "made/banksman.rpi-imager-manifest").read_bytes())
    (entry,) = manifest["os_list"]
    local = Path(unquote(urlsplit(entry["url"]).path))
    assert urlsplit(entry["url"]).scheme == "file"
    content = lzma.decompress(local.read_bytes())
    (tmp_path / "node.img").write_bytes(content)
    assert (entry["extract_sha256"], entry["extract_size"]) == (sha256(tmp_path / "node.img"), len(content))
    assert entry["image_download_size"] == local.stat().st_size
    assert entry["name"] == "北门 3 号 – north/gate-03"
    assert card("manifest", tmp_path / "made", "--url", "https://files.example.cn/cards").exit_code == 0
    (entry,) = json.loads((tmp_path / "made/banksman.rpi-imager-manifest").read_bytes())["os_list"]
    assert entry["url"] == "https://files.example.cn/cards/north-gate-03.img.xz"


@pytest.mark.parametrize("size", ["a6", "100x50", "62x29"])
@pytest.mark.parametrize(
    ("opens", "url"),
    [("node", "http://banksman-gate-03.local:8080/"), ("server", "https://banksman.example.cn")],
)
def test_a_printed_label_opens_the_page(node_zip: Path, tmp_path: Path, size: str, opens: str, url: str) -> None:
    out = tmp_path / "label.png"
    done = card("label", "--node", node_zip, "--out", out, "--size", size, "--opens", opens, "--password", "abcd-efgh")
    assert done.exit_code == 0, done.output
    picture = cv2.imdecode(np.frombuffer(out.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert cv2.QRCodeDetector().detectAndDecode(picture)[0] == url


@pytest.mark.parametrize(("lang", "words"), [("zh-CN", "本节点的网页"), ("en", "Page of this node")])
def test_a_label_says_whose_it_is(node_zip: Path, tmp_path: Path, lang: str, words: str) -> None:
    for kind in ("svg", "pdf"):
        done = card("label", "--node", node_zip, "--out", tmp_path / f"label.{kind}", "--lang", lang)
        assert done.exit_code == 0, done.output
    (page,) = pypdf.PdfReader(tmp_path / "label.pdf").pages
    assert (round(float(page.mediabox.width) / 72 * 25.4), round(float(page.mediabox.height) / 72 * 25.4)) == (148, 105)
    for text in (page.extract_text(), (tmp_path / "label.svg").read_text()):
        for part in ("北门 3 号", "north/gate-03", words):
            assert part in text


def test_cards_are_made_on_a_laptop_without_a_server_s_packages() -> None:
    absent = "fcntl", "sqlalchemy", "cv2", "numpy", "weasyprint", "cryptography", "psutil"
    code = f"import sys; sys.modules.update(dict.fromkeys({absent})); import deploy.card.cli"
    subprocess.run([sys.executable, "-c", code], check=True)
