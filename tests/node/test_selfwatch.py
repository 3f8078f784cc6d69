"""A hot, full or badly fed node is an alarm like any other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broker.messages import AlarmMessage
from edge.clock import ManualClock
from edge.health import Machine
from edge.selfwatch import EVERY_S, RULE, SelfWatch
from edge.text import LANGUAGES, catalogue
from edge.uplink.mapping import alarm_message
from edge.values import AlarmEvent, Reason

WELL = Machine(
    rss_mb=240.0, cpu_percent=90.0, cpu_temp_c=60.0, disk_free_mb=9000.0, disk="ok", heat="ok", power="ok"
)  # fmt: skip


class Watched:
    def __init__(self, restored: list[AlarmEvent] | None = None) -> None:
        self.clock = ManualClock()
        self.watch = SelfWatch(restored or [])
        self.events = self.watch.begin(self.clock.now())

    def measure(self, seconds: float, *, written: bool = True, **codes: Any) -> list[str]:
        """So measured for so long; the events of this time, in words."""
        began = len(self.events)
        for _ in range(round(seconds / EVERY_S)):
            self.events += self.watch.look(replace(WELL, **codes), written=written, stamp=self.clock.advance(EVERY_S))
        return [f"{e.change} {e.instance.place} {e.verdict} {e.reason}" for e in self.events[began:]]


@pytest.mark.parametrize(
    ("ails", "told"),
    [
        ({"heat": "too_hot"}, ["raised heat violation too_hot"]),
        ({"heat": "hot"}, []),
        ({"heat": "was_too_hot"}, []),
        ({"power": "weak"}, ["raised power violation weak_power"]),
        ({"power": "was_weak"}, []),
        ({"disk": "full"}, ["raised disk violation disk_full"]),
        ({"disk": "nearly_full"}, []),
        ({"written": False}, ["raised disk violation disk_fails"]),
        ({"disk": "full", "written": False}, ["raised disk violation disk_fails"]),
        ({"heat": None, "power": None, "disk": None}, []),
        ({"heat": "too_hot", "power": "weak"}, ["raised heat violation too_hot", "raised power violation weak_power"]),
    ],
)
def test_what_ails_it_is_told_once(ails: dict[str, Any], told: list[str]) -> None:
    assert Watched().measure(1800, **ails) == told


def test_a_moment_is_no_alarm_and_a_pause_is_no_end() -> None:
    node = Watched()
    assert node.measure(20, heat="too_hot") == []
    assert node.measure(60) == []
    assert node.measure(40, heat="too_hot") == ["raised heat violation too_hot"]
    assert node.measure(60) == []
    assert node.measure(60, heat="too_hot") == []
    assert [line.split()[:3] for line in node.measure(300)] == [["cleared", "heat", "ok"]]


def test_an_alarm_from_before_a_restart_is_unverified_until_it_is_measured_again() -> None:
    before = Watched()
    before.measure(60, power="weak")
    node = Watched([before.events[-1]])
    assert [(e.change, e.verdict, e.reason) for e in node.events] == [("updated", "unknown", Reason.RESTARTED)]
    assert [line.split()[:3] for line in node.measure(300)] == [["cleared", "power", "ok"]]


def test_alarms_of_cameras_are_none_of_its_own() -> None:
    node = Watched()
    node.measure(60, power="weak")
    other = replace(node.events[-1], instance=replace(node.events[-1].instance, rule="helmet"))
    assert Watched([other]).events == []


def test_it_keeps_to_the_wire_contract() -> None:
    node = Watched()
    node.measure(60, disk="full")
    message = alarm_message(replace(node.events[-1], seq=1), node.clock.now())
    assert AlarmMessage.from_payload(message.to_payload()).rule == RULE == "node_health"


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_has_words(language: str) -> None:
    say = catalogue(language)
    for reason in Reason:
        assert f"reason.{reason}" in say
    assert f"rule.{RULE}.alarm" in say
