"""The report as a workbook: a sheet a table, real numbers and dates. Texts are texts, whatever they begin with."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any, Final

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Alignment, Font
from openpyxl.utils import get_column_letter

from broker.dispatch.web.export import plain_text
from dashboards.report.values import Cell, Document, Kind
from dashboards.text import catalogue

_DAY_S: Final = 86_400
_HOUR_S: Final = 3_600
_POINTS: Final = 100
_FORMATS: Final = {
    Kind.COUNT: "0",
    Kind.MORE: "+0;-0;0",
    Kind.SHARE: "0.00%",
    Kind.POINTS: '+0.00" pp";-0.00" pp";0.00" pp"',
    Kind.DURATION: "[h]:mm:ss",
    Kind.LONGER: '+0.00" h";-0.00" h";0.00" h"',
    Kind.DAY: "yyyy-mm-dd",
    Kind.MOMENT: "yyyy-mm-dd hh:mm",
}
_LEAST: Final = 0.00005
"""Half of the last digit of a share."""
_WIDTHS: Final = {Kind.TEXT: 30.0, Kind.MOMENT: 17.0}


def as_xlsx(document: Document) -> bytes:
    """Durations are days, as spreadsheets have them (shown as h:mm:ss); differences of durations are hours, because a
    negative duration cannot be shown; differences of shares are percentage points. Moments are the site's local ones.
    """
    book = Workbook(write_only=True)
    book.properties.title = document.title
    book.properties.created = document.made_at.astimezone(UTC).replace(tzinfo=None)
    _notes(book, document)
    for section in document.sections:
        for table in section.tables:
            sheet = book.create_sheet(table.name)
            sheet.freeze_panes = "B2"
            kinds = [cell.kind for cell in table.rows[0]] if table.rows else [Kind.TEXT] * len(table.columns)
            for number, kind in enumerate(kinds, 1):
                sheet.column_dimensions[get_column_letter(number)].width = _WIDTHS.get(kind, 14.0)
            sheet.append([_heading(sheet, heading) for heading in table.columns])
            for row in table.rows:
                sheet.append([_cell(sheet, cell) for cell in row])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _notes(book: Workbook, document: Document) -> None:
    """The first sheet: what this is, and everything that is said in sentences."""
    sheet = book.create_sheet(catalogue(document.language)("report.table.notes"))
    sheet.column_dimensions["A"].width = 18
    sheet.column_dimensions["B"].width = 110
    sheet.append([_heading(sheet, document.title)])
    for pair in document.facts:
        sheet.append([_text(sheet, text) for text in pair])
    for warning in document.warnings:
        sheet.append(["", _heading(sheet, warning)])
    for section in document.sections:
        sheet.append([])
        sheet.append([_heading(sheet, section.heading)])
        for text in (*section.sentences, *section.notes):
            sheet.append(["", _text(sheet, text)])


def _heading(sheet: Any, text: str) -> Any:
    made = _text(sheet, text)
    made.font = Font(bold=True)
    return made


def _text(sheet: Any, text: str) -> Any:
    made = plain_text(sheet, text)
    made.alignment = Alignment(wrap_text=True, vertical="top")
    return made


def _cell(sheet: Any, cell: Cell) -> Any:
    if cell.value is None:
        return None
    if cell.kind is Kind.TEXT:
        return plain_text(sheet, str(cell.value))
    made = WriteOnlyCell(sheet, value=_number(cell))
    made.number_format = _format(cell)
    return made


def _format(cell: Cell) -> str:
    """The value stays exact, but is not shown as 0 or 100 % where it is neither."""
    match cell.kind, cell.value:
        case Kind.SHARE, float() as value if 0 < value < _LEAST:
            return '"< 0.01%"'
        case Kind.SHARE, float() as value if 1 - _LEAST < value < 1:
            return '"> 99.99%"'
    return _FORMATS[cell.kind]


def _number(cell: Cell) -> Any:
    match cell.kind, cell.value:
        case Kind.DURATION, float() | int() as seconds:
            return seconds / _DAY_S
        case Kind.LONGER, float() | int() as seconds:
            return seconds / _HOUR_S
        case Kind.POINTS, float() | int() as difference:
            return difference * _POINTS
        case Kind.MOMENT, datetime() as moment:
            return moment.replace(tzinfo=None)
        case _, value:
            return value
