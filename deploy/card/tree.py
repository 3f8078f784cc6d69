"""The files of a boot partition: in an image or a device (`fat.Fat32`), or where it is mounted (`Folder`)."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from deploy.card.errors import CardError

BLOCK = 1024 * 1024


class Tree(Protocol):
    """Paths are relative to the root of the partition and have "/" between their parts; "" is the root.

    A path that is not there raises FileNotFoundError, one that is a folder IsADirectoryError, one below a file
    NotADirectoryError. What the partition cannot hold or is too damaged for is a CardError.
    """

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder."""

    def read(self, path: str) -> bytes:
        """The content of a file."""

    def write(self, path: str, data: bytes | BinaryIO) -> None:
        """Make or replace a file, folders above it as needed. data: bytes, or a file that can seek, from where it is.

        A file that does not fit (`fat.full`) leaves what was there.
        """

    def remove(self, path: str) -> None:
        """Remove a file, or a folder that is empty."""

    def listdir(self, path: str) -> list[str]:
        """The names in a folder, in no order."""

    def free(self) -> int:
        """Bytes that can still be written."""

    def flush(self) -> None:
        """Hand everything to the disk."""


def parts_of(path: str) -> tuple[str, ...]:
    """The names along a path. Raises ValueError for one that leaves the tree."""
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts:
        raise ValueError(f"{path!r}: a path here is relative to the root of the partition and stays below it")
    return parts


class Folder:
    """A boot partition that the system has mounted: `/media/bootfs`, `E:\\`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def _at(self, path: str) -> Path:
        return self.root.joinpath(*parts_of(path))

    def exists(self, path: str) -> bool:
        return self._at(path).exists()

    def read(self, path: str) -> bytes:
        return self._at(path).read_bytes()

    def write(self, path: str, data: bytes | BinaryIO) -> None:
        target = self._at(path)
        new = target.with_name(target.name + ".new")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            with new.open("wb") as file:
                file.write(data) if isinstance(data, bytes) else shutil.copyfileobj(data, file, BLOCK)
                file.flush()
                os.fsync(file.fileno())
            new.replace(target)
        except OSError as error:
            new.unlink(missing_ok=True)
            if error.errno == errno.ENOSPC:
                raise CardError("fat.full", path=path, free=self.free() // BLOCK) from error
            raise

    def remove(self, path: str) -> None:
        target = self._at(path)
        if target.is_dir():
            target.rmdir()
        else:
            target.unlink()

    def listdir(self, path: str) -> list[str]:
        return [entry.name for entry in self._at(path).iterdir()]

    def free(self) -> int:
        return shutil.disk_usage(self.root).free

    def flush(self) -> None:
        """Files are on the disk already, their folders may not be. Windows keeps no folders of a card in memory."""
        if hasattr(os, "sync"):
            os.sync()
