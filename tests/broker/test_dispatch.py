"""Dispatch's own line to the production broker: the rights of its certificate are enough for all that it does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from broker.dispatch.clock import SystemClock
from broker.dispatch.link import Link
from broker.dispatch.settings import Mqtt
from broker.messages import Ack, case_topic
from tests.broker.builders import DISPATCH, SITE, TOPIC, A, Installation
from tests.waiting import WAIT_S, until

OWN = f"{TOPIC}/{A.name}"


@pytest.fixture
def line(place: Installation) -> Iterator[Link]:
    card = place.card(DISPATCH)
    link = Link(
        Mqtt(
            host="localhost",
            port=place.port,
            ca=place.pki.ca_file,
            cert=card.cert,
            key=card.key,
            share_group=SecretStr(place.group),
        ),
        SystemClock(),
    )
    link.start()
    until(lambda: link.listening_since is not None, "connected")
    yield link
    link.stop()


@pytest.mark.parametrize("kind", ["alarm/helmet", "status", "health"])
def test_it_hears_the_nodes_and_answers_them(place: Installation, line: Link, kind: str) -> None:
    with place.client(A) as node:
        node.subscribe(f"{OWN}/ack")
        # Its subscription is on the way when it says that it is connected.
        until(lambda: node.publish(f"{OWN}/{kind}", b"{}") == "Success", "somebody listens")
        (came,) = line.receive(1, WAIT_S)
        assert (came.received.topic, came.received.payload) == (f"{OWN}/{kind}", b"{}")
        line.acknowledge([came])
        assert line.send(f"{OWN}/ack", Ack(ids=("0199",)).to_payload())
        assert node.next() == (f"{OWN}/ack", b'{"ids":["0199"]}')


def test_it_keeps_cases_at_the_broker_and_finds_them_again(line: Link) -> None:
    topic = case_topic(SITE, "0199")
    assert line.retain({topic: b"{}"}) == {topic}
    assert line.retained_cases() == {topic: b"{}"}
    assert line.retain({topic: b""}) == {topic}
    assert line.retained_cases() == {}
