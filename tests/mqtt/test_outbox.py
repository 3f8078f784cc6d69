"""What is sent next, and which again: on a real journal, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.clock import ManualClock
from edge.journal.journal import Journal
from edge.uplink.outbox import CAPACITY, MAX_FAILURES, REREAD_S, Outbox
from edge.values import AlarmChange, AlarmEvent
from tests.journal.builders import event, journal

RESEND_S = 30.0


class Bench:
    """An outbox with its journal; `send` plays the connection."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.journal: Journal = journal(folder, self.clock)
        self.outbox = Outbox(self.journal, RESEND_S)

    @property
    def now(self) -> float:
        return self.clock.mono

    def make(self, count: int) -> list[AlarmEvent]:
        return [self.journal.alarm(event(self.clock.now())) for _ in range(count)]

    def send(self, limit: int = 10_000) -> list[int]:
        due = self.outbox.due(self.now, limit)
        for e in due:
            self.outbox.sent(e.id, self.now)
        return [e.seq for e in due]

    def stored(self, *events: AlarmEvent) -> None:
        self.outbox.stored([e.id for e in events], self.now)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.journal.close()


def test_in_order_and_once(bench: Bench) -> None:
    bench.make(5)
    assert bench.send(2) == [1, 2]
    assert bench.send() == [3, 4, 5]
    assert bench.send() == []
    bench.make(1)
    assert bench.send() == [6]


def test_again_after_a_growing_while_and_at_once_when_somebody_answers(bench: Bench) -> None:
    a, b, c = bench.make(3)
    assert bench.send() == [1, 2, 3]
    for wait in (30, 60, 120, 240, 240):
        bench.clock.advance(wait - 0.1)
        assert bench.send() == []
        bench.clock.advance(0.1)
        assert bench.send() == [1, 2, 3]
    bench.clock.advance(40)  # of 240
    bench.stored(b)
    assert bench.send() == [1, 3]
    bench.stored(a, c)
    assert bench.journal.pending_alarms(9) == ()


def test_the_next_event_of_an_alarm_waits_for_the_one_before_it(bench: Bench) -> None:
    a = bench.journal.alarm(event(bench.clock.now()))
    b = bench.journal.alarm(event(bench.clock.now()))
    a2, a3 = (bench.journal.alarm(event(bench.clock.now(), AlarmChange.UPDATED, a.alarm)) for _ in range(2))
    assert bench.send() == [a.seq, b.seq]
    bench.stored(b)
    assert bench.send() == []
    bench.clock.advance(RESEND_S)
    assert bench.send() == [a.seq]
    bench.stored(a)
    assert bench.send() == [a2.seq]
    bench.stored(a2)
    assert bench.send() == [a3.seq]


def test_what_nobody_has_heard_is_sent_again_soon(bench: Bench) -> None:
    (made,) = bench.make(1)
    for wait in (1, 2, 4, 8, 16, 30, 30):
        assert bench.send() == [1]
        bench.outbox.unheard(made.id, bench.now)
        bench.clock.advance(wait - 0.1)
        assert bench.send() == []
        bench.clock.advance(0.1)
    bench.outbox.unheard("somebody else's", bench.now)


def test_a_new_connection_begins_with_the_oldest(bench: Bench) -> None:
    first, *_ = bench.make(4)
    bench.send()
    bench.stored(first)
    bench.outbox.restart(bench.now)
    assert bench.send() == [2, 3, 4]


def test_no_more_is_under_way_than_it_may(bench: Bench) -> None:
    made = bench.make(CAPACITY + 40)
    assert bench.send() == list(range(1, CAPACITY + 1))
    assert bench.send() == []
    bench.stored(*made[:10])
    assert bench.send() == list(range(CAPACITY + 1, CAPACITY + 11))


def test_silence_for_days_is_no_trouble(bench: Bench) -> None:
    (made,) = bench.make(1)
    for _ in range(3000):
        assert bench.send() == [1]
        bench.outbox.unheard(made.id, bench.now)
        bench.clock.advance(8 * RESEND_S)


