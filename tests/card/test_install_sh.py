"""`install.sh`, really run: as far as it comes, cut off anywhere, on damaged and full cards."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from deploy.card.payload import GO_AWAY, Payload, inject
from deploy.card.tree import Folder
from tests.card.builders import Office
from tests.card.images import TRIXIE, tool
from tests.card.root import Root
from tests.conftest import REPO

SCRIPT = REPO / "deploy/card/install/install.sh"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return Office.at(tmp_path_factory.mktemp("office"))


def card(root: Root, payload: Payload) -> None:
    for name, data in TRIXIE.items():
        (root.boot / name).parent.mkdir(exist_ok=True)
        (root.boot / name).write_bytes(data)
    inject(Folder(root.boot), payload)


def status(root: Root) -> str:
    raw = (root.boot / "banksman/STATUS.txt").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    assert raw.count(b"\n") == raw.count(b"\r\n")
    return raw.decode("utf-8-sig")


def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run([tool("shellcheck"), SCRIPT], capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""


def test_a_card_becomes_a_node(tmp_path: Path, office: Office) -> None:
    root = Root(tmp_path / "root")
    key = office.key()
    card(root, office.payload(identity=key))
    ran = root.install()
    assert ran.code == 0, ran.said
    told = status(root)
    assert "安装完成" in told
    assert "Installed" in told
    etc = root.path / "etc"
    assert (etc / "banksman/node.key").read_bytes() == key.key
    assert stat.S_IMODE((etc / "banksman/node.key").stat().st_mode) == 0o640
    assert (root.path / "var/lib/banksman/installed").exists()
    assert set(GO_AWAY).isdisjoint(p.name for p in (root.boot / "banksman").iterdir())
