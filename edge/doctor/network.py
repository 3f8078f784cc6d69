"""What lies between this node and a server: name, route, port, TLS on both sides."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

from edge.doctor.result import Result, fields_of, found

CONNECT_S = 5.0
"""For each step: connection, handshake, an answer."""
SPEAKS_S = 1.0
"""With TLS 1.3 a server looks at our certificate after the handshake; if it minds, it says so at once."""

# X509_V_ERR_… of <openssl/x509_vfy.h>; every other one means that nobody we trust has signed.
_VERIFIED = {9: "not_yet", 10: "expired", 62: "name", 64: "name"}
_ALERTS = {
    "CERTIFICATE_REQUIRED": "our_missing",
    "HANDSHAKE_FAILURE": "our_missing",  # TLS 1.2 has no alert of its own for it
    "CERTIFICATE_REVOKED": "our_revoked",
    "CERTIFICATE_EXPIRED": "our_expired",
    "CERTIFICATE_UNKNOWN": "our_unknown",
    "BAD_CERTIFICATE": "our_unknown",
    "UNSUPPORTED_CERTIFICATE": "our_unknown",
    "UNKNOWN_CA": "our_unknown",
}


@dataclass(frozen=True, slots=True)
class Far:
    """A server as the site file names it. section: where it does so, for the advice."""

    organ: str
    section: str
    host: str
    port: int

    @property
    def about(self) -> str:
        return f"{self.host}:{self.port}"

    def found(self, code: str, **fields: object) -> Result:
        return found(self.organ, code, self.about, **fields)

    def fault(self, error: OSError | UnicodeError) -> Result:
        """What a failed step means."""
        code = code_of(error)
        known = {"error": _plain(error), "section": self.section}
        return self.found(code, **{name: known[name] for name in fields_of(self.organ, code)})


def code_of(error: OSError | UnicodeError) -> str:
    """The code that stands for an exception of a connection."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFIED.get(error.verify_code, "untrusted")
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "reason", None) or ""  # only those that OpenSSL raised have one
        return next((code for alert, code in _ALERTS.items() if reason.endswith(f"ALERT_{alert}")), "no_tls")
    kinds: tuple[tuple[type[Exception], str], ...] = (
        (socket.gaierror, "dns"),
        (UnicodeError, "dns"),
        (ConnectionRefusedError, "refused"),
        (TimeoutError, "timeout"),
        (ConnectionError, "closed"),
    )
    return next((code for kind, code in kinds if isinstance(error, kind)), "unreachable")


def _plain(error: OSError | UnicodeError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return (getattr(error, "reason", None) or "it hangs up").replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error)


def knock(far: Far, context: ssl.SSLContext) -> float:
    """Connect and shake hands; gives the end of the server's certificate, Unix seconds.

    Not a word is said beyond that: whoever speaks to a server that has just hung up no longer hears why.
    Raises OSError or UnicodeError, for `Far.fault`.
    """
    with socket.create_connection((far.host, far.port), CONNECT_S) as line:
        try:
            secure = context.wrap_socket(line, server_hostname=far.host)
        except ConnectionError as error:  # hung up at the greeting: whoever speaks TLS does not
            raise ssl.SSLError(ssl.SSL_ERROR_EOF, "hung up") from error
        with secure:
            certificate = secure.getpeercert() or {}
            secure.settimeout(SPEAKS_S)
            try:
                if secure.recv(1) == b"":
                    raise ConnectionResetError("closed after the handshake")
            except TimeoutError:
                pass  # it waits for our first word, as it should
    return float(ssl.cert_time_to_seconds(str(certificate["notAfter"])))
