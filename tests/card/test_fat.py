"""Our FAT32 writer against mtools and `fsck.vfat`: what it writes they read, what they write it reads, and nothing is
to be mended. 300 random operations in `make test`, 10,000 in `make proof`.
"""

from __future__ import annotations

import errno
import io
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.card import fat
from deploy.card.errors import CardError
from deploy.card.fat import Fat32
from deploy.card.fatnames import entries, fold, named
from deploy.card.tree import Folder, Tree
from tests.card.fatfuzz import fuzzed, opened, sound_and_free
from tests.card.images import MIB, SMALLEST_FAT32, assert_sound, fat32, files_of, folders_of, put, run


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(CardError) as caught:
        action()
    assert caught.value.told("zh-CN") != caught.value.told("en")
    return caught.value.code


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty FAT32, clusters of one sector."""
    path = tmp_path_factory.mktemp("fat") / "blank.img"
    fat32(path, SMALLEST_FAT32)
    return path


@pytest.fixture
def image(blank: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(blank, tmp_path / "fat.img"))


# -- random operations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("per_cluster", "size", "spare"), [(1, SMALLEST_FAT32, 400_000), (8, 260 * MIB, 0)])
def test_random_operations(tmp_path: Path, per_cluster: int, size: int, spare: int) -> None:
    fuzz = fuzzed(tmp_path, 20_261_127, operations=150, per_cluster=per_cluster, size=size, offset=0, spare=spare)
    assert fuzz.written > 50
    assert fuzz.folders
    assert bool(spare) == bool(fuzz.refused)


FULL_SIZE = [  # sectors per cluster, size, where it begins, bytes left free, seeds
    (1, SMALLEST_FAT32, 0, 400_000, 10),
    (1, SMALLEST_FAT32, 8 * MIB, 0, 4),
    (1, 512 * MIB, 0, 0, 6),
    (2, 68 * MIB, 0, 2_000_000, 5),
    (4, 140 * MIB, 0, 0, 5),
    (8, 260 * MIB, 0, 0, 5),
    (32, 1030 * MIB, 0, 0, 2),
    (64, 2060 * MIB, 0, 0, 2),
    (128, 4120 * MIB, 0, 0, 2),
]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("row", FULL_SIZE, ids=str)
def test_random_operations_at_full_size(tmp_path: Path, proof: bool, row: tuple[int, int, int, int, int]) -> None:
    if not proof:
        pytest.skip("part of the full-size run: make proof")
    per_cluster, size, offset, spare, seeds = row
    runs = [
        fuzzed(tmp_path, seed, operations=250, per_cluster=per_cluster, size=size, offset=offset, spare=spare)
        for seed in range(seeds)
    ]
    done, refused = sum(fuzz.done for fuzz in runs), sum(fuzz.refused for fuzz in runs)
    print(f"{per_cluster} sectors per cluster, {size // MIB} MiB: {done} operations, {refused} refused as full")
    assert done >= 250 * seeds


# -- what a tree promises, ours and one that the system has mounted ----------------------------------------------------


@pytest.fixture(params=["fat32", "folder"])
def tree(request: pytest.FixtureRequest, image: Path, tmp_path: Path) -> Iterator[Tree]:
    if request.param == "folder":
        (tmp_path / "mounted").mkdir()
        yield Folder(tmp_path / "mounted")
    else:
        with opened(image) as ours:
            yield ours


def test_a_tree(tree: Tree) -> None:
    assert (tree.exists(""), tree.exists("banksman"), tree.exists("banksman/node.toml")) == (True, False, False)
    tree.write("banksman/安全/node.toml", b"first, and longer")
    tree.write("banksman/安全/node.toml", b"second")
    behind = io.BytesIO(b"xxx" + b"A" * 3000)
    behind.seek(3)
    tree.write("banksman/app.tar", behind)
    tree.write("cmdline.txt", b"")
    assert (tree.exists("banksman"), tree.exists("banksman/app.tar")) == (True, True)
    assert tree.read("banksman/安全/node.toml") == b"second"
    assert tree.read("banksman/app.tar") == b"A" * 3000
    assert tree.read("cmdline.txt") == b""
    assert sorted(tree.listdir("")) == ["banksman", "cmdline.txt"]
    assert sorted(tree.listdir("banksman")) == ["app.tar", "安全"]
    tree.remove("banksman/安全/node.toml")
    tree.remove("banksman/安全")
    assert tree.listdir("banksman") == ["app.tar"]
    tree.flush()


WRONG_USE: dict[str, tuple[Callable[[Tree], object], type[Exception]]] = {
    "read what is not there": (lambda t: t.read("nothing"), FileNotFoundError),
    "read below what is not there": (lambda t: t.read("nothing/file"), FileNotFoundError),
    "read a folder": (lambda t: t.read("folder"), IsADirectoryError),
    "read below a file": (lambda t: t.read("file/file"), NotADirectoryError),
    "write over a folder": (lambda t: t.write("folder", b""), IsADirectoryError),
    "write below a file": (lambda t: t.write("file/file", b""), NotADirectoryError),
    "remove what is not there": (lambda t: t.remove("nothing"), FileNotFoundError),
    "list what is not there": (lambda t: t.listdir("nothing"), FileNotFoundError),
    "list a file": (lambda t: t.listdir("file"), NotADirectoryError),
    "leave the tree": (lambda t: t.write("folder/../../file", b""), ValueError),
    "from the root of the system": (lambda t: t.read("/etc/hostname"), ValueError),
}


@pytest.mark.parametrize("case", WRONG_USE)
def test_wrong_use_of_a_tree(tree: Tree, case: str) -> None:
    tree.write("file", b"x")
    tree.write("folder/file", b"y")
    action, error = WRONG_USE[case]
    with pytest.raises(error):
        action(tree)
    with pytest.raises(OSError, check=lambda e: e.errno == errno.ENOTEMPTY):
        tree.remove("folder")
    assert (tree.read("file"), tree.read("folder/file")) == (b"x", b"y")


# -- a file that does not fit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["node.toml", "new/folders/on the way/file"])
def test_what_does_not_fit_changes_nothing(image: Path, path: str) -> None:
    with opened(image) as tree:
        tree.write("node.toml", b"as it was")
        free = tree.free()
        assert code_of(lambda: tree.write(path, bytes(free + 1))) == "fat.full"
        assert tree.free() == free
        tree.write("last", bytes(free))
        assert tree.free() == 0
        assert code_of(lambda: tree.write("more", b"1")) == "fat.full"
        tree.write("empty", b"")
    assert files_of(image) == {"node.toml": b"as it was", "last": bytes(free), "empty": b""}
    assert folders_of(image) == set()
    assert sound_and_free(image, 0, 512) == 0


def test_a_mounted_partition_that_is_full(small_disk: Path) -> None:
    folder = Folder(small_disk)
    folder.write("banksman/node.toml", b"as it was")
    assert code_of(lambda: folder.write("banksman/node.toml", bytes(5 * MIB))) == "fat.full"
    assert (folder.listdir("banksman"), folder.read("banksman/node.toml")) == (["node.toml"], b"as it was")


class Ending(io.BytesIO):
    """A file that another program makes shorter while it is read, or a disk that fails."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size)[:100]


