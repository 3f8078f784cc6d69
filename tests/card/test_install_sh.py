"""`install.sh`, really run: as far as it comes, cut off anywhere, on damaged and full cards."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sysconfig
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import Engine

from broker.dispatch.database import migrate, open_engine
from deploy.card.cards import Wanted, payload
from deploy.card.node import Node
from deploy.card.payload import GO_AWAY, Payload, Token, inject
from deploy.card.status import addresses
from deploy.card.tree import Folder
from tests.card.builders import SECRETS, SERVER, WIFI, Office
from tests.card.images import BOOKWORM, TRIXIE, tool
from tests.card.root import Root
from tests.card.test_payload import packed, stock
from tests.conftest import REPO
from tests.enrol.builders import NODE, SITE, Place

SCRIPT = REPO / "deploy/card/install/install.sh"
PROOF = bool(os.environ.get("BANKSMAN_PROOF"))
INSTALLED, FAILED, WAITING = "Installed", "FAILED", "tried again by itself"
SITE_FILE = "etc/banksman/site.yaml"
ELSEWHERE = """\
site: {id: south, latitude: 39.9, longitude: 116.4}
node: {id: crane-02}
cameras: [{id: gate, source: {type: usb}}]
"""
ZEROS = bytes(700)
"""What an unsafe eject leaves of a file; tests/enrol tries other ways as well."""


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return Office.at(tmp_path_factory.mktemp("office"))


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path / "root")


def card(root: Root, payload: Payload) -> Folder:
    tree = Folder(stock(root.boot, TRIXIE))
    inject(tree, payload)
    return tree


def status(root: Root) -> str:
    raw = (root.boot / "banksman/STATUS.txt").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    assert raw.count(b"\n") == raw.count(b"\r\n") > 5
    return raw.decode("utf-8-sig")


def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run([tool("shellcheck"), SCRIPT], capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory, office: Office) -> tuple[Root, Payload]:
    """A node that was installed without any network, and what its card was."""
    root, whole = Root(tmp_path_factory.mktemp("offline") / "root"), office.payload(identity=office.key())
    card(root, whole)
    ran = root.install()
    assert ran.code == 0, ran.said
    return root, whole


def test_a_card_becomes_a_node(offline: tuple[Root, Payload]) -> None:
    root, whole = offline
    etc = root.path / "etc"
    assert "安装完成" in status(root)
    assert INSTALLED in status(root)
    for name, mode in {"node.key": 0o640, "node.pem": 0o644, "influx.token": 0o640, "site.yaml": 0o660}.items():
        assert (etc / "banksman" / name).read_bytes() == whole.files[name], name
        assert stat.S_IMODE((etc / "banksman" / name).stat().st_mode) == mode, name
    assert root.opt("banksman/current").readlink() == Path("releases/0.1.0")
    assert (etc / "hostname").read_text() == "banksman-gate-03\n"
    assert "127.0.1.1\tbanksman-gate-03\n" in (etc / "hosts").read_text()
    assert str((etc / "localtime").readlink()).endswith("Asia/Shanghai")
    assert (etc / "systemd/timesyncd.conf.d/60-site.conf").read_text() == "[Time]\nNTP=10.0.0.5\n"
    wants = {p.name for p in (etc / "systemd/system").glob("*.wants/*")}
    assert wants == {"banksman-node.service", "banksman-update.path", "banksman-status.timer"}
    wifi = etc / "NetworkManager/system-connections/banksman.nmconnection"
    assert stat.S_IMODE(wifi.stat().st_mode) == 0o600
    assert wifi.read_bytes() == whole.files["wifi.nmconnection"]
    assert (root.path / "var/lib/banksman/installed").exists()


def test_no_secret_stays_on_the_card(offline: tuple[Root, Payload]) -> None:
    root, _ = offline
    assert GO_AWAY.isdisjoint(path.name for path in (root.boot / "banksman").iterdir())
    for path in root.boot.rglob("*"):
        assert not path.is_file() or not any(secret in path.read_bytes() for secret in SECRETS), path


def test_it_is_done_once(offline: tuple[Root, Payload]) -> None:
    root, _ = offline
    before = root.state()
    assert root.install().code == 0
    assert root.run("/bin/bash", "/boot/firmware/banksman/install.sh").code == 0
    assert root.state() == before


def test_a_card_that_is_filled_anew_makes_another_node_of_the_box(
    root: Root, office: Office, offline: tuple[Root, Payload]
) -> None:
    subprocess.run(["cp", "-a", f"{offline[0].path}/.", root.path], check=True)
    inject(Folder(root.boot), office.payload(node="crane-01", identity=office.key(node="crane-01")))
    ran = root.install()
    assert ran.code == 0, ran.said
    assert "north/crane-01" in status(root)
    assert (root.path / "etc/hostname").read_text() == "banksman-crane-01\n"
    assert 'id: "crane-01"' in (root.path / "etc/banksman/site.yaml").read_text()


@pytest.fixture
def installed(root: Root, offline: tuple[Root, Payload]) -> Root:
    """The node that was installed, to be changed."""
    subprocess.run(["cp", "-a", f"{offline[0].path}/.", root.path], check=True)
    return root


def test_a_card_that_brings_an_older_program_leaves_the_newer_one(installed: Root, office: Office) -> None:
    state = installed.opt("banksman/state.json")
    values = json.loads(state.read_text())
    values["taken"]["banksman"] = [9, "0.9.0"]
    state.write_text(json.dumps(values))
    inject(Folder(installed.boot), office.payload(node="crane-01", identity=office.key(node="crane-01")))
    ran = installed.install()
    assert ran.code == 0, ran.said
    assert "older: sequence 1; 9 (0.9.0) was taken" in ran.said
    assert json.loads(state.read_text())["taken"]["banksman"] == [9, "0.9.0"]


OLDER = """
import sys
if sys.argv[1:3] in (["node", "site"], ["node", "page"]):
    print("No such command", sys.argv[2], file=sys.stderr)
    sys.exit(2)
