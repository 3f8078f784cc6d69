"""The node's part: what it is asked, what it fetches, what it finds of a release on probation."""

from __future__ import annotations

import hashlib
import json
import shutil
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from broker.messages import Command, UpdateReport
from deploy.release import build
from edge.clock import ManualClock, SystemClock
from edge.detect import find_model
from edge.node import InForce, NodeError, open_node
from edge.rules import RULES
from edge.site.keep import SiteFileKeeper
from edge.site.model import EvidenceUplink as Server
from edge.update import fetch as fetching
from edge.update import guard
from edge.update.trial import BEFORE, GIVE_UP_S, WELL_S, Trial, Works, read_before, write_before
from edge.update.updater import INCOMING, READY, Installation, Updater, installation
from edge.uplink.commands import CommandError
from tests.detect.shipped import SHIPPED
from tests.node.test_node import SiteOnDisk, disk, running, wait_for
from tests.servers import HOST, Authority
from tests.update.builders import Box, Maker
from tests.waiting import until

__all__ = ["disk"]

GATE, YARD, BROKER, INFLUX = "camera gate", "camera yard", "broker", "influx"
EVERYTHING = frozenset({GATE, YARD, BROKER, INFLUX})


# -- probation ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "now", "ran", "outcome"),
    [
        (EVERYTHING, EVERYTHING, WELL_S - 1, None),
        (EVERYTHING, EVERYTHING, WELL_S, ("good", "ok")),
        (EVERYTHING, EVERYTHING - {GATE}, WELL_S, None),
        (EVERYTHING, EVERYTHING - {GATE}, GIVE_UP_S - 1, None),
        (EVERYTHING, EVERYTHING - {GATE}, GIVE_UP_S, ("rolled_back", "camera")),
        (EVERYTHING, EVERYTHING, GIVE_UP_S + 99, ("good", "ok")),
        (EVERYTHING, EVERYTHING - {BROKER}, GIVE_UP_S, ("rolled_back", "broker")),
        (EVERYTHING, EVERYTHING - {INFLUX}, GIVE_UP_S, ("rolled_back", "influx")),
        (EVERYTHING - {GATE}, EVERYTHING - {GATE}, WELL_S, ("good", "ok")),
        (EVERYTHING - {BROKER}, EVERYTHING - {BROKER}, WELL_S, ("good", "ok")),
        (frozenset(), frozenset(), WELL_S, ("good", "ok")),
        (EVERYTHING | {"camera removed"}, EVERYTHING, WELL_S, ("good", "ok")),
    ],
)
def test_only_what_worked_before_is_asked_for(
    before: frozenset[str], now: frozenset[str], ran: float, outcome: tuple[str, str] | None
) -> None:
    found = Trial(before, began=1000.0).look(1000.0 + ran, Works(now=now, meant=EVERYTHING))
    assert (None if found is None else (found.outcome, found.code)) == outcome


@pytest.mark.parametrize("text", [None, "", "{}", '["camera gate", 1]'])
def test_what_is_not_written_down_is_not_asked_for(tmp_path: Path, text: str | None) -> None:
    write_before(tmp_path, EVERYTHING)
    assert read_before(tmp_path) == EVERYTHING
    (tmp_path / "before.json").unlink()
    if text is not None:
        (tmp_path / "before.json").write_text(text)
    assert read_before(tmp_path) <= {GATE}


# -- the server that releases come from --------------------------------------------------------------------------------


