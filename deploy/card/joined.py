"""A node's own .img.xz out of two streams of xz, of which only the first differs from node to node.

An .xz file may be several streams one behind the other (xz(1), The .xz File Format 1.2.1, section 2): what unpacks one
unpacks them all. The first holds the partition table and the boot partition with the node's payload, the second the
root file system, compressed once for each official image and kept.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import lzma
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import quote

from broker import files
from deploy.card.disk import boot_partition
from deploy.card.errors import CardError
from deploy.card.fat import Fat32
from deploy.card.node import Node
from deploy.card.payload import Payload, inject
from deploy.card.tree import BLOCK, Tree

HEAD_PRESET = 0
"""Mostly wheels, compressed already, and empty space: more effort gains nothing."""
ROOT_PRESET = 3
_TABLE = 16 << 20
"""Bytes with the partition table and the beginning of the boot partition, which lies at 4 or 8 MiB."""
_HEAD_MOST = 4 << 30
MANIFEST = ".rpi-imager-manifest"
Inject = Callable[[Tree], None]


@dataclass(frozen=True)
class Base:
    """An official image, split. head: all before the root file system, as it is; root: the rest, compressed.

    size: of the whole, unpacked. offset, length: of the boot partition. Bytes, all of them.
    """

    head: Path
    root: Path
    size: int
    offset: int
    length: int


@dataclass(frozen=True)
class Made:
    """A node's image. size, sha256: unpacked; packed: bytes of both streams together."""

    size: int
    sha256: str
    packed: int


@contextmanager
def opened(image: Path) -> Iterator[tuple[BinaryIO, Callable[[], str]]]:
    """An .img or .img.xz, unpacked; and what tells the SHA-256 of the file itself once all has been read."""
    with ExitStack() as stack:
        raw = _Hashed(stack.enter_context(image.open("rb")))
        file = cast("BinaryIO", raw)
        if image.suffix == ".xz":
            file = cast("BinaryIO", stack.enter_context(lzma.open(file)))
        yield file, raw.sha256


class _Hashed:
    """A file that is read once from start to end, and its digest."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self._digest.update(block)
        return block

    def sha256(self) -> str:
        while self.read(BLOCK):
            pass
        return self._digest.hexdigest()


def base(image: Path, sha256: str, folder: Path) -> Base:
    """The image split, out of `folder` where that was done before. sha256: of the file. Raises CardError, OSError."""
    kept = folder / f"base-{sha256[:16]}"
    told = kept / "base.json"
    if not told.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".base-", dir=folder) as place:
            values = _split(image, sha256, Path(place))
            files.write(Path(place, "base.json"), json.dumps(values).encode())
            shutil.rmtree(kept, ignore_errors=True)  # of one that was cut off
            Path(place).rename(kept)
            Path(place).mkdir()  # for whoever removes it
    return Base(kept / "head.img", kept / "root.xz", **json.loads(told.read_bytes()))


def _split(image: Path, sha256: str, folder: Path) -> dict[str, int]:
    try:
        with opened(image) as (file, digest), (folder / "head.img").open("w+b") as head:
            _copy(file, head, 0, _TABLE, image)
            head.truncate(_HEAD_MOST)  # so that the partition does not seem to be cut short
            boot = boot_partition(head)
            end = boot.offset + boot.size
            _copy(file, head, _TABLE, end, image)
            size = end
            with lzma.open(folder / "root.xz", "wb", preset=ROOT_PRESET) as root:
                while block := file.read(BLOCK):
                    root.write(block)
                    size += len(block)
            if (found := digest()) != sha256:
                raise CardError("image.checksum", path=image, wanted=sha256, found=found)
    except (lzma.LZMAError, EOFError) as error:
        raise CardError("image.damaged", path=image) from error
    return {"size": size, "offset": boot.offset, "length": boot.size}


def _copy(file: BinaryIO, head: BinaryIO, at: int, end: int, image: Path) -> None:
    head.seek(at)
    while at < end:
        block = file.read(min(BLOCK, end - at))
        if not block:
            raise CardError("image.damaged", path=image)
        _write(head, block)
        at += len(block)
    head.truncate(end)


def _write(file: BinaryIO, block: bytes) -> None:
    """A hole where the block is empty: most of a boot partition is."""
    if block.count(0) == len(block):
        file.seek(len(block), os.SEEK_CUR)
    else:
        file.write(block)


def make(of: Base, fill: Inject, out: BinaryIO) -> Made:
    """Write the first stream of a node's image; the second is `of.root`. Raises CardError, OSError."""
    with tempfile.TemporaryFile(dir=of.head.parent) as head:
        with of.head.open("rb") as source:
            while block := source.read(BLOCK):
                _write(head, block)
            head.truncate(source.tell())
        fill(Fat32(head, of.offset, of.length))
        head.seek(0)
        digest = hashlib.sha256()
        packer = lzma.LZMACompressor(preset=HEAD_PRESET)
        packed = 0
        while block := head.read(BLOCK):
            digest.update(block)
            packed += out.write(packer.compress(block))
        packed += out.write(packer.flush())
    with lzma.open(of.root, "rb") as root:
        while block := root.read(BLOCK):
            digest.update(block)
    return Made(of.size, digest.hexdigest(), packed + of.root.stat().st_size)


