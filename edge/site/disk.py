"""Site files on disk: read within bounds, replaced whole."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from edge.site.problem import Problem, SiteFileError
from edge.site.tree import MAX_BYTES
from edge.text import catalogue


def read_bytes(path: Path, language: str = "en") -> bytes:
    """The bytes of a site file, as far as it is one: a regular file, readable, not too big. Raises SiteFileError."""
    say = catalogue(language)

    def refuse(key: str, **fields: object) -> SiteFileError:
        advice = f"site.file_do.{key}"
        hint = say(advice) if advice in say else ""
        return SiteFileError([Problem(str(path), 0, 0, "", say(f"site.file.{key}", **fields), hint)], language)

    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # opening a pipe would wait for whoever writes to it
            raise refuse("folder" if stat.S_ISDIR(mode) else "special")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise refuse("missing") from None
    except OSError as error:
        raise refuse("unreadable", why=error.strerror or type(error).__name__) from None
    if len(data) > MAX_BYTES:
        raise refuse("too_big", kb=MAX_BYTES // 1024)
    return data


def replace(path: Path, data: bytes, mode: int | None = None) -> None:
    """Put `data` in the place of a file, whole or not at all, also when the power fails in between.

    mode: the permissions of the new file; those of the old one, and its owner, where None. Raises OSError.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if mode is None:
                was = path.stat()
                mode = stat.S_IMODE(was.st_mode)
                now = os.fstat(file.fileno())
                if (was.st_uid, was.st_gid) != (now.st_uid, now.st_gid):
                    os.fchown(file.fileno(), was.st_uid, was.st_gid)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
