"""A new password of the page changes that and nothing else, whole or not at all."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.node import app
from edge.site.load import SiteFileError, load
from edge.site.password import save_password
from tests.site.builders import MINIMAL, RULES, full

NEW = 'with "quotes": # and more'
QUOTED = '"with \\"quotes\\": # and more"'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("page:\n  password: hush-hush-page\n", f"page:\n  password: {QUOTED}\n"),
        (
            "page:\n  password: 'hush-hush'   # of old\n  port: 81\n",
            f"page:\n  password: {QUOTED}   # of old\n  port: 81\n",
        ),
        ("page:\n  password:\n", f"page:\n  password: {QUOTED}\n"),
        ("page:\n  password:  # none\n  port: 81\n", f"page:\n  password: {QUOTED}  # none\n  port: 81\n"),
        ("page:\n  # phones\n  host: 127.0.0.1\n", f"page:\n  # phones\n  password: {QUOTED}\n  host: 127.0.0.1\n"),
        ("page: {host: 0.0.0.0, password: hush-hush}\n", f"page: {{host: 0.0.0.0, password: {QUOTED}}}\n"),
    ],
)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_only_the_password_changes(tmp_path: Path, before: str, after: str, ends: str) -> None:
    path = tmp_path / "site.yaml"
    rest = MINIMAL, "# the end\n"
    path.write_bytes(before.join(rest).replace("\n", ends).encode())
    save_password(path, NEW, RULES)
    assert path.read_bytes() == after.join(rest).replace("\n", ends).encode()
    page = load(path, RULES).page
    assert page is not None
    assert page.password is not None
    assert page.password.get_secret_value() == NEW


@pytest.mark.parametrize(
    "page",
    [
        "", "page: {port: 8081}\n", "page:\n", "page: {}\n", "page: {password}\n", "page:\n  ? password\n",
        "page:\n  password: |\n    hush-hush\n  port: 81\n", "page:\n  password: >-\n    hush-\n    hush\n  port: 81\n",
    ],
)  # fmt: skip
def test_where_there_is_no_place_for_it_nothing_is_written_and_said_what_is(tmp_path: Path, page: str) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(MINIMAL + page)
    for language, told in (("en", "text editor"), ("zh-CN", "文本编辑器")):
        with pytest.raises(SiteFileError, match=told):
            save_password(path, NEW, RULES, language)
    assert path.read_text() == MINIMAL + page


def test_a_file_that_is_not_right_stays(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(full(("port: 8080", "port: 0")))
    with pytest.raises(SiteFileError, match="port"):
        save_password(path, NEW, RULES)
    assert path.read_text() == full(("port: 8080", "port: 0"))


@pytest.mark.parametrize(("language", "told"), [("en", "Password of the node's page: "), ("zh-CN", "节点网页的密码：")])
def test_on_the_node_one_command_makes_it_and_tells_it_once(tmp_path: Path, language: str, told: str) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(full())
    path.chmod(0o660)
    done = CliRunner().invoke(app, ["password", "--etc", str(tmp_path), "--lang", language])
    assert done.exit_code == 0, done.output
    label, password = done.stdout.strip()[: len(told)], done.stdout.strip()[len(told) :]
    assert label == told
    page = load(path, RULES).page
    assert page is not None
    assert page.password is not None
    assert page.password.get_secret_value() == password
    assert "hush-hush-page" not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    again = CliRunner().invoke(app, ["password", "--etc", str(tmp_path), "--lang", language])
    assert again.stdout != done.stdout


def test_without_a_site_file_it_says_so(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["password", "--etc", str(tmp_path), "--lang", "en"])
    assert (done.exit_code, "there is no such file" in done.stderr) == (2, True)
