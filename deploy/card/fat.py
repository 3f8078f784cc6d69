"""Files of a FAT32 partition, read and written without mounting it: the same on Linux, macOS and Windows.

Source: Microsoft, *FAT32 File System Specification*, version 1.03 (2000), with long names in UTF-16. What a change
needs is worked out in memory first: what does not fit changes nothing. Data goes into clusters that were free, then the
FATs, then the folders. Neither the time of last access nor the "dirty" mark of a mounted partition is looked at.
"""

from __future__ import annotations

import datetime as dt
import errno
import io
import itertools
import os
import struct
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

from deploy.card.errors import CardError
from deploy.card.fatnames import ARCHIVE, DELETED, FOLDER, SLOT, Entry, entries, fold, named
from deploy.card.tree import BLOCK, parts_of

_CLUSTER_BITS = 0x0FFFFFFF  # the upper four are reserved: kept as they are
_FEWEST_CLUSTERS = 65525  # below it a FAT is FAT12 or FAT16, whatever it calls itself
_BAD, _END = 0x0FFFFFF7, 0x0FFFFFFF  # this and above it: no cluster follows
_MOST_SLOTS, _LARGEST_FILE = 65536, 2**32 - 1


class _Folder(NamedTuple):
    """chain: its clusters. content: its slots, zeros behind the last. entries: by long and by short name, `fold`ed."""

    chain: list[int]
    content: bytearray
    entries: dict[str, Entry]


class _NoRoom(Exception):  # noqa: N818 - never leaves this module
    pass