from deploy.cli import main
main()
"""
"""A program from before these two commands, as typer answers for it."""


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory, office: Office) -> tuple[Root, Payload]:
    """A box with that program, waiting for its server, and its card: the server has a newer installer than release."""
    root = Root(tmp_path_factory.mktemp("older") / "root")
    app = office.maker.app("0.0.9", 1, OLDER, pth=f"{REPO}\n{sysconfig.get_path('purelib')}\n")
    whole = office.payload(app=app)
    card(root, whole)
    assert root.install().code == 75, status(root)
    return root, whole


def test_a_card_with_a_program_that_takes_no_site_file_over_makes_a_node_all_the_same(
    older: tuple[Root, Payload],
) -> None:
    root, whole = older
    assert WAITING in status(root)
    assert (root.path / SITE_FILE).read_bytes() == whole.files["site.yaml"]
    assert stat.S_IMODE((root.path / SITE_FILE).stat().st_mode) == 0o660


def test_such_a_program_leaves_the_site_file_that_is_there(root: Root, older: tuple[Root, Payload]) -> None:
    subprocess.run(["cp", "-a", f"{older[0].path}/.", root.path], check=True)
    with (root.path / SITE_FILE).open("a") as drawn:
        drawn.write("# zones that were drawn\n")
    before = (root.path / SITE_FILE).read_bytes()
    inject(Folder(root.boot), older[1])
    assert root.install().code == 75
    assert (root.path / SITE_FILE).read_bytes() == before


def test_such_a_program_is_given_no_damaged_site_file(root: Root, older: tuple[Root, Payload]) -> None:
    subprocess.run(["cp", "-a", f"{older[0].path}/.", root.path], check=True)
    (root.path / SITE_FILE).unlink()
    _spoil("site.yaml", ZEROS)(Folder(root.boot))
    assert root.install().code == 1
    for part in ("Step 5 of 8", FAILED, "site.yaml, is damaged"):
        assert part in status(root)
    assert not (root.path / SITE_FILE).exists()


def test_what_fails_of_a_second_card_is_not_written_over_by_the_node_that_still_works(
    installed: Root, office: Office
) -> None:
    """banksman-status.service writes where the first path is."""
    tree = Folder(installed.boot)
    inject(tree, office.payload(node="crane-01", identity=office.key(node="crane-01")))
    _damage(tree)
    assert installed.install().code == 1
    assert FAILED in status(installed)
    unit = (REPO / "deploy/systemd/etc/systemd/system/banksman-status.service").read_text()
    (marker,) = re.findall(r"(?m)^ConditionPathExists=/(.*)", unit)
    assert not (installed.path / marker).exists()
    assert installed.opt("banksman/current").exists()


def test_what_was_found_of_another_card_says_nothing_of_this_one(root: Root, offline: tuple[Root, Payload]) -> None:
    marks = root.path / "var/lib/banksman-install"
    marks.mkdir()
    for name in ("files", "release"):
        (marks / name).touch()
    (marks / "card").write_text("of another card\n")
    _damage(card(root, offline[1]))
    assert root.install().code == 1
    assert "ca.pem: FAILED" in status(root)


def test_a_node_that_puts_a_link_in_the_place_of_a_file_reaches_nothing_else(installed: Root, office: Office) -> None:
    """Some folders are the node's, and this script is root."""
    inject(Folder(installed.boot), office.payload(node="crane-01", identity=office.key(node="crane-01")))
    victim = installed.path / "etc/victim"
    victim.write_text("root's own\n")
    victim.chmod(0o600)
    (installed.path / "tmp/link").write_text(
        "set -T; trap '[[ $BASH_COMMAND != cat* || ${1-} != */installed ]] || ln -sf /etc/victim \"$1.new\"' DEBUG\n"
    )
    ran = installed.install(BASH_ENV="/tmp/link")  # noqa: S108 of the root
    assert ran.code == 1, ran.said
    assert (victim.read_text(), stat.S_IMODE(victim.stat().st_mode)) == ("root's own\n", 0o600)


