"""Pictures and clips reach a real HTTPS server, and leave the node only when it has said that it stored them."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edge.clock import ManualClock, Stamp
from edge.journal.journal import Journal
from edge.site.model import EvidenceUplink as Settings
from edge.text import LANGUAGES, catalogue
from edge.uplink.evidence import ASIDE_S, AUTH_WAIT_S, FIRST_WAIT_S, LONGEST_WAIT_S, Cause, EvidenceUplink, UploadState
from edge.values import EvidenceRef, LinkState
from tests.journal.builders import journal
from tests.servers import HOST, Authority, Certificate
from tests.uplink.https_server import EvidenceServer, cuts_after, says, waits_for

MB = 1_000_000


@dataclass
class AskedClock(ManualClock):
    """Tells when somebody has asked it."""

    asked: threading.Event = field(default_factory=threading.Event)

    def now(self) -> Stamp:
        self.asked.set()
        return super().now()


@dataclass
class World:
    """A node's journal, an uplink and the server it talks to."""

    folder: Path
    clock: AskedClock
    authority: Authority
    node: Certificate
    server: EvidenceServer
    kept: Journal
    uplinks: list[EvidenceUplink] = field(default_factory=list)

    def file(self, alarm: str = "alarm-1", kind: str = "snapshot", content: bytes = b"picture") -> EvidenceRef:
        ref = EvidenceRef(hashlib.sha256(content).hexdigest(), kind, len(content))
        path = self.folder / ref.sha256
        path.write_bytes(content)
        self.kept.evidence(ref, alarm, path, self.clock.now())
        return ref

    def uplink(
        self, ca: Path | None = None, node: Certificate | None = None, may_send: Callable[[], bool] = lambda: True
    ) -> EvidenceUplink:
        """Started, with the longest jitter."""
        node = node or self.node
        settings = Settings(url=self.server.url, ca=ca or self.authority.cert, cert=node.cert, key=node.key)
        made = EvidenceUplink(settings, self.kept, self.clock, may_send, jitter=lambda: 1.0)
        self.uplinks.append(made)
        made.start()
        return made

    def later(self, uplink: EvidenceUplink, seconds: float) -> None:
        self.clock.advance(seconds)
        uplink.wake()

    def looks_twice(self, uplink: EvidenceUplink) -> None:
        """Returns when the uplink has been woken, has looked at the clock, and has gone back to sleep."""
        for _ in range(2):
            self.clock.asked.clear()
            uplink.wake()
            assert self.clock.asked.wait(10)

    def waiting(self) -> list[str]:
        return [e.alarm for e in self.kept.pending_evidence(100)]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other-pki"), "Stranger")


@pytest.fixture
def world(tmp_path: Path, authority: Authority) -> Iterator[World]:
    clock = AskedClock()
    server = EvidenceServer(authority.issue("server", host=HOST), authority.cert)
    server.start()
    kept = journal(tmp_path, clock)
    world = World(tmp_path, clock, authority, authority.issue("north-yard/gate-03"), server, kept)
    yield world
    for uplink in world.uplinks:
        uplink.stop()
    server.stop()
    kept.close()


def reaches(uplink: EvidenceUplink, wanted: Callable[[UploadState], bool]) -> UploadState:
    """The state of the uplink, once it is as wanted."""
    with uplink._news:
        assert uplink._news.wait_for(lambda: wanted(uplink._state), 10), uplink._state
        return uplink._state


def test_a_file_is_put_with_the_nodes_certificate_and_then_gone(world: World) -> None:
    ref = world.file(content=b"\xff\xd8 a picture")
    uplink = world.uplink()
    (request,) = world.server.wait_for(1)
    assert (request.path, request.content_type, request.length, request.body, request.client) == (
        f"/evidence/alarm-1/{ref.sha256}",
        "image/jpeg",
        len(request.body),
        b"\xff\xd8 a picture",
        "north-yard/gate-03",
    )
    assert reaches(uplink, lambda s: s.sent == 1).link is LinkState.UP
    assert world.waiting() == []
    assert not (world.folder / ref.sha256).exists()


def test_snapshots_first_then_clips_all_over_one_connection(world: World) -> None:
    world.file("clip-alarm", "clip", b"c" * MB)
    for n in range(5):
        world.file(f"alarm-{n}", content=b"%d" % n)
    reaches(world.uplink(), lambda s: s.sent == 6)
    requests = world.server.requests
    assert [r.path.split("/")[2] for r in requests] == [*(f"alarm-{n}" for n in range(5)), "clip-alarm"]
    assert requests[-1].content_type == "video/mp4"
    assert len({r.port for r in requests}) == 1


