"""Evidence files on disk: named by their hash, synced, and in the journal; in this order."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from uuid6 import uuid7

from edge.clock import Stamp
from edge.journal.journal import Journal
from edge.journal.rows import Trouble
from edge.values import EvidenceRef

log = logging.getLogger(__name__)

SUFFIX = {"snapshot": ".jpg", "clip": ".mp4"}
_OURS = re.compile(r"[0-9a-f]{64}\.(jpg|mp4)|[0-9a-f-]{36}\.part")
_MAKE_ROOM = 2  # times the size of what needs it

Owner = tuple[str, Stamp]
"""An alarm (its id) that a file is evidence of, and when."""


def named(content: bytes, kind: str) -> EvidenceRef:
    """The reference to a file of this content."""
    return EvidenceRef(hashlib.sha256(content).hexdigest(), kind, len(content))


def trouble_of(error: OSError) -> Trouble:
    """What a failed write means."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Trouble.DISK_FULL
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return Trouble.READ_ONLY
    return Trouble.IO


class Store:
    """One folder. All methods raise OSError where the disk refuses."""

    def __init__(self, folder: Path, journal: Journal, max_bytes: int) -> None:
        self._folder = folder
        self._journal = journal
        self._max_bytes = max_bytes

    def sweep(self) -> None:
        """Delete what a power cut left behind: half-written files, and files that the journal does not know."""
        self._folder.mkdir(parents=True, exist_ok=True)
        known = {e.path.name for e in self._journal.pending_evidence(-1)}
        for path in self._folder.iterdir():
            if _OURS.fullmatch(path.name) and path.name not in known:
                log.info("deleting %s: no record of it", path.name)
                path.unlink(missing_ok=True)

    def keep(self, ref: EvidenceRef, content: bytes, owners: Sequence[Owner]) -> None:
        """Write a file, with a record for each of its owners.

        On a full disk older clips, then older snapshots, make room for a snapshot; a clip is not worth either.
        """
        try:
            self._write(ref, content, owners)
        except OSError as error:
            if trouble_of(error) is not Trouble.DISK_FULL or ref.kind != "snapshot" or not self._make_room(ref.bytes):
                raise
            self._write(ref, content, owners)

    def _write(self, ref: EvidenceRef, content: bytes, owners: Sequence[Owner]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / f"{uuid7()}.part"
        try:
            with part.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            self._settle(part, ref, owners)
        finally:
            part.unlink(missing_ok=True)

    def _settle(self, part: Path, ref: EvidenceRef, owners: Sequence[Owner]) -> None:
        path = self._folder / (ref.sha256 + SUFFIX[ref.kind])
        for alarm, stamp in owners:
            self._link(part, path)
            self._journal.evidence(ref, alarm, path, stamp)
            if not path.exists():
                # Just then it was delivered for another alarm and deleted with what seemed the last record. Or it was
                # delivered for this one already: then it goes twice, which a PUT may.
                self._link(part, path)
                self._journal.evidence(ref, alarm, path, stamp)
        self._journal.trim_evidence(self._max_bytes)

    def _link(self, part: Path, path: Path) -> None:
        if path.exists():
            return
        path.hardlink_to(part)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # else a power cut may take the new name away again
        finally:
            os.close(folder)

    def _make_room(self, size: int) -> bool:
        known = {e.ref.sha256: e.ref.bytes for e in self._journal.pending_evidence(-1)}
        return bool(self._journal.trim_evidence(max(0, sum(known.values()) - _MAKE_ROOM * size)))