def commands(office: Office, folder: Path) -> int:
    """How many commands a whole run has, about."""
    root = Root(folder)
    card(root, office.payload(identity=office.key()))
    (root.path / "tmp/cut").write_text("cut=0; set -T; trap 'echo $((++cut)) >| /tmp/count' DEBUG\n")
    assert root.install(BASH_ENV="/tmp/cut").code == 0  # noqa: S108 of the root
    return int((root.path / "tmp/count").read_text())


def test_it_may_be_cut_off_again_and_again(tmp_path: Path, office: Office, offline: tuple[Root, Payload]) -> None:
    """Each time a little later; what comes out is what comes out at once."""
    root = Root(tmp_path / "root")
    card(root, offline[1])
    at, cuts = 5, 0
    while (ran := root.install_until(at)).code == 137:
        assert not any(s in root.path.joinpath("boot/firmware/cmdline.txt").read_bytes() for s in SECRETS)
        at, cuts = at + (7 if PROOF else 55), cuts + 1
    assert ran.code == 0, ran.said
    assert cuts >= 6
    assert root.state() == offline[0].state()


@pytest.mark.parametrize("name", ["wifi.nmconnection", "site.yaml"])
def test_it_may_be_cut_off_while_a_secret_is_wiped(root: Root, offline: tuple[Root, Payload], name: str) -> None:
    """What has been overwritten is not read as the secret that it was."""
    card(root, offline[1])
    root.has_program_of(offline[0])
    assert root.install_until_wiped(name).code == 137
    ran = root.install()
    assert ran.code == 0, ran.said
    assert root.state() == offline[0].state()


@pytest.mark.proof
@pytest.mark.skipif(not PROOF, reason="BANKSMAN_PROOF is not set")
@pytest.mark.timeout(3600)
def test_it_may_be_cut_off_anywhere(tmp_path: Path, office: Office, offline: tuple[Root, Payload]) -> None:
    """A fresh card, cut off before any of its commands, and run once more."""
    for at in range(1, commands(office, tmp_path / "count"), 11):
        root = Root(tmp_path / f"root-{at}")
        card(root, offline[1])
        root.install_until(at)
        ran = root.install()
        assert ran.code == 0, (at, ran.said)
        assert root.state() == offline[0].state(), at


def _damage(tree: Folder) -> None:
    tree.write("banksman/ca.pem", b"x")


def _lose(tree: Folder) -> None:
    tree.remove("banksman/guard.py")


def _spoil(name: str, content: bytes = bytes(700)) -> Callable[[Folder], None]:
    """As a card that was pulled out while it was written has it."""
    return lambda tree: tree.write(f"banksman/{name}", content)


