"""What a foreman does from alarm to answer, over real HTTP: rights, forms sent twice, photos."""

from __future__ import annotations

import io
import re
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base
from sqlalchemy import event, select

from broker.dispatch.database import reading, transaction
from broker.dispatch.tables import Evidence, Holiday, Role, Shift
from broker.dispatch.text import LANGUAGES, catalogue
from tests.dispatch.web.builders import Bench, Reader, clip, jpeg


def test_from_alarm_to_closed(bench: Bench) -> None:
    alarm = bench.alarm(place="trench")
    case = bench.case_of(alarm).id
    foreman = bench.logged_in("wang")
    assert "No hard hat" in foreman.get("/open").text
    at = f"/cases/{case}"
    for step, fields in (
        ("take", {}),
        ("done", {"text": "helmets handed out"}),
        ("answer", {"text": "the reporter was told"}),
    ):
        answer = foreman.submit(f"{at}/{step}", fields)
        assert (answer.status_code, answer.headers["location"]) == (303, at), step
    assert bench.now(case).state == "answered"
    assert foreman.submit(f"{at}/close").status_code == 409  # the alarm still holds, and no reason is given
    bench.alarm(alarm=alarm, event="cleared", place="trench", subjects=0, seq=1000)
    assert foreman.submit(f"{at}/close").status_code == 303
    assert bench.now(case).state == "closed"
    assert bench.ledger(case) == ["opened", "taken", "done", "answered", "cleared", "closed"]


def test_lists_show_what_is_mine_what_is_late_and_what_is_open_of_my_sites(bench: Bench) -> None:
    mine, late, fresh = bench.case(place="mine"), bench.case(place="late"), None
    foreign = bench.case("south", "pump-1", place="foreign")
    foreman = bench.logged_in("wang")
    foreman.submit(f"/cases/{mine}/take")
    bench.clock.advance(301)
    fresh = bench.case(place="fresh")
    shown = {
        path: {c for c in (mine, late, fresh, foreign) if c in foreman.get(path).text}
        for path in ("/", "/overdue", "/open")
    }
    assert shown == {"/": {mine}, "/overdue": {late}, "/open": {mine, late, fresh}}


def test_the_clock_of_the_norm_is_shown_as_it_runs(bench: Bench) -> None:
    case = bench.case()
    foreman = bench.logged_in("wang")
    at = f"/cases/{case}"
    assert "Take it within 5 min 0 s" in foreman.get(at).text
    bench.clock.advance(299)
    assert "Take it within 1 s" in foreman.get(at).text
    bench.clock.advance(62)
    assert "Overdue by 1 min 1 s" in foreman.get(at).text


def test_the_same_form_sent_twice_counts_once(bench: Bench) -> None:
    case = bench.case()
    foreman = bench.logged_in("wang")
    at = f"/cases/{case}"
    form = {"csrf": foreman.token(at), "after": "1"}
    for step, text in (("take", ""), ("done", "fixed"), ("note", "one remark"), ("answer", "told")):
        form["after"] = str(len(bench.ledger(case)))
        for _ in range(3):
            assert foreman.post(f"{at}/{step}", data=form | {"text": text}).status_code == 303
    assert bench.ledger(case) == ["opened", "taken", "done", "note", "answered"]


def test_two_who_tap_at_once_are_told_who_was_first(bench: Bench) -> None:
    case = bench.case()
    first, second = bench.logged_in("wang"), bench.logged_in("li")
    tokens = first.token(f"/cases/{case}"), second.token(f"/cases/{case}")
    assert first.post(f"/cases/{case}/take", data={"csrf": tokens[0], "after": "1"}).status_code == 303
    refused = second.post(f"/cases/{case}/take", data={"csrf": tokens[1], "after": "1"})
    assert refused.status_code == 409
    assert "taken it already" in refused.text
    assert bench.now(case).owner == bench.foreman


