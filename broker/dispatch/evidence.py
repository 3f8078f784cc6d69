"""Evidence: pictures and clips of alarms, photos of people's answers. A row each, the bytes in a folder.

The file is there before its row, and goes before its row is marked: whatever is cut short, the next try mends it, and
no row promises a file that was never whole. One file an alarm and hash: an alarm's retention never touches another's.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Self

from sqlalchemy import and_, case, exists, func, or_, select, union
from sqlalchemy.orm import Session

from broker.dispatch.database import Among, look, table_of
from broker.dispatch.tables import Case, CaseState, Event, Evidence, Site
from broker.files import sync_folder

MEDIA_TYPES = {"snapshot": "image/jpeg", "clip": "video/mp4", "photo": "image/jpeg"}
"""By kind. `photo`: added by a person."""
LIMITS = {"snapshot": 4 << 20, "clip": 64 << 20, "photo": 4 << 20}
"""Bytes a file, by kind."""
NODE_QUOTA = 20 << 30
"""Bytes of one node's files that are kept at a time."""
RESERVE = 1 << 30
"""Bytes left free on the disk, for the database."""
RETENTION_DAYS = 30
"""Of a site that nobody has entered yet."""
ORPHAN_S = 86400.0
"""A file that has had no row for so long belongs to a step or an upload that came to nothing."""
_SLICES = 24
"""A sweep looks at one part in so many of the folder; one an hour looks at everything in a day."""
_DAY_S = 86400.0
_BATCH = 500
_HEAD = 16
_OVER = [state.value for state in CaseState if state.over]
_MAGIC = {"snapshot": (0, b"\xff\xd8\xff"), "clip": (4, b"ftyp"), "photo": (0, b"\xff\xd8\xff")}
_ALARM = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

_CASE, _EVIDENCE = table_of(Case), table_of(Evidence)
_SNAPSHOTS = (
    select(_CASE.c.id.label("case"), _EVIDENCE.c.alarm, _EVIDENCE.c.sha256, _EVIDENCE.c.received_at)
    .select_from(_CASE)
    .join(
        _EVIDENCE,
        and_(
            _EVIDENCE.c.alarm == _CASE.c.alarm,
            _EVIDENCE.c.site == _CASE.c.site,
            _EVIDENCE.c.node == _CASE.c.node,
        ),
    )
    .where(Among(_CASE.c.id, "cases"), _EVIDENCE.c.kind == "snapshot", _EVIDENCE.c.deleted_at.is_(None))
)
"""Of the newest alarms of the cases `cases`."""


class Refusal(StrEnum):
    """Why a file is not taken."""

    NOT_THEIRS = "not_theirs"  # no such alarm of that node
    KIND = "kind"  # neither JPEG nor MP4, or not what it says it is
    TOO_LARGE = "too_large"
    HASH = "hash"  # other bytes than the address names
    FULL = "full"  # the node's quota, or the disk


class EvidenceError(Exception):
    """A file is not taken. `code` says why, the text says what would be right."""

    def __init__(self, code: Refusal, text: str) -> None:
        super().__init__(text)
        self.code = code


class Incoming:
    """A file on its way into the store; what is not kept is gone at the end of the `with`."""

    def __init__(self, folder: Path, target: Path, sha256: str, kind: str) -> None:
        self._target = target
        self._sha256 = sha256
        self._kind = kind
        self._digest = hashlib.sha256()
        self._size = 0
        self._head = b""
        handle, name = tempfile.mkstemp(dir=folder)
        self._file = os.fdopen(handle, "wb")
        self._temporary = Path(name)

    def add(self, chunk: bytes) -> None:
        """Raises EvidenceError once they are too many."""
        self._size += len(chunk)
        if self._size > LIMITS[self._kind]:
            raise EvidenceError(Refusal.TOO_LARGE, f"a {self._kind} may have {LIMITS[self._kind]} bytes")
        self._head = (self._head + chunk[:_HEAD])[:_HEAD]
        self._digest.update(chunk)
        self._file.write(chunk)

    def keep(self) -> int:
        """Give the file its name, on the disk; gives its size.

        Raises EvidenceError for other bytes than the hash says, and for such that are not of their kind.
        """
        if self._digest.hexdigest() != self._sha256:
            what = f"the address names {self._sha256}, the bytes are {self._digest.hexdigest()}"
            raise EvidenceError(Refusal.HASH, what)
        offset, magic = _MAGIC[self._kind]
        if self._head[offset : offset + len(magic)] != magic:
            raise EvidenceError(Refusal.KIND, f"this is not {MEDIA_TYPES[self._kind]}")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._temporary.replace(self._target)
        sync_folder(self._target.parent)
        return self._size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)


