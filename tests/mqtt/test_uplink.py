"""What the uplink promises, against a real Mosquitto with passwords and the access list of production."""

from __future__ import annotations

import hashlib
import logging
import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from broker.embedded import free_port
from broker.messages import CONTENT_TYPE, Health, Status
from edge.clock import ManualClock
from edge.uplink.outbox import CAPACITY
from edge.values import AlarmEvent, EvidenceRef, LinkState
from tests.journal.builders import event
from tests.mqtt.builders import (
    ACL,
    TOPICS,
    Node,
    Observer,
    Reporter,
    running,
    settings,
    with_password,
)
from tests.servers import Mosquitto, Wire
from tests.waiting import until


def raise_alarms(node: Node, count: int) -> list[AlarmEvent]:
    made = [node.journal.alarm(event(node.clock.now())) for _ in range(count)]
    node.uplink.wake()
    return made


# -- status and health ---------------------------------------------------------------------------------------------


def test_status_and_health_are_retained_states(broker: Mosquitto, dispatch: Observer, tmp_path: Path) -> None:
    with running(tmp_path, with_password(broker.port)) as node:
        node.up()
        for kind, model in (("/status", Status), ("/health", Health)):
            message = dispatch.next(kind)
            assert message.qos == 1
            assert message.properties.ContentType == CONTENT_TYPE  # type: ignore[union-attr]
            model.from_payload(message.payload)
        with Observer(broker.port) as latecomer:
            assert latecomer.next("/status").retain
            assert latecomer.next("/health").retain


def test_a_stop_in_good_order_says_offline_and_since_when(
    broker: Mosquitto, dispatch: Observer, tmp_path: Path, clock: ManualClock
) -> None:
    with running(tmp_path, with_password(broker.port), clock) as node:
        node.up()
        assert dispatch.status()["state"] == "online"
    told = dispatch.status()
    assert (told["state"], told["since"]) == ("offline", clock.wall)
    dispatch.quiet("/status")  # the last will is dropped


def test_a_cut_line_brings_the_last_will_and_then_the_node_back(broker: Mosquitto, tmp_path: Path) -> None:
    with (
        Wire(broker.port) as wire,
        Observer(broker.port) as dispatch,
        running(tmp_path, with_password(wire.port)) as node,
    ):
        node.up()
        assert dispatch.status()["state"] == "online"
        wire.cut()
        told = dispatch.status()
        assert (told["state"], told["since"]) == ("offline", None)
        assert dispatch.status()["state"] == "online"


def test_status_is_told_when_it_changes_and_only_then(broker: Mosquitto, dispatch: Observer, tmp_path: Path) -> None:
    reporter = Reporter()
    with running(tmp_path, with_password(broker.port), reporter=reporter) as node:
        node.up()
        dispatch.status()
        node.uplink.status_changed()  # it did not
        dispatch.nothing_more("/status")
        reporter.state = reporter.state.model_copy(update={"site_file_error": "line 7: no such rule"})
        node.uplink.status_changed()
        assert dispatch.status()["site_file_error"] == "line 7: no such rule"


def test_health_is_told_every_period(broker: Mosquitto, dispatch: Observer, tmp_path: Path, clock: ManualClock) -> None:
    with running(tmp_path, with_password(broker.port), clock, health_period_s=30) as node:
        dispatch.next("/health")
        dispatch.nothing_more("/health")
        clock.advance(29.9)
        node.uplink.wake()
        dispatch.nothing_more("/health")
        clock.advance(0.2)
        node.uplink.wake()
        dispatch.next("/health")


def test_health_is_told_at_once_when_a_camera_was_lost(
    broker: Mosquitto, dispatch: Observer, tmp_path: Path, clock: ManualClock
) -> None:
    with running(tmp_path, with_password(broker.port), clock, health_period_s=30) as node:
        dispatch.next("/health")
        node.uplink.health_changed()
        dispatch.next("/health")
        dispatch.nothing_more("/health")