def test_a_file_of_two_alarms_is_put_for_each_and_deleted_with_the_last(world: World) -> None:
    ref = world.file("a")
    world.file("b")
    uplink = world.uplink()
    reaches(uplink, lambda s: s.sent == 2)
    assert [r.path for r in world.server.requests] == [f"/evidence/{alarm}/{ref.sha256}" for alarm in "ab"]
    assert not (world.folder / ref.sha256).exists()


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (says(503), Cause.SERVER),
        (says(500), Cause.SERVER),
        (says(429), Cause.SERVER),
        (says(200), Cause.SERVER),  # not what is agreed: a proxy's page, perhaps
        (says(204), Cause.SERVER),
        (says(302, Location="https://127.0.0.1:1/"), Cause.SERVER),
        (cuts_after(300_000), Cause.BROKEN),
    ],
    ids=["503", "500", "429", "200", "204", "redirect", "cut in mid-body"],
)
def test_trouble_keeps_the_file_and_waits_before_it_sends_again(
    world: World, answer: Callable[..., None], cause: Cause
) -> None:
    ref = world.file(content=b"x" * MB)
    world.server.will(answer)
    uplink = world.uplink()
    state = reaches(uplink, lambda s: s.cause is not Cause.NONE)
    assert (state.link, state.cause) == (LinkState.DOWN, cause)
    assert (world.folder / ref.sha256).exists()
    world.later(uplink, FIRST_WAIT_S - 0.01)
    world.file("alarm-2")
    world.looks_twice(uplink)  # something new does not cut the wait short
    assert uplink.state.sent == 0
    assert len(world.server.requests) == 1
    world.later(uplink, 0.02)
    assert reaches(uplink, lambda s: s.sent == 2).cause is Cause.NONE
    assert world.server.wait_for(3)[-1].body == b"x" * MB


def test_the_wait_doubles_up_to_its_limit_and_starts_anew_after_a_success(world: World) -> None:
    world.file()
    world.server.will(*[says(503)] * 9)
    uplink = world.uplink()
    waits = []
    for n in range(9):
        world.server.wait_for(n + 1)
        with uplink._news:
            assert uplink._news.wait_for(lambda: uplink._not_before > world.clock.mono, 10)
        waits.append(uplink._not_before - world.clock.mono)
        world.later(uplink, waits[-1])
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, LONGEST_WAIT_S]
    reaches(uplink, lambda s: s.sent == 1)
    world.server.will(says(503))
    world.file("alarm-2")
    uplink.wake()
    reaches(uplink, lambda s: s.link is LinkState.DOWN)
    assert uplink._not_before - world.clock.mono == FIRST_WAIT_S


def test_a_server_that_reads_slowly_gets_it_all(world: World) -> None:
    content = bytes(range(256)) * 8000
    world.file(kind="clip", content=content)
    go_on = threading.Event()
    world.server.will(waits_for(go_on, before=1000))
    uplink = world.uplink()
    assert world.server.reached.wait(10)
    assert uplink.state.sent == 0
    go_on.set()
    reaches(uplink, lambda s: s.sent == 1)
    assert world.server.requests[0].body == content[1000:]


