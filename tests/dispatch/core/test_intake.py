"""Events into the database, on SQLite and on PostgreSQL: each once, whatever comes twice, late, mixed up or broken."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from broker.dispatch import desk, intake, ledger
from broker.dispatch.cases import Close, Dissatisfied, FalseAlarm, NotAllowed, Take
from broker.dispatch.database import reading, transaction
from broker.dispatch.intake import Alarm, Received, read
from broker.dispatch.tables import Case, Event, Job, Ledger, Person, Point, Refused
from broker.messages import MessageError
from tests.dispatch.core.builders import NODE, NOW, message


def alarm(received_at: float = NOW, node: str = NODE.node, **changes: Any) -> Alarm:
    there = message(**changes)
    topic = f"banksman/1/{NODE.site}/{node}/alarm/{there.rule}"
    arrival = read(Received(topic, there.to_payload(), received_at))
    assert isinstance(arrival, Alarm)
    return arrival


def take(engine: Engine, *alarms: Alarm, now: float = NOW) -> intake.Outcome:
    return intake.store(engine, alarms, intake.take, now)


def cases(engine: Engine) -> list[Case]:
    with reading(engine) as session:
        return list(session.scalars(select(Case).order_by(Case.opened_at, Case.id)))


def count(engine: Engine, table: Any) -> int:
    with reading(engine) as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def person(engine: Engine, name: str = "ann") -> str:
    with transaction(engine) as session:
        session.add(Person(id=name, login=name, name=name, created_at=NOW))
    return name


def do(engine: Engine, case: str, action: Any, actor: str = "ann") -> None:
    with transaction(engine) as session:
        desk.do(session, case, action, actor, NOW + 100)


LIFE: list[dict[str, Any]] = [
    {"id": "e1", "seq": 1},
    {"id": "e2", "seq": 2, "event": "updated", "subjects": 3},
    {"id": "e3", "seq": 3, "event": "cleared", "verdict": "ok", "subjects": 3},
]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 0, 1, 2, 1)])
@pytest.mark.parametrize("at_once", [True, False])
def test_an_alarm_is_one_case_in_whatever_order_it_comes(both: Engine, order: Sequence[int], *, at_once: bool) -> None:
    arrivals = [alarm(**LIFE[n]) for n in order]
    for batch in [arrivals] if at_once else [[one] for one in arrivals]:
        take(both, *batch)
    (case,) = cases(both)
    assert (case.alarm_state, case.alarm_seq, case.alarms) == ("cleared", 3, 1)
    assert count(both, Event) == 3
    with reading(both) as session:
        assert ledger.verify(session, case.id) == []


def test_what_lay_at_the_broker_does_not_take_a_case_back_to_an_older_alarm(both: Engine) -> None:
    """e2 was sent before e3, but for a worker that died; its age is that of its sending."""
    take(both, alarm(**LIFE[0]))
    take(both, alarm(**LIFE[2]))
    take(both, alarm(NOW + 20, id="e4", alarm="a2", seq=4))
    take(both, alarm(NOW + 30, **LIFE[1]))
    (case,) = cases(both)
    assert (case.alarm, case.alarm_seq, case.alarm_state, case.alarms) == ("a2", 4, "active", 2)


def test_what_is_known_already_adds_nothing(both: Engine) -> None:
    take(both, *(alarm(**one) for one in LIFE))
    before = {table: count(both, table) for table in (Case, Event, Ledger, Job, Point)}
    again = take(both, *(alarm(**one) for one in LIFE))
    assert (again.stored, again.duplicate) == (0, 3)
    assert {table: count(both, table) for table in before} == before


def test_ids_are_a_nodes_own(both: Engine) -> None:
    take(both, alarm(), alarm(node="gate-04"))
    assert [c.node for c in cases(both)] == ["gate-03", "gate-04"] or len(cases(both)) == 2
    assert count(both, Event) == 2


def test_two_places_are_two_cases(both: Engine) -> None:
    take(both, alarm(), alarm(id="e2", alarm="a2", place="gate"), alarm(id="e3", alarm="a3", rule="hi_vis"))
    assert len(cases(both)) == 3


def test_a_new_alarm_joins_the_case_and_after_its_end_opens_another(both: Engine) -> None:
    person(both)
    take(both, alarm())
    take(both, alarm(received_at=NOW + 9, id="e2", alarm="a2", seq=2), now=NOW + 9)
    (case,) = cases(both)
    assert case.alarms == 2
    do(both, case.id, FalseAlarm("a bucket"))
    take(both, alarm(received_at=NOW + 200, id="e3", alarm="a2", seq=3, event="updated"), now=NOW + 200)
    assert len(cases(both)) == 1, "the alarm that was called false goes on there"
    take(both, alarm(received_at=NOW + 300, id="e4", alarm="a3", seq=4), now=NOW + 300)
    first, second = cases(both)
    assert (first.state, first.alarm_seq, second.state) == ("false_alarm", 3, "open")
    with pytest.raises(NotAllowed) as told:
        do(both, first.id, Dissatisfied("it was no bucket"))
    assert told.value.code == "another_open"


def test_late_ones_are_marked_and_dated(both: Engine) -> None:
    take(both, alarm(age_s=3600.0))
    (case,) = cases(both)
    assert (case.late, case.alarm_at, case.opened_at) == (True, NOW - 3600, NOW)


def test_two_workers_at_once_open_one_case(both: Engine) -> None:
    """Sixteen alarms of one place and sixteen of another, by two threads that begin together, each in its own order."""
    batches = [
        [alarm(id=f"{who}{n}", alarm=f"a{n % 2}", seq=n + 1, place=f"p{n % 2}") for n in order]
        for who, order in (("x", range(16)), ("y", reversed(range(16))))
    ]
    start, failed = threading.Barrier(2), []

    def work(batch: list[Alarm]) -> None:
        start.wait()
        for n in range(0, len(batch), 4):
            failed.extend(take(both, *batch[n : n + 4]).refused)

    threads = [threading.Thread(target=work, args=(batch,)) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert [c.place for c in sorted(cases(both), key=lambda c: c.place)] == ["p0", "p1"]
    assert count(both, Event) == 32
    with reading(both) as session:
        assert [ledger.verify(session, c.id) for c in cases(both)] == [[], []]


def test_one_that_cannot_be_stored_does_not_take_the_others_with_it(both: Engine) -> None:
    good = [alarm(id=f"e{n}", alarm=f"a{n}", seq=n, place=f"p{n}") for n in range(1, 8)]
    bad = alarm(id="bad", alarm="bad", place="bad")
    bad.body["at"] = object()  # no database takes this
    outcome = take(both, *good[:3], bad, *good[3:])
    assert (outcome.stored, outcome.refused) == (7, [bad])
    assert len(cases(both)) == 7


def test_nothing_is_stored_where_the_transaction_fails(both: Engine) -> None:
    def fail(session: Session, alarms: Sequence[Alarm], now: float) -> intake.Outcome:
        intake.take(session, alarms, now)
        raise RuntimeError("power cut")

    assert intake.store(both, [alarm()], fail, NOW).refused == [alarm()]
    assert {count(both, t) for t in (Case, Event, Ledger, Job, Point)} == {0}


PAYLOAD = message().to_payload()
TOPIC = NODE.alarm("helmet")


@pytest.mark.parametrize(
    ("topic", "payload", "code", "says"),
    [
        (TOPIC, b"", "not_json", ""),
        (TOPIC, PAYLOAD[:-9], "not_json", ""),
        (TOPIC, b"x" * 70_000, "too_large", "70000"),
        (TOPIC, PAYLOAD.replace(b'"age_s":0.0', b'"age_s":-1'), "wrong", "age_s"),
        (TOPIC, PAYLOAD.replace(b'"age_s":0.0', b'"age_s":1e999'), "wrong", "age_s"),
        (TOPIC, PAYLOAD.replace(b'"seq":1', b'"seq":99999999999999999999'), "wrong", "seq"),
        (TOPIC, PAYLOAD.replace(b'"subjects":1', b'"subjects":9007199254740992'), "wrong", "subjects"),
        (TOPIC, PAYLOAD.replace(b'"bare"', b'"b\\u0000re"'), "wrong", "NUL"),
        (TOPIC, PAYLOAD.replace(b'"bare"', b'"b\\ud800re"'), "not_json", ""),
        (NODE.alarm("hi_vis"), PAYLOAD, "wrong", "hi_vis"),
        (NODE.ack, PAYLOAD, "topic", "does not listen"),
        ("banksman/1/-/-/alarm/helmet", PAYLOAD, "topic", ""),
        ("banksman/2/a/b/alarm/helmet", PAYLOAD, "topic", ""),
        ("", PAYLOAD, "topic", ""),
    ],
)
def test_what_cannot_be_read_has_a_named_error(topic: str, payload: bytes, code: str, says: str) -> None:
    with pytest.raises(MessageError) as told:
        read(Received(topic, payload, NOW))
    assert (told.value.code, says in told.value.detail) == (code, True)


def test_refused_messages_are_kept_once_and_counted(both: Engine) -> None:
    for n in range(3):
        with transaction(both) as session:
            intake.refuse(session, Received(TOPIC, b"\xff\x00", NOW + n), "not_json", "a\0b")
    for n in range(5):
        with transaction(both) as session:
            intake.refuse(session, Received(TOPIC, bytes([n]), NOW + 10 + n), "not_json", "")
    with reading(both) as session:
        first = session.scalars(select(Refused).order_by(Refused.at)).first()
        assert first is not None
        assert (first.times, first.at, first.payload, first.detail) == (3, NOW + 2, b"\xff\x00", "ab")
    intake.trim(both, keep=4)
    assert count(both, Refused) == 4


def test_far_future_and_past_of_a_nodes_clock_do_not_matter(both: Engine) -> None:
    take(both, alarm(at=4e9, first_seen=4e9 - 1, last_seen=4e9), alarm(id="e2", alarm="a2", place="b", at=-1e9))
    assert {c.alarm_at for c in cases(both)} == {NOW}
    assert all(json.dumps(c.first_seen) for c in cases(both))


def test_a_taken_case_can_be_closed_only_once_by_two_at_once(both: Engine) -> None:
    person(both)
    take(both, alarm())
    (case,) = cases(both)
    with pytest.raises(NotAllowed):
        do(both, case.id, Close())
    do(both, case.id, Take())
    assert cases(both)[0].version == 2
    with pytest.raises(LookupError):
        do(both, "no-such-case", Take())