@pytest.mark.parametrize(
    ("who", "step", "code"),
    [
        ("wang", "done", 303),  # the owner
        ("chen", "done", 303),  # the officer
        ("li", "done", 409),  # another foreman
        ("li", "give", 409),
        ("li", "false_alarm", 409),
        ("li", "note", 303),
        ("zhao", "take", 403),  # the installer looks only
        ("zhao", "note", 303),
        ("wang", "hold", 403),  # the officer's
        ("chen", "hold", 303),
        ("wang", "important", 303),
        ("smith", "take", 404),  # of another site: there is no such case
        ("smith", "note", 404),
        ("root", "done", 403),
    ],
)
def test_who_may_take_which_step(bench: Bench, who: str, step: str, code: int) -> None:
    case = bench.case()
    bench.logged_in("wang").submit(f"/cases/{case}/take")
    reader = bench.logged_in(who)
    fields = {"csrf": reader.token("/"), "text": "because", "person": bench.second, "on": "1"}
    before = len(bench.ledger(case))
    assert reader.post(f"/cases/{case}/{step}", data=fields).status_code == code
    assert len(bench.ledger(case)) - before == (code == 303)


def test_buttons_are_those_that_would_work(bench: Bench) -> None:
    case = bench.case()
    at = f"/cases/{case}"
    foreman, other, officer = bench.logged_in("wang"), bench.logged_in("li"), bench.logged_in("chen")

    def buttons(page: httpx.Response) -> set[str]:
        return {part.split('"')[0] for part in page.text.split(f'action="{at}/')[1:]}

    assert buttons(foreman.get(at)) == {"take", "give", "false_alarm", "note", "important"}
    foreman.submit(f"{at}/take")
    assert buttons(foreman.get(at)) == {"done", "give", "false_alarm", "note", "important"}
    assert buttons(other.get(at)) == {"note", "important"}
    assert buttons(officer.get(at)) == {"done", "give", "false_alarm", "note", "important", "hold"}
    foreman.submit(f"{at}/done", {"text": "fixed"})
    assert buttons(foreman.get(at)) == {"answer", "false_alarm", "dissatisfied", "note", "important"}
    for name in buttons(foreman.get(at)) - {"dissatisfied", "false_alarm"}:
        assert foreman.submit(f"{at}/{name}", {"text": "t", "on": "1"}).status_code == 303, name


def test_handing_over_goes_to_somebody_of_the_site_only(bench: Bench) -> None:
    case = bench.case()
    foreman = bench.logged_in("wang")
    at = f"/cases/{case}"
    for wrong in (bench.outsider, bench.installer, "nobody", ""):
        assert foreman.submit(f"{at}/give", {"person": wrong}).status_code == 422
    assert foreman.submit(f"{at}/give", {"person": bench.second}).status_code == 303
    assert bench.now(case).owner == bench.second
    assert "李敏" in foreman.get(at).text


@pytest.mark.parametrize("text", ["", "   ", "\x00\x1b", "x" * 2001])
def test_a_result_is_a_text(bench: Bench, text: str) -> None:
    case = bench.case()
    foreman = bench.logged_in("wang")
    foreman.submit(f"/cases/{case}/take")
    assert foreman.submit(f"/cases/{case}/done", {"text": text}).status_code == 422
    assert bench.now(case).state == "assigned"


@pytest.mark.parametrize(
    ("step", "said"), [("done", "已戴好安全帽"), ("false_alarm", "画面认错了"), ("answer", "电话告知了反映人")]
)
def test_what_is_said_most_takes_one_tap(bench: Bench, step: str, said: str) -> None:
    case = bench.case()
    foreman = bench.logged_in("wang")
    foreman.submit(f"/cases/{case}/take")
    if step == "answer":
        foreman.submit(f"/cases/{case}/done", {"text": "helmets handed out"})
    page = foreman.get(f"/cases/{case}?lang=zh-CN").text
    form = re.search(rf'<form class="quick" method="post" action="/cases/{case}/{step}">.*?</form>', page, re.DOTALL)
    assert form is not None
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form[0]))
    assert f'<button name="text" value="{said}">' in form[0]
    assert foreman.post(f"/cases/{case}/{step}", data=fields | {"text": said}).status_code == 303
    now = bench.now(case)
    assert said in (now.result, now.false_alarm_reason, now.answer)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_rule_says_what_was_done_in_a_tap(language: str) -> None:
    text = catalogue(language)
    rules = {key.split(".")[1] for key in text.texts if key.startswith("rule.")}
    assert {key.removeprefix("quick.done.") for key in text.texts if key.startswith("quick.done.")} == rules
    assert len({text(f"quick.done.{rule}") for rule in rules}) == len(rules)


