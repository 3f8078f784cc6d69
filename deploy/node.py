"""`banksman node …`: what is done on the node's own computer, as root.

`site` and `enrol` end with 0 when it is done, also earlier; 3: try again later; 4: a person must do something, which
the text says. `password` ends with 2 where the site file is not right or cannot be written.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

import deploy.text
from deploy.card import status
from deploy.card.cards import new_password
from deploy.terminal import failed, language_of
from edge.enrol.card import NODE_FILE, SITE_FILE, Card, node_file
from edge.enrol.enrol import Done, take_site
from edge.enrol.enrol import enrol as do_enrol
from edge.enrol.error import EnrolError
from edge.rules import RULES
from edge.site.password import save_password
from edge.site.problem import SiteFileError
from edge.text import Catalogue, catalogue

EXIT_LATER, EXIT_REFUSED = 3, 4
ETC = Path("/etc/banksman")

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)


@app.callback()
def node() -> None:
    """What is done on the node's own computer."""


Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder `banksman` of the card.")]
Etc = Annotated[Path, typer.Option(metavar="DIR", help="Where the node's files are.")]
Lang = Annotated[str, typer.Option("--lang", help="zh-CN or en; by default the card's.")]
TerminalLang = Annotated[str, typer.Option("--lang", help="zh-CN or en; by default that of this terminal.")]


@app.command()
def site(folder: Folder, etc: Etc = ETC, lang: Lang = "") -> None:
    """Take over the card's site file where this computer has none that works; then the card may lose it."""
    _do(take_site, folder, etc, lang)


@app.command()
def enrol(folder: Folder, etc: Etc = ETC, lang: Lang = "") -> None:
    """Make this computer the node of its card: key, certificate, first site file; then the card is wiped of secrets."""
    _do(do_enrol, folder, etc, lang)


@app.command()
def page(etc: Etc = ETC, lang: TerminalLang = "") -> None:
    """Tell where the node's own page is found in the site's network."""
    for line in status.network(status.addresses(), status.page_port(etc / SITE_FILE), language_of(lang)):
        typer.echo(line)


def _do(work: Callable[[Path, Path], Done], folder: Path, etc: Path, lang: str) -> None:
    say = catalogue(language_of(lang or _cards(folder)))
    try:
        done = work(folder, etc)
    except EnrolError as error:
        _tell(say, error)
        raise typer.Exit(EXIT_LATER if error.later else EXIT_REFUSED) from error
    except OSError as error:
        typer.echo(say("enrol.disk", file=error.filename or "?", why=error.strerror or type(error).__name__), err=True)
        raise typer.Exit(EXIT_LATER) from error
    typer.echo(say(f"enrol.{done.key}", name=done.name))


@app.command()
def password(etc: Etc = ETC, lang: TerminalLang = "") -> None:
    """Give the node's page a new password, which is told once, here. The node starts anew with it by itself."""
    language = language_of(lang)
    say, new = deploy.text.catalogue(language), new_password()
    path = etc / SITE_FILE
    try:
        save_password(path, new, RULES, language)
    except SiteFileError as error:
        raise failed(str(error)) from error
    except OSError as error:
        raise failed(say("node.unwritable", path=path, problem=error.strerror or type(error).__name__)) from error
    typer.echo(say("node.password", password=new))
    typer.echo(say("node.password_then"), err=True)


def _cards(folder: Path) -> str:
    try:
        return node_file(Card(folder).need(NODE_FILE)).node.language
    except EnrolError:
        return ""


def _tell(say: Catalogue, error: EnrolError) -> None:
    typer.echo(say(f"enrol.{error.key}", **error.fields), err=True)
    typer.echo(say(f"enrol_do.{error.key}", **error.fields), err=True)
