"""What a node's system gets, asked of the programs that will read it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPO, need

ETC = REPO / "deploy" / "systemd" / "etc"
NODE = "banksman-node.service"
UNITS = sorted(p.name for p in (ETC / "systemd" / "system").iterdir() if p.suffix != ".target")
MOST_EXPOSED = 20
"""Tenths of the exposure that `systemd-analyze security` finds."""
UNPACKED = REPO / ".cache" / "systemd"
INSTALL = REPO / "deploy" / "card" / "install" / "install.sh"


class Systemd:
    """systemd-analyze of 254 or newer on a root folder that holds our units and Debian's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._program, self._environ = self._found()

    @staticmethod
    def _found() -> tuple[str, dict[str, str]]:
        own = UNPACKED / "usr" / "bin" / "systemd-analyze"
        if not own.exists():
            return "systemd-analyze", dict(os.environ)
        libraries = [str(p.parent) for p in UNPACKED.rglob("*.so")]
        return str(own), os.environ | {"LD_LIBRARY_PATH": ":".join(sorted(set(libraries)))}

    def version(self) -> int:
        if shutil.which(self._program) is None:
            return 0
        return int(self.run("--version").stdout.split()[1])

    def run(self, *args: str, program: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program or self._program, *args], env=self._environ, capture_output=True, text=True, check=False
        )

    def verify(self, unit: str) -> str:
        """What it complains of; its return code says nothing."""
        return self.run("verify", "--man=no", "--recursive-errors=no", f"--root={self.root}", unit).stderr

    def security(self, unit: str, most: int) -> subprocess.CompletedProcess[str]:
        return self.run("security", "--offline=yes", f"--threshold={most}", f"--root={self.root}", unit)


def stand_ins(root: Path, unit: Path) -> None:
    """The programs that a unit starts have to be there."""
    for program in re.findall(r"(?m)^Exec\w+=[+!:@-]*/(\S+)", unit.read_text()):
        stand_in = root / program
        stand_in.parent.mkdir(parents=True, exist_ok=True)
        stand_in.write_text("#!/bin/sh\n")
        stand_in.chmod(0o755)


@pytest.fixture
def systemd(tmp_path: Path) -> Systemd:
    root = tmp_path / "root"
    shutil.copytree(ETC, root / "etc")
    libraries = (UNPACKED / "lib/systemd/system", Path("/usr/lib/systemd/system"))
    debian = next((folder for folder in libraries if folder.is_dir()), None)
    need(debian, "systemd's own units are not here (apt-get install systemd)")
    assert debian is not None
    (root / "usr/lib/systemd").mkdir(parents=True)
    (root / "usr/lib/systemd/system").symlink_to(debian)
    for unit in UNITS:
        stand_ins(root, ETC / "systemd" / "system" / unit)
    systemd = Systemd(root)
    need(systemd.version() >= 254, "systemd-analyze of systemd 254 or newer is not here (sh tests/tools.sh)")
    return systemd


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_every_line(systemd: Systemd, unit: str) -> None:
    assert systemd.verify(unit) == ""


def test_systemd_understands_the_service_that_makes_a_node(systemd: Systemd) -> None:
    """The one that install.sh writes."""
    (text,) = re.findall(r"<<UNIT\n(.*?\n)UNIT\n", INSTALL.read_text(), re.DOTALL)
    unit = systemd.root / "etc/systemd/system/banksman-install.service"
    unit.write_text(text.replace("$here", "/boot/firmware/banksman"))
    stand_ins(systemd.root, unit)
    assert systemd.verify(unit.name) == ""
    unit.write_text(unit.read_text().replace("RestartForceExitStatus=75", "RestartForceExitStatus=soon"))
    assert "soon" in systemd.verify(unit.name)


def test_the_watchdog_is_ours_whatever_the_system_brings(systemd: Systemd) -> None:
    """Drop-ins of all folders are read in the order of their names, and the last one counts."""
    for name in ("40-rpi-enable-watchdog.conf", "70-rpi-enable-watchdog.conf"):
        own = systemd.root / "usr/lib/systemd/system.conf.d" / name
        own.parent.mkdir(exist_ok=True)
        own.write_text("[Manager]\nRuntimeWatchdogSec=1min\n")
    (systemd.root / "etc/systemd/system.conf").write_text("[Manager]\n")
    told = systemd.run("cat-config", f"--root={systemd.root}", "systemd/system.conf").stdout
    assert re.findall(r"(?m)^RuntimeWatchdogSec=(.*)", told) == ["1min", "1min", "14"], told


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.endswith(".service")])
def test_the_service_is_well_shut_in(systemd: Systemd, unit: str) -> None:
    done = systemd.security(unit, MOST_EXPOSED)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("spoilt", "complaint"),
    [
        ("WatchdogSec=30", "WatchdogSecs=30"),
        ("RestartSteps=8", "RestartSteps=many"),
        ("DevicePolicy=closed", "DevicePolicy=shut"),
        ("SystemCallFilter=@system-service", "SystemCallFilter=@system-services"),
    ],
)
def test_a_slip_of_the_pen_would_be_found(systemd: Systemd, spoilt: str, complaint: str) -> None:
    unit = systemd.root / "etc/systemd/system" / NODE
    text = unit.read_text()
    assert spoilt in text
    unit.write_text(text.replace(spoilt, complaint))
    told = systemd.verify(NODE)
    assert any(word in told for word in complaint.split("="))


