"""compose.yaml: compose takes it, it finds what init has written, and no service may or takes more than it needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from broker.dispatch import settings as dispatch
from deploy.server import layout
from deploy.server.settings import load
from tests.conftest import REPO, need
from tests.server.builders import compose_program, edit, program, run, server

Json = dict[str, Any]
ONCE = {"migrate", "tools"}
"""Run once, and are not watched."""


@pytest.fixture(scope="module")
def config(made: Path) -> Json:
    """As compose reads it, all profiles on."""
    said = run(compose_program(), "--profile", "*", "config", "--format", "json", cwd=made)
    read: Json = json.loads(said)
    return read


@pytest.fixture(scope="module")
def services(config: Json) -> Json:
    found: Json = config["services"]
    return found


def test_compose_takes_it(made: Path) -> None:
    assert run(compose_program(), "config", "-q", cwd=made) == ""


@pytest.mark.parametrize(
    ("old", "new"), [(r"(?m)^    pids_limit", "    pid_limits"), ("read_only: true", "read_only: 7")]
)
def test_compose_does_not_take_everything(folder: Path, old: str, new: str) -> None:
    edit(folder / "compose.yaml", (old.replace("    ", "  "), new.replace("    ", "  ")))
    assert run(compose_program(), "config", "-q", cwd=folder, code=None) != ""


def test_without_the_settings_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_bytes((REPO / "deploy/compose.yaml").read_bytes())
    assert "BANKSMAN_" in run(compose_program(), "config", "-q", cwd=tmp_path, code=None)


def test_all_parts_are_there(services: Json, made: Path) -> None:
    assert set(services) == {
        "proxy", "mosquitto", "postgres", "influxdb", "grafana", "migrate", "worker", "worker-2", "web", "ntp", "tools",
    }  # fmt: skip
    up = run(compose_program(), "config", "--services", cwd=made).split()
    assert set(up) == set(services) - {"worker-2", "tools"}


def test_what_it_mounts_exists_and_can_be_read(config: Json, services: Json, made: Path) -> None:
    need(os.geteuid() == 0, "only root can give files to the users of containers")
    for name, service in services.items():
        user = int(service.get("user", "0").partition(":")[0])
        for mount in service.get("volumes", ()):
            if mount["type"] != "bind":
                assert mount["source"] in config["volumes"]
                continue
            source = Path(mount["source"])
            assert source.exists(), source
            for path in (source, *source.rglob("*")) if source.is_dir() else (source,):
                # Root here has no right to read what is not its own, but for `tools`.
                readable = path.stat().st_uid == user or path.stat().st_mode & 0o004 or name == "tools"
                assert readable, f"{name} cannot read {path}"
                if not mount.get("read_only") and path.is_dir():
                    assert path.stat().st_uid == user or name == "tools", f"{name} cannot write {path}"
        for secret in service.get("secrets", ()):
            path = Path(config["secrets"][secret["source"]]["file"])
            assert path.parent == made / "secrets"
            assert path.stat().st_uid == user, f"{name} cannot read {path}"


def test_no_service_may_more_than_it_needs(services: Json) -> None:
    added = {name: set(service.get("cap_add", ())) for name, service in services.items() if service.get("cap_add")}
    assert added == {"proxy": {"NET_BIND_SERVICE"}, "tools": {"CHOWN", "DAC_OVERRIDE", "FOWNER"}}
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"], name
        assert not service.get("privileged"), name
        assert "network_mode" not in service, name
        root = service.get("user", "0").partition(":")[0] == "0"
        assert root == (name in ("proxy", "tools")), name


def test_no_service_takes_the_machine(services: Json) -> None:
    for name, service in services.items():
        assert int(service["mem_limit"]) <= 2 * 1024**3, name
        assert 0 < service["pids_limit"] <= 256, name
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}, name
        assert service["restart"] == ("no" if name in ONCE else "unless-stopped"), name
        assert ("healthcheck" in service) == (name not in ONCE), name


@pytest.mark.parametrize(
    ("service", "version"),
    [
        ("mosquitto", r"eclipse-mosquitto:2\.0\.(2[1-9]|[3-9]\d)"),  # 2.1 matches no node
        ("influxdb", r"influxdb:2\.9\.\d+"),
        ("grafana", r"grafana/grafana:13\.\d+\.\d+"),
        ("postgres", r"postgres:17\.\d+"),
        ("proxy", r"caddy:2\.\d+\.\d+"),
        ("web", r"banksman-server:\d+\.\d+\.\d+"),
        ("ntp", r"banksman-ntp:\d+\.\d+\.\d+"),
    ],
)
def test_images_are_pinned(services: Json, service: str, version: str) -> None:
    assert re.fullmatch(version, services[service]["image"])


def test_no_secret_is_in_what_docker_shows(made: Path) -> None:
    said = run(compose_program(), "--profile", "*", "config", cwd=made)
    for name in layout.SECRETS:
        assert layout.secret(made, name) not in said


def test_only_what_people_and_nodes_need_is_published(services: Json) -> None:
    ports = {
        (name, int(port["published"]), port["target"], port.get("host_ip", ""))
        for name, service in services.items()
        for port in service.get("ports", ())
    }
    loop = "127.0.0.1"
    assert ports == {
        ("proxy", 80, 80, ""), ("proxy", 443, 443, ""), ("proxy", 8086, 8086, ""), ("mosquitto", 8883, 8883, ""),
        ("web", 8443, 8443, ""), ("web", 8444, 8444, ""), ("ntp", 123, 123, ""),
        ("worker", 9464, 9464, loop), ("worker", 9465, 9465, loop),
        ("worker-2", 9466, 9464, loop), ("worker-2", 9467, 9465, loop),
    }  # fmt: skip
    assert services["postgres"]["networks"].keys() == services["influxdb"]["networks"].keys() == {"inside"}


def test_ports_are_those_of_dispatchs_settings(services: Json, made: Path) -> None:
    settings = dispatch.load(made / "dispatch/dispatch.yaml")
    assert settings.upload is not None
    assert settings.enrol is not None
    assert settings.metrics is not None
    assert {port["target"] for port in services["web"]["ports"]} == {settings.upload.port, settings.enrol.port}
    ports = (settings.metrics.port, settings.metrics.port + 1)  # worker, and its jobs
    assert {port["target"] for port in services["worker"]["ports"]} == set(ports)
    assert f"{ports}" in " ".join(services["worker"]["healthcheck"]["test"])
    assert f":{settings.web.port}/healthz" in " ".join(services["web"]["healthcheck"]["test"])
    assert f":{layout.HEALTH}/" in " ".join(services["proxy"]["healthcheck"]["test"])


def test_pages_and_workers_have_what_enrolment_needs(folder: Path) -> None:
    """Also workers: they finish what could not be finished at once."""
    layout.keep_secret(folder, layout.INFLUX_DISPATCH, "made-by-setup")
    server("init", folder)
    read: Json = json.loads(run(compose_program(), "--profile", "*", "config", "--format", "json", cwd=folder))
    for name in ("web", "worker", "worker-2"):
        settings = dispatch.load(folder / "dispatch/dispatch.yaml")
        assert settings.enrol is not None
        assert settings.enrol.broker is not None
        assert settings.enrol.influx_admin_token_file is not None
        mounts = {Path(one["source"]): not one.get("read_only") for one in read["services"][name]["volumes"]}
        assert mounts.get(settings.enrol.pki.resolve()), f"{name} cannot write the authority's folder"
        assert mounts.get(settings.enrol.broker.resolve()), f"{name} cannot write the broker's folder"
        assert settings.enrol.influx_admin_token_file.resolve().parent in mounts, name


def test_boards_and_report_know_where_they_are(services: Json, made: Path) -> None:
    settings = dispatch.load(made / "dispatch/dispatch.yaml")
    for name in ("worker", "web", "tools"):
        told = services[name]["environment"]
        assert told["BANKSMAN_DISPATCH_URL"] == settings.web.url
        assert told["BANKSMAN_BOARDS_LANG"] == "zh-CN"
        assert told["BANKSMAN_INFLUX_URL"] == f"http://{layout.Places.of(load(made)).influx}"


@pytest.mark.parametrize("path", sorted((REPO / "deploy/containers").glob("*.Containerfile")), ids=lambda p: p.stem)
def test_our_images_are_no_roots(path: Path) -> None:
    text = path.read_text()
    froms = re.findall(r"(?m)^FROM (\S+)", text)
    assert froms
    assert all(re.fullmatch(r"(python:3\.13-slim-trixie|debian:trixie-slim)", name) for name in froms)
    assert re.findall(r"(?m)^USER (\S+)", text)[-1] != "root"


def test_scripts_are_clean() -> None:
    shellcheck = program("shellcheck", "shellcheck")
    scripts = sorted([*(REPO / "deploy/containers").glob("*.sh"), *(REPO / "deploy/server").rglob("*.sh")])
    assert scripts
    done = subprocess.run([shellcheck, *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
