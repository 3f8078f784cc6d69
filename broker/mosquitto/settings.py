"""`broker.toml`: what an administrator decides about the broker. Everything else follows from it."""

from __future__ import annotations

import re
import secrets
import tomllib
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from broker import files
from broker.messages import MAX_PACKET, Ident
from broker.pki.names import PkiError, host

FILE = "broker.toml"
_GROUP = r"[A-Za-z0-9-]{1,64}"


class BrokerError(Exception):
    """What is wrong with the broker's settings or files, and what would be right."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Service(_Strict):
    """A client that is no node. It has a certificate of its own, CN `-/name`; no two clients share one."""

    name: Ident = Field(description="The second half of its user name, `-/name`.")
    role: Literal["dispatch", "viewer", "siren"] = Field(
        description="dispatch: reads all, writes acks, commands and cases; viewer (Grafana): reads all; "
        "siren: reads the cases of one site."
    )
    site: Ident | None = Field(None, description="Of a siren: whose cases it follows.")

    @model_validator(mode="after")
    def _site_of_a_siren(self) -> Self:
        if (self.role == "siren") != (self.site is not None):
            raise ValueError("a siren needs `site`, the others have none")
        return self


class Limits(_Strict):
    """So that one client that has gone wrong does not take the broker from all others."""

    connections: Annotated[int, Field(ge=4, le=100_000)] = Field(
        2000, description="At the same time; each takes a file handle, so `LimitNOFILE` has to be above it."
    )
    inflight: Annotated[int, Field(ge=1, le=65_535)] = Field(
        1000, description="QoS 1 messages on the way to one client that it has not acknowledged."
    )
    queued_messages: Annotated[int, Field(ge=100, le=1_000_000)] = Field(
        20_000, description="Waiting for one client that is away. More are dropped, and the nodes send them again."
    )
    queued_mb: Annotated[int, Field(ge=1, le=4096)] = Field(64, description="The same in megabytes.")
    memory_mb: Annotated[int, Field(ge=64, le=65_536)] = Field(
        1024, description="Of the whole broker; it refuses what would take it above."
    )
    session_days: Annotated[int, Field(ge=1, le=365)] = Field(
        14, description="A client that is away for longer is forgotten, with what waited for it."
    )
    autosave_s: Annotated[int, Field(ge=1, le=3600)] = Field(
        30, description="A broker that is killed loses what is younger; nodes and dispatch send it again."
    )


class BrokerSettings(_Strict):
    """The settings file."""

    hosts: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="Every name and address that clients reach the broker by; they stand in its certificate."
    )
    address: str = Field("", description="Where it listens; empty: everywhere.")
    port: Annotated[int, Field(ge=1, le=65_535)] = Field(8883, description="TLS 1.3 only; there is no other port.")
    user: Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]*$")] = Field(
        "mosquitto", description="The system's user that it runs as when root starts it."
    )
    folder: PurePosixPath | None = Field(
        None, description="Where the broker sees this folder, if not here: in a container, /mosquitto/config."
    )
    data: PurePosixPath | None = Field(
        None, description="Where it keeps its database; by default `data` in the folder."
    )
    share_group: Annotated[str, StringConstraints(pattern=rf"^{_GROUP}$", min_length=24)] = Field(
        description="Of dispatch's shared subscriptions. A secret: who knows it and has any certificate can have "
        "messages of others dropped."
    )
    services: tuple[Service, ...] = Field(description="Clients that are no nodes.")
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _sound(self) -> Self:
        names = [service.name for service in self.services]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"services: {', '.join(twice)} twice; each client has a name of its own")
        try:
            for one in (*self.hosts, *([self.address] if self.address else [])):
                host(one)
        except PkiError as error:
            raise ValueError(str(error)) from error
        for path in (self.folder, self.data):
            if path is not None and not re.fullmatch(r"/[\w./ -]*", str(path)):
                raise ValueError(f"{str(path)!r}: an absolute path is needed")
        return self


MAX_PACKET_BYTES = MAX_PACKET
"""The contract's, not the administrator's."""


def load(folder: Path) -> BrokerSettings:
    """Raises BrokerError: every fault of the file, each with its place."""
    path = folder / FILE
    try:
        return BrokerSettings.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise BrokerError(f"{path}: no such file; `banksman broker init {folder}` makes it") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BrokerError(f"{path}: {error}") from error
    except ValidationError as error:
        told = error.errors(include_url=False, include_input=False, include_context=False)
        lines = (f"{'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}" for one in told)
        raise BrokerError("\n".join(f"{path}: {line}" for line in lines)) from error


def create(folder: Path, hosts: tuple[str, ...], sirens: tuple[str, ...], port: int, workers: int = 1) -> None:
    """A first settings file. workers: of dispatch.

    Raises BrokerError where there is one, or where it would not be valid.
    """
    path = folder / FILE
    if path.exists():
        raise BrokerError(f"{path} is there already; change it, then run `banksman broker update {folder}`")
    services = [(f"dispatch-{n}" if n > 1 else "dispatch", "dispatch", "") for n in range(1, workers + 1)]
    services.append(("grafana", "viewer", ""))
    services += [(f"siren-{site}"[:32].rstrip("-"), "siren", site) for site in sirens]
    text = _HEAD.format(
        hosts=", ".join(f'"{one}"' for one in hosts), port=port, group=f"dispatch-{secrets.token_hex(16)}"
    )
    for name, role, site in services:
        text += f'\n[[services]]\nname = "{name}"\nrole = "{role}"\n' + (f'site = "{site}"\n' if site else "")
    folder.mkdir(parents=True, exist_ok=True)
    files.write(path, text.encode(), files.SECRET)
    try:
        load(folder)
    except BrokerError:
        path.unlink()
        raise


_HEAD = """\
# Settings of the broker. After a change: banksman broker update FOLDER. docs/broker.md says more.

# Every name and address that clients reach the broker by.
hosts = [{hosts}]
port = {port}

# Of dispatch's shared subscriptions. Secret: give it to dispatch and to nobody else.
share_group = "{group}"

# Clients that are no nodes, each with a certificate of its own. A second dispatch worker is a second service.
"""
