"""What the journal keeps for InfluxDB: which points wait, and what becomes of them when it says that it has them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge.clock import ManualClock
from edge.journal import journal as module
from edge.journal.database import _FIRST
from edge.journal.journal import Journal
from edge.values import AlarmChange, Instance, Tally
from tests.journal.builders import HELMET, event, journal, tally

HI_VIS = Instance("gate", "-", "hi_vis")


@pytest.fixture
def kept(tmp_path: Path, clock: ManualClock) -> Iterator[Journal]:
    opened = journal(tmp_path, clock, confirm_points=True)
    yield opened
    opened.close()


def test_an_alarm_is_confirmed_for_dispatch_and_for_influxdb_each_for_itself(kept: Journal, clock: ManualClock) -> None:
    a, b = (kept.alarm(event(clock.advance(1))) for _ in range(2))
    kept.delivered([a.id])
    kept.alarms_written([b.id])
    for _ in range(2):  # in memory, and on disk
        assert kept.pending_alarms(9) == (b,)
        assert kept.unwritten_alarms(9) == (a,)
        kept.flush()


def test_what_is_confirmed_is_handed_out_no_more_though_not_yet_on_disk(kept: Journal, clock: ManualClock) -> None:
    kept.tallies([tally(60), tally(120)])
    for _ in range(2):
        kept.reading("node", clock.advance(10), {"fps": 1.0})
    kept.alarm(event(clock.now()))
    kept.flush()
    assert kept.points_waiting() == 5
    kept.tallies_delivered(kept.pending_tallies(2**40, 1))
    kept.readings_delivered(kept.pending_readings(1))
    kept.alarms_written([e.id for e in kept.unwritten_alarms(9)])
    assert [t.minute for t in kept.pending_tallies(2**40, 9)] == [120]
    assert [r.number for r in kept.pending_readings(9)] == [2]
    assert kept.unwritten_alarms(9) == ()
    assert kept.points_waiting() == 2
    kept.flush()
    assert kept.points_waiting() == 2
    assert [r.number for r in kept._readings("1", ())] == [2], "a reading goes with its confirmation"


def test_confirmations_are_written_before_they_grow_many(
    kept: Journal, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CONFIRMED", 10)
    for _ in range(30):
        kept.reading("node", clock.advance(10), {"fps": 1.0})
    kept.flush()
    kept.readings_delivered(kept.pending_readings(9))
    assert kept._points_confirmed() == 9
    kept.readings_delivered(kept.pending_readings(9))
    assert kept._points_confirmed() == 0
    monkeypatch.setattr(kept, "_try_write", lambda _: sqlite3.OperationalError("the disk refuses"))
    while rows := kept.pending_readings(5):
        kept.readings_delivered(rows)
    assert 10 <= kept._points_confirmed() <= 20, "then nothing more is handed out until the disk can remember it"


def test_the_number_of_a_dropped_reading_is_used_again_and_its_confirmation_takes_nothing_else(
    kept: Journal, clock: ManualClock
) -> None:
    kept.reading("node", clock.advance(10), {"fps": 1.0})
    kept.flush()
    sent = kept.pending_readings(9)
    kept._drop_rows("reading")
    kept.reading("node", clock.advance(10), {"fps": 2.0})
    kept.flush()
    kept.readings_delivered(sent)
    kept.flush()
    (left,) = kept.pending_readings(9)
    assert (left.number, left.values) == (sent[0].number, {"fps": 2.0})


def test_the_hours_of_some_minutes_are_whole(kept: Journal) -> None:
    kept.tallies([tally(3600 + 60 * n, ok=n, subjects=n % 3) for n in range(60)])
    kept.tallies([tally(7200, ok=7), tally(3600, ok=9, instance=HI_VIS)])
    kept.flush()
    some = [t for t in kept.pending_tallies(2**40, 99) if t.minute in (3660, 4200) and t.instance == HELMET]
    assert kept.hours_of(some, 2**40) == (Tally(HELMET, 3600, sum(range(60)), 0, 0, 0, 2),)
    assert kept.hours_of(some, 3600 + 120)[0].ok_s == 1, "minutes that are not over are left out"
    hours = kept.hours_of(kept.pending_tallies(2**40, 99), 2**40)
    assert [(h.minute, h.instance, h.ok_s) for h in hours] == [
        (3600, HI_VIS, 9), (3600, HELMET, 1770), (7200, HELMET, 7),
    ]  # fmt: skip


def test_for_space_whole_hours_go_and_the_newest_stays(kept: Journal) -> None:
    kept.tallies([tally(3600 * 9 + 60 * n) for n in range(50, 135)])
    kept.flush()
    left = []
    while kept._drop_rows("tally"):
        left.append([t.minute for t in kept.pending_tallies(2**40, 999)])
    assert [minutes[0] for minutes in left] == [3600 * 10, 3600 * 11]
    assert len(left[-1]) == 15


@pytest.mark.parametrize("influx", [True, False])
def test_an_alarm_is_kept_until_influxdb_has_it_too_where_there_is_one(
    tmp_path: Path, clock: ManualClock, influx: bool
) -> None:
    kept = journal(tmp_path, clock, confirm_points=influx)
    ended = kept.alarm(event(clock.now(), AlarmChange.CLEARED))
    kept.delivered([ended.id])
    kept.trim(clock.advance(5 * 86_400))
    assert bool(kept.recent_alarms(9)) is influx
    kept.alarms_written([ended.id])
    kept.trim(clock.now())
    assert kept.recent_alarms(9) == ()
    kept.close()


def test_a_journal_of_the_first_format_goes_on_with_all_that_is_in_it(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "new").mkdir()
    new = journal(tmp_path / "new", clock)
    raised = new.alarm(event(clock.now()))
    new.tallies([tally(600)])
    new.reading("node", clock.now(), {"fps": 1.0})
    new.close()
    old = sqlite3.connect(tmp_path / "journal.db")
    old.executescript(_FIRST + "PRAGMA user_version=1;")
    old.execute("ATTACH ? AS new", (str(tmp_path / "new" / "journal.db"),))
    for table in ("alarm_event", "open_alarm", "tally", "reading"):
        columns = ", ".join(row[1] for row in old.execute(f"PRAGMA main.table_info({table})"))
        old.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")  # noqa: S608
    old.commit()
    old.close()
    kept = journal(tmp_path, clock, confirm_points=True)
    assert kept.unwritten_alarms(9) == kept.pending_alarms(9) == (raised,)
    assert len(kept.pending_tallies(2**40, 9)) == len(kept.pending_readings(9)) == 1
    kept.close()
    again = journal(tmp_path, clock, confirm_points=True)
    assert again.state.moved_aside is None
    again.close()


def test_an_event_of_another_version_holds_up_no_point(kept: Journal, clock: ManualClock) -> None:
    for _ in range(5):
        kept.alarm(event(clock.now()))
    kept._db.execute("UPDATE alarm_event SET event=json_set(event, '$.severity', 'of tomorrow') WHERE seq <= 3")
    assert [e.seq for e in kept.unwritten_alarms(2)] == [4, 5]


def test_a_minute_that_grows_before_its_confirmation_is_on_disk_keeps_waiting(kept: Journal) -> None:
    kept.tallies([tally(600, ok=20)])
    kept.flush()
    sent = kept.pending_tallies(2**40, 9)
    kept.tallies([tally(600, ok=1)])
    kept.tallies_delivered(sent)
    assert kept.pending_tallies(2**40, 9) == ()
    kept.flush()
    assert kept.pending_tallies(2**40, 9) == (replace(sent[0], ok_s=21),)
