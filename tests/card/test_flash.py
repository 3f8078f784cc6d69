"""An image onto a card, and everything that can go wrong on the way, on a file and on a loop device."""

from __future__ import annotations

import errno
import hashlib
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy.card.drives import Drive, find
from deploy.card.errors import CardError
from deploy.card.flash import flash
from deploy.card.tree import Tree
from deploy.card.unpack import Step
from tests.card.images import (
    BOOKWORM,
    BOOT_OFFSET,
    MIB,
    TRIXIE,
    PiImage,
    assert_sound,
    files_of,
    loop_device,
    pi_image,
    run,
    xz,
)
from tests.conftest import need

CARD_SIZE = 48 * MIB
PAYLOAD = {
    "banksman/node.toml": b"[node]\n",
    "banksman/\u5b89\u5168.txt": b"x" * 70_000,
    "user-data": b"#cloud-config\n# ours\n",
}


def inject(tree: Tree) -> None:
    for path, content in PAYLOAD.items():
        tree.write(path, content)


@pytest.fixture(scope="module")
def pi(tmp_path_factory: pytest.TempPathFactory) -> PiImage:
    return pi_image(tmp_path_factory.mktemp("image") / "raspios.img", root_size=2 * MIB)


@pytest.fixture(scope="module")
def packed(pi: PiImage) -> Path:
    return xz(pi.path)


