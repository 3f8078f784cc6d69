"""`cards.toml`: what all cards of a server have in common; and the payload of one of them."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo

from deploy.card.errors import CardError
from deploy.card.node import Identity, Network, Node, NodeFile, Section, Server, read
from deploy.card.payload import Key, Payload, Token, build
from deploy.card.wifi import Wifi
from edge.update import guard

ETC = Path("/etc/banksman")
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that is mistaken for something else on a label


def _beside(path: Path, info: ValidationInfo) -> Path:
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / path


LocalPath = Annotated[Path, AfterValidator(_beside)]


class Cards(Section):
    """The file; relative paths are relative to its folder."""

    image: LocalPath = Field(description="Raspberry Pi OS Lite (64-bit), .img.xz as downloaded, or .img.")
    image_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(
        description="Of that file, from the same page."
    )
    release: LocalPath = Field(description="The signed release that new nodes start with.")
    release_pub: LocalPath = Field(description="The key that releases are signed with.")
    ca: LocalPath = Field(description="Whom nodes trust: ca.pem of the authority.")
    folder: LocalPath = Field(Path("cards"), validate_default=True, description="Where images and cards are kept.")
    hours: Annotated[float, Field(gt=0, le=720)] = Field(
        72.0, description="How long a card may lie before its box is switched on."
    )
    server: Server


def load(path: Path) -> Cards:
    """Raises CardError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CardError("file.unreadable", where=path, problem=error.strerror or "?") from error
    return parse(data, path)


def parse(data: bytes, path: Path) -> Cards:
    """What stands in the file `path`. Raises CardError."""
    return read(Cards, data, str(path), {"folder": path.parent})


@dataclass(frozen=True)
class Wanted:
    """A card that somebody asks for. camera: `usb`, `csi`, or the address of a network camera.

    password: of the node's own page.
    """

    node: Node
    password: str
    camera: str = "usb"
    wifi: Wifi | None = None


def new_password() -> str:
    """For the page of a node; easily typed with gloves. 59 bits."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(3))


def check(cards: Cards) -> guard.Release:
    """The release, which is whole and rightly signed. Raises CardError."""
    for path in (cards.image, cards.release, cards.release_pub, cards.ca):
        if not path.is_file():
            raise CardError("file.unreadable", where=path, problem="no such file")
    try:
        release = guard.verify(cards.release, cards.release_pub)
    except guard.Refused as error:
        raise CardError("release", path=cards.release, problem=error.message) from error
    if release.kind != "app":
        raise CardError("release", path=cards.release, problem="a model, not the program")
    return release


def payload(cards: Cards, wanted: Wanted, identity: Token | Key) -> Payload:
    """Raises CardError, OSError."""
    wifi = wanted.wifi
    node = NodeFile(
        node=wanted.node,
        server=cards.server,
        identity=Identity(mode="token" if isinstance(identity, Token) else "key"),
        wifi=Network(ssid=wifi.ssid, country=wifi.country) if wifi is not None else None,
    )
    return build(
        node,
        ca=cards.ca.read_bytes(),
        identity=identity,
        site_file=site_file(node, wanted),
        app=cards.release,
        release_pub=cards.release_pub.read_bytes(),
        wifi=wifi,
    )


def site_file(node: NodeFile, wanted: Wanted) -> bytes:
    """The node's first one, as the node itself would make it. Raises CardError."""
    from edge.enrol import card, first  # noqa: PLC0415 brings the rules, and OpenCV with them
    from edge.enrol.error import EnrolError  # noqa: PLC0415

    server = node.server
    bucket = first.Bucket(server.influx_url, server.influx_org, server.influx_bucket) if server.influx_url else None
    named = card.NodeFile.model_validate(
        node.model_dump(exclude_none=True) | {"page": {"password": wanted.password}},
    )
    try:
        return first.first_site_file(named, bucket, ETC, _source(wanted.camera))
    except EnrolError as error:
        raise CardError("site", problem=str(error.fields.get("problems", error.key))) from error


def _source(camera: str) -> str:
    if camera in ("usb", "csi"):
        return f"{{type: {camera}}}"
    if not camera.startswith(("rtsp://", "rtsps://")):
        raise CardError("camera")
    return f"{{type: rtsp, url: {json.dumps(camera)}}}"