def _foreign(tree: Folder) -> None:
    """A release of somebody else, with checksums that fit."""
    other = Office.at(tree.root.parent / "other")
    tree.write("banksman/app.tar", other.app.read_bytes())
    sums = tree.read("banksman/SHA256SUMS").decode()
    digest = subprocess.run(["sha256sum", other.app], capture_output=True, text=True, check=True).stdout.split()[0]
    tree.write("banksman/SHA256SUMS", re.sub(r"\w{64}(?=  app.tar)", digest, sums).encode())


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (_damage, ("Step 1 of 8", "已损坏", "ca.pem: FAILED")),
        (_lose, ("Step 1 of 8", "不完整", "guard.py")),
        (_foreign, ("Step 2 of 8", "没有有效签名", "not signed")),
        (_spoil("node.toml"), ("Step 1 of 8", "重新制作这张卡", "Make the card again", "node.toml: FAILED")),
        (_spoil("SHA256SUMS", b""), ("Step 1 of 8", "重新制作这张卡", "file SHA256SUMS on the card is damaged")),
        (_spoil("secret.sums"), ("Step 1 of 8", "已损坏", "Make the card again", "secret.sums")),
        (_spoil("wifi.nmconnection"), ("Step 1 of 8", "Wi-Fi 文件不完整或已损坏", "Wi-Fi file on the card is damaged")),
        (_spoil("site.yaml"), ("Step 1 of 8", "工地文件 site.yaml 不完整或已损坏", "site.yaml, is damaged")),
        (_spoil("enrol.json", b"{"), ("Step 1 of 8", "Make the card again", "enrol.json: FAILED")),
    ],
)
def test_a_card_that_is_not_right_runs_nothing_and_says_so(
    root: Root, office: Office, harm: Callable[[Folder], None], told: tuple[str, ...]
) -> None:
    (root.boot.parent / "other").mkdir()
    harm(card(root, office.payload()))
    ran = root.install()
    assert ran.code == 1
    for part in (FAILED, *told):
        assert part in status(root)
    assert not root.opt("banksman/current").exists()
    assert not (root.path / "etc/banksman").exists()


@pytest.fixture
def half(tmp_path: Path, offline: tuple[Root, Payload]) -> Root:
    """A box whose card was found whole, and which then lost power; the program is there already."""
    root = Root(tmp_path / "root", disk_mb=100)
    card(root, offline[1])
    assert root.install().code == 1
    assert "Step 4 of 8" in status(root)
    root.disk_mb = 0
    root.has_program_of(offline[0])
    return root


def test_a_site_file_that_is_damaged_later_is_not_installed_and_the_next_card_helps(
    half: Root, offline: tuple[Root, Payload]
) -> None:
    _spoil("site.yaml", ZEROS)(Folder(half.boot))
    assert half.install().code == 1
    for part in ("Step 5 of 8", FAILED, "site.yaml 不完整或已损坏", "site.yaml, is damaged", "Make the card again"):
        assert part in status(half)
    assert not (half.path / SITE_FILE).exists()
    inject(Folder(half.boot), offline[1])
    ran = half.install()
    assert ran.code == 0, ran.said
    assert (half.path / SITE_FILE).read_bytes() == offline[1].files["site.yaml"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (ELSEWHERE, "south/crane-02"),
        ("site: [", "/etc/banksman/site.yaml:1"),
    ],
)
def test_a_site_file_that_is_whole_but_no_good_is_told_as_what_it_is(
    root: Root, offline: tuple[Root, Payload], content: str, told: str
) -> None:
    """Written by hand, with its checksum."""
    tree = card(root, offline[1])
    root.has_program_of(offline[0])
    sums = tree.read("banksman/secret.sums").decode()
    digest = sha256(content.encode()).hexdigest()
    tree.write("banksman/secret.sums", re.sub(r"\w{64}(?=  site.yaml)", digest, sums).encode())
    tree.write("banksman/site.yaml", content.encode())
    assert root.install().code == 1
    for part in ("Step 5 of 8", FAILED, "site.yaml 不能用", "site.yaml, cannot be used", told):
        assert part in status(root)
    assert "damaged" not in status(root)
    assert tree.read("banksman/site.yaml") == content.encode()


def test_a_node_file_that_is_damaged_later_is_told_as_that(half: Root) -> None:
    _spoil("node.toml")(Folder(half.boot))
    assert half.install().code == 1
    for part in ("Step 1 of 8", "已损坏", "node.toml: FAILED", "Make the card again"):
        assert part in status(half)


