"""Cases as CSV and XLSX: opened by the office in a spreadsheet, so that no cell may be a formula."""

from __future__ import annotations

import csv
import io
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import IO, Any
from zoneinfo import ZoneInfo

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell

from broker.dispatch.tables import Case
from broker.dispatch.web.words import Words

COLUMNS = (
    "id", "site", "site_name", "time_zone", "node", "source", "place", "rule", "rule_name", "clause", "severity",
    "state", "alarm_state", "reason", "subjects_peak", "alarms", "first_seen", "opened_at", "cleared_at", "assigned_at",
    "review_s", "owner", "resolved_at", "result", "answered_at", "answer", "closed_at", "close_s",
    "false_alarm_reason", "reopened", "late", "unverified", "hold", "important", "ledger_lines", "ledger_head",
)  # fmt: skip
MOST_XLSX = 20_000
"""Rows of a workbook; CSV has no limit."""
_FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]|[\t\r\n]")
_LATER = re.compile(r"([;|\t\r\n]\s*)(?=[=+\-@＝＋－＠])")
"""Where a program that takes another separator than ours would begin a cell."""
_NOT_IN_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")

Value = str | int | float | datetime | None


def row(case: Case, words: Words) -> list[Value]:
    """In the order of `COLUMNS`. Times are the site's local ones; durations are seconds."""
    known = words.sites.get(case.site)
    zone = ZoneInfo(known.time_zone if known else "UTC")

    def local(at: float | None) -> datetime | None:
        return None if at is None else datetime.fromtimestamp(int(at), zone).replace(tzinfo=None)

    def since(start: float, end: float | None) -> int | None:
        return None if end is None else round(end - start)

    return [
        case.id, case.site, words.site(case.site), zone.key, case.node, case.source, case.place, case.rule,
        words.rule(case.rule), ", ".join(case.clause), words.severity(case.severity), words.state(case.state),
        words.text(f"web.alarm_state.{case.alarm_state}"), words.reason(case.reason), case.subjects_peak, case.alarms,
        local(case.first_seen), local(case.opened_at), local(case.cleared_at), local(case.assigned_at),
        since(case.review_from, case.assigned_at), words.person(case.owner), local(case.resolved_at), case.result,
        local(case.answered_at), case.answer, local(case.closed_at), since(case.opened_at, case.closed_at),
        case.false_alarm_reason, case.reopened, int(case.late), int(case.unverified), int(case.hold),
        int(case.important), case.ledger_n, case.ledger_head,
    ]  # fmt: skip


def _plain(value: Value) -> str | int | float:
    """For CSV: what a spreadsheet would take for a formula gets an apostrophe before it."""
    match value:
        case None:
            return ""
        case str():
            value = _LATER.sub(r"\1'", value)
            return f"'{value}" if _FORMULA.match(value) else value
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}"
        case _:
            return value


def as_csv(headings: Sequence[str], rows: Iterable[Sequence[Value]]) -> Iterator[bytes]:
    """UTF-8 with a byte order mark, without which Excel shows Chinese as rubbish; RFC 4180."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    buffer.write("\ufeff")
    writer.writerow(headings)
    for values in rows:
        writer.writerow([_plain(value) for value in values])
        if buffer.tell() > 65536:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode()


def plain_text(sheet: Any, value: str) -> Any:
    """A cell of a workbook that is a text, whatever it begins with."""
    made = WriteOnlyCell(sheet, value=_NOT_IN_XML.sub("", value))
    made.data_type = "s"
    made.quotePrefix = _FORMULA.match(value) is not None  # stays a text when somebody edits the cell
    return made


def as_xlsx(headings: Sequence[str], rows: Iterable[Sequence[Value]], title: str) -> IO[bytes]:
    """A workbook in a temporary file, at its beginning; texts are texts, whatever they begin with."""
    book = Workbook(write_only=True)
    sheet = book.create_sheet(title)
    sheet.freeze_panes = "A2"

    def cell(value: Value) -> Any:
        return plain_text(sheet, value) if isinstance(value, str) else value

    sheet.append([cell(heading) for heading in headings])
    for values in rows:
        sheet.append([cell(value) for value in values])
    file = tempfile.TemporaryFile()  # noqa: SIM115 handed on to whoever sends it
    book.save(file)
    file.seek(0)
    return file
