"""Files for Grafana's provisioning: complete, without secrets, and with dollars as Grafana reads them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from dashboards.alerts import QUESTIONS, RECEIVER, Contact, contact_points, rules
from dashboards.boards import BOARDS
from dashboards.panels import DATASOURCE, Setup
from dashboards.render import BOARDS_AT, datasource, provisioning
from dashboards.text import Language

BANKSMAN = Path(sys.executable).with_name("banksman")
SETUP = Setup(dispatch="https://site.example:8090", zone="Asia/Shanghai")
MAIL = Contact("email", "$BANKSMAN_SERVER_MAIL")


def as_grafana_reads(value: Any, environment: dict[str, str]) -> Any:
    """Grafana puts its environment into every text of these files, names it does not know being empty."""
    if isinstance(value, dict):
        return {key: as_grafana_reads(inner, environment) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_grafana_reads(inner, environment) for inner in value]
    if not isinstance(value, str):
        return value
    return re.sub(r"\$(\$|\w+)", lambda m: "$" if m[1] == "$" else environment.get(m[1], ""), value)


def load(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("language", ["zh-CN", "en"])
def test_everything_is_there_and_the_same_each_time(tmp_path: Path, language: Language) -> None:
    written = provisioning(tmp_path / "one", language, SETUP, [MAIL])
    provisioning(tmp_path / "two", language, SETUP, [MAIL])
    names = {str(path.relative_to(tmp_path / "one")) for path in written}
    fixed = {f"{folder}/banksman.yaml" for folder in ("datasources", "dashboards", "alerting")}
    assert names == fixed | {f"dashboards/banksman/{uid}.json" for uid in BOARDS}
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    for uid, make in BOARDS.items():
        assert json.loads((tmp_path / f"one/dashboards/banksman/{uid}.json").read_text("utf-8")) == make(
            language, SETUP
        )
    (provider,) = load(tmp_path / "one/dashboards/banksman.yaml")["providers"]
    assert provider["options"]["path"] == BOARDS_AT
    assert BOARDS_AT.endswith("/dashboards/banksman")


def test_another_run_of_the_program_makes_the_same(tmp_path: Path) -> None:
    """Python orders sets anew in each run: a board made by way of one would differ at every push."""
    made = []
    for seed in ("1", "2", "3"):
        out = tmp_path / seed
        subprocess.run(
            [BANKSMAN, "dashboards", "render", out, "--dispatch-url", SETUP.dispatch],
            env=os.environ | {"PYTHONHASHSEED": seed}, check=True, capture_output=True,
        )  # fmt: skip
        made.append({path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()})
    assert made[0] == made[1] == made[2]


def test_addresses_and_tokens_come_from_the_environment_and_queries_keep_their_dollars(tmp_path: Path) -> None:
    provisioning(tmp_path, "en", SETUP, [MAIL])
    environment = {
        "BANKSMAN_INFLUX_URL": "https://influx:8086",
        "BANKSMAN_INFLUX_DATABASE": "banksman",
        "BANKSMAN_INFLUX_TOKEN": "s3cret",
        "BANKSMAN_SERVER_MAIL": "it@example.org",
    }
    (source,) = as_grafana_reads(load(tmp_path / "datasources/banksman.yaml"), environment)["datasources"]
    assert source == datasource("https://influx:8086", "banksman", "s3cret")
    alerting = as_grafana_reads(load(tmp_path / "alerting/banksman.yaml"), environment)
    (group,) = alerting["groups"]
    told = {rule["uid"]: rule["data"] for rule in group["rules"]}
    assert told == {rule["uid"]: rule["data"] for rule in rules("en")}
    (receiver,) = alerting["contactPoints"]
    assert receiver["name"] == RECEIVER == group["rules"][0]["notification_settings"]["receiver"]
    assert receiver["receivers"][0]["settings"] == {"addresses": "it@example.org"}


def test_without_a_contact_the_servers_own_policy_holds(tmp_path: Path) -> None:
    provisioning(tmp_path, "en", SETUP)
    alerting = load(tmp_path / "alerting/banksman.yaml")
    assert "contactPoints" not in alerting
    assert not any("notification_settings" in rule for rule in alerting["groups"][0]["rules"])


@pytest.mark.parametrize(
    ("contact", "settings"),
    [
        (Contact("email", "a@b.org;c@d.org"), {"addresses": "a@b.org;c@d.org"}),
        (Contact("dingding", "https://robot.example/1"), {"url": "https://robot.example/1"}),
        (Contact("wecom", "https://robot.example/2"), {"url": "https://robot.example/2"}),
        (Contact("webhook", "https://hook.example"), {"url": "https://hook.example"}),
    ],
)
def test_ways_to_whoever_looks_after_the_server(contact: Contact, settings: dict[str, str]) -> None:
    (point,) = contact_points([contact])
    assert (point["type"], point["settings"], point["name"]) == (contact.kind, settings, RECEIVER)


def test_alert_rules_tell_nothing_that_dispatch_tells() -> None:
    """People hear of breaches, cases and nodes from dispatch; rules ask of nothing but dispatch itself."""
    assert {re.findall(r'FROM "(\w+)"', question.text)[0] for question in QUESTIONS} == {"dispatch"}


@pytest.mark.parametrize("language", ["zh-CN", "en"])
def test_every_rule_is_whole(language: Language) -> None:
    made = rules(language)
    assert len({rule["uid"] for rule in made}) == len(made)
    for rule in made:
        assert re.fullmatch(r"[a-z-]{1,40}", rule["uid"])
        steps = {step["refId"]: step for step in rule["data"]}
        assert steps["A"]["datasourceUid"] == DATASOURCE
        assert steps["B"]["model"]["expression"] == "A"
        assert steps[rule["condition"]]["model"]["expression"] == "B"
        assert rule["title"]
        assert rule["annotations"]["description"] != rule["title"]
