# ruff: noqa: T201 a program of its own, whose words go to the journal
"""Checks a signed release, installs it beside the old one, switches to it, and back when it fails.

Standard library only.

Run by root as `/usr/bin/python3 -I /opt/banksman/guard.py`, outside of every release, so that no release can break it:

    guard.py verify TAR PUB          signature, every file's SHA-256, paths, sizes
    guard.py install TAR PUB ROOT    the same, then unpack, install, switch
    guard.py start ROOT              before each start of the node: counts a release on probation, rolls it back
    guard.py healthy ROOT            the release on probation is good

A release is a plain tar: `release.json`, `release.sig` (Ed25519 over the bytes of release.json), and the files that it
lists. Below ROOT:

    releases/VERSION/      a venv; whole once its release.json is there, which comes last
    models/NAME-VERSION/   likewise
    current, current-model links to the ones in use
    state.json             newest release taken, by name; the release on probation; how the last update went

The node, which may not write here, says how a release on probation does in `verdict.json` of its own folder. A power
cut at any step leaves the old or the new release in use, whole, and whoever asks again goes on from there.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

VAR = Path("/var/lib/banksman/update")
VERDICT = "verdict.json"
RELEASE_JSON = "release.json"
RELEASE_SIG = "release.sig"
MAX_STARTS = 3
MAX_JSON = 512 * 1024
MAX_FILES = 1000
MAX_BYTES = 1024**3
RESERVE = 64 * 1024**2
"""Bytes that stay free on the disk."""
_BLOCK = 512
_CHUNK = 1024 * 1024
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_TARGET = re.compile(r"any|[0-9a-z_]{1,32}-cp3\d{1,2}")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+-]{0,63}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+!~-]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MADE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_KINDS = {"app": ("releases", "current"), "model": ("models", "current-model")}


class Refused(Exception):  # noqa: N818 no error of ours: an answer
    """A release that is not taken. `code` is a word for programs, the text is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Listed:
    """A file of a release."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Release:
    """release.json. sequence: what is newer has the higher one; target: machine and Python, or `any`."""

    kind: str
    name: str
    version: str
    sequence: int
    target: str
    files: tuple[Listed, ...]
    made: str

    @property
    def folder(self) -> str:
        """Where it lies below ROOT."""
        return f"releases/{self.version}" if self.kind == "app" else f"models/{self.name}-{self.version}"

    @property
    def link(self) -> str:
        return _KINDS[self.kind][1]

    @property
    def size(self) -> int:
        return sum(file.bytes for file in self.files)


def parse(data: bytes) -> Release:
    """release.json, every field checked. Raises Refused."""
    try:
        values = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refused("release_json", f"release.json is no JSON: {error}") from None
    values = _keys(values, {"kind", "name", "version", "sequence", "target", "files", "made"}, "release.json")
    kind = values["kind"]
    if kind not in ("app", "model"):
        raise Refused("release_json", "kind: app or model")
    name = _text(values, "name", _NAME)
    if kind == "app" and name != "banksman":
        raise Refused("release_json", "name: an app is named banksman")
    if not isinstance(values["files"], list) or not 1 <= len(values["files"]) <= MAX_FILES:
        raise Refused("release_json", f"files: a list of 1 to {MAX_FILES}")
    files = tuple(_listed(one, f"files[{n}]") for n, one in enumerate(values["files"]))
    paths = [file.path.lower() for file in files]
    if len(set(paths)) != len(paths):
        raise Refused("release_json", "files: a path stands there twice")
    if any(one.startswith(f"{other}/") for one in paths for other in paths):
        raise Refused("release_json", "files: a path is a file and a folder")
    release = Release(
        kind=kind,
        name=name,
        version=_text(values, "version", _VERSION),
        sequence=_number(values, "sequence", 1, 2**53 - 1),
        target=_text(values, "target", _TARGET),
        files=files,
        made=_text(values, "made", _MADE),
    )
    if release.size > MAX_BYTES:
        raise Refused("too_large", f"{release.size} bytes in all; at most {MAX_BYTES}")
    return release


def _listed(given: object, where: str) -> Listed:
    values = _keys(given, {"path", "bytes", "sha256"}, where)
    path = values["path"]
    if not isinstance(path, str) or len(path) > 200 or not all(_PART.fullmatch(part) for part in path.split("/")):
        raise Refused("path", f"{where}.path: a relative path of letters, digits and _.+!~-, not {path!r:.200}")
    if path in (RELEASE_JSON, RELEASE_SIG):
        raise Refused("path", f"{where}.path: {path} lists itself")
    return Listed(path, _number(values, "bytes", 0, MAX_BYTES), _text(values, "sha256", _SHA256))


def _keys(values: object, wanted: set[str], where: str) -> dict[str, Any]:
    if not isinstance(values, dict) or set(values) != wanted:
        raise Refused("release_json", f"{where}: an object with {', '.join(sorted(wanted))}, and nothing else")
    return values


def _text(values: dict[str, Any], key: str, pattern: re.Pattern[str]) -> str:
    value = values[key]
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Refused("release_json", f"{key}: must match {pattern.pattern}, not {value!r:.200}")
    return value


def _number(values: dict[str, Any], key: str, low: int, high: int) -> int:
    value = values[key]
    if type(value) is not int or not low <= value <= high:
        raise Refused("release_json", f"{key}: a whole number from {low} to {high}, not {value!r:.200}")
    return value


# -- the tar -----------------------------------------------------------------------------------------------------------


Keep = Callable[[Listed], "BinaryIO"]
"""Where the bytes of a file go: opened for writing, closed by whoever asked."""


@contextmanager
def opened(tar: Path) -> Iterator[BinaryIO]:
    """A release file for reading; never a link, a pipe or a device, whoever else may write in its folder."""
    try:
        handle = os.open(tar, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Refused("unreadable", f"{tar}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Refused("unreadable", f"{tar}: no ordinary file")
    with os.fdopen(handle, "rb") as file:
        yield file


def head(file: BinaryIO, public_key: Path) -> tuple[Release, bytes, bytes]:
    """The release, its release.json and its signature, which is right. Raises Refused."""
    data = b"".join(_member(file, RELEASE_JSON, MAX_JSON))
    signature = b"".join(_member(file, RELEASE_SIG, 64))
    _check_signature(data, signature, public_key)
    return parse(data), data, signature


def unsigned_head(file: BinaryIO) -> tuple[Release, bytes]:
    """The release that a file without a signature says it is, for whoever signs it. Raises Refused."""
    data = b"".join(_member(file, RELEASE_JSON, MAX_JSON))
    return parse(data), data


def verify(tar: Path, public_key: Path) -> Release:
    """Everything of a release file, in one pass. Raises Refused."""
    with opened(tar) as file:
        release, _, _ = head(file, public_key)
        body(file, release, _nowhere)
    return release


def _nowhere(_: Listed) -> BinaryIO:
    return Path(os.devnull).open("wb")


def body(file: BinaryIO, release: Release, keep: Keep) -> None:
    """The listed files, each handed to `keep` as it is read, so that nobody can exchange it after the check.

    Raises Refused for one that is not listed, differs, or is absent.
    """
    left = {listed.path: listed for listed in release.files}
    while (header := _header(file)) is not None:
        listed = left.pop(header.name, None)
        if listed is None:
            raise Refused("extra_file", f"{header.name!r} is not listed in release.json, or there twice")
        if header.size != listed.bytes:
            raise Refused("changed_file", f"{listed.path}: {header.size} bytes, release.json says {listed.bytes}")
        digest = hashlib.sha256()
        with keep(listed) as out:
            for chunk in _content(file, header):
                digest.update(chunk)
                out.write(chunk)
        if digest.hexdigest() != listed.sha256:
            raise Refused("changed_file", f"{listed.path}: another SHA-256 than release.json says")
    if left:
        raise Refused("missing_file", f"{min(left)}: listed in release.json, but not there")


def _member(file: BinaryIO, name: str, most: int) -> Iterator[bytes]:
    header = _header(file)
    if header is None or header.name != name:
        raise Refused("not_a_release", f"no release file: {name} must be its next member")
    if header.size > most:
        raise Refused("too_large", f"{name}: {header.size} bytes; at most {most}")
    return _content(file, header)


def _header(file: BinaryIO) -> tarfile.TarInfo | None:
    """Of the next member; None at the end. Only plain files: no link, device, folder or extension but a long name."""
    header = _block(file)
    if header is None or header.type != tarfile.GNUTYPE_LONGNAME:
        return _plain(header)
    if not 0 <= header.size <= _BLOCK:
        raise Refused("not_plain", f"a name of {header.size} bytes")
    name = b"".join(_content(file, header)).rstrip(b"\0")
    header = _block(file)
    if header is None:
        raise Refused("not_a_release", "a name without a file")
    header.name = name.decode("utf-8", "replace")
    return _plain(header)


def _block(file: BinaryIO) -> tarfile.TarInfo | None:
    block = file.read(_BLOCK)
    if block == bytes(_BLOCK):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise Refused("not_a_release", f"damaged or cut short, or no tar: {error}") from None


def _plain(header: tarfile.TarInfo | None) -> tarfile.TarInfo | None:
    if header is not None and (header.type != tarfile.REGTYPE or not 0 <= header.size <= MAX_BYTES):
        raise Refused("not_plain", f"{header.name!r}: a release holds plain files only, of at most {MAX_BYTES} bytes")
    return header


def _content(file: BinaryIO, header: tarfile.TarInfo) -> Iterator[bytes]:
    left = header.size
    while left:
        chunk = file.read(min(left, _CHUNK))
        if not chunk:
            raise Refused("not_a_release", f"{header.name}: cut short")
        left -= len(chunk)
        yield chunk
    file.read(-header.size % _BLOCK)


def _check_signature(data: bytes, signature: bytes, public_key: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="banksman-") as folder:
        signed, sig = Path(folder, "release.json"), Path(folder, "release.sig")
        signed.write_bytes(data)
        sig.write_bytes(signature)
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-rawin"]
        command += ["-inkey", str(public_key), "-in", str(signed), "-sigfile", str(sig)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
        except FileNotFoundError as error:
            raise Refused("openssl", "openssl is not installed: apt-get install openssl") from error
        except subprocess.TimeoutExpired as error:
            raise Refused("openssl", "openssl does not come to an end") from error
    if done.returncode != 0:
        said = " ".join((done.stdout + done.stderr).split())
        raise Refused("signature", f"not signed with the key of {public_key}; openssl: {said:.200}")


# -- state -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Probation:
    """A release that is being tried. id: of this try; before: what its link held before, None where there was none."""

    id: str
    kind: str
    name: str
    version: str
    sequence: int
    folder: str
    before: str | None
    starts: int = 0


@dataclass(frozen=True)
class Last:
    """How the last update went: `trying`, `good`, `rolled_back` or `refused`. id: another one each time."""

    id: str
    outcome: str
    name: str = ""
    version: str = ""
    sequence: int = 0
    code: str = "ok"
    message: str = ""


@dataclass(frozen=True)
class State:
    """state.json. taken: sequence and version of the newest release that was switched to, by its name."""

    taken: dict[str, tuple[int, str]]
    probation: Probation | None = None
    last: Last | None = None


def read_state(root: Path) -> State:
    """Raises Refused where the file is damaged: what was taken before is then not known."""
    path = root / "state.json"
    try:
        values = json.loads(path.read_bytes())
        return State(
            taken={str(name): (int(number), str(version)) for name, (number, version) in values["taken"].items()},
            probation=Probation(**values["probation"]) if values["probation"] else None,
            last=Last(**values["last"]) if values["last"] else None,
        )
    except FileNotFoundError:
        return State({})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Refused("state", f"{path} is damaged ({error}); remove it, and apply the card again") from error


def _write_state(root: Path, state: State) -> None:
    write(root / "state.json", json.dumps(asdict(state), indent=1).encode() + b"\n")


def write(path: Path, data: bytes) -> None:
    """Whole or not at all, power cut or not."""
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)  # noqa: PTH105 seen by who counts the steps
    _sync(path.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _new_id() -> str:
    return os.urandom(8).hex()


@contextmanager
def locked(root: Path, name: str, *, wait: bool) -> Iterator[None]:
    # Readable by root alone: whoever can open it can lock it.
    handle = os.open(root / f".{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise Refused("busy", "another release is being installed") from error
        yield


def _current(root: Path, link: str) -> str | None:
    try:
        return os.readlink(root / link)  # noqa: PTH115 a string is what is compared
    except FileNotFoundError:
        return None


def _switch(root: Path, link: str, folder: str | None) -> None:
    """The link holds `folder` from now on; None: there is no link."""
    if folder is None:
        (root / link).unlink(missing_ok=True)
    else:
        new = root / f".{link}.new"
        new.unlink(missing_ok=True)
        new.symlink_to(folder)
        os.replace(new, root / link)  # noqa: PTH105 seen by who counts the steps
    _sync(root)


# -- install -----------------------------------------------------------------------------------------------------------


def install(tar: Path, public_key: Path, root: Path, var: Path = VAR) -> Release:
    """Verify, unpack, install, switch. The release is on probation where there is one to go back to.

    One that is in use already is left as it is; on probation it gets all its starts again. Raises Refused, and says so
    in state.json.
    """
    root.mkdir(parents=True, exist_ok=True)
    about: tuple[str, str, int] = ("", "", 0)
    try:
        with locked(root, "install", wait=False), opened(tar) as file:
            release, data, signature = head(file, public_key)
            about = (release.name, release.version, release.sequence)
            with locked(root, "state", wait=True):
                _settle(root, var)
                _admit(root, release, data)
            if _release_json(root / release.folder) != data:
                _clean(root)
                _unpack(file, release, data, signature, root)
            with locked(root, "state", wait=True):
                take(root, release)
    except (Refused, OSError) as error:
        refused = (
            error if isinstance(error, Refused) else Refused(code_of(error), f"{error.filename}: {error.strerror}")
        )
        with suppress(OSError), locked(root, "state", wait=True):  # a disk may have no room for that, either
            last = Last(_new_id(), "refused", *about, code=refused.code, message=refused.message[:500])
            _write_state(root, replace(read_state(root), last=last))
        raise refused from error
    return release


def code_of(error: OSError) -> str:
    """The word for what a disk said."""
    return "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "failed"


def machine() -> str:
    """What a release for this computer has as its target."""
    return f"{platform.machine()}-cp{sys.version_info.major}{sys.version_info.minor}"


def _admit(root: Path, release: Release, data: bytes) -> None:
    if release.target not in ("any", machine()):
        raise Refused("target", f"it is for {release.target}, this computer is {machine()}")
    state = read_state(root)
    admit(state, release.name, release.version, release.sequence)
    there = _release_json(root / release.folder)
    if there not in (None, data) or (there is None and _current(root, release.link) == release.folder):
        raise Refused("version", f"{release.folder} is there with other content; a new release needs a new version")
    trial = state.probation
    if trial is not None and trial.folder != release.folder:
        raise Refused("on_probation", f"{trial.name} {trial.version} is on probation; try again when that is over")


def in_use(root: Path) -> tuple[Release, ...]:
    """The program, and the model that came after it, if one did."""
    found = (_release_json(root / link) for _, link in _KINDS.values())
    return tuple(parse(data) for data in found if data is not None)


def admit(state: State, name: str, version: str, sequence: int) -> None:
    """Raises Refused for what is not newer than what was taken, nor the same again."""
    newest, its_version = state.taken.get(name, (0, ""))
    if (sequence, version) != (newest, its_version) and sequence <= newest:
        raise Refused("older", f"sequence {sequence}; {newest} ({its_version}) was taken, and it never goes back")


def _release_json(folder: Path) -> bytes | None:
    """What makes a folder whole; None where it is not."""
    try:
        return (folder / RELEASE_JSON).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _clean(root: Path) -> None:
    """Remove what is left of an install that was cut off, and whatever is not in use."""
    for parent, link in _KINDS.values():
        (root / parent).mkdir(exist_ok=True)
        for path in (root / parent).iterdir():
            if f"{parent}/{path.name}" != _current(root, link):
                shutil.rmtree(path)


def _unpack(file: BinaryIO, release: Release, data: bytes, signature: bytes, root: Path) -> None:
    """Make the release's folder whole. Leaves nothing behind where it cannot."""
    folder = root / release.folder
    new = folder.parent / f".new-{release.version}"
    try:
        _need(root, release.size)

        def keep(listed: Listed) -> BinaryIO:
            path = new / listed.path
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.open("xb")

        body(file, release, keep)
        (new / RELEASE_SIG).write_bytes(signature)
        if release.kind == "model":
            (new / RELEASE_JSON).write_bytes(data)
            os.sync()
            new.rename(folder)
            _sync(folder.parent)
            return
        _make_venv(folder, new / "wheels")
        shutil.rmtree(new / "wheels")
        for path in new.iterdir():
            path.rename(folder / path.name)
        new.rmdir()
        os.sync()
        write(folder / RELEASE_JSON, data)
    except BaseException:
        for path in (new, folder):
            shutil.rmtree(path, ignore_errors=True)
        raise