class Files(ThreadingHTTPServer):
    """Gives out one file over TLS, in parts, as a test wants. asked: what came, with its Range."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder / "pki")
        server, node = authority.issue("server", host=HOST), authority.issue("north-yard/gate-03")
        super().__init__((HOST, 0), _Answers)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server.cert, server.key)
        context.load_verify_locations(authority.cert)
        context.verify_mode = ssl.CERT_REQUIRED
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.data = b""
        self.codes: list[int] = []
        self.cut_at: list[int] = []
        self.ranges = True
        self.asked: list[tuple[str, str]] = []
        self.settings = Server(
            url=f"https://{HOST}:{self.server_address[1]}", ca=authority.cert, cert=node.cert, key=node.key
        )
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


class _Answers(BaseHTTPRequestHandler):
    server: Files

    def do_GET(self) -> None:
        files = self.server
        asked = self.headers["Range"]
        files.asked.append((self.path, asked))
        if files.codes:
            self.send_error(files.codes.pop(0))
            return
        begin = int(asked.removeprefix("bytes=").removesuffix("-")) if files.ranges else 0
        self.send_response(206 if files.ranges else 200)
        self.send_header("Content-Length", str(len(files.data) - begin))
        self.end_headers()
        self.wfile.write(files.data[begin : files.cut_at.pop(0) if files.cut_at else None])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 named by http.server
        pass


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    monkeypatch.setattr(fetching, "WAIT_S", (0.01, 0.01))
    with Files(tmp_path) as server:
        yield server
        server.shutdown()


class Asked:
    """A node on a box, told to update itself."""

    def __init__(self, box: Box, server: Server | None, clock: ManualClock | None = None) -> None:
        self.box = box
        self.clock = clock or ManualClock()
        self.now = EVERYTHING
        self.failed: list[str] = []
        self.told: list[UpdateReport | None] = []
        self.updater = Updater(
            Installation(box.root, box.var, box.maker.public_key), server, self.clock,
            works=lambda: Works(now=self.now, meant=EVERYTHING),
            told=lambda: self.told.append(self.updater.report()), failed=self.failed.append,
        )  # fmt: skip

    def order(self, tar: Path, **other: Any) -> UpdateReport:
        release = guard.verify(tar, self.box.maker.public_key)
        data = tar.read_bytes()
        args = {
            "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "name": release.name,
            "version": release.version, "sequence": release.sequence,
        }  # fmt: skip
        reply = self.updater.command(Command(args=args | other))
        return UpdateReport.model_validate(reply.result)

    def ended(self) -> UpdateReport:
        """What is reported when fetching is over."""
        until(lambda: (report := self.updater.report()) is not None and report.state != "fetching")
        report = self.updater.report()
        assert report is not None
        return report


@pytest.fixture
def asked(box: Box, files: Files) -> Iterator[Asked]:
    box.old_program("0.1.0", 1)
    asked = Asked(box, files.settings)
    yield asked
    asked.updater.stop()


def test_a_release_is_fetched_checked_and_handed_over(asked: Asked, files: Files, maker: Maker) -> None:
    """Though the server has trouble, and the line breaks three times."""
    tar = maker.model("2", 2, weights=b"w" * 900_000)
    files.data = tar.read_bytes()
    files.codes = [503, 429]
    files.cut_at = [0, 300_000, 600_000]
    assert asked.order(tar).state in ("fetching", "installing")
    report = asked.ended()
    assert (report.state, report.version, report.percent) == ("installing", "2", 100)
    assert (asked.box.var / READY).read_bytes() == files.data
    assert read_before(asked.box.var) == EVERYTHING
    path = f"/releases/{hashlib.sha256(files.data).hexdigest()}"
    assert [where for where, _ in files.asked] == [path] * 6
    begun = [int(part.removeprefix("bytes=").removesuffix("-")) for _, part in files.asked]
    assert begun == sorted(begun)
    assert begun[-1] > 500_000, "it began anew instead of going on"


def test_what_lay_there_and_is_damaged_is_fetched_anew(asked: Asked, files: Files, maker: Maker) -> None:
    tar = maker.model("2", 2)
    files.data = tar.read_bytes()
    incoming = asked.box.var / INCOMING
    incoming.mkdir()
    (incoming / "older.tar").write_bytes(b"x")
    (incoming / f"{hashlib.sha256(files.data).hexdigest()}.tar").write_bytes(bytes(1000))
    asked.order(tar)
    assert asked.ended().state == "installing"
    assert list(incoming.iterdir()) == []


def test_a_server_that_knows_no_parts_is_asked_for_the_whole(asked: Asked, files: Files, maker: Maker) -> None:
    tar = maker.model("2", 2, weights=b"w" * 900_000)
    files.data, files.ranges, files.cut_at = tar.read_bytes(), False, [400_000]
    asked.order(tar)
    assert asked.ended().state == "installing"


BAD: dict[str, tuple[str, Callable[[Files], None]]] = {
    "other bytes": ("changed_file", lambda files: setattr(files, "data", files.data[:-1] + b"x")),
    "too many bytes": ("too_large", lambda files: setattr(files, "data", files.data + b"x")),
    "not there": ("not_there", lambda files: setattr(files, "codes", [404])),
}


@pytest.mark.parametrize("what", BAD)
def test_what_the_server_sends_wrong_is_refused(asked: Asked, files: Files, maker: Maker, what: str) -> None:
    code, change = BAD[what]
    tar = maker.model("2", 2)
    files.data = tar.read_bytes()
    change(files)
    asked.order(tar)
    report = asked.ended()
    assert (report.state, report.code, report.version) == ("refused", code, "2")
    assert not (asked.box.var / READY).exists()
    files.data = tar.read_bytes()
    asked.order(tar)
    assert asked.ended().state == "installing", "it can be asked for again"


def test_what_is_signed_by_somebody_else_is_not_handed_over(
    asked: Asked, files: Files, maker: Maker, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Maker(tmp_path / "other").model("2", 2)
    files.data = other.read_bytes()
    sha256 = hashlib.sha256(files.data).hexdigest()
    asked.order(maker.model("2", 2), sha256=sha256, bytes=len(files.data))
    report = asked.ended()
    assert (report.state, report.code) == ("refused", "signature")
    assert list((asked.box.var / INCOMING).iterdir()) == []


def test_a_disk_that_fails_at_the_last_step_refuses(asked: Asked, files: Files, maker: Maker) -> None:
    tar = maker.model("2", 2)
    files.data = tar.read_bytes()
    (asked.box.var / BEFORE).mkdir()
    asked.order(tar)
    report = asked.ended()
    assert (report.state, report.code) == ("refused", "failed")


def test_a_release_that_is_not_what_was_announced_is_refused(asked: Asked, files: Files, maker: Maker) -> None:
    tar = maker.model("2", 2)
    files.data = tar.read_bytes()
    asked.order(tar, version="3")
    assert asked.ended().code == "another"


def refused(asked: Asked, *order: Any, **args: Any) -> str:
    with pytest.raises(CommandError) as error:
        asked.order(*order, **args)
    return error.value.code


def test_what_cannot_be_done_is_said_at_once(asked: Asked, box: Box, maker: Maker, files: Files) -> None:
    new, newer = maker.model("2", 2), maker.model("3", 3)
    assert refused(asked, new, sha256="x") == "wrong"
    box.install(new)
    assert asked.order(new).state == "trying"
    assert refused(asked, newer) == "on_probation"
    box.says(well=False, code="camera")
    assert refused(asked, newer) == "on_probation", "root has not done it yet"
    box.start()
    assert refused(asked, maker.model("1", 1)) == "older"
    (box.var / READY).touch()
    assert refused(asked, newer) == "busy"
    (box.var / READY).unlink()
    assert refused(Asked(box, None), newer) == "no_server"
    box.install(new)
    box.says(well=True)
    assert asked.order(new).state == "good"
    (box.root / "state.json").write_text("")
    assert refused(asked, newer) == "state"
    assert files.asked == []


def test_a_disk_without_room_for_it_is_said_at_once(small_disk: Path, files: Files, maker: Maker) -> None:
    box = Box(small_disk / "box", maker)
    box.old_program("0.1.0", 1)
    assert refused(Asked(box, files.settings), maker.model("2", 2)) == "disk_full"
    assert files.asked == []


def test_one_at_a_time_and_the_same_again_is_the_same(asked: Asked, files: Files, maker: Maker) -> None:
    tar, other = maker.model("2", 2), maker.model("3", 3)
    files.codes = [503] * 10_000
    files.data = tar.read_bytes()
    assert asked.order(tar).state == "fetching"
    until(lambda: "503" in asked.order(tar).message)
    assert refused(asked, other) == "busy"
    files.codes.clear()
    assert asked.ended().state == "installing"
    assert asked.told[-1] == asked.ended()


def test_a_node_that_ends_in_the_middle_goes_on_with_the_next_order(
    asked: Asked, files: Files, maker: Maker, box: Box
) -> None:
    tar = maker.model("2", 2, weights=b"w" * 900_000)
    files.data, files.cut_at = tar.read_bytes(), [500_000]
    files.codes = []
    asked.order(tar)
    until(lambda: len(files.asked) >= 1)
    asked.updater.stop()
    again = Asked(box, files.settings)
    if not (box.var / READY).exists():
        again.order(tar)
    assert again.ended().state == "installing"
    again.updater.stop()


# -- the release on probation ------------------------------------------------------------------------------------------


def tried(box: Box, maker: Maker, before: frozenset[str] = EVERYTHING) -> Asked:
    """A node that was just started on a release on probation."""
    box.old_program("0.1.0", 1)
    write_before(box.var, before)
    box.install(maker.model("2", 2))
    box.start()
    return Asked(box, None)


def test_a_node_that_is_well_says_so_once_and_root_believes_it(box: Box, maker: Maker) -> None:
    node = tried(box, maker)
    node.updater.look()
    assert [report and report.state for report in node.told] == ["trying"]
    node.clock.advance(WELL_S)
    node.updater.look()
    node.updater.look()
    assert [report and report.state for report in node.told] == ["trying", "good"]
    node.now = frozenset()
    node.clock.advance(GIVE_UP_S)
    node.updater.look()
    for _ in range(guard.MAX_STARTS + 1):
        box.start()
    assert (box.inuse("current-model"), box.last, node.failed) == ("models/site-v1-2", ("good", "ok"), [])


def test_a_node_that_lost_its_camera_gives_up_and_the_old_release_comes_back(box: Box, maker: Maker) -> None:
    node = tried(box, maker)
    node.now = EVERYTHING - {GATE}
    node.clock.advance(GIVE_UP_S)
    node.updater.look()
    assert node.failed == ["site-v1 2: worked before, and not since: camera gate"]
    report = node.updater.report()
    assert report is not None
    assert report.state == "trying", "it is still in use"
    box.start()
    assert (box.inuse("current-model"), box.last) == (None, ("rolled_back", "camera"))
    after = Asked(box, None).updater.report()
    assert after is not None
    assert (after.state, after.code, after.message) == (
        "rolled_back", "camera", "worked before, and not since: camera gate",
    )  # fmt: skip


def test_a_verdict_that_finds_no_room_is_given_later(box: Box, maker: Maker) -> None:
    node = tried(box, maker)
    in_the_way = box.var / f".{guard.VERDICT}.new"
    in_the_way.mkdir()
    node.clock.advance(WELL_S)
    node.updater.look()
    assert [report and report.state for report in node.told] == ["trying"]
    in_the_way.rmdir()
    node.updater.look()
    assert [report and report.state for report in node.told] == ["trying", "good"]


def test_a_camera_that_was_dark_before_is_not_missed(box: Box, maker: Maker) -> None:
    node = tried(box, maker, EVERYTHING - {GATE})
    node.now = EVERYTHING - {GATE}
    node.clock.advance(WELL_S)
    node.updater.look()
    box.start()
    assert (box.inuse("current-model"), box.last) == ("models/site-v1-2", ("good", "ok"))


# -- the whole node ----------------------------------------------------------------------------------------------------


def test_a_checkout_is_not_updated(tmp_path: Path) -> None:
    assert installation(tmp_path, tmp_path) is None


@pytest.fixture
def installed(box: Box, monkeypatch: pytest.MonkeyPatch) -> Box:
    """This Python runs from a release."""
    box.old_program("0.1.0", 1)
    monkeypatch.setattr(sys, "prefix", str(box.root / "releases/0.1.0"))
    return box


def test_a_model_that_does_not_load_keeps_the_node_from_starting_until_it_is_rolled_back(
    installed: Box, disk: SiteOnDisk, maker: Maker
) -> None:
    installed.install(maker.model("99", 1))
    for _ in range(guard.MAX_STARTS):
        installed.start()
        with pytest.raises(NodeError, match=r"manifest\.json"), running(disk):
            pass
    installed.start()
    with running(disk) as run:
        report = run.node.status().update
    assert report is not None
    assert (report.state, report.version, report.code) == ("rolled_back", "99", "starts")


def test_a_node_that_a_release_brought_takes_updates(installed: Box, disk: SiteOnDisk) -> None:
    model = installed.maker.folder / "good-model"
    shutil.copytree(SHIPPED, model)
    manifest = json.loads((model / "manifest.json").read_bytes())
    (model / "manifest.json").write_text(json.dumps(manifest | {"version": "99"}))
    installed.install(installed.maker.signed(build.model(model), 1))
    with running(disk) as run:
        node = run.node
        assert "update" in node.commands()
        report = node.status().update
        assert report is not None
        assert (report.state, report.name, report.version) == ("trying", "site-v1", "99")
        assert node.status().model == "site-v1 99"
        assert node.works().meant == {"camera gate"}
        wait_for(lambda: node.works().now == {"camera gate"})


def test_a_node_that_is_not_well_ends(disk: SiteOnDisk) -> None:
    keeper = SiteFileKeeper(disk.path, RULES)
    keeper.poll()
    in_force = InForce(keeper.current, keeper.hash)
    with open_node(disk.path, keeper, in_force, SystemClock(trusted=True), threading.Event()) as node:
        node.not_well("camera gate")
        with pytest.raises(NodeError, match="not well, the one before comes back: camera gate"):
            node.run()


def test_the_newer_of_two_models_of_one_name_is_used(installed: Box, maker: Maker, tmp_path: Path) -> None:
    manifest = json.loads((SHIPPED / "manifest.json").read_bytes())
    assert find_model(Path(SHIPPED.name), tmp_path) == SHIPPED

    def came(version: str, name: str = SHIPPED.name) -> Path:
        (installed.root / "current-model").unlink(missing_ok=True)
        folder = installed.root / f"models/{name}-{version}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_text(json.dumps(manifest | {"name": name, "version": version}))
        (installed.root / "current-model").symlink_to(f"models/{folder.name}")
        return find_model(Path(SHIPPED.name), tmp_path)

    assert came("10") == installed.root / "models/site-v1-10"
    assert came(f"{manifest['version']}.1") == installed.root / f"models/site-v1-{manifest['version']}.1"
    assert came(manifest["version"]) == SHIPPED
    assert came("1") == SHIPPED
    assert came("10", "other") == SHIPPED
    assert find_model(Path("other"), tmp_path) == installed.root / "models/other-10"
