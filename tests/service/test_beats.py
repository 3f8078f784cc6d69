"""A loop that goes on, waits or hangs; a service manager that is told, and fed."""

from __future__ import annotations

import pytest

from edge.beat import Beats
from edge.clock import ManualClock
from edge.service.notify import watchdog_s
from edge.service.service import CHANGE_S, Service
from tests.service.manager import Manager


@pytest.mark.parametrize(
    ("does", "late"),
    [
        pytest.param([], False, id="nothing yet: it has not begun"),
        pytest.param([("work", 0)], False, id="just begun"),
        pytest.param([("work", 0), (20, 0)], False, id="at work as long as it may be"),
        pytest.param([("work", 0), (20.1, 0)], True, id="at work for longer"),
        pytest.param([("work", 0), (19, 0), ("work", 0), (19, 0)], False, id="came round in between"),
        pytest.param([("work", 0), (5, 0), ("rest", 0), (9999, 0)], False, id="waits for work, however long"),
        pytest.param([("rest", 0), (9999, 0), ("work", 0), (21, 0)], True, id="found some, and hangs in it"),
        pytest.param([("work", 0), (21, 0), ("work", 0)], False, id="moves again"),
    ],
)
def test_a_loop_is_late_when_it_is_at_work_for_too_long(does: list[tuple[object, int]], late: bool) -> None:
    beats, mono = Beats(), 1000.0
    loop = beats.loop("judge", 20.0)
    for what, _ in does:
        if what == "work":
            loop.work(mono)
        elif what == "rest":
            loop.rest()
        elif isinstance(what, int | float):
            mono += what
    assert bool(beats.late(mono)) is late


def test_each_loop_has_its_own_deadline_and_the_late_ones_are_named() -> None:
    beats = Beats()
    for name, deadline in (("judge", 20.0), ("clips", 300.0), ("house", 60.0)):
        beats.loop(name, deadline).work(0.0)
    assert beats.late(61.0) == {"judge": 61.0, "house": 61.0}


def test_a_loop_that_is_made_anew_takes_the_place_of_the_old_one() -> None:
    beats = Beats()
    beats.loop("judge", 20.0).work(0.0)
    beats.loop("judge", 20.0)
    assert not beats.late(100.0)


@pytest.fixture
def told(clock: ManualClock, manager: Manager) -> tuple[Service, ManualClock, Manager]:
    return Service(manager.notifier(), 30.0, clock), clock, manager


Told = tuple[Service, ManualClock, Manager]


def run(service: Service, clock: ManualClock, seconds: int) -> None:
    for _ in range(seconds):
        clock.advance(1.0)
        service.tick()


def test_it_is_fed_three_times_within_what_the_manager_allows(told: Told) -> None:
    service, clock, manager = told
    run(service, clock, 61)
    assert manager.heard() == ["WATCHDOG=1"] * 7


def test_it_is_fed_only_while_every_loop_goes_on(told: Told) -> None:
    service, clock, manager = told
    judge, house = service.beats.loop("judge", 20.0), service.beats.loop("house", 60.0)
    judge.work(clock.mono)
    house.work(clock.mono)
    run(service, clock, 21)
    manager.heard()
    for _ in range(60):
        house.work(clock.mono)
        run(service, clock, 1)
    assert manager.heard() == [], "house goes on, the judge hangs"
    judge.work(clock.mono)
    run(service, clock, 1)
    assert manager.heard() == ["WATCHDOG=1"], "at once when it moves again"


def test_a_manager_that_does_not_ask_is_not_fed(clock: ManualClock, manager: Manager) -> None:
    run(Service(manager.notifier(), None, clock), clock, 100)
    assert manager.heard() == []


def test_ready_is_said_once_and_a_status_when_it_is_another(told: Told) -> None:
    service, _, manager = told
    service.say("starts")
    service.say("starts")
    service.say("sees 1 of 2 cameras", ready=True)
    service.say("sees 1 of 2 cameras", ready=True)
    service.say("sees 0 of 2 cameras", ready=False)
    service.stop()
    assert manager.heard() == [
        "STATUS=starts",
        "READY=1\nSTATUS=sees 1 of 2 cameras",
        "STATUS=sees 0 of 2 cameras",
        "STOPPING=1",
    ]


def test_a_status_of_several_lines_is_one_line_and_no_other_message(told: Told) -> None:
    service, _, manager = told
    service.say("site.yaml:3\nREADY=1\n  camera: 摄像头")
    assert manager.heard() == ["STATUS=site.yaml:3 READY=1 camera: 摄像头"]


def test_opening_and_closing_a_node_has_a_deadline_too(told: Told) -> None:
    service, clock, manager = told
    with service.changing("starts"):
        run(service, clock, int(CHANGE_S) + 1)
        manager.heard()
        run(service, clock, 30)
        assert manager.heard() == []
    run(service, clock, 1)
    assert manager.heard() == ["WATCHDOG=1"]


def test_an_opening_that_fails_does_not_count_as_hanging(told: Told) -> None:
    service, clock, manager = told
    with pytest.raises(RuntimeError), service.changing("starts"):
        raise RuntimeError("no model")
    heard = []
    for _ in range(30):  # a manager reads as it is told: a socket nobody reads from holds ten messages on some machines
        run(service, clock, 10)
        heard += manager.heard()
    assert heard.count("WATCHDOG=1") > 20


def test_a_manager_that_is_gone_does_not_stop_the_program(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    service, clock, manager = told
    manager.close()
    run(service, clock, 100)
    assert [r.message for r in caplog.records].count("the service manager cannot be told: Connection refused") == 1


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
    ],
)
def test_how_often_the_manager_wants_to_hear_of_it(environ: dict[str, str], seconds: float | None) -> None:
    assert watchdog_s(environ, 7) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "soon"])
def test_a_watchdog_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="WATCHDOG_USEC must be a positive number of microseconds"):
        watchdog_s({"WATCHDOG_USEC": text}, 7)