def _need(root: Path, size: int) -> None:
    free = shutil.disk_usage(root).free
    if free < size + RESERVE:
        raise Refused("disk_full", f"{(size + RESERVE) >> 20} MB must be free on the disk of {root}, {free >> 20} are")


def _make_venv(folder: Path, wheels: Path) -> None:
    """A venv does not survive being moved, so it is made where it stays."""
    unpacked = 0
    for wheel in wheels.glob("*.whl"):
        try:
            with zipfile.ZipFile(wheel) as archive:
                unpacked += sum(part.file_size for part in archive.infolist())
        except zipfile.BadZipFile as error:
            raise Refused("install_failed", f"{wheel.name}: {error}") from error
    _need(folder.parent, unpacked)
    _run([sys.executable, "-I", "-m", "venv", str(folder)])
    pip = [str(folder / "bin/python"), "-I", "-m", "pip", "--isolated", "--disable-pip-version-check", "--no-input"]
    pip += ["install", "--quiet", "--no-index", "--no-cache-dir", "--no-compile", "--only-binary", ":all:"]
    _run([*pip, "--find-links", str(wheels), "banksman[node]"])


def _run(command: list[str]) -> None:
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=env)  # noqa: S603
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        code = "disk_full" if os.strerror(errno.ENOSPC) in said else "install_failed"
        raise Refused(code, f"{' '.join(command[:4])}: {said[-400:]}")


