"""Boards, rules and data source as files that Grafana reads when it starts (/etc/grafana/provisioning).

Addresses and tokens are not in the files: Grafana puts the values of its environment in their place.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from dashboards import alerts
from dashboards.alerts import Contact
from dashboards.boards import BOARDS
from dashboards.panels import DATASOURCE, DEFAULT, FOLDER, Setup
from dashboards.text import Language, catalogue

BOARDS_AT: Final = "/etc/grafana/provisioning/dashboards/banksman"
"""Where Grafana finds the boards: `provisioning`'s folder, mounted."""
URL, DATABASE, TOKEN = "$BANKSMAN_INFLUX_URL", "$BANKSMAN_INFLUX_DATABASE", "$BANKSMAN_INFLUX_TOKEN"


def datasource(url: str, database: str, token: str, ca: str = "") -> dict[str, Any]:
    """The data source in Grafana's words, for its API and its files alike. token: one that may only read. ca: PEM."""
    secret = {"httpHeaderValue1": f"Token {token}"} | ({"tlsCACert": ca} if ca else {})
    return {
        "uid": DATASOURCE,
        "name": "Banksman InfluxDB",
        "type": "influxdb",
        "access": "proxy",
        "url": url,
        "jsonData": {
            "version": "InfluxQL",
            "dbName": database,
            "httpMode": "POST",
            "httpHeaderName1": "Authorization",
            "tlsAuthWithCACert": bool(ca),
        },
        "secureJsonData": secret,
    }


def boards(language: Language, setup: Setup = DEFAULT) -> dict[str, dict[str, Any]]:
    """Every board by uid."""
    return {uid: make(language, setup) for uid, make in BOARDS.items()}


def provisioning(
    out: Path, language: Language, setup: Setup = DEFAULT, contacts: Sequence[Contact] = ()
) -> tuple[Path, ...]:
    """Write everything below `out`; gives the files. What is there under the same names is replaced.

    contacts: addresses may be names of the environment (`$NAME`). Without any, the server's own policy holds.
    """
    title = catalogue(language)("folder.title")
    files = {
        "datasources/banksman.yaml": {"apiVersion": 1, "datasources": [datasource(URL, DATABASE, TOKEN)]},
        "dashboards/banksman.yaml": {
            "apiVersion": 1,
            "providers": [
                {
                    "name": FOLDER,
                    "folder": title,
                    "folderUid": FOLDER,
                    "type": "file",
                    "disableDeletion": True,
                    "allowUiUpdates": False,
                    "options": {"path": BOARDS_AT},
                }
            ],
        },
        "alerting/banksman.yaml": _alerting(language, title, contacts),
    }
    yaml = YAML()
    written = []
    for name, content in files.items():
        path = _made(out / name)
        with path.open("w", encoding="utf-8") as file:
            yaml.dump(content, file)
        written.append(path)
    for uid, board in boards(language, setup).items():
        path = _made(out / "dashboards" / "banksman" / f"{uid}.json")
        path.write_text(json.dumps(board, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        written.append(path)
    return tuple(written)


def _alerting(language: Language, folder: str, contacts: Sequence[Contact]) -> dict[str, Any]:
    """Files name a rule's folder and group around it, not in it; and contact points hold their receivers."""
    receiver = alerts.RECEIVER if contacts else None
    around = ("folderUID", "ruleGroup", "orgID")
    rules = [{k: v for k, v in rule.items() if k not in around} for rule in alerts.rules(language, receiver=receiver)]
    group = {"orgId": 1, "name": alerts.GROUP, "folder": folder, "interval": f"{alerts.EVERY_S}s"}
    points = [{k: v for k, v in point.items() if k != "name"} for point in alerts.contact_points(contacts)]
    receivers = [{"orgId": 1, "name": alerts.RECEIVER, "receivers": points}] if points else []
    return {"apiVersion": 1, "groups": [group | {"rules": _literal(rules)}]} | (
        {"contactPoints": receivers} if receivers else {}
    )


def _literal(value: Any) -> Any:
    """With dollars doubled: in files Grafana takes one for the start of a name of its environment."""
    if isinstance(value, dict):
        return {key: _literal(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_literal(inner) for inner in value]
    return value.replace("$", "$$") if isinstance(value, str) else value


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
