"""A server without containers: units that systemd takes, well shut in; a script that fits what init makes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.server import layout
from tests.conftest import REPO, need
from tests.server.builders import make, program
from tests.service.test_units import Systemd

PLAIN = REPO / "deploy/server/plain"
UNITS = sorted(path.name.replace("@.", "@dispatch.") for path in PLAIN.glob("banksman-*"))
SERVICES = [unit for unit in UNITS if unit.endswith(".service")]
MOST_EXPOSED = 20
"""Tenths of what `systemd-analyze security` finds."""


@pytest.fixture
def systemd(tmp_path: Path) -> Systemd:
    """Our units, stand-ins for those of Debian's packages, and for programs."""
    root = tmp_path / "root"
    units = root / "etc/systemd/system"
    units.mkdir(parents=True)
    for path in PLAIN.glob("banksman-*"):
        (units / path.name).write_bytes(path.read_bytes())
        for line in path.read_text().splitlines():
            if found := re.match(r"Exec\w+=(/\S+)", line):
                stand_in = root / found[1][1:]
                stand_in.parent.mkdir(parents=True, exist_ok=True)
                stand_in.write_text("#!/bin/sh\n")
                stand_in.chmod(0o755)
    for name in ("postgresql", "mosquitto"):
        (units / f"{name}.service").write_text("[Service]\nExecStart=/usr/bin/systemctl\n")
    debian = Path("/usr/lib/systemd/system")
    need(debian.is_dir(), "systemd's own units are not here (apt-get install systemd)")
    (root / "usr/lib/systemd").mkdir(parents=True)
    shutil.copytree(debian, root / "usr/lib/systemd/system", ignore_dangling_symlinks=True)  # links as files
    systemd = Systemd(root)
    need(systemd.version(), "systemd-analyze is not here (apt-get install systemd)")
    return systemd


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_takes_every_line(systemd: Systemd, unit: str) -> None:
    assert systemd.verify(unit) == ""


@pytest.mark.parametrize("slip", ["Restarts=always", "SystemCallFilter=@system-services"])
def test_a_slip_would_be_found(systemd: Systemd, slip: str) -> None:
    unit = systemd.root / "etc/systemd/system/banksman-web.service"
    unit.write_text(unit.read_text().replace("[Service]\n", f"[Service]\n{slip}\n"))
    assert re.search(r"Restarts|@system-services", systemd.verify("banksman-web.service"))


@pytest.mark.parametrize("unit", SERVICES)
def test_services_are_well_shut_in(systemd: Systemd, unit: str) -> None:
    done = systemd.security(unit, MOST_EXPOSED)
    assert done.returncode == 0, done.stdout


def test_services_reach_what_init_makes_and_write_no_more_than_they_must() -> None:
    text = {path.name: path.read_text() for path in PLAIN.glob("banksman-*.service")}
    home = "/etc/banksman-server"
    assert f"worker {home}/dispatch/%i.yaml" in text["banksman-worker@.service"]
    assert f"web {home}/dispatch/dispatch.yaml" in text["banksman-web.service"]
    writes = {name: re.findall(r"(?m)^ReadWritePaths=(.*)", unit) for name, unit in text.items()}
    enrolment = [f"{home}/pki {home}/broker"]
    assert {name: paths for name, paths in writes.items() if paths} == {
        "banksman-web.service": enrolment, "banksman-worker@.service": enrolment
    }  # fmt: skip
    for name in ("banksman-worker@.service", "banksman-web.service"):
        assert f"StateDirectory=banksman banksman/{layout.EVIDENCE_FOLDER.name}\n" in text[name]
    script = (PLAIN / "install.sh").read_text()
    assert f"home={home}\n" in script


def test_the_script_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    shell = program("sh", "dash")
    script = str(PLAIN / "install.sh")

    def said(*words: str) -> str:
        done = subprocess.run([shell, script, *words], capture_output=True, text=True, check=False, timeout=20)
        assert done.returncode == 2
        return done.stderr

    assert "unknown option --frobnicate" in said("--frobnicate")
    need(os.geteuid() == 0, "only root gets further")
    assert f"{tmp_path}/grafana.deb: no such file" in said("--grafana-deb", f"{tmp_path}/grafana.deb")


def test_what_it_reads_of_the_settings_is_there(tmp_path: Path) -> None:
    folder = make(tmp_path / "srv", "--plain")
    script = (PLAIN / "install.sh").read_text()
    for expression, found in re.findall(r"\$\(sed -n '([^']+)' \"\$home/(\S+)\"\)", script):
        done = subprocess.run(["sed", "-n", expression, folder / found], capture_output=True, text=True, check=True)
        assert done.stdout.strip() in ("true", "site.example.cn"), expression
    files = set(re.findall(r"\$home\"?/([\w./-]+\w)", script)) - {"server.toml", "secrets/grafana"}
    assert {"secrets/postgres", "secrets/grafana-admin", "ntp/chrony.conf", "broker/mosquitto.conf"} <= files
    assert [name for name in files if not list(folder.glob(f"{name}*"))] == []
    assert not (folder / "compose.yaml").exists()
