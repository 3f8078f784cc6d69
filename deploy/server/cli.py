"""`banksman server …`: the site server. Ends with 1 where something needs a person, 2 for bad input."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from broker.dispatch.database import DatabaseError
from broker.dispatch.settings import SettingsError
from broker.dispatch.web.auth import PasswordError
from broker.mosquitto.settings import BrokerError
from broker.pki.names import PkiError
from dashboards.faults import PushError
from dashboards.faults import told as told_of_boards
from dashboards.grafana import GrafanaError
from dashboards.text import Language
from deploy.card.errors import CardError
from deploy.server import backup as backups
from deploy.server import check as checks
from deploy.server import settings as settings_file
from deploy.server import setup as steps
from deploy.server.cards import describe
from deploy.server.check import Grade
from deploy.server.layout import CARDS, INFLUX_GRAFANA, Places
from deploy.server.make import Done, make
from deploy.server.settings import FILE, MDNS, ServerError, ServerSettings, load
from deploy.terminal import failed, language_of
from deploy.text import Catalogue, catalogue

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The server's folder.")]
Spoken = Annotated[str, typer.Option("--lang", help="zh-CN or en; by default that of this terminal.")]


@contextmanager
def _told(language: Language = "en") -> Iterator[None]:
    """What was wrong with the input, a service or the disk in words instead of a traceback."""
    try:
        yield
    except (GrafanaError, PushError) as error:
        raise failed(told_of_boards(error, language)) from None
    except DBAPIError as error:
        raise failed(f"database: {error.orig}".strip()) from error
    except (ServerError, SettingsError, DatabaseError, BrokerError, PkiError, OSError) as error:
        raise failed(str(error)) from error


@app.command()
def init(
    folder: Folder,
    *,
    name: Annotated[str | None, typer.Option(help="Public name, as people type it.")] = None,
    host: Annotated[
        list[str] | None, typer.Option(help="A name or address by which nodes reach the server; repeatable.")
    ] = None,
    site: Annotated[list[str] | None, typer.Option(help="The id of a site; repeatable.")] = None,
    siren: Annotated[list[str] | None, typer.Option(help="A site that has a siren; repeatable.")] = None,
    boards: Annotated[str | None, typer.Option("--language", help="Of boards and new sites: zh-CN or en.")] = None,
    zone: Annotated[str | None, typer.Option(help="Time zone by which boards cut days.")] = None,
    certificate: Annotated[
        str | None, typer.Option(help="Of the public name. automatic, or files: proxy/cert.pem and proxy/key.pem.")
    ] = None,
    email: Annotated[str | None, typer.Option(help="Whom the certificate's issuer may write to.")] = None,
    workers: Annotated[int | None, typer.Option(help="Of dispatch: 1 or 2.")] = None,
    ntp: Annotated[list[str] | None, typer.Option(help="Whose clock the server follows; repeatable.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Debian's packages and systemd, no containers.")] = False,
    without_boards: Annotated[bool, typer.Option("--without-boards", help="Neither InfluxDB nor Grafana.")] = False,
    lang: Spoken = "",
) -> None:
    """Make the server's folder, or bring it up to server.toml. Secrets and certificates that are there stay."""
    spoken = _spoken(lang)
    text = catalogue(spoken)
    asked: dict[str, object] = {
        "name": name, "hosts": host, "sites": site, "sirens": siren, "language": boards, "zone": zone,
        "certificate": certificate, "email": email, "workers": workers, "ntp": ntp,
        "runs": "plain" if plain else None, "boards": False if without_boards else None,
    }  # fmt: skip
    given = {key: value for key, value in asked.items() if value is not None}
    with _told(spoken):
        new = not (folder / FILE).exists()
        settings = _new(folder, given, text) if new else _same(folder, given, text)
        done = make(folder, settings, time.time())
        if new:
            done.changed.insert(0, FILE)
    _tell(folder, settings, done, text)


