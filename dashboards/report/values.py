"""A report before it is PDF or XLSX: headings, sentences and tables whose cells are values, not texts.

Both writers get the same one, so that a figure cannot differ between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from dashboards.report.evidence import Shot
from dashboards.text import Language


class Kind(StrEnum):
    """What a cell holds; None is always "nothing to tell"."""

    TEXT = "text"  # str
    COUNT = "count"  # int
    MORE = "more"  # int: a difference
    SHARE = "share"  # float, 0 to 1
    POINTS = "points"  # float: the difference of two shares
    DURATION = "duration"  # float: seconds
    LONGER = "longer"  # float: a difference in seconds
    DAY = "day"  # date
    MOMENT = "moment"  # datetime with its zone


Value = str | int | float | date | datetime | None


@dataclass(frozen=True, slots=True)
class Cell:
    kind: Kind
    value: Value


@dataclass(frozen=True, slots=True)
class Table:
    """name: of its sheet in the workbook. columns: headings. most: rows that are printed; the workbook has all."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    most: int = 100
    printed: bool = True


@dataclass(frozen=True, slots=True)
class Caption:
    """A picture of the contact sheet and the lines below it. instead: why there is no picture."""

    shot: Shot
    lines: tuple[str, ...]
    instead: str


@dataclass(frozen=True, slots=True)
class Section:
    """chart: SVG, with its title. notes: a list. apart: begins a page."""

    heading: str
    sentences: tuple[str, ...] = ()
    chart: tuple[str, str] | None = None
    tables: tuple[Table, ...] = ()
    captions: tuple[Caption, ...] = ()
    notes: tuple[str, ...] = ()
    apart: bool = False

    @property
    def goes_on(self) -> bool:
        """Whether something is printed that its sentences must not be parted from."""
        return bool(self.chart or self.captions or any(table.printed and table.rows for table in self.tables))


@dataclass(frozen=True, slots=True)
class Document:
    """facts: name and text. warnings: what whoever reads on must know first."""

    language: Language
    title: str
    site: str
    made_at: datetime
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]
    footer: str
