"""What a release file may be: everything else is refused before anything of it is used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.release.build import Contents
from edge.update import guard
from edge.update.guard import RELEASE_JSON, RELEASE_SIG, Refused
from tests.update.builders import GUARD, Box, Maker, member, release_json, tar_of

FILE = {"model.bin": b"weights"}
FILES = {"manifest.json": b"{}", "model.bin": b"weights"}


def test_the_guard_needs_nothing_but_the_standard_library() -> None:
    """It runs as root, with the system's Python, where nothing of the project is installed."""
    told = "import runpy, sys; runpy.run_path(sys.argv[1]); print(*{m.partition('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", told, GUARD], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) - sys.stdlib_module_names <= {"__main__", "__mp_main__"}


def test_a_good_release_is_taken_as_it_is(box: Box, maker: Maker) -> None:
    path = maker.model("3", 7, weights=b"x" * 3_000_000, empty=b"")
    done = box.run("verify", path, maker.public_key)
    assert (done.returncode, done.stdout) == (0, "site-v1 3, sequence 7, any: good\n")


def test_names_may_be_as_long_as_those_of_wheels(maker: Maker) -> None:
    """More than the hundred bytes of a plain header."""
    name = f"wheels-{'manylinux_2_17_aarch64.' * 5}whl"
    assert 100 < len(name) < 200
    source = maker.folder / "long"
    source.write_bytes(b"x")
    path = maker.signed(Contents("model", "site-v1", "1", "any", {name: source}), 1)
    assert [file.path for file in guard.verify(path, maker.public_key).files] == [name]


def test_a_longer_name_is_refused(maker: Maker, tmp_path: Path) -> None:
    good = maker.raw(FILE).read_bytes()
    path = tmp_path / "release.tar"
    path.write_bytes(good[:2048] + member("././@LongLink", b"x" * 600, b"L") + good[2048:])
    with pytest.raises(Refused, match="not_plain"):
        guard.verify(path, maker.public_key)


def _flip(data: bytes, part: bytes) -> bytes:
    at = data.index(part)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


BROKEN: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "a byte of a file": ("changed_file", lambda tar: _flip(tar, b"weights")),
    "a byte of what is signed": ("signature", lambda tar: _flip(tar, b'"sequence"')),
    "a byte of the signature": ("signature", lambda tar: tar[:1540] + bytes([tar[1540] ^ 1]) + tar[1541:]),
    "a file more": ("extra_file", lambda tar: tar[:-1024] + member("x.bin", b"x") + bytes(1024)),
    "a file twice": ("extra_file", lambda tar: tar[:-1024] + member("model.bin", b"weights") + bytes(1024)),
    "a file less": ("missing_file", lambda tar: tar[: -1024 - 1024] + bytes(1024)),
    "no end": ("not_a_release", lambda tar: tar[:-1024]),
    "cut in a file": ("not_a_release", lambda tar: tar[: -1024 - 510]),
    "nothing": ("not_a_release", lambda _: b""),
    "compressed": ("not_a_release", lambda _: __import__("gzip").compress(bytes(2048))),
    "no signature": ("not_a_release", lambda tar: tar[:1024] + tar[2048:]),
    "other order": ("not_a_release", lambda tar: tar[1024:2048] + tar[:1024] + tar[2048:]),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_was_changed_is_refused(maker: Maker, tmp_path: Path, what: str) -> None:
    code, change = BROKEN[what]
    good = maker.raw(FILE).read_bytes()
    assert (len(good), good[1024:1035]) == (512 * 8, b"release.sig"), "the cuts above count blocks"
    path = tmp_path / "release.tar"
    path.write_bytes(good)
    assert guard.verify(path, maker.public_key).name == "site-v1"
    path.write_bytes(change(good))
    with pytest.raises(Refused) as refused:
        guard.verify(path, maker.public_key)
    assert refused.value.code == code


SMUGGLED = {
    "a path out of the folder": ("path", "../model.bin", b"0"),
    "a path out of the folder further in": ("path", "a/../../model.bin", b"0"),
    "an absolute path": ("path", "/etc/passwd", b"0"),
    "a hidden file": ("path", ".profile", b"0"),
    "an empty part": ("path", "a//b", b"0"),
    "a symbolic link": ("not_plain", "model.bin", b"2"),
    "a hard link": ("not_plain", "model.bin", b"1"),
    "a device": ("not_plain", "model.bin", b"3"),
    "a pipe": ("not_plain", "model.bin", b"6"),
    "a folder": ("not_plain", "model.bin", b"5"),
    "a long name of nothing": ("not_a_release", "model.bin", b"L"),
    "an extension of pax": ("not_plain", "model.bin", b"x"),
    "a sparse file": ("not_plain", "model.bin", b"S"),
}


