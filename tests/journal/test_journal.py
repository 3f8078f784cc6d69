"""What the journal promises, on real files."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge.clock import ManualClock
from edge.journal.journal import COMMIT_EVERY_S, Journal
from edge.journal.rows import JournalError, Trouble
from edge.values import AlarmChange, EvidenceRef, Instance
from tests.journal.builders import HELMET, event, journal, tally, unsynced

HI_VIS = Instance("gate", "-", "hi_vis")


@pytest.fixture
def kept(tmp_path: Path, clock: ManualClock) -> Iterator[Journal]:
    opened = journal(tmp_path, clock)
    yield opened
    opened.close()


def reopen(old: Journal, folder: Path, clock: ManualClock) -> Journal:
    old.close()
    return journal(folder, clock)


def test_events_get_rising_numbers_and_come_back_whole(kept: Journal, clock: ManualClock) -> None:
    events = [kept.alarm(event(clock.advance(1))) for _ in range(3)]
    assert [e.seq for e in events] == [1, 2, 3]
    assert kept.pending_alarms(10) == tuple(events)
    assert kept.pending_alarms(10, after_seq=1) == tuple(events[1:])
    assert kept.pending_alarms(2) == tuple(events[:2])


def test_the_same_event_twice_is_one(kept: Journal, clock: ManualClock) -> None:
    made = event(clock.now())
    assert kept.alarm(made) == kept.alarm(made)
    assert len(kept.pending_alarms(10)) == 1


def test_open_alarms_survive_a_restart_and_cleared_ones_do_not(tmp_path: Path, clock: ManualClock) -> None:
    first = journal(tmp_path, clock)
    a, b = event(clock.now()), event(clock.now(), instance=HI_VIS)
    for e in (
        a,
        b,
        event(clock.advance(5), AlarmChange.UPDATED, a.alarm),
        event(clock.now(), AlarmChange.CLEARED, b.alarm),
    ):
        first.alarm(e)
    second = reopen(first, tmp_path, clock)
    (still_open,) = second.open_alarms()
    assert (still_open.alarm, still_open.change, still_open.seq) == (a.alarm, AlarmChange.UPDATED, 3)
    assert second.alarm(event(clock.now())).seq == 5
    second.close()


def test_recent_alarms_are_the_newest_event_of_each_and_every_open_one(kept: Journal, clock: ManualClock) -> None:
    old_open = kept.alarm(event(clock.now()))
    ended = []
    for _ in range(3):
        raised = kept.alarm(event(clock.advance(1)))
        ended.append(kept.alarm(event(clock.advance(1), AlarmChange.CLEARED, raised.alarm)))
    assert kept.recent_alarms(2) == (ended[2], ended[1], old_open)
    assert [e.change for e in kept.alarm_history(ended[0].alarm)] == [AlarmChange.RAISED, AlarmChange.CLEARED]
    assert kept.alarm_history("none") == ()


def test_delivered_rows_wait_no_more_but_stay_for_the_page(tmp_path: Path, clock: ManualClock) -> None:
    first = journal(tmp_path, clock)
    a, b = (first.alarm(event(clock.now())) for _ in range(2))
    first.delivered([a.id, "unknown"])
    assert first.pending_alarms(10) == (b,)
    assert first.depth() == 1
    second = reopen(first, tmp_path, clock)
    assert second.pending_alarms(10) == (b,)
    assert len(second.recent_alarms(10)) == 2
    second.close()


def test_without_anybody_to_confirm_nothing_waits(tmp_path: Path, clock: ManualClock) -> None:
    alone = journal(tmp_path, clock, confirm_alarms=False)
    alone.alarm(event(clock.now()))
    assert alone.pending_alarms(10) == ()
    assert len(alone.open_alarms()) == 1
    alone.close()


def test_a_minute_broken_by_a_restart_is_completed(tmp_path: Path, clock: ManualClock) -> None:
    first = journal(tmp_path, clock)
    first.tallies([tally(600, ok=20, subjects=3)])
    second = reopen(first, tmp_path, clock)
    second.tallies([tally(600, ok=30, violation=5, subjects=2)])
    second.flush()
    (row,) = second.pending_tallies(before=660, limit=10)
    assert (row.ok_s, row.violation_s, row.breach_s, row.subjects) == (50, 5, 5, 3)
    second.tallies_delivered([row])
    second.flush()
    assert second.pending_tallies(660, 10) == ()
    second.tallies([tally(600, ok=1)])  # it grew after it was sent: sent again whole
    second.flush()
    assert second.pending_tallies(660, 10)[0].ok_s == 51
    second.close()


def test_compliance_counts_what_is_not_yet_committed(kept: Journal) -> None:
    kept.tallies([tally(3600, ok=60), tally(3660, ok=50, violation=10)])
    kept.flush()
    kept.tallies([tally(3660, ok=1), tally(7200, ok=7), tally(7200, ok=3, instance=HI_VIS)])
    assert {(c.instance, c.ok_s, c.violation_s) for c in kept.compliance(0)} == {(HELMET, 118, 10), (HI_VIS, 3, 0)}
    assert [(c.hour, c.instance, c.ok_s) for c in kept.compliance_hours(3601)] == [
        (3600, HELMET, 51),
        (7200, HI_VIS, 3),
        (7200, HELMET, 7),
    ]


def test_what_is_not_urgent_is_committed_every_ten_seconds(tmp_path: Path, clock: ManualClock) -> None:
    """Seen from outside, as after SIGKILL: by copying the files at that moment."""

    def rows_on_disk() -> int:
        copy = tmp_path / "copy"
        copy.mkdir(exist_ok=True)
        for name in ("journal.db", "journal.db-wal"):
            (copy / name).write_bytes((tmp_path / name).read_bytes())
        db = sqlite3.connect(copy / "journal.db")
        (count,) = db.execute("SELECT COUNT(*) FROM tally").fetchone()
        db.close()
        return int(count)

    kept = journal(tmp_path, clock)
    kept.tallies([tally(600)])
    kept.flush(clock.advance(COMMIT_EVERY_S - 1))
    assert rows_on_disk() == 0
    kept.flush(clock.advance(1))
    assert rows_on_disk() == 1
    kept.close()


def test_dates_are_put_right_once_the_clock_is(tmp_path: Path, clock: ManualClock) -> None:
    clock.synced = False
    true_wall, wrong = clock.wall, -5_000_000.0
    clock.wall += wrong
    kept = journal(tmp_path, clock)
    made = kept.alarm(event(clock.now()))
    kept.tallies([tally(int(clock.wall) // 60 * 60, ok=9)])
    kept.reading("gas", clock.now(), {"o2": 20.9})
    kept.flush()
    assert kept.pending_tallies(2**40, 10) == ()
    clock.advance(120)
    clock.wall -= wrong
    clock.synced = True
    kept.flush(clock.now())
    (right,) = kept.pending_alarms(1)
    assert right.at.synced
    assert right.at.wall == pytest.approx(true_wall)
    assert right.first_seen.wall == pytest.approx(true_wall - 2)
    assert (right.id, right.seq, right.at.mono) == (made.id, made.seq, made.at.mono)
    assert kept.open_alarms() == (right,)
    (row,) = kept.pending_tallies(2**40, 10)
    assert (row.ok_s, abs(row.minute - true_wall) <= 60) == (9, True)
    assert kept.readings("gas", true_wall - 1)[0].at.wall == pytest.approx(true_wall)
    # The alarm's next event still carries the first one's stamp.
    later = kept.alarm(replace(event(clock.now()), first_seen=made.first_seen))
    assert later.first_seen.wall == pytest.approx(true_wall - 2)
    kept.close()


def test_seconds_that_were_not_yet_on_disk_move_to_their_true_minute_too(kept: Journal, clock: ManualClock) -> None:
    clock.synced = False
    true_minute = int(clock.wall) // 60 * 60
    clock.wall -= 86_400
    kept.tallies([tally(true_minute - 86_400, ok=9)])
    clock.wall += 86_400
    clock.synced = True
    kept.alarm(event(clock.now()))  # commits all that is gathered, before anybody has put the dates right
    kept.flush(clock.now())
    (row,) = kept.pending_tallies(2**40, 10)
    assert (row.minute, row.ok_s) == (true_minute, 9)


def test_an_earlier_boot_that_never_knew_the_time_cannot_be_dated(tmp_path: Path, clock: ManualClock) -> None:
    clock.synced = False
    first = journal(tmp_path, clock)
    made = first.alarm(event(unsynced(clock.now(), -1000.0)))
    first.tallies([tally(600)])
    first.close()
    second = journal(tmp_path, ManualClock())
    assert second.pending_alarms(1) == (made,)
    assert second.pending_tallies(2**40, 1) == ()
    assert second.compliance(0)[0].ok_s == 60
    second.close()


def file(folder: Path, name: str, size: int = 100) -> Path:
    path = folder / name
    path.write_bytes(b"x" * size)
    return path


def ref(number: int, kind: str = "snapshot", size: int = 100) -> EvidenceRef:
    return EvidenceRef(f"{number:064x}", kind, size)


def test_evidence_goes_with_its_last_delivery(kept: Journal, tmp_path: Path, clock: ManualClock) -> None:
    picture, clip = file(tmp_path, "1.jpg"), file(tmp_path, "2.mp4")
    kept.evidence(ref(2, "clip"), "a", clip, clock.now())
    kept.evidence(ref(1), "a", picture, clock.now())
    kept.evidence(ref(1), "b", picture, clock.now())
    assert [(e.ref.kind, e.alarm) for e in kept.pending_evidence(10)] == [
        ("snapshot", "a"),
        ("snapshot", "b"),
        ("clip", "a"),
    ]
    kept.evidence_delivered(ref(1).sha256, "a")
    assert picture.exists()
    assert [e.alarm for e in kept.pending_evidence(10)] == ["b", "a"]
    kept.evidence_delivered(ref(1).sha256)
    assert not picture.exists()
    clip.unlink()
    assert kept.pending_evidence(10) == ()
    kept.flush()
    assert kept.depth() == 0  # nor does a file that vanished wait for ever


def test_space_for_evidence_is_kept_by_dropping_clips_first(kept: Journal, tmp_path: Path, clock: ManualClock) -> None:
    for n in range(4):
        kind = "clip" if n % 2 else "snapshot"
        kept.evidence(ref(n, kind), "a", file(tmp_path, str(n)), clock.now())
    kept.trim_evidence(100)
    assert [e.path.name for e in kept.evidence_of("a")] == ["2"]
    assert kept.state.dropped == {"clip": 2, "snapshot": 1}
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.isdigit()) == ["2"]


def test_only_old_and_delivered_rows_are_trimmed(kept: Journal, clock: ManualClock) -> None:
    old = [kept.alarm(event(clock.advance(1), AlarmChange.CLEARED)) for _ in range(2)]
    kept.delivered([old[0].id])
    kept.tallies([tally(int(clock.wall) // 60 * 60)])
    clock.advance(3 * 86_400)
    new = kept.alarm(event(clock.now()))
    kept.delivered([new.id])
    kept.flush(clock.now())
    assert {e.id for e in kept.recent_alarms(9)} == {old[1].id, new.id}
    assert kept.compliance(0) == ()


def test_a_clock_that_is_never_right_keeps_the_age_but_not_the_size_from_being_bounded(
    kept: Journal, clock: ManualClock
) -> None:
    clock.synced = False
    raised = kept.alarm(event(clock.now(), AlarmChange.CLEARED))
    kept.delivered([raised.id])
    for _ in range(1500):
        kept.reading("gas", clock.advance(300), {"note": "x" * 5000})
    kept.flush(clock.now())
    kept.trim(clock.advance(30 * 86_400))
    assert kept.state.dropped["reading"] > 0
    assert kept.readings("gas", 0)


def test_an_event_of_another_version_is_said_once_and_stands_in_nobodys_way(
    tmp_path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    first = journal(tmp_path, clock)
    for _ in range(20):
        first.alarm(event(clock.now()))
    first.close()
    db = sqlite3.connect(tmp_path / "journal.db")
    db.execute("UPDATE alarm_event SET event=json_set(event, '$.severity', 'of tomorrow') WHERE seq BETWEEN 2 AND 15")
    db.commit()
    db.close()
    second = journal(tmp_path, clock)
    for _ in range(3):
        assert [e.seq for e in second.pending_alarms(5)] == [1, 16, 17, 18, 19]
    assert sum("cannot be read" in r.message for r in caplog.records) == 14
    second.close()


def test_a_card_that_cannot_be_read_silences_nothing(kept: Journal, tmp_path: Path, clock: ManualClock) -> None:
    for _ in range(4000):  # more than SQLite keeps in memory
        kept.reading("gas", clock.advance(1), {"note": "x" * 2000})
        if len(kept.pending_alarms(1)) == 0:
            kept.alarm(event(clock.now()))
    kept.flush()
    with (tmp_path / "journal.db").open("r+b") as file:
        file.truncate(8192)
    with (tmp_path / "journal.db-wal").open("r+b") as file:
        file.truncate(0)
    made = kept.alarm(event(clock.now()))
    assert made in kept.pending_alarms(9)
    assert made in kept.open_alarms()
    assert not kept.state.ok
    assert kept.state.held == 1


def test_over_its_size_the_delivered_go_first_then_readings_then_tallies(kept: Journal, clock: ManualClock) -> None:
    kept.tallies([tally(60 * n) for n in range(30_000)])
    filler = {"note": "x" * 2000}
    for _ in range(1500):
        kept.reading("gas", clock.advance(1), filler)
    waiting = [kept.alarm(event(clock.advance(1))) for _ in range(20)]
    done = [kept.alarm(event(clock.advance(1), AlarmChange.CLEARED)) for _ in range(20)]
    kept.delivered([e.id for e in done])
    kept.trim(clock.now())
    assert kept.pending_alarms(99) == tuple(waiting)
    dropped = kept.state.dropped
    assert dropped["reading"] > 0
    assert "tally" not in dropped or not kept.readings("gas", 0)
    assert len(kept.recent_alarms(99)) == 20
    assert kept.state.ok


def test_a_damaged_file_is_moved_aside_and_its_alarms_saved(tmp_path: Path, clock: ManualClock) -> None:
    first = journal(tmp_path, clock)
    waiting = [first.alarm(event(clock.now())) for _ in range(30)]
    first.tallies([tally(60 * n) for n in range(5000)])
    first.close()
    path = tmp_path / "journal.db"
    content = bytearray(path.read_bytes())
    content[-120_000:-40_000] = b"\xa5" * 80_000
    path.write_bytes(content)
    damaged = path.read_bytes()
    second = journal(tmp_path, clock)
    aside = second.state.moved_aside
    assert aside is not None
    assert aside.read_bytes() == damaged
    assert second.state.salvaged == 30
    assert second.pending_alarms(99) == tuple(waiting)
    assert len(second.open_alarms()) == 30
    assert second.alarm(event(clock.now())).seq == 31
    second.close()


@pytest.mark.parametrize("content", [b"not a database at all" * 500, b"SQLite format 3\0" + b"\xff" * 9000])
def test_any_damaged_file_is_moved_aside_never_overwritten(tmp_path: Path, clock: ManualClock, content: bytes) -> None:
    for number in (1, 2):
        (tmp_path / "journal.db").write_bytes(content)
        kept = journal(tmp_path, clock)
        assert kept.alarm(event(clock.now())).seq == 1
        assert kept.state.moved_aside == tmp_path / f"journal.db.damaged-{number}"
        kept.close()
        (tmp_path / "journal.db").unlink()
    assert (tmp_path / "journal.db.damaged-1").read_bytes() == content


def test_an_empty_file_is_a_new_journal(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "journal.db").touch()
    kept = journal(tmp_path, clock)
    assert kept.alarm(event(clock.now())).seq == 1
    assert kept.state.moved_aside is None
    kept.close()


def test_a_newer_format_is_refused_and_left_alone(tmp_path: Path, clock: ManualClock) -> None:
    journal(tmp_path, clock).close()
    db = sqlite3.connect(tmp_path / "journal.db")
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(JournalError, match="newer program"):
        journal(tmp_path, clock)


_HOLD = """
import sys
from pathlib import Path
from edge.clock import ManualClock
from tests.journal.builders import journal
kept = journal(Path(sys.argv[1]), ManualClock())
print("open", flush=True)
sys.stdin.read()
"""


def test_a_second_node_on_the_same_journal_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(JournalError, match="in use by another program"):
            journal(tmp_path, clock)
        other.kill()
    journal(tmp_path, clock).close()  # its lock died with it


def test_many_threads_one_order(kept: Journal, clock: ManualClock) -> None:
    def work() -> None:
        for _ in range(20):
            made = kept.alarm(event(clock.now()))
            kept.tallies([tally(600, ok=1)])
            kept.delivered([made.id])
            kept.compliance(0)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert kept.compliance(0)[0].ok_s == 120
    assert kept.pending_alarms(999) == ()
    assert sorted(e.seq for e in kept.recent_alarms(999)) == list(range(1, 121))


def test_a_row_that_sqlite_refuses_does_not_keep_alarms_from_disk(kept: Journal, clock: ManualClock) -> None:
    kept.reading("gas", replace(clock.now(), wall=float("nan")), {})  # NaN is NULL to SQLite
    made = kept.alarm(event(clock.now()))
    assert kept.pending_alarms(9) == (made,)
    assert kept.state.held == 0
    assert kept.state.dropped == {"reading": 1}
    assert kept.state.trouble is Trouble.NONE
