"""`warning_light`: at night the declared lamps are lit, steady or flashing as declared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.rules import resting
from edge.rules.night import NightState
from edge.rules.warning_light import RULE
from edge.site.model import RuleSettings
from edge.values import Judgement, LampSamples, Reason, Rest, Verdict
from tests.rules.builders import NOON, H, W, camera, fence, judge, lamp, only_place, scene, site_file
from tests.rules.lamps import Light, Sampler, dark, flashing, headlights, steady

OK, BAD, DIM = Verdict.OK, Verdict.VIOLATION, Verdict.UNKNOWN
SEEN, UNLIT, WRONG, FEW, UNCERTAIN = (
    (OK, Reason.SEEN),
    (BAD, Reason.UNLIT),
    (BAD, Reason.WRONG_PATTERN),
    (DIM, Reason.TOO_FEW_LOOKS),
    (DIM, Reason.UNCERTAIN),
)
PATTERNS = ("steady", "flashing", "any")


def look(
    seen: LampSamples | None, pattern: str = "any", night: NightState = NightState.NIGHT, **more: Any
) -> Judgement:
    place = only_place(RULE, camera(fixtures=[lamp(pattern)]))
    lamps = [seen] if seen is not None else []
    (judgement,) = judge(RULE, scene(lamps=lamps, **more), place, night)
    assert judgement.subject == "lamp-1"
    return judgement


def verdicts(light: Light, camera: Sampler) -> tuple[tuple[Verdict, Reason], ...]:
    """What is said of a lamp that is declared steady, flashing, any."""
    seen = camera.watch(light)
    return tuple((j.verdict, j.reason) for j in (look(seen, pattern) for pattern in PATTERNS))


FAST = Sampler(fps=25)


@pytest.mark.parametrize(
    ("light", "camera", "as_steady", "as_flashing", "as_any"),
    [
        # steady lamps
        (steady(), FAST, SEEN, WRONG, SEEN),
        (steady(), Sampler(fps=8.4, dropped=0), SEEN, WRONG, SEEN),
        (steady(), Sampler(fps=5), SEEN, FEW, SEEN),  # between five samples a second it may flash
        (steady(ripple=0.5), Sampler(fps=25, exposure_s=0.004), SEEN, WRONG, SEEN),  # mains ripple, short exposure
        (steady(ripple=0.5, hz=25.5), FAST, SEEN, WRONG, SEEN),  # beats with the frame rate
        (steady(ripple=1.0, hz=400), FAST, SEEN, WRONG, SEEN),  # PWM, averaged by the exposure
        (steady(), Sampler(drift=0.4), SEEN, WRONG, SEEN),  # the exposure drifts
        (steady(), Sampler(full=0.4, noise=0.03), SEEN, WRONG, SEEN),  # weak
        (steady(), Sampler(noise=0.08), SEEN, WRONG, SEEN),
        (steady(), Sampler(seconds=6.5), SEEN, WRONG, SEEN),
        # flashing lamps
        *((flashing(hz, phase=0.3), Sampler(fps=fps, seed=int(fps)), WRONG, SEEN, SEEN)
          for hz in (0.4, 0.75, 1.0, 1.25, 2.0, 3.0, 3.9) for fps in (10, 12.5, 15, 20, 25, 30)),
        *((flashing(hz, phase=0.3), Sampler(fps=5, dropped=0), WRONG, SEEN, SEEN) for hz in (0.5, 1.0, 1.2)),
        (flashing(1.0, duty=0.1), FAST, WRONG, SEEN, SEEN),  # short LED flashes
        (flashing(1.0, duty=0.1), Sampler(fps=12), WRONG, SEEN, SEEN),
        (flashing(1.0, duty=0.05), FAST, WRONG, SEEN, SEEN),
        (flashing(1.0, duty=0.9), FAST, WRONG, SEEN, SEEN),  # short dark phases
        (flashing(1.0, duty=0.4, pulses=2), FAST, WRONG, SEEN, SEEN),  # double flash
        (flashing(0.8, duty=0.4, pulses=3), FAST, WRONG, SEEN, SEEN),  # triple flash
        (flashing(1.0), Sampler(drift=0.4), WRONG, SEEN, SEEN),
        (flashing(1.0), Sampler(noise=0.08), WRONG, SEEN, SEEN),
        (flashing(1.0), Sampler(dropped=0.3), WRONG, SEEN, SEEN),
        (flashing(1.0), Sampler(full=0.45), WRONG, SEEN, SEEN),
        *((flashing(3.3, phase=0.1), Sampler(fps=11, dropped=0.3, seed=n), WRONG, SEEN, SEEN) for n in range(5)),
        # dark lamps
        (dark, FAST, UNLIT, UNLIT, UNLIT),
        (dark, Sampler(noise=0.08), UNLIT, UNLIT, UNLIT),
        (dark, Sampler(surround=0.6, full=0.9), UNLIT, UNLIT, UNLIT),  # under a street lamp
        (dark, Sampler(fps=5), UNLIT, FEW, FEW),  # a steady lamp would have been seen, a flash may have been missed
        (steady(), Sampler(full=0.3), UNLIT, UNLIT, UNLIT),  # a glow below the declared contrast
        (headlights((2.0, 2.2)), FAST, UNLIT, UNLIT, UNLIT),  # one bright moment
        # neither
        (headlights((1.0, 1.8), (5.5, 7.0)), FAST, UNCERTAIN, UNCERTAIN, UNCERTAIN),
        (headlights((0.5, 1.0), (1.7, 3.4), (4.0, 4.3), (8.0, 9.2)), FAST, UNCERTAIN, UNCERTAIN, UNCERTAIN),
        (headlights((0.0, 5.0)), FAST, UNCERTAIN, UNCERTAIN, UNCERTAIN),  # went out half-way
    ],
)  # fmt: skip
def test_a_lamp_is_told_from_its_light_over_time(
    light: Light,
    camera: Sampler,
    as_steady: tuple[Verdict, Reason],
    as_flashing: tuple[Verdict, Reason],
    as_any: tuple[Verdict, Reason],
) -> None:
    assert verdicts(light, camera) == (as_steady, as_flashing, as_any)


def without(seen: LampSamples, start: float, end: float) -> LampSamples:
    """The samples but for those between `start` and `end` seconds before the newest."""
    age = seen.mono[-1] - seen.mono
    kept = (age > start) | (age < end)
    return LampSamples(seen.fixture, seen.mono[kept], seen.core[kept], seen.surround[kept])


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (None, FEW),
        (replace(FAST.watch(dark), fixture="lamp-2"), FEW),
        (Sampler(seconds=5.5).watch(dark), FEW),
        (Sampler(fps=1.5).watch(steady()), FEW),
        (LampSamples("lamp-1", np.zeros(0), np.zeros(0, np.float32), np.zeros(0, np.float32)), FEW),
        (Sampler(until=NOON.mono - 1.5).watch(dark), FEW),  # the newest sample is old
        (without(FAST.watch(dark), 4.0, 2.5), FEW),  # the camera stalled in between
        (without(FAST.watch(dark), 4.0, 3.5), UNLIT),
        (without(FAST.watch(dark), 9.0, 7.5), UNLIT),  # what came after is long enough
        (Sampler(surround=0.8, full=0.95).watch(steady()), UNCERTAIN),  # a lamp could not outshine this
        (Sampler(surround=0.8, full=0.95).watch(dark), UNCERTAIN),
        (Sampler(surround=0.7, full=1.0).watch(steady()), SEEN),
    ],
)
def test_too_little_or_too_bright_a_history_is_unknown(
    seen: LampSamples | None, expected: tuple[Verdict, Reason]
) -> None:
    judgement = look(seen)
    assert (judgement.verdict, judgement.reason) == expected


LAMP_BOX = (0.48 * W, 0.3 * H, 0.52 * W, 0.36 * H)


@pytest.mark.parametrize("light", [steady(), flashing(), dark])
@pytest.mark.parametrize("name", ["person", "vehicle", "machinery"])
def test_somebody_in_front_makes_it_unknown(light: Light, name: str) -> None:
    place = only_place(RULE, camera(fixtures=[lamp()]))
    before = scene(things=[(name, (600, 150, 700, 500))], lamps=[FAST.watch(light)])
    beside = scene(things=[(name, (700, 150, 800, 500))], lamps=[FAST.watch(light)])
    assert [j.reason for j in judge(RULE, before, place, NightState.NIGHT)] == [Reason.OCCLUDED]
    assert [j.reason for j in judge(RULE, beside, place, NightState.NIGHT)] != [Reason.OCCLUDED]


def test_a_barrier_behind_the_lamp_hides_nothing() -> None:
    place = only_place(RULE, camera(fixtures=[lamp()]))
    seen = scene(things=[("barrier", (300, 200, 900, 500))], lamps=[FAST.watch(dark)])
    assert [j.reason for j in judge(RULE, seen, place, NightState.NIGHT)] == [Reason.UNLIT]


def test_the_box_is_the_lamp_and_confidence_grows_with_the_contrast() -> None:
    strong, weak = (look(Sampler(full=full).watch(steady())) for full in (0.9, 0.4))
    assert strong.box == pytest.approx(LAMP_BOX)
    assert 0 < weak.confidence < strong.confidence <= 1
    glow, nothing = (look(Sampler(full=full).watch(steady())) for full in (0.3, 0.1))
    assert 0 < glow.confidence < nothing.confidence <= 1


def test_by_day_it_does_not_apply_and_without_a_clock_it_is_unknown() -> None:
    place = only_place(RULE, camera(fixtures=[lamp()]))
    assert resting(RULE, place, RuleSettings(), site_file(), NOON, NightState.DAY) is Rest.DAY
    assert resting(RULE, place, RuleSettings(), site_file(), NOON, NightState.NIGHT) is None
    assert resting(RULE, place, RuleSettings(), site_file(), NOON, NightState.UNKNOWN) is None
    assert look(FAST.watch(dark), night=NightState.UNKNOWN).reason is Reason.NO_CLOCK


def test_it_needs_no_class_of_the_model() -> None:
    assert look(FAST.watch(steady()), names=("cat",)).verdict is OK


def test_every_lamp_is_a_place_of_its_own() -> None:
    two = camera(fixtures=[lamp(), fence(), lamp(id="lamp-2")])
    assert [p.id for p in RULE.places(two)] == ["lamp-1", "lamp-2"]


cameras = st.builds(
    Sampler,
    fps=st.floats(4, 30),
    seconds=st.floats(4, 12),
    exposure_s=st.floats(0.001, 0.03),
    noise=st.floats(0, 0.02),
    jitter=st.floats(0, 0.9),
    dropped=st.floats(0, 0.3),
    surround=st.floats(0, 0.2),
    full=st.floats(0.75, 1.0),
    drift=st.floats(0, 0.15),
    seed=st.integers(0, 2**16),
)
blinks = st.builds(flashing, hz=st.floats(0.4, 4.0), duty=st.floats(0.3, 0.7), phase=st.floats(0, 1))


@given(blinks, cameras)
def test_a_flashing_lamp_is_never_a_violation_where_it_may_flash(light: Light, camera: Sampler) -> None:
    _, as_flashing, as_any = verdicts(light, camera)
    assert as_flashing[0] is not BAD
    assert as_any[0] is not BAD


@given(blinks, cameras.filter(lambda c: c.fps >= 10 and c.seconds >= 9 and c.dropped <= 0.2))
def test_a_flashing_lamp_that_is_seen_well_is_always_told(light: Light, camera: Sampler) -> None:
    assert verdicts(light, camera) == (WRONG, SEEN, SEEN)


@given(cameras, st.floats(0, 0.25), st.floats(90, 130))
def test_a_steady_lamp_is_never_a_violation_where_it_may_be_steady(camera: Sampler, ripple: float, hz: float) -> None:
    as_steady, _, as_any = verdicts(steady(ripple, hz), camera)
    assert as_steady[0] is not BAD
    assert as_any[0] is not BAD


@given(cameras)
def test_a_dark_lamp_is_never_ok(camera: Sampler) -> None:
    assert OK not in {verdict for verdict, _ in verdicts(dark, camera)}


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=80),
    st.lists(st.floats(0.0, 3.0), min_size=80, max_size=80),
    st.sampled_from(PATTERNS),
    st.floats(0, 1),
)
def test_any_samples_at_all_get_one_verdict(
    light: list[tuple[float, float]], steps: list[float], pattern: str, contrast: float
) -> None:
    mono = NOON.mono - np.cumsum(steps[: len(light)])[::-1]
    core, surround = np.array(light, dtype=np.float32).reshape(-1, 2).T
    place = only_place(RULE, camera(fixtures=[lamp(pattern, lit_contrast=contrast)]))
    found = judge(RULE, scene(lamps=[LampSamples("lamp-1", mono, core, surround)]), place, NightState.NIGHT)
    assert len(found) == 1
    assert 0 <= found[0].confidence <= 1


@given(blinks | st.just(dark) | st.just(steady()), cameras, st.sampled_from(PATTERNS))
def test_nothing_is_said_of_a_lamp_behind_somebody(light: Light, camera: Sampler, pattern: str) -> None:
    seen = camera.watch(light)
    assert look(seen, pattern, things=[("person", (600, 150, 700, 500))]).verdict is DIM
