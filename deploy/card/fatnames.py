"""The slots of a FAT folder: 8.3 names, long names, and what a new file is entered as.

Source: Microsoft, *FAT32 File System Specification*, version 1.03 (2000).
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Collection, Iterator
from typing import NamedTuple

SLOT = 32
DELETED = 0xE5
LABEL, FOLDER, ARCHIVE = 0x08, 0x10, 0x20  # attributes
_LONG, _ATTRIBUTES = 0x0F, 0x3F
_LAST_PART, _NUMBER = 0x40, 0x3F
_PART_BYTES = 26  # 13 units of UTF-16 in one slot
_LONGEST_BYTES = 2 * 255
_FORBIDDEN = '"*/:<>?\\|\x7f'  # and what is below the space
_SHORT_SIGNS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'()-@^_`{}~")


class Entry(NamedTuple):
    """A file or folder. short: its 8.3 name. slots: where its long name and then itself stand in the folder."""

    name: str
    short: str
    slots: range
    folder: bool
    cluster: int
    size: int


def fold(name: str) -> str:
    """Equal for names that are the same to FAT. One sign stays one sign: ß is not SS."""
    upper = name.upper()
    if len(upper) == len(name):
        return upper
    return "".join(sign.upper() if len(sign.upper()) == 1 else sign for sign in name)


def entries(slots: bytes) -> Iterator[Entry]:
    """What stands in slots up to the folder's end. A long name that does not belong to what follows is passed over."""
    long: list[tuple[int, int, bytes]] = []  # number, checksum, text
    for n in range(len(slots) // SLOT):
        slot = slots[n * SLOT : (n + 1) * SLOT]
        if slot[0] != DELETED and slot[11] & _ATTRIBUTES == _LONG:
            if slot[0] & _LAST_PART:
                long.clear()
            long.append((slot[0] & _NUMBER, slot[13], slot[1:11] + slot[14:26] + slot[28:32]))
            continue
        if slot[0] not in {DELETED, ord(".")} and not slot[11] & LABEL:
            numbers = range(len(long), 0, -1)
            owned = bool(long) and [part[:2] for part in long] == [(number, _checksum(slot)) for number in numbers]
            text = b"".join(part[2] for part in reversed(long)).decode("utf-16-le", "surrogatepass").partition("\0")[0]
            short = _short_text(slot)
            high, low, size = struct.unpack_from("<H4xHI", slot, 20)
            yield Entry(
                text if owned else short, short, range(n - len(long) * owned, n + 1), bool(slot[11] & FOLDER),
                high << 16 | low, size,
            )  # fmt: skip
        long.clear()


def named(name: str, taken: Collection[str]) -> tuple[bytes, list[bytes]]:
    """The 8.3 name (11 bytes) of a new file, and the slots of its long name where it needs one.

    taken: all names of the folder, short ones too, `fold`ed. Raises ValueError for what FAT or Windows cannot have.
    """
    text = name.encode("utf-16-le")
    if len(text) > _LONGEST_BYTES or name[-1] in ". " or any(sign < " " or sign in _FORBIDDEN for sign in name):
        raise ValueError(
            f"{name!r}: a name has at most 255 signs, none of {_FORBIDDEN}, and no dot or space at its end"
        )
    parts = name.upper().lstrip(".").rsplit(".", 1)
    stem, ending = (
        "".join(s if s in _SHORT_SIGNS else "_" for s in part if s not in " .") for part in (*parts, "")[:2]
    )
    plain = ".".join(part for part in (stem, ending) if part) == name.upper() and len(stem) <= 8 and len(ending) <= 3
    tails = itertools.chain([""] * plain, (f"~{n}" for n in itertools.count(1)))
    shorts = ((stem[: 8 - len(tail)] + tail).ljust(8) + ending[:3].ljust(3) for tail in tails)
    short = next(s.encode("ascii") for s in shorts if _short_text(s.encode("ascii") + b"\0\0") not in taken)
    if name == _short_text(short + b"\0\0"):
        return short, []
    if len(text) % _PART_BYTES:
        text = (text + b"\0\0").ljust(-(-len(text) // _PART_BYTES) * _PART_BYTES, b"\xff")
    slots: list[bytes] = []
    for number in range(len(text) // _PART_BYTES, 0, -1):
        part = text[(number - 1) * _PART_BYTES : number * _PART_BYTES]
        mark = number | (0 if slots else _LAST_PART)
        slots.append(
            struct.pack("<B10sBBB12sH4s", mark, part[:10], _LONG, 0, _checksum(short), part[10:22], 0, part[22:])
        )
    return short, slots


def _short_text(slot: bytes) -> str:
    """An 8.3 name as Windows and Linux show it: either part may be marked as lower case."""
    raw = b"\xe5" + slot[1:11] if slot[0] == 0x05 else slot[:11]
    stem, ending = (part.rstrip(b" ").decode("cp437") for part in (raw[:8], raw[8:]))
    stem, ending = (stem.lower() if slot[12] & 0x08 else stem), (ending.lower() if slot[12] & 0x10 else ending)
    return f"{stem}.{ending}" if ending else stem


def _checksum(short: bytes) -> int:
    total = 0
    for byte in short[:11]:
        total = ((total & 1) << 7 | total >> 1) + byte & 0xFF
    return total