@pytest.mark.parametrize("after", ["-1", "2147483648", "99999999999999999999", "x"])
def test_a_ledger_line_that_no_page_named_is_refused(bench: Bench, after: str) -> None:
    case = bench.case()
    assert bench.logged_in("wang").submit(f"/cases/{case}/take", {"after": after}).status_code == 422
    assert bench.now(case).state == "open"


# -- photos ------------------------------------------------------------------------------------------------------------


def phone_photo(width: int = 3000, height: int = 2000, kind: str = "JPEG") -> bytes:
    """As a phone takes it: on its side, with the place where it was taken, and something hidden behind its end."""
    image = Image.new("RGB", (width, height), (200, 30, 30))
    exif = Image.Exif()
    exif[Base.Orientation] = 6  # turn right
    exif[Base.Make] = "SecretPhone"
    exif.get_ifd(IFD.GPSInfo)[GPS.GPSLatitude] = (39.0, 54.0, 30.0)
    out = io.BytesIO()
    image.save(out, kind, exif=exif, quality=90)
    return out.getvalue() + b"<script>alert(1)</script>"


def done(bench: Bench, content: bytes, name: str = "photo.jpg", kind: str = "image/jpeg") -> tuple[str, httpx.Response]:
    case = bench.case()
    foreman = bench.logged_in("wang")
    foreman.submit(f"/cases/{case}/take")
    answer = foreman.submit(f"/cases/{case}/done", {"text": "fixed"}, files={"photo": (name, content, kind)})
    return case, answer


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_photo_keeps_nothing_but_its_picture(bench: Bench, kind: str) -> None:
    case, answer = done(bench, phone_photo(kind=kind))
    assert answer.status_code == 303
    assert bench.ledger(case) == ["opened", "taken", "done", "photo"]
    with reading(bench.engine) as db:
        row = db.scalars(select(Evidence)).one()
    assert (row.alarm, row.kind, row.by, row.site, row.node) == (case, "photo", bench.foreman, "north", None)
    kept = bench.store.path(case, row.sha256).read_bytes()
    assert b"script" not in kept
    assert b"SecretPhone" not in kept
    image = Image.open(io.BytesIO(kept))
    assert image.format == "JPEG"
    assert (image.width, image.height) == (1067, 1600)  # upright, smaller
    assert not image.getexif()
    foreman = bench.logged_in("wang")
    shown = foreman.get(f"/evidence/{case}/{row.sha256}")
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/jpeg")
    assert f"/evidence/{case}/{row.sha256}" in foreman.get(f"/cases/{case}").text


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(b"<html><script>alert(1)</script>", 422, id="html"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", 422, id="svg"),
        pytest.param(b"GIF89a" + b"\0" * 100, 422, id="gif"),
        pytest.param(jpeg()[:2000], 422, id="cut-short"),
        pytest.param(clip(), 422, id="clip"),
        pytest.param(b"\xff\xd8\xff" + b"\0" * (17 << 20), 413, id="too-large"),
    ],
)
def test_what_is_no_photo_is_refused_and_changes_nothing(bench: Bench, content: bytes, code: int) -> None:
    case, answer = done(bench, content)
    assert answer.status_code == code
    assert bench.now(case).state == "assigned"
    with reading(bench.engine) as db:
        assert db.scalars(select(Evidence)).all() == []


def test_a_small_file_that_unpacks_to_a_huge_picture_is_refused(bench: Bench) -> None:
    out = io.BytesIO()
    Image.new("L", (20_000, 20_000)).save(out, "PNG")
    assert len(out.getvalue()) < 1 << 20
    assert done(bench, out.getvalue())[1].status_code == 422


def test_the_name_of_a_photo_is_not_used(bench: Bench) -> None:
    _, answer = done(bench, phone_photo(), name="../../../etc/passwd\x00.jpg")
    assert answer.status_code == 303
    assert "passwd" not in str(bench.rows())


