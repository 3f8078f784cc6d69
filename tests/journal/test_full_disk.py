"""A disk that takes no more: alarms are kept, sent and written later; the rest goes in the order that was promised."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.clock import ManualClock
from edge.journal.journal import Journal
from edge.journal.rows import Trouble
from edge.values import EvidenceRef
from tests.journal.builders import event, journal, tally


@pytest.fixture
def on_small_disk(small_disk: Path, clock: ManualClock) -> Iterator[Journal]:
    kept = journal(small_disk, clock)
    yield kept
    kept.close()


def fill(folder: Path) -> Path:
    """Take all that is left."""
    path = folder / "somebody-elses.log"
    with path.open("ab", buffering=0) as file:
        for size in (65536, 4096):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return path


def test_clips_go_before_snapshots_before_readings_before_tallies(
    on_small_disk: Journal, small_disk: Path, clock: ManualClock
) -> None:
    kept = on_small_disk
    for n, kind in enumerate(["clip"] * 3 + ["snapshot"] * 3):
        path = small_disk / f"{n}"
        path.write_bytes(b"x" * 50_000)
        kept.evidence(EvidenceRef(f"{n:064x}", kind, 50_000), "a", path, clock.now())
    for n in range(300):
        kept.reading("gas", clock.advance(1), {"note": "x" * 500})
        kept.tallies([tally(60 * n)])
    kept.flush()
    fill(small_disk)
    accepted = []
    order: list[str] = []
    while "tally" not in order:
        accepted.append(kept.alarm(event(clock.advance(1))))
        order += [kind for kind in kept.state.dropped if kind not in order]
        assert len(accepted) < 5000
        fill(small_disk)  # whoever fills the disk takes what was freed
    assert order == ["clip", "snapshot", "reading", "tally"]
    assert kept.pending_alarms(9999) == tuple(accepted)
    assert kept.state.lost == 0


def test_when_nothing_is_left_to_drop_alarms_wait_in_memory_and_are_written_later(
    small_disk: Path, clock: ManualClock
) -> None:
    kept = journal(small_disk, clock)
    accepted = [kept.alarm(event(clock.now()))]
    log = fill(small_disk)
    while kept.state.held < 5:
        accepted.append(kept.alarm(event(clock.advance(1))))
        assert len(accepted) < 5000
        fill(small_disk)
    assert kept.state.trouble is Trouble.DISK_FULL
    assert kept.pending_alarms(9999) == tuple(accepted)
    assert kept.open_alarms() == tuple(accepted)
    kept.delivered([accepted[-1].id])
    assert kept.pending_alarms(9999) == tuple(accepted[:-1])
    log.unlink()
    kept.flush()
    assert (kept.state.trouble, kept.state.held) == (Trouble.NONE, 0)
    kept.close()
    again = journal(small_disk, clock)
    assert again.pending_alarms(9999) == tuple(accepted[:-1])
    assert again.state.moved_aside is None
    again.close()


def test_a_lasting_want_of_room_is_said_once(
    small_disk: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    kept = journal(small_disk, clock)
    (small_disk / "journal.db.reserve").unlink()
    log = small_disk / "somebody-elses.log"

    def a_minute_of(room: int) -> list[str]:
        caplog.clear()
        fill(small_disk)
        with log.open("ab") as file:
            file.truncate(log.stat().st_size - room)
        for _ in range(60):
            kept.reading("node", clock.advance(1), {"fps": 5.0})
            kept.flush(clock.now())
        return [r.message.partition(":")[0] for r in caplog.records]

    assert a_minute_of(room=100_000) == ["no room for the journal's reserve"]
    assert a_minute_of(room=100_000) == []  # it is as it was
    assert kept.state.ok
    assert sorted(set(said := a_minute_of(room=0))) == sorted(said)  # whatever it is, it is said once
    log.unlink()
    kept.flush()
    assert (small_disk / "journal.db.reserve").exists()
    assert a_minute_of(room=100_000) == []  # the reserve is there
    kept.close()


@pytest.fixture
def file_size_limit() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_refuses_to_write(tmp_path: Path, clock: ManualClock, file_size_limit: None) -> None:
    kept = journal(tmp_path, clock)
    accepted = [kept.alarm(event(clock.now()))]
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    accepted += [kept.alarm(event(clock.now())) for _ in range(20)]
    state = kept.state
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert state.trouble in (Trouble.IO, Trouble.DISK_FULL)
    assert state.held == 20
    assert kept.pending_alarms(99) == tuple(accepted)
    kept.flush()
    assert (kept.state.trouble, kept.state.held) == (Trouble.NONE, 0)
    kept.close()
    again = journal(tmp_path, clock)
    assert again.pending_alarms(99) == tuple(accepted)
    again.close()


def test_a_journal_that_cannot_be_made_is_kept_in_memory_and_says_so(small_disk: Path, clock: ManualClock) -> None:
    fill(small_disk)
    kept = journal(small_disk, clock)
    made = kept.alarm(event(clock.now()))
    assert kept.pending_alarms(9) == (made,)
    assert kept.state.trouble is not Trouble.NONE
    assert "memory" in kept.state.detail
    kept.close()