def test_alarms_go_out_even_where_the_node_cannot_tell_how_it_is(
    broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Reporter):
        def status(self) -> Status:
            raise ZeroDivisionError

        def health(self) -> Health:
            raise ZeroDivisionError

    with (
        Observer(broker.port, ack=True),
        running(tmp_path, with_password(broker.port), reporter=Broken()) as node,
    ):
        raise_alarms(node, 3)
        node.delivered()
        for _ in range(3):
            node.uplink.status_changed()
            node.uplink.health_changed()
            raise_alarms(node, 1)
            node.delivered()
    assert [r.message for r in caplog.records if "cannot be told" in r.message] == [
        "status cannot be told",
        "health cannot be told",
    ]


# -- alarms --------------------------------------------------------------------------------------------------------


def test_alarms_arrive_in_order_and_wait_until_dispatch_has_stored_them(
    broker: Mosquitto, dispatch: Observer, tmp_path: Path
) -> None:
    with running(tmp_path, with_password(broker.port)) as node:
        made = raise_alarms(node, 60)
        told = dispatch.alarms(60)
        assert [m.id for m in told] == [e.id for e in made]
        assert [m.seq for m in told] == list(range(1, 61))
        assert node.journal.depth() == 60
        dispatch.store(*(m.id for m in told[:59]))
        until(lambda: node.journal.depth() == 1, "59 confirmed")
        assert node.journal.pending_alarms(9) == (made[59],)


def test_an_alarm_is_an_event_and_never_retained(broker: Mosquitto, dispatch: Observer, tmp_path: Path) -> None:
    with running(tmp_path, with_password(broker.port)) as node:
        raise_alarms(node, 1)
        message = dispatch.next("/alarm/")
        assert (message.topic, message.qos, message.retain) == (TOPICS.alarm("helmet"), 1, False)
        assert message.properties.ContentType == CONTENT_TYPE  # type: ignore[union-attr]
        with Observer(broker.port) as latecomer:
            latecomer.quiet("/alarm/")


def test_without_confirmation_it_is_sent_again_later_and_later_with_its_age_measured_anew(
    broker: Mosquitto, dispatch: Observer, tmp_path: Path, clock: ManualClock
) -> None:
    with running(tmp_path, with_password(broker.port, resend_s=30), clock) as node:
        (made,) = raise_alarms(node, 1)
        age = 0.0
        for wait in (0, 30, 60, 120, 240, 240):
            if wait:
                dispatch.nothing_more("/alarm/")
                clock.advance(wait - 1)
                node.uplink.wake()
                dispatch.nothing_more("/alarm/")
                clock.advance(1)
                node.uplink.wake()
            age += wait
            (told,) = dispatch.alarms(1)
            assert (told.id, told.age_s, told.at) == (made.id, age, made.at.wall)
        assert node.uplink.cause == "unconfirmed"
        dispatch.store(made.id)
        node.delivered()
        until(lambda: node.uplink.detail == "", "all is well again")


def test_a_wall_clock_that_jumps_changes_neither_age_nor_repetition(
    broker: Mosquitto, dispatch: Observer, tmp_path: Path, clock: ManualClock
) -> None:
    with running(tmp_path, with_password(broker.port, resend_s=30), clock) as node:
        raise_alarms(node, 1)
        dispatch.alarms(1)
        for jump in (86_400.0, -172_800.0):
            clock.wall += jump
            node.uplink.wake()
            dispatch.nothing_more("/alarm/")
        clock.advance(30)
        node.uplink.wake()
        assert dispatch.alarms(1)[0].age_s == 30