def test_an_answer_that_is_overdue_is_seen_in_the_list_and_on_the_case(bench: Bench) -> None:
    case = bench.case()  # Monday, 22:13 in Shanghai
    foreman = bench.logged_in("wang")
    foreman.submit(f"/cases/{case}/take")
    foreman.submit(f"/cases/{case}/done", {"text": "helmets handed out"})
    bench.clock.advance(11 * 3600)  # 09:13
    assert case not in foreman.get("/overdue").text
    assert "To be answered" in foreman.get(f"/cases/{case}").text
    bench.clock.advance(3600)  # 10:13
    page = foreman.get("/overdue").text
    assert case in page
    assert 'class="bad">1<' in page
    assert "Not answered in time, 13 min 20 s late" in foreman.get(f"/cases/{case}").text
    foreman.submit(f"/cases/{case}/answer", {"text": "told the caller"})
    assert case not in foreman.get("/overdue").text


def test_a_case_names_the_shift_in_charge_when_it_was_received(bench: Bench) -> None:
    with transaction(bench.engine) as db:
        db.add(Shift(id="day", site="north", name="白班", start=480, end=1200))
        db.add(Shift(id="night", site="north", name="夜班", start=1200, end=480))
    night, none = bench.case(), bench.case("south", "pump-1")
    assert "22:13:20 · 夜班" in bench.logged_in("wang").get(f"/cases/{night}").text
    assert "夜班" not in bench.logged_in("smith").get(f"/cases/{none}").text


# -- when whoever reported it may be told ------------------------------------------------------------------------------

H = 3600


def done_at(bench: Bench, at: float) -> tuple[Reader, str]:
    """A case that wang took and did at a time; the clock stands there. Gives his browser and the case's address."""
    bench.clock.advance(at - bench.clock.now())
    case = bench.case()
    foreman = bench.logged_in("wang")
    foreman.submit(f"/cases/{case}/take")
    foreman.submit(f"/cases/{case}/done", {"text": "helmets handed out"})
    return foreman, f"/cases/{case}"


def local(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Asia/Shanghai")).timestamp()


@pytest.mark.parametrize(
    ("done", "now", "en", "zh"),
    [
        (
            "2026-09-22 12:00", "2026-09-22 12:00",
            "between 08:30 and 17:00: now, at the latest before 10:00 tomorrow.",
            "可在 08:30 至 17:00 之间告知外部反映人：现在即可，最迟明天 10:00 前。",
        ),
        (
            "2026-09-22 21:00", "2026-09-22 21:00",
            "these hours are over: call from 08:30 tomorrow on, before 10:00 tomorrow.",
            "现已过时段：请自明天 08:30 起、在明天 10:00 前告知。",
        ),
        (
            "2026-09-22 21:00", "2026-09-23 00:30",
            "these hours are over: call from 08:30 today on, before 10:00 today.",
            "请自今天 08:30 起、在今天 10:00 前告知。",
        ),
        (
            "2026-09-30 21:00", "2026-09-30 21:00",  # a holiday follows
            "call from 08:30 tomorrow on, before 10:00 tomorrow.",
            "请自明天 08:30 起、在明天 10:00 前告知。",
        ),
        (
            "2026-09-22 21:00", "2026-09-23 10:30",
            "between 08:30 and 17:00: now. It was due before 10:00 today.",
            "现在即可。应在今天 10:00 前告知，已逾期。",
        ),
        (
            "2026-09-22 21:00", "2026-09-23 20:00",
            "call from 08:30 tomorrow on. It was due before 10:00 today.",
            "请自明天 08:30 起告知。应在今天 10:00 前告知，已逾期。",
        ),
    ],
)  # fmt: skip
def test_the_case_says_when_whoever_reported_it_may_be_told(
    bench: Bench, done: str, now: str, en: str, zh: str
) -> None:
    with transaction(bench.engine) as db:
        db.add(Holiday(site="north", day="2026-10-01", name="国庆节"))
    foreman, at = done_at(bench, local(done))
    bench.clock.advance(local(now) - bench.clock.now())
    foreman = bench.logged_in("wang")
    assert en in foreman.get(f"{at}?lang=en").text
    assert zh in foreman.get(f"{at}?lang=zh-CN").text
    assert "To be answered before" in foreman.get(f"{at}?lang=en").text or "was due" in en


@pytest.mark.parametrize(("at", "outside"), [("21:00", True), ("08:29", True), ("08:30", False), ("16:59", False)])
def test_an_answer_at_another_hour_is_written_down_and_said_to_be_so(bench: Bench, at: str, outside: bool) -> None:
    foreman, case = done_at(bench, local(f"2026-09-22 {at}"))
    assert foreman.submit(f"{case}/answer", {"text": "told the caller"}).status_code == 303
    page, chinese = foreman.get(f"{case}?lang=en").text, foreman.get(f"{case}?lang=zh-CN").text
    said = f"Written down at {at}, outside the hours for telling people (08:30 to 17:00)."
    assert page.count(said) == (2 if outside else 0), "beside the answer, and in the history"
    assert chinese.count(f"记录于 {at}，在告知时段（08:30 至 17:00）之外。") == (2 if outside else 0)
    assert "may be told between" not in page


def test_who_may_only_look_sees_the_hours_too(bench: Bench) -> None:
    _, case = done_at(bench, local("2026-09-22 21:00"))
    assert "may be told between 08:30 and 17:00" in bench.logged_in("zhao").get(f"{case}?lang=en").text


# -- what was taken, and then forgotten --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "late"),
    [
        (("take",), "No result by 08:00 today, 1 min 0 s late: in hand of 王强"),
        (("take", "done", "answer"), "Answered, but not closed by 08:00 today, 1 min 0 s late"),
    ],
)
def test_what_has_no_result_or_is_not_closed_by_the_end_of_the_shift_is_overdue(
    bench: Bench, steps: tuple[str, ...], late: str
) -> None:
    with transaction(bench.engine) as db:
        db.add(Shift(id="day", site="north", name="白班", start=480, end=1200))
        db.add(Shift(id="night", site="north", name="夜班", start=1200, end=480))
    case, foreign = bench.case(), bench.case("south", "pump-1")  # at 22:13
    foreman = bench.logged_in("wang")
    for step in steps:
        foreman.submit(f"/cases/{case}/{step}", {"text": "so"})
    bench.clock.advance(local("2026-09-22 08:00") - bench.clock.now())
    assert case not in foreman.get("/overdue").text
    assert "by 08:00 today" in foreman.get(f"/cases/{case}?lang=en").text, "before it is over, too"
    bench.clock.advance(60)
    page = foreman.get("/overdue?lang=en").text
    assert case in page
    assert late in page
    assert 'class="bad">1<' in page, "in the count of the navigation, too"
    assert foreign not in page
    assert case in bench.logged_in("li").get("/overdue").text
    foreman.submit(f"/cases/{case}/{'done' if steps == ('take',) else 'close'}", {"text": "so"})
    assert case not in foreman.get("/overdue").text