def take(root: Path, release: Release) -> None:
    """State first, then the link: a cut between the two is seen by `_settle`, which finds the link as it was."""
    state, before = read_state(root), _current(root, release.link)
    if before == release.folder:
        if state.probation is not None:
            _write_state(root, replace(state, probation=replace(state.probation, starts=0)))
        return
    number = _new_id()
    about = (release.name, release.version, release.sequence)
    first = before is None and release.kind == "app"  # there is nothing to go back to
    trial = None if first else Probation(number, release.kind, *about, folder=release.folder, before=before)
    last = Last(number, "good" if first else "trying", *about)
    _write_state(root, State({**state.taken, release.name: (release.sequence, release.version)}, trial, last))
    _switch(root, release.link, release.folder)


# -- probation ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """How a try ended, as in `Last`."""

    outcome: str
    code: str = "ok"
    message: str = ""


def start(root: Path, var: Path = VAR) -> Last | None:
    """Before each start of the node. Returns how the last update stands. Raises Refused."""
    with locked(root, "state", wait=True):
        _settle(root, var)
        state = read_state(root)
        trial = state.probation
        if trial is not None and trial.starts >= MAX_STARTS:
            found = Found("rolled_back", "starts", f"started {trial.starts} times, and never found well")
            _roll_back(root, state, trial, found)
        elif trial is not None:
            _write_state(root, replace(state, probation=replace(trial, starts=trial.starts + 1)))
        return read_state(root).last


