"""The node's first site file, made of what the card says; and the uplinks of one that has none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from edge.enrol.card import NodeFile
from edge.enrol.error import EnrolError
from edge.rules import RULES
from edge.site.model import SiteFile
from edge.site.parse import parse
from edge.site.problem import SiteFileError

USB = "{type: usb, index: 0}"


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where figures go, without the token."""

    url: str
    org: str
    bucket: str


def first_site_file(node: NodeFile, bucket: Bucket | None, folder: Path, source: str = USB) -> bytes:
    """For a node with one camera and no zones: rules about people work, the others wait for what is drawn.

    folder: where its files lie. source: of the camera, as the site file has it, on one line. Raises EnrolError.
    """
    part = node.node
    if part.latitude is not None:
        place, remark = (part.latitude, part.longitude), ""
    else:
        place, remark = city(part.time_zone), f"  # {part.time_zone}; put the site's own here: night depends on it"
    lines = [
        "# Made when this node was enrolled. `banksman check` says what is wrong with it, the node's page draws zones.",
        "site:",
        f"  id: {_quoted(part.site)}",
        f"  timezone: {_quoted(part.time_zone)}",
        f"  latitude: {place[0]}{remark}",
        f"  longitude: {place[1]}",
        "node:",
        f"  id: {_quoted(part.node)}",
        f"language: {part.language}",
        "cameras:",
        *(["  # The first USB camera. For a network camera: source: {type: rtsp, url: …}"] if source == USB else []),
        "  - id: camera-1",
        *([f"    name: {_quoted(part.name)}"] if part.name else []),
        f"    source: {source}",
        uplinks(node, bucket, folder),
        "page:",
    ]
    if node.page.password is not None:
        lines += ["  host: 0.0.0.0", f"  password: {_quoted(node.page.password)}"]
    else:
        lines += ["  host: 127.0.0.1  # for phones and laptops: 0.0.0.0, and a password"]
    data = ("\n".join(lines) + "\n").encode()
    _parsed(data, folder, part.language)
    return data


def uplinks(node: NodeFile, bucket: Bucket | None, folder: Path) -> str:
    """The section of a site file, without an end of line."""
    server = node.server
    own = [f"    {key}: {_quoted(str(folder / name))}" for key, name in _FILES]
    lines = [
        "uplinks:", "  mqtt:", f"    host: {_quoted(server.mqtt_host)}", f"    port: {server.mqtt_port}", *own,
        "  evidence:", f"    url: {_quoted(server.evidence_url)}", *own,
    ]  # fmt: skip
    if bucket is not None:
        lines += ["  influx:"]
        lines += [f"    {key}: {_quoted(getattr(bucket, key))}" for key in ("url", "org", "bucket")]
        lines += [f"    token_file: {_quoted(str(folder / 'influx.token'))}"]
        lines += [own[0]] if bucket.url.startswith("https:") else []
    return "\n".join(lines)


_FILES = (("ca", "ca.pem"), ("cert", "node.pem"), ("key", "node.key"))


def completed(data: bytes, node: NodeFile, bucket: Bucket | None, folder: Path) -> bytes:
    """A site file that somebody has written, with uplinks if it has none at all. Raises EnrolError."""
    site = _parsed(data, folder, node.node.language)
    if (named := _name(site)) != node.full_name:
        raise EnrolError("site.other", named=named, wanted=node.full_name)
    if site.uplinks.mqtt or site.uplinks.evidence or site.uplinks.influx:
        return data
    block = uplinks(node, bucket, folder)
    text = data if data.endswith(b"\n") else data + b"\n"
    added = text + (f"{block}\n".replace("\n", "\r\n") if b"\r\n" in data else f"{block}\n").encode()
    try:
        _parsed(added, folder, node.node.language)
    except EnrolError as error:  # written between braces, say, or `uplinks: {}` stands there
        raise EnrolError("site.no_room", block=block) from error
    return added


def name(data: bytes, folder: Path, language: str) -> str:
    """The node that a site file is for, as `site/node`. Raises EnrolError where it cannot be read."""
    return _name(_parsed(data, folder, language))


def _name(site: SiteFile) -> str:
    return f"{site.site.id}/{site.node.id}"


def _parsed(data: bytes, folder: Path, language: str) -> SiteFile:
    try:
        return parse(data, folder / "site.yaml", RULES, language)
    except SiteFileError as error:
        raise EnrolError("site.wrong", problems=str(error)) from error


def city(zone: str) -> tuple[float, float]:
    """Degrees of a time zone's city, from the table of the time zone database (ISO 6709: ±DDMM±DDDMM, with or without
    seconds)."""
    table = (files("tzdata") / "zoneinfo" / "zone.tab").read_text(encoding="utf-8")
    for line in table.splitlines():
        fields = line.split("\t")
        if not line.startswith("#") and fields[2] == zone:
            text = fields[1]
            middle = max(text.rfind("+"), text.rfind("-"))
            return _degrees(text[:middle], 2), _degrees(text[middle:], 3)
    raise EnrolError("site.no_city", zone=zone)


def _degrees(text: str, digits: int) -> float:
    sign, rest = (-1 if text[0] == "-" else 1), text[1:]
    seconds = rest[digits + 2 :] or "0"
    return sign * round(int(rest[:digits]) + int(rest[digits : digits + 2]) / 60 + int(seconds) / 3600, 4)


def _quoted(value: str) -> str:
    """In double quotes; what no editor shows is written as an escape, in which YAML goes further than JSON."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)
