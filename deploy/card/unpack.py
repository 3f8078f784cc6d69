"""An image of an operating system, unpacked and verified into a copy that may be changed."""

from __future__ import annotations

import errno
import hashlib
import io
import lzma
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from deploy.card.disk import SECTOR
from deploy.card.errors import CardError
from deploy.card.tree import BLOCK

Step = Literal["download", "unpack", "write", "verify"]
Told = Callable[[Step, int, int], None]  # how far a step has come: so many bytes of so many
_XZ = b"\xfd7zXZ\x00"


class Copy(NamedTuple):
    """file: open for reading and writing, gone when closed. sha256: of the image as it was."""

    file: BinaryIO
    size: int
    sha256: str


class _Hashed(io.RawIOBase):
    """A file whose checksum is made while it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self.sha256 = hashlib.sha256()
        self._file = file

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        content = self._file.read(size)
        self.sha256.update(content)
        return content


def checked_sha256(text: str) -> str:
    """A checksum as people copy it. Raises CardError `image.no_sha256` for something else."""
    text = text.strip().lower()
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise CardError("image.no_sha256", given=text)
    return text


@contextmanager
def unpacked(image: Path, work: Path, told: Told, sha256: str = "") -> Iterator[Copy]:
    """A copy of an image (`.img`, `.img.xz`; its first bytes decide) in the folder `work`. Holes stay holes.

    sha256: of the file or of the image inside it, hexadecimal; empty where nobody knows one.
    Raises CardError `image.missing`, `.damaged`, `.checksum`, `.not_image` or `.no_room`.
    """
    wanted = checked_sha256(sha256) if sha256 else ""
    try:
        source = image.open("rb")
    except OSError as error:
        raise CardError("image.missing", path=image, error=error.strerror) from error
    with source, room(work), tempfile.TemporaryFile(dir=work, prefix="banksman-") as copy:
        total = os.fstat(source.fileno()).st_size
        packed = _Hashed(source)
        content: BinaryIO = packed  # type: ignore[assignment]
        if source.peek(len(_XZ)).startswith(_XZ):
            content = lzma.LZMAFile(packed)  # type: ignore[assignment, arg-type]  # noqa: SIM115 - nothing to close
        digest = hashlib.sha256()
        size = 0
        while block := _read(content, image):
            digest.update(block)
            if block.count(0) == len(block):
                copy.seek(len(block), os.SEEK_CUR)
            else:
                copy.write(block)
            size += len(block)
            told("unpack", source.tell(), total)
        copy.truncate(size)
        while packed.read(BLOCK):  # what may stand behind the last stream belongs to the file's checksum
            pass
        if wanted not in {"", digest.hexdigest(), packed.sha256.hexdigest()}:
            raise CardError("image.checksum", path=image, wanted=wanted, found=packed.sha256.hexdigest())
        if not size or size % SECTOR:
            raise CardError("image.not_image", path=image)
        yield Copy(copy, size, digest.hexdigest())


def _read(content: BinaryIO, image: Path) -> bytes:
    try:
        return content.read(BLOCK)
    except (lzma.LZMAError, EOFError) as error:
        raise CardError("image.damaged", path=image) from error


@contextmanager
def room(folder: Path) -> Iterator[None]:
    """A folder to work in, made as needed; when its disk is full that is said in words."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise CardError("image.no_room", folder=folder) from error