def test_a_good_card_replaces_a_site_file_that_cannot_be_read(installed: Root, office: Office) -> None:
    """The node has it from an earlier card, or from a worn one."""
    (installed.path / SITE_FILE).write_bytes(ZEROS)
    whole = office.payload(identity=office.key())
    inject(Folder(installed.boot), whole)
    ran = installed.install()
    assert ran.code == 0, ran.said
    assert (installed.path / SITE_FILE).read_bytes() == whole.files["site.yaml"]
    assert (installed.path / f"{SITE_FILE}.broken").read_bytes() == ZEROS


# -- the radio ---------------------------------------------------------------------------------------------------------

STATE = "var/lib/NetworkManager/NetworkManager.state"
NO_RADIO = "[main]\nWirelessEnabled=false\n"
"""As pi-gen leaves it in Raspberry Pi OS Lite, which is built for no country."""
RFKILL = "var/lib/systemd/rfkill/platform-fe300000.mmcnr:wlan"


@pytest.fixture
def pi(tmp_path: Path) -> Root:
    """A system whose radio is off, too small for more than step 3."""
    root = Root(tmp_path / "root", disk_mb=100)
    for name, text in {STATE: NO_RADIO, RFKILL: "1\n"}.items():
        (root.path / name).parent.mkdir(parents=True)
        (root.path / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (NO_RADIO, ["[main]", "WirelessEnabled=true"]),
        (
            "[main]\nNetworkingEnabled=true\nWirelessEnabled=false\nWWANEnabled=false\n",
            ["[main]", "WirelessEnabled=true", "NetworkingEnabled=true", "WWANEnabled=false"],
        ),
    ],
)
def test_a_card_with_wifi_switches_the_radio_on_for_the_next_start(
    pi: Root, office: Office, state: str, after: list[str]
) -> None:
    (pi.path / STATE).write_text(state)
    card(pi, office.payload())
    for _ in range(2):
        pi.install()
        assert (pi.path / STATE).read_text().splitlines() == after
        assert (pi.path / RFKILL).read_text() == "0\n"


def test_a_card_without_wifi_leaves_the_radio_off(pi: Root, office: Office) -> None:
    card(pi, office.payload(wifi=None))
    pi.install()
    assert ((pi.path / STATE).read_text(), (pi.path / RFKILL).read_text()) == (NO_RADIO, "1\n")


@pytest.mark.parametrize(("answers", "state"), [("true", NO_RADIO), ("false", "[main]\nWirelessEnabled=true\n")])
def test_a_network_manager_that_runs_is_asked_to(pi: Root, office: Office, answers: str, state: str) -> None:
    """It keeps its file itself, unless it does not answer."""
    card(pi, office.payload())
    (pi.path / "run/systemd/system").mkdir(parents=True)
    asks = "".join(
        f'{name}() {{ echo "{name} $*" >>/tmp/asked; }}\n' for name in ("hostname", "systemctl", "iw", "rfkill")
    )
    (pi.path / "tmp/running").write_text(
        f'{asks}systemd-detect-virt() {{ false; }}\nnmcli() {{ echo "nmcli $*" >>/tmp/asked; {answers}; }}\n'
    )
    pi.install(BASH_ENV="/tmp/running")  # noqa: S108 of the root
    asked = (pi.path / "tmp/asked").read_text().splitlines()
    wanted = ["iw reg set CN", "rfkill unblock wifi", "nmcli connection reload", "nmcli radio wifi on"]
    assert [line for line in asked if line in wanted] == wanted
    assert (pi.path / STATE).read_text() == state


def test_a_node_file_unpacked_by_hand_has_the_kernel_told_too(pi: Root, tmp_path: Path, office: Office) -> None:
    """The country outlives a start, and memory has limits."""
    with zipfile.ZipFile(packed(office.payload(), tmp_path / "node.zip")) as archive:
        archive.extractall(stock(pi.boot, TRIXIE))
    before = (pi.boot / "cmdline.txt").read_text().split()
    for _ in range(2):
        pi.install()
        line = (pi.boot / "cmdline.txt").read_text()
        assert line.split() == [*before, "cgroup_enable=memory", "cfg80211.ieee80211_regdom=CN"]
        assert line.count("\n") == 1


