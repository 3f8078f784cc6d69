"""A node's .img.xz is the official image with a filled boot partition, whoever unpacks it, and held in no memory."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.card.errors import CardError
from deploy.card.joined import Base, Entry, Made, base, joined, make, manifest
from deploy.card.payload import inject
from tests.card.builders import Office
from tests.card.images import MIB, PiImage, assert_sound, files_of, pi_image, run, xz


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return Office.at(tmp_path_factory.mktemp("office"))


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> PiImage:
    image = pi_image(tmp_path_factory.mktemp("official") / "os.img")
    with image.path.open("r+b") as file:  # something behind the boot partition that does not compress
        file.seek(image.offset + image.size + 3 * MIB)
        file.write(os.urandom(2 * MIB + 17))
    return image


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def split(official: PiImage, tmp_path_factory: pytest.TempPathFactory) -> Base:
    packed = xz(official.path)
    return base(packed, sha256(packed), tmp_path_factory.mktemp("kept"))


@pytest.fixture
def node(split: Base, office: Office, tmp_path: Path) -> tuple[Path, Made]:
    """A node's image as one file."""
    with (tmp_path / "head.xz").open("wb") as out:
        made = make(split, lambda tree: inject(tree, office.payload()), out)
    whole = tmp_path / "node.img.xz"
    whole.write_bytes(b"".join(joined(tmp_path / "head.xz", split.root)))
    return whole, made


def test_every_unpacker_gets_the_same_image(node: tuple[Path, Made], official: PiImage, tmp_path: Path) -> None:
    whole, made = node
    run("xz", "--test", whole)
    by_xz = run("xz", "--decompress", "--stdout", whole)
    with lzma.open(whole) as file:
        by_python = file.read()
    by_libarchive = run("bsdcat", whole)  # what Raspberry Pi Imager reads with
    assert by_xz == by_python == by_libarchive
    assert hashlib.sha256(by_xz).hexdigest() == made.sha256
    assert (len(by_xz), whole.stat().st_size) == (made.size, made.packed)
    assert len(by_xz) == official.path.stat().st_size


def test_it_is_the_official_image_with_a_filled_boot_partition(
    node: tuple[Path, Made], official: PiImage, office: Office, tmp_path: Path
) -> None:
    image = tmp_path / "node.img"
    image.write_bytes(lzma.decompress(node[0].read_bytes()))
    new, old = image.read_bytes(), official.path.read_bytes()
    end = official.offset + official.size
    assert new[: official.offset] == old[: official.offset]
    assert new[end:] == old[end:]
    assert_sound(image, official.size, offset=official.offset)
    found = files_of(image, offset=official.offset)
    assert found["banksman/app.tar"] == office.app.read_bytes()
    assert b"ds=nocloud;i=banksman-north-gate-03-" in found["cmdline.txt"]


def test_an_image_is_split_once(official: PiImage, tmp_path: Path) -> None:
    digest = sha256(official.path)
    first = base(official.path, digest, tmp_path)
    again = base(tmp_path / "gone.img", digest, tmp_path)
    assert again == first
    assert [path.name for path in tmp_path.iterdir()] == [f"base-{digest[:16]}"]


def test_packed_or_not_an_image_is_split_alike(official: PiImage, split: Base, tmp_path: Path) -> None:
    plain = base(official.path, sha256(official.path), tmp_path)
    assert (plain.size, plain.offset, plain.length) == (split.size, split.offset, split.length)
    assert plain.head.read_bytes() == split.head.read_bytes()
    assert plain.root.read_bytes() == split.root.read_bytes()


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda data: data[: len(data) // 2], "image.damaged"),
        (lambda data: data[:5000] + b"?" + data[5001:], "image.damaged"),
        (lambda data: data + lzma.compress(b"more"), "image.checksum"),
        (lambda _: lzma.compress(b"\0" * 40 * MIB), "disk.no_table"),
    ],
    ids=["cut short", "a byte", "another file", "no image"],
)
def test_a_wrong_image_leaves_nothing(official: PiImage, tmp_path: Path, damage: object, code: str) -> None:
    good = xz(official.path)
    bad = tmp_path / "bad.img.xz"
    bad.write_bytes(damage(good.read_bytes()))  # type: ignore[operator]
    with pytest.raises(CardError) as told:
        base(bad, sha256(good), tmp_path / "kept")
    assert told.value.code == code
    assert list((tmp_path / "kept").iterdir()) == []


_MEMORY = """
import resource, sys
from pathlib import Path
from deploy.card.joined import base, make
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
of = base(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
make(of, lambda tree: None, open("/dev/null", "wb"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_nothing_is_held_in_memory(tmp_path: Path) -> None:
    image = pi_image(tmp_path / "large.img", root_size=400 * MIB)
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, image.path, sha256(image.path), tmp_path],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert int(done.stdout) < 100 * 1024  # KiB; the image has 444 MiB


@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(0, 90), st.integers(0, 90))
def test_a_part_of_two_files_is_that_of_the_whole(first: bytes, second: bytes, start: int, end: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        a, b = Path(folder, "a"), Path(folder, "b")
        a.write_bytes(first)
        b.write_bytes(second)
        assert b"".join(joined(a, b, start, end)) == (first + second)[start:end]
        assert b"".join(joined(a, b)) == first + second


def test_a_manifest_asks_for_no_customisation() -> None:
    entry = Entry("North yard – gate-03", "d", "", "https://x/n.img.xz", 5, "0" * 64, 3, "2026-11-27")
    (told,) = json.loads(manifest([entry]))["os_list"]
    assert told["init_format"] == "none"
    assert {"name", "description", "icon", "url", "extract_size", "extract_sha256", "image_download_size",
            "release_date"} < set(told)  # fmt: skip
