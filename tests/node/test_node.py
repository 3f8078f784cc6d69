"""The whole node, with the shipped model, on photos of a street: alarms, evidence, a changing site file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from ruamel.yaml import YAML

from edge.clock import SystemClock
from edge.node import InForce, Node, NodeError, Outcome, open_node, run_site
from edge.rules import RULES
from edge.site.keep import SiteFileKeeper
from edge.site.model import Zone
from edge.values import WHOLE_PICTURE, Box, CameraCause, CameraState, Image, LinkState, WearState
from tests.influx import TOKEN, Influx
from tests.node.builders import RIGHT, WHOLE
from tests.waiting import until

PATIENCE_S = 60.0


class SiteOnDisk:
    """A site file that a test writes anew as it goes."""

    def __init__(self, folder: Path, photos: Path) -> None:
        self.path = folder / "site.yaml"
        self.content: dict[str, Any] = {
            "site": {"id": "north-yard", "latitude": 39.91, "longitude": 116.4},
            "node": {"id": "gate-03", "data_dir": "data", "clock_trusted": True},
            "cameras": [
                {
                    "id": "gate",
                    "source": {"type": "pan", "path": str(photos), "seconds": 600},
                    "zones": [{"id": "street", "kind": "work", "polygon": WHOLE}],
                }
            ],
            "detector": {"runtime": "onnx", "threads": 1},
            "page": None,
        }
        self.write()

    def write(self, **sections: Any) -> None:
        self.content |= sections
        text = StringIO()
        YAML().dump(self.content, text)
        self.path.write_text(text.getvalue(), encoding="utf-8")


@pytest.fixture
def disk(tmp_path: Path, street: Path) -> SiteOnDisk:
    return SiteOnDisk(tmp_path, street)


class Running:
    """A node in a thread, and how its run ended."""

    def __init__(self, node: Node, stop: threading.Event, keeper: SiteFileKeeper, *, once: bool) -> None:
        self.node = node
        self.keeper = keeper
        self.outcome: Outcome | None = None
        self._stop = stop
        self._once = once
        self._thread = threading.Thread(target=self._run, name="judge")
        self._thread.start()

    def _run(self) -> None:
        self.outcome = self.node.run(once=self._once)

    def end(self) -> Outcome | None:
        self._stop.set()
        return self.join()

    def join(self) -> Outcome | None:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the judging loop does not end"
        return self.outcome


@contextmanager
def running(disk: SiteOnDisk, *, once: bool = False) -> Iterator[Running]:
    stop = threading.Event()
    keeper = SiteFileKeeper(disk.path, RULES)
    keeper.poll()
    in_force = InForce(keeper.current, keeper.hash)
    with open_node(disk.path, keeper, in_force, SystemClock(trusted=True), stop) as node:
        run = Running(node, stop, keeper, once=once)
        try:
            yield run
        finally:
            run.end()


def wait_for(what: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Until `what` is true: for what comes out of a running node's threads."""
    until(what, timeout=patience_s)


def test_people_without_helmets_in_the_street_raise_an_alarm_with_a_picture(disk: SiteOnDisk) -> None:
    with running(disk) as run:
        wait_for(lambda: run.node.alarms(10))
        (alarm, *_) = run.node.alarms(10)
        assert alarm.instance.source == "gate"
        assert alarm.instance.place == "street"
        assert alarm.seq > 0
        wait_for(lambda: run.node.evidence(alarm.alarm))
        (stored, *_) = run.node.evidence(alarm.alarm)
        assert stored.ref == alarm.evidence[0]
        picture = cv2.imread(str(stored.path))
        assert picture is not None
        assert picture.shape == (720, 1280, 3)
        (status,) = run.node.cameras()
        assert status.state is CameraState.LIVE
        assert run.node.health().fps > 0
        health = run.node.health_message()
        assert (health.journal, [c.state for c in health.cameras]) == ("ok", ["live"])
        wait_for(lambda: run.node.compliance(1))
        assert run.end() is Outcome.STOPPED


