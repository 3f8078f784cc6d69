"""A node on a folder, and its page over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from edge.clock import ManualClock, Stamp
from tests.page.builders import PASSWORD, BenchNode, serving


@pytest.fixture
def node(tmp_path: Path, clock: ManualClock) -> Iterator[BenchNode]:
    node = BenchNode(tmp_path, clock)
    yield node
    node.journal.close()


class Stand:
    """Passes everything on to the node of the running test: starting a page for each would take most of the time."""

    node: BenchNode

    def __getattr__(self, name: str) -> Any:
        return getattr(self.node, name)

    def now(self) -> Stamp:
        return self.node.clock.now()


@pytest.fixture(scope="session")
def stand() -> Iterator[tuple[Stand, str]]:
    stand = Stand()
    with serving(cast("BenchNode", stand), stand) as url:
        yield stand, url


@pytest.fixture
def url(node: BenchNode, stand: tuple[Stand, str]) -> str:
    """The page without a password. It keeps nothing of its own from test to test."""
    stand[0].node = node
    return stand[1]


@pytest.fixture
def locked_url(node: BenchNode) -> Iterator[str]:
    """The page with a password; a fresh one, for it knows who is logged in and who has guessed."""
    with serving(node, node.clock, password=PASSWORD) as url:
        yield url


class Reader(httpx.Client):
    """A browser without eyes: keeps cookies, asks for HTML, sends the origin of the page with every POST."""

    def __init__(self, url: str) -> None:
        super().__init__(
            base_url=url,
            headers={"Accept": "text/html,*/*", "Origin": url},
            timeout=20.0,
            trust_env=False,
            verify=False,
        )

    def log_in(self, password: str = PASSWORD, after: str = "/") -> httpx.Response:
        return self.post("/login", data={"password": password, "next": after})


@pytest.fixture
def reader(url: str) -> Iterator[Reader]:
    with Reader(url) as reader:
        yield reader


@pytest.fixture
def stranger(locked_url: str) -> Iterator[Reader]:
    """Not logged in at a page with a password."""
    with Reader(locked_url) as reader:
        yield reader