def test_a_card_that_tells_the_kernel_is_left_as_it_is(pi: Root, office: Office) -> None:
    before = card(pi, office.payload()).read("cmdline.txt")
    pi.install()
    assert (pi.boot / "cmdline.txt").read_bytes() == before


def test_a_command_line_that_is_damaged_is_not_made_up(pi: Root, office: Office) -> None:
    card(pi, office.payload()).write("cmdline.txt", bytes(200))
    pi.install()
    assert (pi.boot / "cmdline.txt").read_bytes() == bytes(200)


# -- without and with the server ---------------------------------------------------------------------------------------


def test_the_right_files_help_a_box_that_had_wrong_ones(root: Root, offline: tuple[Root, Payload]) -> None:
    """Nor is it stopped where STATUS.txt cannot be written, as on a full boot partition."""
    _damage(card(root, offline[1]))
    assert root.install().code == 1
    inject(Folder(root.boot), offline[1])
    root.has_program_of(offline[0])
    (root.boot / "banksman/STATUS.txt.new").mkdir()
    (root.boot / "banksman/STATUS.txt.new/in the way").touch()
    ran = root.install()
    assert ran.code == 0, ran.said
    assert "STATUS.txt cannot be written" in ran.said


def test_a_card_that_is_too_small_says_so(tmp_path: Path, office: Office) -> None:
    root = Root(tmp_path / "root", disk_mb=100)
    card(root, office.payload(identity=office.key()))
    assert root.install().code == 1
    assert re.search(r"too small or full: \d+ MB are free, 900 MB are needed", status(root))


def test_without_the_server_it_works_alone_and_asks_again(
    root: Root, office: Office, offline: tuple[Root, Payload]
) -> None:
    root.has_program_of(offline[0])
    card(root, office.payload())
    assert root.install().code == 75
    for part in (WAITING, "还连不上工地服务器", "https://10.0.0.5:8444/enrol"):
        assert part in status(root)
    etc = root.path / "etc"
    assert (etc / "banksman/site.yaml").exists()
    assert (etc / "systemd/system/multi-user.target.wants/banksman-node.service").is_symlink()
    assert not (root.path / "var/lib/banksman/installed").exists()
    assert left(root) == ({"enrol.json"}, {b"the-secret-token"})
    wifi = etc / "NetworkManager/system-connections/banksman.nmconnection"
    before = [(path, path.read_bytes()) for path in (wifi, etc / "banksman/site.yaml")]
    assert root.install().code == 75  # with what it has taken over
    assert [(path, path.read_bytes()) for path, _ in before] == before


def test_a_site_file_that_comes_back_while_the_node_waits_is_the_service_s(
    root: Root, office: Office, offline: tuple[Root, Payload]
) -> None:
    """Which reads it and saves zones in it; the card is wiped of its own by then."""
    root.has_program_of(offline[0])
    card(root, office.payload())
    assert root.install().code == 75
    path = root.path / SITE_FILE
    owner, good = path.stat().st_uid, path.read_bytes()
    assert owner != 0
    path.unlink()
    path.with_name(".site.yaml.last-good").write_bytes(good)
    assert root.install().code == 75
    assert path.read_bytes() == good
    assert path.stat().st_uid == owner


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory, office: Office, offline: tuple[Root, Payload]) -> Root:
    """A node that waits for its server, which it cannot reach: its Wi-Fi has another password, say."""
    root = Root(tmp_path_factory.mktemp("waiting") / "root")
    root.has_program_of(offline[0])
    card(root, office.payload())
    assert root.install().code == 75
    return root


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (_spoil("wifi.nmconnection"), "Wi-Fi file on the card is damaged"),
        (_spoil("wifi.nmconnection", b""), "Wi-Fi file on the card is damaged"),
        (_spoil("enrol.json"), "enrol.json: FAILED"),
        (_spoil("secret.sums", b""), "secret.sums"),
        (lambda tree: tree.remove("banksman/secret.sums"), "secret.sums: No such file"),
    ],
)
def test_a_second_card_that_differs_in_secrets_alone_is_checked_too(
    root: Root, office: Office, waiting: Root, harm: Callable[[Folder], None], told: str
) -> None:
    """It was pulled out while it was written; nothing of it is taken over or wiped."""
    subprocess.run(["cp", "-a", f"{waiting.path}/.", root.path], check=True)
    tree = Folder(root.boot)
    again = office.payload(
        identity=Token("another-token", 1_795_000_000.0),
        wifi=replace(WIFI, password="the right one"),  # noqa: S106
    )
    same = tree.read("banksman/SHA256SUMS")
    inject(tree, again)
    assert tree.read("banksman/SHA256SUMS") == same
    harm(tree)
    for _ in range(2):
        assert root.install().code == 1
        for part in ("Step 1 of 8", FAILED, "Make the card again", told):
            assert part in status(root)
    inject(tree, again)
    assert root.install().code == 75, status(root)
    wifi = root.path / "etc/NetworkManager/system-connections/banksman.nmconnection"
    assert wifi.read_bytes() == again.files["wifi.nmconnection"]


