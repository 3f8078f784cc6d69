"""Certificates, revocation lists and keys as values: RFC 5280 profiles, no disk, no clock.

EC P-256 with SHA-256 throughout. A certificate is good for one side only (extended key usage): what a node carries
cannot stand in for a server. An authority signs for the host names and networks it was made for and no others (name
constraints), so that a phone which trusts it does not trust it for the rest of the world.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.pki.names import Host, Kind, PkiError, Subject, server

CA_DAYS = 3650
BACKDATE = dt.timedelta(days=1)
"""Certificates are valid from a day before: a board without a battery-backed clock comes up in the past."""
MAX_CSR_BYTES = 16 * 1024
_DIGEST = hashes.SHA256()

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Permitted = str | Network

PRIVATE: tuple[Permitted, ...] = (
    *("localhost", "local", "lan", "internal", "home.arpa"),
    *map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8")),
    *map(ipaddress.IPv6Network, ("fc00::/7", "fe80::/10", "::1/128")),
)
"""Names and networks that mean nothing outside of a site: RFC 1918, 4193, 6762, 8375, and `internal` of ICANN."""


@dataclass(frozen=True, slots=True)
class Signer:
    """An authority with its key."""

    cert: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def next_serial(last: int) -> int:
    """Higher than `last`, so that they stand in the order of their issue; 96 random bits make it hard to foresee."""
    return ((last >> 96) + 1 << 96) | secrets.randbits(96)


def pem(thing: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    return thing.public_bytes(serialization.Encoding.PEM)


def ec_key(key: object) -> ec.EllipticCurvePublicKey:
    """The key, where it is one that we sign. Raises PkiError."""
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
        return key
    raise PkiError("the key must be EC P-256 or P-384")


def common_name(cert: x509.Certificate) -> str:
    return str(cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def subject_of(cert: x509.Certificate) -> Subject:
    """Whom one of our own certificates was issued to."""
    usage = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    name = common_name(cert)
    if ExtendedKeyUsageOID.CLIENT_AUTH in usage:
        return Subject(Kind.SERVICE if name.startswith("-/") else Kind.NODE, name)
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return server(*(str(n.value) for n in names))


def make_authority(name: str, permitted: Sequence[Permitted], now: dt.datetime) -> Signer:
    """Self-signed; signs end certificates only (path length 0)."""
    key = new_key()
    subject = _name(name)
    builder = (
        _builder(subject, key.public_key(), issuer=subject, issuer_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + dt.timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.NameConstraints([_general(one) for one in permitted], None), critical=True)
    )
    return Signer(builder.sign(key, _DIGEST), key)


def permitted_of(cert: x509.Certificate) -> tuple[Permitted, ...]:
    constraints = cert.extensions.get_extension_for_class(x509.NameConstraints).value
    return tuple(name.value for name in constraints.permitted_subtrees or ())


def permits(permitted: Iterable[Permitted], host: Host) -> bool:
    """Whether an authority with these constraints may sign for a host."""
    for one in permitted:
        if isinstance(one, str):
            if isinstance(host, str) and (host == one or host.endswith(f".{one}")):
                return True
        elif not isinstance(host, str) and host in one:
            return True
    return False


def issue(
    signer: Signer,
    subject: Subject,
    public_key: ec.EllipticCurvePublicKey,
    *,
    now: dt.datetime,
    days: float,
    serial: int,
) -> x509.Certificate:
    """An end certificate. It never outlives its authority. Raises PkiError when that has expired."""
    usage = ExtendedKeyUsageOID.SERVER_AUTH if subject.kind is Kind.SERVER else ExtendedKeyUsageOID.CLIENT_AUTH
    ends = min(now + dt.timedelta(days=days), signer.cert.not_valid_after_utc)
    if ends <= now:
        raise PkiError("this authority has expired; `banksman pki rotate` makes the next one")
    builder = (
        _builder(_name(_cn(subject)), public_key, issuer=signer.cert.subject, issuer_key=signer.key.public_key())
        .serial_number(serial)
        .not_valid_before(now - BACKDATE)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
    )
    if subject.hosts:
        names = x509.SubjectAlternativeName([_general(host) for host in subject.hosts])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signer.key, _DIGEST)


def revocation_list(
    signer: Signer, entries: Iterable[x509.RevokedCertificate], number: int, now: dt.datetime
) -> x509.CertificateRevocationList:
    """Valid as long as its authority: it lies beside the broker, and one that ran out would shut out every node."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(signer.cert.subject)
        .last_update(now - BACKDATE)
        .next_update(signer.cert.not_valid_after_utc)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
    )
    for entry in entries:
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(signer.key, _DIGEST)


def revoked(serial: int, reason: x509.ReasonFlags, now: dt.datetime) -> x509.RevokedCertificate:
    return (
        x509.RevokedCertificateBuilder()
        .serial_number(serial)
        .revocation_date(now)
        .add_extension(x509.CRLReason(reason), critical=False)
        .build()
    )


def signed_by(cert: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        cert.verify_directly_issued_by(authority)
    except (ValueError, InvalidSignature):
        return False
    return True


def read_csr(data: bytes, subject: Subject) -> ec.EllipticCurvePublicKey:
    """The key of a request that was made where it will be used; of the rest only the name is looked at.

    Raises PkiError.
    """
    if len(data) > MAX_CSR_BYTES:
        raise PkiError(f"certificate request: more than {MAX_CSR_BYTES} bytes")
    try:
        csr = x509.load_pem_x509_csr(data)
        key, valid = ec_key(csr.public_key()), csr.is_signature_valid
        names = [str(name.value) for name in csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        raise PkiError("certificate request: not a PEM file that begins with BEGIN CERTIFICATE REQUEST") from error
    if not valid:
        raise PkiError("certificate request: its signature does not match its key")
    if names != [subject.name]:
        raise PkiError(f"certificate request: it is for {', '.join(names) or 'nobody'}, not for {subject.name}")
    return key


def _general(value: Host | Network) -> x509.GeneralName:
    return x509.DNSName(value) if isinstance(value, str) else x509.IPAddress(value)


def _cn(subject: Subject) -> str:
    """OpenSSL holds the CN of a certificate without a DNS name against the permitted names if it could be one itself,
    and `192.168.1.5` could; with a blank in it it could not."""
    only_addresses = subject.hosts and not any(isinstance(host, str) for host in subject.hosts)
    return f"address {subject.name}" if only_addresses else subject.name


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    *,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePublicKey,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