def test_silence_sets_nothing_aside(bench: Bench) -> None:
    made = bench.make(2)
    for _ in range(4 * MAX_FAILURES):
        assert bench.send() == [1, 2]
        bench.clock.advance(8 * RESEND_S)
    bench.send()
    bench.stored(made[0])
    bench.clock.advance(RESEND_S)
    assert bench.send() == [2]


def test_what_a_far_end_leaves_out_again_and_again_blocks_nobody(bench: Bench) -> None:
    bench.make(CAPACITY)  # it can do nothing with any of these
    later = bench.make(3)
    sendings = 0
    while later[0].seq not in (sent := bench.send()):
        sendings += len(sent) > 0
        assert sendings < 20
        bench.outbox.stored([bench_other(bench).id], bench.now)
        bench.clock.advance(RESEND_S)
    bench.clock.advance(REREAD_S)
    assert 1 in bench.send()  # never given up


def bench_other(bench: Bench) -> AlarmEvent:
    """A sign of life from the far end: it confirms the newest that is under way."""
    return bench.journal.pending_alarms(10_000)[CAPACITY - 1]


def test_what_the_broker_refuses_again_and_again_is_set_aside_for_a_while_and_said_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    made = bench.make(2)
    for _ in range(3):
        for _ in range(MAX_FAILURES):
            assert 1 in bench.send()
            bench.outbox.refused(made[0].id)
            bench.clock.advance(8 * RESEND_S)
        assert bench.send() == [2]
        bench.outbox.restart(bench.now)
    assert bench.send() == [1, 2]
    assert len([r for r in caplog.records if "set aside" in r.message]) == 1


def test_how_long_nobody_has_confirmed_anything(bench: Bench) -> None:
    assert bench.outbox.silent_s(bench.now) == 0
    a, _ = bench.make(2)
    bench.send()
    bench.clock.advance(50)
    bench.send()
    assert bench.outbox.silent_s(bench.now) == 50
    bench.stored(a)
    bench.clock.advance(7)
    assert bench.outbox.silent_s(bench.now) == 7


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("make"), st.integers(1, 5)),
        st.tuples(st.just("follow"), st.integers(0, 40)),
        st.tuples(st.just("send"), st.integers(0, 30)),
        st.tuples(st.just("store"), st.sets(st.integers(0, 40), max_size=10)),
        st.tuples(st.just("refuse"), st.integers(0, 40)),
        st.tuples(st.just("wait"), st.sampled_from([1, 29, 31, 250, 700])),
        st.tuples(st.just("restart"), st.none()),
    ),
    max_size=40,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_whatever_happens_what_is_not_confirmed_is_sent_in_the_end(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, object]]
) -> None:
    bench = Bench(tmp_path_factory.mktemp("outbox"))
    made: list[AlarmEvent] = []
    stored: set[int] = set()
    for what, how in steps:
        match what, how:
            case "make", int(count):
                made += bench.make(count)
            case "follow", int(n) if n < len(made):
                update = event(bench.clock.now(), AlarmChange.UPDATED, made[n].alarm)
                made.append(bench.journal.alarm(update))
            case "send", int(limit):
                sent = bench.send(limit)
                assert len(sent) <= limit
                assert sent == sorted(sent)
                assert not stored & set(sent)
                alarms = [made[seq - 1].alarm for seq in sent]
                assert len(alarms) == len(set(alarms))
            case "store", set(which):
                picked = [made[n] for n in which if n < len(made)]
                bench.stored(*picked)
                stored |= {e.seq for e in picked}
            case "refuse", int(n) if n < len(made):
                bench.outbox.refused(made[n].id)
            case "wait", int(seconds):
                bench.clock.advance(seconds)
            case "restart", None:
                bench.outbox.restart(bench.now)
    missing = {e.seq for e in made} - stored
    for _ in range(len(missing) + 2):
        bench.clock.advance(REREAD_S)
        sent = bench.send()
        bench.stored(*(made[seq - 1] for seq in sent))
        missing -= set(sent)
    assert not missing
    bench.journal.close()