def test_what_was_raised_before_an_outage_of_the_power_is_sent_by_the_next_run(
    broker: Mosquitto, dispatch: Observer, tmp_path: Path, clock: ManualClock
) -> None:
    with running(tmp_path, settings(free_port()), clock) as node:
        (made,) = raise_alarms(node, 1)
    after = ManualClock(wall=clock.wall + 3600, mono=5.0)
    with running(tmp_path, with_password(broker.port), after):
        (told,) = dispatch.alarms(1)
        assert (told.id, told.age_s) == (made.id, 3600)


def test_puback_is_enough_where_nobody_is_behind_the_broker(broker: Mosquitto, tmp_path: Path) -> None:
    with running(tmp_path, with_password(broker.port, confirm="puback")) as node:
        raise_alarms(node, 300)
        node.delivered()


def test_an_ack_means_nothing_where_the_broker_confirms(
    broker: Mosquitto, dispatch: Observer, tmp_path: Path, clock: ManualClock
) -> None:
    broker.set_acl(ACL.replace("banksman/1/%u/#", "banksman/1/%u/status"))
    with running(tmp_path, with_password(broker.port, confirm="puback"), clock) as node:
        (made,) = raise_alarms(node, 1)
        until(lambda: node.uplink.cause == "denied", "denied")
        dispatch.store(made.id)
        clock.advance(1)
        broker.set_acl(ACL.replace("%u/#", "%u/command/#"))  # the answer below may pass, alarms still not
        dispatch.nothing_more("/alarm/")
        assert node.journal.depth() == 1


@pytest.mark.parametrize("confirm", ["dispatch", "puback"])
def test_a_broker_that_does_not_take_it_has_not_got_it(
    broker: Mosquitto, tmp_path: Path, clock: ManualClock, confirm: str, caplog: pytest.LogCaptureFixture
) -> None:
    broker.set_acl(ACL.replace("pattern readwrite banksman/1/%u/#", "pattern readwrite banksman/1/%u/status"))
    with (
        Observer(broker.port, ack=True) as dispatch,
        running(tmp_path, with_password(broker.port, confirm=confirm, resend_s=30), clock) as node,
    ):
        raise_alarms(node, 3)
        until(lambda: "alarm/helmet" in caplog.text and node.uplink.cause == "denied", "denied")
        assert node.uplink.state is LinkState.UP
        assert "Not authorized" in node.uplink.detail
        assert node.journal.depth() == 3
        broker.set_acl(ACL)
        clock.advance(30)
        node.uplink.wake()
        assert [m.seq for m in dispatch.alarms(3)] == [1, 2, 3]
        node.delivered()
        until(lambda: "alarm" not in node.uplink.detail, "no complaint about alarms any more")


def test_an_event_too_big_for_the_broker_goes_without_its_list_of_evidence(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path / "broker", more="max_packet_size 2500") as broker,
        Observer(broker.port, user=None, ack=True) as dispatch,
        running(tmp_path, settings(broker.port)) as node,
    ):
        many = tuple(EvidenceRef(f"{n:064x}", "snapshot", 1000) for n in range(64))
        node.journal.alarm(replace(event(node.clock.now()), evidence=many))
        raise_alarms(node, 1)
        big, small = dispatch.alarms(2)
        assert (big.evidence, len(small.evidence)) == ((), 1)
        node.delivered()


def test_an_event_too_big_even_so_is_set_aside_and_blocks_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        Mosquitto(tmp_path / "broker", more="max_packet_size 1200") as broker,
        Observer(broker.port, user=None, ack=True) as dispatch,
        running(tmp_path, settings(broker.port)) as node,
    ):
        big = node.journal.alarm(replace(event(node.clock.now()), clauses=("I.6.3" * 12,) * 16))
        (small,) = raise_alarms(node, 1)
        assert dispatch.alarms(1)[0].id == small.id
        until(lambda: node.journal.pending_alarms(9) == (big,), "the small one delivered")
        assert node.uplink.state is LinkState.UP
    assert f"{big.id} (seq 1) is set aside" in caplog.text


