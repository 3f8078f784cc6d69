"""What it takes to be believed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.alarm.confirm import MAX_LOOKS, SLACK_S, SubjectWatch
from edge.clock import ManualClock
from edge.values import Reason, Verdict
from tests.alarm.builders import BAD, DIM, FIXTURE, LETTERS, OK, PERSON, blind, judgement


def watch(looks: str, dt: float, terms: object = PERSON) -> SubjectWatch:
    clock, subject = ManualClock(), SubjectWatch(PERSON if terms is PERSON else FIXTURE)
    for letter in looks:
        stamp = clock.advance(dt)
        if letter != ".":
            subject.look(judgement(LETTERS[letter]), stamp)
    return subject


@pytest.mark.parametrize(
    ("looks", "dt", "verdict"),
    [
        ("V", 0.2, DIM),
        ("VVVVV", 0.2, DIM),  # 0.8 s: not yet
        ("VVVVVV", 0.2, BAD),  # 1.0 s
        ("oooooo", 0.2, OK),
        ("uuuuuu", 0.2, DIM),
        ("VV", 1.0, DIM),  # long enough, but two looks
        ("VVV", 0.5, BAD),  # two looks a second
        ("VVV", 1.0, BAD),  # an overloaded node at one look a second
        ("VVVoVVV", 0.2, BAD),  # one flicker does not start over
        ("VoVoVoVoVoVo", 0.2, DIM),  # half and half is neither
        ("oooooooooVVV", 0.2, OK),  # a short flicker does not overturn ok
        ("ooooooooVVVVVVVV", 0.2, BAD),
        ("VVVVVVVVoooooooo", 0.2, OK),
        ("VuuuuVuuuuVuuuuV", 0.2, DIM),  # mostly not judgeable
        ("VuVuVuVuV", 0.2, BAD),  # half judgeable, all of it against
        ("VVVVVVuuuuuuuu", 0.2, DIM),  # what cannot be seen any more is not known any more
        ("VVVVVV.........V", 0.2, BAD),  # a gap of 2.0 s still counts
        ("VVVVVV..........V", 0.2, DIM),  # 2.2 s does not
    ],
)
def test_a_verdict_needs_looks_time_and_a_majority(looks: str, dt: float, verdict: Verdict) -> None:
    assert watch(looks, dt).verdict is verdict


@pytest.mark.parametrize(
    ("looks", "verdict"), [("V" * 12, DIM), ("V" * 13, BAD), ("V" * 13 + "..V", BAD), ("V" * 13 + "...V", DIM)]
)
def test_a_fixture_is_confirmed_over_a_minute_of_looks_every_five_seconds(looks: str, verdict: Verdict) -> None:
    assert watch(looks, 5.0, FIXTURE).verdict is verdict


@given(st.text(alphabet="oVu.", max_size=60), st.sampled_from([0.1, 0.2, 0.5]))
def test_no_verdict_without_three_looks_of_it(looks: str, dt: float) -> None:
    verdict = watch(looks, dt).verdict
    letter = {OK: "o", BAD: "V"}.get(verdict)
    assert letter is None or looks.count(letter) >= PERSON.min_looks


@given(st.text(alphabet="oVu.", max_size=60))
def test_ok_and_violation_are_treated_alike(looks: str) -> None:
    swapped = looks.translate(str.maketrans("oV", "Vo"))
    opposite = {OK: BAD, BAD: OK, DIM: DIM}
    assert watch(swapped, 0.2).verdict is opposite[watch(looks, 0.2).verdict]


@given(st.text(alphabet="oVu", min_size=1, max_size=40))
def test_old_stamps_change_nothing(looks: str) -> None:
    clock, subject = ManualClock(), SubjectWatch(PERSON)
    for letter in looks:
        subject.look(judgement(LETTERS[letter]), clock.advance(0.2))
    before = (subject.verdict, subject.reason, subject.last)
    subject.look(judgement(BAD), clock.now().plus(-0.2))
    assert (subject.verdict, subject.reason, subject.last) == before


@pytest.mark.parametrize("fps", [2, 5, 15, 30])
@given(st.data())
def test_any_camera_rate_confirms_a_breach_after_a_second(fps: int, data: st.DataObject) -> None:
    clock, subject = ManualClock(), SubjectWatch(PERSON)
    jitter = st.floats(0.6, 1.4)
    began = clock.now().mono
    while subject.verdict is not BAD:
        subject.look(judgement(BAD), clock.advance(data.draw(jitter) / fps))
        assert clock.mono - began < PERSON.confirm_s + 3 * 1.4 / fps
    assert subject.breach_since is not None
    assert clock.mono - subject.breach_since.mono >= PERSON.confirm_s - SLACK_S


def test_a_long_confirmation_at_a_high_rate_is_reached_in_bounded_memory() -> None:
    clock, subject = ManualClock(), SubjectWatch(replace(PERSON, confirm_s=120.0))
    for _ in range(30 * 119):
        subject.look(judgement(BAD), clock.advance(1 / 30))
    assert subject.verdict is DIM
    for _ in range(30 * 2):
        subject.look(judgement(BAD), clock.advance(1 / 30))
    assert subject.verdict is BAD
    assert subject.remembered <= MAX_LOOKS


def test_what_a_blind_camera_does_not_see_fades_like_in_any_gap_and_spoils_nothing_after_it() -> None:
    clock, subject = ManualClock(), SubjectWatch(FIXTURE)
    for _ in range(13):
        subject.look(judgement(OK, "fence"), clock.advance(5))
    for _ in range(14):
        subject.look(blind("fence"), clock.advance(1))
    assert subject.verdict is OK
    for _ in range(3):
        subject.look(blind("fence"), clock.advance(1))
    assert (subject.verdict, subject.reason) == (DIM, Reason.CAMERA_BLIND)
    for _ in range(60):
        subject.look(blind("fence"), clock.advance(1))
    for _ in range(13):
        subject.look(judgement(OK, "fence"), clock.advance(5))
    assert subject.verdict is OK
