"""Camera URLs: taken apart, shown without their secrets, and the credentials in them put to use (Basic, Digest)."""

from __future__ import annotations

import hashlib
import os
from base64 import b64encode
from dataclasses import dataclass
from string import punctuation
from urllib.parse import quote, unquote, urlsplit
from urllib.request import parse_http_list, parse_keqv_list

from edge.capture.source import SourceError
from edge.values import CameraCause

_WANTED = (
    "the URL must look like scheme://[user:password@]host[:port]/path; in user and password write / as %2F, ? as %3F, "
    "# as %23, @ as %40"
)
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
# RFC 7616, section 3.3; MD5 is what cameras speak.
_HASHES = {"MD5": "md5", "SHA-256": "sha256"}


@dataclass(frozen=True)
class CameraUrl:
    """The parts of a camera's URL. Its `repr` and `str` hold no credentials.

    target: path and query, as the request asks for it.
    """

    scheme: str
    host: str
    port: int
    target: str
    user: str
    _password: str

    @classmethod
    def parse(cls, url: str) -> CameraUrl:
        """Raises SourceError (FORMAT) where host and port cannot be told, also because a password is not escaped."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:  # its message quotes the URL, so it is not chained
            host, port = None, None
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "") if host else ""
        if not host or "@" in target + parts.fragment:
            raise SourceError(CameraCause.FORMAT, _WANTED) from None
        return cls(
            scheme=parts.scheme,
            host=host,
            port=port or _PORTS[parts.scheme],
            target=quote(target, safe=punctuation),
            user=unquote(parts.username or ""),
            _password=unquote(parts.password or ""),
        )

    def __str__(self) -> str:
        """Scheme, host, port and path. Some cameras take user and password in the query or the path: both hidden."""
        path = self.target.split("?")[0]
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{'/…' if '=' in path else path}"

    __repr__ = __str__

    @property
    def tls(self) -> bool:
        return self.scheme in ("rtsps", "https")

    def authorization(self, challenge: str, method: str, uri: str) -> str | None:
        """The `Authorization` header that answers a `WWW-Authenticate` one; None for a scheme unknown here."""
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic":
            return "Basic " + b64encode(f"{self.user}:{self._password}".encode()).decode()
        if scheme.lower() != "digest":
            return None
        given = parse_keqv_list(parse_http_list(rest))
        algorithm = given.get("algorithm", "MD5")
        if algorithm.upper() not in _HASHES or "nonce" not in given:
            return None

        def digest(*words: str) -> str:
            return hashlib.new(_HASHES[algorithm.upper()], ":".join(words).encode()).hexdigest()

        realm, nonce = given.get("realm", ""), given["nonce"]
        secret, what = digest(self.user, realm, self._password), digest(method, uri)
        answer = {"username": self.user, "realm": realm, "nonce": nonce, "uri": uri}
        if "auth" in [q.strip() for q in given.get("qop", "").split(",")]:
            count, own = "00000001", os.urandom(8).hex()
            answer |= {"cnonce": own, "response": digest(secret, nonce, count, own, "auth", what)}
            tail = f", qop=auth, nc={count}"
        else:
            answer["response"] = digest(secret, nonce, what)
            tail = ""
        if "opaque" in given:
            answer["opaque"] = given["opaque"]
        if "algorithm" in given:
            tail += f", algorithm={algorithm}"
        return "Digest " + ", ".join(f'{k}="{v}"' for k, v in answer.items()) + tail


def network_error(where: CameraUrl, error: OSError) -> SourceError:
    """What a failed connection means."""
    if isinstance(error, ConnectionError):
        said = "refused the connection" if isinstance(error, ConnectionRefusedError) else "closed the connection"
        return SourceError(CameraCause.REFUSED, f"{where} {said}")
    if isinstance(error, TimeoutError):
        return SourceError(CameraCause.TIMEOUT, f"{where} does not answer")
    # A name that does not resolve, no route, a certificate that is not trusted: the system's own words say it best.
    cause = CameraCause.REFUSED if "certificate" in str(error).lower() else CameraCause.NOT_FOUND
    return SourceError(cause, f"{where}: {error.strerror or type(error).__name__}")
