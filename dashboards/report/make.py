"""From dispatch's settings and InfluxDB to files: all of them, or none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from sqlalchemy import Engine

from dashboards.influxql import Influx
from dashboards.report import ReportError
from dashboards.report.document import Origin, document
from dashboards.report.evidence import contact_sheet, site_facts
from dashboards.report.figures import gather
from dashboards.report.month import Month
from dashboards.report.pdf import as_pdf
from dashboards.report.values import Document
from dashboards.report.xlsx import as_xlsx
from dashboards.text import Language

WRITERS: Final[Mapping[str, Callable[[Document], bytes]]] = {"pdf": as_pdf, "xlsx": as_xlsx}


@dataclass(frozen=True, slots=True)
class Sources:
    """What a report is made from. influx_url: of `influx`; only its host is named. evidence: dispatch's folder."""

    influx: Influx
    influx_url: str
    engine: Engine
    evidence: Path


def compose(
    sources: Sources, site: str, month: str, *, now: float, languages: Sequence[Language] = ()
) -> dict[Language, Document]:
    """The report in each language, or in the site's. month: as `2026-05`; now: Unix s. Raises ReportError."""
    facts = site_facts(sources.engine, site)
    wanted = Month.parse(month, ZoneInfo(facts.time_zone))
    figures = gather(sources.influx, site, facts.nodes, wanted, now)
    sheet = contact_sheet(sources.engine, sources.evidence, site, wanted, until=figures.until)
    origin = Origin(urlsplit(sources.influx_url).hostname or "?", sources.influx.database)
    return {
        language: document(figures, sheet, facts, origin=origin, now=now, language=language)
        for language in languages or (facts.language,)
    }


def write(documents: Mapping[Language, Document], folder: Path, stem: str, kinds: Sequence[str]) -> list[Path]:
    """Files `stem.language.kind` in a folder, which is made; gives them. Raises ReportError."""
    made = {
        folder / f"{stem}.{language}.{kind}": WRITERS[kind](document)
        for language, document in documents.items()
        for kind in kinds
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as beside:
            for path, content in made.items():
                (Path(beside) / path.name).write_bytes(content)
            for path in made:
                os.replace(Path(beside) / path.name, path)  # noqa: PTH105
    except OSError as error:
        raise ReportError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return list(made)
