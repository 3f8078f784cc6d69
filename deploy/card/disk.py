"""Where the boot partition lies, in an image or on a device.

Sources: the DOS partition table (MBR), and UEFI Specification 2.10, chapter 5 (GPT). Sectors are of 512 bytes, as those
of every SD card are.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple
from uuid import UUID

from deploy.card.errors import CardError

SECTOR = 512
_SIGNATURE = b"\x55\xaa"
_FAT32_TYPES = {0x0B, 0x0C}
_GPT_TYPE = 0xEE  # of the one partition that tells old programs to keep off
_GPT_BOOT_TYPES = {
    UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"),  # EFI system partition
    UUID("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"),  # basic data
}


class Partition(NamedTuple):
    """number: from 1. offset, size: in bytes."""

    number: int
    offset: int
    size: int


def boot_partition(file: BinaryIO) -> Partition:
    """The first FAT32 partition. file: one whose end can be sought, as that of a device under Linux can.

    Raises CardError: `disk.no_table`, `disk.damaged`, `disk.no_boot`, and `disk.cut_short` for one that ends behind the
    end of the file.
    """
    end = file.seek(0, os.SEEK_END)
    for partition in _candidates(file):
        needed = partition.offset + partition.size
        if needed > end:
            raise CardError("disk.cut_short", size=end, needed=needed)
        if _at(file, partition.offset, SECTOR)[82:90] == b"FAT32   ":
            return partition
    raise CardError("disk.no_boot")


def _candidates(file: BinaryIO) -> Iterator[Partition]:
    """What a boot partition may be, by the table alone."""
    table = _at(file, 0, SECTOR)
    entries = [table[at : at + 16] for at in range(446, 510, 16)]
    if table[510:] != _SIGNATURE or any(entry[0] & 0x7F for entry in entries) or not any(entry[4] for entry in entries):
        raise CardError("disk.no_table")
    return _gpt(file) if entries[0][4] == _GPT_TYPE else _dos(entries)


def _dos(entries: list[bytes]) -> Iterator[Partition]:
    for number, entry in enumerate(entries, 1):
        first, count = struct.unpack_from("<II", entry, 8)
        if entry[4] in _FAT32_TYPES and first and count:
            yield Partition(number, first * SECTOR, count * SECTOR)


def _gpt(file: BinaryIO) -> Iterator[Partition]:
    header = _at(file, SECTOR, SECTOR)
    size, checksum = struct.unpack_from("<I", header, 12)[0], struct.unpack_from("<I", header, 16)[0]
    at, count, length, entries_checksum = struct.unpack_from("<QIII", header, 72)
    whole = header[:16] + bytes(4) + header[20:size]
    if header[:8] != b"EFI PART" or not 92 <= size <= SECTOR or zlib.crc32(whole) != checksum:
        raise CardError("disk.damaged")
    if length < 128 or count > 1024 or length > 4096:
        raise CardError("disk.damaged")
    entries = _at(file, at * SECTOR, count * length)
    if zlib.crc32(entries) != entries_checksum:
        raise CardError("disk.damaged")
    for number in range(count):
        entry = entries[number * length : (number + 1) * length]
        first, last = struct.unpack_from("<QQ", entry, 32)
        if UUID(bytes_le=entry[:16]) in _GPT_BOOT_TYPES and 0 < first <= last:
            yield Partition(number + 1, first * SECTOR, (last - first + 1) * SECTOR)


def _at(file: BinaryIO, offset: int, count: int) -> bytes:
    """So many bytes, zeros behind the end of the file."""
    file.seek(offset)
    return file.read(count).ljust(count, b"\0")
