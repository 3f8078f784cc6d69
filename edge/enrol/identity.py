"""The node's key and certificate as values: made here, asked for, compared."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge.enrol.error import EnrolError


def new_key() -> bytes:
    """PEM; EC P-256."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def request(key: bytes, name: str) -> str:
    """A certificate request (PEM) of this key for the CN `site/node`."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(_key(key), hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def check(key: bytes, certificate: bytes, ca: bytes, name: str) -> None:
    """Whether they belong together: this node's certificate, for this key, of one of these authorities. All PEM.

    Raises EnrolError.
    """
    try:
        cert = x509.load_pem_x509_certificate(certificate)
        authorities = x509.load_pem_x509_certificates(ca)
        names = [str(one.value) for one in cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except ValueError as error:
        raise EnrolError("identity.no_pem") from error
    if names != [name]:
        raise EnrolError("identity.name", name=", ".join(names) or "-", wanted=name)
    if cert.public_key() != _key(key).public_key():
        raise EnrolError("identity.key")
    if not any(_signed(cert, one) for one in authorities):
        raise EnrolError("identity.ca")


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:  # TypeError: with a password
        raise EnrolError("identity.no_pem") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise EnrolError("identity.no_pem")
    return key


def _signed(cert: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        cert.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
