"""What the node says of the machine."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edge.clock import ManualClock
from edge.health import MachineWatch, Pace


def test_the_processor_is_not_measured_over_moments(tmp_path: Path) -> None:
    clock = ManualClock()
    watch = MachineWatch(tmp_path, clock)
    assert watch.read().cpu_percent is None
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    clock.advance(1.0)
    first = watch.read().cpu_percent
    assert first is not None
    assert first > 0.0
    assert watch.read().cpu_percent == first  # asked again at once


def test_numbers_that_the_machine_does_not_give_are_none(tmp_path: Path) -> None:
    assert MachineWatch(tmp_path / "away", ManualClock()).read().disk_free_mb is None
    assert MachineWatch(tmp_path, ManualClock()).read().disk_free_mb is not None


def test_a_replay_has_a_speed_but_no_latency() -> None:
    pace = Pace()
    for n in range(11):
        pace.frame(n / 10, None)
    assert pace.speed(1.0).fps == pytest.approx(11.0)
    assert pace.speed(1.0).latency_p50_ms is None
    pace.frame(1.0, 0.25)
    assert pace.speed(1.0).latency_p95_ms == pytest.approx(250.0)


@pytest.mark.parametrize(("fps", "seconds"), [(5.0, 20.0), (15.0, 90.0)])
def test_pace_is_that_of_the_last_minute(fps: float, seconds: float) -> None:
    pace = Pace()
    frames = int(fps * seconds)
    for n in range(frames):
        pace.frame(n / fps, 0.1)
    speed = pace.speed((frames - 1) / fps)
    assert speed.fps == pytest.approx(fps, rel=0.02)
    assert speed.latency_p95_ms == pytest.approx(100.0)
    assert pace.speed(seconds + 61.0).latency_p50_ms is None
