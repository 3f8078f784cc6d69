"""Dispatch's own line to the production broker: the rights of its certificate are enough for all that it does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from broker.dispatch.clock import SystemClock
from broker.dispatch.inbox import Inbound
from broker.dispatch.link import Link, LinkError
from broker.dispatch.settings import Mqtt
from broker.messages import Ack, case_topic
from broker.pki.authority import Pki
from broker.pki.certificates import PRIVATE
from broker.pki.names import Subject
from tests.broker.builders import DISPATCH, DISPATCH_2, SITE, TOPIC, A, Card, Installation
from tests.waiting import WAIT_S, until

OWN = f"{TOPIC}/{A.name}"
Make = Callable[[Installation, Path], Link]


def link_of(place: Installation, card: Card | None, **changes: Any) -> Link:
    files = {"cert": card.cert, "key": card.key} if card is not None else {}
    group = SecretStr(place.group)
    values: dict[str, Any] = {"host": "localhost", "port": place.port, "ca": place.pki.ca_file, "share_group": group}
    return Link(Mqtt(**values | files | changes), SystemClock())


@contextmanager
def running(link: Link) -> Iterator[Link]:
    link.start()
    try:
        yield link
    finally:
        link.stop()


@contextmanager
def connected(place: Installation, who: Subject) -> Iterator[Link]:
    with running(link_of(place, place.card(who))) as link:
        until(lambda: link.listening_since is not None, "connected")
        yield link


@pytest.fixture
def line(place: Installation) -> Iterator[Link]:
    with connected(place, DISPATCH) as link:
        yield link


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


def test_workers_with_a_certificate_each_share_what_comes(place: Installation, line: Link) -> None:
    with connected(place, DISPATCH_2) as second, place.client(A) as node:
        got: dict[Link, list[Inbound]] = {line: [], second: []}

        def collect() -> bool:
            for link, there in got.items():
                came = link.receive(100, 0.05)
                there.extend(came)
                link.acknowledge(came)
            return all(got.values())

        def both_listen() -> bool:
            assert node.publish(f"{OWN}/health", b"{}") == "Success"
            return collect()

        until(both_listen, "both have had something")
        until(lambda: not any(link.receive(100, 0.2) for link in got), "nothing is under way")
        for there in got.values():
            there.clear()
        sent = sorted(f"{OWN}/alarm/r{n}" for n in range(40))
        for topic in sent:
            assert node.publish(topic, b"{}") == "Success"
        until(lambda: collect() and sum(map(len, got.values())) >= len(sent))
        collect()
        assert sorted(one.received.topic for there in got.values() for one in there) == sent
        assert min(map(len, got.values())) >= 10
        assert (line.connection, second.connection) == (1, 1), "neither pushed the other off"


def test_it_comes_back_to_a_broker_that_was_killed_and_gets_what_it_had_not_acknowledged(tmp_path: Path) -> None:
    with Installation(tmp_path) as place, connected(place, DISPATCH) as link:
        with place.client(A) as node:
            until(lambda: node.publish(f"{OWN}/alarm/helmet", b"{}") == "Success", "somebody listens")
            assert [one.received.topic for one in link.receive(1, WAIT_S)] == [f"{OWN}/alarm/helmet"]
        place.restart()
        until(lambda: link.connection == 2, "connected again")
        (again,) = link.receive(1, WAIT_S)
        assert again.received.topic == f"{OWN}/alarm/helmet"
        link.acknowledge([again])


def _of_another_authority(place: Installation, folder: Path) -> Link:
    other = Pki.create(folder / "other", "Other", PRIVATE, time.time())
    handed = other.issue(DISPATCH, time.time())
    assert handed.key is not None
    return link_of(place, Card(handed.cert, handed.key))


def _of_another_broker(place: Installation, folder: Path) -> Link:
    other = Pki.create(folder / "other", "Other", PRIVATE, time.time())
    return link_of(place, place.card(DISPATCH), ca=other.ca_file)


def _under_another_name(place: Installation, _folder: Path) -> Link:
    return link_of(place, place.card(DISPATCH), host="127.0.0.2")


def _without_one(place: Installation, _folder: Path) -> Link:
    return link_of(place, None)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (_of_another_authority, "connection lost"),
        (_without_one, "connection lost"),
        (_of_another_broker, "cannot be reached: [SSL: CERTIFICATE_VERIFY_FAILED]"),
        (_under_another_name, "IP address mismatch"),
    ],
)
def test_what_is_wrong_with_its_certificates_is_told(
    place: Installation, tmp_path: Path, caplog: pytest.LogCaptureFixture, made: Make, told: str
) -> None:
    with running(made(place, tmp_path)) as link:
        until(lambda: any(told in message for message in caplog.messages), told)
        assert (link.connection, link.listening_since) == (0, None)


@pytest.mark.parametrize("missing", ["ca", "cert", "key"])
def test_a_file_that_is_not_there_is_told_before_anything_starts(
    place: Installation, tmp_path: Path, missing: str
) -> None:
    with pytest.raises(LinkError, match=str(tmp_path / "none.pem")):
        link_of(place, place.card(DISPATCH), **{missing: tmp_path / "none.pem"})