class Fat32:
    """A `tree.Tree` on a part of an image or device.

    file: open for reading, and for writing if anything is written. offset, size: of the partition, in bytes. now: the
    local time that files are dated with; by default when the partition was opened.
    Raises CardError `fat.not_fat32`, or `fat.damaged`, also later where a chain of clusters or a folder is.
    """

    def __init__(self, file: BinaryIO, offset: int, size: int, *, now: dt.datetime | None = None) -> None:
        self._file, self._offset = file, offset
        boot = self._read(0, 512)
        sector, per_cluster, reserved, fats, old_root, _, _, old_length = struct.unpack_from("<HBHBHHBH", boot, 11)
        sectors, length, flags, _, self._root, self._info = struct.unpack_from("<IIHHIH", boot, 32)
        clusters = (sectors - reserved - fats * length) // max(per_cluster, 1)
        powers = sector in {512, 1024, 2048, 4096} and per_cluster in {1 << n for n in range(8)}
        old = old_root or old_length or clusters < _FEWEST_CLUSTERS
        if boot[510:512] != b"\x55\xaa" or not powers or old or not (reserved and fats and length):
            raise CardError("fat.not_fat32")
        if sectors * sector > size or (clusters + 2) * 4 > length * sector:
            raise _damaged("size")
        self._sector: int = sector
        self._cluster: int = sector * per_cluster
        self._data: int = (reserved + fats * length) * sector
        self._last = clusters + 2  # one behind the last cluster
        in_use = (flags & 0x0F,) if flags & 0x80 else range(fats)  # one alone, or all alike
        self._fats = [(reserved + n * length) * sector for n in in_use]
        copies = [self._read(at, length * sector) for at in self._fats]
        if any(copy != copies[0] for copy in copies):
            raise _damaged("FAT 1 ≠ FAT 2")
        self._fat = array("I", copies[0])
        self._free = sum(not entry & _CLUSTER_BITS for entry in self._fat[2 : self._last])
        self._next = 2
        self._info *= 0 < self._info < reserved
        if self._info:
            info = self._read(self._info * sector, 512)
            if (info[:4], info[484:488], info[510:512]) != (b"RRaA", b"rrAa", b"\x55\xaa"):
                raise _damaged("FSInfo")
            (hint,) = struct.unpack_from("<I", info, 492)
            self._next = hint if 2 <= hint < self._last else 2
        self._changed: dict[int, int] = {}  # entries of the FAT as they were
        self._blocks: dict[int, bytes] = {}  # clusters of folders as they shall be
        now = now or dt.datetime.now().astimezone()
        day = now.year - 1980 << 9 | now.month << 5 | now.day
        self._moment = now.hour << 11 | now.minute << 5 | now.second // 2, day

    # -- what a `Tree` can do ----------------------------------------------------------------------------------------

    def exists(self, path: str) -> bool:
        try:
            return not parts_of(path) or bool(self._entry(path))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def read(self, path: str) -> bytes:
        entry = self._entry(path)
        if entry.folder:
            raise _os_error(errno.EISDIR, path)
        chain = self._chain(entry.cluster) if entry.size else []
        if len(chain) * self._cluster < entry.size:
            raise _damaged(path)
        return b"".join(self._read(at, count) for at, count in self._runs(chain))[: entry.size]

    def write(self, path: str, data: bytes | BinaryIO) -> None:
        source = io.BytesIO(data) if isinstance(data, bytes) else data
        here = source.tell()
        size = source.seek(0, os.SEEK_END) - here
        source.seek(here)
        *above, name = parts_of(path) or (None,)
        if name is None:
            raise _os_error(errno.EISDIR, path)
        if size > _LARGEST_FILE:
            raise CardError("fat.too_large", path=path)
        with self._change(path):
            folder = self._folder(self._root)
            for part in above:
                folder = self._below(folder, part, path) or self._made(folder, part)
            old = folder.entries.get(fold(name))
            if old is not None and old.folder:
                raise _os_error(errno.EISDIR, path)
            first = self._store(source, size)
            if old is None:
                self._add(folder, name, ARCHIVE, first, size)
                return
            at = old.slots[-1] * SLOT
            struct.pack_into("<HHHHI", folder.content, at + 20, first >> 16, *self._moment, first & 0xFFFF, size)
            self._keep(folder)
            self._release(old.cluster)

    def remove(self, path: str) -> None:
        entry = self._entry(path)
        if entry.folder and self._folder(entry.cluster).entries:
            raise _os_error(errno.ENOTEMPTY, path)
        with self._change(path):
            folder, _ = self._above(path)
            for slot in entry.slots:
                folder.content[slot * SLOT] = DELETED
            self._keep(folder)
            self._release(entry.cluster)

    def listdir(self, path: str) -> list[str]:
        parts = parts_of(path)
        entry = self._entry(path) if parts else None
        if entry and not entry.folder:
            raise _os_error(errno.ENOTDIR, path)
        found = self._folder(entry.cluster if entry else self._root).entries
        return list(dict.fromkeys(e.name for e in found.values()))

    def free(self) -> int:
        return self._free * self._cluster

    def flush(self) -> None:
        """Hand everything to the file below, which may be a device; that is for its owner to flush."""
        self._file.flush()

    # -- a change: all of it or nothing ------------------------------------------------------------------------------

    @contextmanager
    def _change(self, path: str) -> Iterator[None]:
        before = self._free, self._next
        try:
            yield
        except BaseException as error:
            for cluster, entry in self._changed.items():
                self._fat[cluster] = entry
            self._free, self._next = before
            if isinstance(error, _NoRoom):
                raise CardError("fat.full", path=path, free=self.free() // BLOCK) from None
            raise
        else:
            self._commit()
        finally:
            self._changed.clear()
            self._blocks.clear()

    def _commit(self) -> None:
        per_sector = self._sector // 4
        for first, count in _in_a_row(sorted({cluster // per_sector for cluster in self._changed})):
            entries = self._fat[first * per_sector : (first + count) * per_sector].tobytes()
            for at in self._fats:
                self._write(at + first * self._sector, entries)
        for cluster, block in self._blocks.items():
            self._write(self._at(cluster), block)
        if self._info:
            self._write(self._info * self._sector + 488, struct.pack("<II", self._free, self._next))

    def _set(self, cluster: int, following: int) -> None:
        entry = self._fat[cluster]
        self._changed.setdefault(cluster, entry)
        self._fat[cluster] = entry & ~_CLUSTER_BITS | following

    def _allocate(self, count: int) -> list[int]:
        """Free clusters, chained in this order."""
        if count > self._free:
            raise _NoRoom
        around = itertools.chain(range(self._next, self._last), range(2, self._next))
        found = list(itertools.islice((c for c in around if not self._fat[c] & _CLUSTER_BITS), count))
        for cluster, following in zip(found, [*found[1:], _END], strict=False):
            self._set(cluster, following)
        if found:
            self._next = found[-1] + 1 if found[-1] + 1 < self._last else 2
        self._free -= count
        return found

    def _release(self, first: int) -> None:
        chain = self._chain(first) if first else []
        for cluster in chain:
            self._set(cluster, 0)
        self._free += len(chain)

    def _store(self, source: BinaryIO, size: int) -> int:
        """The first of the clusters that now hold it; 0 for an empty file. The rest of the last one is zeros."""
        chain = self._allocate(-(-size // self._cluster))
        for at, room in self._runs(chain):
            for done in range(0, room, BLOCK):
                wanted = min(BLOCK, room - done, size)
                block = source.read(wanted)
                if len(block) != wanted:
                    raise EOFError("the file became shorter while it was read")
                size -= wanted
                self._write(at + done, block.ljust(min(BLOCK, room - done), b"\0"))
        return chain[0] if chain else 0

    # -- folders -----------------------------------------------------------------------------------------------------

    def _folder(self, first: int) -> _Folder:
        chain = self._chain(first)
        content = bytearray()
        for cluster in chain:
            content += self._blocks.get(cluster) or self._read(self._at(cluster), self._cluster)
        end = next((at for at in range(0, len(content), SLOT) if not content[at]), len(content))
        found = list(entries(bytes(content[:end])))
        by_name = {fold(entry.short): entry for entry in found} | {fold(entry.name): entry for entry in found}
        return _Folder(chain, content[:end].ljust(len(content), b"\0"), by_name)

    def _above(self, path: str) -> tuple[_Folder, str]:
        """The folder that the path's last name stands in, and that name."""
        folder: _Folder | None = self._folder(self._root)
        *above, name = parts_of(path) or ("",)
        for part in above:
            folder = self._below(folder, part, path) if folder else None
        if folder is None:
            raise _os_error(errno.ENOENT, path)
        return folder, name

    def _below(self, folder: _Folder, name: str, path: str) -> _Folder | None:
        entry = folder.entries.get(fold(name))
        if entry is None:
            return None
        if not entry.folder:
            raise _os_error(errno.ENOTDIR, path)
        return self._folder(entry.cluster)

    def _entry(self, path: str) -> Entry:
        folder, name = self._above(path)
        entry = folder.entries.get(fold(name))
        if entry is None:
            raise _os_error(errno.ENOENT, path)
        return entry

    def _made(self, folder: _Folder, name: str) -> _Folder:
        """A new folder in a folder."""
        chain = self._allocate(1)
        above = 0 if folder.chain[0] == self._root else folder.chain[0]
        slots = self._slot(b".".ljust(11), FOLDER, chain[0], 0) + self._slot(b"..".ljust(11), FOLDER, above, 0)
        made = _Folder(chain, bytearray(slots.ljust(self._cluster, b"\0")), {})
        self._keep(made)
        self._add(folder, name, FOLDER, chain[0], 0)
        return made

    def _add(self, folder: _Folder, name: str, kind: int, first: int, size: int) -> None:
        """Enter a name into a folder, which grows as needed."""
        short, slots = named(name, folder.entries)
        slots.append(self._slot(short, kind, first, size))
        used = [slot not in {0, DELETED} for slot in folder.content[::SLOT]]
        at = next(n for n in range(len(used) + 1) if not any(used[n : n + len(slots)])) * SLOT
        end = at + len(slots) * SLOT
        more = -(-(end - len(folder.content)) // self._cluster)
        if more > 0:
            if (len(folder.content) + more * self._cluster) // SLOT > _MOST_SLOTS:
                raise _NoRoom
            chain = self._allocate(more)
            self._set(folder.chain[-1], chain[0])
            folder.chain.extend(chain)
            folder.content.extend(bytes(more * self._cluster))
        folder.content[at:end] = b"".join(slots)
        self._keep(folder)

    def _slot(self, short: bytes, kind: int, first: int, size: int) -> bytes:
        time, day = self._moment
        return struct.pack(
            "<11sBHHHHHHHHI", short, kind, 0, time, day, day, first >> 16, time, day, first & 0xFFFF, size
        )

    def _keep(self, folder: _Folder) -> None:
        for n, cluster in enumerate(folder.chain):
            self._blocks[cluster] = bytes(folder.content[n * self._cluster : (n + 1) * self._cluster])

    # -- clusters and bytes ------------------------------------------------------------------------------------------

    def _chain(self, first: int) -> list[int]:
        chain, seen = [], set()
        while first < _BAD:
            if not 2 <= first < self._last or first in seen:
                raise _damaged(f"cluster {first}")
            seen.add(first)
            chain.append(first)
            first = self._fat[first] & _CLUSTER_BITS
        if first == _BAD or not chain:
            raise _damaged(f"cluster {first}")
        return chain

    def _at(self, cluster: int) -> int:
        return self._data + (cluster - 2) * self._cluster

    def _runs(self, chain: list[int]) -> Iterator[tuple[int, int]]:
        """Where clusters that lie in a row begin, and how many bytes they are."""
        for first, count in _in_a_row(chain):
            yield self._at(first), count * self._cluster

    def _read(self, at: int, count: int) -> bytes:
        self._file.seek(self._offset + at)
        content = self._file.read(count)
        if len(content) != count:
            raise _damaged("size")
        return content

    def _write(self, at: int, content: bytes) -> None:
        self._file.seek(self._offset + at)
        self._file.write(content)


def _damaged(where: str) -> CardError:
    return CardError("fat.damaged", where=where)


def _os_error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


def _in_a_row(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """First and length of each run of numbers that follow one another."""
    for _, run in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        found = [number for _, number in run]
        yield found[0], len(found)
