"""`banksman enrol …`: boxes of nodes, on the site server. Ends with 1 where something is left to do, 2 for bad input.

Run it as the user whom the authority's folder belongs to.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from sqlalchemy import Engine, select
from sqlalchemy.exc import DBAPIError

from broker import files
from broker.dispatch.clock import SystemClock
from broker.dispatch.database import DatabaseError, open_engine, reading, transaction
from broker.dispatch.enrol import HOURS, TakenError, new_token
from broker.dispatch.enrol.office import EnrolError, Office
from broker.dispatch.enrol.tokens import CONSOLE
from broker.dispatch.settings import Settings, SettingsError, load
from broker.dispatch.tables import Enrolment
from broker.mosquitto import config
from broker.pki import certificates, names
from broker.pki.authority import Reason
from broker.pki.names import PkiError

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)

File = Annotated[Path, typer.Argument(metavar="DISPATCH.yaml", help="The settings file of dispatch.")]
Node = Annotated[str, typer.Argument(metavar="SITE/NODE", help="As in north-yard/gate-03.")]
Replace = Annotated[
    bool, typer.Option("--replace", help="For a box that takes the place of the node's present one, which is shut out.")
]

_TODO = {
    config.Effect.NOTHING: "The broker has known it already; restart it if the box is still connected.",
    config.Effect.RELOAD: "Restart the broker: who is connected at a reload stays connected.",
    config.Effect.RESTART: "Restart the broker.",
    None: "Run `banksman broker update`, then restart the broker: who is connected at a reload stays connected.",
}


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except TakenError as error:
        typer.echo(
            f"{error}; nothing was made. Is this another place? Choose another name for it. Is it a new box for the "
            "same place? Say --replace: once the new one is on, the old one is shut out.",
            err=True,
        )
        raise typer.Exit(2) from error
    except (SettingsError, DatabaseError, PkiError, EnrolError, ValueError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    except DBAPIError as error:
        typer.echo(f"database: {error.orig}".strip(), err=True)
        raise typer.Exit(2) from error


def _open(file: Path) -> tuple[Settings, Engine]:
    settings = load(file)
    return settings, open_engine(settings.database.get_secret_value())


def _office(settings: Settings, engine: Engine) -> Office:
    if settings.enrol is None:
        raise SettingsError(["the settings have no section enrol; docs/enrolment.md says what belongs there"])
    pki = settings.enrol.pki
    if os.geteuid() == 0 != (owner := pki.stat().st_uid):  # who could not write afterwards what root has made
        as_that_one = f"setpriv --reuid={owner} --clear-groups banksman enrol …"
        raise SettingsError([f"{pki} belongs to user {owner}; run it as that one: {as_that_one}"])
    return Office.of(settings, settings.enrol, engine)


def _parts(name: str) -> tuple[str, str]:
    site, _, node = names.node(name).name.partition("/")
    return site, node


def _moment(at: float) -> str:
    return f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d %H:%M} UTC"


@app.command()
def new(
    file: File,
    name: Node,
    *,
    hours: Annotated[float, typer.Option(help="How long the token is good for.")] = HOURS,
    replace: Replace = False,
) -> None:
    """A token for the box of a node, as its card needs it; printed once, kept nowhere."""
    with _told():
        _, engine = _open(file)
        site, node = _parts(name)
        now = SystemClock().now()
        with transaction(engine) as session:
            token = new_token(session, site, node, CONSOLE, now, hours, replace=replace)
    typer.echo(token)
    typer.echo(f"for {name}, once, until {_moment(now + 3600 * hours)}", err=True)


@app.command("list")
def list_all(file: File, site: Annotated[str, typer.Argument(metavar="SITE", help="Of one site only.")] = "") -> None:
    """Every token: of which node, and what has become of it."""
    with _told():
        _, engine = _open(file)
        asked = select(Enrolment).order_by(Enrolment.site, Enrolment.node, Enrolment.id)
        with reading(engine) as session:
            rows = session.scalars(asked.where(Enrolment.site == site) if site else asked).all()
    now = SystemClock().now()
    for row in rows:
        typer.echo(f"{row.site}/{row.node}  made {_moment(row.made_at)}  {_state(row, now)}")


def _state(row: Enrolment, now: float) -> str:
    state = f"open until {_moment(row.expires_at)}" if now < row.expires_at else "expired, not used"
    if row.used_at is not None:
        state = f"used {_moment(row.used_at)}" + (f"  certificate {row.serial}" if row.serial else ", but not answered")
    if row.ended_at is not None:
        state += f"  ended {_moment(row.ended_at)}: {row.reason}"
        state += "; its token for InfluxDB still works" if row.influx_id else ""
    return state


@app.command()
def revoke(
    file: File, name: Node, reason: Annotated[Reason, typer.Option(help="Why.")] = Reason.KEY_COMPROMISE
) -> None:
    """Take everything from a node: open tokens, certificates, the token for InfluxDB. Says what is left to do.

    A stolen box is out when the broker has been restarted. Ask again where something failed.
    """
    with _told():
        settings, engine = _open(file)
        office = _office(settings, engine)
        site, node = _parts(name)
        done = office.revoke(site, node, reason, SystemClock().now())
    for entry in done.certificates:
        typer.echo(f"revoked certificate {entry.serial:x}")
    if done.tokens:
        typer.echo(f"withdrew {done.tokens} token{'s' * (done.tokens > 1)} that nobody had used")
    if done.authorizations:
        typer.echo(f"deleted {done.authorizations} token{'s' * (done.authorizations > 1)} of InfluxDB")
    for problem in done.problems:
        typer.echo(f"NOT DONE: {problem}", err=True)
    if done.certificates:
        typer.echo(f"To do: {_TODO[done.effect]}")
    if done.problems:
        typer.echo("To do: mend that, then run this command again.")
        raise typer.Exit(1)
    if not (done.certificates or done.tokens or done.authorizations):
        typer.echo(f"{name}: nothing was left to revoke")


@app.command()
def offline(
    file: File,
    name: Node,
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the files for the card go; new, or empty.")],
    replace: Replace = False,
) -> None:
    """Key, certificate and InfluxDB's token for a box that cannot reach this server when it is set up.

    They go onto its card (identity mode "key") and are wiped from it at first boot. With --replace what the node had is
    revoked at once.
    """
    with _told():
        settings, engine = _open(file)
        office = _office(settings, engine)
        site, node = _parts(name)
        out.mkdir(mode=0o700, exist_ok=True)
        if any(out.iterdir()):
            raise ValueError(f"{out} is not empty; whose files these are nobody could tell later")
        now = SystemClock().now()
        key = certificates.new_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        with transaction(engine) as session:
            token = new_token(session, site, node, CONSOLE, now, replace=replace)
        handed = office.enrol(token, csr.public_bytes(serialization.Encoding.PEM), now)
        files.write(out / "node.key", certificates.key_pem(key), files.SECRET)
        files.write(out / "node.pem", handed.certificate.encode())
        files.write(out / "ca.pem", handed.ca.encode())
        if handed.influx is not None:
            files.write(out / "influx.token", f"{handed.influx.token}\n".encode(), files.SECRET)
        problems = office.settle(now)
    for path in sorted(out.iterdir()):
        typer.echo(f"{path}{'  secret' if path.suffix in {'.key', '.token'} else ''}")
    typer.echo("Copy them onto the card, then delete them here: whoever has node.key is this node.", err=True)
    for problem in problems:
        typer.echo(f"NOT DONE: {problem}", err=True)
    if problems:
        raise typer.Exit(1)