@pytest.mark.parametrize("kind", [b"0", b"L"])
def test_a_size_below_nothing_is_refused(maker: Maker, tmp_path: Path, kind: bytes) -> None:
    """Sizes of GNU tar may be: `read` with one of them would take all that there is."""
    header = bytearray(member("model.bin", b"", kind))
    header[124:136] = b"\xff" * 12
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "release.tar"
    path.write_bytes(maker.raw(FILE).read_bytes()[:2048] + header + bytes(2048))
    with pytest.raises(Refused, match="not_plain"):
        guard.verify(path, maker.public_key)


@pytest.mark.parametrize("what", SMUGGLED)
def test_what_leads_elsewhere_is_refused_though_it_is_signed(box: Box, maker: Maker, what: str) -> None:
    code, name, kind = SMUGGLED[what]
    path = maker.raw({name: b"weights"})
    data = path.read_bytes()
    path.write_bytes(data[:2048] + member(name, b"weights", kind, link="/etc/passwd") + bytes(1024))
    with pytest.raises(Refused) as refused:
        box.install(path)
    assert refused.value.code == code
    assert {p.name for p in box.folder.rglob("*") if p.is_file()} <= {"state.json", ".install.lock", ".state.lock"}


def test_another_key_is_refused(maker: Maker, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(Refused, match="signature: not signed with the key"):
        guard.verify(maker.model("1", 1), Maker(tmp_path / "other").public_key)


@pytest.mark.parametrize("what", ["link", "pipe", "folder", "nothing"])
def test_what_is_no_ordinary_file_is_not_even_opened_to_its_end(maker: Maker, tmp_path: Path, what: str) -> None:
    path = tmp_path / "release.tar"
    if what == "link":
        path.symlink_to(maker.model("1", 1))
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    with pytest.raises(Refused, match="unreadable"):
        guard.verify(path, maker.public_key)


def test_a_list_that_promises_too_much_is_refused(maker: Maker) -> None:
    listed = {"path": "model.bin", "bytes": guard.MAX_BYTES, "sha256": "0" * 64}
    big = release_json({}, files=[listed, listed | {"path": "other.bin"}])
    with pytest.raises(Refused, match="too_large"):
        guard.verify(maker.raw(FILE, big), maker.public_key)
    long = tar_of({RELEASE_JSON: b" " * (guard.MAX_JSON + 1), RELEASE_SIG: bytes(64)} | FILE)
    path = maker.folder / "long.tar"
    path.write_bytes(long)
    with pytest.raises(Refused, match="too_large"):
        guard.verify(path, maker.public_key)


@given(st.binary(max_size=3000))
def test_no_bytes_do_anything_but_be_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.tar"
    path.write_bytes(data)
    with pytest.raises(Refused):
        guard.verify(path, Path(os.devnull))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
GOOD: dict[str, Any] = json.loads(release_json(FILES))


@given(st.sampled_from(sorted(GOOD)), JSON)
def test_a_field_is_what_it_says_or_refused(field: str, value: object) -> None:
    """And a release that is read says the same as what was written."""
    values = GOOD | {field: value}
    try:
        release = guard.parse(json.dumps(values).encode())
    except Refused:
        return
    assert [getattr(release, key) for key in sorted(GOOD) if key != "files"] == [
        values[key] for key in sorted(GOOD) if key != "files"
    ]
    for listed in release.files:
        inside = Path("/root/folder", listed.path)
        assert Path(os.path.normpath(inside)) == inside
        assert inside.is_relative_to("/root/folder")


@given(st.sampled_from(["path", "bytes", "sha256"]), JSON)
def test_a_listed_file_is_what_it_says_or_refused(field: str, value: object) -> None:
    files = [GOOD["files"][0] | {field: value}]
    try:
        (listed,) = guard.parse(json.dumps(GOOD | {"files": files}).encode()).files
    except Refused:
        return
    assert getattr(listed, field) == value


@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_list_is_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        guard.parse(data)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "firmware"}, "kind: app or model"),
        ({"kind": "app", "name": "other"}, "an app is named banksman"),
        ({"version": "../1"}, "version: must match"),
        ({"sequence": 0}, "sequence: a whole number from 1"),
        ({"sequence": True}, "sequence: a whole number from 1"),
        ({"sequence": 1.0}, "sequence: a whole number from 1"),
        ({"target": "everything"}, "target: must match"),
        ({"made": "today"}, "made: must match"),
        ({"files": []}, "files: a list of 1 to"),
        ({"files": [GOOD["files"][0] | {"path": RELEASE_JSON}]}, "lists itself"),
        ({"more": 1}, "and nothing else"),
        ({"files": [GOOD["files"][0], GOOD["files"][0]]}, "a path stands there twice"),
        ({"files": [GOOD["files"][0] | {"path": p} for p in ("a", "A")]}, "a path stands there twice"),
        ({"files": [GOOD["files"][0] | {"path": p} for p in ("a", "a/b")]}, "a file and a folder"),
    ],
)
def test_what_is_wrong_is_told(change: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused) as refused:
        guard.parse(json.dumps(GOOD | change).encode())
    assert words in refused.value.message
