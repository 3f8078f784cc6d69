"""dispatch.yaml: what is wrong is told with its place, and never with a value."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.dispatch.settings import SettingsError, load

GOOD = """\
database: postgresql://dispatch:hunter2@db/dispatch
evidence: pictures
mqtt:
  host: broker
  ca: ca.pem
  cert: /etc/dispatch/1.pem
  key: /etc/dispatch/1.key
  client_id: -/dispatch-1
  share_group: dispatch-0123
influx: {url: "https://influx:8086", org: o, token: hunter2}
web:
  url: https://dispatch.example.org
  secret: 0123456789abcdef0123456789abcdef-hunter2
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "dispatch.yaml"
    path.write_text(text)
    return path


def test_paths_are_beside_the_file_and_secrets_are_not_shown(tmp_path: Path) -> None:
    settings = load(written(tmp_path, GOOD))
    assert (settings.evidence, settings.mqtt.ca) == (tmp_path / "pictures", tmp_path / "ca.pem")
    assert settings.mqtt.cert == Path("/etc/dispatch/1.pem")
    assert settings.database.get_secret_value() == "postgresql://dispatch:hunter2@db/dispatch"
    assert "hunter2" not in repr(settings)


def test_a_token_may_end_with_an_end_of_line(tmp_path: Path) -> None:
    """HTTP would refuse it there, and show it in its error."""
    text = GOOD.replace("token: hunter2", r'token: "hunter2\r\n"')
    influx = load(written(tmp_path, text)).influx
    assert influx is not None
    assert influx.token.get_secret_value() == "hunter2"


@pytest.mark.parametrize("line", ["", "database: sqlite:///dispatch.db\n"])
def test_sqlite_is_the_default_and_lies_beside_the_file(tmp_path: Path, line: str) -> None:
    settings = load(written(tmp_path, f"{line}mqtt: {{host: b}}\nweb: {{secret: {'x' * 32}}}\n"))
    assert settings.database.get_secret_value() == f"sqlite:///{tmp_path}/dispatch.db"
    assert settings.evidence == tmp_path / "evidence"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ["1:1: mqtt: Field required", "1:1: web: Field required"]),
        ("mqtt: [", [":1:8: "]),
        (GOOD.replace("host: broker", "hots: broker"), ["3:1: mqtt.host: Field", "4:3: mqtt.hots: Extra"]),
        (GOOD.replace("client_id:", "port: 70000\n  client_id:"), ["8:3: mqtt.port: Input should be less"]),
        (GOOD.replace("  key: /etc/dispatch/1.key\n", ""), ["3:1: mqtt: cert and key belong together"]),
        (GOOD.replace("dispatch-0123", "a/b"), ["3:1: mqtt: share_group must hold neither"]),
        (GOOD.replace("dispatch.example.org", "dispatch.example.org/"), ["12:3: web.url: String should match"]),
        (GOOD.replace("0123456789abcdef0123456789abcdef-hunter2", "hunter2"), ["13:3: web.secret: Value should have"]),
        (GOOD.replace("token: hunter2", "token: hunter2 2"), ["10:46: influx.token: a token is one word"]),
        (GOOD.replace("token: hunter2", "token: 'hunter\u00e92'"), ["10:46: influx.token: a token is one word"]),
        (GOOD + "mqtt: {}\n", ["14:1: "]),
        ("- 1\n", ["1:1: the file: "]),
    ],
)
def test_what_is_wrong_is_told_with_line_and_column(tmp_path: Path, text: str, told: list[str]) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SettingsError) as error:
        load(path)
    assert len(error.value.problems) == len(told), error.value.problems
    for problem, wanted in zip(error.value.problems, told, strict=True):
        assert problem.startswith(str(path))
        assert wanted in problem
        assert "hunter2" not in problem


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such file"):
        load(tmp_path / "dispatch.yaml")