_ASKED = {"name": None, "hosts": None, "sites": "", "language": "zh-CN", "certificate": "automatic"}
"""What is asked for at a terminal where not all that is needed was given, and what an empty answer means."""


def _new(folder: Path, given: dict[str, object], text: Catalogue) -> ServerSettings:
    asks = sys.stdin.isatty() and not {"name", "hosts"} <= given.keys()
    for key in ("name", "hosts"):
        if key not in given and not asks:
            raise ServerError(text(f"server.init.needs.{key}"))
    for key, default in _ASKED.items() if asks else ():
        if key not in given:
            answer = str(typer.prompt(text(f"server.init.ask.{key}"), default=default))
            given[key] = answer.split() if key in ("hosts", "sites") else answer
    try:
        settings = ServerSettings.model_validate(given)
    except ValidationError as error:
        raise ServerError("\n".join(settings_file.told(error))) from error
    if (first := settings.hosts[0]).endswith(MDNS):  # an older server.toml is not refused: `check` tells
        raise ServerError(text("server.init.mdns", host=first))
    settings_file.write(folder, settings)
    return settings


def _same(folder: Path, given: dict[str, object], text: Catalogue) -> ServerSettings:
    """What is there counts; an option that says otherwise is refused, lest a slip changes a server that runs."""
    settings = load(folder)
    for key, value in given.items():
        there = getattr(settings, key)
        if there != (tuple(value) if isinstance(value, list) else value):
            raise ServerError(text("server.init.other", path=folder / FILE, key=key))
    return settings


def _tell(folder: Path, settings: ServerSettings, done: Done, text: Catalogue) -> None:
    for cert in done.issued:
        typer.echo(text("server.init.issued", path=cert))
    for name in done.changed:
        typer.echo(text("server.init.wrote", path=folder / name))
    if not done.changed:
        typer.echo(text("server.init.same"))
    elif FILE in done.changed:
        typer.echo(text(f"server.init.next.{settings.runs}", folder=folder))
    elif "compose" in done.restart:
        typer.echo(text("server.init.compose"))
    elif done.restart:
        typer.echo(text("server.init.restart", services=", ".join(sorted(done.restart))))
    if done.reload:
        typer.echo(text("server.init.reload", services=", ".join(sorted(done.reload))))
    if done.unowned:
        typer.echo(text("server.init.unowned", users=", ".join(sorted(done.unowned))))


@app.command()
def setup(
    folder: Folder,
    *,
    login: Annotated[str | None, typer.Option("--admin", help="Log-in name of the first administrator.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Overwrite boards that were changed by hand.")] = False,
    secrets: Annotated[bool, typer.Option("--secrets", help="Send Grafana the token of InfluxDB again.")] = False,
    lang: Spoken = "",
) -> None:
    """Bring the services that run to what Banksman needs: tables, tokens, boards, the first administrator.

    Only what is missing is done. If it breaks off, run it again.
    """
    spoken = _spoken(lang)
    text = catalogue(spoken)
    with _told(spoken):
        settings = load(folder)
        places, restart = Places.of(settings), False
        for step in steps.database(folder, settings):
            typer.echo(text(f"server.setup.{step.key}", **step.fields))
        if settings.boards:
            for step in steps.influx(folder, settings, places, time.time()):
                restart = restart or step.key == "dispatch"
                secrets = secrets or step.fields.get("name") == INFLUX_GRAFANA
                typer.echo(text(f"server.setup.{step.key}", **step.fields))
            for step in steps.grafana(folder, settings, places, lambda _: yes, secrets=secrets):
                typer.echo(text(f"server.setup.{step.key}", **step.fields))
        _first_admin(folder, login, text)
    if restart:
        typer.echo(text("server.init.restart", services="worker, web"))


