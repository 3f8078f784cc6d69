"""What will soon be over, and what is not as it should be, in the folder of an authority."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from broker.pki import certificates as certs
from broker.pki.authority import DEFAULT_DAYS, Pki, bundles

DAY_S = 86400.0
AHEAD_S = 30 * DAY_S


@dataclass(frozen=True, slots=True)
class Expiring:
    """Something that ends soon, or has. kind: `node`, `service`, `server` or `authority`. not_after: Unix seconds."""

    kind: str
    name: str
    not_after: float


def expiring(folder: Path, now: float, ahead_s: float = AHEAD_S) -> list[Expiring]:
    """What ends within `ahead_s`, soonest first. Who is to stay without is revoked, and is not named any more.

    The authority that signs is named one certificate's life earlier: what it signs does not outlive it, and the next
    one has to be known everywhere before. Raises PkiError for a folder that cannot be read.
    """
    pki = Pki(folder)
    signing = pki.authorities()[-1]
    found = [
        Expiring(entry.subject.kind, entry.subject.name, entry.not_after)
        for entry in pki.current(now)
        if entry.not_after - now < ahead_s
    ]
    if signing.not_after - now < ahead_s + DEFAULT_DAYS * DAY_S:
        found.append(Expiring("authority", signing.name, signing.not_after))
    return sorted(found, key=lambda e: (e.not_after, e.kind, e.name))


def problems(folder: Path, now: float) -> Iterator[str]:
    """One line each: what is wrong with the files, and what to do."""
    pki = Pki(folder)
    for name, wanted in bundles(folder).items():
        if not (folder / name).is_file() or (folder / name).read_bytes() != wanted:
            yield f"{name} is not what its authorities are; the next change writes it anew"
    for path in sorted(folder.rglob("*.key")):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            key = path.relative_to(folder)
            yield f"{key}: others may read it (mode {mode:04o}); chmod 600, and consider revoking it"
    for entry in pki.current(now):
        cert_file, key_file = pki.files_of(entry.subject)
        who = f"{entry.subject.kind} {entry.subject.name}"
        if not cert_file.is_file() or cert_file.read_bytes() != certs.pem(entry.cert):
            yield f"{who}: {cert_file.relative_to(folder)} is not its newest certificate; renew or --replace it"
        elif key_file.is_file() and not _belong(entry.cert, key_file):
            yield f"{who}: {key_file.relative_to(folder)} is the key of something else; --replace it"


def _belong(cert: x509.Certificate, key_file: Path) -> bool:
    try:
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except (ValueError, TypeError):
        return False
    encoding = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key.public_key().public_bytes(*encoding) == cert.public_key().public_bytes(*encoding)