class Store:
    """The folder of evidence and its rows. Rows go with the caller's transaction; none is open while bytes come."""

    def __init__(self, root: Path, *, node_quota: int = NODE_QUOTA, reserve: int = RESERVE) -> None:
        self._root = root
        self._node_quota = node_quota
        self._reserve = reserve
        self._incoming = root / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)

    def path(self, alarm: str, sha256: str) -> Path:
        """Where a file lies or would lie. Raises ValueError for what is neither id nor hash."""
        if not _ALARM.fullmatch(alarm) or not _SHA256.fullmatch(sha256):
            raise ValueError(f"not the address of evidence: {alarm[:80]!r}, {sha256[:80]!r}")
        return self._root / "files" / sha256[:2] / f"{sha256}-{alarm}"

    def admit(self, session: Session, *, site: str, node: str, alarm: str, kind: str, size: int) -> None:
        """Whether a node may send a file of `size` bytes. Raises EvidenceError."""
        theirs = exists().where(Event.alarm == alarm, Event.site == site, Event.node == node)
        if not session.scalar(select(theirs)):
            raise EvidenceError(Refusal.NOT_THEIRS, f"no alarm {alarm} of {site}/{node} is known here")
        if size > LIMITS[kind]:
            raise EvidenceError(Refusal.TOO_LARGE, f"{size} bytes; a {kind} may have {LIMITS[kind]}")
        of_node = (Evidence.site == site, Evidence.node == node, Evidence.deleted_at.is_(None))
        kept = session.scalar(select(func.coalesce(func.sum(Evidence.bytes), 0)).where(*of_node)) or 0
        if kept + size > self._node_quota:
            raise EvidenceError(Refusal.FULL, f"{site}/{node} has {kept} bytes of evidence here, its quota is full")

    def incoming(self, alarm: str, sha256: str, kind: str) -> Incoming:
        """Where the bytes of a file go as they come. Raises EvidenceError for a full disk, ValueError as `path`."""
        if shutil.disk_usage(self._root).free < self._reserve:
            raise EvidenceError(Refusal.FULL, "the disk for evidence is full")
        return Incoming(self._incoming, self.path(alarm, sha256), sha256, kind)

    def write(self, alarm: str, sha256: str, kind: str, content: bytes) -> int:
        """A whole file at once; gives its size. Raises as `Incoming` does."""
        with self.incoming(alarm, sha256, kind) as incoming:
            incoming.add(content)
            return incoming.keep()

    def put(
        self,
        session: Session,
        *,
        site: str,
        node: str | None,
        alarm: str,
        sha256: str,
        kind: str,
        size: int,
        now: float,
        by: str | None = None,
    ) -> Evidence:
        """Keep the row of a file that `write` has taken. One that is there already stays as it is.

        alarm: for what a person (`by`) added, the case's id.
        """
        row = session.get(Evidence, (alarm, sha256))
        if row is None:
            row = Evidence(
                alarm=alarm, sha256=sha256, site=site, node=node, kind=kind, bytes=size, received_at=now, by=by
            )
            session.add(row)
        elif row.deleted_at is not None:
            row.deleted_at, row.received_at = None, now
        return row

    def expire(self, session: Session, now: float) -> int:
        """Delete what its site keeps no longer; gives how many files went. Call it again while it gives any.

        The days count from receipt, not from when it happened: what came late, after an outage, is there as long for
        whoever reviews it. Nobody can be recognised in it in any case.

        Never of a case that is open or on hold, nor of a site on hold.
        """
        days = func.coalesce(Site.retention_days, RETENTION_DAYS)
        needed = or_(Case.state.not_in(_OVER), Case.hold)
        # Two questions, each with an index to answer it: as one with OR it would look at every case for every file.
        of_case = exists().where(Case.id == Evidence.alarm, needed)
        of_alarm = exists().where(
            Event.alarm == Evidence.alarm,
            Event.site == Evidence.site,
            Event.node == Evidence.node,
            Case.id == Event.case,
            needed,
        )
        rows = session.scalars(
            select(Evidence)
            .outerjoin(Site, Site.id == Evidence.site)
            .where(
                Evidence.deleted_at.is_(None),
                Evidence.received_at < now - days * _DAY_S,
                func.coalesce(Site.hold, False).is_(False),
                ~of_case.correlate(Evidence),
                ~of_alarm.correlate(Evidence),
            )
            .limit(_BATCH)
        ).all()
        for row in rows:
            self.path(row.alarm, row.sha256).unlink(missing_ok=True)
            row.deleted_at = now
        return len(rows)

    def sweep(self, session: Session, now: float) -> int:
        """Delete files without a row in the part of the folder that is this hour's turn, and uploads that were cut
        short; gives how many went. They are left behind where a step was refused after its photo was written, or where
        the program died between file and row."""
        gone = _unlink(self._incoming.iterdir(), now)
        hour = int(now // 3600)
        for folder in sorted((self._root / "files").glob("??")):
            if int(folder.name, 16) % _SLICES != hour % _SLICES:
                continue
            old = {(p.name[65:], p.name[:64]): p for p in folder.iterdir() if _old(p, now)}
            rows = session.execute(
                select(Evidence.alarm, Evidence.sha256).where(
                    Evidence.sha256.startswith(folder.name), Evidence.deleted_at.is_(None)
                )
            )
            known = {(row.alarm, row.sha256) for row in rows}
            gone += _unlink((path for key, path in old.items() if key not in known), now)
        return gone

    def files_of(self, session: Session, case_id: str) -> list[Evidence]:
        """What is kept of a case, newest first, its newest alarm's before those of earlier ones."""
        alarms = union(
            select(Event.alarm).where(Event.case == case_id), select(Case.alarm).where(Case.id == case_id)
        ).scalar_subquery()
        current = select(Case.alarm).where(Case.id == case_id).scalar_subquery()
        of_person = and_(Evidence.alarm == case_id, Evidence.node.is_(None))
        of_node = and_(Evidence.alarm.in_(alarms), Evidence.node == Case.node)
        return list(
            session.scalars(
                select(Evidence)
                .join(Case, and_(Case.id == case_id, Case.site == Evidence.site))
                .where(Evidence.deleted_at.is_(None), or_(of_person, of_node))
                .order_by(case((Evidence.alarm == current, 0), else_=1), Evidence.received_at.desc())
            )
        )

    def cases_with(self, session: Session, file: Evidence) -> set[str]:
        """Ids of the cases among whose `files_of` this file is."""
        if file.node is None:
            return {file.alarm}
        of_node = (Event.site == file.site, Event.node == file.node, Event.alarm == file.alarm)
        current = (Case.site == file.site, Case.node == file.node, Case.alarm == file.alarm)
        return set(session.scalars(union(select(Event.case).where(*of_node), select(Case.id).where(*current))))

    def picture_of(self, session: Session, *case_ids: str) -> Path | None:
        """The newest snapshot of a case's newest alarm; of several cases, of the first that has one. One of an earlier
        alarm would show what was, where people take it for what is."""
        (rows,) = look(session, (_SNAPSHOTS, {"cases": list(case_ids)}))
        newest = sorted(rows, key=lambda row: (case_ids.index(row.case), -row.received_at))
        return next((path for row in newest if (path := self.path(row.alarm, row.sha256)).exists()), None)


def _old(path: Path, now: float) -> bool:
    """False also for what is gone meanwhile."""
    try:
        return path.stat().st_mtime < now - ORPHAN_S
    except FileNotFoundError:
        return False


def _unlink(paths: Iterable[Path], now: float) -> int:
    gone = 0
    for path in paths:
        if _old(path, now):  # still: it may have come again meanwhile
            path.unlink(missing_ok=True)
            gone += 1
    return gone
