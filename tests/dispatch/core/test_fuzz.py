"""Mutated topics and payloads: each has a named error or is stored, and what comes with them is stored in any case.

500 in `make test`, 100,000 in `make proof`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select
from uuid6 import uuid7

from broker.dispatch import intake, watch
from broker.dispatch.database import reading
from broker.dispatch.intake import Alarm, Received, Report, read
from broker.dispatch.tables import Event
from broker.messages import MessageError
from tests.conftest import REPO
from tests.dispatch.core.builders import NODE, NOW, message

PROOF = bool(os.environ.get("BANKSMAN_PROOF"))
CODES = {MessageError.TOO_LARGE, MessageError.NOT_JSON, MessageError.WRONG, MessageError.TOPIC}
GOLDEN = [json.loads(path.read_text()) for path in sorted((REPO / "broker" / "golden").glob("*.json"))]

NUMBERS = (0, -1, 2**31, 2**53, 2**63, 2**64, -0.0, 1e308, 5e-324)
WORDS = (
    *("", " ", "\0", "é", "界" * 64, "x" * 5000, "'; --", "%s", "{}", "../..", "\u202e", "\x7f", "\n", "-"),
    *("a/b", "+", "#", "$share", "raised", "NaN"),
)
nasty = st.sampled_from(NUMBERS) | st.sampled_from(WORDS)
any_json = st.recursive(
    nasty | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def topics(draw: st.DrawFn) -> str:
    parts = draw(st.sampled_from(GOLDEN))["topic"].split("/")
    for _ in range(draw(st.integers(0, 2))):
        where = draw(st.integers(0, len(parts) - 1))
        change = draw(st.sampled_from(["replace", "drop", "repeat"]))
        if change == "replace":
            parts[where] = draw(st.text(max_size=40) | st.sampled_from(["", "-", "alarm", "status", "a" * 33, "A"]))
        elif change == "repeat":
            parts.insert(where, parts[where])
        elif len(parts) > 1:
            del parts[where]
    return "/".join(parts)


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    body: dict[str, Any] = dict(draw(st.sampled_from(GOLDEN))["payload"])
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(sorted(body)) | st.text(max_size=10)) if body else draw(st.text(max_size=10))
        if draw(st.booleans()):
            body[name] = draw(any_json)
        else:
            body.pop(name, None)
    raw = bytearray(json.dumps(body).encode())
    for _ in range(draw(st.integers(0, 3))):
        where = draw(st.integers(0, len(raw)))
        kind = draw(st.sampled_from(["flip", "cut", "insert"]))
        if kind == "flip" and where < len(raw):
            raw[where] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del raw[where : where + draw(st.integers(1, 30))]
        else:
            raw[where:where] = draw(st.binary(max_size=10))
    return bytes(raw)


messages = st.builds(Received, topics(), payloads(), st.just(NOW))


@settings(max_examples=100_000 if PROOF else 500, suppress_health_check=list(HealthCheck))
@given(messages)
def test_a_message_is_read_or_has_a_named_error(received: Received) -> None:
    try:
        arrival: Alarm | Report | MessageError = read(received)
    except MessageError as error:
        arrival = error
    assert not isinstance(arrival, MessageError) or (arrival.code in CODES and arrival.detail)


@pytest.fixture
def store(both: Engine) -> Callable[[list[Received]], None]:
    """What a worker does with a batch, but for the acknowledgements; the database refuses nothing that was read."""

    def run(batch: list[Received]) -> None:
        arrivals = []
        for received in batch:
            try:
                arrivals.append(read(received))
            except MessageError:
                continue
        alarms = [a for a in arrivals if isinstance(a, Alarm)]
        reports = [a for a in arrivals if isinstance(a, Report)]
        assert intake.store(both, alarms, intake.take, NOW).refused == []
        assert not reports or intake.store(both, reports, watch.take, NOW).refused == []

    return run


@settings(
    max_examples=2_000 if PROOF else 30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(messages, max_size=20), st.integers(0, 20))
def test_what_comes_with_them_is_stored(
    both: Engine, store: Callable[[list[Received]], None], tmp_path: Path, batch: list[Received], where: int
) -> None:
    good = message(id=str(uuid7()), alarm=str(uuid7()))
    store([*batch[:where], Received(NODE.alarm("helmet"), good.to_payload(), NOW), *batch[where:]])
    with reading(both) as session:
        assert session.scalar(select(Event.id).where(Event.id == good.id)) == good.id
