"""What the light says, what the siren does, and when."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.clock import ManualClock, SystemClock
from edge.signal.codes import PATTERNS, Sign, light
from edge.signal.light import Light
from edge.signal.signals import Signals
from edge.signal.siren import GpioPin, SirenError, Sounding
from edge.site.model import Signal, Siren
from edge.text import LANGUAGES, catalogue
from tests.conftest import REPO
from tests.waiting import until

NOBODY: frozenset[str] = frozenset()


def drawn(sign: Sign, seconds: float) -> str:
    """The light every tenth of a second: # lit, . dark."""
    return "".join(".#"[light(sign, at / 10 + 1e-6)[0]] for at in range(round(seconds * 10)))


@pytest.mark.parametrize(
    ("sign", "seen"),
    [
        (Sign.STARTING, "#.#.#.#.#.#."),
        (Sign.WORKING, "#............................." * 2),
        (Sign.NO_CAMERA, "##...##...................." + "##...##"),
        (Sign.NO_BROKER, "##...##...##...................." + "##...##...##"),
        (Sign.NOT_ENROLLED, "##...##...##...##...................." + "##...##"),
        (Sign.ALARM, "###############..###############.."),
        (Sign.FAILED, "#####.....#####....."),
    ],
)
def test_each_sign_has_its_own_rhythm(sign: Sign, seen: str) -> None:
    assert drawn(sign, len(seen) / 10) == seen


def test_no_two_signs_look_alike() -> None:
    assert len(set(PATTERNS.values())) == len(PATTERNS) == len(Sign)


@given(sign=st.sampled_from(Sign), since=st.floats(0, 1e7))
def test_the_light_always_knows_when_it_changes(sign: Sign, since: float) -> None:
    lit, wait = light(sign, since)
    assert 0 < wait <= max(PATTERNS[sign])
    assert light(sign, since + wait + 1e-6)[0] is not lit


@pytest.mark.parametrize(
    ("does", "sounds"),
    [
        pytest.param([(0, "")], False, id="no alarm"),
        pytest.param([(0, "a")], True, id="an alarm"),
        pytest.param([(0, "a"), (9, "a")], True, id="still open"),
        pytest.param([(0, "a"), (10, "a")], False, id="open for longer than it may sound"),
        pytest.param([(0, "a"), (3, "")], False, id="over before that"),
        pytest.param([(0, "a"), (8, "ab"), (15, "ab")], True, id="another one begins anew"),
        pytest.param([(0, "a"), (8, "ab"), (9, "a"), (15, "a")], False, id="the other one is over"),
        pytest.param([(0, "a"), (11, ""), (12, "a")], True, id="seen anew after it was out of sight"),
    ],
)
def test_the_siren_sounds_for_each_alarm_and_then_rests(does: list[tuple[float, str]], sounds: bool) -> None:
    siren = Sounding(10.0)
    for at, alarms in does:
        until_s = siren.update(frozenset(alarms), 1000.0 + at)
    assert (until_s > 1000.0 + does[-1][0]) is sounds


@pytest.fixture
def leds(tmp_path: Path) -> Path:
    """A light as the kernel shows it, that was switched by the card."""
    act = tmp_path / "ACT"
    act.mkdir()
    (act / "trigger").write_text("none timer oneshot [mmc0] default-on")
    (act / "brightness").write_text("0")
    (act / "max_brightness").write_text("255")
    return tmp_path


class Pin:
    """Where a siren would hang."""

    def __init__(self, *, broken: bool = False) -> None:
        self.heard: list[bool] = []
        self.closed = False
        self.broken = broken

    def switch(self, *, on: bool) -> None:
        if self.broken:
            raise OSError(5, "Input/output error")
        self.heard.append(on)

    def close(self) -> None:
        self.closed = True


def read(leds: Path, name: str) -> str:
    return (leds / "ACT" / name).read_text()


def test_the_light_is_taken_from_the_card_blinks_and_is_given_back(leds: Path) -> None:
    signals = Signals.of(Signal(), ManualClock(), leds)
    signals.start()
    assert read(leds, "trigger") == "none"
    signals.stop()
    assert read(leds, "trigger") == "mmc0"
    assert read(leds, "brightness") == "0"


def test_it_is_switched_when_the_rhythm_says_so(leds: Path) -> None:
    clock = ManualClock()
    lamp = Light(leds / "ACT")
    lamp.take()
    signals = Signals(clock, lamp)
    signals.show(Sign.FAILED, NOBODY)
    seen = []
    for _ in range(4):
        wait = signals.turn()
        seen.append((read(leds, "brightness"), round(wait, 3)))
        clock.advance(wait + 1e-6)
    assert seen == [("255", 0.5), ("0", 0.5), ("255", 0.5), ("0", 0.5)]


