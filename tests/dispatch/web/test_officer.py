"""The safety officer: ledger, filters, export, chain, hand-over; evidence for those who may see it."""

from __future__ import annotations

import csv
import html
import io
import re
from datetime import date

import pytest
from openpyxl import load_workbook
from sqlalchemy import select, update

from broker.dispatch import ledger
from broker.dispatch.database import reading, transaction
from broker.dispatch.tables import Audit, Ledger, LedgerDay, Role, Shift
from broker.dispatch.web import export
from tests.dispatch.web.builders import Bench, clip, jpeg

DAY_S = 86_400.0


def found(bench: Bench, query: str, cases: dict[str, str], login: str = "chen") -> set[str]:
    page = bench.logged_in(login).get(f"/ledger?{query}")
    assert page.status_code == 200, page.text[-300:]
    return {name for name, case in cases.items() if case in page.text}


def test_filters_narrow_the_ledger_down(bench: Bench) -> None:
    cases = {"old": bench.case(rule="barrier")}
    bench.clock.advance(3 * DAY_S)
    cases |= {"mine": bench.case(), "south": bench.case("south", "pump-1"), "new": bench.case(rule="barrier")}
    bench.logged_in("wang").submit(f"/cases/{cases['mine']}/take")
    for query, expected in {
        "": {"old", "mine", "south", "new"},
        "site=north": {"old", "mine", "new"},
        "site=south": {"south"},
        "rule=barrier": {"old", "new"},
        "rule=barrier&start=2026-09-22": {"new"},
        "end=2026-09-21": {"old"},  # START is the 21st in Shanghai
        "start=2026-09-21&end=2026-09-21": {"old"},
        "state=assigned": {"mine"},
        f"person={bench.foreman}": {"mine"},
        "overdue=1": {"old"},
        "site=nowhere": set(),
    }.items():
        assert found(bench, query, cases) == expected, query


def test_what_was_taken_too_late_stays_found(bench: Bench) -> None:
    cases = {"in-time": bench.case(), "late": bench.case(), "never": bench.case()}
    foreman = bench.logged_in("wang")
    bench.clock.advance(300)
    foreman.submit(f"/cases/{cases['in-time']}/take")
    bench.clock.advance(1)
    foreman.submit(f"/cases/{cases['late']}/take")
    assert found(bench, "overdue=1", cases) == {"late", "never"}


@pytest.mark.parametrize("query", ["start=yesterday", "state=lost", "end=2026-13-01", "site=%27--", "page=0", "page=x"])
def test_a_filter_that_makes_no_sense_is_told(bench: Bench, query: str) -> None:
    assert bench.logged_in("chen").get(f"/ledger?{query}").status_code == 422


def test_only_officers_see_the_ledger_and_only_of_their_sites(bench: Bench) -> None:
    cases = {"north": bench.case(), "south": bench.case("south", "pump-1")}
    for login in ("wang", "zhao", "root", "smith"):
        for path in ("/ledger", "/ledger.csv", "/ledger.xlsx", "/handover"):
            assert bench.logged_in(login).get(path).status_code == 403, (login, path)
    bench.person("only-south", "Jones", ("south", Role.OFFICER))
    assert found(bench, "", cases, "only-south") == {"south"}
    assert found(bench, "site=north", cases, "only-south") == set()
    assert "north" not in bench.logged_in("only-south").get("/ledger.csv?site=north").text
    assert bench.logged_in("only-south").get("/handover?site=north").status_code == 404


def test_pages_of_the_ledger_hold_every_case_once(bench: Bench) -> None:
    cases = [bench.case() for _ in range(53)]
    officer = bench.logged_in("chen")
    pages = [officer.get(f"/ledger?page={n}").text for n in (1, 2)]
    shown = [sum(f'href="/cases/{case}?' in page for page in pages) for case in cases]
    assert shown == [1] * 53


HOSTILE = ["=1+1", "+1", "-1+cmd|' /C calc'!A0", "@SUM(1)", "＝1", "\t=1", 'a,b"c\nd', "普通文字"]


def exported(bench: Bench) -> None:
    for text in HOSTILE:
        case = bench.case()
        officer = bench.logged_in("chen")
        officer.submit(f"/cases/{case}/false_alarm", {"text": text})


