"""Brightness of lamps: what is measured, how long it is kept."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.capture.lamps import LampSampler
from edge.site.model import LampFixture
from edge.values import Image
from tests.capture.builders import flat

LAMP = LampFixture(id="lamp-1", polygon=[(0.45, 0.45), (0.55, 0.45), (0.55, 0.55), (0.45, 0.55)])
CORNER = LampFixture(id="lamp-2", polygon=[(0, 0), (0.05, 0), (0.05, 0.05), (0, 0.05)])
WHOLE = LampFixture(id="lamp-3", polygon=[(0, 0), (1, 0), (1, 1), (0, 1)])


def picture(colour: tuple[int, int, int], around: int = 30, radius: int = 6) -> Image:
    image = flat(around, 2)
    cv2.circle(image, (160, 120), radius, colour, -1)
    return image


def once(image: Image, lamp: LampFixture = LAMP) -> tuple[float, float]:
    sampler = LampSampler([lamp])
    sampler.sample(image, 1.0)
    (samples,) = sampler.samples()
    return float(samples.core[0]), float(samples.surround[0])


@pytest.mark.parametrize(
    ("colour", "core"),
    [((255, 255, 255), 1.0), ((0, 0, 255), 1.0), ((0, 170, 255), 1.0), ((128, 128, 128), 0.5), ((30, 30, 30), 0.12)],
    ids=["white", "red", "amber", "dim", "dark"],
)
def test_core_and_surround(colour: tuple[int, int, int], core: float) -> None:
    got, around = once(picture(colour))
    assert got == pytest.approx(core, abs=0.04)
    assert around == pytest.approx(32 / 255, abs=0.02)


def test_a_lamp_much_smaller_than_its_region_is_still_seen() -> None:
    """A tenth of the region is enough."""
    assert once(picture((255, 255, 255), radius=5))[0] > 0.9


def test_the_glow_beside_a_lamp_does_not_brighten_its_surround() -> None:
    glowing = picture((200, 200, 200), radius=20)
    cv2.circle(glowing, (160, 120), 12, (255, 255, 255), -1)
    assert once(glowing)[1] < 0.2


@pytest.mark.parametrize("lamp", [CORNER, WHOLE], ids=["in the corner", "the whole picture"])
def test_regions_at_and_over_the_edge(lamp: LampFixture) -> None:
    core, around = once(flat(100, 0), lamp)
    assert core == pytest.approx(100 / 255, abs=0.01)
    assert around == pytest.approx(100 / 255, abs=0.01)


def test_a_blinking_lamp_shows_its_rhythm() -> None:
    """2 Hz, sampled at 25 a second: on and off alternate every quarter second."""
    sampler = LampSampler([LAMP])
    on, off = picture((255, 255, 255)), picture((40, 40, 40))
    for n in range(250):
        sampler.sample(on if (n / 25 * 4) % 2 < 1 else off, n / 25)
    (samples,) = sampler.samples()
    changes = np.flatnonzero(np.diff((samples.core > 0.5).astype(int)))
    assert len(changes) == 39
    assert np.diff(samples.mono[changes]) == pytest.approx(0.25, abs=0.045)


def test_several_lamps_come_in_their_order_and_none_makes_no_work() -> None:
    sampler = LampSampler([CORNER, LAMP])
    assert sampler.samples() == ()
    sampler.sample(picture((255, 255, 255)), 1.0)
    assert [s.fixture for s in sampler.samples()] == ["lamp-2", "lamp-1"]
    assert [bool(s.core[0] > 0.5) for s in sampler.samples()] == [False, True]
    assert not LampSampler([])


def test_another_picture_size_moves_the_regions_along() -> None:
    sampler = LampSampler([LAMP])
    small = picture((255, 255, 255))
    sampler.sample(small, 1.0)
    sampler.sample(cv2.resize(small, (1280, 960)), 2.0)  # type: ignore[arg-type]
    (samples,) = sampler.samples()
    assert samples.core == pytest.approx(1.0, abs=0.02)


@given(st.lists(st.floats(0, 4), min_size=1, max_size=60))
def test_samples_rise_in_time_and_reach_back_ten_seconds(steps: list[float]) -> None:
    sampler, at, added = LampSampler([LAMP]), 100.0, list[float]()
    image = flat(50, 0)
    for step in steps:
        at += step
        sampler.sample(image, at)
        if not added or at > added[-1]:
            added.append(at)
    (samples,) = sampler.samples()
    assert samples.mono.tolist() == [m for m in added if m >= added[-1] - 10]


def test_samples_that_were_handed_out_do_not_change() -> None:
    sampler = LampSampler([LAMP])
    sampler.sample(flat(50, 0), 1.0)
    (early,) = sampler.samples()
    for n in range(2, 40):
        sampler.sample(flat(200, 0), float(n))
    assert early.mono.tolist() == [1.0]
    assert early.core == pytest.approx([50 / 255], abs=0.01)