def test_an_event_that_breaks_the_contract_is_set_aside_and_blocks_nothing(
    broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        Observer(broker.port, ack=True) as dispatch,
        running(tmp_path, with_password(broker.port)) as node,
    ):
        bad = node.journal.alarm(replace(event(node.clock.now()), confidence=1.5))
        (good,) = raise_alarms(node, 1)
        assert dispatch.alarms(1)[0].id == good.id
        until(lambda: node.journal.pending_alarms(9) == (bad,), "the good one delivered")
    assert "confidence" in caplog.text


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"ids": "all"}', b"\xff" * 100, b'{"ids": ["nobody"]}'])
def test_a_bad_ack_confirms_nothing(broker: Mosquitto, dispatch: Observer, tmp_path: Path, payload: bytes) -> None:
    with running(tmp_path, with_password(broker.port)) as node:
        (made,) = raise_alarms(node, 1)
        dispatch.alarms(1)
        dispatch.publish(TOPICS.ack, payload)
        dispatch.nothing_more("/alarm/")
        assert node.journal.pending_alarms(9) == (made,)
        dispatch.store(made.id)
        node.delivered()


# -- the line breaks -----------------------------------------------------------------------------------------------


def test_the_broker_is_killed_and_comes_back(broker: Mosquitto, tmp_path: Path) -> None:
    with running(tmp_path, with_password(broker.port)) as node:
        with Observer(broker.port) as dispatch:
            first = raise_alarms(node, 5)
            dispatch.alarms(5)
            broker.kill()
        node.down("closed")
        second = raise_alarms(node, 5)
        broker.start()
        with Observer(broker.port, ack=True) as dispatch:
            seen = dispatch.alarms(10)
            assert [m.id for m in seen] == [e.id for e in first + second]
            node.delivered()


def test_acks_and_commands_wait_in_the_session_over_restarts_of_node_and_broker(
    broker: Mosquitto, tmp_path: Path
) -> None:
    with Observer(broker.port) as dispatch:
        with running(tmp_path, with_password(broker.port)) as node:
            (made,) = raise_alarms(node, 1)
            dispatch.alarms(1)
        dispatch.store(made.id)
        dispatch.publish(TOPICS.command("ping"), b"", CorrelationData=b"waited")
        dispatch.quiet("/reply")
    broker.stop()
    broker.start()
    with Observer(broker.port) as dispatch, running(tmp_path, with_password(broker.port)) as node:
        assert dispatch.reply(b"waited").ok
        node.delivered()


def test_a_pulled_cable_is_noticed(broker: Mosquitto, tmp_path: Path) -> None:
    with (
        Wire(broker.port) as wire,
        Observer(broker.port, ack=True) as dispatch,
        running(tmp_path, with_password(wire.port), keepalive_s=1) as node,
    ):
        node.up()
        assert dispatch.status()["state"] == "online"
        wire.freeze()
        node.down("timeout")
        assert dispatch.status()["state"] == "offline"
        raise_alarms(node, 2)
        wire.cut()
        wire.thaw()
        node.delivered()


def test_a_broker_that_hangs_holds_up_nobody_and_costs_no_memory(broker: Mosquitto, tmp_path: Path) -> None:
    with (
        Observer(broker.port, ack=True),
        running(tmp_path, with_password(broker.port)) as node,
    ):
        node.up()
        broker.hang()
        began = time.monotonic()
        for _ in range(20_000):
            node.uplink.wake()
        raise_alarms(node, CAPACITY + 50)
        node.uplink.status_changed()
        assert time.monotonic() - began < 10  # 306 commits; nothing of it waits for the broker
        assert len(node.uplink._outbox._rows) <= CAPACITY  # the bound on memory is the promise
        broker.resume()
        node.delivered()


