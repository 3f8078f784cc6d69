"""Commands: each is answered once with a code, or ignored with a line in the log."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from broker.messages import MAX_PAYLOAD, Command, Reply, parse_topic
from edge.uplink.commands import MAX_CORRELATION, MAX_WAITING, Answer, CommandDesk
from edge.uplink.link import Inbound
from tests.journal.builders import event
from tests.mqtt.builders import ACL, HANDLERS, NODE, SITE, TOPICS, USERS, Node, Observer, running, with_password
from tests.servers import Mosquitto
from tests.waiting import until

PROOF_EXAMPLES, USUAL_EXAMPLES = 10_000, 500


class Counter:
    """Takes messages in as the uplink does, and waits for what comes of each."""

    def __init__(self) -> None:
        self._answered = threading.Semaphore(0)
        self.desk = CommandDesk(TOPICS, HANDLERS, self._answered.release)

    def ask(self, inbound: Inbound) -> Answer | None:
        """The answer; None where the message was ignored."""
        self.desk.take(inbound)
        if self._ignored():
            return None
        assert self._answered.acquire(timeout=20)
        (answer,) = self.desk.answers(99)
        return answer

    def _ignored(self) -> bool:
        return LAST.records[-1].startswith("ignored: ") if LAST.records else False


class _Last(logging.Handler):
    """The lines that the desk wrote for the newest message."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record.getMessage())


LAST = _Last()


@pytest.fixture(scope="module")
def counter() -> Iterator[Counter]:
    log = logging.getLogger("edge.uplink.commands")
    level = log.level
    log.addHandler(LAST)
    log.setLevel(logging.INFO)
    made = Counter()
    made.desk.start()
    yield made
    made.desk.stop()
    log.removeHandler(LAST)
    log.setLevel(level)


def ask(counter: Counter, **inbound: Any) -> Answer | None:
    LAST.records.clear()
    return counter.ask(Inbound(**{"topic": TOPICS.command("ping"), "payload": b""} | inbound))


def reply(answer: Answer | None) -> Reply:
    assert answer is not None
    return Reply.from_payload(answer.payload)


@pytest.mark.parametrize(
    ("inbound", "code"),
    [
        ({}, "ok"),
        ({"payload": b'{"args": {"camera": "gate"}}'}, "ok"),
        ({"payload": b'{"args": {}, "of_tomorrow": 1}'}, "ok"),
        ({"response_topic": TOPICS.reply("ping")}, "ok"),
        ({"response_topic": TOPICS.reply("ping") + "/desk-1"}, "ok"),
        ({"correlation": b"\0" * MAX_CORRELATION}, "ok"),
        ({"topic": TOPICS.command("reboot")}, "unknown_command"),
        ({"topic": TOPICS.command("refuse")}, "not_now"),
        ({"topic": TOPICS.command("broken")}, "failed"),
        ({"topic": TOPICS.command("huge")}, "too_large"),
        ({"payload": b"{"}, "not_json"),
        ({"payload": b"\xff"}, "not_json"),
        ({"payload": b"[]"}, "wrong"),
        ({"payload": b'{"args": 1}'}, "wrong"),
        ({"payload": b" " * (MAX_PAYLOAD + 1)}, "too_large"),
        ({"response_topic": "banksman/1/north-yard/gate-04/command/ping/reply"}, "response_topic"),
        ({"response_topic": TOPICS.reply("refuse")}, "response_topic"),
        ({"response_topic": TOPICS.alarm("helmet")}, "response_topic"),
        ({"response_topic": TOPICS.command("ping")}, "response_topic"),
        ({"response_topic": TOPICS.reply("ping") + "/a/b"}, "response_topic"),
        ({"response_topic": "$SYS/broker"}, "response_topic"),
        ({"response_topic": ""}, "response_topic"),
        ({"correlation": b"\0" * (MAX_CORRELATION + 1)}, "correlation_data"),
    ],
)
def test_every_command_is_answered_with_a_code(counter: Counter, inbound: dict[str, Any], code: str) -> None:
    answer = ask(counter, **inbound)
    got = reply(answer)
    assert (got.code, got.ok) == (code, code == "ok")
    assert answer is not None
    assert answer.topic.startswith(TOPICS.base + "/command/")
    assert answer.topic == (inbound.get("response_topic") if code == "ok" else None) or answer.topic.endswith("/reply")
    assert answer.correlation == (None if code == "correlation_data" else inbound.get("correlation"))


@pytest.mark.parametrize(
    "inbound",
    [
        {"retain": True},
        {"dup": True},
        {"topic": ""},
        {"topic": "x" * 70_000},
        {"topic": TOPICS.alarm("helmet")},
        {"topic": TOPICS.reply("ping")},
        {"topic": "banksman/1/north-yard/gate-04/command/ping"},
        {"topic": TOPICS.base + "/command/Ping"},
    ],
)
def test_what_is_no_command_is_ignored_and_named(counter: Counter, inbound: dict[str, Any]) -> None:
    assert ask(counter, **inbound) is None


def test_a_command_that_comes_twice_is_done_once(counter: Counter) -> None:
    again = {"correlation": b"the same", "dup": True}
    assert reply(ask(counter, **again)).ok  # the first delivery may never have reached us
    assert ask(counter, **again) is None
    assert reply(ask(counter, **again | {"correlation": b"another"})).ok