def left(root: Root) -> tuple[set[str], set[bytes]]:
    """Files on the card that are to go away, and secrets that whoever finds it could read."""
    files = [path for path in root.boot.rglob("*") if path.is_file()]
    found = {secret for path in files for secret in SECRETS if secret in path.read_bytes()}
    return {name for path in files for name in GO_AWAY if path.name.startswith(name)}, found


def test_a_card_that_cannot_be_written_any_more_keeps_no_box_from_work(
    root: Root, office: Office, tmp_path: Path, offline: tuple[Root, Payload]
) -> None:
    """Only its secrets cannot be wiped, which is told last."""
    root.has_program_of(offline[0])
    with zipfile.ZipFile(packed(office.payload(), tmp_path / "node.zip")) as archive:  # the kernel is not told yet
        archive.extractall(stock(root.boot, TRIXIE))
    (root.boot / "banksman/site.yaml.spent").touch()  # cut off
    before = {path: path.read_bytes() for path in root.boot.rglob("*") if path.is_file()}
    root.worn = True
    ran = root.install()
    assert ran.code == 75, ran.said
    for said in ("cmdline.txt cannot be written", "not wiped yet: wifi.nmconnection", "not wiped yet: site.yaml"):
        assert said in ran.said
    assert (root.path / "etc/systemd/system/multi-user.target.wants/banksman-node.service").is_symlink()
    assert {path: path.read_bytes() for path in root.boot.rglob("*") if path.is_file()} == before


def test_a_card_whose_secrets_cannot_be_wiped_is_told_when_the_box_has_its_certificate(
    root: Root, offline: tuple[Root, Payload]
) -> None:
    root.has_program_of(offline[0])
    card(root, offline[1])
    root.worn = True
    ran = root.install()
    assert ran.code == 1
    assert "failed: step 7 of 8" in ran.said
    assert "Read-only file system" in ran.said.splitlines()[-1]
    assert (root.path / "etc/banksman/node.key").exists()
    root.worn = False
    assert root.install().code == 0
    assert left(root) == (set(), set())


def test_a_node_that_waits_for_the_server_says_where_its_page_is(
    root: Root, office: Office, place: Place, offline: tuple[Root, Payload]
) -> None:
    root.has_program_of(offline[0])
    card(root, ordered(office, place, place.token()))
    place.server.stop()
    assert root.install().code == 75
    assert "没有网络" in status(root)
    assert "No network" in status(root)
    assert root.install(network=True).code == 75
    for address in addresses():
        assert f"节点网页：http://{address}:8080/" in status(root)
        assert f"Page of the node: http://{address}:8080/" in status(root)
    assert "http://" in status(root)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    engine: Engine = open_engine(f"sqlite:///{tmp_path}/dispatch.db")
    migrate(engine)
    (tmp_path / "server").mkdir()
    with Place(tmp_path / "server", engine) as open_door:
        yield open_door
    engine.dispose()


def ordered(office: Office, place: Place, token: str) -> Payload:
    """A card for the node behind that door."""
    server = SERVER.model_copy(update={"enrol_url": f"{place.url}/enrol"})
    cards = office.cards.model_copy(update={"server": server, "ca": place.pki.ca_file})
    return payload(cards, Wanted(Node(site=SITE, node=NODE), "page-password"), Token(token, time.time() + 3600))


