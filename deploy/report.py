"""`banksman dashboards report`: the monthly report of a site as files. Ends with 2 where there can be none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final, get_args

import typer

from broker.dispatch.clock import SystemClock
from broker.dispatch.database import DatabaseError, open_engine
from broker.dispatch.settings import SettingsError, load
from dashboards.influxql import Influx, InfluxError
from dashboards.report import ReportError
from dashboards.report.make import WRITERS, Sources, compose, write
from dashboards.text import Language
from deploy.terminal import failed

TOKEN: Final = "BANKSMAN_INFLUX_TOKEN"  # noqa: S105 the name of a variable


def report(  # noqa: PLR0917 options
    site: Annotated[str, typer.Argument(metavar="SITE", help="The site's id.")],
    month: Annotated[str, typer.Argument(metavar="MONTH", help="Year and month, as 2026-05, in the site's time zone.")],
    dispatch: Annotated[
        Path, typer.Option(metavar="DISPATCH.yaml", help="Settings of dispatch: its database and evidence are read.")
    ] = Path("dispatch.yaml"),
    influx: Annotated[
        str, typer.Option(envvar="BANKSMAN_INFLUX_URL", help="Address of InfluxDB.")
    ] = "http://127.0.0.1:8086",
    database: Annotated[
        str, typer.Option(envvar="BANKSMAN_INFLUX_DATABASE", help="Its database; `{site}` stands for the site's id.")
    ] = "banksman",
    ca: Annotated[
        Path | None, typer.Option(envvar="BANKSMAN_INFLUX_CA", help="Who signs InfluxDB's certificate (PEM).")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the files go.")] = Path(),
    lang: Annotated[list[str] | None, typer.Option(help="zh-CN or en, or both; by default the site's.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="pdf or xlsx; by default both.")] = None,
) -> None:
    """Write the monthly report of SITE, as PDF to print and as workbook, and say where.

    The token to read InfluxDB is taken from the environment: BANKSMAN_INFLUX_TOKEN. A report that is made again takes
    the place of the one before.
    """
    known = get_args(Language)
    languages = tuple(language for language in known if language in (lang or ()))
    kinds = tuple(k for k in WRITERS if k in (kind or WRITERS))
    if len(languages) != len(set(lang or ())) or len(kinds) != len(set(kind or WRITERS)):
        raise failed(f"--lang takes {' or '.join(known)}; --kind takes {' or '.join(WRITERS)}")
    try:
        settings = load(dispatch)
        engine = open_engine(settings.database.get_secret_value())
        token = os.environ.get(TOKEN, "").strip() or None
        with Influx(influx, database.replace("{site}", site), token, ca) as reader:
            sources = Sources(reader, influx, engine, settings.evidence)
            documents = compose(sources, site, month, now=SystemClock().now(), languages=languages)
        for path in write(documents, out, f"{site}-{month}", kinds):
            typer.echo(path)
    except (SettingsError, DatabaseError, InfluxError, ReportError) as error:
        raise failed(str(error)) from error