class Undecided:
    """A closer look that is never sure."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, ...]] = []
        self.closed = False

    def __call__(self, image: Image, box: Box) -> WearState:
        del box
        self.asked.append(image.shape)
        return WearState.UNSEEN

    def close(self) -> None:
        self.closed = True


def test_nobody_is_blamed_before_the_model_has_looked_closer(disk: SiteOnDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    look = Undecided()
    monkeypatch.setattr("edge.node.load_closer", lambda _folder, _runtime: {"helmet": look})
    with running(disk) as run:
        wait_for(lambda: len(look.asked) > 20)
        assert not [alarm for alarm in run.node.alarms(10) if alarm.instance.rule == "helmet"]
    assert set(look.asked) == {(720, 1280, 3)}
    assert look.closed


def test_its_points_reach_influxdb(disk: SiteOnDisk, tmp_path: Path) -> None:
    with Influx(tmp_path / "influx") as server:
        server.create("banksman")
        (tmp_path / "influx.token").write_text(TOKEN)
        disk.write(uplinks={"influx": {"url": server.url, "token_file": "influx.token"}})
        with running(disk) as run:
            wait_for(lambda: server.query("banksman", "SELECT * FROM alarm"))
            wait_for(lambda: server.query("banksman", "SELECT * FROM node"))
            wait_for(lambda: run.node.health().influx.state is LinkState.UP)
            assert run.node.health_message().points_waiting is not None
            kept = {e.id for a in run.node.alarms(99) for e in run.node.alarm(a.alarm)}
            assert {r["id"] for r in server.query("banksman", "SELECT id FROM alarm")} <= kept
        (row, *_) = server.query("banksman", "SELECT * FROM node")
        assert (row["site"], row["node"], row["cameras"], row["latitude"]) == ("north-yard", "gate-03", 1, 39.91)


def test_a_bad_site_file_is_refused_and_the_last_good_one_stays_in_force(disk: SiteOnDisk) -> None:
    with running(disk) as run:
        good = run.node.status().site_file_hash
        disk.write(cameras=[])
        wait_for(run.node.site_error)
        assert run.node.site().cameras[0].id == "gate"
        status = run.node.status()
        assert status.site_file_hash == good
        assert status.site_file_error is not None
        assert "cameras" in status.site_file_error


def test_zones_saved_on_the_page_are_in_force_at_once(disk: SiteOnDisk) -> None:
    with running(disk) as run:
        closed = Zone.model_validate({"id": "closed", "kind": "no_entry", "polygon": RIGHT})
        run.node.save_zones("gate", [closed], "en")
        assert [z.id for z in run.node.site().cameras[0].zones] == ["closed"]
        assert {s.instance.place for s in run.node.states()} == {"closed", WHOLE_PICTURE}  # helmets are judged still
        assert run.outcome is None


def test_another_camera_is_taken_over_without_a_restart(disk: SiteOnDisk, tmp_path: Path, street: Path) -> None:
    with running(disk) as run:
        wait_for(lambda: run.node.cameras()[0].state is CameraState.LIVE)
        other = {"id": "yard", "source": {"type": "folder", "path": str(street), "loop": True}}
        disk.write(cameras=[*disk.content["cameras"], other])
        wait_for(lambda: [s.camera for s in run.node.cameras()] == ["gate", "yard"])
        wait_for(lambda: run.node.live("yard", 0, 1.0))
        disk.write(cameras=[other])
        wait_for(lambda: [s.camera for s in run.node.cameras()] == ["yard"])
        assert run.node.live("gate", 0, 0.1) is None
        assert all(s.instance.source == "yard" for s in run.node.states())


def test_what_the_node_is_built_on_asks_for_another_node(disk: SiteOnDisk) -> None:
    with running(disk) as run:
        disk.write(detector={"runtime": "onnx", "threads": 2})
        assert run.join() is Outcome.RENEW


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"detector": {"model": "no-such-model"}}, "no-such-model"),
        ({"detector": {"runtime": "ultralytics"}}, "ultralytics"),
        ({"node": {"id": "gate-03", "data_dir": "site.yaml/data"}}, "node.data_dir"),
    ],
)
def test_a_part_that_cannot_be_opened_is_named(disk: SiteOnDisk, sections: dict[str, Any], says: str) -> None:
    disk.write(**sections)
    with pytest.raises(NodeError, match=says), running(disk):
        pass


def test_a_clip_is_judged_to_its_end(disk: SiteOnDisk, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for n in range(12):
        cv2.imwrite(str(folder / f"{n:02}.png"), cv2.GaussianBlur(_noise(n), (0, 0), 3))
    source = {"type": "folder", "path": str(folder), "fps": 5, "realtime": False}
    disk.write(cameras=[{"id": "clip", "source": source}])
    with running(disk, once=True) as run:
        assert run.join() is Outcome.ENDED
        view = run.node.live("clip", 0, 0.0)
        assert view is not None
        assert view.seq == 12


def _noise(seed: int) -> Image:
    return np.random.default_rng(seed).integers(0, 255, (360, 640, 3), dtype=np.uint8)


def test_the_page_of_a_running_node_answers(disk: SiteOnDisk, unused_port: int) -> None:
    disk.write(page={"port": unused_port})
    with running(disk) as run:
        url = f"http://127.0.0.1:{unused_port}"
        wait_for(lambda: run.node.live("gate", 0, 1.0))
        with httpx.Client(base_url=url, trust_env=False, timeout=20.0) as client:
            for path in ("/", "/alarms", "/compliance", "/health", "/zones/gate"):
                for language in ("zh-CN", "en"):
                    assert client.get(path, params={"lang": language}).status_code == 200, path


def test_a_site_file_that_no_node_can_be_built_on_leaves_the_last_one_in_force(
    disk: SiteOnDisk, unused_port: int
) -> None:
    good = disk.content["detector"]
    disk.write(page={"port": unused_port})
    stop = threading.Event()
    thread = threading.Thread(target=run_site, args=(disk.path, stop), name="judge")
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{unused_port}", trust_env=False, timeout=20.0) as client:

            def health() -> str:
                try:
                    return client.get("/health", params={"lang": "en"}).text
                except httpx.TransportError:  # between two nodes
                    return ""

            wait_for(health)
            disk.write(detector={"model": "no-such-model"})
            wait_for(lambda: "no-such-model" in health())
            disk.write(detector=good)
            wait_for(lambda: "no-such-model" not in (page := health()) and page)
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_a_node_whose_clips_have_ended_takes_over_a_new_site_file(disk: SiteOnDisk, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "one.png"), cv2.GaussianBlur(_noise(1), (0, 0), 3))
    clip = {"id": "clip", "source": {"type": "folder", "path": str(folder), "fps": 5, "realtime": False}}
    disk.write(cameras=[clip])
    with running(disk) as run:
        wait_for(lambda: run.node.cameras()[0].cause is CameraCause.ENDED)
        disk.write(cameras=[clip | {"zones": [{"id": "here", "kind": "work", "polygon": WHOLE}]}])
        wait_for(lambda: {s.instance.place for s in run.node.states()} == {"here"})
        disk.write(detector={"runtime": "onnx", "threads": 2})
        assert run.join() is Outcome.RENEW