def healthy(root: Path) -> None:
    """The release on probation is good, and stays. Raises Refused."""
    with locked(root, "state", wait=True):
        state = read_state(root)
        if state.probation is not None:
            _end(root, state, state.probation, Found("good"))


def _settle(root: Path, var: Path) -> None:
    """Finish what a power cut left half done, and do what the node has found."""
    state = read_state(root)
    trial = state.probation
    if trial is None:
        return
    if _current(root, _KINDS[trial.kind][1]) != trial.folder:  # cut off before the switch, or after the way back
        outcome = "rolled_back" if trial.starts else "refused"
        _end(root, state, trial, Found(outcome, "cut_off", "the power was cut in the middle of it"))
        return
    found = verdict(var, trial)
    if found is not None and found.outcome == "good":
        _end(root, state, trial, found)
    elif found is not None:
        _roll_back(root, state, trial, found)


def _roll_back(root: Path, state: State, trial: Probation, found: Found) -> None:
    _switch(root, _KINDS[trial.kind][1], trial.before)
    _end(root, state, trial, found)


def _end(root: Path, state: State, trial: Probation, found: Found) -> None:
    about = (trial.name, trial.version, trial.sequence)
    last = Last(trial.id, found.outcome, *about, code=found.code, message=found.message)
    _write_state(root, replace(state, probation=None, last=last))