@app.command()
def cards(
    folder: Folder,
    image: Annotated[Path, typer.Argument(help="Raspberry Pi OS Lite (64-bit), .img.xz as downloaded.")],
    release: Annotated[Path, typer.Argument(help="The signed release that new nodes start with.")],
    *,
    sha256: Annotated[str, typer.Option(help="Of the image, from the page that it was downloaded from.")],
    public_key: Annotated[Path, typer.Option("--public-key", help="release.pub, which the release is signed with.")],
    lang: Spoken = "",
) -> None:
    """Say what cards of nodes are made of; the pages then have a Cards page."""
    spoken = _spoken(lang)
    text = catalogue(spoken)
    with _told(spoken):
        settings = load(folder)
        try:
            described = describe(folder, settings, image=image, sha256=sha256, release=release, public_key=public_key)
        except CardError as error:
            raise ServerError(error.told(spoken)) from error
        typer.echo(
            text("server.cards", path=folder / CARDS, image=described.image.name, release=described.release.name)
        )
        done = make(folder, settings, time.time())
    _tell(folder, settings, done, text)


_MARKS = {Grade.OK: "✓", Grade.WARN: "!", Grade.BAD: "✗"}


@app.command()
def check(folder: Folder, lang: Spoken = "") -> None:
    """Examine the server as people and nodes reach it, and from inside; say what to do. Ends with 1 if one is bad.

    With containers: docker compose run --rm tools server check /site
    """
    spoken = _spoken(lang)
    bad = False
    with _told(spoken):
        settings = load(folder)
        for finding in checks.check(folder, settings, Places.of(settings), time.time()):
            found, do = finding.told(spoken)
            typer.echo(f"{_MARKS[finding.grade]} {found}")
            if do:
                typer.echo(f"  → {do}")
            bad = bad or finding.grade is Grade.BAD
    raise typer.Exit(1 if bad else 0)


@app.command()
def backup(
    folder: Folder,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup, a tar.")],
    *,
    keys: Annotated[bool, typer.Option("--with-keys", help="The private authority's keys as well.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Only read FILE, and say whether it is whole.")] = False,
    lang: Spoken = "",
) -> None:
    """Database, InfluxDB, pictures and this folder in one file, which is read again when it is written."""
    spoken = _spoken(lang)
    text = catalogue(spoken)
    with _told(spoken):
        if verify:
            manifest = backups.verify(file)
        else:
            settings = load(folder)
            manifest = backups.write(folder, settings, Places.of(settings), file, time.time(), keys=keys)
    figures = {"made": manifest.made, "count": len(manifest.files), "mb": f"{manifest.size / 1e6:.1f}"}
    typer.echo(text("server.backup.whole", file=file, **figures))
    typer.echo(text(f"server.backup.{'keys' if manifest.keys else 'no_keys'}", file=file))


@app.command()
def restore(
    folder: Folder, file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")], lang: Spoken = ""
) -> None:
    """Make an empty server what it was. Ends with 1 where services have to be started first; then run it again."""
    spoken = _spoken(lang)
    text = catalogue(spoken)
    key = ""
    with _told(spoken):
        for key, fields in backups.restore(folder, file):
            typer.echo(text(f"server.restore.{key}", **fields))
    raise typer.Exit(1 if key == "start" else 0)


def _first_admin(folder: Path, login: str | None, text: Catalogue) -> None:
    if steps.has_admin(folder):
        return
    if login is None and not sys.stdin.isatty():
        typer.echo(text("server.setup.no_admin", file=folder / "dispatch/dispatch.yaml"))
        return
    login = login or typer.prompt(text("server.setup.ask_login"))
    password = typer.prompt(text("server.setup.ask_password"), hide_input=True, confirmation_prompt=True)
    try:
        steps.admin(folder, login, password, time.time())
    except PasswordError as error:
        raise ServerError(str(error)) from error
    typer.echo(text("server.setup.admin", login=login))


def _spoken(asked: str) -> Language:
    return "zh-CN" if language_of(asked) == "zh-CN" else "en"
