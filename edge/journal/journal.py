"""The journal: everything that must not be lost is here before anything is sent. SQLite, and this its only writer.

What is promised (and why it is set up so: `edge.journal.database`):

* An alarm event is on disk when `alarm` returns. Where the disk refuses, the event is kept in memory, still handed to
  the uplink, written as soon as the disk lets it, and `state` says so: a broken card must not silence an alarm.
* Tallies, readings, evidence records and confirmations are gathered in memory and committed together, with the next
  alarm or after `COMMIT_EVERY_S`. A power cut loses at most that; a lost confirmation only means a second sending.
* A full disk first gives up the reserve file and then drops clips, snapshots, readings, tallies, oldest first, in
  this order. Alarm events go only once they are delivered (and old), never before.
* A damaged file is moved aside, what can be read of its waiting and open alarms is taken over, and a new one begins.

Every method may be called from any thread; none waits longer than the disk does.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge.clock import Clock, Stamp
from edge.journal.codec import decode, encode, redated_event
from edge.journal.database import connect, is_sound, move_aside, salvage, trouble_of
from edge.journal.rows import Compliance, JournalState, Reading, StoredEvidence, Trouble
from edge.site.model import JournalSettings
from edge.values import AlarmChange, AlarmEvent, EvidenceRef, Instance, Tally

log = logging.getLogger(__name__)

COMMIT_EVERY_S = 10.0
TRIM_EVERY_S = 600.0
MAX_HELD = 10_000
"""Alarm events kept in memory while the disk refuses: some 20 MB, a week of a busy site."""
RESERVE_BYTES = 1024 * 1024
"""A file that is given up when the disk is full: without it, not even a deletion finds room for its log."""
MAX_BUFFERED = 2_000
"""Pieces of other work kept in memory while the disk refuses; the oldest goes first."""
MAX_MEMORY_MB = 32
"""What the journal may take where it had to begin in memory."""
MAX_CONFIRMED = 2_500
"""Points confirmed that are kept in memory for the next commit. Where the disk refuses, twice that; then no more points
are handed out."""
MANY = 100_000
"""Rows that wait are counted no further: the count must not hold up an alarm."""
_BATCH = 500
_FORGET_EVIDENCE = "DELETE FROM evidence WHERE sha256=? AND alarm=?"

Work = Callable[[sqlite3.Connection], object]


class Journal:
    """See the module. `confirm_*`: whether somebody will confirm such rows; where nobody will, age alone counts.

    Points are what InfluxDB gets: tallies, readings and, beside the way to dispatch, alarm events. What was gathered
    while there was no InfluxDB waits for one that comes later.

    Raises JournalError where the file is in use or of a newer program.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        settings: JournalSettings,
        *,
        confirm_alarms: bool = True,
        confirm_points: bool = False,
    ) -> None:
        self._path = path
        self._clock = clock
        self._settings = settings
        self._confirm_alarms = confirm_alarms
        self._confirm_points = confirm_points
        self._lock = threading.RLock()
        self._state = JournalState()
        self._dropped: Counter[str] = Counter()
        self._reserve = path.with_name(path.name + ".reserve")
        # Not yet on disk:
        self._held: dict[str, AlarmEvent] = {}
        self._confirmed: set[str] = set()
        self._written: set[str] = set()
        self._tallies_confirmed: dict[tuple[int, str, str, str], tuple[int, ...]] = {}
        self._readings_confirmed: set[tuple[int, float]] = set()
        self._buffer: deque[tuple[str, Work]] = deque(maxlen=MAX_BUFFERED)
        self._tallies: dict[tuple[Instance, int, str], tuple[Tally, float]] = {}  # with wall - mono of their clock
        self._base: float | None = None  # of this boot's clock while it was not right, for tallies
        self._unreadable: set[int] = set()
        self._warned: dict[str, str] = {}  # what does not work, and how: said when it begins, not each time
        self._db = self._open()
        self._next_seq = self._last_seq() + 1
        now = clock.now()
        self._committed = self._trimmed = now.mono
        self._redated = False
        self._right: Stamp | None = None  # the last moment of this boot at which its clock was right
        self._watch_clock(now)  # an earlier run of this boot may have left dates to put right
        self._fill_reserve()

    # -- alarms ------------------------------------------------------------------------------------------------------

    def alarm(self, event: AlarmEvent) -> AlarmEvent:
        """Keep an alarm event; gives it back with its `seq`. An event that is kept already keeps its first `seq`."""
        with self._lock:
            now = self._clock.now()
            self._redated &= now.synced
            known = self._held.get(event.id) or self._find(event.id)
            if known is not None:
                return known
            event = replace(redated_event(event, now), seq=self._next_seq)
            self._next_seq += 1
            if len(self._held) >= MAX_HELD:
                self._state = replace(self._state, lost=self._state.lost + 1)
                log.error("alarm event %s lost: the journal cannot be written and %d are held", event.id, MAX_HELD)
                return event
            self._held[event.id] = event
            self._commit(now)
            return event

    def open_alarms(self) -> tuple[AlarmEvent, ...]:
        """The newest event of every alarm that is not cleared, in the order of the journal."""
        with self._lock:
            rows = self._rows("SELECT event FROM open_alarm")
            still_open = {e.alarm: e for e in self._events(text for (text,) in rows)}
            for event in self._held.values():
                still_open[event.alarm] = event
        return tuple(
            sorted((e for e in still_open.values() if e.change is not AlarmChange.CLEARED), key=lambda e: e.seq)
        )

    def recent_alarms(self, limit: int) -> tuple[AlarmEvent, ...]:
        """The newest event of each of the `limit` newest alarms and of every open one, newest first."""
        wanted: dict[str, AlarmEvent] = {}
        with self._lock:
            held = sorted(self._held.values(), key=lambda e: e.seq, reverse=True)
            # From the newest back, and no further than needed: the journal may hold years.
            rows = self._rows("SELECT event FROM alarm_event ORDER BY seq DESC")
            for event in chain(held, self._events(text for (text,) in rows)):
                if len(wanted) >= limit:
                    break
                wanted.setdefault(event.alarm, event)
            for event in self.open_alarms():
                wanted.setdefault(event.alarm, event)
        return tuple(sorted(wanted.values(), key=lambda e: e.seq, reverse=True))

    def alarm_history(self, alarm: str) -> tuple[AlarmEvent, ...]:
        """All events of one alarm that are still here, oldest first; empty for an unknown id."""
        with self._lock:
            rows = self._rows("SELECT event FROM alarm_event WHERE alarm=? ORDER BY seq", (alarm,))
            written = tuple(self._events(text for (text,) in rows))
            return (*written, *(e for e in self._held.values() if e.alarm == alarm))

    def pending_alarms(self, limit: int, after_seq: int = 0) -> tuple[AlarmEvent, ...]:
        """Events that wait for delivery, in the order of `seq`, those above `after_seq` only."""
        with self._lock:
            rows = self._rows(
                "SELECT id, event FROM alarm_event WHERE delivered IS NULL AND seq > ? ORDER BY seq", (after_seq,)
            )
            waiting = self._events(text for (event_id, text) in rows if event_id not in self._confirmed)
            events = list(islice(waiting, limit))
            if self._confirm_alarms:
                events += [e for e in self._held.values() if e.seq > after_seq and e.id not in self._confirmed]
        return tuple(sorted(events, key=lambda e: e.seq)[:limit])

    def delivered(self, ids: Collection[str]) -> None:
        """The far end has stored these events. Ids that are not waiting are ignored."""
        with self._lock:
            marks = ",".join("?" * len(ids))
            waiting = self._rows(
                f"SELECT id FROM alarm_event WHERE delivered IS NULL AND id IN ({marks})",  # noqa: S608 only marks
                tuple(ids),
            )
            self._confirmed.update(event_id for (event_id,) in waiting)
            self._confirmed.update(event_id for event_id in ids if event_id in self._held)

    def unwritten_alarms(self, limit: int) -> tuple[AlarmEvent, ...]:
        """Events whose points wait for InfluxDB, in the order of `seq`, none of doubtful date."""
        with self._lock:
            limit = self._to_hand_out(limit)
            rows = self._rows("SELECT id, event FROM alarm_event WHERE written = 0 AND synced = 1 ORDER BY seq")
            waiting = self._events(text for (event_id, text) in rows if event_id not in self._written)
            events = list(islice(waiting, limit))
            events += [e for e in self._held.values() if e.at.synced and e.id not in self._written]
        return tuple(sorted(events, key=lambda e: e.seq)[:limit])

    def alarms_written(self, ids: Collection[str]) -> None:
        """InfluxDB has stored the points of these events."""
        with self._lock:
            self._written.update(ids)
            self._bound_confirmations()

    def depth(self, *, evidence: bool = True) -> int:
        """How many alarm events and, unless nobody takes them, evidence files wait for delivery."""
        with self._lock:
            rows = self._number("SELECT COUNT(*) FROM alarm_event WHERE delivered IS NULL")
            files = self._number("SELECT COUNT(*) FROM evidence") if evidence else 0
            waiting = rows + len(self._held) - len(self._confirmed) if self._confirm_alarms else 0
            return max(waiting, 0) + files

    # -- tallies and readings ----------------------------------------------------------------------------------------

    def tallies(self, rows: Iterable[Tally]) -> None:
        """Add these seconds to what their minutes have already; `subjects` keeps the higher number."""
        with self._lock:
            now = self._clock.now()
            self._redated &= now.synced
            boot = "" if now.synced else now.boot
            base = now.wall - now.mono
            for given in rows:
                row = given
                if boot:
                    # A clock that is not right may jump, and into minutes that it was in already: all minutes of this
                    # boot are therefore kept as the clock had them that it began with.
                    if self._base is None:
                        self._base = self._first_base(boot)
                    self._base = base if self._base is None else self._base
                    row = replace(given, minute=_minute(given.minute + self._base - base))
                key = (row.instance, row.minute, boot)
                had, _ = self._tallies.get(key, (None, base))
                self._tallies[key] = (
                    row if had is None else _sum(had, row),
                    base if self._base is None else self._base,
                )

    def _first_base(self, boot: str) -> float | None:
        """Wall - mono of the clock that this boot began with, if an earlier run of it has left minutes."""
        (base,) = next(self._rows("SELECT base FROM tally WHERE boot=? LIMIT 1", (boot,)), (None,))
        return None if base is None else float(base)

    def compliance(self, since: float) -> tuple[Compliance, ...]:
        """Seconds per rule instance in the minutes from `since` (Unix s) on, sorted by instance."""
        return self._compliance(since, "NULL")

    def compliance_hours(self, since: float) -> tuple[Compliance, ...]:
        """The same per rule instance and hour (of Unix time), sorted by hour and instance."""
        return self._compliance(since, "minute - minute % 3600")

    def _compliance(self, since: float, hour: str) -> tuple[Compliance, ...]:
        with self._lock:
            rows = tuple(
                self._rows(
                    f"SELECT source, place, rule, {hour} AS hour, SUM(ok_s), SUM(violation_s), SUM(unknown_s), "  # noqa: S608
                    "SUM(breach_s) FROM tally WHERE minute >= ? GROUP BY source, place, rule, hour",
                    (since,),
                )
            )
            fresh = [t for t, _ in self._tallies.values() if t.minute >= since]
        sums: dict[tuple[Instance, int | None], list[int]] = {}
        for source, place, rule, start, *seconds in rows:
            sums[Instance(source, place, rule), start] = seconds
        for t in fresh:
            start = None if hour == "NULL" else t.minute - t.minute % 3600
            had = sums.setdefault((t.instance, start), [0, 0, 0, 0])
            sums[t.instance, start] = [
                a + b for a, b in zip(had, (t.ok_s, t.violation_s, t.unknown_s, t.breach_s), strict=True)
            ]
        ordered = sorted(sums.items(), key=lambda item: (item[0][1] or 0, str(item[0][0])))
        return tuple(
            Compliance(instance, ok, bad, dim, breach, start) for (instance, start), (ok, bad, dim, breach) in ordered
        )

    def pending_tallies(self, before: int, limit: int) -> tuple[Tally, ...]:
        """Minutes that started before `before` (Unix s) and wait for delivery, oldest first, none of doubtful date."""
        with self._lock:
            limit = self._to_hand_out(limit)
            rows = self._rows(
                "SELECT source, place, rule, minute, ok_s, violation_s, unknown_s, breach_s, subjects FROM tally "
                "WHERE delivered = 0 AND boot = '' AND minute < ? ORDER BY minute, source, place, rule LIMIT ?",
                (before, limit + len(self._tallies_confirmed)),
            )
            tallies = (Tally(Instance(*row[:3]), *row[3:]) for row in rows)
            waiting = (t for t in tallies if self._tallies_confirmed.get(_key(t)) != _seconds(t))
            return tuple(islice(waiting, limit))

    def hours_of(self, minutes: Iterable[Tally], before: int) -> tuple[Tally, ...]:
        """The whole hours that these minutes belong to, as far as they started before `before` (Unix s).

        `minute` is then the start of the hour, of Unix time.
        """
        wanted = dict.fromkeys((t.minute - t.minute % 3600, t.instance) for t in minutes)
        sums: dict[tuple[int, Instance], Tally] = {}
        with self._lock:
            for hour in dict.fromkeys(hour for hour, _ in wanted):
                for source, place, rule, *numbers in self._rows(
                    "SELECT source, place, rule, SUM(ok_s), SUM(violation_s), SUM(unknown_s), SUM(breach_s), "
                    "MAX(subjects) FROM tally WHERE minute >= ? AND minute < ? AND boot = '' "
                    "GROUP BY source, place, rule",
                    (hour, min(hour + 3600, before)),
                ):
                    instance = Instance(source, place, rule)
                    sums[hour, instance] = Tally(instance, hour, *numbers)
        return tuple(sums[key] for key in wanted if key in sums)

    def tallies_delivered(self, rows: Iterable[Tally]) -> None:
        """The far end has stored these rows. One that has grown since keeps waiting, to be sent again whole."""
        with self._lock:
            self._tallies_confirmed.update((_key(t), _seconds(t)) for t in rows)
            self._bound_confirmations()

    def reading(self, name: str, at: Stamp, values: Mapping[str, float | int | str | None]) -> None:
        """Keep the numbers of a sensor, or of the node itself, at one instant."""
        content = json.dumps(dict(values))
        row = (name, at.wall, at.mono, at.boot, at.synced, content)
        self._later(
            "reading",
            lambda db: db.execute("INSERT INTO reading VALUES (?,?,?,?,?,?)", row),
        )

    def readings(self, name: str, since: float, limit: int = 10_000) -> tuple[Reading, ...]:
        """Committed readings from `since` (Unix s) on, oldest first."""
        with self._lock:
            return self._readings("name=? AND wall>=? ORDER BY wall LIMIT ?", (name, since, limit))

    def pending_readings(self, limit: int) -> tuple[Reading, ...]:
        """Committed readings that wait for delivery, in their order, none of doubtful date."""
        with self._lock:
            limit = self._to_hand_out(limit)
            rows = self._readings("synced = 1 ORDER BY rowid LIMIT ?", (limit + len(self._readings_confirmed),))
            return tuple(islice((r for r in rows if (r.number, r.at.wall) not in self._readings_confirmed), limit))

    def readings_delivered(self, rows: Iterable[Reading]) -> None:
        """The far end has stored these readings; they are deleted here."""
        with self._lock:
            self._readings_confirmed.update((r.number, r.at.wall) for r in rows)
            self._bound_confirmations()

    def _bound_confirmations(self) -> None:
        """Write them at once where they are many, as after an outage; else they wait for the next commit."""
        if self._points_confirmed() >= MAX_CONFIRMED:
            self._commit(self._clock.now())

    def _to_hand_out(self, limit: int) -> int:
        return limit if self._points_confirmed() < 2 * MAX_CONFIRMED else 0

    def _points_confirmed(self) -> int:
        return len(self._written) + len(self._tallies_confirmed) + len(self._readings_confirmed)

    def _readings(self, which: str, args: tuple[object, ...]) -> tuple[Reading, ...]:
        rows = self._rows(f"SELECT name, wall, mono, boot, synced, content, rowid FROM reading WHERE {which}", args)  # noqa: S608
        return tuple(
            Reading(name, Stamp(w, m, b, bool(s)), json.loads(content), number)
            for name, w, m, b, s, content, number in rows
        )

    def points_waiting(self) -> int:
        """How many alarm events, minutes and readings wait for InfluxDB, and can be dated; never more than `MANY`."""
        with self._lock:
            waiting = (
                "alarm_event WHERE written = 0 AND synced = 1",
                "tally WHERE delivered = 0 AND boot = ''",
                "reading",
            )
            rows = sum(self._number(f"SELECT COUNT(*) FROM (SELECT 1 FROM {which} LIMIT {MANY})") for which in waiting)  # noqa: S608
            return max(0, min(MANY, rows + len(self._held) - self._points_confirmed()))

    # -- evidence ----------------------------------------------------------------------------------------------------

    def evidence(self, ref: EvidenceRef, alarm: str, path: Path, stamp: Stamp) -> None:
        """Keep the record of a file that is on disk, synced, under `path`; one file may belong to several alarms."""
        row = (ref.sha256, alarm, ref.kind, ref.bytes, str(path), stamp.wall, stamp.mono, stamp.boot, stamp.synced)
        with self._lock:
            # At once: a file without its record is never sent and never deleted. Rare enough for the card.
            self._later(
                ref.kind, lambda db: db.execute("INSERT OR REPLACE INTO evidence VALUES (?,?,?,?,?,?,?,?,?)", row)
            )
            self._commit(self._clock.now())

    def pending_evidence(self, limit: int) -> tuple[StoredEvidence, ...]:
        """Files that wait to be uploaded: snapshots before clips, oldest first. Vanished files lose their records."""
        return self._evidence("", (), "ORDER BY kind != 'snapshot', rowid", limit)

    def evidence_of(self, alarm: str) -> tuple[StoredEvidence, ...]:
        """Files of one alarm that are still on this node, oldest first."""
        return self._evidence("WHERE alarm=?", (alarm,), "ORDER BY rowid", -1)

    def _evidence(self, where: str, args: tuple[str, ...], order: str, limit: int) -> tuple[StoredEvidence, ...]:
        with self._lock:
            rows = self._rows(
                "SELECT sha256, kind, bytes, alarm, path, wall, mono, boot, synced FROM evidence "  # noqa: S608 fixed words
                f"{where} {order} LIMIT ?",
                (*args, limit),
            )
            records = [
                StoredEvidence(EvidenceRef(*row[:3]), row[3], Path(row[4]), Stamp(row[5], row[6], row[7], bool(row[8])))
                for row in rows
            ]
            found = tuple(e for e in records if e.path.exists())
            # Killed between the file and its record, or deleted by hand. A folder that is away (a disk not mounted)
            # proves nothing.
            gone = [(e.ref.sha256, e.alarm) for e in records if not e.path.exists() and e.path.parent.is_dir()]
            if gone:
                self._later("trimming", partial(_execute_many, query=_FORGET_EVIDENCE, rows=gone))
        return found

    def evidence_delivered(self, sha256: str, alarm: str | None = None) -> None:
        """The far end has stored the file, for this alarm or for all it belongs to: the last record takes it along."""
        with self._lock:
            known = self._evidence("WHERE sha256=?", (sha256,), "", -1)
            done = [e for e in known if alarm is None or e.alarm == alarm]
            if done and len(done) == len(known):
                self._unlink(e.path for e in known)
            keys = [(sha256, e.alarm) for e in done]
            self._later("confirmation", partial(_execute_many, query=_FORGET_EVIDENCE, rows=keys))
            self._commit(self._clock.now())

    def trim_evidence(self, max_bytes: int) -> int:
        """Drop clips, then snapshots, oldest first, until the files take at most `max_bytes`. Gives how many went."""
        with self._lock:
            gone = 0
            while self._evidence_bytes() > max_bytes:
                step = self._drop_evidence("clip", 1) or self._drop_evidence("snapshot", 1)
                if not step:
                    break
                gone += step
            return gone

    def _evidence_bytes(self) -> int:
        return self._number("SELECT COALESCE(SUM(bytes), 0) FROM (SELECT DISTINCT sha256, bytes FROM evidence)")

    # -- time --------------------------------------------------------------------------------------------------------

    def flush(self, stamp: Stamp | None = None) -> None:
        """Commit what is gathered: at once, or, given a stamp, when `COMMIT_EVERY_S` have passed.

        Also puts dates right once the clock is, writes what the disk refused before, and trims. Call it every second.
        """
        with self._lock:
            now = self._clock.now()
            self._watch_clock(now)
            if stamp is None or abs(stamp.mono - self._committed) >= COMMIT_EVERY_S:
                self._committed = (stamp or now).mono
                self._commit(now)
                if self._state.ok:
                    self._fill_reserve()
            if now.mono - self._trimmed >= TRIM_EVERY_S:
                self.trim(now)

    def _watch_clock(self, now: Stamp) -> None:
        if not now.synced:
            self._redated = False
            return
        self._right = now
        if not self._redated:
            self.redate(now)

    def redate(self, stamp: Stamp) -> None:
        """Put right the dates of what this boot wrote before its clock was: `stamp` is synchronised.

        Alarm events, open alarms, evidence, readings; tallies move to their true minute and are released for sending.
        Rows of an earlier boot stay as they are, for nothing tells how far off they were; its readings go.
        """
        if not stamp.synced:
            return

        def work(db: sqlite3.Connection) -> None:
            for table, key in (("alarm_event", "seq"), ("open_alarm", "alarm")):
                where = "WHERE boot=? AND synced=0" if table == "alarm_event" else "WHERE ?!=''"
                rows = db.execute(f"SELECT {key}, event FROM {table} {where}", (stamp.boot,)).fetchall()  # noqa: S608
                for row, text in rows:
                    for event in self._events([text]):
                        right = redated_event(event, stamp)
                        db.execute(f"UPDATE {table} SET event=? WHERE {key}=?", (encode(right), row))  # noqa: S608
                        if table == "alarm_event":
                            db.execute("UPDATE alarm_event SET wall=?, synced=1 WHERE seq=?", (right.at.wall, row))
            for table in ("evidence", "reading"):
                db.execute(
                    f"UPDATE {table} SET wall = ? + mono, synced = 1 WHERE boot=? AND synced=0",  # noqa: S608
                    (stamp.wall - stamp.mono, stamp.boot),
                )
            db.execute("DELETE FROM reading WHERE synced=0")  # those of an earlier boot nobody can date any more
            for minute, *rest in db.execute(
                "SELECT minute, base, source, place, rule, ok_s, violation_s, unknown_s, breach_s, subjects "
                "FROM tally WHERE boot=?",
                (stamp.boot,),
            ).fetchall():
                base, source, place, rule, *seconds = rest
                true = _minute(minute + (stamp.wall - stamp.mono) - base)
                _add_tally(db, Tally(Instance(source, place, rule), true, *seconds), "", 0.0)
            db.execute("DELETE FROM tally WHERE boot=?", (stamp.boot,))

        with self._lock:
            self._buffer_tallies()
            self._held = {event_id: redated_event(e, stamp) for event_id, e in self._held.items()}
            self._later("redating", work)
            self._commit(stamp)
            self._redated = True

    def trim(self, now: Stamp) -> None:
        """Keep to `max_days` and `max_mb`: first what is delivered and oldest; for space, then readings and tallies.

        Age is judged only by a clock that is right.
        """
        with self._lock:
            self._trimmed = now.mono
            before = (now.wall - self._settings.max_days * 86_400) // 3600 * 3600  # an hour goes whole
            for query in (
                "DELETE FROM alarm_event WHERE delivered IS NOT NULL AND wall < ? AND (written >= ? OR synced = 0)",
                "DELETE FROM reading WHERE wall < ?",
                "DELETE FROM tally WHERE minute < ? AND (delivered >= ? OR boot != '')",
            ):
                args = (before, int(self._confirm_points))[: query.count("?")]
                if now.synced:
                    self._later("trimming", partial(_execute, query=query, args=args))
            self._commit(now)
            in_memory = self._is_in_memory()
            max_bytes = min(self._settings.max_mb, MAX_MEMORY_MB if in_memory else self._settings.max_mb) * 1_000_000
            while self._used_bytes() > max_bytes and (self._state.ok or in_memory):
                if not (
                    self._drop_delivered(written=self._confirm_points)
                    or self._drop_rows("reading")
                    or self._drop_rows("tally")
                    or self._drop_delivered(written=False)
                ):
                    break

    # -- state -------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> JournalState:
        """How the journal is, now."""
        with self._lock:
            return replace(self._state, held=len(self._held), dropped=dict(self._dropped))

    def close(self) -> None:
        """Commit what is gathered and close the file. The journal must not be used after this."""
        with self._lock:
            now = self._clock.now()
            self._watch_clock(now)
            if not now.synced and self._right is not None:  # nobody will know better: its monotonic clock ends here
                since = now.mono - self._right.mono
                self.redate(replace(self._right, wall=self._right.wall + since, mono=now.mono))
            self._commit(now)
            self._db.close()

    # -- below: not for others ---------------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        if not self._path.exists():
            return self._connect_or_memory()
        try:
            db = connect(self._path)
        except sqlite3.DatabaseError as error:
            if trouble_of(error) is not Trouble.CORRUPT:
                return self._in_memory(error)
        else:
            if is_sound(db):
                return db
            db.close()
        aside = move_aside(self._path)
        log.error("the journal %s was damaged; moved to %s, a new one is begun", self._path, aside)
        db = self._connect_or_memory()
        self._state = replace(self._state, moved_aside=aside, salvaged=self._salvage(db, aside))
        return db

    def _connect_or_memory(self) -> sqlite3.Connection:
        try:
            return connect(self._path)
        except sqlite3.DatabaseError as error:
            return self._in_memory(error)

    def _in_memory(self, error: sqlite3.DatabaseError) -> sqlite3.Connection:
        # A node without a disk still watches and still sends; `state` tells that a restart would lose what waits.
        log.error("the journal %s cannot be written (%s); kept in memory until the next start", self._path, error)
        self._state = replace(
            self._state, trouble=trouble_of(error), detail=f"{error}; kept in memory until the next start"
        )
        return connect(Path(":memory:"))

    def _salvage(self, db: sqlite3.Connection, aside: Path) -> int:
        waiting, still_open, highest = salvage(aside)
        events: dict[str, AlarmEvent] = {}
        for event in self._events((*waiting, *still_open)):
            events[event.id] = event
        db.execute("BEGIN IMMEDIATE")
        for event in sorted(events.values(), key=lambda e: e.seq):
            self._insert(db, event)
        top = max([highest, *(e.seq for e in events.values())])
        db.execute("DELETE FROM sqlite_sequence WHERE name='alarm_event'")
        db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('alarm_event', ?)", (top,))
        db.execute("COMMIT")
        return len(events)

    def _last_seq(self) -> int:
        return self._number("SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name='alarm_event'")

    def _find(self, event_id: str) -> AlarmEvent | None:
        rows = self._rows("SELECT event FROM alarm_event WHERE id=?", (event_id,))
        return next(self._events(text for (text,) in rows), None)

    def _rows(self, query: str, args: tuple[object, ...] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, one by one. Where the disk cannot be read, they end, and `state` says why."""
        try:
            yield from self._db.execute(query, args)
        except sqlite3.DatabaseError as error:
            self._note_trouble(error, "be read")

    def _number(self, query: str) -> int:
        return int(next(self._rows(query), (0,))[0])

    def _events(self, texts: Iterable[str]) -> Iterator[AlarmEvent]:
        """The events of rows. One that cannot be read (another version's) is said in the log, once, and left out."""
        for text in texts:
            try:
                yield decode(text)
            except ValidationError as error:
                if hash(text) not in self._unreadable:
                    self._unreadable.add(hash(text))
                    log.error("an alarm event in the journal cannot be read: %s", error)  # noqa: TRY400 nothing to trace

    def _note_trouble(self, error: sqlite3.DatabaseError, doing: str) -> None:
        if self._state.trouble is Trouble.NONE:
            log.error("the journal cannot %s: %s; %d alarm events are held in memory", doing, error, len(self._held))
        self._state = replace(self._state, trouble=trouble_of(error), detail=str(error))

    def _insert(self, db: sqlite3.Connection, event: AlarmEvent) -> None:
        at, text = event.at, encode(event)
        delivered = None if self._confirm_alarms else at.wall
        db.execute(
            "INSERT INTO alarm_event (seq, id, alarm, wall, mono, boot, synced, event, delivered) "
            "VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO NOTHING",
            (event.seq, event.id, event.alarm, at.wall, at.mono, at.boot, at.synced, text, delivered),
        )
        if event.change is AlarmChange.CLEARED:
            db.execute("DELETE FROM open_alarm WHERE alarm=?", (event.alarm,))
        else:
            db.execute("INSERT OR REPLACE INTO open_alarm VALUES (?,?,?)", (event.alarm, event.seq, text))

    def _later(self, kind: str, work: Work) -> None:
        with self._lock:
            if len(self._buffer) == MAX_BUFFERED:
                self._dropped[self._buffer[0][0]] += 1
            self._buffer.append((kind, work))

    def _buffer_tallies(self) -> None:
        rows, self._tallies = self._tallies, {}
        if not rows:
            return

        def work(db: sqlite3.Connection) -> None:
            for (_, _, boot), (tally, base) in rows.items():
                _add_tally(db, tally, boot, base)

        self._later("tally", work)

    def _commit(self, now: Stamp) -> None:
        """Write all that is gathered in one transaction; where the disk is full, make room and try again."""
        self._buffer_tallies()
        if not (self._held or self._buffer or any(self._confirmations())):
            return
        error = self._try_write(now)
        if error is not None and trouble_of(error) is Trouble.DISK_FULL:
            error = self._make_room(now, error)
        elif error is not None and trouble_of(error) is Trouble.DATABASE and self._buffer:
            # A row that SQLite refuses must not keep alarms from the disk.
            log.error("the journal refused a row: %s; %d pieces of work dropped", error, len(self._buffer))
            self._dropped.update(kind for kind, _ in self._buffer)
            self._buffer.clear()
            error = self._try_write(now)
        if error is None:
            self._warned.pop("dropping from the journal", None)
            if self._state.trouble is not Trouble.NONE and not self._is_in_memory():
                log.warning("the journal can be written again")
                self._state = replace(self._state, trouble=Trouble.NONE, detail="")
            return
        self._note_trouble(error, "be written")

    def _confirmations(self) -> tuple[set[Any] | dict[Any, Any], ...]:
        return self._confirmed, self._written, self._tallies_confirmed, self._readings_confirmed

    def _try_write(self, now: Stamp) -> sqlite3.DatabaseError | None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for event in self._held.values():
                self._insert(self._db, event)
            self._db.executemany(
                "UPDATE alarm_event SET delivered=? WHERE id=?", [(now.wall, i) for i in self._confirmed]
            )
            self._db.executemany("UPDATE alarm_event SET written=1 WHERE id=?", [(i,) for i in self._written])
            for _, work in self._buffer:
                work(self._db)
            # After the work: a minute that grew by it keeps waiting.
            self._db.executemany(
                "UPDATE tally SET delivered = 1 WHERE minute=? AND source=? AND place=? AND rule=? AND boot='' "
                "AND ok_s=? AND violation_s=? AND unknown_s=? AND breach_s=?",
                [(*key, *seconds) for key, seconds in self._tallies_confirmed.items()],
            )
            # By the date as well: the number of a row that was dropped is used again.
            self._db.executemany("DELETE FROM reading WHERE rowid=? AND wall=?", tuple(self._readings_confirmed))
            self._db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            return error
        finally:
            self._roll_back()  # after an error of any kind; after COMMIT there is nothing left to roll back
        self._held.clear()
        self._buffer.clear()
        for confirmed in self._confirmations():
            confirmed.clear()
        return None

    def _roll_back(self) -> None:
        if self._db.in_transaction:  # SQLite has rolled back by itself after some errors
            try:
                self._db.execute("ROLLBACK")
            except sqlite3.DatabaseError as error:
                log.warning("rolling back in the journal: %s", error)

    def _make_room(self, now: Stamp, error: sqlite3.DatabaseError) -> sqlite3.DatabaseError | None:
        left: sqlite3.DatabaseError | None = error
        self._reserve.unlink(missing_ok=True)
        steps: tuple[Callable[[], int], ...] = (
            lambda: 0,  # the reserve alone may do
            lambda: self._drop_evidence("clip", 20),
            lambda: self._drop_evidence("snapshot", 100),
            lambda: self._drop_rows("reading"),
            lambda: self._drop_rows("tally"),
            lambda: self._drop_delivered(written=self._confirm_points),
            lambda: self._drop_delivered(written=False),
        )
        for step in steps:
            while True:
                dropped = step()
                left = self._try_write(now)
                if left is None or trouble_of(left) is not Trouble.DISK_FULL:
                    return left
                if not dropped:
                    break
        return left

    def _drop_evidence(self, kind: str, count: int) -> int:
        rows = tuple(
            self._rows("SELECT DISTINCT sha256, path FROM evidence WHERE kind=? ORDER BY rowid LIMIT ?", (kind, count))
        )
        self._unlink(Path(path) for (_, path) in rows)
        # The files are gone, that is what makes room; their records go along, now or, if even that fails, later.
        shas = [(sha,) for (sha, _) in rows]
        query = "DELETE FROM evidence WHERE sha256=?"
        if not self._at_once(lambda db: db.executemany(query, shas)):
            self._later("trimming", lambda db: db.executemany(query, shas))
            return 0
        self._dropped[kind] += len(rows)
        return len(rows)

    def _drop_rows(self, table: str) -> int:
        """The oldest rows of `reading` or `tally`; of these whole hours but the newest.

        For an hour is sent as what is here of it: without its first minutes it would overwrite itself with less.
        """
        if table == "reading":
            query = f"DELETE FROM reading WHERE rowid IN (SELECT rowid FROM reading ORDER BY wall LIMIT {_BATCH})"  # noqa: S608
        else:
            query = (
                "DELETE FROM tally WHERE minute < (SELECT MIN(MIN(minute) - MIN(minute) % 3600 + 3600, "
                "MAX(minute) - MAX(minute) % 3600) FROM tally)"
            )
        gone = self._delete(query)
        self._dropped[table] += gone
        return gone

    def _drop_delivered(self, *, written: bool) -> int:
        """written: only events whose points InfluxDB has as well."""
        return self._delete(
            "DELETE FROM alarm_event WHERE seq IN (SELECT seq FROM alarm_event "  # noqa: S608 numbers
            f"WHERE delivered IS NOT NULL AND written >= {int(written)} ORDER BY wall LIMIT {_BATCH})"
        )

    def _delete(self, query: str) -> int:
        gone: list[int] = []
        if not self._at_once(lambda db: gone.append(db.execute(query).rowcount)):
            return 0
        return gone[0]

    def _at_once(self, work: Work) -> bool:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            work(self._db)
            self._db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._warn("dropping from the journal", str(error))
            return False
        finally:
            self._roll_back()
        return True

    def _warn(self, what: str, why: str) -> None:
        if self._warned.get(what) != why:
            self._warned[what] = why
            log.warning("%s: %s", what, why)

    def _unlink(self, paths: Iterable[Path]) -> None:
        for path in set(paths):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                self._warn("cannot delete evidence", error.strerror or str(error))
            else:
                self._warned.pop("cannot delete evidence", None)

    def _used_bytes(self) -> int:
        pages, free, size = (self._number(f"PRAGMA {name}") for name in ("page_count", "freelist_count", "page_size"))
        return (pages - free) * size

    def _is_in_memory(self) -> bool:
        return not self._db.execute("PRAGMA database_list").fetchone()[2]

    def _fill_reserve(self) -> None:
        if self._is_in_memory() or self._reserve.exists():
            return
        try:
            with self._reserve.open("xb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
        except OSError as error:
            self._reserve.unlink(missing_ok=True)
            self._warn("no room for the journal's reserve", error.strerror or str(error))
        else:
            self._warned.pop("no room for the journal's reserve", None)


def _execute(db: sqlite3.Connection, query: str, args: tuple[float, ...]) -> None:
    db.execute(query, args)


def _execute_many(db: sqlite3.Connection, query: str, rows: Iterable[tuple[str, ...]]) -> None:
    db.executemany(query, rows)


def _minute(start: float) -> int:
    """The minute that most of the 60 s from `start` on belong to, Unix s."""
    return round(start / 60) * 60


def _key(t: Tally) -> tuple[int, str, str, str]:
    return t.minute, t.instance.source, t.instance.place, t.instance.rule


def _seconds(t: Tally) -> tuple[int, ...]:
    return t.ok_s, t.violation_s, t.unknown_s, t.breach_s


def _sum(a: Tally, b: Tally) -> Tally:
    return replace(
        a,
        ok_s=a.ok_s + b.ok_s,
        violation_s=a.violation_s + b.violation_s,
        unknown_s=a.unknown_s + b.unknown_s,
        breach_s=a.breach_s + b.breach_s,
        subjects=max(a.subjects, b.subjects),
    )


def _add_tally(db: sqlite3.Connection, t: Tally, boot: str, base: float) -> None:
    db.execute(
        "INSERT INTO tally (minute, source, place, rule, boot, base, ok_s, violation_s, unknown_s, breach_s, subjects) "
        "VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET ok_s = ok_s + excluded.ok_s, "
        "violation_s = violation_s + excluded.violation_s, unknown_s = unknown_s + excluded.unknown_s, "
        "breach_s = breach_s + excluded.breach_s, subjects = MAX(subjects, excluded.subjects), delivered = 0",
        (*_key(t), boot, base, t.ok_s, t.violation_s, t.unknown_s, t.breach_s, t.subjects),
    )
