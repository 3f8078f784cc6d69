"""Release files: what is in them, their signature.

Made and signed on the administrator's computer; the private key is never on a server.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.update import guard

CHECKOUT = Path(__file__).resolve().parents[2]
_APP = "banksman"
_MODEL_TARGET = "any"


class ReleaseError(Exception):
    """No release can be made or signed of this; says why, and what would be right."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a release is to hold. files: where each of its paths lies now."""

    kind: str
    name: str
    version: str
    target: str
    files: Mapping[str, Path]


def app(wheels: Path, target: str, checkout: Path = CHECKOUT) -> Contents:
    """The program: a folder of wheels for a target, guard.py, the node's units. Raises ReleaseError."""
    found = sorted(wheels.glob("*.whl"))
    own = [wheel for wheel in found if wheel.name.startswith(f"{_APP}-")]
    if len(own) != 1:
        raise ReleaseError(f"{wheels}: one wheel of {_APP} must be there, not {len(own)}")
    units = checkout / "deploy" / "systemd" / "etc"
    return Contents(
        kind="app",
        name=_APP,
        version=own[0].name.split("-")[1],
        target=target,
        files={f"wheels/{wheel.name}": wheel for wheel in found}
        | {"guard.py": Path(guard.__file__)}
        | {f"units/{path.relative_to(units)}": path for path in sorted(units.rglob("*")) if path.is_file()},
    )


def model(folder: Path) -> Contents:
    """A detector, named as its manifest says, with all of the folder's files. Raises ReleaseError."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        name, version = str(manifest["name"]), str(manifest["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReleaseError(f"{folder}: no model folder with a manifest.json that has a name and a version") from error
    paths = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}
    return Contents(kind="model", name=name, version=version, target=_MODEL_TARGET, files=paths)


def write(contents: Contents, sequence: int, now: dt.datetime, out: BinaryIO) -> guard.Release:
    """The release file without its signature. Raises ReleaseError for what no node would take, OSError."""
    listed = []
    for path, source in contents.files.items():
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        listed.append({"path": path, "bytes": source.stat().st_size, "sha256": digest})
    values = {
        "kind": contents.kind,
        "name": contents.name,
        "version": contents.version,
        "sequence": sequence,
        "target": contents.target,
        "files": listed,
        "made": f"{now.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    data = json.dumps(values, indent=1).encode() + b"\n"
    try:
        release = guard.parse(data)
    except guard.Refused as error:
        raise ReleaseError(error.message) from error
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        _add(tar, guard.RELEASE_JSON, data)
        for path, source in contents.files.items():
            with source.open("rb") as file:
                tar.addfile(_header(path, source.stat().st_size), file)
    return release


def sign(unsigned: BinaryIO, key: Ed25519PrivateKey, out: BinaryIO) -> guard.Release:
    """The same with its signature, after every file was compared with release.json. Raises guard.Refused, OSError."""
    release, data = guard.unsigned_head(unsigned)
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        _add(tar, guard.RELEASE_JSON, data)
        _add(tar, guard.RELEASE_SIG, key.sign(data))

        def keep(listed: guard.Listed) -> BinaryIO:
            return _Member(tar, listed)

        guard.body(unsigned, release, keep)
    return release


class _Member(io.BytesIO):
    """Bytes of one member, which go into the tar when they are all there."""

    def __init__(self, tar: tarfile.TarFile, listed: guard.Listed) -> None:
        super().__init__()
        self._tar, self._listed = tar, listed

    def close(self) -> None:
        if not self.closed:
            self.seek(0)
            self._tar.addfile(_header(self._listed.path, self._listed.bytes), self)
        super().close()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    tar.addfile(_header(name, len(data)), io.BytesIO(data))


def _header(name: str, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size = size
    return header


def new_key(password: str) -> tuple[bytes, bytes]:
    """Private and public key (PEM). password: guards the private one; empty: nothing does."""
    key = Ed25519PrivateKey.generate()
    guarded = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    pem, public = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return (
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, guarded),
        key.public_key().public_bytes(pem, public),
    )


def read_key(data: bytes, password: str) -> Ed25519PrivateKey:
    """Raises ReleaseError. password: empty where the key has none."""
    try:
        key = serialization.load_pem_private_key(data, password.encode() or None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ReleaseError("the key cannot be read: wrong password, or no private key in PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ReleaseError("the key is no Ed25519 key; `banksman release keygen` makes one")
    return key
