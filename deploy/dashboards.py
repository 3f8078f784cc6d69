"""`banksman dashboards …`: boards in Grafana, printed reports. Ends with 1 where a person is needed, 2 for bad input.

Addresses may come from the environment as well; tokens come from there or from a file only.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from math import isfinite
from pathlib import Path
from typing import Annotated, Final, get_args, get_type_hints
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from broker.addresses import is_web_address
from broker.dispatch.text import Catalogue
from dashboards.alerts import Contact
from dashboards.boards import BOARDS
from dashboards.boards.sensors import DEFAULTS as LIMITS
from dashboards.check import Grade
from dashboards.check import check as findings
from dashboards.compare import ordered, shown
from dashboards.faults import PushError, told
from dashboards.grafana import Grafana, GrafanaError
from dashboards.panels import DEFAULT, Setup
from dashboards.push import Found, Item, Result, Source, State, Wanted, plan
from dashboards.push import pull as pulled
from dashboards.push import push as pushed
from dashboards.render import boards, provisioning
from dashboards.text import Language, catalogue
from deploy.report import report
from deploy.terminal import failed, language_of

TOKEN: Final = "BANKSMAN_GRAFANA_TOKEN"  # noqa: S105 the name of a variable
INFLUX_TOKEN: Final = "BANKSMAN_INFLUX_TOKEN"  # noqa: S105
_MARKS: Final = {Grade.OK: "✓", Grade.WARN: "!", Grade.BAD: "✗"}
_KINDS: Final[tuple[str, ...]] = get_args(get_type_hints(Contact)["kind"])
_LIMITS: Final = " ".join(
    f"{quantity}={','.join(f'{mark:g}' for mark in known.marks)}" for quantity, known in LIMITS.items()
)

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)
app.command()(report)

Url = Annotated[str, typer.Option("--grafana", envvar="BANKSMAN_GRAFANA_URL", help="Address of Grafana.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        envvar="BANKSMAN_GRAFANA_TOKEN_FILE",
        help=f"Holds the token of a Grafana service account; by default it is in {TOKEN}.",
    ),
]
Ca = Annotated[Path | None, typer.Option(envvar="BANKSMAN_GRAFANA_CA", help="Who signs Grafana's certificate (PEM).")]
Spoken = Annotated[str, typer.Option("--lang", help="zh-CN or en; by default that of this terminal.")]
BoardsLanguage = Annotated[
    str, typer.Option("--boards", envvar="BANKSMAN_BOARDS_LANG", help="Language of boards and rules: zh-CN or en.")
]
Dispatch = Annotated[
    str,
    typer.Option("--dispatch-url", envvar="BANKSMAN_DISPATCH_URL", help="Address by which people reach dispatch."),
]
Zone = Annotated[str, typer.Option(envvar="BANKSMAN_ZONE", help="Time zone by which days are cut.")]
Limits = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        envvar="BANKSMAN_LIMITS",
        help=f"Limits of sensors as the site has confirmed them, QUANTITY=NUMBERS, rising; repeatable. By default "
        f"{_LIMITS}, which nobody has confirmed.",
    ),
]
Contacts = Annotated[
    list[str] | None,
    typer.Option(
        "--contact",
        envvar="BANKSMAN_CONTACTS",
        help=f"Who looks after the server, as KIND:ADDRESS, KIND being {', '.join(_KINDS)}; repeatable. By default "
        "those in Grafana stay.",
    ),
]
Influx = Annotated[
    str | None,
    typer.Option(
        envvar="BANKSMAN_INFLUX_URL",
        help="Address by which Grafana reaches InfluxDB; by default what Grafana has stays. The token to read it is "
        f"taken from {INFLUX_TOKEN}.",
    ),
]
Database = Annotated[str, typer.Option(envvar="BANKSMAN_INFLUX_DATABASE", help="Its database.")]
InfluxCa = Annotated[
    Path | None, typer.Option(envvar="BANKSMAN_INFLUX_CA", help="Who signs InfluxDB's certificate (PEM).")
]
Secrets = Annotated[
    bool, typer.Option("--secrets", help="Send tokens and addresses of robots again, which cannot be compared.")
]
GRAFANA: Final = "http://127.0.0.1:3000"


@app.command()
def push(
    *,
    dispatch: Dispatch,
    grafana: Url = GRAFANA,
    token_file: TokenFile = None,
    ca: Ca = None,
    language: BoardsLanguage = "zh-CN",
    zone: Zone = DEFAULT.zone,
    limit: Limits = None,
    influx: Influx = None,
    database: Database = "banksman",
    influx_ca: InfluxCa = None,
    contact: Contacts = None,
    secrets: Secrets = False,
    yes: Annotated[bool, typer.Option("--yes", help="Overwrite what was changed by hand without asking.")] = False,
    lang: Spoken = "",
) -> None:
    """Bring folder, data source, boards, contact points and alert rules into Grafana.

    Only what differs is written. What somebody has changed in Grafana is shown and asked about first. If it breaks off,
    run it again.
    """
    spoken = _spoken(lang)
    text = catalogue(spoken)
    with _told(spoken):
        source = _source(influx, database, influx_ca, text)
        setup = _setup(dispatch, zone, limit, text)
        wanted = Wanted(_of_boards(language), setup, source, _contacts(contact, text), secrets)
        with _connected(grafana, token_file, ca, wanted, text) as connected:
            planned = plan(connected, wanted)
            outcomes = []
            for outcome in pushed(connected, planned, lambda i, f: _overwrite(i, f, text, yes=yes)):
                outcomes.append(outcome)
                _line(outcome.item, text(f"push.result.{outcome.result}"), text)
                if outcome.error is not None:
                    typer.echo(f"  {told(outcome.error, spoken)}")
            if any(found.unseen for _, found in planned) and (source is None or source.token or contact):
                typer.echo(text("push.unseen"))
    kept = sum(outcome.result is Result.KEPT for outcome in outcomes)
    left = sum(not outcome.done for outcome in outcomes) - kept
    if kept:
        typer.echo(text("push.kept", count=kept))
    if left:
        typer.echo(text("push.not_all", count=left))
    if kept or left:
        raise typer.Exit(1)
    typer.echo(text("push.all_done", url=grafana))


@app.command()
def diff(
    *,
    dispatch: Dispatch,
    grafana: Url = GRAFANA,
    token_file: TokenFile = None,
    ca: Ca = None,
    language: BoardsLanguage = "zh-CN",
    zone: Zone = DEFAULT.zone,
    limit: Limits = None,
    influx: Influx = None,
    database: Database = "banksman",
    influx_ca: InfluxCa = None,
    contact: Contacts = None,
    lang: Spoken = "",
) -> None:
    """Show what `push` would change, and change nothing. Ends with 1 where something differs."""
    spoken = _spoken(lang)
    text = catalogue(spoken)
    with _told(spoken):
        source = _source(influx, database, influx_ca, text)
        wanted = Wanted(_of_boards(language), _setup(dispatch, zone, limit, text), source, _contacts(contact, text))
        with _connected(grafana, token_file, ca, wanted, text) as connected:
            planned = plan(connected, wanted)
    differ = 0
    for item, found in planned:
        _line(item, text(f"push.state.{found.state}"), text)
        if found.error is not None:
            typer.echo(f"  {told(found.error, spoken)}")
        _changes(found, text)
        differ += found.state not in (State.SAME, State.FILE) or found.error is not None
    typer.echo(text("push.differs", count=differ) if differ else text("push.all_done", url=grafana))
    raise typer.Exit(1 if differ else 0)


@app.command()
def pull(
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the files go, each named by its board's uid.")],
    uids: Annotated[list[str] | None, typer.Argument(metavar="[UID]...", help="Boards; by default all.")] = None,
    *,
    grafana: Url = GRAFANA,
    token_file: TokenFile = None,
    ca: Ca = None,
    lang: Spoken = "",
) -> None:
    """Bring boards back from Grafana as JSON, in the order of `render`, to compare or keep."""
    spoken = _spoken(lang)
    text = catalogue(spoken)
    for uid in uids or ():
        if uid not in BOARDS:
            raise failed(text("push.unknown_board", uid=uid, known=", ".join(BOARDS)))
    lacking = False
    with _told(spoken), _connected(grafana, token_file, ca, None, text) as connected:
        ours = boards("en")
        for uid in uids or BOARDS:
            try:
                board = pulled(connected, uid)
            except PushError as error:
                typer.echo(f"{uid}: {told(error, spoken)}", err=True)
                lacking = True
                continue
            if board is None:
                typer.echo(text("push.pulled_none", uid=uid), err=True)
                lacking = True
                continue
            out.mkdir(parents=True, exist_ok=True)
            path = out / f"{uid}.json"
            in_order = ordered(board, ours[uid])
            path.write_text(json.dumps(in_order, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            typer.echo(path)
    raise typer.Exit(1 if lacking else 0)


@app.command()
def check(
    grafana: Url = GRAFANA,
    token_file: TokenFile = None,
    ca: Ca = None,
    lang: Spoken = "",
) -> None:
    """Say why boards show no figures: address, TLS, token, version, boards, data source, InfluxDB; and what to do."""
    spoken = _spoken(lang)
    bad = False
    with _told(spoken), _connected(grafana, token_file, ca, None, catalogue(spoken)) as connected:
        for finding in findings(connected):
            found, do = finding.told(spoken)
            typer.echo(f"{_MARKS[finding.grade]} {found}")
            if do:
                typer.echo(f"  → {do}")
            bad = bad or finding.grade is Grade.BAD
    raise typer.Exit(1 if bad else 0)


@app.command()
def render(
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="To be /etc/grafana/provisioning.")],
    *,
    dispatch: Dispatch,
    language: BoardsLanguage = "zh-CN",
    zone: Zone = DEFAULT.zone,
    limit: Limits = None,
    contact: Contacts = None,
    lang: Spoken = "",
) -> None:
    """Write the same as files that Grafana reads when it starts. Addresses and tokens of InfluxDB are not in them."""
    spoken = _spoken(lang)
    text = catalogue(spoken)
    with _told(spoken):
        setup = _setup(dispatch, zone, limit, text)
        for path in provisioning(out, _of_boards(language), setup, _contacts(contact, text)):
            typer.echo(path)


@contextmanager
def _told(language: Language) -> Iterator[None]:
    try:
        yield
    except (GrafanaError, PushError) as error:
        raise failed(told(error, language)) from None
    except OSError as error:
        raise failed(str(error)) from error


@contextmanager
def _connected(
    url: str, token_file: Path | None, ca: Path | None, wanted: Wanted | None, text: Catalogue
) -> Iterator[Grafana]:
    """wanted: what no message may show is in it."""
    secrets = []
    if wanted is not None:
        secrets = [contact.address for contact in wanted.contacts if contact.kind != "email"]
        secrets += [wanted.source.token] if wanted.source is not None and wanted.source.token else []
    with Grafana(url, _token(token_file, text), ca, secrets=secrets) as grafana:
        yield grafana


def _token(file: Path | None, text: Catalogue) -> str:
    if file is None:
        token = os.environ.get(TOKEN, "").strip()
    else:
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else type(error).__name__  # the other shows the bytes
            raise failed(text("push.token_file", path=file, why=why)) from None
    if not token:
        raise failed(text("push.token_none"))
    return token


def _source(url: str | None, database: str, ca: Path | None, text: Catalogue) -> Source | None:
    if url is None:
        return None
    try:
        pem = ca.read_text(encoding="ascii") if ca is not None else ""
    except (OSError, UnicodeDecodeError) as error:
        raise failed(text("push.ca_file", path=ca, why=error)) from error
    return Source(_web_address("--influx", url, text), database, os.environ.get(INFLUX_TOKEN, "").strip() or None, pem)


def _setup(dispatch: str, zone: str, limits: Sequence[str] | None, text: Catalogue) -> Setup:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise failed(text("push.zone", zone=zone)) from None
    marks = dict(_limit(one, text) for one in limits or ())
    return Setup(dispatch=_web_address("--dispatch-url", dispatch, text), zone=zone, limits=marks)


def _limit(given: str, text: Catalogue) -> tuple[str, tuple[float, ...]]:
    quantity, _, numbers = given.partition("=")
    try:
        marks = tuple(float(number) for number in numbers.split(","))
        good = len(marks) == len(LIMITS[quantity].marks) and all(map(isfinite, marks))
    except (ValueError, KeyError):
        good = False
    if not good or list(marks) != sorted(set(marks)):
        raise failed(text("push.limit_shape", given=given, known=_LIMITS))
    return quantity, marks


def _web_address(name: str, url: str, text: Catalogue) -> str:
    """Without a slash at its end. It is not repeated where it is wrong: there may be a password in it."""
    if not is_web_address(url):
        raise failed(text("push.web_address", name=name))
    return url.rstrip("/")


def _contacts(given: Sequence[str] | None, text: Catalogue) -> tuple[Contact, ...]:
    contacts = []
    for one in given or ():
        kind, _, address = one.partition(":")
        for known in _KINDS:
            if kind == known and address:
                contacts.append(Contact(known, address))  # type: ignore[arg-type]
                break
        else:
            raise failed(text("push.contact_shape", kinds=", ".join(_KINDS)))
    return tuple(contacts)


def _overwrite(item: Item, found: Found, text: Catalogue, *, yes: bool) -> bool:
    _line(item, text(f"push.state.{found.state}"), text)
    _changes(found, text)
    if yes:
        return True
    if not sys.stdin.isatty():
        typer.echo(f"  {text('push.nobody')}")
        return False
    typer.echo(f"{text('push.ask', title=item.title)} [y/N] ", nl=False)
    return sys.stdin.readline().strip().lower() in ("y", "yes", "是")


def _changes(found: Found, text: Catalogue) -> None:
    if found.changes:
        typer.echo(f"  {text('push.legend')}")
    for change in found.changes:
        typer.echo(f"  {' › '.join(change.where)}")
        for line in shown(change):
            typer.echo(f"    {line}")


def _line(item: Item, what: str, text: Catalogue) -> None:
    typer.echo(text("push.line", kind=text(f"push.kind.{item.kind}"), title=item.title, what=what))


def _spoken(asked: str) -> Language:
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without Chinese or arrows shows ? instead
    return _of_boards(language_of(asked))


def _of_boards(language: str) -> Language:
    return "zh-CN" if language_of(language) == "zh-CN" else "en"