def verdict(var: Path, trial: Probation) -> Found | None:
    """What the node says of this try; None where it has said nothing, or nothing that makes sense."""
    try:
        with opened(var / VERDICT) as file:
            values = json.loads(file.read(4096))
    except (Refused, OSError, ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or values.get("id") != trial.id:
        return None
    well, code, message = values.get("well"), values.get("code"), values.get("message")
    if not isinstance(well, bool) or not isinstance(code, str) or not isinstance(message, str):
        return None
    if not _NAME.fullmatch(code):
        return None
    return Found("good" if well else "rolled_back", code, " ".join(message.split())[:500])


def main(arguments: list[str]) -> int:
    """Ends with 1 for a release that is refused, 2 for a wrong command line; `start` always with 0.

    A node must start whatever is wrong with what is written down here.
    """
    parser = argparse.ArgumentParser(prog="guard.py", description="Signed releases of Banksman on a node.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, places in (("verify", "tar pub"), ("install", "tar pub root"), ("start", "root"), ("healthy", "root")):
        command = commands.add_parser(name)
        for place in places.split():
            command.add_argument(place, type=Path, metavar=place.upper())
        if name in ("install", "start"):
            command.add_argument("--var", type=Path, default=VAR, help=f"the node's own folder; by default {VAR}")
    given = parser.parse_args(arguments)
    os.umask(0o022)
    try:
        if given.command == "verify":
            release = verify(given.tar, given.pub)
            print(f"{release.name} {release.version}, sequence {release.sequence}, {release.target}: good")
        elif given.command == "install":
            release = install(given.tar, given.pub, given.root, given.var)
            print(f"{release.name} {release.version} is in {given.root / release.folder}")
        elif given.command == "start":
            last = start(given.root, given.var)
            if last is not None and last.outcome != "good":
                print(f"last update: {last.name} {last.version} {last.outcome}: {last.code} {last.message}")
        else:
            healthy(given.root)
    except (Refused, OSError) as error:
        print(error, file=sys.stderr)
        return 0 if given.command == "start" else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
