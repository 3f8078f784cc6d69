"""`banksman pki …`: certificates from the command line. Ends with 1 where something needs a person, 2 for bad input."""

from __future__ import annotations

import datetime as dt
import ipaddress
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from broker.pki import check as checks
from broker.pki import names
from broker.pki.authority import DEFAULT_DAYS, MAX_DAYS, Handed, Pki, Reason
from broker.pki.certificates import MAX_CSR_BYTES, PRIVATE, Permitted
from broker.pki.names import Kind, PkiError, Subject

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The authority's folder.")]
Which = Annotated[Kind, typer.Argument(metavar="node|service|server", help="What the certificate is for.")]
Names = Annotated[
    list[str],
    typer.Argument(metavar="NAME…", help="SITE/NODE; a service's name; or all names and addresses of a server."),
]
Days = Annotated[int, typer.Option(min=1, max=MAX_DAYS, help="How long it is good for.")]


@contextmanager
def told_to_the_user() -> Iterator[None]:
    """What was wrong with the input, or with the disk, in one line instead of a traceback."""
    try:
        yield
    except (PkiError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error


def subject(kind: Kind, given: list[str]) -> Subject:
    if kind is Kind.SERVER:
        return names.server(*given)
    if len(given) != 1:
        raise PkiError(f"one {kind} at a time")
    return names.node(given[0]) if kind is Kind.NODE else names.service(given[0])


def day(moment: float) -> str:
    return f"{dt.datetime.fromtimestamp(moment, dt.UTC):%Y-%m-%d}"


def _tell(handed: Handed) -> None:
    typer.echo(f"{handed.cert}  until {day(handed.not_after)}")
    if handed.key is not None:
        typer.echo(f"{handed.key}  secret")


@app.command()
def init(
    folder: Folder,
    name: Annotated[str, typer.Option(help="What the authority is called.")] = "Banksman",
    permit: Annotated[
        list[str] | None,
        typer.Option(help="A domain or network that servers may have, beside private ones and .local; repeatable."),
    ] = None,
) -> None:
    """Make an authority in an empty folder. Whoever has this folder can let anything in: keep it off the broker."""
    with told_to_the_user():
        Pki.create(folder, name, (*PRIVATE, *map(_permitted, permit or ())), time.time())
    typer.echo(f"{folder / 'ca.pem'}  goes to every node and server")


def _permitted(text: str) -> Permitted:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        if "/" in text:
            raise PkiError(f"--permit {text}: {error}") from error
        return str(names.host(text))


@app.command()
def issue(
    folder: Folder,
    kind: Which,
    given: Names,
    *,
    days: Days = DEFAULT_DAYS,
    csr: Annotated[Path | None, typer.Option(help="A request (PEM) whose key was made where it is used.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Revoke what there is for this name.")] = False,
) -> None:
    """Issue a certificate, with a new key unless a request is given."""
    with told_to_the_user():
        request = None
        if csr is not None:
            with csr.open("rb") as file:
                request = file.read(MAX_CSR_BYTES + 1)
        made = Pki(folder).issue(subject(kind, given), time.time(), days=days, csr=request, replace=replace)
    _tell(made)


@app.command()
def renew(folder: Folder, kind: Which, given: Names, days: Days = DEFAULT_DAYS) -> None:
    """Extend a certificate with the same key, signed by the newest authority."""
    with told_to_the_user():
        made = Pki(folder).renew(subject(kind, given), time.time(), days=days)
    _tell(made)


@app.command()
def revoke(
    folder: Folder,
    kind: Which,
    given: Names,
    reason: Annotated[Reason, typer.Option(help="Why.")] = Reason.KEY_COMPROMISE,
) -> None:
    """Revoke all certificates of a name. It counts once the broker has the new list: `banksman broker update`."""
    with told_to_the_user():
        gone = Pki(folder).revoke(subject(kind, given), reason, time.time())
    for entry in gone:
        typer.echo(f"revoked {entry.serial:x}  {entry.subject.kind} {entry.subject.name}")


@app.command()
def rotate(folder: Folder) -> None:
    """Make the next authority. Both are trusted until `retire`: hand out ca.pem first, then renew everybody."""
    with told_to_the_user():
        made = Pki(folder).rotate(time.time())
    typer.echo(f"{made.name} signs from now on, until {day(made.not_after)}; {folder / 'ca.pem'} goes everywhere first")


@app.command()
def retire(folder: Folder, number: Annotated[int, typer.Argument(help="Of the authority; `list` shows it.")]) -> None:
    """Trust an old authority no more, once nobody lives by it."""
    with told_to_the_user():
        Pki(folder).retire(number, time.time())


@app.command("list")
def list_all(folder: Folder) -> None:
    """Every certificate ever issued, and the authorities."""
    now = time.time()
    with told_to_the_user():
        pki = Pki(folder)
        for authority in pki.authorities():
            typer.echo(f"authority {authority.number}  until {day(authority.not_after)}  {authority.name}")
        for entry in pki.entries(now):
            hosts = f"  ({', '.join(map(str, entry.subject.hosts))})" if entry.subject.hosts else ""
            typer.echo(
                f"{entry.state:9}  until {day(entry.not_after)}  authority {entry.authority or '-'}  "
                f"{entry.subject.kind} {entry.subject.name}{hosts}  {entry.serial:x}"
            )


@app.command()
def check(
    folder: Folder,
    days: Annotated[int, typer.Option(min=1, help="How far ahead to look.")] = int(checks.AHEAD_S / checks.DAY_S),
) -> None:
    """Say what ends soon and what is wrong with the files. Ends with 1 where there is something."""
    now = time.time()
    with told_to_the_user():
        lines = [
            f"{one.kind} {one.name}: {'ends' if one.not_after > now else 'ended'} on {day(one.not_after)}"
            for one in checks.expiring(folder, now, days * checks.DAY_S)
        ]
        lines += checks.problems(folder, now)
    for line in lines:
        typer.echo(line)
    raise typer.Exit(1 if lines else 0)
