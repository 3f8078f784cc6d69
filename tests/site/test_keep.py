"""The newest good file is in force; a bad one is told and changes nothing, also over a restart."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest

from edge.site import disk, keep
from edge.site.keep import SiteFileKeeper, last_good_beside
from edge.site.load import SiteFileError
from tests.site.builders import MINIMAL, RULES, SECRETS, full

BAD = MINIMAL.replace("39.91", "399")
OTHER = MINIMAL.replace("39.91", "31.23")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "site.yaml"
    file.write_text(MINIMAL)
    return file


@pytest.fixture
def copy(path: Path) -> Path:
    return last_good_beside(path)


def test_the_first_poll_gives_the_file_and_the_next_nothing(path: Path) -> None:
    keeper = SiteFileKeeper(path, RULES)
    with pytest.raises(RuntimeError, match="poll first"):
        _ = keeper.current
    assert keeper.hash == ""
    site = keeper.poll()
    assert site is keeper.current
    assert site is not None
    assert site.site.latitude == 39.91
    assert keeper.hash == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [keeper.poll() for _ in range(3)] == [None] * 3
    assert keeper.error is None


def test_a_changed_file_comes_in_force(path: Path) -> None:
    keeper = SiteFileKeeper(path, RULES)
    keeper.poll()
    path.write_text(OTHER)
    site = keeper.poll()
    assert site is not None
    assert site.site.latitude == 31.23
    assert keeper.current is site
    assert keeper.hash == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("spoil", ["bad", "empty", "gone", "folder", "binary"])
def test_a_bad_file_is_told_and_the_good_one_stays(path: Path, spoil: str, caplog: pytest.LogCaptureFixture) -> None:
    keeper = SiteFileKeeper(path, RULES)
    good, good_hash = keeper.poll(), keeper.hash
    path.unlink()
    if spoil == "folder":
        path.mkdir()
    elif spoil != "gone":
        path.write_bytes({"bad": BAD.encode(), "empty": b"", "binary": bytes(range(256))}[spoil])
    for _ in range(3):
        assert keeper.poll() is None
        assert keeper.current is good
        assert keeper.hash == good_hash
        assert keeper.error is not None
        assert str(path) in keeper.error
    assert len([r for r in caplog.records if "refused" in r.message]) == 1
    if spoil == "folder":
        path.rmdir()
    path.write_text(MINIMAL)  # put back as it was
    assert keeper.poll() is None
    assert keeper.error is None
    path.write_text(OTHER)
    assert keeper.poll() is not None
    assert keeper.error is None


def test_a_second_bad_file_replaces_what_is_told(path: Path) -> None:
    keeper = SiteFileKeeper(path, RULES)
    keeper.poll()
    told = []
    for step in (path.write_text, lambda _: path.unlink(), path.write_text):
        step(BAD)
        keeper.poll()
        assert keeper.problems is not None
        told.append(keeper.problems.problems[0].where)
    assert told == ["site.latitude", "", "site.latitude"]


def test_two_writes_within_one_tick_are_both_seen(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems keep times in steps of some milliseconds; the second write may have size and times of the first."""
    monkeypatch.setattr(SiteFileKeeper, "_stat", lambda _: (1, len(MINIMAL), 0, 0))
    keeper = SiteFileKeeper(path, RULES)
    keeper.poll()
    path.write_text(OTHER)
    site = keeper.poll()
    assert site is not None
    assert site.site.latitude == 31.23


def test_an_untouched_file_is_read_twice_at_most(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counted(file: Path, language: str) -> bytes:
        read.append(file)
        return disk.read_bytes(file, language)

    monkeypatch.setattr(keep, "read_bytes", counted)
    keeper = SiteFileKeeper(path, RULES)
    for _ in range(10):
        keeper.poll()
    assert len(read) == 2


def test_a_node_that_starts_with_a_bad_file_takes_the_last_good_one(path: Path, copy: Path) -> None:
    first = SiteFileKeeper(path, RULES, copy)
    first.poll()
    path.write_text(BAD)
    again = SiteFileKeeper(path, RULES, copy)
    site = again.poll()
    assert site == first.current
    assert again.hash == first.hash
    assert again.error is not None
    assert "latitude" in again.error
    assert again.poll() is None
    path.write_text(OTHER)
    assert again.poll() is not None
    assert again.error is None
    path.unlink()
    third = SiteFileKeeper(path, RULES, copy).poll()
    assert third is not None
    assert third.site.latitude == 31.23


def test_paths_in_the_copy_still_begin_at_the_site_file(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "site.yaml"
    path.parent.mkdir()
    path.write_text(MINIMAL.replace("{type: usb}", "{type: file, path: clips/a.mp4}"))
    copy = tmp_path / "site.last-good"
    SiteFileKeeper(path, RULES, copy).poll()
    path.write_text(BAD)
    site = SiteFileKeeper(path, RULES, copy).poll()
    assert site is not None
    assert site.cameras[0].source.path == path.parent / "clips/a.mp4"  # type: ignore[union-attr]


def test_a_bad_file_without_a_usable_copy_is_an_error(path: Path, copy: Path) -> None:
    path.write_text(BAD)
    for keeper in (SiteFileKeeper(path, RULES), SiteFileKeeper(path, RULES, copy)):
        with pytest.raises(SiteFileError, match="latitude"):
            keeper.poll()
    copy.write_text("cameras: [")  # from an older version, or damaged
    with pytest.raises(SiteFileError, match="latitude"):
        SiteFileKeeper(path, RULES, copy).poll()


def test_the_copy_is_for_the_owner_only(path: Path, copy: Path) -> None:
    path.write_text(full())
    path.chmod(0o644)
    SiteFileKeeper(path, RULES, copy).poll()
    assert copy.stat().st_mode & 0o777 == 0o600
    assert copy.read_bytes() == path.read_bytes()


def test_a_copy_that_cannot_be_written_does_not_stop_the_node(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = SiteFileKeeper(path, RULES, tmp_path / "none" / "copy")
    with caplog.at_level(logging.WARNING):
        assert keeper.poll() is not None
    assert "no copy of the site file" in caplog.text


def test_neither_error_nor_log_shows_a_secret(path: Path, copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    keeper = SiteFileKeeper(path, RULES, copy)
    path.write_text(full())
    keeper.poll()
    path.write_text(full(('"0123 hush"', '"0123 hush'), ("rtsp://viewer", "rtps://viewer")))
    with caplog.at_level(logging.DEBUG):
        keeper.poll()
        SiteFileKeeper(path, RULES, copy).poll()
    assert keeper.error is not None
    assert not [s for s in SECRETS if s in keeper.error + caplog.text]


def test_problems_are_told_in_the_language_of_the_file_in_force(path: Path) -> None:
    keeper = SiteFileKeeper(path, RULES)
    path.write_text(MINIMAL + "language: zh-CN\n")
    keeper.poll()
    path.write_text(BAD)
    keeper.poll()
    assert keeper.error is not None
    assert "不能大于 90" in keeper.error
