"""The front door: `banksman`. The only file that knows all parts; each command imports what it needs when it runs."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from deploy.terminal import failed, language_of, terminal_language

EXIT_CRASH = 70  # EX_SOFTWARE of sysexits.h: a bug; the service manager starts the node again

app = typer.Typer(
    name="banksman",
    help="Construction-site safety monitoring with cameras and sensors.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a pretty traceback shows local variables, and with them passwords
)

SitePath = Annotated[Path, typer.Argument(help="The site file.", metavar="SITE.yaml")]
Language = Annotated[str, typer.Option("--lang", help="zh-CN or en; by default that of this terminal.")]


def _log_to_stderr(*, verbose: bool = False) -> None:
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    for noisy in ("uvicorn", "httpx", "httpcore", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set; the second one ends the program at once."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return stop


def _end_on_thread_crash() -> None:
    """A thread that dies of a bug takes the node with it: half a node that looks alive is worse than a restart."""

    def crash(args: threading.ExceptHookArgs) -> None:
        logging.getLogger("banksman").critical(
            "thread %s died", args.thread.name if args.thread else "?",
            exc_info=(args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback),
        )  # fmt: skip
        logging.shutdown()
        os._exit(EXIT_CRASH)

    threading.excepthook = crash


@app.command()
def run(
    site: SitePath,
    once: Annotated[bool, typer.Option("--once", help="End when all clips of the site file have been played.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
) -> None:
    """Run the node of a site file until SIGTERM or Ctrl-C."""
    from edge.clock import SystemClock
    from edge.node import NodeError, run_site
    from edge.service.notify import from_environment
    from edge.service.service import Service
    from edge.site.load import SiteFileError

    _log_to_stderr(verbose=verbose)
    _end_on_thread_crash()
    service = Service(*from_environment(), SystemClock())
    service.start()
    try:
        run_site(site, stop_on_signals(), once=once, language=terminal_language(), service=service)
    except (SiteFileError, NodeError) as error:
        service.say(str(error))
        raise failed(str(error)) from error
    finally:
        service.stop()


@app.command()
def demo(
    source: Annotated[str, typer.Option(help="A video file, a folder of photos, an address, or a camera number.")] = "",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page; 0: the first free one from 8080.")] = 0,
    seconds: Annotated[float, typer.Option("--for", help="Stop after so many seconds; 0: when told to.")] = 0,
    lang: Language = "",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the node's log.")] = False,
) -> None:
    """Try it out: an MQTT broker, a node on a sample street scene, and the page, with nothing to set up."""
    from deploy.demo import DemoError, run_demo

    language = language_of(lang)
    if verbose:
        _log_to_stderr()
    _end_on_thread_crash()
    try:
        run_demo(source, port, seconds, language, stop_on_signals())
    except DemoError as error:
        raise failed(error.told(language)) from error


@app.command()
def check(site: SitePath, lang: Language = "") -> None:
    """Say everything that is wrong with a site file, with line and column."""
    from edge.rules import RULES
    from edge.site.load import check as check_site_file
    from edge.site.load import load, missing_files, report

    language = language_of(lang)
    problems = check_site_file(site, RULES, language)
    if not problems:
        problems = missing_files(load(site, RULES, language), site, language)
    for line in report(str(site), problems, language):
        typer.echo(line)
    raise typer.Exit(1 if problems else 0)


@app.command()
def doctor(
    site: Annotated[
        Path | None, typer.Argument(help="The site file; without one only the machine is examined.")
    ] = None,
    lang: Language = "",
) -> None:
    """Examine camera, detector, broker, clock, disk and heat; say what to do about each. Ends with 1 if one is bad."""
    from deploy.doctor import run_doctor

    raise typer.Exit(0 if run_doctor(site, language_of(lang)) else 1)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)
def model(context: typer.Context) -> None:
    """Data, training, export and evaluation of the detector."""
    from models.cli import app as model_app

    model_app(context.args, prog_name=context.command_path)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)
def broker(context: typer.Context) -> None:
    """Configuration of the production broker, Mosquitto: make it, bring it up to date, check it."""
    from deploy.broker import app as broker_app

    broker_app(context.args, prog_name=context.command_path)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)
def pki(context: typer.Context) -> None:
    """The installation's own certificate authority: issue, renew, revoke, rotate, and what ends soon."""
    from deploy.pki import app as pki_app

    pki_app(context.args, prog_name=context.command_path)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)
def card(context: typer.Context) -> None:
    """SD cards of nodes: write them, fill them, images for Raspberry Pi Imager, labels."""
    from deploy.card.cli import app as card_app

    card_app(context.args, prog_name=context.command_path)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)
def node(context: typer.Context) -> None:
    """On the node's own computer: make it the node of its card."""
    from deploy.node import app as node_app

    node_app(context.args, prog_name=context.command_path)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)
def enrol(context: typer.Context) -> None:
    """Boxes of nodes: one-time tokens, files for cards of offline sites, revoking."""
    from deploy.enrol import app as enrol_app

    enrol_app(context.args, prog_name=context.command_path)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)
def dispatch(context: typer.Context) -> None:
    """The site server: alarms into cases, cases to people; workers and pages."""
    from deploy.dispatch import app as dispatch_app

    _log_to_stderr()
    _end_on_thread_crash()
    dispatch_app(context.args, prog_name=context.command_path)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)
def dashboards(context: typer.Context) -> None:
    """What safety officers look at and print: boards in Grafana, and the monthly report of a site."""
    from deploy.dashboards import app as dashboards_app

    dashboards_app(context.args, prog_name=context.command_path)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)
def release(context: typer.Context) -> None:
    """Releases of the node: make, sign, check, roll out."""
    from deploy.release.cli import app as release_app

    release_app(context.args, prog_name=context.command_path)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)
def server(context: typer.Context) -> None:
    """The site server as a whole: make it, set it up, check it, back it up."""
    from deploy.server.cli import app as server_app

    server_app(context.args, prog_name=context.command_path)


_EXTRAS = {
    "run": "node", "check": "node", "doctor": "node", "node": "node", "demo": "demo", "model": "train", "card": "card",
    "release": "release",
}  # fmt: skip
"""Of each command but those of the server: the extra that brings what it imports."""
_OWN = frozenset(("edge", "broker", "models", "dashboards", "deploy"))
_UNIX = frozenset(("fcntl", "pwd", "grp", "resource"))


def main() -> None:
    """The `banksman` command."""
    try:
        app()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in {"", *_OWN}:  # a bug
            raise
        sys.exit(_lacking(package, sys.argv[1] if len(sys.argv) > 1 else ""))


def _lacking(package: str, command: str) -> int:
    """Says what a part of Banksman needs that was not installed with it; the exit code."""
    from deploy.text import catalogue

    say = catalogue(terminal_language())
    key = "unix" if package in _UNIX else "package"
    return failed(say(f"lacks.{key}", package=package, command=command, extra=_EXTRAS.get(command, "server"))).exit_code