def test_it_enrols_when_the_server_is_there(
    root: Root, office: Office, place: Place, offline: tuple[Root, Payload]
) -> None:
    root.has_program_of(offline[0])
    card(root, ordered(office, place, place.token()))
    assert root.install().code == 75
    ran = root.install(network=True)
    assert ran.code == 0, ran.said
    assert INSTALLED in status(root)
    assert (root.path / "etc/banksman/node.pem").read_text() in place.pki.folder.joinpath(
        f"nodes/{SITE}/{NODE}.pem"
    ).read_text()
    assert not (root.boot / "banksman/enrol.json").exists()


def test_a_card_that_differs_in_its_token_alone_brings_a_new_certificate(
    root: Root, office: Office, place: Place, offline: tuple[Root, Payload]
) -> None:
    """As when the old one ends. Checksums, which know no secrets, are those of before."""
    root.has_program_of(offline[0])
    card(root, ordered(office, place, place.token()))
    assert root.install(network=True).code == 0
    before, sums = (root.path / "etc/banksman/node.pem").read_text(), root.boot / "banksman/SHA256SUMS"
    same = sums.read_text()
    with (root.path / "etc/banksman/site.yaml").open("a") as drawn:
        drawn.write("# zones that were drawn\n")
    inject(Folder(root.boot), ordered(office, place, place.token()))
    assert sums.read_text() == same
    assert root.run("/bin/bash", "/boot/firmware/banksman/install.sh").code == 0
    assert (root.path / "etc/systemd/system/banksman-install.service").exists()
    ran = root.install(network=True)
    assert ran.code == 0, ran.said
    assert (root.path / "etc/banksman/node.pem").read_text() != before
    assert "# zones that were drawn" in (root.path / "etc/banksman/site.yaml").read_text()
    assert not (root.boot / "banksman/enrol.json").exists()


def test_a_token_that_is_no_good_says_what_to_do(
    root: Root, office: Office, place: Place, offline: tuple[Root, Payload]
) -> None:
    root.has_program_of(offline[0])
    card(root, ordered(office, place, "never-given-out"))
    assert root.install(network=True).code == 1
    told = status(root)
    assert "制卡" in told
    assert "Make a new card for this node" in told
    assert "never-given-out" not in told
    assert left(root)[0] == {"enrol.json"}


# -- the hook ----------------------------------------------------------------------------------------------------------


def test_the_hook_has_the_work_done_at_this_start_and_the_next(root: Root, office: Office) -> None:
    card(root, office.payload())
    for _ in range(2):
        ran = root.run("/bin/bash", "/boot/firmware/banksman/install.sh")
        assert ran.code == 0, ran.said
        unit = root.path / "etc/systemd/system/banksman-install.service"
        assert unit.with_name("multi-user.target.wants").joinpath(unit.name).is_symlink()
    assert not (root.boot / "banksman/STATUS.txt").exists()
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    unknown_to_252 = [
        line for line in verified.stderr.splitlines() if "RestartSteps" not in line and "RestartMaxDelay" not in line
    ]
    assert unknown_to_252 == []


def test_the_hook_of_the_command_line_takes_itself_away(root: Root, office: Office) -> None:
    inject(Folder(stock(root.boot, BOOKWORM)), office.payload())
    before = (root.boot / "cmdline.txt").read_text().split()
    assert any(word.startswith("systemd.run=") for word in before)
    (root.boot / "banksman/install.sh").chmod(0o755)  # as every file of a FAT is
    assert root.run("/boot/firmware/banksman/install.sh").code == 0
    after = (root.boot / "cmdline.txt").read_text()
    assert after.split() == [word for word in before if not word.startswith("systemd.")]
    assert after.count("\n") == 1


def test_the_command_line_is_put_right_also_where_there_is_nothing_to_do(root: Root, office: Office) -> None:
    """Else the system would restart for ever."""
    inject(Folder(stock(root.boot, BOOKWORM)), office.payload())
    for name in GO_AWAY:
        (root.boot / "banksman" / name).unlink(missing_ok=True)
    digest = sha256((root.boot / "banksman/SHA256SUMS").read_bytes()).hexdigest()
    (root.path / "var/lib/banksman").mkdir()
    (root.path / "var/lib/banksman/installed").write_text(f"{digest}  -\n")
    assert root.run("/bin/bash", "/boot/firmware/banksman/install.sh").code == 0
    assert "systemd." not in (root.boot / "cmdline.txt").read_text()
    assert not (root.path / "etc/systemd/system/banksman-install.service").exists()
