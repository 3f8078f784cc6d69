"""A whole node that grows hot says what it leaves undone, everywhere, and takes it up again."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest

import edge.heat
import edge.node
from edge.clock import SystemClock
from edge.node import InForce, Node, open_node
from edge.rules import RULES
from edge.service.service import Service
from edge.site.keep import SiteFileKeeper
from edge.values import CameraState, Reason
from tests.service.manager import Manager
from tests.service.site import write_site
from tests.waiting import until

PATIENCE_S = 60.0


def judged(node: Node, camera: str) -> set[Reason | None]:
    """What the rules that apply now say of a camera."""
    return {s.reason for s in node.states() if s.instance.source == camera and s.rest is None}


def test_it_is_said_what_is_left_undone_for_the_heat(
    tmp_path: Path, unused_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    degrees = [60.0]
    monkeypatch.setattr(edge.node, "cpu_temperature", lambda: degrees[0])
    monkeypatch.setattr(edge.node, "HEAT_S", 0.0)
    monkeypatch.setattr(edge.node, "HOUSE_S", 0.2)
    for name in ("DOWN_S", "UP_S"):
        monkeypatch.setattr(edge.heat, name, 0.1)
    path = write_site(tmp_path, lost=False, others=["pit"], page={"port": unused_port})
    clock, stop, manager = SystemClock(trusted=True), threading.Event(), Manager(tmp_path)
    keeper = SiteFileKeeper(path, RULES)
    keeper.poll()
    said: list[str] = []

    def told(word: str) -> bool:
        said.extend(manager.heard())
        return any(word in line for line in said[-1:])

    service = Service(manager.notifier(), None, clock)
    with open_node(path, keeper, InForce(keeper.current, keeper.hash), clock, stop, service) as node:
        judge = threading.Thread(target=node.run)
        judge.start()
        try:
            until(lambda: [c.state for c in node.cameras()] == [CameraState.LIVE] * 2, timeout=PATIENCE_S)
            until(lambda: told("sees 2 of 2 cameras"), timeout=PATIENCE_S)
            degrees[0] = 84.0
            until(lambda: told("cameras are left out | not judged for the heat: pit"), timeout=PATIENCE_S)
            assert "sees 1 of 2 cameras" in said[-1]
            until(lambda: [c.state for c in node.cameras()] == [CameraState.LIVE, CameraState.LEFT_OUT])
            until(lambda: judged(node, "pit") == {Reason.NODE_HOT})
            message = node.health_message()
            assert (message.cooling, [c.state for c in message.cameras]) == ("cameras", ["live", "left_out"])
            with httpx.Client(base_url=f"http://127.0.0.1:{unused_port}", trust_env=False, timeout=20.0) as client:
                assert "cameras are left out" in client.get("/health", params={"lang": "en"}).text
                assert "the node is too hot" in client.get("/", params={"lang": "en"}).text
            degrees[0] = 65.0
            until(lambda: told("sees 2 of 2 cameras") and "too hot" not in said[-1], timeout=PATIENCE_S)
            until(lambda: [c.state for c in node.cameras()] == [CameraState.LIVE] * 2)
            assert node.health_message().cooling == "none"
        finally:
            stop.set()
            judge.join(PATIENCE_S)
    manager.close()