@dataclass
class Card:
    """What is written to. backing: the file that has its bytes. at: what to do when a step has come so far."""

    drive: Drive
    backing: Path
    work: Path
    at: dict[Step, tuple[float, Callable[[], None]]] = field(default_factory=dict)
    told: list[tuple[Step, int, int]] = field(default_factory=list)

    def tell(self, step: Step, done: int, total: int) -> None:
        self.told.append((step, done, total))
        share, action = self.at.get(step, (2.0, lambda: None))
        if done >= share * total:
            del self.at[step]
            action()

    def flash(self, image: Path, inject: Callable[[Tree], None] = inject, sha256: str = "") -> str:
        return flash(image, self.drive, inject, self.tell, sha256=sha256, work=self.work)

    def refused(self, image: Path, inject: Callable[[Tree], None] = inject, sha256: str = "") -> CardError:
        with pytest.raises(CardError) as caught:
            self.flash(image, inject, sha256)
        assert not list(self.work.iterdir()), "the copy is left behind"
        assert caught.value.told("zh-CN") != caught.value.told("en")
        return caught.value

    def content(self) -> bytes:
        return self.backing.read_bytes()


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    """A card's bytes, with something at the start and the end already."""
    path = tmp_path / "card"
    with path.open("wb") as file:
        file.write(b"old " * (MIB // 4))
        file.seek(CARD_SIZE - MIB)
        file.write(b"old " * (MIB // 4))
    return path


@pytest.fixture
def file_card(backing: Path, tmp_path: Path) -> Card:
    return Card(find(str(backing)), backing, tmp_path / "work")


@pytest.fixture
def loop_card(backing: Path, tmp_path: Path) -> Iterator[Card]:
    with loop_device(backing) as loop:
        yield Card(find(str(loop)), backing, tmp_path / "work")


@pytest.fixture(params=["file_card", "loop_card"])
def card(request: pytest.FixtureRequest) -> Card:
    found: Card = request.getfixturevalue(request.param)
    return found


# -- as it should go ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["img", "img.xz"])
def test_a_card_is_made(card: Card, pi: PiImage, packed: Path, kind: str) -> None:
    image = pi.path if kind == "img" else packed
    before = card.content()
    assert card.flash(image) == hashlib.sha256(pi.path.read_bytes()).hexdigest()
    assert files_of(card.backing, offset=pi.offset) == TRIXIE | PAYLOAD
    assert_sound(card.backing, pi.size, offset=pi.offset)
    now, official, end = card.content(), pi.path.read_bytes(), pi.offset + pi.size
    assert now[: pi.offset] == official[: pi.offset]
    assert now[end : len(official)] == official[end:]
    assert now[len(official) :] == before[len(official) :], "more was written than the image"
    assert not list(card.work.iterdir())


def test_the_official_image_stays_as_it_is(file_card: Card, pi: PiImage) -> None:
    before = pi.path.read_bytes()
    file_card.flash(pi.path)
    assert pi.path.read_bytes() == before


def test_progress_is_told_to_its_end(file_card: Card, packed: Path) -> None:
    file_card.flash(packed)
    steps: dict[Step, list[tuple[int, int]]] = {}
    for step, done, total in file_card.told:
        steps.setdefault(step, []).append((done, total))
    assert list(steps) == ["unpack", "write", "verify"]
    for told in steps.values():
        assert told == sorted(told)
        assert told[-1][0] == told[-1][1]


@pytest.mark.parametrize("of", ["img", "img.xz"])
def test_either_checksum_will_do(file_card: Card, pi: PiImage, packed: Path, of: str) -> None:
    known = hashlib.sha256((pi.path if of == "img" else packed).read_bytes()).hexdigest()
    file_card.flash(packed, sha256=f" {known.upper()}\n")


def test_other_kinds_of_image(loop_card: Card, tmp_path: Path) -> None:
    image = pi_image(tmp_path / "b.img", scheme="gpt", files=BOOKWORM, sectors_per_cluster=2, boot_size=68 * MIB)
    with loop_card.backing.open("r+b") as file:
        file.truncate(128 * MIB)
    run("losetup", "-c", loop_card.drive.path)
    loop_card.drive = find(loop_card.drive.path)
    loop_card.flash(image.path)
    assert files_of(loop_card.backing, offset=image.offset) == BOOKWORM | PAYLOAD


def test_a_file_that_is_not_there_yet_becomes_the_image(pi: PiImage, tmp_path: Path) -> None:
    card = Card(find(str(tmp_path / "new.img")), tmp_path / "new.img", tmp_path / "work")
    card.flash(pi.path)
    assert len(card.content()) == pi.path.stat().st_size
    assert files_of(card.backing, offset=pi.offset) == TRIXIE | PAYLOAD
    assert card.backing.stat().st_mode & 0o077 == 0, "a card holds secrets"


def test_the_image_is_not_held_in_memory(file_card: Card, packed: Path) -> None:
    tracemalloc.start()
    file_card.flash(packed)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * MIB, f"{peak / MIB:.1f} MiB"


def test_nobody_can_take_the_drive_meanwhile(loop_card: Card, packed: Path) -> None:
    busy = []

    def look() -> None:
        with pytest.raises(OSError, match="busy") as caught:
            os.open(loop_card.drive.path, os.O_RDONLY | os.O_EXCL)
        busy.append(caught.value.errno)

    loop_card.at = {"write": (0.5, look), "verify": (0.5, look)}
    loop_card.flash(packed)
    assert busy == [errno.EBUSY] * 2


# -- refused before anything is written --------------------------------------------------------------------------------


def other_bytes(at: int, what: bytes) -> Callable[[PiImage, Path], Path]:
    def make(pi: PiImage, folder: Path) -> Path:
        image = folder / "wrong.img"
        image.write_bytes(pi.path.read_bytes())
        with image.open("r+b") as file:
            file.seek(at)
            file.write(what)
        return image

    return make


def made(content: Callable[[PiImage], bytes], name: str = "wrong.img") -> Callable[[PiImage, Path], Path]:
    def make(pi: PiImage, folder: Path) -> Path:
        (folder / name).write_bytes(content(pi))
        return folder / name

    return make


def of_xz(pi: PiImage) -> bytes:
    return xz(pi.path).read_bytes()


def not_of_a_pi(pi: PiImage, folder: Path) -> Path:
    return pi_image(folder / "wrong.img", files={"EFI/BOOT/BOOTX64.EFI": b"MZ"}, root_size=2 * MIB).path


WRONG_IMAGES: dict[str, tuple[Callable[[PiImage, Path], Path], str]] = {
    "not there": (lambda _pi, folder: folder / "nothing.img", "image.missing"),
    "empty": (made(lambda _: b""), "image.not_image"),
    "a text": (made(lambda _: b"<html>Not found</html>"), "image.not_image"),
    "a zip": (made(lambda _: b"PK\x03\x04" * 1024), "disk.no_table"),
    "no partition table": (other_bytes(0, bytes(512)), "disk.no_table"),
    "no boot partition": (other_bytes(446 + 4, b"\x83"), "disk.no_boot"),
    "boot partition is not FAT32": (other_bytes(BOOT_OFFSET, bytes(512)), "disk.no_boot"),
    "FAT32 damaged": (other_bytes(BOOT_OFFSET + 32 * 512 + 40, b"\x55"), "fat.damaged"),
    "not of a Raspberry Pi": (not_of_a_pi, "flash.not_pi"),
    "cut short": (made(lambda pi: pi.path.read_bytes()[: 20 * MIB]), "disk.cut_short"),
    "cut in a sector": (made(lambda pi: pi.path.read_bytes()[:-100]), "image.not_image"),
    ".xz cut short": (made(lambda pi: of_xz(pi)[:-40]), "image.damaged"),
    ".xz with an error": (made(lambda pi: of_xz(pi)[:9000] + b"\x55" * 8 + of_xz(pi)[9008:]), "image.damaged"),
}


@pytest.mark.parametrize("case", WRONG_IMAGES)
def test_a_wrong_image_leaves_the_card_as_it_was(file_card: Card, pi: PiImage, tmp_path: Path, case: str) -> None:
    make, code = WRONG_IMAGES[case]
    image = make(pi, tmp_path)
    file_card.work.mkdir()
    before = file_card.content()
    assert file_card.refused(image).code == code
    assert file_card.content() == before


@pytest.mark.parametrize(("sha256", "code"), [("0" * 64, "image.checksum"), ("0" * 63, "image.no_sha256")])
def test_a_wrong_checksum_leaves_the_card_as_it_was(file_card: Card, packed: Path, sha256: str, code: str) -> None:
    file_card.work.mkdir()
    before = file_card.content()
    error = file_card.refused(packed, sha256=sha256)
    assert error.code == code
    if code == "image.checksum":
        assert hashlib.sha256(packed.read_bytes()).hexdigest() in error.told("en")
    assert file_card.content() == before


def test_a_card_that_is_full_before_the_payload_is_on_it(file_card: Card, packed: Path) -> None:
    def too_much(tree: Tree) -> None:
        tree.write("banksman/app.tar", bytes(tree.free() + 1))

    before = file_card.content()
    error = file_card.refused(packed, too_much)
    assert (error.code, error.fields["path"]) == ("fat.full", "banksman/app.tar")
    assert file_card.content() == before


def test_a_card_that_is_too_small(tmp_path: Path, packed: Path) -> None:
    backing = tmp_path / "card"
    backing.write_bytes(b"old " * (8 * MIB // 4))
    with loop_device(backing) as loop:
        for target in (loop, backing):
            before = backing.read_bytes()
            error = Card(find(str(target)), backing, tmp_path / "work").refused(packed)
            assert (error.code, error.fields["there"], error.fields["needed"]) == ("flash.too_small", "0.01", "0.05")
            assert backing.read_bytes() == before


def test_a_card_that_was_changed_for_a_smaller_one(tmp_path: Path, packed: Path) -> None:
    backing = tmp_path / "card"
    backing.write_bytes(bytes(CARD_SIZE))
    with loop_device(backing) as loop:
        card = Card(find(str(loop)), backing, tmp_path / "work")
        os.truncate(backing, 16 * MIB)
        run("losetup", "-c", loop)
        assert card.refused(packed).code == "flash.too_small"
    assert backing.read_bytes() == bytes(16 * MIB)


def test_a_drive_of_the_system(pi: PiImage, tmp_path: Path) -> None:
    source = run("findmnt", "--noheadings", "--output", "SOURCE", "/").decode().strip()
    need(Path(source).is_block_device(), "this machine does not run from a block device")
    (tmp_path / "work").mkdir()
    own = next(drive for drive in (find(f"/dev/{name.name}") for name in whole_disks_of(source)) if drive.system)
    assert Card(own, Path(source), tmp_path / "work").refused(pi.path).code == "drive.system"


def whole_disks_of(source: str) -> list[Path]:
    """The disks that a block device lies on."""
    names = run("lsblk", "--noheadings", "--inverse", "--list", "--output", "NAME,TYPE", source).decode().splitlines()
    return [Path(line.split()[0]) for line in names if line.split()[1] == "disk"]


def test_a_drive_that_is_gone_or_forbidden(pi: PiImage, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    gone = Drive("/dev/no-such-card", "card", 32 * 10**9, removable=True, system=False)
    assert Card(gone, tmp_path, tmp_path / "work").refused(pi.path).code == "drive.gone"


def test_no_room_for_the_copy(small_disk: Path, pi: PiImage, tmp_path: Path) -> None:
    noise = tmp_path / "noise.img"
    noise.write_bytes(os.urandom(6 * MIB))
    card = Card(find(str(tmp_path / "new.img")), tmp_path / "new.img", small_disk)
    error = card.refused(noise)
    assert (error.code, error.fields["folder"]) == ("image.no_room", small_disk)
    assert not card.backing.exists()


# -- failing half-way --------------------------------------------------------------------------------------------------


def not_startable(card: Card) -> bool:
    """Neither table nor boot partition is on it, so nothing can be taken for a finished card."""
    return card.content()[: 4 * MIB].count(0) == 4 * MIB


class Stopped(Exception):  # noqa: N818 - as Ctrl-C is
    pass


@pytest.mark.parametrize("share", [0.01, 0.97])
def test_a_card_is_empty_until_it_is_complete(card: Card, packed: Path, share: float) -> None:
    def stop() -> None:
        raise Stopped

    card.at = {"write": (share, stop)}
    with pytest.raises(Stopped):
        card.flash(packed)
    assert not_startable(card)
    card.flash(packed)
    assert files_of(card.backing, offset=BOOT_OFFSET) == TRIXIE | PAYLOAD


@pytest.mark.parametrize(("step", "share", "mb"), [("write", 0.4, 18), ("write", 1.0, 0), ("verify", 0.4, 18)])
def test_a_card_that_is_pulled_out(loop_card: Card, packed: Path, step: Step, share: float, mb: int) -> None:
    """As a card reader does then, the device stays and has no size any more."""

    def pull() -> None:
        os.truncate(loop_card.backing, 0)
        run("losetup", "-c", loop_card.drive.path)

    loop_card.at = {step: (share, pull)}
    error = loop_card.refused(packed)
    assert (error.code, error.fields["mb"]) == ("flash.gone", mb)


def test_a_card_that_fails_while_it_is_written(small_disk: Path, packed: Path, tmp_path: Path) -> None:
    """A device of 64 MiB that can take four: input/output errors, as from a worn card."""
    backing = small_disk / "card"
    with backing.open("wb") as file:
        file.truncate(CARD_SIZE)
    with loop_device(backing) as loop:
        card = Card(find(str(loop)), backing, tmp_path / "work")
        error = card.refused(packed)
    assert (error.code, error.fields["error"]) == ("flash.unwritable", os.strerror(errno.EIO))


@pytest.mark.parametrize("at", [0, 8 * MIB + 5, 43 * MIB + 4095])
def test_a_card_that_holds_something_else_than_was_written(card: Card, packed: Path, at: int) -> None:
    """Behind the back of the system: what it remembers of the card is still right."""

    def corrupt() -> None:
        with card.backing.open("r+b") as file:
            file.seek(at)
            wrong = bytes(byte ^ 0xFF for byte in file.read(3))
            file.seek(at)
            file.write(wrong)

    card.at = {"write": (1.0, corrupt)}
    error = card.refused(packed)
    assert (error.code, error.fields["at"]) == ("flash.differs", at)


# -- at full size ------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(600)
def test_the_time_it_takes(tmp_path: Path, proof: bool) -> None:
    """768 MiB, a third of it content that does not compress, onto a loop device."""
    if not proof:
        pytest.skip("part of the full-size run: make proof")
    root = tmp_path / "root"
    root.mkdir()
    (root / "content").write_bytes(os.urandom(200 * MIB))
    image = xz(pi_image(tmp_path / "pi.img", boot_size=512 * MIB, root_size=247 * MIB, root=root).path)
    backing = tmp_path / "card"
    with backing.open("wb") as file:
        file.truncate(1024 * MIB)
    ends: dict[Step, float] = {}

    def tell(step: Step, done: int, total: int) -> None:
        ends[step] = time.monotonic()

    def payload(tree: Tree) -> None:
        tree.write("banksman/app.tar", os.urandom(110 * MIB))

    with loop_device(backing) as loop:
        begun = time.monotonic()
        flash(image, find(str(loop)), payload, tell, work=tmp_path / "work")
    spent = [ends["unpack"] - begun, ends["write"] - ends["unpack"], ends["verify"] - ends["write"]]
    size = (tmp_path / "pi.img").stat().st_size // MIB
    print(f"{size} MiB: unpack {spent[0]:.1f} s, fill and write {spent[1]:.1f} s, read back {spent[2]:.1f} s")
    assert_sound(backing, 512 * MIB, offset=BOOT_OFFSET)
    assert len(files_of(backing, offset=BOOT_OFFSET)["banksman/app.tar"]) == 110 * MIB