def test_a_new_sign_begins_its_rhythm_at_once(leds: Path) -> None:
    clock = ManualClock()
    signals = Signals(clock, Light(leds / "ACT"))
    signals.show(Sign.WORKING, NOBODY)
    clock.advance(1.0)
    assert signals.turn() == pytest.approx(2.0)
    signals.show(Sign.ALARM, NOBODY)
    assert signals.turn() == pytest.approx(1.5)
    signals.show(Sign.ALARM, NOBODY)
    clock.advance(1.0)
    assert signals.turn() == pytest.approx(0.5), "said again it goes on"


def test_the_thread_blinks_by_itself(leds: Path) -> None:
    signals = Signals(SystemClock(), Light(leds / "ACT"))
    signals.start()
    until(lambda: read(leds, "brightness") == "255", "it is never lit")
    until(lambda: read(leds, "brightness") == "0", "it stays lit")
    signals.stop()


def test_the_siren_sounds_while_an_alarm_is_open_and_no_longer_than_it_may() -> None:
    clock, pin = ManualClock(), Pin()
    signals = Signals(clock, None, pin, 10.0)
    signals.turn()
    signals.show(Sign.ALARM, frozenset({"a"}))
    assert signals.turn() == pytest.approx(10.0)
    clock.advance(10.1)
    signals.turn()
    signals.show(Sign.ALARM, frozenset({"a", "b"}))
    signals.turn()
    signals.show(Sign.WORKING, NOBODY)
    signals.turn()
    assert pin.heard == [False, True, False, True, False]


def test_the_siren_is_silent_when_the_node_ends() -> None:
    clock, pin = ManualClock(), Pin()
    signals = Signals(clock, None, pin, 10.0)
    signals.start()
    signals.show(Sign.ALARM, frozenset({"a"}))
    until(lambda: pin.heard[-1:] == [True])
    signals.stop()
    assert pin.heard[-1] is False
    assert pin.closed
    assert not any(t.name == "signals" for t in threading.enumerate())


def test_a_siren_that_fails_is_told(caplog: pytest.LogCaptureFixture) -> None:
    clock, pin = ManualClock(), Pin(broken=True)
    signals = Signals(clock, None, pin, 10.0)
    for alarms in (NOBODY, frozenset({"a"}), NOBODY):
        signals.show(Sign.ALARM, alarms)
        signals.turn()
    assert signals.trouble == "Input/output error"
    assert [r.message for r in caplog.records] == ["signal.siren cannot be switched: Input/output error"], "said once"


def test_a_siren_that_failed_is_tried_again() -> None:
    clock, pin = ManualClock(), Pin(broken=True)
    signals = Signals(clock, None, pin, 10.0)
    signals.show(Sign.ALARM, frozenset({"a"}))
    assert signals.turn() == pytest.approx(1.0)
    pin.broken = False
    clock.advance(1.0)
    assert signals.turn() == pytest.approx(9.0)
    assert pin.heard[-1] is True
    assert signals.trouble is None


def test_a_siren_that_is_not_to_be_had_is_told(tmp_path: Path) -> None:
    signals = Signals.of(Signal(led=None, siren=Siren(line="GPIO99")), ManualClock(), tmp_path)
    assert signals.trouble is not None
    assert "GPIO99" in signals.trouble
    signals.start()
    signals.stop()


def test_what_is_no_gpio_chip_is_told(tmp_path: Path) -> None:
    """By the real library: this file is no chip."""
    (tmp_path / "gpiochip0").write_text("x")
    with pytest.raises(SirenError, match="the GPIO line cannot be opened: "):
        GpioPin("GPIO17", active_low=False, devices=tmp_path)


@pytest.mark.parametrize(
    "settings", [Signal(led=None), Signal(led="PWR"), Signal()], ids=["none asked for", "not on this board", "default"]
)
def test_a_board_without_the_light_has_none(settings: Signal, tmp_path: Path) -> None:
    signals = Signals.of(settings, ManualClock(), tmp_path)
    signals.start()
    signals.show(Sign.ALARM, NOBODY)
    signals.stop()
    assert signals.trouble is None


def test_a_light_that_may_not_be_switched_is_told_and_left_alone(leds: Path, caplog: pytest.LogCaptureFixture) -> None:
    (leds / "ACT" / "max_brightness").unlink()
    signals = Signals.of(Signal(), ManualClock(), leds)
    signals.start()
    signals.stop()
    assert caplog.records[0].message.startswith("signal.led: the light cannot be used: ")
    assert "[mmc0]" in read(leds, "trigger")


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_sign_is_explained_in_the_guide(language: str) -> None:
    guide = (REPO / "docs" / "signals.md").read_text(encoding="utf-8")
    say = catalogue(language)
    for sign in Sign:
        assert say(f"signal.{sign}") in guide, f"docs/signals.md lacks {sign} in {language}"
