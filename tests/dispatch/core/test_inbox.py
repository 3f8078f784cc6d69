"""What waits to be stored: order, room, and what happens where there is none."""

from __future__ import annotations

from broker.dispatch.inbox import Inbound, Inbox
from broker.dispatch.intake import Received
from broker.messages import NodeTopics

A, B, C = (NodeTopics("north-yard", node) for node in ("a", "b", "c"))


def put(inbox: Inbox, topic: str, payload: bytes = b"", qos: int = 0) -> bool:
    return inbox.put(Inbound(Received(topic, payload, 0.0), 0, qos, 1))


def left(inbox: Inbox) -> list[tuple[str, bytes]]:
    return [(one.received.topic, one.received.payload) for one in inbox.take(100, 0)]


def test_what_came_first_is_first_and_of_health_the_newest_stands_where_it_came() -> None:
    inbox = Inbox()
    put(inbox, A.health, b"1")
    put(inbox, B.health, b"1")
    put(inbox, A.alarm("helmet"), b"1", qos=1)
    put(inbox, A.status, b"will", qos=1)
    put(inbox, A.health, b"2")
    put(inbox, A.alarm("helmet"), b"2", qos=1)
    assert left(inbox) == [
        (B.health, b"1"),
        (A.alarm("helmet"), b"1"),
        (A.status, b"will"),
        (A.health, b"2"),
        (A.alarm("helmet"), b"2"),
    ]


def test_it_gives_no_more_than_is_asked_for() -> None:
    inbox = Inbox()
    for n in range(5):
        put(inbox, A.alarm("helmet"), b"%d" % n, qos=1)
    assert [one.received.payload for one in inbox.take(2, 0)] == [b"0", b"1"]
    assert [one.received.payload for one in inbox.take(9, 0)] == [b"2", b"3", b"4"]
    assert inbox.take(9, 0) == []


def test_each_kind_has_room_of_its_own() -> None:
    inbox = Inbox(owed=2, states=2, loose=2)
    assert [put(inbox, there.health) for there in (A, B, C)] == [True, True, False]
    assert put(inbox, A.health, b"newer"), "it takes the place of the one before"
    assert [put(inbox, A.alarm("helmet")) for _ in range(3)] == [True, True, False], "events are not replaced"
    assert [put(inbox, A.alarm("helmet"), qos=1) for _ in range(3)] == [True, True, False]
    assert len(left(inbox)) == 6
    assert [put(inbox, C.health), put(inbox, A.status)] == [True, True], "there is room again"


def test_what_is_no_topic_of_the_contract_has_its_place() -> None:
    inbox = Inbox(states=0, loose=3)
    topics = ("", "banksman/1/x/health", A.alarm("health"), A.health)
    assert [put(inbox, topic) for topic in topics] == [True, True, True, False], "only the last is health"


def test_after_one_that_found_no_room_none_is_taken_until_the_next_connection() -> None:
    """Else the later ones would be stored before it."""
    inbox = Inbox(owed=1)
    assert put(inbox, A.status, b"1", qos=1)
    assert not put(inbox, A.status, b"2", qos=1)
    assert left(inbox) == [(A.status, b"1")]
    assert (inbox.spilled, inbox.owed) == (True, 0)
    assert not put(inbox, A.status, b"3", qos=1)
    inbox.forget_owed()
    assert not inbox.spilled
    assert [put(inbox, A.status, b"2", qos=1), left(inbox)] == [True, [(A.status, b"2")]]


def test_a_new_connection_brings_again_what_was_owed_and_nothing_else() -> None:
    inbox = Inbox()
    put(inbox, A.alarm("helmet"), b"1", qos=1)
    put(inbox, A.health, b"1")
    put(inbox, B.status, b"loose")
    inbox.forget_owed()
    assert inbox.owed == 0
    assert left(inbox) == [(A.health, b"1"), (B.status, b"loose")]
