"""What a hot node leaves undone, and when it takes it up again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.heat import COOL_C, DOWN_S, SLOWEST_S, TOO_HOT_C, UP_S, Heat
from edge.text import LANGUAGES, catalogue

EVERY_S = 5.0


def felt(*spells: tuple[float | None, float], cameras: int = 3) -> list[int]:
    """The step after each spell of (°C, seconds)."""
    heat, mono, steps = Heat(), 1000.0, []
    for degrees, seconds in spells:
        for _ in range(round(seconds / EVERY_S)):
            mono += EVERY_S
            heat = heat.after(degrees, mono, cameras)
        steps.append(heat.step)
    return steps


@pytest.mark.parametrize(
    ("spells", "steps"),
    [
        pytest.param([(60, 3600)], [0], id="cool"),
        pytest.param([(79.9, 3600)], [0], id="warm is not too hot"),
        pytest.param([(82, 25)], [0], id="too hot for a moment"),
        pytest.param([(82, 35)], [1], id="too hot for longer"),
        pytest.param([(82, 25), (75, 5), (82, 25)], [0, 0, 0], id="with a break it begins anew"),
        pytest.param([(82, 35), (82, 30), (82, 30), (82, 30)], [1, 2, 3, 4], id="still too hot: a step more each time"),
        pytest.param([(82, 3600)], [4], id="one camera is always judged"),
        pytest.param([(82, 65), (75, 3600)], [2, 2], id="in between nothing changes"),
        pytest.param([(82, 65), (71, 175), (71, 10)], [2, 2, 1], id="cool for long: a step back"),
        pytest.param([(82, 65), (71, 185), (71, 180), (71, 3600)], [2, 1, 0, 0], id="and all the way"),
        pytest.param([(82, 65), (71, 175), (75, 5), (71, 175)], [2, 2, 2, 2], id="cool with a break is not for long"),
        pytest.param([(82, 65), (71, 185), (82, 25), (82, 10)], [2, 1, 1, 2], id="hot again"),
        pytest.param([(82, 65), (None, 3600)], [2, 2], id="no reading: nobody knows that it has cooled down"),
        pytest.param([(None, 3600)], [0], id="a computer without a sensor"),
    ],
)
def test_steps_are_taken_one_by_one_and_back_with_hysteresis(
    spells: list[tuple[float | None, float]], steps: list[int]
) -> None:
    assert felt(*spells) == steps


def test_a_camera_that_is_gone_from_the_site_file_is_no_step_any_more() -> None:
    assert Heat(step=4).after(75.0, 0.0, cameras=1).step == 2


@pytest.mark.parametrize(
    ("step", "periods", "cooling"),
    [
        (0, [0.2, 0.5, 5.0], None),
        (1, [0.4, 1.0, 5.0], "half"),
        (2, [SLOWEST_S, SLOWEST_S, 5.0], "slowest"),
        (3, [SLOWEST_S, SLOWEST_S, None], "cameras"),
        (4, [SLOWEST_S, None, None], "cameras"),
    ],
)
def test_fewer_looks_before_fewer_cameras(step: int, periods: list[float | None], cooling: str | None) -> None:
    heat = Heat(step)
    assert heat.periods([0.2, 0.5, 5.0]) == periods
    assert heat.cooling == cooling
    if cooling is not None:
        assert all(f"service.cooling.{cooling}" in catalogue(language) for language in LANGUAGES)


@given(
    st.lists(st.tuples(st.one_of(st.none(), st.floats(20, 110)), st.floats(0.1, 400)), max_size=60),
    st.integers(1, 16),
    st.floats(0.05, 60),
)
def test_whatever_the_weather(readings: list[tuple[float | None, float]], cameras: int, period: float) -> None:
    heat, mono = Heat(), 0.0
    changed = mono
    for degrees, passed in readings:
        mono += passed
        before, heat = heat, heat.after(degrees, mono, cameras)
        assert abs(heat.step - before.step) <= 1
        if heat.step > before.step:
            assert degrees is not None
            assert degrees >= TOO_HOT_C
            assert mono - changed >= DOWN_S
        if heat.step < before.step:
            assert degrees is not None
            assert degrees <= COOL_C
            assert mono - changed >= UP_S
        changed = mono if heat.step != before.step else changed
        periods = heat.periods([period] * cameras)
        assert periods[0] is not None
        assert all(p is None or period <= p <= max(period, SLOWEST_S) for p in periods)
