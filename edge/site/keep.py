"""The site file in force on a running node: the newest one that is right."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection
from pathlib import Path

from edge.site.disk import read_bytes, replace
from edge.site.model import SiteFile
from edge.site.parse import parse
from edge.site.problem import SiteFileError

_log = logging.getLogger(__name__)
_Seen = tuple[int, int, int, int]


def last_good_beside(path: Path) -> Path:
    """Where the copy of the last good file goes if nothing else is said: hidden, beside the site file."""
    return path.parent / f".{path.name}.last-good"


class SiteFileKeeper:
    """Looks at the site file and takes it over when it is right; otherwise the last good one stays in force.

    last_good: where a copy of the file in force is kept (mode 0600, it holds passwords), so that a node that starts
    with a bad file on disk still knows what to watch. None: no copy. language: of problems until a file is in force,
    then its own. Not thread-safe: one thread polls.
    """

    def __init__(
        self, path: Path, known_rules: Collection[str], last_good: Path | None = None, language: str = "en"
    ) -> None:
        self._path = path
        self._known_rules = known_rules
        self._last_good = last_good
        self._language = language
        self._current: SiteFile | None = None
        self._hash = ""
        self._error: SiteFileError | None = None
        self._seen: _Seen | None = None
        self._read_hash = ""
        self._settled = False

    @property
    def current(self) -> SiteFile:
        """The site file in force. Raises RuntimeError before the first poll."""
        if self._current is None:
            raise RuntimeError("no site file yet: poll first")
        return self._current

    @property
    def hash(self) -> str:
        """SHA-256, hex, of the file in force; empty before the first poll."""
        return self._hash

    @property
    def error(self) -> str | None:
        """What is wrong with the file on disk while another one is in force; None when they are the same."""
        return None if self._error is None else str(self._error)

    @property
    def problems(self) -> SiteFileError | None:
        """The same with all problems."""
        return self._error

    def poll(self) -> SiteFile | None:
        """The site file if there is a new good one, else None. Costs a `stat` while the file is not touched.

        The first poll always gives one, from the copy if it must. Raises SiteFileError if neither is right; a later
        poll never raises.
        """
        seen = self._stat()
        if seen == self._seen and self._settled and self._current is not None:
            return None
        # Two writes within one tick of the file system's clock look alike: after a change, look once more.
        self._settled = seen == self._seen
        self._seen = seen
        try:
            data = read_bytes(self._path, self._language)
        except SiteFileError as error:
            self._read_hash = ""
            return self._refuse(error)
        digest = hashlib.sha256(data).hexdigest()
        if self._current is not None and digest in (self._hash, self._read_hash):
            if digest == self._hash:  # the file in force was put back
                self._error = None
            return None
        self._read_hash = digest
        try:
            site = parse(data, self._path, self._known_rules, self._language)
        except SiteFileError as error:
            return self._refuse(error)
        self._take(site, digest)
        self._remember(data)
        return site

    def _stat(self) -> _Seen | None:
        try:
            s = self._path.stat()
        except OSError:  # read_bytes says what it is
            return None
        return s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns

    def _take(self, site: SiteFile, digest: str) -> None:
        self._current, self._hash, self._error = site, digest, None
        self._language = site.language

    def _refuse(self, error: SiteFileError) -> SiteFile | None:
        """The file on disk is not right: keep what is in force, or begin with the copy."""
        if self._current is not None:
            if str(error) != self.error:
                _log.warning("site file refused, the last good one stays in force: %s", error)
            self._error = error
            return None
        if self._last_good is None:
            raise error
        try:
            data = read_bytes(self._last_good, self._language)
            site = parse(data, self._path, self._known_rules, self._language)
        except SiteFileError:
            raise error from None
        self._take(site, hashlib.sha256(data).hexdigest())
        self._error = error
        _log.warning("site file refused, starting with the last good one, %s: %s", self._last_good, error)
        return site

    def _remember(self, data: bytes) -> None:
        if self._last_good is None:
            return
        try:
            replace(self._last_good, data, mode=0o600)
        except OSError as error:  # a node without its copy works; one that stops for it does not
            _log.warning("no copy of the site file could be kept at %s: %s", self._last_good, error.strerror)
