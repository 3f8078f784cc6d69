"""Certificates and keys on this node: there, readable, valid, made for this node, and belonging together?

The standard library checks a pair, but tells no dates and names of a certificate that nobody has sent; these few fields
are read here (DER, RFC 5280 section 4.1).
"""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edge.doctor.result import Result, found
from edge.site.model import SiteFile

DAY_S = 86_400.0
SOON_DAYS = 30
"""A certificate that ends sooner than this is worth a warning."""
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_COMMON_NAME = bytes.fromhex("550403")  # OID 2.5.4.3
_SEQUENCE, _SET, _OID, _UTC_TIME, _TIME, _VERSION = 0x30, 0x31, 0x06, 0x17, 0x18, 0xA0
_ENCODINGS = {0x1E: "utf-16-be", 0x1C: "utf-32-be"}  # BMPString, UniversalString; the others are ASCII or UTF-8


@dataclass(frozen=True, slots=True)
class Certificate:
    """name: the subject's common name, empty without one. begins, ends: Unix seconds."""

    name: str
    begins: float
    ends: float

    def days(self, wall: float) -> int:
        return days_left(self.ends, wall)


def days_left(ends: float, wall: float) -> int:
    """Whole days until a certificate ends, negative once it has."""
    return int((ends - wall) // DAY_S)


def read_pem(content: bytes) -> list[Certificate]:
    """The certificates of a PEM file in its order. ValueError for what is none."""
    return [_certificate(base64.b64decode(b"".join(body.split()), validate=True)) for body in _PEM.findall(content)]


def _certificate(der: bytes) -> Certificate:
    (_, outer), *_ = _parts(der)
    (_, signed), *_ = _parts(outer)
    fields = [part for part in _parts(signed) if part[0] != _VERSION]
    if len(fields) < 5:
        raise ValueError("not a certificate: fields are missing")
    _, _, _, (_, validity), (_, subject), *_ = fields  # serial, algorithm, issuer, validity, subject
    begins, ends = (_time(*part) for part in _parts(validity))
    return Certificate(_common_name(subject), begins, ends)


def _common_name(subject: bytes) -> str:
    names = [
        value.decode(_ENCODINGS.get(tag, "utf-8"))
        for _, relative in _parts(subject)
        for _, pair in _parts(relative)
        for (_, oid), (tag, value) in [tuple(_parts(pair))]
        if oid == _COMMON_NAME
    ]
    return names[-1] if names else ""


def _time(tag: int, value: bytes) -> float:
    text = value.decode("ascii")
    if tag == _UTC_TIME:  # two digits of the year; RFC 5280: from 50 on they mean 19..
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _TIME:
        raise ValueError(f"not a certificate: tag {tag:#x} where a time should be")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _parts(der: bytes) -> Iterator[tuple[int, bytes]]:
    """(tag, content) of what lies one after another."""
    at = 0
    while at < len(der):
        if at + 2 > len(der):
            raise ValueError("not a certificate: cut off")
        tag, length, at = der[at], der[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(der[at : at + size], "big"), at + size
        if at + length > len(der):
            raise ValueError("not a certificate: cut off")
        yield tag, der[at : at + length]
        at += length


def examine_certificates(site: SiteFile, wall: float) -> Iterator[Result]:
    """Each file once, though several sections may name it."""
    node = f"{site.site.id}/{site.node.id}"
    mqtt, evidence, page = site.uplinks.mqtt, site.uplinks.evidence, site.page
    uplinks = [uplink for uplink in (mqtt, evidence) if uplink is not None]
    influx = [] if site.uplinks.influx is None else [site.uplinks.influx]
    for ca in dict.fromkeys(uplink.ca for uplink in (*uplinks, *influx) if uplink.ca is not None):
        yield _examine_file(ca, wall)
    for cert, key in dict.fromkeys((u.cert, u.key) for u in uplinks):
        if cert is not None and key is not None:
            yield from examine_pair(cert, key, wall, node)
    if page is not None and page.tls_cert is not None and page.tls_key is not None:
        yield from examine_pair(page.tls_cert, page.tls_key, wall)


def examine_pair(cert: Path, key: Path, wall: float, node: str = "") -> Iterator[Result]:
    """node: `site/node`, the name that the certificate should carry; empty: any."""
    result = _examine_file(cert, wall, node)
    together = _examine_key(cert, key)
    if together is None or result.bad:
        yield result
    elif together.bad:
        yield together
    else:
        yield from (result, together)


def _examine_file(path: Path, wall: float, node: str = "") -> Result:
    about = str(path)
    try:
        certificates = read_pem(path.read_bytes())
    except FileNotFoundError:
        return found("certificate", "missing", about)
    except OSError as error:
        return found("certificate", "unreadable", about, error=error.strerror or str(error))
    except ValueError:
        certificates = []
    if not certificates:
        return found("certificate", "no_pem", about)
    return _judge(certificates, about, wall, node)


def _judge(certificates: list[Certificate], about: str, wall: float, node: str) -> Result:
    """A chain is as good as the first of it to end; its first certificate is the node's own."""
    days = min(c.days(wall) for c in certificates)
    if days < 0:
        return found("certificate", "expired", about, days=-days)
    if any(c.begins > wall for c in certificates):
        return found("certificate", "not_yet", about)
    if node and certificates[0].name != node:
        return found("certificate", "other_name", about, name=certificates[0].name, wanted=node)
    return found("certificate", "ends_soon" if days < SOON_DAYS else "ok", about, days=days)


def _examine_key(cert: Path, key: Path) -> Result | None:
    """None where nothing is wrong with the key."""
    try:
        if b"ENCRYPTED" in key.read_bytes():
            return found("certificate", "locked", str(cert), key=key)
        mode = key.stat().st_mode
        # Nobody is at a terminal to be asked for a password.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        if error.reason and "MISMATCH" in error.reason:
            return found("certificate", "mismatch", str(cert), key=key)
        return found("certificate", "bad_key", str(cert), key=key, error="no PEM key")
    except OSError as error:
        return found("certificate", "bad_key", str(cert), key=key, error=error.strerror or str(error))
    return found("certificate", "open_key", str(cert), key=key) if mode & 0o007 else None
