"""`banksman broker …`: the production broker. Ends with 1 where something needs a person, 2 for bad input."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from broker.mosquitto import check as checks
from broker.mosquitto import config
from broker.mosquitto.settings import BrokerError, create
from broker.pki.authority import Pki
from deploy.pki import told_to_the_user

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The broker's folder.")]
Authority = Annotated[Path, typer.Option(help="The folder of `banksman pki init`.")]

_TODO = {
    config.Effect.NOTHING: "nothing has changed",
    config.Effect.RELOAD: "reload the broker (SIGHUP); restart it to cut off somebody who is connected",
    config.Effect.RESTART: "restart the broker",
}


@contextmanager
def _told() -> Iterator[None]:
    with told_to_the_user():
        try:
            yield
        except BrokerError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from error


@app.command()
def init(
    folder: Folder,
    *,
    pki: Authority,
    host: Annotated[list[str], typer.Option(help="A name or address that clients reach the broker by; repeatable.")],
    siren: Annotated[list[str] | None, typer.Option(help="A site whose siren follows its cases; repeatable.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65_535)] = 8883,
    workers: Annotated[
        int, typer.Option(min=1, max=100, help="Dispatch workers; each has a certificate of its own.")
    ] = 1,
) -> None:
    """Settings, configuration, access list and certificates of a broker; run with `mosquitto -c DIR/mosquitto.conf`."""
    with _told():
        authority = Pki(pki)
        create(folder, tuple(host), tuple(siren or ()), port, workers)
        _update(folder, authority)


@app.command()
def update(folder: Folder, pki: Authority) -> None:
    """Bring the folder up to broker.toml and to the authority, after a change of either."""
    with _told():
        _update(folder, Pki(pki))


@app.command()
def check(folder: Folder) -> None:
    """Is Mosquitto new enough, and would it run from this folder? Tries it on another port."""
    with _told():
        lines = list(checks.problems(folder, time.time()))
    for line in lines:
        typer.echo(line)
    raise typer.Exit(1 if lines else 0)


def _update(folder: Path, authority: Pki) -> None:
    done = config.update(folder, authority, time.time())
    for path in done.issued:
        typer.echo(f"issued {path}")
    for name in done.changed:
        typer.echo(f"wrote {folder / name}")
    typer.echo(_TODO[done.effect])
