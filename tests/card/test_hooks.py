"""Each way that Raspberry Pi OS has of running something at first boot runs `install.sh`, and nothing else of ours."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from deploy.card.errors import CardError
from deploy.card.hooks import SCRIPT, USER_DATA, cmdline, hooks
from deploy.card.tree import Folder
from tests.card.images import BOOKWORM, PRESEED, TRIXIE
from tests.card.test_payload import stock
from tests.conftest import REPO, need

INSTANCE = "banksman-north-gate-03-0123456789ab"
NOCLOUD = f"ds=nocloud;i={INSTANCE}"
RUN = f"systemd.run={SCRIPT}"
yaml = YAML(typ="safe", pure=True).load


def made(folder: Path, files: dict[str, bytes], country: str | None = None) -> dict[str, bytes]:
    return dict(hooks(Folder(stock(folder, files)), INSTANCE, "banksman-gate-03", country))


def words(files: dict[str, bytes]) -> list[str]:
    assert files["cmdline.txt"].count(b"\n") == 1
    assert files["cmdline.txt"].endswith(b"\n")
    return files["cmdline.txt"].decode().split()


@pytest.mark.parametrize(
    ("image", "written", "has", "has_not"),
    [
        (TRIXIE, {"user-data", "meta-data", "cmdline.txt"}, NOCLOUD, RUN),
        (PRESEED, {"rpi-preseed.toml", "cmdline.txt"}, "rootwait", RUN),
        (TRIXIE | PRESEED, {"user-data", "meta-data", "rpi-preseed.toml", "cmdline.txt"}, NOCLOUD, RUN),
        (BOOKWORM, {"cmdline.txt"}, RUN, NOCLOUD),
    ],
    ids=["trixie", "preseed", "both", "bookworm"],
)
def test_the_hook_is_the_image_s_own(
    tmp_path: Path, image: dict[str, bytes], written: set[str], has: str, has_not: str
) -> None:
    files = made(tmp_path / "bootfs", image)
    assert set(files) == written
    assert list(files)[-1] == "cmdline.txt"
    assert words(files).count(has) == 1
    assert has_not not in words(files)


def test_every_hook_runs_the_script(tmp_path: Path) -> None:
    files = made(tmp_path / "a", TRIXIE | PRESEED)
    assert yaml(files["user-data"]) == {"bootcmd": [["/bin/bash", SCRIPT]]}
    assert tomllib.loads(files["rpi-preseed.toml"].decode()) == {
        "config_version": "1.1", "runcmd": {"early": [f"/bin/bash {SCRIPT}"]},
    }  # fmt: skip
    assert yaml(files["meta-data"]) == {
        "dsmode": "local", "instance-id": INSTANCE, "local-hostname": "banksman-gate-03",
    }  # fmt: skip
    assert words(made(tmp_path / "b", BOOKWORM))[-4:] == [
        RUN, "systemd.run_success_action=reboot", "systemd.run_failure_action=reboot",
        "systemd.unit=kernel-command-line.target",
    ]  # fmt: skip


def test_what_the_kernel_was_told_stays(tmp_path: Path) -> None:
    before = BOOKWORM["cmdline.txt"].decode().split()
    assert words(made(tmp_path / "bootfs", BOOKWORM))[: len(before)] == before


def test_the_radio_knows_the_country_of_this_site(tmp_path: Path) -> None:
    used = TRIXIE | {"cmdline.txt": TRIXIE["cmdline.txt"].strip() + b" cfg80211.ieee80211_regdom=GB\n"}
    found = [w for w in words(made(tmp_path / "bootfs", used, "CN")) if "regdom" in w]
    assert found == ["cfg80211.ieee80211_regdom=CN"]


def test_an_imager_s_instance_gives_way(tmp_path: Path) -> None:
    used = TRIXIE | {"cmdline.txt": TRIXIE["cmdline.txt"].strip() + b" ds=nocloud;i=rpi-imager-1790000000000"}
    assert [w for w in words(made(tmp_path / "bootfs", used)) if w.startswith("ds=")] == [NOCLOUD]


CLOUD_INIT = REPO / ".cache/cloud-init/usr/lib/python3/dist-packages"


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [(USER_DATA, 0, "Valid schema"), (USER_DATA.replace(b"bootcmd", b"bootcmdd"), 1, "bootcmdd")],
    ids=["ours", "a typo"],
)
def test_cloud_init_takes_what_it_is_given(tmp_path: Path, data: bytes, code: int, said: str) -> None:
    need(CLOUD_INIT.is_dir(), "cloud-init of Debian sid is not unpacked in .cache/cloud-init (make tools)")
    (tmp_path / "user-data").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-m", "cloudinit.cmd.main", "schema", "-c", tmp_path / "user-data"],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(CLOUD_INIT)},
    )  # fmt: skip
    assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize("bad", [b"", b"\n", b"quiet splash", b"root=\xff\xfe"])
def test_a_command_line_without_a_root_is_refused(bad: bytes) -> None:
    with pytest.raises(CardError) as told:
        cmdline(bad, "more")
    assert told.value.code == "boot.cmdline"


@given(
    before=st.lists(st.from_regex(r"[a-z][a-z0-9._=,:/-]{0,20}", fullmatch=True), max_size=8),
    more=st.lists(st.sampled_from([NOCLOUD, RUN, "cgroup_enable=memory"]), unique=True),
    again=st.lists(st.sampled_from([NOCLOUD, RUN, "cgroup_enable=memory"]), unique=True),
)
def test_a_command_line_is_one_line_and_knows_the_last_card_only(
    before: list[str], more: list[str], again: list[str]
) -> None:
    line = " ".join(["root=PARTUUID=1-02", *before]).encode() + b"\n"
    twice = cmdline(cmdline(line, *more), *again)
    assert twice == cmdline(line, *again)
    assert twice.count(b"\n") == 1
