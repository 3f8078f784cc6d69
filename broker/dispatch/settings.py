"""`dispatch.yaml`: one typed file, read once when the program starts.

What is wrong is told all at once, with line and column, and never by quoting a value: it may be a secret. Relative
paths are relative to the file's folder. People, shifts, chains and texts are not here: they are edited on the pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from broker.addresses import is_token

Port = Annotated[int, Field(ge=1, le=65_535)]


def _beside(path: Path, info: ValidationInfo) -> Path:
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / path


LocalPath = Annotated[Path, AfterValidator(_beside)]
WebAddress = Annotated[str, StringConstraints(pattern=r"^https?://")]


class SettingsError(Exception):
    """What is wrong with the file: one line each, `file:line:column: where: what`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Mqtt(_Section):
    """The broker, and who this worker is there."""

    host: str = Field(description="Name or address of the broker, as in its certificate.")
    port: Port = Field(8883, description="8883 with TLS.")
    tls: bool = Field(True, description="False only for a broker on this computer.")
    ca: LocalPath | None = Field(None, description="Who signs the broker's certificate (PEM).")
    cert: LocalPath | None = Field(None, description="This worker's certificate (PEM); each worker has its own.")
    key: LocalPath | None = Field(None, description="Its key (PEM).")
    username: str | None = Field(None, description="Where the broker wants a password instead of a certificate.")
    password: SecretStr | None = None
    client_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9/-]{1,64}$")] = Field(
        "dispatch", description="Different for each worker, and the same each time that it starts."
    )
    share_group: Annotated[SecretStr, Field(min_length=1, max_length=65)] = Field(
        SecretStr("dispatch"), description="Of the shared subscriptions: `share_group` of broker.toml."
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together: give both or neither")
        if self.password is not None and self.username is None:
            raise ValueError("a password needs a username")
        if not set(self.share_group.get_secret_value()).isdisjoint("/+#"):
            raise ValueError("share_group must hold neither / nor + nor #")
        return self


class Influx(_Section):
    """InfluxDB, for points of cases."""

    url: WebAddress = Field(description="e.g. https://influx.local:8086")
    org: str = Field(description="Organisation.")
    token: SecretStr = Field(description="A token that may write the bucket.")
    bucket: Annotated[str, StringConstraints(min_length=1)] = Field(
        "banksman", description="As the nodes' own; boards read one. `{site}` in it stands for the site's id."
    )
    ca: LocalPath | None = Field(None, description="Who signs its certificate (PEM).")

    @field_validator("token")
    @classmethod
    def _one_word(cls, token: SecretStr) -> SecretStr:
        """What HTTP refuses in a header it shows in its error, and that would be in the log."""
        word = token.get_secret_value().strip()
        if not is_token(word):
            raise ValueError("a token is one word of ASCII letters, digits and signs")
        return SecretStr(word)


class Web(_Section):
    """Pages and API."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Port = 8090
    cert: LocalPath | None = Field(None, description="For HTTPS without a proxy before it (PEM).")
    key: LocalPath | None = Field(None, description="Its key (PEM).")
    proxies: tuple[str, ...] = Field((), description="Addresses of reverse proxies whose X-Forwarded-… is believed.")
    url: Annotated[str, StringConstraints(pattern=r"^https?://[^/]+$")] = Field(
        "http://127.0.0.1:8090", description="What links in messages begin with; no slash at the end."
    )
    secret: Annotated[SecretStr, Field(min_length=32)] = Field(
        description="Signs links in messages: 32 characters or more, the same for all workers."
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together: give both or neither")
        return self


class Upload(_Section):
    """Where nodes bring evidence: TLS with their certificates."""

    host: str = Field("0.0.0.0", description="Address to listen on.")  # noqa: S104 nodes come from outside
    port: Port = 8443
    cert: LocalPath = Field(description="The server's certificate (PEM).")
    key: LocalPath = Field(description="Its key (PEM).")
    client_ca: LocalPath = Field(description="Who signs the nodes' certificates (PEM).")
    crl: LocalPath = Field(description="Which of them were taken back (PEM); read anew when it changes.")


class Enrol(_Section):
    """Where boxes get their certificates for one-time tokens: TLS without a certificate of theirs."""

    host: str = Field("0.0.0.0", description="Address to listen on.")  # noqa: S104 nodes come from outside
    port: Port = 8444
    cert: LocalPath = Field(description="The server's certificate (PEM).")
    key: LocalPath = Field(description="Its key (PEM).")
    pki: LocalPath = Field(description="The authority's folder, with its keys.")
    broker: LocalPath | None = Field(
        None,
        description="The broker's folder, to bring up to what is revoked; without it `banksman broker update` does.",
    )
    influx_admin_token_file: LocalPath | None = Field(
        None, description="Holds a token of InfluxDB that may make and delete others; without it nodes get none."
    )
    influx_url: WebAddress | None = Field(
        None, description="InfluxDB as nodes reach it, where that is not `url` of `influx`."
    )


class Metrics(_Section):
    """Prometheus asks here."""

    host: str = "127.0.0.1"
    port: Port = 9464


class Settings(_Section):
    """The whole file."""

    database: SecretStr = Field(
        SecretStr("sqlite:///dispatch.db"), description="sqlite:///file.db or postgresql://user:password@host/name."
    )
    evidence: LocalPath = Field(Path("evidence"), validate_default=True, description="Folder for pictures and clips.")
    releases: LocalPath = Field(
        Path("releases"),
        validate_default=True,
        description="Folder of releases that nodes are brought up to date with.",
    )
    mqtt: Mqtt
    web: Web
    upload: Upload | None = None
    enrol: Enrol | None = None
    pki: LocalPath | None = Field(
        None, description="The authority's folder, best a copy without keys: what runs out is told 30 days ahead."
    )
    cards: LocalPath | None = Field(
        None, description="cards.toml: what cards of nodes are made of; without it there is no Cards page."
    )
    influx: Influx | None = None
    metrics: Metrics | None = None

    @model_validator(mode="after")
    def _influx_is_there(self) -> Self:
        if self.enrol is not None and self.enrol.influx_admin_token_file is not None and self.influx is None:
            raise ValueError("enrol.influx_admin_token_file needs a section influx")
        return self

    @model_validator(mode="before")
    @classmethod
    def _sqlite_beside(cls, values: Any, info: ValidationInfo) -> Any:
        """A SQLite file with a relative path lies beside the settings file, too."""
        folder = (info.context or {}).get("folder")
        if not isinstance(values, dict) or folder is None:
            return values
        url = values.get("database", "sqlite:///dispatch.db")
        if isinstance(url, str) and url.startswith("sqlite:///") and not url.startswith("sqlite:////"):
            url = f"sqlite:///{(folder / url.removeprefix('sqlite:///')).absolute()}"
        return values | {"database": url}


def load(path: Path) -> Settings:
    """Raises SettingsError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError([f"{path}: no such file"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"{path}: {error}"]) from None
    yaml = YAML(typ="safe", pure=True)
    try:
        values, root = yaml.load(text), YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark is not None else str(path)
        raise SettingsError([f"{where}: {error.problem or 'not YAML'}"]) from None
    except YAMLError as error:
        raise SettingsError([f"{path}: not YAML: {error}"]) from None
    try:
        return Settings.model_validate(values if values is not None else {}, context={"folder": path.parent})
    except ValidationError as error:
        raise SettingsError(list(_told(error, root, path))) from None


def _told(error: ValidationError, root: Node | None, path: Path) -> Iterator[str]:
    for one in error.errors(include_url=False, include_input=False, include_context=False):
        line, column = _place(root, one["loc"])
        what = one["msg"].removeprefix("Value error, ")
        yield f"{path}:{line}:{column}: {'.'.join(map(str, one['loc'])) or 'the file'}: {what}"


def _place(node: Node | None, loc: tuple[int | str, ...]) -> tuple[int, int]:
    """Line and column, from 1, of what `loc` names, or of the innermost part around it that is there."""
    mark = node.start_mark if node is not None else None
    for part in loc:
        inner: Node | None = None
        if isinstance(node, MappingNode):
            for key, value in node.value:
                if key.value == part:
                    mark, inner = key.start_mark, value
        elif isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
            inner = node.value[part]
            mark = inner.start_mark
        if inner is None:
            break
        node = inner
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
