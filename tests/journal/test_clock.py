"""Boots before the time is known, clocks that jump, power cuts: what is dated in the end, and how well."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.clock import ManualClock
from edge.journal.journal import COMMIT_EVERY_S
from edge.journal.rows import Reading
from tests.journal.builders import event, journal, tally

SATURDAY = 1_790_000_000.0
SAVED = -86_400.0
"""What a board without a battery starts with: yesterday's last save."""
Step = tuple[str, float]


class Life:
    """A node that judges one subject as ok every second and raises an alarm a minute; it never knows `true`.

    Steps: run N seconds; jump by N seconds; sync: the clock is set right and known to be; lose: no longer known to be;
    reboot: orderly, with the clock N seconds off; cut: the same without a word to the journal.
    """

    def __init__(self, folder: Path, off: float = SAVED) -> None:
        self.folder = folder
        self.true = SATURDAY
        self.boots = 0
        self.alarms: dict[str, tuple[float, str]] = {}
        self.seconds: list[tuple[float, str]] = []
        self.known: set[str] = set()
        self._boot(off)

    def _boot(self, off: float) -> None:
        self.boots += 1
        self.clock = ManualClock(wall=self.true + off, mono=10.0, boot=f"boot-{self.boots}", synced=False)
        self.journal = journal(self.folder, self.clock, confirm_points=True)
        self.ran = 0

    def go(self, *steps: Step) -> Life:
        for what, much in steps:
            if what == "run":
                for _ in range(int(much)):
                    self._second()
            elif what == "jump":
                self.clock.wall += much
            elif what == "sync":
                self.clock.wall, self.clock.synced = self.true, True
                self.known.add(self.clock.boot)
                self.journal.flush(self.clock.now())
            elif what == "lose":
                self.clock.synced = False
            else:
                self._end(orderly=what == "reboot")
                self.true += 60.0
                self._boot(much)
        self.journal.flush()
        return self

    def _second(self) -> None:
        self.true += 1.0
        now = self.clock.advance(1.0)
        self.ran += 1
        minute = int(now.wall // 60 * 60)
        self.journal.tallies([tally(minute, ok=1)])
        self.seconds.append((self.true, now.boot))
        if self.ran % 10 == 0:
            self.journal.reading("node", now, {"true": self.true})
        if self.ran % 60 == 0:
            made = self.journal.alarm(event(now))
            self.alarms[made.id] = (self.true, now.boot)
        self.journal.flush(now)

    def _end(self, *, orderly: bool) -> None:
        if orderly:
            self.journal.close()
            return
        # What is on disk at this moment is what the next boot finds.
        cut = self.folder / f"cut-{self.boots}"
        cut.mkdir()
        for file in self.folder.glob("journal.db*"):
            shutil.copy(file, cut)
        self.journal.close()
        self.folder = cut
        # The stated loss of a power cut: what was gathered since the last commit.
        self.seconds = self.seconds[: len(self.seconds) - self.ran % int(COMMIT_EVERY_S)]

    # -- what came of it -------------------------------------------------------------------------------------------

    def minutes(self) -> Counter[int]:
        counted: Counter[int] = Counter()
        for row in self.journal.pending_tallies(2**40, 10_000):
            counted[row.minute] += row.ok_s
        return counted

    def readings(self) -> tuple[Reading, ...]:
        return self.journal.pending_readings(10_000)

    def check(self) -> None:
        """Every alarm is there; what can be dated is, rightly; no second is lost, doubled or far from its minute."""
        by_id = {e.id: e for e in self.journal.pending_alarms(10_000)}
        assert by_id.keys() == self.alarms.keys()
        for event_id, (true, boot) in self.alarms.items():
            made = by_id[event_id]
            assert made.at.synced is (boot in self.known), boot
            if made.at.synced:
                assert made.at.wall == pytest.approx(true, abs=0.01)
                assert made.first_seen.wall == pytest.approx(true - 2.0, abs=0.01)
        for reading in self.readings():
            assert reading.at.wall == pytest.approx(reading.values["true"], abs=0.01)
        wanted = sorted(true for true, boot in self.seconds if boot in self.known)
        minutes = self.minutes()
        assert sum(minutes.values()) == len(wanted)
        for at in range(int(SATURDAY) - 120, int(self.true) + 180, 60):
            so_far = sum(n for minute, n in minutes.items() if minute < at // 60 * 60)
            should = sum(true < at // 60 * 60 for true in wanted)
            assert abs(so_far - should) <= 60, f"by {at}: {so_far} seconds instead of {should}"

    def close(self) -> None:
        self.journal.close()


BEFORE, AFTER = ("run", 185.0), ("run", 125.0)


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([BEFORE, ("sync", 0), AFTER], id="it boots before the time is known"),
        pytest.param([("sync", 0), AFTER], id="the time is known at once"),
        pytest.param([BEFORE, ("jump", 7200), BEFORE, ("sync", 0), AFTER], id="jumps forward while it is not known"),
        pytest.param([BEFORE, ("jump", -7200), BEFORE, ("sync", 0), AFTER], id="jumps back"),
        pytest.param([BEFORE, ("jump", -100), BEFORE, ("sync", 0), AFTER], id="jumps back into minutes it was in"),
        pytest.param([BEFORE, ("jump", -35), BEFORE, ("jump", 20), BEFORE, ("sync", 0)], id="to and fro"),
        pytest.param([("sync", 0), AFTER, ("lose", 0), AFTER, ("sync", 0), AFTER], id="known, lost, known again"),
        pytest.param(
            [("sync", 0), AFTER, ("lose", 0), ("jump", 3600), AFTER, ("sync", 0), AFTER], id="lost, wrong, known again"
        ),
        pytest.param([BEFORE, ("reboot", SAVED), BEFORE, ("sync", 0), AFTER], id="a boot that never knew is not dated"),
        pytest.param([BEFORE, ("cut", SAVED), BEFORE, ("sync", 0), AFTER], id="power cut before the time is known"),
        pytest.param(
            [BEFORE, ("sync", 0), AFTER, ("cut", SAVED), BEFORE], id="power cut, then a boot that never knows"
        ),
        pytest.param(
            [("sync", 0), BEFORE, ("lose", 0), ("jump", -3600), BEFORE, ("reboot", -1e3), ("sync", 0), AFTER],
            id="it is not known any more, and the boot ends with that",
        ),
        pytest.param([BEFORE, ("cut", 3e7), BEFORE, ("cut", -3e7), ("sync", 0), AFTER], id="three boots, one knows"),
    ],
)
def test_what_can_be_dated_is_and_nothing_else(tmp_path: Path, steps: list[Step]) -> None:
    life = Life(tmp_path).go(*steps)
    life.check()
    life.close()


STEPS = st.one_of(
    st.tuples(st.just("run"), st.floats(1, 100)),
    st.tuples(st.just("jump"), st.floats(-400, 400)),
    st.tuples(st.sampled_from(["sync", "lose"]), st.just(0.0)),
    st.tuples(st.just("reboot"), st.floats(-1e6, 1e6)),
)


@given(st.lists(STEPS, max_size=8), st.floats(-1e6, 1e6))
@settings(max_examples=15)
def test_whatever_the_clock_does(steps: list[Step], off: float) -> None:
    with TemporaryDirectory() as folder:
        life = Life(Path(folder), off).go(*_honest(steps), ("sync", 0.0))
        life.check()
        life.close()


def _honest(steps: list[Step]) -> list[Step]:
    """A clock that is known to be right does not jump: that is lost first."""
    honest: list[Step] = []
    for step in steps:
        honest += [("lose", 0.0), step] if step[0] == "jump" else [step]
    return honest


def test_a_run_of_the_same_boot_dates_what_the_run_before_left(tmp_path: Path) -> None:
    """The program was started anew, not the computer: its monotonic clock went on."""
    life = Life(tmp_path).go(BEFORE)
    life.journal.close()
    life.journal = journal(tmp_path, life.clock, confirm_points=True)
    life.go(("jump", -70.0), BEFORE, ("sync", 0.0), AFTER)
    life.check()
    life.close()
