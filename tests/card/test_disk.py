"""The boot partition is found in what `sfdisk` makes, and nowhere else."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.card.disk import Partition, boot_partition
from deploy.card.errors import CardError
from tests.card.images import BOOT_OFFSET, MIB, SMALLEST_FAT32, fat32, loop_device, pi_image, run


def code_of(image: Path) -> str:
    with image.open("rb") as file, pytest.raises(CardError) as caught:
        boot_partition(file)
    return caught.value.code


@pytest.mark.parametrize("scheme", ["dos", "gpt"])
def test_in_an_image_and_on_a_device(tmp_path: Path, scheme: Literal["dos", "gpt"]) -> None:
    image = pi_image(tmp_path / "pi.img", scheme=scheme)
    expected = Partition(1, BOOT_OFFSET, SMALLEST_FAT32)
    assert (image.offset, image.size) == expected[1:]
    with image.path.open("rb") as file:
        assert boot_partition(file) == expected
    with loop_device(image.path) as device, device.open("rb") as file:
        assert boot_partition(file) == expected


def test_it_need_not_be_the_first(tmp_path: Path) -> None:
    image = tmp_path / "third.img"
    with image.open("wb") as file:
        file.truncate(64 * MIB)
    table = (
        "label: dos\nstart=2048, size=2048, type=83\nstart=4096, size=2048, type=c\nstart=8192, size=69632, type=c\n"
    )
    run("sfdisk", "--quiet", image, given=table.encode())
    fat32(image, SMALLEST_FAT32, offset=8192 * 512)
    with image.open("rb") as file:
        assert boot_partition(file) == Partition(3, 8192 * 512, SMALLEST_FAT32)


def with_bytes(at: int, what: bytes) -> Callable[[Path], None]:
    def change(image: Path) -> None:
        with image.open("r+b") as file:
            file.seek(at)
            file.write(what)

    return change


def cut(size: int) -> Callable[[Path], None]:
    def change(image: Path) -> None:
        with image.open("r+b") as file:
            file.truncate(size)

    return change


def only_a_fat(image: Path) -> None:
    image.unlink()
    fat32(image, SMALLEST_FAT32)


WRONG: dict[str, tuple[Literal["dos", "gpt"], Callable[[Path], None], str]] = {
    "empty": ("dos", cut(0), "disk.no_table"),
    "zeros": ("dos", with_bytes(0, bytes(512)), "disk.no_table"),
    "a text": ("dos", with_bytes(0, b"PK" + b"x" * 510), "disk.no_table"),
    "one file system, no table": ("dos", only_a_fat, "disk.no_table"),
    "no partition that may be it": ("dos", with_bytes(446 + 4, b"\x83"), "disk.no_boot"),
    "no FAT32 where it should be": ("dos", with_bytes(BOOT_OFFSET, bytes(512)), "disk.no_boot"),
    "cut short": ("dos", cut(BOOT_OFFSET + 20 * MIB), "disk.cut_short"),
    "GPT cut short": ("gpt", cut(BOOT_OFFSET + 20 * MIB), "disk.cut_short"),
    "GPT without a header": ("gpt", with_bytes(512, bytes(8)), "disk.damaged"),
    "GPT, header changed": ("gpt", with_bytes(512 + 24, b"\x07"), "disk.damaged"),
    "GPT, header of no length": ("gpt", with_bytes(512 + 12, struct.pack("<I", 0)), "disk.damaged"),
    "GPT, entries changed": ("gpt", with_bytes(1024 + 32, b"\x07"), "disk.damaged"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_a_disk_with_a_boot_partition(tmp_path: Path, case: str) -> None:
    scheme, change, code = WRONG[case]
    image = pi_image(tmp_path / "pi.img", scheme=scheme).path
    change(image)
    assert code_of(image) == code


@given(content=st.binary(max_size=510))
def test_any_first_sector_is_judged_without_a_crash(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    image = tmp_path_factory.getbasetemp() / "any.img"
    image.write_bytes(content.rjust(510, b"\0") + b"\x55\xaa" + bytes(2048))
    assert code_of(image).startswith("disk.")
