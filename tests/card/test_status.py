"""STATUS.txt of a node: what anybody reads on a laptop, written only when it says something new."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deploy.card.status import Facts, lasting, page_port, service, told, update

NOW = 1_795_770_000.0
GOOD = Facts("north/gate-03  北门", "0.1.0", "active", "1 of 1 cameras", 0, ["10.0.0.9", "10.0.1.7"], 8080)


@pytest.mark.parametrize(
    ("facts", "zh", "en"),
    [
        (GOOD, "节点正在工作", "The node is working"),
        (GOOD, "http://10.0.0.9:8080/", "http://10.0.1.7:8080/"),
        (GOOD, "状态：1 of 1 cameras", "Version: 0.1.0"),
        (replace(GOOD, active="activating"), "正在启动", "is starting"),
        (replace(GOOD, active="activating", restarts=7), "已试 7 次", "7 times"),
        (replace(GOOD, active="failed"), "启动不了", "does not start"),
        (replace(GOOD, active="inactive"), "已停止", "has been stopped"),
        (replace(GOOD, addresses=[]), "没有网络", "No network"),
    ],
)
def test_it_says_how_the_node_is_in_both_languages(facts: Facts, zh: str, en: str) -> None:
    text = told(facts, NOW)
    assert zh in text
    assert en in text
    assert "north/gate-03" in text


def test_a_page_for_the_node_alone_is_not_offered() -> None:
    assert "http:" not in told(replace(GOOD, page=None), NOW)


def test_it_is_written_when_something_changed_and_so_that_notepad_shows_it(tmp_path: Path) -> None:
    assert update(tmp_path, told(GOOD, NOW))
    raw = (tmp_path / "STATUS.txt").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    assert raw.count(b"\n") == raw.count(b"\r\n") > 5
    assert not update(tmp_path, told(GOOD, NOW + 3600))
    assert (tmp_path / "STATUS.txt").read_bytes() == raw
    assert update(tmp_path, told(replace(GOOD, said="0 of 1 cameras"), NOW + 3600))
    assert [path.name for path in tmp_path.iterdir()] == ["STATUS.txt"]


def test_time_alone_is_no_news() -> None:
    assert lasting(told(GOOD, NOW)) == lasting(told(GOOD, NOW + 86_400))


def test_what_systemctl_prints_is_read() -> None:
    said = service("ActiveState=active\nStatusText=a=b, c\nNRestarts=0\n")
    assert said == {"ActiveState": "active", "StatusText": "a=b, c", "NRestarts": "0"}


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("page: {host: 0.0.0.0, port: 8443, password: 12345678}", 8443),
        ("page: {host: 0.0.0.0, password: 12345678}", 8080),
        ("page: {host: 127.0.0.1}", None),
        ("page:", None),
        ("site: [", None),
        ("", None),
    ],
)
def test_the_page_s_port_is_that_of_the_site_file(tmp_path: Path, text: str, port: int | None) -> None:
    (tmp_path / "site.yaml").write_text(text)
    assert page_port(tmp_path / "site.yaml") == port
    assert page_port(tmp_path / "none.yaml") is None
