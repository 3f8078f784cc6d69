"""TLS of this node with its servers: the same rules for broker and site server, and for the doctor who tries both."""

from __future__ import annotations

import ssl
from pathlib import Path


class TlsFileError(Exception):
    """A certificate or key of this node cannot be used; the text says which, and why, in one line."""


def client_context(ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    """Verifying, TLS 1.2 or newer. Raises TlsFileError for files that are missing, locked or no certificates.

    ca: who signs the server's certificate; None: whom this computer trusts. cert, key: the node's own, or neither.
    """
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:  # ssl.SSLError is one
        raise TlsFileError(f"CA certificate {ca}: {words(error)}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert is not None:
        try:
            # The password keeps OpenSSL from asking a terminal that nobody watches.
            context.load_cert_chain(cert, key, password="")
        except OSError as error:
            raise TlsFileError(f"node certificate {cert} with key {key}: {words(error)}") from error
    return context


def words(error: OSError) -> str:
    """What an error of the network, of a file or of TLS says, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"{error.reason or error}".replace("_", " ").lower()
    return error.strerror or str(error) or type(error).__name__