@pytest.mark.parametrize("code", [400, 404, 409, 410, 413, 422])
def test_a_refused_file_blocks_no_other_and_is_tried_again_much_later(
    world: World, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    bad = world.file("bad")
    world.server.will(says(code))
    uplink = world.uplink()
    reaches(uplink, lambda s: s.aside == 1)
    world.file("good", content=b"good")
    uplink.wake()
    assert reaches(uplink, lambda s: s.sent == 1).aside == 1
    assert world.waiting() == ["bad"]
    assert [m for m in caplog.messages if bad.sha256 in m and str(code) in m]
    world.later(uplink, ASIDE_S)
    assert reaches(uplink, lambda s: s.sent == 2).aside == 0


def test_more_refused_files_than_are_asked_for_at_once_block_no_other(world: World) -> None:
    for n in range(130):
        world.file(f"bad-{n}", content=b"bad %d" % n)
    world.file("good", "clip")
    world.server.will(*[says(413)] * 130)
    assert reaches(world.uplink(), lambda s: s.sent == 1).aside == 130


def test_a_file_that_the_server_stumbles_over_goes_to_the_end_of_the_line(world: World) -> None:
    world.file("stumbles")
    world.file("fine", content=b"fine")
    world.server.will(says(500))
    uplink = world.uplink()
    reaches(uplink, lambda s: s.link is LinkState.DOWN)
    world.server.will(says(201), says(500))
    world.later(uplink, FIRST_WAIT_S)
    reaches(uplink, lambda s: s.sent == 1 and s.link is LinkState.DOWN)
    assert world.waiting() == ["stumbles"]
    assert [r.path.split("/")[2] for r in world.server.requests] == ["stumbles", "fine", "stumbles"]


@pytest.mark.parametrize("code", [401, 403])
def test_a_node_that_is_not_known_stops_and_says_so(world: World, code: int) -> None:
    world.file()
    world.file("alarm-2", content=b"2")
    world.server.will(says(code))
    uplink = world.uplink()
    assert reaches(uplink, lambda s: s.link is LinkState.DOWN).cause is Cause.AUTH
    world.later(uplink, AUTH_WAIT_S - 1)
    world.looks_twice(uplink)
    assert len(world.server.requests) == 1
    world.later(uplink, 1)
    assert reaches(uplink, lambda s: s.sent == 2).cause is Cause.NONE


def test_another_hash_in_the_answer_is_not_stored(world: World) -> None:
    ref = world.file()
    world.server.will(says(201, ETag=f'"{"0" * 64}"'))
    state = reaches(world.uplink(), lambda s: s.aside == 1)
    assert (state.sent, world.waiting()) == (0, ["alarm-1"])
    assert "stored something else" in state.detail
    assert (world.folder / ref.sha256).exists()


@pytest.mark.parametrize("tag", ['"{sha}"', 'W/"abc"', '"65a1f"'])
def test_the_right_hash_or_any_other_kind_of_tag_is(world: World, tag: str) -> None:
    ref = world.file()
    world.server.will(says(201, ETag=tag.format(sha=ref.sha256)))
    assert reaches(world.uplink(), lambda s: s.sent == 1).aside == 0


def test_nothing_is_sent_to_a_server_of_another_ca(world: World, stranger: Authority) -> None:
    world.file()
    uplink = world.uplink(ca=stranger.cert)
    assert reaches(uplink, lambda s: s.link is LinkState.DOWN).cause is Cause.TLS
    assert (world.server.requests, world.waiting()) == ([], ["alarm-1"])


def test_a_certificate_of_another_ca_is_refused_and_its_renewal_is_picked_up(world: World, stranger: Authority) -> None:
    world.file()
    own = stranger.issue("north-yard/gate-03")
    uplink = world.uplink(node=own)
    assert reaches(uplink, lambda s: s.link is LinkState.DOWN).cause is Cause.AUTH
    own.cert.write_bytes(world.node.cert.read_bytes())
    own.key.write_bytes(world.node.key.read_bytes())
    world.later(uplink, AUTH_WAIT_S)
    reaches(uplink, lambda s: s.sent == 1)


@pytest.mark.parametrize("missing", ["ca", "cert", "key"])
def test_a_missing_certificate_is_named_and_picked_up_once_it_is_there(world: World, missing: str) -> None:
    world.file()
    path = {"ca": world.authority.cert, "cert": world.node.cert, "key": world.node.key}[missing]
    content = path.read_bytes()
    path.unlink()
    uplink = world.uplink()
    state = reaches(uplink, lambda s: s.link is LinkState.DOWN)
    path.write_bytes(content)
    assert state.cause is Cause.FILES
    assert (path if missing == "ca" else world.node.cert).name in state.detail
    world.later(uplink, LONGEST_WAIT_S)
    reaches(uplink, lambda s: s.sent == 1)


def test_a_key_with_a_password_is_an_error_and_no_question_on_a_terminal(world: World) -> None:
    world.file()
    locked = world.authority.issue("north-yard/gate-03", password=b"x")
    state = reaches(world.uplink(node=locked), lambda s: s.link is LinkState.DOWN)
    assert (state.cause, state.detail.count(str(locked.key))) == (Cause.FILES, 1)


def test_nobody_listening_is_told_from_the_rest(world: World) -> None:
    world.server.stop()
    world.file()
    assert reaches(world.uplink(), lambda s: s.link is LinkState.DOWN).cause is Cause.REFUSED


def test_alarms_go_first(world: World) -> None:
    alarms_wait = threading.Event()
    alarms_wait.set()
    world.file()
    asked = threading.Event()

    def may_send() -> bool:
        asked.set()
        return not alarms_wait.is_set()

    uplink = world.uplink(may_send=may_send)
    assert asked.wait(10)
    assert world.server.requests == []
    alarms_wait.clear()
    uplink.wake()
    reaches(uplink, lambda s: s.sent == 1)


def test_stopped_in_the_middle_of_a_file_it_is_sent_again_by_the_next_node(world: World) -> None:
    content = b"z" * (30 * MB)  # more than the buffers between the two hold
    ref = world.file(kind="clip", content=content)
    go_on = threading.Event()
    world.server.will(waits_for(go_on, before=1000))
    first = world.uplink()
    assert world.server.reached.wait(10)
    stopping = threading.Thread(target=first.stop)
    stopping.start()
    go_on.set()
    stopping.join(20)
    assert not stopping.is_alive()
    assert first.state.sent == 0
    world.kept.close()
    world.kept = journal(world.folder, world.clock)
    reaches(world.uplink(), lambda s: s.sent == 1)
    assert world.server.requests[-1].body == content
    assert not (world.folder / ref.sha256).exists()


def test_a_file_that_is_gone_or_damaged_holds_up_no_other(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    gone = world.file("gone", content=b"gone")
    damaged = world.file("damaged", content=b"damaged")
    world.file("fine", content=b"fine")
    (world.folder / gone.sha256).unlink()
    (world.folder / damaged.sha256).write_bytes(b"dam")
    assert reaches(world.uplink(), lambda s: s.sent == 1).aside == 1
    assert [r.body for r in world.server.requests] == [b"fine"]
    assert any("3 bytes on disk, 7 when it was written" in m for m in caplog.messages)
    assert world.kept.depth() == 1  # the damaged one


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_cause_has_its_words_and_what_to_do(language: str) -> None:
    text = catalogue(language)
    assert all(f"upload.{cause}" in text for cause in Cause)
    assert all(f"upload_do.{cause}" in text for cause in Cause if cause is not Cause.NONE)
    assert "3" in text("upload.aside", n=3)
