"""What the cards of nodes are made of: an official image and a release, checked, copied and described once."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from broker import files
from deploy.card import cards
from deploy.card.errors import CardError
from deploy.card.node import Server
from deploy.release import wheels
from deploy.server import layout
from deploy.server.settings import ORG, ServerError, ServerSettings
from edge.update import guard

KEPT = Path("/var/lib/banksman/cards")
"""Where the pages keep what they make; `cards/` itself they only read."""


def describe(
    folder: Path, settings: ServerSettings, *, image: Path, sha256: str, release: Path, public_key: Path
) -> cards.Cards:
    """Bring the files into `cards/` and write its cards.toml. What was there before is replaced.

    Raises ServerError for an image with another checksum, CardError for a release that is not rightly signed or not
    for the system of the image, OSError.
    """
    with image.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        raise ServerError(f"{image}: its SHA-256 is {found}, not {sha256}; download it again")
    where = folder / layout.CARDS
    where.mkdir(exist_ok=True)
    where.chmod(0o755)
    for source in (image, release, public_key):
        target = where / source.name
        if not (target.exists() and target.samefile(source)):
            shutil.copyfile(source, target)
        target.chmod(files.PUBLIC)
    text = cards_text(settings, image.name, found, release.name, public_key.name)
    described = cards.parse(text.encode(), where / "cards.toml")
    _fits(described, cards.check(described))
    files.write(where / "cards.toml", text.encode(), files.PUBLIC)
    return described


def _fits(described: cards.Cards, release: guard.Release) -> None:
    """A release for another machine or Python would be refused by the box, on its pole. Raises CardError."""
    target = wheels.target_of(described.image.name)
    if release.target not in ("any", target):
        wanted = {"path": described.release, "target": release.target, "image": described.image.name, "wanted": target}
        raise CardError("target", **wanted)


def server_of(settings: ServerSettings) -> Server:
    """The server as cards tell their nodes: by the first of its names. Whatever else it is called, they never learn."""
    host = settings.hosts[0]
    at = layout.in_url(host)
    return Server(
        name=host,
        enrol_url=f"https://{at}:{layout.ENROL}/enrol",
        evidence_url=f"https://{at}:{layout.EVIDENCE}",
        mqtt_host=host,
        mqtt_port=layout.MQTT,
        influx_url=f"https://{at}:{layout.INFLUX}" if settings.boards else None,
        influx_org=ORG,
        influx_bucket=ORG,
        ntp=host,
        page_url=f"https://{settings.name}",
    )


def cards_text(settings: ServerSettings, image: str, sha256: str, release: str, public_key: str) -> str:
    """cards.toml; of the server what its settings say."""
    top = {
        "image": image,
        "image_sha256": sha256,
        "release": release,
        "release_pub": public_key,
        "ca": "../dispatch/ca.pem",
        "folder": str(KEPT),
    }
    return _lines(top) + "\n[server]\n" + _lines(server_of(settings).model_dump(exclude_none=True))


def _lines(values: Mapping[str, str | int]) -> str:
    # A JSON string without control characters is a basic string of TOML.
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())
