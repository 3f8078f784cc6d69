"""Who may carry a certificate. What a broker or a TLS client would take for a pattern cannot be put into one."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum

from pydantic import TypeAdapter, ValidationError

from broker.messages import Ident, MessageError, NodeTopics

MAX_COMMON_NAME = 64  # ub-common-name of RFC 5280
SERVICE_SITE = "-"
"""No site can be called so: the broker's pattern line gives a service nothing of any site."""

Host = str | ipaddress.IPv4Address | ipaddress.IPv6Address

_DNS_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DNS = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*")
_IDENT: TypeAdapter[str] = TypeAdapter(Ident)


class PkiError(Exception):
    """What is wrong, and what would be right; one line for the administrator."""


class Kind(StrEnum):
    """What a certificate is for."""

    NODE = "node"
    SERVICE = "service"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class Subject:
    """Who a certificate is for. name: its CN. hosts: of a server only, what clients may reach it by."""

    kind: Kind
    name: str
    hosts: tuple[Host, ...] = ()


def node(name: str) -> Subject:
    """`site/node`. Raises PkiError for what no topic may hold."""
    site, slash, rest = name.partition("/")
    if not slash:
        raise PkiError(f"node {name!r}: expected SITE/NODE, as in north-yard/gate-03")
    try:
        NodeTopics(site, rest)
    except MessageError as error:
        raise PkiError(f"node {name!r}: {error.detail}") from error
    return _fitting(Subject(Kind.NODE, name))


def service(name: str) -> Subject:
    """A client that is no node: `dispatch`, `grafana`, `siren-north`. Its CN is `-/name`."""
    try:
        _IDENT.validate_python(name)
    except ValidationError as error:
        raise PkiError(f"service {name!r}: small letters, digits and dashes only, at most 32") from error
    return Subject(Kind.SERVICE, f"{SERVICE_SITE}/{name}")


def server(*hosts: str) -> Subject:
    """A server under all the names and addresses that clients use for it; the first is its CN."""
    if not hosts:
        raise PkiError("a server needs at least one name or address that clients reach it by")
    read = tuple(dict.fromkeys(host(one) for one in hosts))
    return _fitting(Subject(Kind.SERVER, str(read[0]), read))


def host(text: str) -> Host:
    """A DNS name or an address. Raises PkiError, for wildcards too."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        pass
    if len(text) > 253 or not _DNS.fullmatch(text) or text.rpartition(".")[2].isdigit():
        raise PkiError(f"{text!r} is neither a host name in small letters nor an IP address")
    return text


def _fitting(subject: Subject) -> Subject:
    if len(subject.name) > MAX_COMMON_NAME:
        raise PkiError(
            f"{subject.kind} {subject.name!r}: {len(subject.name)} characters; a certificate holds {MAX_COMMON_NAME}"
        )
    return subject
