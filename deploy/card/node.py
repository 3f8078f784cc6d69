"""`node.toml`: what a card tells its node about itself and its server."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from deploy.card.errors import CardError

Ident = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=200)]
Https = Annotated[str, StringConstraints(pattern=r"^https://[^\s@?#/]+(/[^\s@?#]*)?$", max_length=200)]
Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:-]{1,253}$")]
Port = Annotated[int, Field(ge=1, le=65_535)]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("no such time zone; Asia/Shanghai is one") from error
    return name


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Node(Section):
    """Who it is. name: for people. latitude, longitude: degrees; without them those of the time zone's city."""

    site: Ident
    node: Ident
    name: Line = ""
    language: Literal["zh-CN", "en"] = "zh-CN"
    time_zone: Annotated[str, AfterValidator(_zone)] = "Asia/Shanghai"
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude belong together")
        return self

    @property
    def id(self) -> str:
        return f"{self.site}/{self.node}"

    @property
    def host(self) -> str:
        """Its name in the site's network; `install.sh` gives it."""
        return f"banksman-{self.node}"


class Server(Section):
    """The site server as the node sees it. name: as in its certificate. ntp: empty: the system's own."""

    name: Host
    enrol_url: Https
    evidence_url: Https
    mqtt_host: Host
    mqtt_port: Port = 8883
    influx_url: Https | None = None
    influx_org: Line = "banksman"
    influx_bucket: Line = "banksman"
    ntp: Host | None = None
    page_url: Https | None = None


class Identity(Section):
    """token: the node makes its key and enrols; key: key and certificate are on the card."""

    mode: Literal["token", "key"] = "token"


class Network(Section):
    """The Wi-Fi network; its password is in a file of its own."""

    ssid: Annotated[str, StringConstraints(min_length=1, max_length=32)]
    country: Country


class NodeFile(Section):
    """The whole file."""

    node: Node
    server: Server
    identity: Identity = Identity()
    wifi: Network | None = None

    def toml(self) -> bytes:
        """Tables of strings and numbers only."""
        tables = self.model_dump(exclude_none=True)
        return "\n".join(_table(name, values) for name, values in tables.items()).encode()


def _table(name: str, values: Mapping[str, str | float]) -> str:
    # A JSON string without control characters is a basic string of TOML.
    lines = (f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())
    return f"[{name}]\n{''.join(lines)}"


File = TypeVar("File", bound=Section)


def read(kind: type[File], data: bytes, where: str, context: Mapping[str, Any] | None = None) -> File:
    """A TOML file of that kind. Values are never quoted: they may be secrets. Raises CardError."""
    try:
        return kind.model_validate(tomllib.loads(data.decode()), context=dict(context or {}))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CardError("file.syntax", where=where, problem=str(error)) from error
    except ValidationError as error:
        told = error.errors(include_url=False, include_input=False, include_context=False)
        problems = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or '-'}: {one['msg'].removeprefix('Value error, ')}" for one in told
        )
        raise CardError("file.wrong", where=where, problem=problems) from error
