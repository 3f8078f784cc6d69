"""Is a node already running on this data folder, and is the port of its page free?"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from pathlib import Path

from edge.doctor.result import Result, found
from edge.site.model import Page

# SQLite locks these bytes of its file (PENDING, RESERVED and SHARED; see "File Locking And Concurrency", sqlite.org).
_LOCKED_FROM, _LOCKED_BYTES = 0x4000_0000, 512
_FLOCK = struct.Struct("@hhqqi0q")  # struct flock of 64-bit Linux: type, whence, start, length, pid


def examine_node(data_dir: Path) -> Result:
    """Whether another process holds the journal. Takes no lock and writes nothing, so a node never notices."""
    about = str(data_dir)
    try:
        holder = _holder(data_dir / "journal.db")
    except OSError as error:
        return found("node", "unreadable", about, error=error.strerror or str(error))
    if holder is None:
        return found("node", "free", about)
    return found("node", "running", about, pid=holder if holder > 0 else "?")


def _holder(journal: Path) -> int | None:
    """Process id of who holds a lock on the journal (0 where it lives in another container); None: nobody."""
    try:
        file = os.open(journal, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _LOCKED_FROM, _LOCKED_BYTES, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_GETLK, asked))
    finally:
        os.close(file)
    return None if kind == fcntl.F_UNLCK else int(pid)


def examine_page(page: Page, *, node_runs: bool) -> Result:
    """Whether the page's port can be had, tried as the page does it."""
    about = f"{page.host}:{page.port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(page.host, page.port, type=socket.SOCK_STREAM)[0]
        socket.create_server(address[:2], family=family).close()
    except UnicodeError as error:  # a name that no name server can know
        return found("page", "unusable", about, error=error)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return found("page", "served" if node_runs else "in_use", about)
        if error.errno == errno.EACCES:
            return found("page", "no_right", about)
        return found("page", "unusable", about, error=error.strerror or str(error))
    return found("page", "free", about)
