"""The folder of an authority, and what is done with it.

    authorities/N.pem .key .crl   certificate, key and revocation list of the N-th authority; the highest N signs
    ca.pem  crl.pem               all authorities that are trusted now, all their revocation lists: for broker and nodes
    issued/SERIAL.pem             every certificate that was ever signed; written before it is handed out
    nodes/SITE/NODE.pem .key      what is handed out; no .key where the node made its own
    services/NAME.pem .key   servers/HOST.pem .key

Revoked is what is in a revocation list; nothing is written down twice. Times are Unix seconds.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from broker import files
from broker.pki import certificates as certs
from broker.pki.names import Kind, PkiError, Subject

DEFAULT_DAYS = 398
MAX_DAYS = 825

_T = TypeVar("_T")


class State(StrEnum):
    """How a certificate stands."""

    VALID = "valid"
    EXPIRED = "expired"
    REVOKED = "revoked"
    UNTRUSTED = "untrusted"  # its authority has been retired


class Reason(StrEnum):
    """Why a certificate is revoked (RFC 5280, section 5.3.1)."""

    KEY_COMPROMISE = "key-compromise"
    SUPERSEDED = "superseded"
    CESSATION = "cessation-of-operation"

    @property
    def flag(self) -> x509.ReasonFlags:
        return {
            Reason.KEY_COMPROMISE: x509.ReasonFlags.key_compromise,
            Reason.SUPERSEDED: x509.ReasonFlags.superseded,
            Reason.CESSATION: x509.ReasonFlags.cessation_of_operation,
        }[self]


@dataclass(frozen=True, slots=True)
class Entry:
    """A certificate of `issued`. authority: its number; None once that is retired. Times in Unix seconds."""

    subject: Subject
    serial: int
    not_before: float
    not_after: float
    authority: int | None
    state: State
    cert: x509.Certificate


@dataclass(frozen=True, slots=True)
class Authority:
    """One that is trusted. The highest number signs."""

    number: int
    cert: x509.Certificate
    crl: x509.CertificateRevocationList

    @property
    def name(self) -> str:
        return certs.common_name(self.cert)

    @property
    def not_after(self) -> float:
        return self.cert.not_valid_after_utc.timestamp()


@dataclass(frozen=True, slots=True)
class Handed:
    """Where the files of a certificate lie. key: None where it was made elsewhere."""

    cert: Path
    key: Path | None
    not_after: float


def _moment(now: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(now), dt.UTC)


class Pki:
    """An authority's folder. Every method raises PkiError for what it cannot do, and OSError for a disk that cannot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca_file = folder / "ca.pem"
        self.crl_file = folder / "crl.pem"
        if not self.ca_file.is_file():
            raise PkiError(f"{folder}: no authority there (no ca.pem); `banksman pki init {folder}` makes one")

    @classmethod
    def create(cls, folder: Path, name: str, permitted: Sequence[certs.Permitted], now: float) -> Self:
        """A new authority. permitted: what host names (with all below them) and networks its servers may have."""
        if folder.exists() and any(folder.iterdir()):
            raise PkiError(f"{folder} is not empty; an authority is never overwritten")
        if not 0 < len(name) <= 50:
            raise PkiError("an authority's name has 1 to 50 characters")
        if not permitted:
            raise PkiError("an authority that may sign for no host at all is of no use")
        (folder / "authorities").mkdir(parents=True)
        folder.chmod(0o700)
        (folder / "issued").mkdir()
        _add_authority(folder, 1, name, permitted, now)
        return cls(folder)

    # -- looking -----------------------------------------------------------------------------------------------------

    def authorities(self) -> tuple[Authority, ...]:
        """Those that are trusted, the one that signs last."""
        return _authorities(self.folder)

    def entries(self, now: float) -> tuple[Entry, ...]:
        """Every certificate ever issued, by name and in the order of issue."""
        authorities = self.authorities()
        entries = (self._entry(path, authorities, now) for path in (self.folder / "issued").glob("*.pem"))
        return tuple(sorted(entries, key=lambda e: (e.subject.kind, e.subject.name, e.serial)))

    def current(self, now: float) -> tuple[Entry, ...]:
        """The newest certificate of each name that was not revoked; it may have expired."""
        gone = {State.REVOKED, State.UNTRUSTED}
        newest = {(e.subject.kind, e.subject.name): e for e in self.entries(now) if e.state not in gone}
        return tuple(newest.values())

    def files_of(self, subject: Subject) -> tuple[Path, Path]:
        """Certificate and key as they are handed out; they need not exist."""
        folder, _, stem = {
            Kind.NODE: f"nodes/{subject.name}",
            Kind.SERVICE: f"services/{subject.name.removeprefix('-/')}",
            Kind.SERVER: f"servers/{subject.name}",
        }[subject.kind].rpartition("/")
        return self.folder / folder / f"{stem}.pem", self.folder / folder / f"{stem}.key"

    # -- changing ----------------------------------------------------------------------------------------------------

    def issue(
        self,
        subject: Subject,
        now: float,
        *,
        days: int = DEFAULT_DAYS,
        csr: bytes | None = None,
        replace: bool = False,
    ) -> Handed:
        """A certificate with a new key, or for the key of a request that was made elsewhere.

        replace: revoke what there is for this name, as when a node's box is lost; without it, it must not exist.
        """
        _check_days(days)
        with self._locked():
            signer = self._signer(subject)
            made = certs.new_key() if csr is None else None
            public = made.public_key() if made is not None else certs.read_csr(csr or b"", subject)
            there = self._standing(subject, now)
            if there and not replace:
                raise PkiError(
                    f"{subject.kind} {subject.name} has a certificate until {_moment(there[-1].not_after):%Y-%m-%d}; "
                    "renew it, or --replace it, which revokes it"
                )
            self._revoke(there, Reason.SUPERSEDED, now)
            cert = self._sign(signer, subject, public, now, days)
            return self._hand_out(cert, certs.key_pem(made) if made is not None else b"")

    def enrol(self, subject: Subject, csr: bytes, now: float, *, days: int = DEFAULT_DAYS) -> x509.Certificate:
        """The certificate of this name for the key of a request: the newest, if it is for that key (for whoever lost
        the answer), else a new one beside what there is. The others are revoked with `clear` once it is handed out.
        """
        _check_days(days)
        with self._locked():
            signer = self._signer(subject)
            public = certs.read_csr(csr, subject)
            there = self._standing(subject, now)
            if there and there[-1].cert.public_key() == public:
                return there[-1].cert
            cert = self._sign(signer, subject, public, now, days)
            self._hand_out(cert, b"")
            return cert

    def renew(self, subject: Subject, now: float, *, days: int = DEFAULT_DAYS) -> Handed:
        """The same key for a further time, signed by the newest authority. The old certificate stays good."""
        _check_days(days)
        with self._locked():
            found = [e for e in self.current(now) if (e.subject.kind, e.subject.name) == (subject.kind, subject.name)]
            if not found:
                raise PkiError(f"{subject.kind} {subject.name} has no certificate that could be renewed; issue one")
            signer = self._signer(found[0].subject)
            public = certs.ec_key(found[0].cert.public_key())
            cert = self._sign(signer, found[0].subject, public, now, days)
            return self._hand_out(cert, None)

    def revoke(self, which: Subject | int, reason: Reason, now: float) -> tuple[Entry, ...]:
        """All certificates of a name, or the one of a serial number. Their files and keys here are removed."""
        with self._locked():
            if isinstance(which, int):
                found = tuple(e for e in self.entries(now) if e.serial == which and e.state is not State.REVOKED)
            else:
                found = self._standing(which, now, expired=True)
            found = tuple(e for e in found if e.authority is not None)
            if not found:
                what = f"serial {which:x}" if isinstance(which, int) else f"{which.kind} {which.name}"
                raise PkiError(f"{what}: no certificate that could be revoked")
            self._revoke(found, reason, now)
            return found

    def clear(self, subject: Subject, reason: Reason, now: float, *, before: int | None = None) -> tuple[Entry, ...]:
        """As `revoke`, where it may be that nothing is left. before: only serial numbers below this one."""
        with self._locked():
            found = tuple(e for e in self._standing(subject, now, expired=True) if before is None or e.serial < before)
            if found:
                self._revoke(found, reason, now)
            return found

    def rotate(self, now: float) -> Authority:
        """A second authority beside the first, for the same names. Both are trusted until `retire`."""
        with self._locked():
            last = self.authorities()[-1]
            name = last.name.rpartition(" ")[0]
            _add_authority(self.folder, last.number + 1, name, certs.permitted_of(last.cert), now)
            return self.authorities()[-1]

    def retire(self, number: int, now: float) -> None:
        """Trust an old authority no more; its key is destroyed. Refused while somebody's newest is from it."""
        with self._locked():
            authorities = self.authorities()
            if number not in {a.number for a in authorities[:-1]}:
                raise PkiError(f"authority {number} is not one that could be retired; it must be an old one")
            held = [f"{e.subject.kind} {e.subject.name}" for e in self.current(now) if e.authority == number]
            if held:
                raise PkiError(f"authority {number}: renew or revoke first: {', '.join(held)}")
            for suffix in ("pem", "crl", "key"):
                (self.folder / f"authorities/{number}.{suffix}").unlink()
            _write_bundles(self.folder)

    # -- inside ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with files.locked(self.folder / ".lock"):
            yield

    def _last_serial(self) -> int:
        return max((int(path.stem, 16) for path in (self.folder / "issued").glob("*.pem")), default=0)

    def _entry(self, path: Path, authorities: Sequence[Authority], now: float) -> Entry:
        cert = _read(path, x509.load_pem_x509_certificate)
        owner = next((a for a in authorities if certs.signed_by(cert, a.cert)), None)
        ends = cert.not_valid_after_utc.timestamp()
        if owner is None:
            state = State.UNTRUSTED
        elif owner.crl.get_revoked_certificate_by_serial_number(cert.serial_number) is not None:
            state = State.REVOKED
        else:
            state = State.EXPIRED if now >= ends else State.VALID
        begins = cert.not_valid_before_utc.timestamp()
        number = owner.number if owner is not None else None
        return Entry(certs.subject_of(cert), cert.serial_number, begins, ends, number, state, cert)

    def _standing(self, subject: Subject, now: float, *, expired: bool = False) -> tuple[Entry, ...]:
        """What is neither revoked nor, unless asked for, expired."""
        wanted = {State.VALID, State.EXPIRED} if expired else {State.VALID}
        return tuple(
            e
            for e in self.entries(now)
            if (e.subject.kind, e.subject.name) == (subject.kind, subject.name) and e.state in wanted
        )

    def _signer(self, subject: Subject) -> certs.Signer:
        """The authority that signs now, if it may sign for this one."""
        last = self.authorities()[-1]
        permitted = certs.permitted_of(last.cert)
        wrong = [str(host) for host in subject.hosts if not certs.permits(permitted, host)]
        if wrong:
            raise PkiError(
                f"server {', '.join(wrong)}: this authority signs for {', '.join(map(str, permitted))} and what is "
                "below; others are named with --permit when an authority is made"
            )
        return certs.Signer(last.cert, _read_key(self.folder / f"authorities/{last.number}.key"))

    def _sign(
        self, signer: certs.Signer, subject: Subject, public: ec.EllipticCurvePublicKey, now: float, days: int
    ) -> x509.Certificate:
        serial = certs.next_serial(self._last_serial())
        return certs.issue(signer, subject, public, now=_moment(now), days=days, serial=serial)

    def _hand_out(self, cert: x509.Certificate, key: bytes | None) -> Handed:
        """key: PEM; empty where it was made elsewhere; None: the one that is there."""
        cert_file, key_file = self.files_of(certs.subject_of(cert))
        files.write(self.folder / f"issued/{cert.serial_number:x}.pem", certs.pem(cert))
        cert_file.parent.mkdir(parents=True, exist_ok=True)
        if key:
            files.write(key_file, key, files.SECRET)
        elif key is not None:
            key_file.unlink(missing_ok=True)
        files.write(cert_file, certs.pem(cert))
        return Handed(cert_file, key_file if key_file.exists() else None, cert.not_valid_after_utc.timestamp())

    def _revoke(self, entries: Sequence[Entry], reason: Reason, now: float) -> None:
        for authority in self.authorities():
            mine = [
                certs.revoked(e.serial, reason.flag, _moment(now)) for e in entries if e.authority == authority.number
            ]
            if not mine:
                continue
            key = _read_key(self.folder / f"authorities/{authority.number}.key")
            number = authority.crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number + 1
            signer = certs.Signer(authority.cert, key)
            crl = certs.revocation_list(signer, [*authority.crl, *mine], number, _moment(now))
            files.write(self.folder / f"authorities/{authority.number}.crl", certs.pem(crl))
        _write_bundles(self.folder)
        for entry in entries:
            cert_file, key_file = self.files_of(entry.subject)
            if cert_file.exists() and cert_file.read_bytes() == certs.pem(entry.cert):
                cert_file.unlink()
                key_file.unlink(missing_ok=True)


