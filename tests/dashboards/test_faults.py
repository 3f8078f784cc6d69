"""What is said of each way in which Grafana cannot be reached, by what really goes wrong there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dashboards.faults import told
from dashboards.grafana import Grafana, GrafanaError
from dashboards.text import catalogue
from tests.dashboards.stub_grafana import TOKEN, StubGrafana
from tests.servers import HOST, Authority, Certificate


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def good(authority: Authority) -> Certificate:
    return authority.issue("grafana", host=HOST)


def begins(key: str, said: str, url: str) -> bool:
    """Whether a text is the one of this key, up to what differs in it."""
    return said.startswith(catalogue("en").texts[f"push.error.{key}"].replace("{url}", url).partition("{")[0])


def refusal(url: str, ca: Path | None = None) -> GrafanaError:
    with Grafana(url, TOKEN, ca, retries=0) as grafana, pytest.raises(GrafanaError) as caught:
        grafana.health()
    return caught.value


@pytest.mark.parametrize(
    ("issue", "trusted", "key"),
    [
        (good, False, "tls_unknown"),
        (lambda authority: authority.issue("grafana", host="10.9.8.7"), True, "tls_name"),
        (lambda authority: authority.issue("grafana", host=HOST, days=(-9, -1)), True, "tls_expired"),
    ],
)
def test_certificates(authority: Authority, issue: Callable[[Authority], Certificate], trusted: bool, key: str) -> None:
    with StubGrafana(certificate=issue(authority)) as stub:
        error = refusal(stub.url, authority.cert if trusted else None)
        assert begins(key, told(error, "en"), stub.url), told(error, "en")
        assert told(error, "zh-CN") != told(error, "en")


def test_tls_where_there_is_none_and_none_where_there_is() -> None:
    with StubGrafana() as stub:
        url = stub.url.replace("http:", "https:")
        assert begins("tls_none", told(refusal(url), "en"), url)


@pytest.mark.parametrize(
    ("url", "key"), [("http://no-such-host.invalid:3000", "no_name"), ("http://127.0.0.1:1", "unreachable")]
)
def test_nobody_there(url: str, key: str) -> None:
    said = told(refusal(url), "en")
    assert begins(key, said, url), said
    assert "object at 0x" not in said
    assert "HTTPConnection" not in said
