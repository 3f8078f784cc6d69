"""The journal's SQLite file: opening, checking, schema.

Durability, chosen for power cuts on an SD card: write-ahead log with `synchronous=FULL`, so each commit is on the card
when it returns (NORMAL would lose the last ones, a rollback journal writes every page twice at scattered places).
A card wears by writes: therefore only alarms are committed one by one, all else once in ten seconds. One process, one
connection, `locking_mode=EXCLUSIVE`: no shared-memory file, and a second program on the same journal is refused.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from edge.journal.rows import JournalError, Trouble

# Alarms carry an AUTOINCREMENT key: a number that was once sent is never used again, even when its row is gone.
_FIRST = """
CREATE TABLE alarm_event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    alarm TEXT NOT NULL,
    wall REAL NOT NULL, mono REAL NOT NULL, boot TEXT NOT NULL, synced INTEGER NOT NULL,
    event TEXT NOT NULL,
    delivered REAL
) STRICT;
CREATE INDEX alarm_event_waiting ON alarm_event (seq) WHERE delivered IS NULL;
CREATE INDEX alarm_event_done ON alarm_event (wall) WHERE delivered IS NOT NULL;
CREATE INDEX alarm_event_alarm ON alarm_event (alarm, seq);

CREATE TABLE open_alarm (alarm TEXT PRIMARY KEY, seq INTEGER NOT NULL, event TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE tally (
    minute INTEGER NOT NULL, source TEXT NOT NULL, place TEXT NOT NULL, rule TEXT NOT NULL,
    boot TEXT NOT NULL,     -- empty once the minute is right; else the boot whose clock was not
    base REAL NOT NULL,     -- wall - mono of that clock, s
    ok_s INTEGER NOT NULL, violation_s INTEGER NOT NULL, unknown_s INTEGER NOT NULL, breach_s INTEGER NOT NULL,
    subjects INTEGER NOT NULL,
    delivered INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (minute, source, place, rule, boot)
) STRICT, WITHOUT ROWID;

CREATE TABLE evidence (
    sha256 TEXT NOT NULL, alarm TEXT NOT NULL, kind TEXT NOT NULL, bytes INTEGER NOT NULL, path TEXT NOT NULL,
    wall REAL NOT NULL, mono REAL NOT NULL, boot TEXT NOT NULL, synced INTEGER NOT NULL,
    PRIMARY KEY (sha256, alarm)
) STRICT;
CREATE INDEX evidence_alarm ON evidence (alarm);

CREATE TABLE reading (
    name TEXT NOT NULL,
    wall REAL NOT NULL, mono REAL NOT NULL, boot TEXT NOT NULL, synced INTEGER NOT NULL,
    content TEXT NOT NULL
) STRICT;
CREATE INDEX reading_wall ON reading (wall);
"""

# Points for InfluxDB: which are written, and which wait, found without reading years of those that do not.
_POINTS = """
ALTER TABLE alarm_event ADD COLUMN written INTEGER NOT NULL DEFAULT 0;
CREATE INDEX alarm_event_unwritten ON alarm_event (seq) WHERE written = 0;
CREATE INDEX tally_waiting ON tally (minute, source, place, rule) WHERE delivered = 0 AND boot = '';
"""

_STEPS = (_FIRST, _POINTS)
"""What leads from each format to the next."""
VERSION = len(_STEPS)


def trouble_of(error: sqlite3.DatabaseError) -> Trouble:
    """What a failed write means."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_FULL"):
        return Trouble.DISK_FULL
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
        return Trouble.READ_ONLY
    if name.startswith("SQLITE_IOERR"):
        return Trouble.IO
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return Trouble.CORRUPT
    return Trouble.DATABASE


def connect(path: Path) -> sqlite3.Connection:
    """Open and prepare the file. Raises sqlite3.DatabaseError for a damaged one, JournalError for an unusable one."""
    try:
        db = sqlite3.connect(path, timeout=2.0, isolation_level=None, check_same_thread=False)
    except sqlite3.OperationalError as error:
        raise JournalError(f"cannot open the journal {path}: {error}; is the folder there and writable?") from error
    try:
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA journal_size_limit=4194304")
        db.execute("BEGIN IMMEDIATE")
        _migrate(db, path)
        db.execute("COMMIT")
    except sqlite3.OperationalError as error:
        db.close()
        if error.sqlite_errorname.startswith("SQLITE_BUSY"):
            raise JournalError(f"the journal {path} is in use by another program; stop the other node first") from error
        raise
    except (sqlite3.DatabaseError, JournalError):
        db.close()
        raise
    return db


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise JournalError(
            f"the journal {path} was written by a newer program (format {version}, this one knows {VERSION}); "
            "install that version again, or move the file away"
        )
    for step in _STEPS[version:]:
        for statement in step.split(";\n"):
            db.execute(statement)
    if version < VERSION:  # else the file stays as it is
        db.execute(f"PRAGMA user_version={VERSION}")


def is_sound(db: sqlite3.Connection) -> bool:
    """Whether SQLite finds the file in order. Reads all of it: some ten seconds for 500 MB on an SD card."""
    try:
        return bool(db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.DatabaseError:
        return False


def move_aside(path: Path) -> Path:
    """Rename a damaged database, with its log, to a name that is free; nothing is overwritten. Gives the new name."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for suffix in ("-wal", "-shm"):
        log = path.with_name(path.name + suffix)
        if log.exists():
            log.rename(aside.with_name(aside.name + suffix))
    path.rename(aside)
    return aside


def salvage(aside: Path) -> tuple[list[str], list[str], int]:
    """What can still be read of a damaged journal: events that wait, open alarms (both as stored), highest seq."""
    waiting: list[str] = []
    still_open: list[str] = []
    highest = 0
    db = sqlite3.connect(aside, isolation_level=None)
    try:
        # One query each, row by row: what comes before the damage is kept.
        for query, rows in (
            ("SELECT event FROM alarm_event NOT INDEXED WHERE delivered IS NULL ORDER BY seq", waiting),
            ("SELECT event FROM open_alarm ORDER BY seq", still_open),
        ):
            try:
                rows.extend(text for (text,) in db.execute(query))
            except sqlite3.DatabaseError:
                continue
        for query in ("SELECT seq FROM sqlite_sequence WHERE name='alarm_event'", "SELECT MAX(seq) FROM open_alarm"):
            try:
                (seq,) = db.execute(query).fetchone() or (0,)
            except sqlite3.DatabaseError:
                continue
            highest = max(highest, seq or 0)
    finally:
        db.close()
    return waiting, still_open, highest
