"""A drive opened to be written, and what is really on it, past the memory of the system.

Tried under Linux only. macOS and Windows differ in how a drive is kept to oneself and flushed; these few lines were
written from the documentation: `DKIOCSYNCHRONIZECACHE` (macOS), `FSCTL_LOCK_VOLUME` and `FSCTL_DISMOUNT_VOLUME`.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deploy.card.drives import Drive
from deploy.card.errors import CardError
from deploy.card.tree import BLOCK

_NO_RIGHT = {errno.EACCES, errno.EPERM}
_BUSY = {errno.EBUSY, errno.ETXTBSY}
_READ_ONLY = {errno.EROFS}


@contextmanager
def held(drive: Drive) -> Iterator[int]:
    """A file descriptor to write to. Until it is closed nobody can mount the drive: a look at it would change it.

    Writes have to begin and end at sectors. Raises CardError `drive.busy`, `.no_right`, `.read_only` or `.gone`.
    """
    with ExitStack() as stack:
        if sys.platform == "win32":
            for letter, _ in drive.mounted:
                stack.enter_context(_locked(letter))
        path = Path(drive.path.replace("/dev/disk", "/dev/rdisk") if sys.platform == "darwin" else drive.path)
        flags = os.O_RDWR | getattr(os, "O_BINARY", 0)
        if path.is_block_device():
            flags |= os.O_EXCL  # refused while any of its partitions is mounted
        elif drive.stand_in:
            flags |= os.O_CREAT
        try:
            descriptor = os.open(path, flags, 0o600)  # a file with an image holds its secrets
        except OSError as error:
            code = next(
                (c for c, numbers in (("no_right", _NO_RIGHT), ("busy", _BUSY), ("read_only", _READ_ONLY))
                 if error.errno in numbers), "gone",
            )  # fmt: skip
            raise CardError(f"drive.{code}", path=drive.path, error=error.strerror) from error
        stack.callback(os.close, descriptor)
        yield descriptor


def size_of(descriptor: int, drive: Drive) -> int:
    """In bytes, as it is now: 0 where the card has been pulled out. Where the system cannot say, as it was listed."""
    if sys.platform in {"win32", "darwin"} and not drive.stand_in:
        return drive.size
    return os.lseek(descriptor, 0, os.SEEK_END)


def write(descriptor: int, at: int, content: bytes | memoryview) -> None:
    os.lseek(descriptor, at, os.SEEK_SET)
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def sync(descriptor: int) -> None:
    """Everything that was written is on the card."""
    if sys.platform == "darwin":
        import fcntl  # noqa: PLC0415 - not under Windows

        synchronize_cache = 0x20006416  # DKIOCSYNCHRONIZECACHE; raw devices know no fsync
        try:
            os.fsync(descriptor)
        except OSError:
            fcntl.ioctl(descriptor, synchronize_cache)
    else:
        os.fsync(descriptor)


def stored(drive: Drive, size: int) -> Iterator[memoryview]:
    """What the drive holds, in blocks of 1 MiB, to `size` or where it ends: from the card, not from memory.

    With O_DIRECT where the file system knows it; elsewhere the memory of what was read and written is dropped first.
    """
    direct = getattr(os, "O_DIRECT", 0)
    try:
        descriptor = os.open(drive.path, os.O_RDONLY | direct | getattr(os, "O_BINARY", 0))
    except OSError as error:
        if not direct or error.errno != errno.EINVAL:
            raise
        descriptor = os.open(drive.path, os.O_RDONLY)
    buffer = mmap.mmap(-1, BLOCK)  # at the start of a page, as O_DIRECT wants it
    try:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        done = 0
        with memoryview(buffer) as view:
            while done < size:
                count = _into(descriptor, buffer)
                if not count:
                    return
                yield view[: min(count, size - done)]
                done += count
    finally:
        os.close(descriptor)


def _into(descriptor: int, buffer: mmap.mmap) -> int:
    if hasattr(os, "readv"):
        return os.readv(descriptor, [buffer])
    content = os.read(descriptor, len(buffer))
    buffer[: len(content)] = content
    return len(content)


if sys.platform == "win32":

    @contextmanager
    def _locked(letter: str) -> Iterator[None]:
        """A volume (`E:`) that nothing may use until this ends."""
        import ctypes  # noqa: PLC0415

        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.CreateFileW.restype = ctypes.c_void_p
        read_write, shared, existing, lock, dismount = 0xC0000000, 3, 3, 0x00090018, 0x00090020
        volume = ctypes.c_void_p(kernel.CreateFileW(f"\\\\.\\{letter}", read_write, shared, None, existing, 0, None))
        returned = ctypes.c_uint32()
        try:
            for code in (lock, dismount):
                if not kernel.DeviceIoControl(volume, code, None, 0, None, 0, ctypes.byref(returned), None):
                    error = ctypes.FormatError(ctypes.get_last_error())
                    raise CardError("drive.busy", path=letter, error=error)
            yield
        finally:
            kernel.CloseHandle(volume)
