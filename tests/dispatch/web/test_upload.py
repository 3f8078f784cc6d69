"""Evidence from nodes: the node's own client against the real listener, and clients that lie."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image
from sqlalchemy import select

from broker.dispatch import cases, desk
from broker.dispatch.clock import SystemClock
from broker.dispatch.database import reading, transaction
from broker.dispatch.evidence import LIMITS, Store
from broker.dispatch.settings import Settings as DispatchSettings
from broker.dispatch.tables import Evidence, Role, Site
from broker.dispatch.web.pages import Web
from broker.dispatch.web.rights import Visitor
from broker.dispatch.web.server import Revoked, Tls, WebServer
from broker.dispatch.web.steps import StepRefusedError, take_step
from broker.dispatch.web.upload import create
from broker.dispatch.worker import housekeeping
from broker.pki import names
from broker.pki.authority import Pki, Reason
from edge.clock import ManualClock as NodeClock
from edge.journal.journal import Journal
from edge.site.model import EvidenceUplink as Settings
from edge.site.model import JournalSettings
from edge.uplink.evidence import EvidenceUplink
from edge.values import EvidenceRef
from tests.dispatch.web.builders import Bench, clip, jpeg, passwords
from tests.waiting import until

DAY_S = 86_400.0
NODE, OTHER = "north/gate-03", "north/yard-01"


class Door:
    """The listener, with certificates of a real authority."""

    def __init__(self, bench: Bench, folder: Path, now: float) -> None:
        self.bench = bench
        self.pki = Pki.create(folder / "pki", "Test", [ipaddress.ip_network("127.0.0.0/8")], now)
        self.now = now
        self.certificates = {name: self.issue(names.node(name)) for name in (NODE, OTHER, "south/gate-03")}
        self.certificates["dispatch"] = self.issue(names.service("dispatch"))
        server = self.issue(names.server("127.0.0.1"))
        app = create(bench.engine, bench.store, bench.clock, Revoked(self.pki.crl_file))
        self.server = WebServer(app, "127.0.0.1", 0, Tls(*server, client_ca=folder / "pki" / "ca.pem"))
        self.server.start()
        self.url = f"https://127.0.0.1:{self.server.port}"

    def issue(self, subject: names.Subject) -> tuple[Path, Path]:
        self.pki.issue(subject, self.now)
        return self.pki.files_of(subject)

    def client(self, who: str | None = NODE) -> httpx.Client:
        context = ssl.create_default_context(cafile=str(self.pki.folder / "ca.pem"))
        if who is not None:
            context.load_cert_chain(*self.certificates[who])
        return httpx.Client(base_url=self.url, verify=context, trust_env=False, timeout=20.0)

    def put(self, alarm: str, content: bytes, who: str = NODE, kind: str = "image/jpeg", name: str = "") -> int:
        """The code that comes back. name: hash in the address, where it is not that of the content."""
        sha256 = name or hashlib.sha256(content).hexdigest()
        with self.client(who) as client:
            answer = client.put(f"/evidence/{alarm}/{sha256}", content=content, headers={"Content-Type": kind})
        return answer.status_code

    def rows(self) -> list[Evidence]:
        with reading(self.bench.engine) as db:
            return list(db.scalars(select(Evidence)))

    def files(self) -> int:
        return sum(path.is_file() for path in (self.bench.store.path("a", "0" * 64).parents[2]).rglob("*"))


@pytest.fixture
def door(idle: Bench, tmp_path: Path) -> Iterator[Door]:
    door = Door(idle, tmp_path, SystemClock().now())
    yield door
    door.server.stop()


def test_what_a_node_sends_is_kept_and_sending_it_again_is_no_fault(door: Door) -> None:
    alarm = door.bench.alarm()
    for content, kind in ((jpeg(), "image/jpeg"), (clip(), "video/mp4")):
        assert [door.put(alarm, content, kind=kind) for _ in range(2)] == [201, 201]
    assert {(r.alarm, r.kind, r.node, r.bytes) for r in door.rows()} == {
        (alarm, "snapshot", "gate-03", len(jpeg())),
        (alarm, "clip", "gate-03", len(clip())),
    }
    for row in door.rows():
        assert hashlib.sha256(door.bench.store.path(alarm, row.sha256).read_bytes()).hexdigest() == row.sha256


def test_the_nodes_own_client_gets_its_files_across(door: Door, tmp_path: Path) -> None:
    alarm = door.bench.alarm()
    cert, key = door.certificates[NODE]
    clock = NodeClock()
    journal = Journal(tmp_path / "journal.db", clock, JournalSettings())
    sha256 = hashlib.sha256(jpeg()).hexdigest()
    file = tmp_path / "snapshot.jpg"
    file.write_bytes(jpeg())
    journal.evidence(EvidenceRef(sha256, "snapshot", len(jpeg())), alarm, file, clock.now())
    settings = Settings(url=door.url, ca=str(door.pki.folder / "ca.pem"), cert=str(cert), key=str(key))
    uplink = EvidenceUplink(settings, journal, clock)
    uplink.start()
    try:
        until(lambda: uplink.state.sent == 1, f"{uplink.state}")
    finally:
        uplink.stop()
        journal.close()
    assert [r.sha256 for r in door.rows()] == [sha256]


@pytest.mark.parametrize("who", [OTHER, "south/gate-03"])
def test_a_node_adds_nothing_to_the_alarm_of_another(door: Door, who: str) -> None:
    assert door.put(door.bench.alarm(), jpeg(), who) == 404
    assert (door.rows(), door.files()) == ([], 0)


def test_only_nodes_come_in(door: Door) -> None:
    alarm = door.bench.alarm()
    assert door.put(alarm, jpeg(), "dispatch") == 403
    with door.client(None) as nobody, pytest.raises(httpx.TransportError):
        nobody.put(f"/evidence/{alarm}/{'0' * 64}", content=b"")
    with door.client() as node:
        assert node.head("/evidence/").status_code == 200


def test_a_certificate_that_was_taken_back_is_worth_nothing_from_that_moment(door: Door) -> None:
    with door.client() as connected, door.client() as new:
        assert connected.head("/evidence/").status_code == 200
        door.pki.revoke(names.node(NODE), Reason.KEY_COMPROMISE, door.now)
        assert connected.head("/evidence/").status_code == 403  # on the connection that stands, too
        assert new.head("/evidence/").status_code == 403
    with door.client(OTHER) as other:
        assert other.head("/evidence/").status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "name", "code"),
    [
        pytest.param(jpeg(), "image/jpeg", "0" * 64, 422, id="another-hash"),
        pytest.param(b"<html>", "image/jpeg", "", 415, id="html-as-jpeg"),
        pytest.param(jpeg(), "video/mp4", "", 415, id="jpeg-as-clip"),
        pytest.param(jpeg(), "text/html", "", 415, id="html"),
        pytest.param(b"", "image/jpeg", "", 415, id="empty"),
        pytest.param(b"\xff\xd8\xff" + b"\0" * LIMITS["snapshot"], "image/jpeg", "", 413, id="too-large"),
    ],
)
def test_what_is_not_what_it_says_is_not_kept(door: Door, content: bytes, kind: str, name: str, code: int) -> None:
    assert door.put(door.bench.alarm(), content, kind=kind, name=name) == code
    assert (door.rows(), door.files()) == ([], 0)


@pytest.mark.parametrize("path", ["/evidence/../../etc/{h}", "/evidence/%2e%2e%2f%2e%2e/{h}", "/evidence/a/..%2f..%2fx",
                                  "/evidence/a/{h}%00.jpg", "/evidence/a%2fb/{h}"])  # fmt: skip
def test_an_address_leads_nowhere_else(door: Door, path: str) -> None:
    with door.client() as client:
        answer = client.put(path.format(h="0" * 64), content=jpeg(), headers={"Content-Type": "image/jpeg"})
    assert answer.status_code in (404, 422)
    assert door.files() == 0


def test_a_body_that_is_shorter_than_it_says_leaves_nothing(door: Door) -> None:
    alarm = door.bench.alarm()
    sha256 = hashlib.sha256(jpeg()).hexdigest()

    def cut() -> Iterator[bytes]:
        yield jpeg()[:5000]
        raise ConnectionError

    with door.client() as client, pytest.raises(ConnectionError):
        client.put(
            f"/evidence/{alarm}/{sha256}",
            content=cut(),
            headers={"Content-Type": "image/jpeg", "Content-Length": str(len(jpeg()))},
        )
    until(lambda: door.files() == 0)
    assert door.rows() == []
    assert door.put(alarm, jpeg()) == 201


@pytest.mark.parametrize("headers", [{"Transfer-Encoding": "chunked"},
                                     {"Transfer-Encoding": "chunked", "Content-Length": "1"}])  # fmt: skip
def test_a_file_says_how_long_it_is(door: Door, headers: dict[str, str]) -> None:
    """What is admitted by a small number may not be larger."""
    alarm, sha256 = door.bench.alarm(), hashlib.sha256(jpeg()).hexdigest()
    with door.client() as client:
        answer = client.put(
            f"/evidence/{alarm}/{sha256}",
            content=iter([jpeg()]),
            headers=headers | {"Content-Type": "image/jpeg"},
        )
    assert (answer.status_code, door.rows(), door.files()) == (411, [], 0)


def test_a_node_has_a_quota(idle: Bench, tmp_path: Path) -> None:
    idle.store = Store(tmp_path / "small", node_quota=len(jpeg()) * 3 // 2, reserve=0)
    door = Door(idle, tmp_path, SystemClock().now())
    try:
        assert door.put(idle.alarm(), jpeg()) == 201
        assert door.put(idle.alarm(), jpeg(shade=121)) == 507
        assert door.put(idle.alarm(node="yard-01"), jpeg(shade=121), OTHER) == 201
    finally:
        door.server.stop()


def test_a_disk_that_is_nearly_full_takes_nothing(idle: Bench, tmp_path: Path) -> None:
    idle.store = Store(tmp_path / "full", reserve=1 << 60)
    door = Door(idle, tmp_path, SystemClock().now())
    try:
        assert door.put(idle.alarm(), jpeg()) == 507
    finally:
        door.server.stop()


# -- how long it is kept -----------------------------------------------------------------------------------------------


def expire(bench: Bench) -> int:
    with transaction(bench.engine) as db:
        return bench.store.expire(db, bench.clock.now())


def close(bench: Bench, case: str) -> None:
    with transaction(bench.engine) as db:
        desk.do(db, case, cases.FalseAlarm("nothing there"), bench.officer, bench.clock.now())


def test_evidence_goes_after_its_time_and_only_then(idle: Bench) -> None:
    alarm = idle.alarm()
    sha256 = idle.keep(alarm, jpeg())
    close(idle, idle.case_of(alarm).id)
    idle.clock.advance(30 * DAY_S)
    assert expire(idle) == 0
    idle.clock.advance(1)
    assert expire(idle) == 1
    assert not idle.store.path(alarm, sha256).exists()
    assert expire(idle) == 0


@pytest.mark.parametrize("why", ["open", "case-hold", "site-hold"])
def test_evidence_stays_while_it_is_needed(idle: Bench, why: str) -> None:
    alarm = idle.alarm()
    case = idle.case_of(alarm).id
    idle.keep(alarm, jpeg())
    if why != "open":
        close(idle, case)
    with transaction(idle.engine) as db:
        if why == "case-hold":
            desk.do(db, case, cases.Hold(on=True), idle.officer, idle.clock.now())
        if why == "site-hold":
            db.get_one(Site, "north").hold = True
    idle.clock.advance(400 * DAY_S)
    assert expire(idle) == 0
    with transaction(idle.engine) as db:
        match why:
            case "open":
                desk.do(db, case, cases.FalseAlarm("-"), idle.officer, idle.clock.now())
            case "case-hold":
                desk.do(db, case, cases.Hold(on=False), idle.officer, idle.clock.now())
            case _:
                db.get_one(Site, "north").hold = False
    assert expire(idle) == 1


def test_a_site_keeps_as_long_as_it_says(idle: Bench) -> None:
    alarms = [idle.alarm("north"), idle.alarm("south", "pump-1")]
    for alarm, site, node in zip(alarms, ("north", "south"), ("gate-03", "pump-1"), strict=True):
        idle.keep(alarm, jpeg(), site=site, node=node)
        close(idle, idle.case_of(alarm).id)
    with transaction(idle.engine) as db:
        db.get_one(Site, "south").retention_days = 7
    idle.clock.advance(8 * DAY_S)
    assert expire(idle) == 1
    assert idle.store.path(alarms[0], hashlib.sha256(jpeg()).hexdigest()).exists()


@pytest.mark.parametrize("late_s", [0.0, 20 * DAY_S])
def test_the_days_count_from_receipt_however_old_the_alarm_was(idle: Bench, late_s: float) -> None:
    alarm = idle.alarm(age_s=late_s)
    idle.keep(alarm, jpeg())
    close(idle, idle.case_of(alarm).id)
    idle.clock.advance(30 * DAY_S)
    assert expire(idle) == 0
    idle.clock.advance(1)
    assert expire(idle) == 1


def swept(bench: Bench) -> int:
    """What goes in a day of sweeps, one an hour."""
    with reading(bench.engine) as db:
        return sum(bench.store.sweep(db, bench.clock.now() + 3600 * hour) for hour in range(24))


def aged(path: Path, at: float) -> Path:
    os.utime(path, (at, at))
    return path


def test_files_without_a_row_are_swept_when_they_are_old(idle: Bench) -> None:
    now, day = idle.clock.now(), 86_400.0
    alarm = idle.alarm()
    kept = aged(idle.store.path(alarm, idle.keep(alarm, jpeg())), now - 9 * day)
    other = idle.alarm()
    idle.keep(alarm, jpeg(shade=7))
    orphans = []
    for n in range(40):  # all over the folder
        content = jpeg(64, 64, shade=n)
        sha256 = hashlib.sha256(content).hexdigest()
        idle.store.write(other, sha256, "photo", content)
        orphans.append(idle.store.path(other, sha256))
    young = idle.store.path(other, hashlib.sha256(jpeg(64, 64, shade=0)).hexdigest())
    for path in orphans:
        aged(path, now - day - 1)
    aged(young, now + 3600)
    assert swept(idle) == 39
    assert (kept.exists(), young.exists(), swept(idle)) == (True, True, 0)


def test_an_upload_that_was_cut_short_is_swept(idle: Bench) -> None:
    left = idle.store.path("a", "0" * 64).parents[2] / "incoming" / "tmp-1"
    left.write_bytes(b"half")
    aged(left, idle.clock.now())
    with reading(idle.engine) as db:
        assert idle.store.sweep(db, idle.clock.now() + 3600) == 0
        assert idle.store.sweep(db, idle.clock.now() + 86_401) == 1
    assert not left.exists()


def test_a_photo_of_a_step_that_was_refused_does_not_stay(idle: Bench) -> None:
    case = idle.case()
    visitor = Visitor(idle.foreman, "", "en", {"north": frozenset({Role.FOREMAN})}, None, "", "")

    def hide(image: Image.Image) -> Image.Image:
        with transaction(idle.engine) as db:  # meanwhile it is handed over
            desk.do(db, case, cases.Give(idle.second), idle.officer, idle.clock.now())
        return image

    with transaction(idle.engine) as db:
        desk.do(db, case, cases.Take(), idle.foreman, idle.clock.now())
    web = Web(engine=idle.engine, store=idle.store, clock=idle.clock, links=idle.links, base=idle.url,
              hide_faces=hide, passwords=passwords())  # fmt: skip
    with pytest.raises(StepRefusedError):
        take_step(web, visitor, case, "done", {"text": "done"}, after=None, photo=jpeg())
    (left,) = [p for p in (idle.store.path("a", "0" * 64).parents[1]).rglob("*") if p.is_file()]
    aged(left, idle.clock.now() - 2 * DAY_S)
    assert swept(idle) == 1


def test_retention_sweeps_too(idle: Bench) -> None:
    left = idle.store.path("a", "0" * 64).parents[2] / "incoming" / "tmp-1"
    left.write_bytes(b"half")
    aged(left, idle.clock.now() - 2 * DAY_S)
    given = {"mqtt": {"host": "localhost"}, "web": {"secret": "x" * 32}, "evidence": left.parents[1]}
    housekeeping(DispatchSettings.model_validate(given), idle.engine)["retention"].work(idle.clock.now())
    assert not left.exists()