def test_attempts_that_fail_leave_nothing_behind(tmp_path: Path, clock: ManualClock) -> None:
    """Seen from the other end: a server that takes each call and hangs up."""

    def hang_up(times: int) -> int:
        while times:
            clock.advance(60)
            node.uplink.wake()
            with suppress(TimeoutError):
                server.accept()[0].close()
                times -= 1
        return len(list(Path("/proc/self/fd").iterdir()))

    threads = threading.active_count()
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        running(tmp_path, settings(server.getsockname()[1]), clock) as node,
    ):
        server.settimeout(0.05)
        few = hang_up(5)
        assert hang_up(50) <= few + 2
        assert threading.active_count() <= threads + 2


# -- causes --------------------------------------------------------------------------------------------------------


def test_a_wrong_password_is_named_and_never_shown(
    broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with running(tmp_path, with_password(broker.port, "no such secret")) as node:
        node.down("auth")
        assert node.uplink.detail.startswith(f"auth: 127.0.0.1:{broker.port}: ")
        assert "\n" not in node.uplink.detail
        assert "no such secret" not in node.uplink.detail + caplog.text


@pytest.mark.parametrize(
    ("host", "cause"),
    [("127.0.0.1", "refused"), ("no-such-host.invalid", "dns"), ("a..b", "dns"), ("224.0.0.1", "unreachable")],
)
def test_a_broker_that_is_not_there_has_a_named_cause(tmp_path: Path, host: str, cause: str) -> None:
    mqtt = settings(free_port()).model_copy(update={"host": host})
    with running(tmp_path, mqtt) as node:
        node.down(cause)


def test_somebody_who_takes_the_call_and_says_nothing(tmp_path: Path, clock: ManualClock) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        running(tmp_path, settings(silent.getsockname()[1]), clock) as node,
    ):
        standing, _ = silent.accept()

        def given_up() -> bool:
            clock.advance(11)
            node.uplink.wake()
            return node.uplink.state is LinkState.DOWN

        until(given_up, "given up")
        assert node.uplink.detail.startswith("timeout: ")
        standing.close()


CONNACK = bytes.fromhex("20 03 00 00 00")


@pytest.mark.parametrize(
    ("after", "cause"),
    [
        (bytes.fromhex("e0 02 8e 00"), "taken_over"),  # DISCONNECT with a reason
        (bytes.fromhex("e0 02 8d 00"), "timeout"),
        (bytes.fromhex("e0 02 98 00"), "closed"),
        (bytes.fromhex("e0 00"), "closed"),
        (bytes.fromhex("f0 00"), "closed"),  # packets that no broker sends
        (bytes.fromhex("00 00"), "closed"),
        (bytes.fromhex("30 ff ff ff ff ff"), "closed"),
        (bytes.fromhex("30 04 00 00 00 00"), None),  # a message on the topic "" is none of ours
        (bytes.fromhex("32 02 00 09"), None),  # shorter than what it says that it holds
        (bytes.fromhex("30 07 00 02 ff fe 00 7b 7d"), None),  # a topic that is no UTF-8
        (bytes.fromhex("40 03 00 01 ee"), None),  # a reason that there is not
        (bytes.fromhex("90 04 00 01 00 7f"), None),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", None),
        (hashlib.shake_256(b"any bytes").digest(300), None),
    ],
    ids=lambda v: v.hex(" ")[:30] if isinstance(v, bytes) else v,
)
def test_whatever_a_broker_sends_the_uplink_lives_on(
    tmp_path: Path, clock: ManualClock, after: bytes, cause: str | None
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        running(tmp_path, settings(server.getsockname()[1]), clock) as node,
    ):
        with server.accept()[0] as line:
            line.sendall(CONNACK)
            node.up()
            line.sendall(after)
            if cause is not None:
                node.down(cause)
        node.down(cause)
        server.settimeout(0.05)
        again = None
        while again is None:
            clock.advance(60)
            node.uplink.wake()
            with suppress(TimeoutError):
                again = server.accept()[0]
        again.sendall(CONNACK)
        node.up()
        again.close()
