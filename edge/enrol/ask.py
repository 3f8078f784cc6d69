"""Asking the site server for a certificate: over TLS with the card's authority, and never otherwise."""

from __future__ import annotations

import json
import ssl
import time
from http import HTTPStatus
from typing import TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from edge.enrol.error import EnrolError

TIMEOUT_S = 60.0
MAX_ANSWER = 256 * 1024
_NOT_YET, _ENDED = 9, 10  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_REFUSALS = {"unknown_token", "expired", "used", "bad_csr", "bad_request"}
_T = TypeVar("_T", bound=BaseException)
_LATER = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


class Grant(BaseModel):
    """Where figures go. token: secret."""

    model_config = ConfigDict(frozen=True)
    url: str
    org: str
    bucket: str
    token: str


class Answer(BaseModel):
    """What the server hands out. certificate, ca: PEM."""

    model_config = ConfigDict(frozen=True)
    site: str
    node: str
    certificate: str
    ca: str
    influx: Grant | None = None


def ask(url: str, ca: bytes, token: str, csr: str, timeout_s: float = TIMEOUT_S) -> Answer:
    """ca: who may have signed the server's certificate, PEM. Raises EnrolError."""
    context = ssl.create_default_context(cadata=_text(ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        with (
            httpx.Client(verify=context, timeout=timeout_s, trust_env=False) as client,
            client.stream("POST", url, json={"token": token, "csr": csr}) as answer,
        ):
            body = bytearray()
            for part in answer.iter_bytes():
                body += part
                if len(body) > MAX_ANSWER:
                    raise EnrolError("server.strange", later=True, url=url, status=answer.status_code)
    except httpx.HTTPError as error:
        raise _unreached(error, url) from error
    except httpx.InvalidURL as error:
        raise EnrolError("card.wrong", file="node.toml", why="server.enrol_url") from error
    return _read(answer.status_code, bytes(body), url)


def _text(ca: bytes) -> str:
    try:
        text = ca.decode("ascii")
        ssl.create_default_context(cadata=text)
    except (ValueError, ssl.SSLError) as error:
        raise EnrolError("card.wrong", file="ca.pem", why="PEM") from error
    return text


def _read(status: int, body: bytes, url: str) -> Answer:
    if status == HTTPStatus.OK:
        try:
            return Answer.model_validate_json(body)
        except ValidationError:
            raise EnrolError("server.strange", later=True, url=url, status=status) from None
    if status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise EnrolError("server.busy", later=True, url=url, status=status)
    try:
        said = json.loads(body)
        code = said["code"]
    except (ValueError, KeyError, TypeError):
        code = None
    if code not in _REFUSALS:
        raise EnrolError("server.strange", later=True, url=url, status=status)
    raise EnrolError(f"refused.{code}")


def _unreached(error: Exception, url: str) -> EnrolError:
    tls = _cause(error, ssl.SSLCertVerificationError)
    if tls is not None and tls.verify_code in {_NOT_YET, _ENDED}:
        key = "server.not_yet" if tls.verify_code == _NOT_YET else "server.ended"
        return EnrolError(key, later=True, now=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()))
    if tls is not None:
        return EnrolError("server.untrusted", later=True, url=url, why=tls.verify_message)
    os_error = _cause(error, OSError)
    why = (os_error.strerror if os_error is not None else None) or type(error).__name__
    return EnrolError("server.away", later=True, url=url, why=why)


def _cause(error: BaseException | None, kind: type[_T]) -> _T | None:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error
