"""Random operations on a FAT32, by us and by mtools, and what should be in it after them."""

from __future__ import annotations

import datetime as dt
import io
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.card.errors import CardError
from deploy.card.fat import Fat32
from deploy.card.fatnames import fold
from tests.card.images import MIB, assert_sound, fat32, files_of, folders_of, run

NOW = dt.datetime(2026, 11, 27, 8, 0, 2, tzinfo=dt.UTC)
STEMS = [
    "A", "CONFIG", "config", "Long name with spaces", "a.b.c", ".hidden", "安全帽", "工地 现场说明", "Ünïcödé",
    "README~1", "x" * 60, "13 units long", "26 units long, to the last", "plus+comma,semi;eq=[br]", "Straße", "ЖИВОТ",
    "..two", "UPPERlow",
]  # fmt: skip
ENDINGS = ["", ".txt", ".TXT", ".toml", ".tar.zst", ".图", ".dtbo"]

BALLAST = "ballast.bin"  # is left alone, so that the partition stays nearly full


@contextmanager
def opened(image: Path, offset: int = 0, size: int | None = None) -> Iterator[Fat32]:
    with image.open("r+b") as file:
        tree = Fat32(file, offset, image.stat().st_size - offset if size is None else size, now=NOW)
        yield tree
        tree.flush()


