"""The wrapper round grafana-api: each trouble has its kind, what is done is no failure, and no text has a secret."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dashboards.grafana import Grafana, GrafanaError, Kind
from tests.dashboards.stub_grafana import EDITOR, TOKEN, StubGrafana, Trouble
from tests.servers import HOST, Authority, Certificate

RULES = "/v1/provisioning/alert-rules"
FOLDER = {"uid": "banksman", "title": "Banksman"}


@pytest.fixture
def stub() -> Iterator[StubGrafana]:
    with StubGrafana() as stub:
        yield stub


@pytest.fixture
def grafana(stub: StubGrafana) -> Iterator[Grafana]:
    with Grafana(stub.url, TOKEN, read_s=5) as grafana:
        yield grafana


def kind_of(call: Callable[[], object]) -> Kind:
    with pytest.raises(GrafanaError) as caught:
        call()
    told = "".join(traceback.format_exception(caught.value)) + caught.value.said
    assert TOKEN not in told
    return caught.value.kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Kind.REFUSED),
        (401, Kind.TOKEN),
        (403, Kind.RIGHT),
        (404, Kind.MISSING),
        (409, Kind.CONFLICT),
        (412, Kind.CONFLICT),
        (422, Kind.REFUSED),
        (500, Kind.BROKEN),
        (599, Kind.BROKEN),
        (499, Kind.REFUSED),
    ],
)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"message": "no"}',
        b'"a message"',
        b"[]",
        b"<html>with a message in it</html>",
        b'{"message": null}',
        b'{"results": {"A": {"error": "no"}}}',
        b'{"results": {"A": null}}',
        b'{"results": null}',
    ],
)
def test_a_failure_has_its_kind_whatever_is_in_it(
    stub: StubGrafana, grafana: Grafana, status: int, kind: Kind, body: bytes
) -> None:
    stub.troubles.append(Trouble("POST", "/folders", "answer", status, body))
    assert kind_of(lambda: grafana.create_folder(**FOLDER)) is kind
    assert stub.folders == {}


@pytest.mark.parametrize("body", [b"<html>Log in</html>", b"[1]", b'"text"', b"\xff\xff"])
def test_what_is_not_grafana_is_found_out(stub: StubGrafana, grafana: Grafana, body: bytes) -> None:
    stub.troubles.append(Trouble("GET", "/health", "answer", 200, body))
    assert kind_of(grafana.health) is Kind.NOT_GRAFANA


def test_another_address_is_told_and_not_followed_because_the_token_would_go_there(
    stub: StubGrafana, grafana: Grafana
) -> None:
    stub.troubles.append(Trouble("POST", "/folders", "answer", 301, b"", (("Location", "https://other.example/"),)))
    assert kind_of(lambda: grafana.create_folder(**FOLDER)) is Kind.MOVED


def test_an_empty_reply_is_no_failure() -> None:
    with StubGrafana(empty=True) as stub, Grafana(stub.url, TOKEN) as grafana:
        grafana.create_folder(**FOLDER)
        assert stub.folders["banksman"]["title"] == "Banksman"
        stub.rules["old"] = {"uid": "old", "provenance": "api"}
        grafana.delete_rule("old")
        assert stub.rules == {}


def test_nothing_there_is_none_and_not_a_failure(grafana: Grafana) -> None:
    things = (grafana.folder("x"), grafana.datasource("x"), grafana.board("x"), grafana.rule("x"))
    assert things == (None, None, None, None)
    assert grafana.contact_points("x") == []


@pytest.mark.parametrize("status", [429, 502, 503])
def test_asking_is_repeated_where_grafana_is_busy_and_writing_is_not(
    stub: StubGrafana, grafana: Grafana, status: int
) -> None:
    stub.troubles.append(Trouble("GET", "/health", "answer", status))
    assert grafana.health()["version"] == stub.version
    stub.troubles.append(Trouble("POST", "/folders", "answer", status))
    kind_of(lambda: grafana.create_folder(**FOLDER))
    assert stub.writes == []


def test_a_lost_reply_to_asking_is_asked_again_and_one_to_writing_is_told(stub: StubGrafana, grafana: Grafana) -> None:
    stub.troubles.append(Trouble("GET", "/health", "lose"))
    assert grafana.health()["version"] == stub.version
    stub.troubles.append(Trouble("POST", "/folders", "lose"))
    assert kind_of(lambda: grafana.create_folder(**FOLDER)) is Kind.UNREACHABLE
    assert stub.writes == ["POST /folders"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/folders/"), ("POST", "/folders")])
def test_no_answer_ends_in_time(stub: StubGrafana, method: str, path: str) -> None:
    stub.troubles.append(Trouble(method, path, "hang"))
    with Grafana(stub.url, TOKEN, read_s=0.2, retries=0) as grafana:
        calls: dict[str, Callable[[], object]] = {
            "GET": lambda: grafana.folder("x"),
            "POST": lambda: grafana.create_folder(**FOLDER),
        }
        assert kind_of(calls[method]) is Kind.SLOW


def test_nobody_there(unused_port: int) -> None:
    with Grafana(f"http://{HOST}:{unused_port}", TOKEN, retries=0) as grafana:
        assert kind_of(grafana.health) is Kind.UNREACHABLE
    with Grafana("http://no-such-host.invalid", TOKEN, retries=0) as grafana:
        assert kind_of(grafana.health) is Kind.UNREACHABLE


@pytest.mark.parametrize(
    "url", ["", "grafana", "ftp://x", "http://", "http://u:p@x", "http://x:0", "http://x:a", "http://[x"]
)
def test_an_address_that_is_none_is_not_repeated(url: str) -> None:
    with pytest.raises(GrafanaError) as caught:
        Grafana(url, TOKEN)
    assert caught.value.kind is Kind.ADDRESS
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "中文", "tab\t"])
def test_a_token_that_cannot_be_one_is_told_before_it_is_sent(stub: StubGrafana, token: str) -> None:
    with pytest.raises(GrafanaError) as caught:
        Grafana(stub.url, token)
    assert caught.value.kind is Kind.TOKEN
    assert token == "" or token not in str(caught.value)


def test_grafana_below_a_path() -> None:
    with StubGrafana(prefix="/below/grafana") as stub:
        for url in (stub.url, f"{stub.url}/"):
            with Grafana(url, TOKEN) as grafana:
                assert grafana.permissions()
        with Grafana(stub.url.removesuffix("/below/grafana"), TOKEN) as grafana:
            assert kind_of(grafana.health) is Kind.MISSING


def test_rights_and_tokens(stub: StubGrafana, grafana: Grafana) -> None:
    stub.rights[TOKEN] = EDITOR
    assert kind_of(lambda: grafana.create_datasource({"uid": "x", "name": "x"})) is Kind.RIGHT
    grafana.create_folder(**FOLDER)
    del stub.rights[TOKEN]
    assert kind_of(grafana.permissions) is Kind.TOKEN


def test_certificates(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other", "Other CA")

    def kinds(certificate: Certificate, ca: Path | None) -> Kind | None:
        with StubGrafana(certificate=certificate) as stub, Grafana(stub.url, TOKEN, ca, retries=0) as grafana:
            try:
                grafana.permissions()
            except GrafanaError as error:
                return error.kind
        return None

    good = authority.issue("grafana", host=HOST)
    assert kinds(good, authority.cert) is None
    assert kinds(good, None) is Kind.TLS
    assert kinds(good, other.cert) is Kind.TLS
    assert kinds(authority.issue("grafana", host="10.9.8.7"), authority.cert) is Kind.TLS
    assert kinds(authority.issue("grafana", host=HOST, days=(-9, -1)), authority.cert) is Kind.TLS
    with StubGrafana() as stub, Grafana(stub.url.replace("http:", "https:"), TOKEN, retries=0) as grafana:
        assert kind_of(grafana.health) is Kind.TLS

    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for ca in (tmp_path / "absent.pem", broken):
        with pytest.raises(GrafanaError) as caught:
            Grafana("https://grafana.example", TOKEN, ca)
        assert caught.value.kind is Kind.TLS


def test_no_message_and_no_log_has_a_secret(stub: StubGrafana, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    robot = "https://robot.example/send?key=5ecr3t"
    said = json.dumps({"message": f"bad: {robot} by {TOKEN}"}).encode()
    with Grafana(stub.url, TOKEN, secrets=[robot]) as grafana:
        for status in (400, 401, 500):
            stub.troubles.append(Trouble("POST", "/contact-points", "answer", status, said))
            with pytest.raises(GrafanaError) as caught:
                grafana.create_contact_point({"settings": {"url": robot}})
            assert caught.value.said == "bad: … by …"
            told = "".join(traceback.format_exception(caught.value))
            assert TOKEN not in told
            assert robot not in told
    assert TOKEN not in caplog.text
    assert robot not in caplog.text


def test_paths_by_number_which_grafana_13_has_no_more_are_not_used(stub: StubGrafana, grafana: Grafana) -> None:
    grafana.create_datasource({"uid": "a", "name": "A", "type": "influxdb", "jsonData": {}})
    grafana.update_datasource("a", {"uid": "a", "name": "B", "type": "influxdb", "jsonData": {}, "version": 1})
    assert stub.writes == ["POST /datasources", "PUT /datasources/uid/a"]
    stale = {"uid": "a", "name": "C", "type": "influxdb", "jsonData": {}, "version": 1}
    assert kind_of(lambda: grafana.update_datasource("a", stale)) is Kind.CONFLICT
