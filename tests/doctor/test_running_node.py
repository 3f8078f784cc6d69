"""A node that runs already is seen, and notices nothing."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.clock import SystemClock
from edge.doctor.node import examine_node, examine_page
from edge.journal.journal import Journal
from edge.site.model import JournalSettings, Page

HOLDER = """
import sys
from pathlib import Path
from edge.clock import SystemClock
from edge.journal.journal import Journal
from edge.site.model import JournalSettings
journal = Journal(Path(sys.argv[1]), SystemClock(), JournalSettings())
print("open", flush=True)
sys.stdin.readline()
journal.reading("node", SystemClock().now(), {"fps": 1.0})
journal.close()
print("closed", journal.state.ok, flush=True)
"""


@contextmanager
def holder(journal: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the journal open, as a node has."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(journal)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "open\n"
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_running_node_is_named_and_goes_on_writing(tmp_path: Path) -> None:
    with holder(tmp_path / "journal.db") as process:
        before = sorted(p.name for p in tmp_path.iterdir())
        result = examine_node(tmp_path)
        assert (result.code, result.fields["pid"]) == ("running", process.pid)
        assert sorted(p.name for p in tmp_path.iterdir()) == before
        said, _ = process.communicate("\n", timeout=20)
        assert said == "closed True\n"
    assert examine_node(tmp_path).code == "free"


def test_a_killed_node_is_not_taken_for_a_running_one(tmp_path: Path) -> None:
    with holder(tmp_path / "journal.db"):
        pass
    assert examine_node(tmp_path).code == "free"
    Journal(tmp_path / "journal.db", SystemClock(), JournalSettings()).close()


def test_no_data_folder_no_node(tmp_path: Path) -> None:
    assert examine_node(tmp_path / "none").code == "free"
    assert list(tmp_path.iterdir()) == []


def test_a_data_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert examine_node(tmp_path / "data").code == "unreadable"


def page(port: int, host: str = "127.0.0.1") -> Page:
    return Page.model_validate({"host": host, "port": port, "password": "a long phrase"})


def test_a_free_port_is_free_again_afterwards(unused_port: int) -> None:
    for _ in range(2):
        assert examine_page(page(unused_port), node_runs=False).code == "free"


@pytest.mark.parametrize(("node_runs", "code"), [(False, "in_use"), (True, "served")])
def test_a_port_that_is_taken(node_runs: bool, code: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert examine_page(page(taken.getsockname()[1]), node_runs=node_runs).code == code


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a..b"])
def test_an_address_that_is_not_this_computers(host: str, unused_port: int) -> None:
    assert examine_page(page(unused_port, host), node_runs=False).code == "unusable"