def joined(first: Path, second: Path, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Bytes from start to end (exclusive) of the two files one behind the other."""
    end = first.stat().st_size + second.stat().st_size if end is None else end
    for path in (first, second):
        size = path.stat().st_size
        if start < size and end > 0:
            with path.open("rb") as file:
                file.seek(start)
                left = min(end, size) - start
                while left > 0 and (block := file.read(min(BLOCK, left))):
                    yield block
                    left -= len(block)
        start, end = max(start - size, 0), end - size


# -- Raspberry Pi Imager -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """What Raspberry Pi Imager is told of an image (doc/json-schema/os-list-schema.json of rpi-imager)."""

    name: str
    description: str
    icon: str
    url: str
    extract_size: int
    extract_sha256: str
    image_download_size: int
    release_date: str


def manifest(entries: list[Entry]) -> bytes:
    """A `.rpi-imager-manifest`. Imager asks for nothing more: the card has it all."""
    told = [asdict(entry) | {"init_format": "none"} for entry in entries]
    return json.dumps({"os_list": told}, ensure_ascii=False, indent=1).encode() + b"\n"


def entry(node: Node, made: Made, url: str, at: float, icon: str = "") -> Entry:
    """at: when it was made, Unix seconds."""
    name = f"{node.name or node.node} – {node.id}"
    day = f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d}"
    return Entry(name, f"Banksman {node.id}", icon, url, made.size, made.sha256, made.packed, day)


def write(of: Base, payload: Payload, folder: Path, at: float) -> Path:
    """SITE-NODE.img.xz in a folder, and beside it what a manifest says of it. Raises CardError, OSError."""
    node = payload.node.node
    path = folder / f"{node.site}-{node.node}.img.xz"
    part = path.with_name(path.name + ".part")
    with part.open("wb") as out:
        part.chmod(0o600)
        made = make(of, lambda tree: inject(tree, payload), out)
        with of.root.open("rb") as root:
            shutil.copyfileobj(root, out, BLOCK)
    part.replace(path)
    told = asdict(entry(node, made, path.name, at))
    files.write(folder / f"{path.name}.json", json.dumps(told, ensure_ascii=False).encode())
    return path


def collect(folder: Path, url: str) -> Path:
    """The manifest of all images in a folder. url: of the folder. Raises CardError, OSError."""
    told = [json.loads(path.read_bytes()) for path in sorted(folder.glob("*.img.xz.json"))]
    entries = [Entry(**one | {"url": f"{url.rstrip('/')}/{quote(one['url'])}"}) for one in told]
    path = folder / f"banksman{MANIFEST}"
    files.write(path, manifest(entries))
    return path
