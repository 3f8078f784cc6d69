"""`banksman dispatch …`: the site server, as one program or as workers and pages apart. Ends with 2 for bad input."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from prometheus_client import start_http_server
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from broker.dispatch import jobs, ledger
from broker.dispatch.clock import Clock, SystemClock
from broker.dispatch.database import DatabaseError, migrate, open_engine, reading, transaction
from broker.dispatch.evidence import Store
from broker.dispatch.link import Link, LinkError
from broker.dispatch.notify import asking, channels, deliver
from broker.dispatch.notify.channels.base import Channel
from broker.dispatch.runner import Periodic, Runner
from broker.dispatch.settings import Settings, SettingsError, load
from broker.dispatch.web.links import Links
from broker.dispatch.worker import Worker, housekeeping

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)

JOBS_NICE = 10
"""Niceness: the intake goes first. What is stored is told late at worst; what is not fills its node's journal."""

File = Annotated[Path, typer.Argument(metavar="DISPATCH.yaml", help="The settings file.")]


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (SettingsError, DatabaseError, LinkError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    except DBAPIError as error:
        typer.echo(f"database: {error.orig}".strip(), err=True)
        raise typer.Exit(2) from error


@app.command()
def run(file: File) -> None:
    """Worker and pages in one program; brings the database up to date first."""
    from deploy.pages import serving  # noqa: PLC0415 a worker loads nothing of the pages

    with _told():
        settings = load(file)
        engine = _engine(settings)
        migrate(engine)
        clock = SystemClock()
        with serving(settings, engine, clock):
            _work(file, settings, clock)


@app.command()
def worker(file: File) -> None:
    """A worker: messages and jobs. Several share the work; each has a settings file with its own certificate."""
    with _told():
        settings = load(file)
        _work(file, settings, SystemClock())


@app.command(name="jobs", hidden=True)
def jobs_command(file: File) -> None:
    """The jobs of a worker that has started this; ends with its standard input."""
    for number in (signal.SIGTERM, signal.SIGINT):  # those are for the worker
        signal.signal(number, signal.SIG_IGN)
    with _told():
        settings = load(file)
        engine, clock, stop = _engine(settings), SystemClock(), threading.Event()
        _serve_metrics(settings, 1)
        runner = Runner(engine, clock, *_jobs(settings, engine, clock, channels.standard()))
        runner.start(stop)
        sys.stdin.buffer.read()
        stop.set()
        runner.join()


@app.command()
def web(file: File) -> None:
    """Pages, and the door for evidence."""
    from deploy.cli import stop_on_signals  # noqa: PLC0415 the front door knows this file
    from deploy.pages import serving  # noqa: PLC0415 a worker loads nothing of the pages

    with _told():
        settings = load(file)
        stop = stop_on_signals()
        with serving(settings, _engine(settings), SystemClock()):
            stop.wait()


@app.command(name="migrate")
def migrate_command(file: File) -> None:
    """Bring the database up to date; before workers of a new version start. There is no way back but the backup."""
    with _told():
        migrate(_engine(load(file)))


@app.command()
def admin(
    file: File,
    login: Annotated[str, typer.Argument(metavar="LOGIN", help="Log-in name.")],
    name: Annotated[str, typer.Option(help="What others read; by default the log-in name.")] = "",
) -> None:
    """Make somebody an administrator of all sites, or give one a new password, which is asked for."""
    from broker.dispatch.web.auth import PasswordError  # noqa: PLC0415 a worker loads nothing of the pages
    from broker.dispatch.web.bootstrap import set_admin  # noqa: PLC0415

    with _told():
        engine = _engine(load(file))
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        try:
            new = set_admin(engine, login, name or login, password, SystemClock().now())
        except PasswordError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from error
    typer.echo(f"{login.strip().lower()} {'is an administrator now' if new else 'has a new password'}")


@app.command()
def verify(
    file: File,
    case: Annotated[str, typer.Option(help="Only the ledger of this case; without it all cases and all days.")] = "",
) -> None:
    """Look whether the audit ledger is as it was written. Ends with 1, and says which case or day, where it is not.

    Compare the last day's hash with the one of the log or wherever it was written down.
    """
    with _told(), reading(_engine(load(file))) as session:
        if case:
            problems = [f"case {case}: {what}" for what in ledger.verify(session, case)]
            sound = f"case {case}: all lines are as they were written"
        else:
            found = ledger.verify_all(session)
            problems = [f"case {c}: {what}" for c, whats in found.problems.items() for what in whats]
            problems += [f"day: {what}" for what in found.days]
            last = f"; {found.last_day} has {found.last_hash}" if found.last_day else "; no day is closed yet"
            sound = f"{found.cases} cases with {found.lines} lines are as they were written{last}"
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(1)
    typer.echo(sound)


@app.command(name="false-alarms")
def false_alarms(
    file: File,
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where pictures and marks.json are written; empty.")],
    site: Annotated[str, typer.Option(help="Only of this site.")] = "",
    since: Annotated[
        dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only marked since this day, UTC.")
    ] = None,
) -> None:
    """Take the pictures of false alarms out of the store, for `banksman model harvest`.

    They are not deleted with the rest after a site's retention any more: delete the folder once it was used.
    """
    from broker.dispatch.mistakes import MARKS, MistakesError, mistakes, take_out  # noqa: PLC0415

    with _told():
        settings = load(file)
        start = since.replace(tzinfo=dt.UTC).timestamp() if since else 0.0
        try:
            with reading(_engine(settings)) as session:
                count = take_out(mistakes(session, Store(settings.evidence), site=site or None, since=start), out)
        except MistakesError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from error
    typer.echo(f"{count} pictures and {MARKS} are in {out}; they are outside of the sites' retention there")


def _engine(settings: Settings) -> Engine:
    return open_engine(settings.database.get_secret_value())


def _serve_metrics(settings: Settings, beside: int = 0) -> None:
    if settings.metrics is not None:
        start_http_server(settings.metrics.port + beside, settings.metrics.host)


def _work(file: Path, settings: Settings, clock: Clock) -> None:
    from deploy.cli import stop_on_signals  # noqa: PLC0415 the front door knows this file

    _serve_metrics(settings)
    stop = stop_on_signals()
    link = Link(settings.mqtt, clock)
    engine = open_engine(settings.database.get_secret_value(), ping=False)
    with _jobs_apart(file, stop):
        Worker(engine, link, clock, {}, {}).run(stop)


@contextmanager
def _jobs_apart(file: Path, stop: threading.Event) -> Iterator[None]:
    """Jobs in a process of their own: here they would take the lock of Python, and the processor, from the intake.

    The process ends when this one does, however that ends, and this one ends when the process does.
    """
    program = [sys.executable, "-c", "from deploy.cli import main; main()", "dispatch", "jobs", str(file)]
    # Leaving closes its input, and waits for it.
    with subprocess.Popen(program, stdin=subprocess.PIPE) as process:  # noqa: S603 (our own program)
        os.setpriority(os.PRIO_PROCESS, process.pid, JOBS_NICE)

        def watch() -> None:
            code = process.wait()
            if not stop.is_set():
                raise RuntimeError(f"the process for jobs ended with {code}")

        threading.Thread(target=watch, name="jobs-watch", daemon=True).start()
        yield


def work(settings: Settings, engine: Engine, clock: Clock, ways: Mapping[str, Channel], stop: threading.Event) -> None:
    """A worker with its jobs in one process, until `stop` is set. ways: channels by name. Raises LinkError."""
    link = Link(settings.mqtt, clock)
    Worker(engine, link, clock, *_jobs(settings, engine, clock, ways)).run(stop)


def _jobs(
    settings: Settings, engine: Engine, clock: Clock, ways: Mapping[str, Channel]
) -> tuple[Mapping[str, jobs.Handler], Mapping[str, Periodic]]:
    """Handlers by kind, and what is periodic; all of them work without a line to the broker."""
    links = Links(settings.web.secret.get_secret_value(), settings.web.url)
    with transaction(engine) as session:
        jobs.add(session, "handover", asking.EVERY_SITE, clock.now(), {})
    return deliver.handlers(ways, links, Store(settings.evidence).picture_of), housekeeping(settings, engine)