def test_an_open_service_would_be_found(systemd: Systemd) -> None:
    unit = systemd.root / "etc/systemd/system" / NODE
    unit.write_text(re.sub("ProtectSystem=strict|CapabilityBoundingSet=", "#", unit.read_text()))
    assert systemd.security(NODE, MOST_EXPOSED).returncode != 0


def settings(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (ETC / "systemd/system" / unit).read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_the_clock_may_be_asked_whether_it_is_synchronised() -> None:
    """`edge.clock` asks by adjtimex(2), which neither @system-service nor ProtectClock= lets through."""
    unit = settings(NODE)
    assert {"adjtimex", "clock_adjtime"} <= set(unit["SystemCallFilter"][0].split())
    assert "ProtectClock" not in unit


def test_what_fails_before_the_start_does_not_keep_the_node_from_starting() -> None:
    assert all(command.startswith("+-") for command in settings(NODE)["ExecStartPre"])


def test_users_and_groups_are_what_systemd_sysusers_makes_of_them(tmp_path: Path) -> None:
    need(shutil.which("systemd-sysusers"), "systemd-sysusers is not installed")
    (tmp_path / "etc").mkdir()
    config = str(ETC / "sysusers.d" / "banksman.conf")
    done = subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", config], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    groups = {
        line.split(":")[0]: line.split(":")[3].split(",") for line in (tmp_path / "etc/group").read_text().splitlines()
    }
    assert {g for g, members in groups.items() if "banksman" in members} == {
        "video",
        "render",
        "gpio",
        "i2c",
        "dialout",
    }
    (user,) = [line for line in (tmp_path / "etc/passwd").read_text().splitlines() if line.startswith("banksman:")]
    assert user.endswith("nologin")


@pytest.mark.skipif(os.geteuid() != 0, reason="owners are given by root")
def test_keys_are_roots_and_the_site_file_is_the_nodes(tmp_path: Path) -> None:
    need(shutil.which("systemd-tmpfiles"), "systemd-tmpfiles is not installed")
    shutil.copytree(ETC / "tmpfiles.d", tmp_path / "etc/tmpfiles.d")
    sysusers = str(ETC / "sysusers.d" / "banksman.conf")
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", sysusers], check=True, capture_output=True)
    folder = tmp_path / "etc" / "banksman"
    folder.mkdir()
    for name in ("site.yaml", "node.toml", "ca.pem", "node.pem", "node.key", "influx.token", "release.pub"):
        (folder / name).write_text("x")
    tmpfiles = ["systemd-tmpfiles", "--create", f"--root={tmp_path}", str(tmp_path / "etc/tmpfiles.d/banksman.conf")]
    done = subprocess.run(tmpfiles, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ids = {
        line.split(":")[0]: int(line.split(":")[2])
        for line in (tmp_path / "etc/passwd").read_text().splitlines()
    }  # fmt: skip

    def of(name: str) -> tuple[int, str]:
        status = (folder / name).stat()
        return status.st_uid, f"{status.st_mode & 0o777:o}"

    assert of("") == (0, "770")
    assert of("site.yaml") == (ids["banksman"], "660")
    assert of("node.key") == of("influx.token") == of("node.toml") == (0, "640")
    assert of("release.pub") == of("ca.pem") == of("node.pem") == (0, "644")


def test_what_the_folder_hands_over_is_protected_where_the_service_may_write() -> None:
    """The folder of the site file is the node's to write; what others trust in it is not."""
    kept = {path.removeprefix("-") for line in settings(NODE)["ReadOnlyPaths"] for path in line.split()}
    owners = [line.split() for line in (ETC / "tmpfiles.d/banksman.conf").read_text().splitlines() if line[:1] == "z"]
    assert kept == {path for _, path, _, owner, *_ in owners if owner == "root"} - {"/etc/banksman"}


def test_limits_are_read_from_where_they_are_put() -> None:
    """Drop-ins without a section or with another program's would be passed over."""
    sections = {"system.conf.d": "[Manager]", "journald.conf.d": "[Journal]", "timesyncd.conf.d": "[Time]"}
    for folder, section in sections.items():
        (drop_in,) = (ETC / "systemd" / folder).iterdir()
        lines = [line for line in drop_in.read_text().splitlines() if line and not line.startswith("#")]
        assert lines[0] == section
        assert all("=" in line for line in lines[1:])


def test_udev_understands_the_rules(systemd: Systemd) -> None:
    program = next((str(p) for p in (UNPACKED / "bin/udevadm", UNPACKED / "usr/bin/udevadm") if p.exists()), "udevadm")
    need(shutil.which(program), "udevadm is not installed")
    (rules,) = (ETC / "udev" / "rules.d").iterdir()
    done = systemd.run("verify", str(rules), program=program)
    assert done.returncode == 0, done.stdout + done.stderr