class Fuzz:
    """Random operations by us and by mtools on one partition, and what should be in it."""

    def __init__(self, image: Path, offset: int, cluster: int, seed: int) -> None:
        self.image, self.offset, self.cluster = image, offset, cluster
        self.random = random.Random(seed)  # noqa: S311 - a fuzz test is to be repeatable
        self.files: dict[str, bytes] = {}  # by path as it was first written
        self.folders: set[str] = set()
        self.done = self.written = self.refused = self.to_delete = 0

    def known(self, path: str) -> str | None:
        """The file or folder that FAT takes for the same."""
        return next((p for p in (*self.files, *self.folders) if fold(p) == fold(path)), None)

    def new_path(self) -> str:
        """Of a file; the folders on the way are written as they are known, and may not be there yet."""
        name = self.random.choice(STEMS) + self.random.choice(["", "", str(self.random.randrange(40))])
        above = self.random.choice(["", "", *self.folders, "new/" + self.random.choice(STEMS)])
        path = ""
        for part in (*above.split("/")[:3], name + self.random.choice(ENDINGS)):
            further = f"{path}/{part}".lstrip("/")
            path = path if self.known(further) in self.files else self.known(further) or further
        return path

    def in_other_case(self, path: str) -> str:
        """The path, its name sometimes in capitals or small letters, where FAT takes it for the same."""
        above, slash, name = path.rpartition("/")
        other = above + slash + self.random.choice([name, name.upper(), name.lower()])
        return other if fold(other) == fold(path) else path

    def content(self, free: int) -> bytes:
        """Mostly small; at times all that is free, or a byte too much, where that is little."""
        cluster, small = self.cluster, self.random.randrange(min(200_000, free // 8 + 1))
        sizes = [0, 1, cluster - 1, cluster, cluster + 1, small, small, small]
        if free < MIB:
            sizes += self.random.choice([[], [free - free % cluster], [free + 1]])
        return self.random.randbytes(self.random.choice(sizes))

    def write(self) -> bool:
        path = self.random.choice([*self.files, self.new_path(), self.new_path()])
        if not path or path in {*self.folders, BALLAST}:
            return False
        with opened(self.image, self.offset) as tree:
            before = tree.free()
            content = self.content(before)
            source = content if self.random.random() < 0.5 else io.BytesIO(content)
            called = self.in_other_case(path)
            path = path if path in self.files else called  # a file that is there keeps its name
            try:
                tree.write(called, source)
            except CardError as error:
                assert (error.code, tree.free()) == ("fat.full", before)  # noqa: PT017 - either may happen
                # A new folder is one cluster, and what it is entered in may grow by two.
                assert len(content) > before - (2 + 3 * path.count("/")) * max(self.cluster, 2048), "there was room"
                self.refused += 1
                self.to_delete = 3
                return True
        above = path.split("/")[:-1]
        self.folders |= {"/".join(above[: n + 1]) for n in range(len(above))}
        self.files[path] = content
        self.written += 1
        return True

    def write_with_mtools(self) -> bool:
        path = self.new_path()
        above = path.rpartition("/")[0]
        if (
            not path
            or self.known(path)
            or (above and above not in self.folders)
            or re.search(r"[\[\]~]|/\.", f"/{path}")
        ):
            return False  # mtools takes brackets for a pattern
        with opened(self.image, self.offset) as tree:
            if tree.free() < 600_000:
                return False
        content = self.random.randbytes(self.random.randrange(200_000))
        target = f"::/{path}"
        run("mcopy", "-i", f"{self.image}@@{self.offset}", "-o", "-", target, given=content)
        self.files[path] = content
        return True

    def delete(self) -> bool:
        path = self.random.choice([*self.files, BALLAST])
        if path == BALLAST:
            return False
        if self.random.random() < 0.3 and not re.search(r"[\[\]]", path):
            run("mdel", "-i", f"{self.image}@@{self.offset}", f"::/{path}")
        else:
            with opened(self.image, self.offset) as tree:
                tree.remove(self.in_other_case(path))
        del self.files[path]
        return True

    def delete_folder(self) -> bool:
        empty = sorted(f for f in self.folders if not any(p.startswith(f + "/") for p in (*self.files, *self.folders)))
        full = sorted(self.folders - set(empty))
        with opened(self.image, self.offset) as tree:
            for folder in full[:1]:
                with pytest.raises(OSError, match="not empty"):
                    tree.remove(folder)
            for folder in empty[:1]:
                tree.remove(folder)
                self.folders.remove(folder)
        return bool(empty or full)

    def step(self) -> None:
        """One operation; `done` counts those that did or refused something."""
        if self.to_delete:
            self.to_delete -= 1
            self.done += self.delete()
        actions = [self.write, self.write_with_mtools, self.delete, self.delete_folder]
        self.done += self.random.choices(actions, [12, 4, 3, 1])[0]()

    def compare(self) -> None:
        """Others and ourselves find just what should be there."""
        assert files_of(self.image, offset=self.offset) == self.files
        assert folders_of(self.image, offset=self.offset) == self.folders
        found: dict[str, bytes] = {}
        with opened(self.image, self.offset) as tree:

            def descend(folder: str) -> None:
                for name in tree.listdir(folder):
                    path = f"{folder}/{name}" if folder else name
                    if path in self.folders:
                        descend(path)
                    else:
                        found[path] = tree.read(path)

            descend("")
            free = tree.free()
        assert found == self.files
        assert free == sound_and_free(self.image, self.offset, self.cluster)


def sound_and_free(image: Path, offset: int, cluster: int) -> int:
    """Bytes that `fsck.vfat` counts as free, after it has found nothing to mend."""
    said = assert_sound(image, offset=offset)
    counted = re.search(r"(\d+)/(\d+) clusters", said)
    assert counted, said
    used, there = map(int, counted.groups())
    return (there - used) * cluster


def fuzzed(folder: Path, seed: int, *, operations: int, per_cluster: int, size: int, offset: int, spare: int) -> Fuzz:
    """So many operations, and a comparison after every fiftieth.

    spare: bytes that a large file leaves free, so that the partition fills up; 0: none is written.
    """
    image = folder / f"{seed}.img"
    fat32(image, size, offset=offset, sectors_per_cluster=per_cluster)
    fuzz = Fuzz(image, offset, per_cluster * 512, seed)
    if spare:
        with opened(image, offset) as tree:
            ballast = bytes(tree.free() - spare)
            tree.write(BALLAST, ballast)
        fuzz.files[BALLAST] = ballast
    for target in (*range(50, operations, 50), operations):
        while fuzz.done < target:
            fuzz.step()
        fuzz.compare()
    image.unlink()
    return fuzz