def test_csv_opens_in_a_spreadsheet_and_runs_nothing(bench: Bench) -> None:
    exported(bench)
    answer = bench.logged_in("chen").get("/ledger.csv", headers={"Accept-Language": "zh-CN"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="cases.csv"'
    assert answer.content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert len(rows) == len(HOSTILE)
    told = {row["Why false"] for row in rows}
    assert "普通文字" in told
    assert 'a,b"c\nd' in told
    for row in rows:
        for value in row.values():
            assert not value.startswith(("=", "+", "-", "@", "\t", "\r", "＝")), value
    assert rows[0]["Received"] == "2026-09-21 22:13:20"
    assert rows[0]["Name of the site"] == "北苑路抢修"


def test_a_workbook_holds_texts_where_texts_were(bench: Bench) -> None:
    exported(bench)
    answer = bench.logged_in("chen").get("/ledger.xlsx")
    book = load_workbook(io.BytesIO(answer.content))
    rows = list(book[book.sheetnames[0]].iter_rows())
    assert len(rows) == len(HOSTILE) + 1
    assert {cell.data_type for row in rows for cell in row} <= {"s", "inlineStr", "n", "d"}  # no formula
    column = [cell.value for cell in rows[0]].index("Why false")
    assert {row[column].value for row in rows[1:]} == {text.strip() for text in HOSTILE}


def test_exports_obey_the_filters(bench: Bench) -> None:
    bench.case()
    barrier = bench.case(rule="barrier")
    text = bench.logged_in("chen").get("/ledger.csv?rule=barrier").text
    assert text.count("\r\n") == 2
    assert barrier in text


def test_too_much_for_a_workbook_is_said_instead_of_cut(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "MOST_XLSX", 2)
    for _ in range(3):
        bench.case()
    officer = bench.logged_in("chen")
    assert officer.get("/ledger.xlsx").status_code == 422
    assert officer.get("/ledger.csv").text.count("\r\n") == 4


def test_a_changed_ledger_is_seen(bench: Bench) -> None:
    case = bench.case()
    bench.logged_in("wang").submit(f"/cases/{case}/note", {"text": "as it was"})
    officer = bench.logged_in("chen")
    assert "All 2 lines are as they were written" in officer.get(f"/cases/{case}?verify=1").text
    with transaction(bench.engine) as db:
        db.execute(update(Ledger).where(Ledger.case == case, Ledger.n == 2).values(detail={"text": "as it suits"}))
    page = officer.get(f"/cases/{case}?verify=1").text
    assert "line 2 was changed" in page


def test_the_handover_of_the_shift_that_ended(bench: Bench) -> None:
    with transaction(bench.engine) as db:
        db.add(Shift(id="day", site="north", name="白班", start=480, end=1200))
        db.add(Shift(id="night", site="north", name="夜班", start=1200, end=480))
    left, done = bench.case(place="trench"), bench.case()  # 22:13, in the night shift
    bench.logged_in("chen").submit(f"/cases/{done}/false_alarm", {"text": "a shadow"})
    officer = bench.logged_in("chen")
    assert "still runs" in officer.get("/handover?site=north&shift=2026-09-21.night").text
    bench.clock.advance(12 * 3600)
    officer = bench.logged_in("chen")
    page = officer.get("/handover?site=north").text
    assert f'href="/cases/{left}"' in page
    assert "a shadow" in page
    assert "still runs" not in page
    day = officer.get("/handover?site=north&shift=2026-09-21.day").text
    assert left not in day


# -- evidence ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("login", "code"), [("wang", 200), ("chen", 200), ("zhao", 200), ("root", 200), ("smith", 404), (None, 401)]
)
def test_evidence_is_for_those_with_a_role_on_its_site(bench: Bench, login: str | None, code: int) -> None:
    alarm = bench.alarm()
    sha256 = bench.keep(alarm, jpeg())
    reader = bench.logged_in(login) if login else bench.reader()
    reader.headers["Accept"] = "image/*"
    assert reader.get(f"/evidence/{alarm}/{sha256}").status_code == code
    assert reader.get(f"/evidence/{alarm}/{sha256}?small=1").status_code == code


@pytest.mark.parametrize(("login", "code"), [("zhao", 200), ("smith", 404), (None, 401)])
def test_a_board_of_the_same_host_shows_a_cases_newest_picture_to_those_who_may(
    bench: Bench, login: str | None, code: int
) -> None:
    alarm = bench.alarm()
    case = bench.case_of(alarm).id
    reader = bench.logged_in(login) if login else bench.reader()
    reader.headers["Accept"] = "image/*"
    assert reader.get(f"/cases/{case}/picture").status_code == (404 if login else 401), "none has come yet"
    bench.keep(alarm, jpeg())
    shown = reader.get(f"/cases/{case}/picture")
    assert shown.status_code == code
    if login == "zhao":
        assert shown.headers["content-type"] == "image/jpeg"
        assert shown.headers["cross-origin-resource-policy"] == "same-site"
        assert reader.get(f"/cases/{case}").headers["cross-origin-resource-policy"] == "same-origin"


def test_evidence_comes_as_what_it_is_and_clips_in_parts(bench: Bench) -> None:
    alarm = bench.alarm()
    picture, film = bench.keep(alarm, jpeg()), bench.keep(alarm, clip(), "clip")
    reader = bench.logged_in("wang")
    whole = reader.get(f"/evidence/{alarm}/{picture}")
    assert (whole.headers["content-type"], whole.headers["x-content-type-options"]) == ("image/jpeg", "nosniff")
    assert whole.headers["cache-control"].startswith("private")
    assert whole.content == jpeg()
    part = reader.get(f"/evidence/{alarm}/{film}", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, clip()[10:20])
    assert part.headers["content-type"] == "video/mp4"
    assert part.headers["content-range"] == f"bytes 10-19/{len(clip())}"


def test_evidence_that_expired_is_gone(bench: Bench) -> None:
    alarm = bench.alarm()
    sha256 = bench.keep(alarm, jpeg())
    bench.logged_in("chen").submit(f"/cases/{bench.case_of(alarm).id}/false_alarm", {"text": "nothing"})
    bench.clock.advance(31 * DAY_S)
    with transaction(bench.engine) as db:
        assert bench.store.expire(db, bench.clock.now()) == 1
    assert bench.logged_in("wang").get(f"/evidence/{alarm}/{sha256}").status_code == 410


@pytest.mark.parametrize(
    "path",
    [
        "/evidence/../dispatch.db/{h}",
        "/evidence/..%2f..%2fdispatch.db/{h}",
        "/evidence/{a}/..%2f..%2f..%2fdispatch.db",
        "/evidence/{a}/{h}%00",
        "/evidence/{a}/{u}",
        "/static/..%2fapp.py",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
    ],
)
def test_no_address_leads_out_of_the_store(bench: Bench, path: str) -> None:
    alarm = bench.alarm()
    sha256 = bench.keep(alarm, jpeg())
    address = path.format(a=alarm, h=sha256, u=sha256.upper())
    assert bench.logged_in("wang").get(address).status_code == 404


def test_an_alarm_of_the_same_id_from_another_node_shows_nothing_of_the_first(bench: Bench) -> None:
    alarm = bench.alarm()
    bench.keep(alarm, jpeg())
    bench.alarm("south", "pump-1", alarm=alarm)
    page = bench.logged_in("smith").get("/open").text
    assert "/cases/" in page
    assert "/evidence/" not in page


@pytest.mark.parametrize(("login", "code"), [("chen", 200), ("root", 200), ("wang", 403), ("zhao", 403)])
def test_who_may_have_the_whole_ledger_checked(bench: Bench, login: str, code: int) -> None:
    bench.case()
    answer = bench.logged_in(login).get("/ledger/check")
    assert answer.status_code == code
    assert ("1 cases with 1 lines" in answer.text) == (code == 200)


def test_the_page_names_broken_cases_of_ones_own_sites_and_broken_days(bench: Bench) -> None:
    cases = {"north": bench.case(), "south": bench.case("south", "pump-1")}
    bench.person("only-south", "Jones", ("south", Role.OFFICER))
    with transaction(bench.engine) as db:
        ledger.close_day(db, date(2026, 9, 21))
        db.execute(update(Ledger).values(actor="bo"))
        db.execute(update(LedgerDay).values(cases=7))
    for login, named in {"root": {"north", "south"}, "only-south": {"south"}}.items():
        page = bench.logged_in(login).get("/ledger/check").text
        assert {name for name, case in cases.items() if case in page} == named
        assert "the ledger of 2026-09-21 is not what it was" in page
    for login, path in (("root", "/admin/audit"), ("chen", "/ledger")):
        assert 'href="/ledger/check"' in bench.logged_in(login).get(path).text


def test_more_filters(bench: Bench) -> None:
    names = ("held", "important", "false", "reopened", "plain")
    cases = {name: bench.case(severity="warning") for name in names}
    cases["late"] = bench.case(severity="info", age_s=3600.0)
    cases["critical"] = bench.case(severity="critical")
    officer = bench.logged_in("chen")
    officer.submit(f"/cases/{cases['held']}/hold", {"on": "1"})
    officer.submit(f"/cases/{cases['important']}/important", {"on": "1"})
    officer.submit(f"/cases/{cases['false']}/false_alarm", {"text": "a shadow"})
    officer.submit(f"/cases/{cases['reopened']}/false_alarm", {"text": "a shadow"})
    officer.submit(f"/cases/{cases['reopened']}/dissatisfied", {"text": "no"})
    for query, expected in {
        "hold=1": {"held"},
        "important=1": {"important"},
        "false_alarm=1": {"false"},
        "reopened=1": {"reopened"},
        "late=1": {"late"},
        "severity=critical": {"critical"},
        "severity=info": {"late"},
        f"case={cases['plain']}": {"plain"},
        f"case={bench.now(cases['plain']).alarm}": {"plain"},
        "case=%25": None,
        "case=_": set(),
        "hold=1&important=1": set(),
        "severity=awful": None,
    }.items():
        if expected is None:
            assert officer.get(f"/ledger?{query}").status_code == 422, query
        else:
            assert found(bench, query, cases) == expected, query


def test_the_way_back_from_a_case_keeps_the_filters(bench: Bench) -> None:
    case = bench.case(rule="barrier")
    officer = bench.logged_in("chen")
    link = re.search(rf'href="(/cases/{case}[^"]*)"', officer.get("/ledger?rule=barrier&severity=critical").text)
    assert link is not None
    at = html.unescape(link[1])
    back = '<a class="back" href="/ledger?rule=barrier&amp;severity=critical&amp;page=1">'
    assert back in officer.get(at).text
    token = {"csrf": officer.token(at), "text": "a remark", "ledger": "rule=barrier&severity=critical&page=1"}
    after = officer.post(f"/cases/{case}/note", data=token).headers["location"]
    assert back in officer.get(after).text


@pytest.mark.parametrize("ledger", ["//evil.example", "rule=barrier", "page=x", "page=1&rule=%22onload", "page=1&x=y"])
def test_the_way_back_leads_to_the_ledger_only(bench: Bench, ledger: str) -> None:
    case = bench.case()
    page = bench.logged_in("chen").get(f"/cases/{case}", params={"ledger": ledger}).text
    back = re.search(r'<a class="back" href="([^"]*)"', page)
    assert back is not None
    assert back[1] in ("/open", "/ledger?page=1")


def test_who_exported_what_is_written_down(bench: Bench) -> None:
    bench.case()
    officer = bench.logged_in("chen")
    assert officer.get("/ledger.csv?site=north&severity=critical").status_code == 200
    assert officer.get("/ledger.xlsx").status_code == 200
    assert officer.get("/ledger.csv?state=lost").status_code == 422
    with reading(bench.engine) as db:
        lines = db.scalars(select(Audit).where(Audit.action == "exported").order_by(Audit.id)).all()
    told = [(line.actor, line.subject, line.site, line.detail) for line in lines]
    assert told == [
        (bench.officer, "cases.csv", "north", {"cases": 1, "filters": "site=north&severity=critical"}),
        (bench.officer, "cases.xlsx", "south", {"cases": 1, "filters": ""}),
        (bench.officer, "cases.xlsx", "north", {"cases": 1, "filters": ""}),
    ]
    assert "Cases exported" in bench.logged_in("root").get("/admin/audit").text


def test_an_export_says_whose_clock_its_times_are_of(bench: Bench) -> None:
    bench.case()
    row = next(csv.DictReader(io.StringIO(bench.logged_in("chen").get("/ledger.csv").content.decode("utf-8-sig"))))
    assert row["Time zone"] == "Asia/Shanghai"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"), ("  @SUM(1)", "'  @SUM(1)"), ("fine; =1+1", "fine; '=1+1"), ("a\n-1", "a\n'-1"),
        ("a\t+1", "a\t'+1"), ("3 - 2 = 1", "3 - 2 = 1"), ("a;b", "a;b"),
    ],
)  # fmt: skip
def test_no_cell_is_a_formula_whatever_separates_cells(text: str, cell: str) -> None:
    content = b"".join(export.as_csv(["x"], [[text]])).decode("utf-8-sig")
    assert next(csv.reader(io.StringIO(content.split("\r\n", 1)[1]))) == [cell]


def test_a_text_in_a_workbook_stays_one_when_somebody_edits_it() -> None:
    book = load_workbook(export.as_xlsx(["x"], [["=1+1"], ["plain"]], "cases"))
    cells = [cell for (cell,) in book[book.sheetnames[0]].iter_rows(min_row=2)]
    assert [(cell.value, cell.data_type, cell.quotePrefix) for cell in cells] == [
        ("=1+1", "s", True), ("plain", "s", False),
    ]  # fmt: skip
