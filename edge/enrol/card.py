"""The folder `banksman` on the card's FAT partition: what is read of it, and what is wiped.

Files there are overwritten in their place and synced, since a FAT partition would keep what a new file replaces. A card
may still hold old blocks that it has set aside; against whoever reads those, one-time tokens and revoking help.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from broker.messages import Ident
from edge.enrol.error import EnrolError
from edge.site.model import HTTPS, Host, Name

NODE_FILE, CA_FILE, ENROL_FILE, SITE_FILE = "node.toml", "ca.pem", "enrol.json", "site.yaml"
SUMS_FILE = "secret.sums"
"""Checksums of what is secret, as sha256sum(1) writes them; wiped with it, for they would let passwords be guessed."""
IDENTITY = ("node.pem", "node.key", "influx.token")
"""What the card brings in mode `key`; the last is not needed."""
MAX_BYTES = 1024 * 1024
Url = Annotated[str, StringConstraints(pattern=HTTPS)]
_READ_ONLY = ConfigDict(extra="ignore", frozen=True)


class NodePart(BaseModel):
    """Which node this is. latitude, longitude: degrees; without them those of the time zone's city."""

    model_config = _READ_ONLY
    site: Ident
    node: Ident
    name: Name = ""
    language: Literal["zh-CN", "en"] = "zh-CN"
    time_zone: str = "Asia/Shanghai"
    latitude: float | None = Field(None, ge=-90, le=90)
    longitude: float | None = Field(None, ge=-180, le=180)

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude belong together")
        return self


class ServerPart(BaseModel):
    """Where the site server is."""

    model_config = _READ_ONLY
    name: Host
    enrol_url: Url
    evidence_url: Url
    mqtt_host: Host
    mqtt_port: int = Field(8883, ge=1, le=65_535)
    influx_url: Url | None = None
    influx_org: Name = "banksman"
    influx_bucket: Name = "banksman"


class IdentityPart(BaseModel):
    model_config = _READ_ONLY
    mode: Literal["token", "key"]


class PagePart(BaseModel):
    """The node's own page, for whoever draws zones. password: without one the page answers on the node alone."""

    model_config = _READ_ONLY
    password: str | None = Field(None, min_length=8)


class NodeFile(BaseModel):
    """`node.toml`; tables and keys that are not named here are others' business."""

    model_config = _READ_ONLY
    node: NodePart
    server: ServerPart
    identity: IdentityPart
    page: PagePart = PagePart()

    @property
    def full_name(self) -> str:
        return f"{self.node.site}/{self.node.node}"


def node_file(data: bytes) -> NodeFile:
    """Raises EnrolError."""
    try:
        return NodeFile.model_validate(tomllib.loads(data.decode()))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise EnrolError("card.wrong", file=NODE_FILE, why=f"{where}: {first['msg']}") from None
    except ValueError as error:  # no UTF-8, or no TOML
        raise EnrolError("card.wrong", file=NODE_FILE, why=str(error)) from None


class Card:
    """folder: `banksman` of the boot partition."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, name: str) -> bytes | None:
        """None: not there. Raises EnrolError for a file that cannot be read."""
        try:
            with (self.folder / name).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EnrolError("card.unreadable", file=self.folder / name, why=error.strerror or "?") from error
        if len(data) > MAX_BYTES:
            raise EnrolError("card.wrong", file=name, why=f"> {MAX_BYTES} bytes")
        return data

    def need(self, name: str) -> bytes:
        data = self.read(name)
        if data is None:
            raise EnrolError("card.missing", file=self.folder / name)
        return data

    def proven(self, name: str) -> bytes | None:
        """A secret file as it was when the card was made; where the card has no checksums, as it is. None: not there.

        Raises EnrolError.
        """
        data, sums = self.read(name), self.read(SUMS_FILE)
        if sums is None:
            return data
        told = dict(line.split("  ")[::-1] for line in sums.decode("ascii", "replace").splitlines() if "  " in line)
        if data is None and name in told:
            raise EnrolError("card.missing", file=self.folder / name)
        if data is not None and hashlib.sha256(data).hexdigest() != told.get(name):
            raise EnrolError("card.damaged", file=name)
        return data

    def token(self) -> str:
        """Empty: wiped, or never there. Raises EnrolError."""
        data = self.read(ENROL_FILE)
        try:
            found = json.loads(data)["token"] if data else ""
        except (ValueError, KeyError, TypeError):
            raise EnrolError("card.wrong", file=ENROL_FILE, why="JSON") from None
        if not isinstance(found, str):
            raise EnrolError("card.wrong", file=ENROL_FILE, why="token")
        return found

    def wipe_token(self) -> None:
        """The rest of the file stays. Raises OSError."""
        path = self.folder / ENROL_FILE
        if not path.exists():
            return
        old = path.read_bytes()
        try:
            found = json.loads(old)
            wiped = {**found, "token": ""}
        except (ValueError, TypeError):  # the power failed while it was wiped
            found, wiped = None, {"token": ""}
        if found != wiped:
            _overwrite(path, json.dumps(wiped).encode().ljust(len(old)))

    def identity(self, name: str) -> bytes | None:
        """A file of mode `key`; None: not there, or wiped."""
        data = self.read(name)
        return data if data and data.strip(b"\0") else None

    def wipe_identity(self) -> None:
        """Raises OSError."""
        for name in IDENTITY:
            path = self.folder / name
            if path.exists():
                _overwrite(path, bytes(path.stat().st_size))
                path.unlink()
        _sync(self.folder, os.O_DIRECTORY)


def _overwrite(path: Path, data: bytes) -> None:
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, os.O_RDONLY | flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