def test_a_source_that_ends_early_changes_nothing(image: Path) -> None:
    with opened(image) as tree:
        tree.write("node.toml", b"as it was")
        with pytest.raises(EOFError):
            tree.write("node.toml", Ending(bytes(5000)))
    assert files_of(image) == {"node.toml": b"as it was"}
    assert_sound(image)


def test_no_file_is_larger_than_fat32_can_have(image: Path, tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(2**32)
    with opened(image) as tree, huge.open("rb") as file:
        assert code_of(lambda: tree.write("huge", file)) == "fat.too_large"


def test_a_folder_has_no_more_entries_than_fat_can_count(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """65536; fewer here, for time."""
    monkeypatch.setattr(fat, "_MOST_SLOTS", 64)
    with opened(image) as tree:
        for n in range(3):
            tree.write(f"{n}" + "x" * 254, b"")
        free = tree.free()
        assert code_of(lambda: tree.write("y" * 255, b"")) == "fat.full"
        assert tree.free() == free


# -- what others have made ---------------------------------------------------------------------------------------------


def test_a_file_keeps_the_name_it_was_made_with(image: Path) -> None:
    """Also where it is marked as lower case instead of having a long name, as Windows does."""
    put(image, {"Config.txt": b"old", "README": b"old"})
    content = image.read_bytes().replace(b"README     \x20\x00", b"README     \x20\x18")
    image.write_bytes(content)
    with opened(image) as tree:
        assert sorted(tree.listdir("")) == ["Config.txt", "readme"]
        tree.write("CONFIG.TXT", b"new")
        tree.write("Readme", b"new")
    assert files_of(image) == {"Config.txt": b"new", "readme": b"new"}
    assert_sound(image)


def test_a_file_is_found_by_its_short_name(image: Path) -> None:
    with opened(image) as tree:
        tree.write("a long name.txt", b"old")
        tree.write("ALONGN~1.TXT", b"new")
        tree.write("A long name 2.txt", b"another")
        tree.write("along~2.txt", b"no alias of another may be this one")
    assert files_of(image) == {
        "a long name.txt": b"new",
        "A long name 2.txt": b"another",
        "along~2.txt": b"no alias of another may be this one",
    }
    assert_sound(image)


def test_what_stands_behind_the_end_of_a_folder_means_nothing(image: Path) -> None:
    with opened(image) as tree:
        tree.write("A", b"1")
    content = bytearray(image.read_bytes())
    at = content.index(b"A          \x20") + 32
    assert content[at : at + 64] == bytes(64)
    content[at + 32 : at + 64] = content[at - 32 : at - 31] + b"GHOST     \x20" + content[at - 20 : at]
    image.write_bytes(content)
    with opened(image) as tree:
        assert tree.listdir("") == ["A"]
        tree.write("B", b"2")
    assert files_of(image) == {"A": b"1", "B": b"2"}
    assert_sound(image)


def test_reserved_bits_and_bad_clusters_are_left_alone(image: Path) -> None:
    at = fat_at(image)
    with image.open("r+b") as file:
        file.seek(at + 4 * 10)
        entries_10_11 = struct.pack("<II", 0xA0000000, 0x0FFFFFF7)  # free, with reserved bits; bad
        file.write(entries_10_11)
        file.seek(at + fat_length(image) + 4 * 10)
        file.write(entries_10_11)
    with opened(image) as tree:
        tree.write("all around", bytes(20 * 512))
    with image.open("rb") as file:
        file.seek(at + 4 * 10)
        ten, eleven = struct.unpack("<II", file.read(8))
    assert (ten >> 28, eleven) == (0xA, 0x0FFFFFF7)
    assert ten & 0x0FFFFFFF, "the free one was used"
    assert files_of(image) == {"all around": bytes(20 * 512)}


def test_sectors_of_another_size(tmp_path: Path) -> None:
    image = tmp_path / "fat.img"
    with image.open("wb") as file:
        file.truncate(270 * MIB)
    run("mkfs.vfat", "-F", 32, "-S", 4096, "-s", 1, image)
    with opened(image) as tree:
        tree.write("banksman/node.toml", bytes(5000))
    assert files_of(image) == {"banksman/node.toml": bytes(5000)}
    assert_sound(image)


def test_one_fat_alone_where_the_partition_says_so(image: Path) -> None:
    """Mirroring off, the second one in use: the first is left as it is, whatever it holds."""
    first, second = fat_at(image), fat_at(image) + fat_length(image)
    with_bytes(lambda _: 40, struct.pack("<H", 0x81))(image)
    with_bytes(lambda _: first + 400, b"other")(image)
    before = image.read_bytes()[first:second]
    with opened(image) as tree:
        tree.write("file", bytes(600))
    content = image.read_bytes()
    assert content[first:second] == before
    assert struct.unpack_from("<II", content, second + 12) == (4, 0x0FFFFFFF)
    with opened(image) as tree:
        assert tree.read("file") == bytes(600)


def test_dates(image: Path) -> None:
    with opened(image) as tree:
        tree.write("dated", b"")
    assert b"2026-11-27   8:00" in run("mdir", "-i", image, "::/")


# -- what is no FAT32, or a damaged one --------------------------------------------------------------------------------


def fat_at(image: Path) -> int:
    return int.from_bytes(image.read_bytes()[14:16], "little") * 512


def fat_length(image: Path) -> int:
    return int.from_bytes(image.read_bytes()[36:40], "little") * 512


def with_bytes(at: Callable[[Path], int], what: bytes) -> Callable[[Path], None]:
    def change(image: Path) -> None:
        with image.open("r+b") as file:
            file.seek(at(image))
            file.write(what)

    return change


def as_fat(bits: int) -> Callable[[Path], None]:
    def change(image: Path) -> None:
        image.unlink()
        size = 2 * MIB if bits == 12 else 16 * MIB
        with image.open("wb") as file:
            file.truncate(size)
        run("mkfs.vfat", "-F", bits, "-s", 1 if bits == 16 else 8, image)

    return change


def cut(image: Path) -> None:
    with image.open("r+b") as file:
        file.truncate(20 * MIB)


UNUSABLE: dict[str, tuple[Callable[[Path], None], str]] = {
    "FAT16": (as_fat(16), "fat.not_fat32"),
    "FAT12": (as_fat(12), "fat.not_fat32"),
    "FAT32 by name, of few clusters": (with_bytes(lambda _: 32, struct.pack("<I", 20_000)), "fat.not_fat32"),
    "zeros": (with_bytes(lambda _: 0, bytes(512)), "fat.not_fat32"),
    "NTFS": (with_bytes(lambda _: 0, b"\xeb\x52\x90NTFS    \x00\x02\x08" + bytes(496) + b"\x55\xaa"), "fat.not_fat32"),
    "cut short": (cut, "fat.damaged"),
    "a FAT too short for its clusters": (with_bytes(lambda _: 36, struct.pack("<I", 300)), "fat.damaged"),
    "the FATs differ": (with_bytes(lambda i: fat_at(i) + 400, b"\x01"), "fat.damaged"),
    "no FSInfo": (with_bytes(lambda _: 512, b"????"), "fat.damaged"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_unusable_from_the_start(image: Path, case: str) -> None:
    change, code = UNUSABLE[case]
    change(image)
    before = image.read_bytes()
    with image.open("r+b") as file:
        assert code_of(lambda: Fat32(file, 0, len(before))) == code
    assert image.read_bytes() == before


# Of a file of two clusters and a folder with one, made first: clusters 3, 4; 5; 6.
CHAINS = {
    "a ring": {4: 3},
    "into a free cluster": {3: 0},
    "into a bad cluster": {3: 0x0FFFFFF7},
    "behind the end": {3: 0x00FFFFFF},
    "shorter than the file": {3: 0x0FFFFFFF, 4: 0},
}


@pytest.mark.parametrize("case", CHAINS)
def test_damaged_chains(image: Path, case: str) -> None:
    with opened(image) as tree:
        tree.write("file", bytes(600))
        tree.write("folder/inner", b"x")
    with image.open("r+b") as file:
        for at in (fat_at(image), fat_at(image) + fat_length(image)):
            for cluster, following in CHAINS[case].items():
                file.seek(at + 4 * cluster)
                file.write(struct.pack("<I", following))
    with opened(image) as tree:
        assert code_of(lambda: tree.read("file")) == "fat.damaged"
        assert tree.read("folder/inner") == b"x"


def test_a_damaged_file_is_not_overwritten(image: Path) -> None:
    with opened(image) as tree:
        tree.write("file", bytes(600))
    with image.open("r+b") as file:
        for at in (fat_at(image), fat_at(image) + fat_length(image)):
            file.seek(at + 4 * 4)
            file.write(struct.pack("<I", 3))
    with opened(image) as tree:
        free = tree.free()
        assert code_of(lambda: tree.write("file", b"new")) == "fat.damaged"
        assert tree.free() == free


# -- names -------------------------------------------------------------------------------------------------------------

sign = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters='"*/:<>?\\|\x7f')
names = st.text(sign, min_size=1, max_size=255).filter(
    lambda n: n[-1] not in ". " and len(n.encode("utf-16-le")) <= 510
)


@given(st.lists(names, max_size=8))
def test_names_come_back_and_no_two_are_the_same(wanted: list[str]) -> None:
    slots = b""
    taken: set[str] = set()
    given_names = []
    for name in wanted:
        if fold(name) in taken:
            continue
        short, long = named(name, taken)
        assert len(short) == 11
        slots += b"".join(long) + short + bytes(21)
        entry = list(entries(slots))[-1]
        assert {fold(entry.short)}.isdisjoint(taken)
        taken |= {fold(entry.name), fold(entry.short)}
        given_names.append(name)
    assert [entry.name for entry in entries(slots)] == given_names


@given(st.binary(max_size=32 * 40))
def test_any_bytes_are_read_without_a_crash(content: bytes) -> None:
    found = list(entries(content))
    assert all(entry.slots.stop <= len(content) // 32 for entry in found)


@pytest.mark.parametrize(
    ("name", "short", "slots"),
    [
        ("CONFIG.TXT", b"CONFIG  TXT", 0),
        ("config.txt", b"CONFIG  TXT", 1),
        ("KERNEL8.IMG", b"KERNEL8 IMG", 0),
        ("bcm2711-rpi-4-b.dtb", b"BCM271~1DTB", 2),
        ("a.b.c", b"AB~1    C  ", 1),
        (".hidden", b"HIDDEN~1   ", 1),
        ("安全帽.toml", b"___~1   TOM", 1),
        ("x" * 13, b"XXXXXX~1   ", 1),
        ("x" * 14, b"XXXXXX~1   ", 2),
        ("x" * 255, b"XXXXXX~1   ", 20),
    ],
)
def test_short_names(name: str, short: bytes, slots: int) -> None:
    got, long = named(name, set())
    assert (got, len(long)) == (short, slots)


@pytest.mark.parametrize(
    "name", ["a:b", "what?", "tab\there", "ends with a dot.", "ends with a space ", "x" * 256, "帽" * 256]
)
def test_names_that_fat_or_windows_cannot_have(image: Path, name: str) -> None:
    with opened(image) as tree, pytest.raises(ValueError, match="name"):
        tree.write(name, b"")
    assert files_of(image) == {}


@pytest.mark.parametrize("name", ["安" * 80, "y" * 250])
def test_long_names_as_mtools_reads_them(image: Path, name: str) -> None:
    with opened(image) as tree:
        tree.write(name, b"content")
    assert files_of(image) == {name: b"content"}
