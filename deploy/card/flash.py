"""An image onto a card: copy, fill, write, read back, compare."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

from deploy.card import device
from deploy.card.disk import boot_partition
from deploy.card.drives import Drive, check
from deploy.card.errors import CardError
from deploy.card.fat import Fat32
from deploy.card.tree import BLOCK, Tree
from deploy.card.unpack import Copy, Told, unpacked

WORK = Path.home() / ".cache" / "banksman" / "images"  # /tmp is in memory on many systems
_HEAD = 4 * BLOCK  # its first block has the partition table; written last, so an unfinished card is an empty one
_SYNC_EVERY = 32 * BLOCK  # so that progress is what the card has, and a card that is gone is noticed
_OF_EVERY_IMAGE = ("config.txt", "cmdline.txt")  # what the firmware of a Raspberry Pi starts from


def flash(
    image: Path, drive: Drive, inject: Callable[[Tree], None], told: Told, *, sha256: str = "", work: Path = WORK
) -> str:
    """Make a card. Nothing is written to it before the image has been unpacked, verified and filled.

    image: `.img` or `.img.xz`; sha256: of either, hexadecimal; empty where nobody knows it. inject: puts onto the boot
    partition what this card is to have. work: where a copy has room, as large as the image unpacked.
    Returns the SHA-256 of the unpacked image as it was before `inject`. Raises CardError, which says what to do.
    """
    check(drive)
    with unpacked(image, work, told, sha256) as copy:
        if copy.size > drive.size:
            raise CardError("flash.too_small", path=drive.path, needed=_gb(copy.size), there=_gb(drive.size))
        fill(copy, inject)
        with device.held(drive) as descriptor:
            _write(copy, descriptor, drive, told)
            _verify(copy, drive, told)
        return copy.sha256


def fill(copy: Copy, inject: Callable[[Tree], None]) -> None:
    """Change the boot partition of a copy. Raises CardError `flash.not_pi` where it is not one of a Raspberry Pi."""
    partition = boot_partition(copy.file)
    tree = Fat32(copy.file, partition.offset, partition.size)
    if not all(tree.exists(name) for name in _OF_EVERY_IMAGE):
        raise CardError("flash.not_pi", missing=", ".join(name for name in _OF_EVERY_IMAGE if not tree.exists(name)))
    inject(tree)
    tree.flush()


def _write(copy: Copy, descriptor: int, drive: Drive, told: Told) -> None:
    done = 0
    try:
        there = device.size_of(descriptor, drive)
        if 0 < there < copy.size:
            raise CardError("flash.too_small", path=drive.path, needed=_gb(copy.size), there=_gb(there))
        head = min(_HEAD, copy.size)
        device.write(descriptor, 0, bytes(head))
        device.sync(descriptor)
        for at in itertools.chain(range(head, copy.size, BLOCK), reversed(range(0, head, BLOCK))):
            copy.file.seek(at)
            block = copy.file.read(BLOCK)
            device.write(descriptor, at, block)
            done += len(block)
            if done % _SYNC_EVERY == 0 or done >= copy.size - min(BLOCK, head):  # all before the table, then the table
                device.sync(descriptor)
            told("write", done, copy.size)
    except OSError as error:
        raise _lost(descriptor, drive, "flash.unwritable", done, error) from error


def _verify(copy: Copy, drive: Drive, told: Told) -> None:
    done = 0
    try:
        copy.file.seek(0)
        for found in device.stored(drive, copy.size):
            wanted = copy.file.read(len(found))
            if found != wanted:
                first = next(n for n, (a, b) in enumerate(zip(found, wanted, strict=True)) if a != b)
                raise CardError("flash.differs", path=drive.path, at=done + first)
            done += len(found)
            told("verify", done, copy.size)
    except OSError as error:
        raise CardError("flash.unreadable", path=drive.path, mb=done // BLOCK, error=error.strerror) from error
    if done != copy.size:
        raise CardError("flash.gone", path=drive.path, mb=done // BLOCK)


def _lost(descriptor: int, drive: Drive, code: str, done: int, error: OSError) -> CardError:
    """A card that was pulled out has no size any more."""
    try:
        gone = device.size_of(descriptor, drive) < drive.size
    except OSError:
        gone = True
    code = "flash.gone" if gone and not Path(drive.path).is_file() else code
    return CardError(code, path=drive.path, mb=done // BLOCK, error=error.strerror)


def _gb(size: int) -> str:
    return f"{size / 10**9:.2f}"