def test_a_slow_command_holds_up_neither_others_nor_alarms(broker: Mosquitto, tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(_command: Command) -> Reply:
        begun.set()
        go_on.wait(60)
        return Reply(ok=True)

    with (
        Observer(broker.port, ack=True) as dispatch,
        running(tmp_path, with_password(broker.port), commands={"slow": slow}) as node,
    ):
        node.up()
        for n in range(1 + MAX_WAITING + 1):
            dispatch.publish(TOPICS.command("slow"), b"", CorrelationData=bytes([n]))
            assert begun.wait(20)
        assert dispatch.reply(bytes([MAX_WAITING + 1])).code == "busy"
        node.journal.alarm(event(node.clock.now()))
        node.uplink.wake()
        node.delivered()
        go_on.set()
        assert [dispatch.reply(bytes([n])).ok for n in range(MAX_WAITING + 1)] == [True] * (MAX_WAITING + 1)


def test_a_retained_command_is_not_carried_out_when_the_node_comes(
    broker: Mosquitto, dispatch: Observer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dispatch.publish(TOPICS.command("ping"), b"", retain=True, CorrelationData=b"old")
    with running(tmp_path, with_password(broker.port)) as node:
        node.up()
        dispatch.publish(TOPICS.command("ping"), b"", retain=True, CorrelationData=b"new")
        until(lambda: "is retained" in caplog.text, "said in the log")
        dispatch.nothing_more("/reply")


# -- by chance -----------------------------------------------------------------------------------------------------

NAMES = st.sampled_from([*HANDLERS, "reboot"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=70), inner, max_size=4),
    max_leaves=20,
)
GOOD = st.fixed_dictionaries({"args": st.dictionaries(st.text(max_size=20), JSON, max_size=5)}).map(json.dumps)
PAYLOADS = st.one_of(
    st.just(b""),
    st.binary(max_size=300),
    GOOD.map(str.encode),
    JSON.map(lambda v: json.dumps(v).encode()),
    st.tuples(GOOD, st.integers(0, 60), st.binary(max_size=4)).map(  # good ones with a wound
        lambda t: t[0].encode()[: t[1]] + t[2] + t[0].encode()[t[1] :]
    ),
    st.integers(1, 6).map(lambda n: b'{"args":' * (n * 9000)),
    st.sampled_from([b"[" * 60_000, b'{"args": {"a": 1e999}}', b'{"args": {"a": "\\ud800"}}', b"\0" * MAX_PAYLOAD]),
)
# Control characters and what Unicode has not assigned would make the broker hang up on the sender.
SENDABLE = st.characters(exclude_characters="+#", exclude_categories=["Cs", "Cc", "Cn"])
LEVELS = st.sampled_from(
    [
        "banksman",
        "1",
        SITE,
        NODE,
        "gate-04",
        "-",
        "command",
        "reply",
        "ping",
        "alarm",
        "status",
        "",
        "$share",
        "Ä",
        "a b",
    ]
)
TOPIC_LIKE = st.one_of(
    st.text(SENDABLE, max_size=60),
    st.lists(LEVELS, max_size=9).map("/".join),
    st.lists(LEVELS, max_size=3).map(lambda rest: "/".join([TOPICS.base, "command", "ping", *rest])),
    st.sampled_from([TOPICS.reply("ping"), TOPICS.reply("ping") + "/me", TOPICS.ack, TOPICS.status]),
)
CORRELATIONS = st.none() | st.binary(max_size=40) | st.integers(1000, 60_000).map(lambda n: b"c" * n)


def check(answer: Answer, asked: str | None, name: str) -> None:
    """What must hold for every answer, whatever the question was."""
    got = Reply.from_payload(answer.payload)
    assert got.ok == (got.code == "ok")
    assert got.ok or got.message
    topic = parse_topic(answer.topic)
    assert (topic.kind, topic.site, topic.node, topic.name) == ("reply", SITE, NODE, name)
    assert answer.topic in (TOPICS.reply(name), asked)


def test_any_message_is_answered_or_ignored_and_named(counter: Counter, proof: bool) -> None:
    @settings(max_examples=PROOF_EXAMPLES if proof else USUAL_EXAMPLES, deadline=None)
    @given(
        topic=NAMES.map(TOPICS.command) | TOPIC_LIKE | st.text(max_size=80),
        payload=PAYLOADS,
        response_topic=st.none() | TOPIC_LIKE | st.text(max_size=80),
        correlation=CORRELATIONS,
        retain=st.booleans(),
        dup=st.booleans(),
    )
    def one(**inbound: Any) -> None:
        answer = ask(counter, **inbound)
        if answer is None:
            return
        check(answer, inbound["response_topic"], parse_topic(inbound["topic"]).name)
        assert not inbound["retain"]
        assert inbound["topic"].startswith(TOPICS.base + "/command/")
        assert answer.correlation in (None, inbound["correlation"])

    one()


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Observer, Node]]:
    """A node and a dispatch that stay connected over many examples."""
    folder = tmp_path_factory.mktemp("line")
    with (
        Mosquitto(folder / "broker", users=USERS, acl=ACL) as broker,
        Observer(broker.port) as dispatch,
        running(folder, with_password(broker.port)) as node,
    ):
        node.up()
        yield dispatch, node


def test_any_command_through_a_real_broker_is_answered_and_the_line_stands(
    line: tuple[Observer, Node], proof: bool
) -> None:
    dispatch, node = line
    count = iter(range(10**9))

    @settings(
        max_examples=(PROOF_EXAMPLES if proof else USUAL_EXAMPLES) // 10,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(name=NAMES, payload=PAYLOADS, response_topic=st.none() | TOPIC_LIKE.filter(len))
    def one(name: str, payload: bytes, response_topic: str | None) -> None:
        assume(len(payload) < MAX_PAYLOAD - 1000)
        correlation = b"%d" % next(count)
        more: dict[str, Any] = {} if response_topic is None else {"ResponseTopic": response_topic}
        dispatch.publish(TOPICS.command(name), payload, CorrelationData=correlation, **more)
        got = dispatch.reply(correlation)
        assert got.ok == (got.code == "ok")
        assert node.uplink.detail == ""

    one()
