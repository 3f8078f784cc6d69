"""The wire contract: golden messages are read both ways, schemas are current, garbage gives a named error."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.messages import (
    MAX_PAYLOAD,
    PAYLOADS,
    RETAINED,
    Ack,
    AlarmMessage,
    Kind,
    MessageError,
    NodeTopics,
    Reply,
    Topic,
    case_topic,
    parse_topic,
    schemas,
)

BROKER = Path(__file__).resolve().parents[2] / "broker"
GOLDEN = sorted((BROKER / "golden").glob("*.json"))


def read(path: Path) -> dict[str, Any]:
    golden: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return golden


def test_schemas_are_current() -> None:
    committed = {p.stem: read(p) for p in (BROKER / "schema").glob("*.json")}
    assert committed == json.loads(json.dumps(schemas())), "run: python -m broker"


def test_every_kind_has_a_golden_message() -> None:
    assert {parse_topic(read(p)["topic"]).kind for p in GOLDEN} == set(PAYLOADS)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_golden_message_is_read_both_ways(path: Path) -> None:
    golden = read(path)
    topic = parse_topic(golden["topic"])
    model = PAYLOADS[topic.kind]
    message = model.from_payload(json.dumps(golden["payload"]).encode())
    assert json.loads(message.to_payload()) == golden["payload"]
    assert golden["retain"] == (topic.kind in RETAINED)
    jsonschema.validate(golden["payload"], read(BROKER / "schema" / f"{topic.kind}.json"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_unknown_fields_are_ignored(path: Path) -> None:
    golden = read(path)
    model = PAYLOADS[parse_topic(golden["topic"]).kind]
    plain = model.from_payload(json.dumps(golden["payload"]).encode())
    assert model.from_payload(json.dumps(golden["payload"] | {"of_tomorrow": [1]}).encode()) == plain


@pytest.mark.parametrize(
    ("payload", "code", "says"),
    [
        (b"", "not_json", "EOF"),
        (b"\xff\xfe", "not_json", ""),
        (b"[" * 20_000, "not_json", ""),
        (b"[]", "wrong", "the message"),
        (b'{"ids": 7}', "wrong", "ids"),
        (b'{"ids": ["a/b"]}', "wrong", "ids.0"),
        (b" " * (MAX_PAYLOAD + 1), "too_large", str(MAX_PAYLOAD)),
    ],
)
def test_garbage_has_a_named_error(payload: bytes, code: str, says: str) -> None:
    with pytest.raises(MessageError, match=code) as caught:
        Ack.from_payload(payload)
    assert caught.value.code == code
    assert says in caught.value.detail


def test_a_payload_too_large_is_not_sent() -> None:
    with pytest.raises(MessageError, match="too_large"):
        Reply(ok=True, result="x" * MAX_PAYLOAD).to_payload()


def test_the_fullest_ack_and_alarm_fit() -> None:
    alarm = read(BROKER / "golden" / "alarm-raised.json")["payload"]
    item = {"sha256": "f" * 64, "kind": "k" * 64, "bytes": 10**12}
    words = ["界" * 64] * 16
    full = alarm | {"evidence": [item] * 64, "clause": words, "reason": "界" * 64, "id": "a" * 64, "alarm": "b" * 64}
    assert len(AlarmMessage.model_validate(full).to_payload()) <= MAX_PAYLOAD
    assert len(Ack(ids=("a" * 64,) * 500).to_payload()) <= MAX_PAYLOAD


NODE = NodeTopics("north-yard", "gate-03")


@pytest.mark.parametrize(
    ("topic", "parsed"),
    [
        (NODE.status, Topic(Kind.STATUS, "north-yard", "gate-03")),
        (NODE.health, Topic(Kind.HEALTH, "north-yard", "gate-03")),
        (NODE.ack, Topic(Kind.ACK, "north-yard", "gate-03")),
        (NODE.alarm("hi_vis"), Topic(Kind.ALARM, "north-yard", "gate-03", "hi_vis")),
        (NODE.sensor("gas-1"), Topic(Kind.SENSOR, "north-yard", "gate-03", "gas-1")),
        (NODE.command("ping"), Topic(Kind.COMMAND, "north-yard", "gate-03", "ping")),
        (NODE.reply("ping"), Topic(Kind.REPLY, "north-yard", "gate-03", "ping")),
        (NODE.reply("ping") + "/desk-1", Topic(Kind.REPLY, "north-yard", "gate-03", "ping")),
        (case_topic("north-yard", "0199-a"), Topic(Kind.CASE, "north-yard", None, "0199-a")),
    ],
)
def test_topics_both_ways(topic: str, parsed: Topic) -> None:
    assert parse_topic(topic) == parsed


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "banksman/2/s/n/status",
        "banksman/1/S/n/status",
        "banksman/1/s/-/status",
        "banksman/1/s/n/case/1",
        "banksman/1/s/n/alarm",
        "banksman/1/s/n/alarm/+",
        "banksman/1/s/n/status\n",
        "banksman/1/s/n/command/a/b",
        "x" * 70_000,
    ],
)
def test_foreign_topics_are_named(topic: str) -> None:
    with pytest.raises(MessageError, match="topic"):
        parse_topic(topic)


@pytest.mark.parametrize("ident", ["", "-", "+", "#", "a/b", "A", "a" * 33, "界"])
def test_no_topic_for_a_bad_ident(ident: str) -> None:
    with pytest.raises(MessageError, match="site"):
        NodeTopics(ident, "gate")
    with pytest.raises(MessageError, match="node"):
        NodeTopics("yard", ident)


@given(st.text(max_size=80))
def test_any_topic_is_parsed_or_named(text: str) -> None:
    for topic in (text, f"banksman/1/{text}", f"banksman/1/s/n/{text}"):
        with suppress(MessageError):
            parse_topic(topic)
