"""The line of a worker to a real broker: what was not confirmed in time never comes later."""

from __future__ import annotations

import gc
import logging
import os
import resource
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from broker.dispatch import link as module
from broker.dispatch.clock import SystemClock
from broker.dispatch.link import Link
from broker.dispatch.settings import Mqtt
from broker.messages import case_topic
from tests.servers import Mosquitto, Wire
from tests.waiting import until

ONE, OTHER = case_topic("north-yard", "0001"), case_topic("north-yard", "0002")


@contextmanager
def line(port: int, name: str) -> Iterator[Link]:
    link = Link(Mqtt(host="127.0.0.1", port=port, tls=False, client_id=name), SystemClock())
    link.start()
    try:
        yield link
    finally:
        link.stop()


def up(link: Link, connection: int) -> Callable[[], bool]:
    return lambda: link.connection == connection and link.listening_since is not None


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as server:
        yield server


def test_what_is_retained_while_off_the_broker_is_refused_at_once_and_never_sent(broker: Mosquitto) -> None:
    with line(broker.port, "dispatch-1") as link:
        until(up(link, 1))
        broker.stop()
        until(lambda: link.listening_since is None)
        assert link.retain({ONE: b"old"}) == set()
        assert not link.send("banksman/1/north-yard/gate-03/ack", b"{}")
        broker.start()
        until(up(link, 2))
        assert link.retain({OTHER: b"new"}) == {OTHER}
        assert link.retained_cases() == {OTHER: b"new"}


def test_a_state_that_was_under_way_as_the_line_broke_does_not_come_after_a_newer_one(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONFIRM_S", 0.5)
    with Wire(broker.port) as wire, line(wire.port, "dispatch-1") as first, line(broker.port, "dispatch-2") as second:
        until(up(first, 1))
        until(up(second, 1))
        wire.freeze()
        assert first.retain({ONE: b"old"}) == set()
        assert first.listening_since is None, "it is not going to be confirmed any more"
        assert second.retain({ONE: b"new"}) == {ONE}
        wire.cut()
        wire.thaw()
        until(up(first, 2))
        assert first.retain({OTHER: b"new"}) == {OTHER}
        assert second.retained_cases() == {ONE: b"new", OTHER: b"new"}


def test_lines_that_broke_leave_no_file_open(broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_S", (0.01, 0.01))
    gc.collect()
    gc.disable()
    try:
        with Wire(broker.port) as wire, line(wire.port, "dispatch-1") as link:
            until(up(link, 1))
            before = open_files()
            for connection in range(2, 12):
                wire.cut()
                until(up(link, connection))
            until(lambda: open_files() <= before + 4, "one pair of sockets may be on its way out")
    finally:
        gc.enable()


def test_a_line_that_breaks_ends_the_wait_for_what_was_under_way(broker: Mosquitto) -> None:
    """Well before the time for confirmations is over: others wait for the turn."""
    with Wire(broker.port) as wire, line(wire.port, "dispatch-1") as link:
        until(up(link, 1))
        wire.freeze()
        broker.stop()
        with ThreadPoolExecutor(1) as pool:
            told = pool.submit(link.retain, {ONE: b"old"})
            wire.cut()
            assert told.result(timeout=module.CONFIRM_S / 2) == set()


@contextmanager
def no_small_descriptor() -> Iterator[None]:
    """Each file that is opened meanwhile has a number that paho's `select` cannot take."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before, 2048), most))
    with ExitStack() as opened:
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (before, most))
        number = 0
        while number < 1024:
            number = os.dup(0)
            opened.callback(os.close, number)
        yield


def test_a_line_whose_thread_ends_without_a_word_is_told_and_made_anew(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "PAUSE_S", (0.01, 0.01))
    with no_small_descriptor(), ExitStack() as lines:
        link = lines.enter_context(line(broker.port, "dispatch-1"))
        until(lambda: "cannot be read any more" in caplog.text, "the line is dead and nothing says so")
        left = lines.pop_all()
    with left:
        until(up(link, 1))
        assert link.retain({ONE: b"new"}) == {ONE}


def test_what_paho_has_no_connection_for_is_not_sent(broker: Mosquitto) -> None:
    link = Link(Mqtt(host="127.0.0.1", port=broker.port, tls=False, client_id="dispatch-1"), SystemClock())
    link._line.since = 0.0  # the moment between the end of the connection and paho's word of it
    assert not link.send("banksman/1/north-yard/gate-03/ack", b"{}")


def test_a_broker_that_refuses_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "PAUSE_S", (0.01, 0.01))
    with Mosquitto(tmp_path / "strict", users={"other": "secret"}) as server, line(server.port, "dispatch-1"):
        until(lambda: server.log().count("not authorised") > 3)
    told = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(told) == 1, told
    assert "Not authorized" in told[0]
