"""A real InfluxDB, asked whether it lets this node write, and what can be wrong with it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.doctor import network
from edge.doctor.influx import examine_influx
from edge.doctor.result import Result
from edge.site.model import InfluxUplink
from tests.influx import TOKEN, Influx
from tests.servers import HOST, Authority

DB = "banksman"


@pytest.fixture(scope="module")
def server(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx]:
    with Influx(tmp_path_factory.mktemp("influx"), authority.issue("influx", host=HOST, days=(-1, 90))) as running:
        running.create(DB)
        yield running


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(network, "SPEAKS_S", 0.05)
    file = tmp_path / "influx.token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    return file


def examined(server: Influx, authority: Authority, token: Path, **more: Any) -> Result:
    settings = {"url": server.url, "token_file": token, "ca": authority.cert, **more}
    return examine_influx(InfluxUplink.model_validate(settings), "north-yard", time.time())


def test_all_is_well_and_nothing_was_written(server: Influx, authority: Authority, token: Path) -> None:
    result = examined(server, authority, token)
    assert (result.code, result.fields) == ("ok", {"days": 89})
    assert server.query(DB, "SHOW MEASUREMENTS") == []


ANSWERS = {
    204: "ok",
    401: "not_known",
    403: "not_known",
    404: "no_bucket",
    400: "trouble",
    429: "trouble",
    500: "trouble",
}


@pytest.mark.parametrize(("status", "code"), ANSWERS.items())
def test_what_it_answers(server: Influx, authority: Authority, token: Path, status: int, code: str) -> None:
    server.trouble.append((status, {}))
    assert examined(server, authority, token).code == code


def test_what_is_wrong_on_this_node(
    server: Influx, authority: Authority, stranger: Authority, token: Path, unused_port: int
) -> None:
    assert examined(server, stranger, token).code == "untrusted"
    assert examined(server, authority, token, ca="/nowhere").code == "files"
    assert examined(server, authority, token, bucket="{site}").fields == {"bucket": "north-yard", "org": DB}
    assert examined(server, authority, token, url=f"https://{HOST}:{unused_port}").code == "refused"
    token.chmod(0o644)
    assert examined(server, authority, token).code == "open_token"
    token.write_text("another")
    assert examined(server, authority, token).code == "not_known"
    token.unlink()
    result = examined(server, authority, token)
    assert result.code == "token"
    assert "No such file" in str(result.fields["error"])


def test_on_this_computer_it_may_be_without_tls(token: Path, tmp_path: Path, authority: Authority) -> None:
    with Influx(tmp_path / "plain") as server:
        server.create(DB)
        assert examined(server, authority, token, ca=None).code == "plain"
