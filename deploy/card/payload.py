"""What a card carries for one node: the files of `banksman/` on its boot partition, and how they get there."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import edge.update
from deploy.card import hooks
from deploy.card.errors import CardError
from deploy.card.node import NodeFile, read
from deploy.card.tree import BLOCK, Tree
from deploy.card.wifi import Wifi

FOLDER = "banksman"
SUMS = "SHA256SUMS"
WIPED_SUMS = "secret.sums"
"""Of what `install.sh` wipes, and wiped with it: a checksum lets a password be guessed by whoever finds the card."""
# Not imported: it needs a Linux, and a card is filled on any laptop.
_GUARD = Path(edge.update.__file__).with_name("guard.py")
_INSTALL = Path(__file__).with_name("install") / "install.sh"
_SPARE = 4 << 20
"""Bytes that stay free on the boot partition, for STATUS.txt and updates of the kernel's files."""
_SECRETS = frozenset({"enrol.json", "node.key", "influx.token", "wifi.nmconnection", "site.yaml"})
GO_AWAY = _SECRETS | {WIPED_SUMS}
"""What `install.sh` wipes from the card; hence not in SHA256SUMS."""
_REQUIRED = frozenset({"node.toml", "ca.pem", "site.yaml", "app.tar", "release.pub", "guard.py", "install.sh"})


Content = bytes | Path | zipfile.Path


@dataclass(frozen=True)
class Token:
    """A one-time token of the enrolment door. expires: Unix seconds."""

    token: str
    expires: float


@dataclass(frozen=True)
class Key:
    """What an offline node is, in PEM; whoever has it is that node."""

    certificate: bytes
    key: bytes
    influx: bytes | None = None


@dataclass(frozen=True)
class Payload:
    """files: below `banksman/`, by name; checksums are among them."""

    node: NodeFile
    files: Mapping[str, Content]

    @property
    def instance(self) -> str:
        """Of cloud-init: another card of the same node is another instance. Says nothing of what is secret."""
        sums = cast("bytes", self.files[SUMS])
        return f"banksman-{self.node.node.site}-{self.node.node.node}-{hashlib.sha256(sums).hexdigest()[:12]}"


def build(
    node: NodeFile,
    *,
    ca: bytes,
    identity: Token | Key,
    site_file: bytes,
    app: Path,
    release_pub: bytes,
    wifi: Wifi | None,
) -> Payload:
    """Raises CardError for a release that is not whole, or not signed with that key; OSError."""
    files: dict[str, Content] = {
        "node.toml": node.toml(),
        "ca.pem": ca,
        "site.yaml": site_file,
        "app.tar": app,
        "release.pub": release_pub,
        "guard.py": _GUARD,
        "install.sh": _INSTALL,
    }
    match identity:
        case Token(token, expires):
            until = f"{dt.datetime.fromtimestamp(expires, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
            told = {"token": token, "url": node.server.enrol_url, "expires": until}
            files["enrol.json"] = json.dumps(told, indent=1).encode() + b"\n"
        case Key(certificate, key, influx):
            files |= {"node.pem": certificate, "node.key": key}
            if influx is not None:
                files["influx.token"] = influx
    if wifi is not None:
        files["wifi.nmconnection"] = wifi.connection()
    return Payload(node, files | _sums(files))


def _sums(files: Mapping[str, Content]) -> dict[str, bytes]:
    """The two files of checksums: those of what stays on the card, and of what does not."""
    named = {SUMS: set(files) - GO_AWAY - {SUMS}, WIPED_SUMS: set(files) & _SECRETS}
    return {
        sums: "".join(f"{_sha256(files[name])}  {name}\n" for name in sorted(names)).encode()
        for sums, names in named.items()
    }


def _sha256(content: Content) -> str:
    digest = hashlib.sha256()
    with opened(content) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def opened(content: Content) -> Iterator[BinaryIO]:
    """It as a file that can seek."""
    with io.BytesIO(content) if isinstance(content, bytes) else cast("BinaryIO", content.open("rb")) as file:
        yield file


def _size(content: Content) -> int:
    with opened(content) as file:
        return file.seek(0, io.SEEK_END)


# -- onto a card -------------------------------------------------------------------------------------------------------


def inject(tree: Tree, payload: Payload) -> None:
    """Write it onto a boot partition; doing it twice makes the same card, another node's payload gives way.

    The hooks come last: a card that was pulled out half-way runs nothing. Raises CardError.
    """
    node = payload.node
    country = node.wifi.country if node.wifi is not None else None
    last = hooks.hooks(tree, payload.instance, node.node.host, country)
    for name in tree.listdir(FOLDER) if tree.exists(FOLDER) else ():
        tree.remove(f"{FOLDER}/{name}")
    need, free = sum(map(_size, payload.files.values())) + _SPARE, tree.free()
    if free < need:
        raise CardError("boot.full", need=-(-need // BLOCK), free=free // BLOCK)
    for name, content in payload.files.items():
        with opened(content) as file:
            tree.write(f"{FOLDER}/{name}", file)
    tree.flush()
    for name, data in last.items():
        tree.write(name, data)
    tree.flush()


# -- as one file for the installer's laptop ----------------------------------------------------------------------------


def pack(payload: Payload, out: BinaryIO) -> None:
    """NODE.zip: unpacked onto the boot partition of a plain image it does what `inject` does, where cloud-init is."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:  # wheels are compressed already
        for name, content in payload.files.items():
            with opened(content) as file, archive.open(_entry(f"{FOLDER}/{name}"), "w", force_zip64=True) as member:
                while block := file.read(BLOCK):
                    member.write(block)
        archive.writestr(_entry("user-data"), hooks.USER_DATA)
        archive.writestr(_entry("meta-data"), hooks.meta_data(payload.instance, payload.node.node.host))


def _entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name)  # 1980: the same payload is the same file


def unpack(path: Path) -> Payload:
    """Of NODE.zip. Files are read when they are needed, and checked by their checksums here. Raises CardError."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removeprefix(f"{FOLDER}/") for name in archive.namelist() if name.startswith(f"{FOLDER}/")]
        files: dict[str, Content] = {name: zipfile.Path(path, f"{FOLDER}/{name}") for name in names if name}
        if lacking := sorted((_REQUIRED | {SUMS}) - set(files)):
            raise CardError("payload.lacks", path=path, names=", ".join(lacking))
        files |= {name: _bytes(content) for name, content in files.items() if name != "app.tar"}
        # An older server makes no WIPED_SUMS, and its `install.sh`, which comes along, asks for none.
        right = all(files[name] == sums for name, sums in _sums(files).items() if name in files)
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise CardError("payload.unreadable", path=path, problem=str(error)) from error
    if not right:
        raise CardError("payload.damaged", path=path)
    return Payload(read(NodeFile, cast("bytes", files["node.toml"]), f"{path}: node.toml"), files)


def _bytes(content: Content) -> bytes:
    with opened(content) as file:
        return file.read()
