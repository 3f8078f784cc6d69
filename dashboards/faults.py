"""What Grafana's failures mean, and what to do, in words of the catalogues below `push.error`."""

from __future__ import annotations

import re
from typing import Final

from dashboards.grafana import GrafanaError, Kind
from dashboards.text import Language, catalogue

_NEARER: Final = (
    (Kind.TLS, "tls_none", r"WRONG_VERSION_NUMBER|RECORD_LAYER|UNKNOWN_PROTOCOL|HTTP_REQUEST"),
    (Kind.TLS, "tls_expired", r"expired|not yet valid"),
    (Kind.TLS, "tls_name", r"mismatch|doesn't match|not valid for"),
    (Kind.TLS, "tls_unknown", r"CERTIFICATE_VERIFY_FAILED|unable to get"),
    (Kind.UNREACHABLE, "no_name", r"resolve|getaddrinfo|Name or service not known|No address associated"),
)
"""Within a kind: what its words tell nearer."""


class PushError(Exception):
    """Cannot be pushed as things are; `told` says why. key: below `push.why` of the catalogues."""

    def __init__(self, key: str) -> None:
        self._key = key
        super().__init__(self.told("en"))

    def told(self, language: Language) -> str:
        return catalogue(language)(f"push.why.{self._key}")


def told(error: GrafanaError | PushError, language: Language) -> str:
    """What is wrong, and what to do."""
    if isinstance(error, PushError):
        return error.told(language)
    key = next((k for kind, k, words in _NEARER if kind is error.kind and re.search(words, error.said)), error.kind)
    return catalogue(language)(f"push.error.{key}", url=error.url, said=error.said or "–", status=error.status)
