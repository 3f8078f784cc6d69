"""`server.toml`: what an administrator decides about the site server. Everything else in its folder follows from it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from broker import files
from broker.messages import Ident
from broker.pki.names import PkiError, host

FILE = "server.toml"
MDNS = ".local"
"""Names that every computer announces for itself (RFC 6762). Nothing of this server does; DNS is not asked for them."""
MAX_WORKERS = 2
ORG = "banksman"
"""InfluxDB's organisation, and its bucket, which the boards read as a database of this name."""


class ServerError(Exception):
    """What is wrong with the server's folder or one of its services, and what would be right."""


def _name(text: str) -> str:
    try:
        given = host(text)
    except PkiError as error:
        raise ValueError(str(error)) from None
    if not isinstance(given, str) or "." not in given:
        raise ValueError(f"{text!r}: a full name is needed, as site.example.cn; addresses have no ordinary certificate")
    return text


def _host(text: str) -> str:
    try:
        host(text)
    except PkiError as error:
        raise ValueError(str(error)) from None
    return text


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{text!r} is no time zone; it is a name as Asia/Shanghai") from None
    return text


Name = Annotated[str, AfterValidator(_name)]
Zone = Annotated[str, AfterValidator(_zone)]
Host = Annotated[str, AfterValidator(_host)]


class ServerSettings(BaseModel):
    """The settings file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name = Field(description="The public name by which people reach the server, with an ordinary certificate.")
    hosts: Annotated[tuple[Host, ...], Field(min_length=1)] = Field(
        description="Names and addresses by which nodes reach it, for its certificate of the private authority."
    )
    sites: tuple[Ident, ...] = Field((), description="Sites that setup enters. What else they have is for the pages.")
    sirens: tuple[Ident, ...] = Field((), description="Sites with a siren that follows their cases.")
    language: Literal["zh-CN", "en"] = Field("zh-CN", description="Of boards, alert rules and new sites.")
    zone: Zone = Field("Asia/Shanghai", description="Time zone by which boards cut days.")
    runs: Literal["containers", "plain"] = Field(
        "containers", description="containers: by compose; plain: Debian's own packages and systemd."
    )
    certificate: Literal["automatic", "files"] = Field(
        "automatic",
        description="Of the public name. automatic: fetched and renewed by Caddy (ports 80 and 443 reachable from the "
        "internet); files: proxy/cert.pem and proxy/key.pem, put there by the administrator.",
    )
    email: Annotated[str, StringConstraints(pattern=r"^([^@\s]+@[^@\s{}\"]+)?$")] = Field(
        "", description="Whom the certificate's issuer may write to."
    )
    workers: Annotated[int, Field(ge=1, le=MAX_WORKERS)] = Field(1, description="Of dispatch.")
    boards: bool = Field(True, description="InfluxDB and Grafana run here. Without them there are no boards.")
    ntp: Annotated[tuple[Host, ...], Field(min_length=1)] = Field(
        ("ntp.aliyun.com", "ntp.ntsc.ac.cn", "pool.ntp.org"),
        description="Whose clocks the server follows. Nodes ask the server, also when none of these answers.",
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.name in self.hosts:
            raise ValueError(
                f"hosts: {self.name} is the public name and has an ordinary certificate; nodes, who trust the private "
                "authority alone, need another name or an address"
            )
        return self


def load(folder: Path) -> ServerSettings:
    """Raises ServerError: every fault of the file, each with its place."""
    path = folder / FILE
    try:
        return ServerSettings.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ServerError(f"{path}: no such file; `banksman server init {folder}` makes it") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ServerError(f"{path}: {error}") from error
    except ValidationError as error:
        raise ServerError("\n".join(f"{path}: {line}" for line in told(error))) from error


def told(error: ValidationError) -> list[str]:
    """One line for each fault."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return [
        f"{'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg'].removeprefix('Value error, ')}" for one in found
    ]


def text_of(settings: ServerSettings) -> str:
    """The file, each entry with what it means."""
    lines = ["# Settings of the site server. After a change: banksman server init FOLDER. docs/server.md says more."]
    for key, field in ServerSettings.model_fields.items():
        lines += ["", f"# {field.description}", f"{key} = {_toml(getattr(settings, key))}"]
    return "\n".join(lines) + "\n"


def _toml(value: str | bool | int | tuple[str, ...]) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)  # no field may hold a quote or a backslash


def write(folder: Path, settings: ServerSettings) -> None:
    """A first settings file. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    files.write(folder / FILE, text_of(settings).encode(), files.PUBLIC)