@pytest.mark.parametrize(
    ("path", "times"),
    [
        ("/", 2),  # for the list, and for the count in the navigation
        ("/overdue", 1),  # for both, and nothing is in the list
        ("/cases/{case}", 3),  # for its clock, the shift that it came in, the count
        ("/handover?site=north", 3),  # for the choice, the report, the count
        ("/me", 1),
    ],
)
def test_a_page_reads_the_shifts_of_its_cases_and_of_what_its_reader_sees(bench: Bench, path: str, times: int) -> None:
    with transaction(bench.engine) as db:
        db.add_all(
            [Shift(id=f"day-{site}", site=site, name="白班", start=480, end=1200) for site in ("north", "south")]
        )
    case, foreign = bench.case(), bench.case("south", "pump-1")
    officer = bench.person("wu", "Wu", ("north", Role.OFFICER))
    for login, key in (("wu", case), ("smith", foreign)):
        bench.logged_in(login).submit(f"/cases/{key}/take")
    assert bench.now(foreign).state == "assigned"
    assert bench.now(case).owner == officer
    reader = bench.logged_in("wu")
    read: list[set[str]] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if "FROM shift" in statement and "shift.on_holidays" in statement:
            read.append(set(values))

    event.listen(bench.engine, "before_cursor_execute", note)
    try:
        assert reader.get(path.format(case=case)).status_code == 200
    finally:
        event.remove(bench.engine, "before_cursor_execute", note)
    assert read == [{"north"}] * times


def test_without_shifts_it_is_a_day(bench: Bench) -> None:
    case = bench.case()
    foreman = bench.logged_in("wang")
    foreman.submit(f"/cases/{case}/take")
    bench.clock.advance(24 * H)
    foreman = bench.logged_in("wang")
    assert case not in foreman.get("/overdue").text
    bench.clock.advance(1)
    assert case in foreman.get("/overdue").text