def _check_days(days: int) -> None:
    if not 1 <= days <= MAX_DAYS:
        raise PkiError(f"{days} days: a certificate is good for 1 to {MAX_DAYS}")


def _add_authority(folder: Path, number: int, name: str, permitted: Sequence[certs.Permitted], now: float) -> None:
    """The certificate last: without it the others count for nothing."""
    signer = certs.make_authority(f"{name} {number}", permitted, _moment(now))
    where = folder / "authorities"
    files.write(where / f"{number}.key", certs.key_pem(signer.key), files.SECRET)
    files.write(where / f"{number}.crl", certs.pem(certs.revocation_list(signer, (), 1, _moment(now))))
    files.write(where / f"{number}.pem", certs.pem(signer.cert))
    _write_bundles(folder)


def _write_bundles(folder: Path) -> None:
    for name, data in bundles(folder).items():
        files.write(folder / name, data)


def bundles(folder: Path) -> dict[str, bytes]:
    """ca.pem and crl.pem as they should be."""
    found = _authorities(folder)
    return {
        "ca.pem": b"".join(certs.pem(a.cert) for a in found),
        "crl.pem": b"".join(certs.pem(a.crl) for a in found),
    }


def _authorities(folder: Path) -> tuple[Authority, ...]:
    numbers = sorted(int(path.stem) for path in (folder / "authorities").glob("*.pem") if path.stem.isdigit())
    where = folder / "authorities"
    return tuple(
        Authority(
            n,
            _read(where / f"{n}.pem", x509.load_pem_x509_certificate),
            _read(where / f"{n}.crl", x509.load_pem_x509_crl),
        )
        for n in numbers
    )


def _read(path: Path, load: Callable[[bytes], _T]) -> _T:
    try:
        return load(path.read_bytes())
    except (OSError, ValueError, TypeError) as error:  # TypeError: a key with a password
        why = error.strerror if isinstance(error, OSError) else "not the PEM file that it should be"
        raise PkiError(f"{path}: {why}") from error


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = _read(path, lambda data: serialization.load_pem_private_key(data, None))
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PkiError(f"{path}: not an EC key")
    return key
