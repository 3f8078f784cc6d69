"""Getting in: guessing, sessions, forms from elsewhere, what a robot does to a link."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from argon2 import Type, extract_parameters
from PIL import Image
from sqlalchemy import select, update

from broker.dispatch.database import reading, transaction
from broker.dispatch.tables import Audit, Person, Session
from broker.dispatch.web import auth
from broker.dispatch.web.auth import (
    ABSOLUTE_S,
    IDLE_S,
    LINK_SESSION_S,
    PER_ADDRESS,
    PER_NAME,
    WINDOW_S,
    PasswordError,
    Passwords,
)
from broker.dispatch.web.links import LINK_S
from tests.dispatch.web.builders import PASSWORD, START, Bench, Reader, clip, jpeg

COOKIE = "banksman"


# -- passwords ---------------------------------------------------------------------------------------------------------


def test_a_password_opens_and_a_wrong_one_does_not(bench: Bench) -> None:
    stranger = bench.reader()
    assert stranger.get("/").headers["location"] == "/login?next=%2F"
    assert stranger.log_in("wang", "wrong").status_code == 403
    assert stranger.log_in("nobody", PASSWORD).status_code == 403
    answer = stranger.log_in("WANG", after="/overdue")
    assert (answer.status_code, answer.headers["location"]) == (303, "/overdue")
    assert stranger.get("/overdue").status_code == 200


def test_neither_name_nor_password_says_which_was_wrong(bench: Bench) -> None:
    pages = [bench.reader().log_in(name, "wrong").text.replace(f'value="{name}"', "") for name in ("wang", "ghost")]
    assert pages[0] == pages[1]


def test_somebody_without_password_or_who_left_does_not_get_in(bench: Bench) -> None:
    with transaction(bench.engine) as db:
        db.execute(update(Person).where(Person.id == bench.foreman).values(password=None))
        db.execute(update(Person).where(Person.id == bench.second).values(active=False))
    assert bench.reader().log_in("wang").status_code == 403
    assert bench.reader().log_in("li").status_code == 403


def test_guessing_one_name_is_slowed_down_and_told_how_long(bench: Bench) -> None:
    guesser = bench.reader()
    codes = [guesser.log_in("wang", f"guess {n}").status_code for n in range(PER_NAME + 2)]
    assert codes == [403] * PER_NAME + [429] * 2
    refused = guesser.log_in("wang")  # the right one, too
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= WINDOW_S + 1
    assert bench.reader().log_in("li").status_code == 303  # others are not locked out
    bench.clock.advance(WINDOW_S)
    assert guesser.log_in("wang").status_code == 303


def test_guesses_at_the_same_moment_count_each(bench: Bench) -> None:
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda n: bench.reader().log_in("wang", f"guess {n}").status_code, range(24)))
    assert codes.count(403) == PER_NAME
    assert codes.count(429) == 24 - PER_NAME


def test_one_address_that_tries_many_names_is_slowed_down_though_it_knows_a_password(bench: Bench) -> None:
    guesser = bench.reader()
    codes = []
    for n in range(PER_ADDRESS + 3):
        if n % 6 == 5:
            guesser.log_in("wang")
        codes.append(guesser.log_in(f"name-{n}", "guess").status_code)
    assert codes.count(403) == PER_ADDRESS
    assert codes[-1] == 429


def test_an_address_in_a_header_is_not_believed(bench: Bench) -> None:
    guesser = bench.reader()
    for n in range(PER_ADDRESS):
        guesser.headers["X-Forwarded-For"] = f"10.0.0.{n}"
        guesser.log_in(f"name-{n}", "guess")
    assert guesser.log_in("wang").status_code == 429


# -- what is written down ----------------------------------------------------------------------------------------------


def written(bench: Bench) -> list[tuple[str, str, str]]:
    """Actor, action and subject of the log-ins in the audit."""
    with reading(bench.engine) as db:
        rows = db.execute(select(Audit.actor, Audit.action, Audit.subject).order_by(Audit.at, Audit.id))
        return [(actor, action, subject) for actor, action, subject in rows if action.startswith("login")]


def test_log_ins_are_written_down_with_name_and_address(bench: Bench) -> None:
    stranger = bench.reader()
    stranger.log_in("WANG", "wrong")
    stranger.log_in("wang")
    stranger.post("/api/login", json={"name": "li", "password": "wrong"})
    assert written(bench) == [
        ("", "login_failed", "wang"),
        (bench.foreman, "login", "wang"),
        ("", "login_failed", "li"),
    ]
    with reading(bench.engine) as db:
        assert {detail["address"] for detail in db.scalars(select(Audit.detail))} == {"127.0.0.1"}
    page = bench.logged_in("root").get("/admin/audit").text
    assert "Failed to log in" in page
    assert "127.0.0.1" in page
    assert "Failed to log in" not in bench.logged_in("chen").get("/admin/audit").text


def test_what_nobody_is_called_is_not_written_down_for_it_may_be_a_password(bench: Bench) -> None:
    for name in (PASSWORD, "<script>", "x" * 5000, "", "\0"):
        bench.reader().log_in(name, PASSWORD)
    assert written(bench) == [("", "login_failed", "")] * 5
    assert PASSWORD not in str(bench.rows()["audit"])


def test_somebody_who_left_is_written_down_as_failing(bench: Bench) -> None:
    _deactivate(bench)
    assert bench.reader().log_in("wang").status_code == 403
    assert written(bench) == [("", "login_failed", "wang")]


def test_being_slowed_down_is_written_down_once(bench: Bench) -> None:
    for n in range(PER_NAME + 5):
        bench.reader().log_in("wang", f"guess {n}")
    expected = [("", "login_failed", "wang")] * PER_NAME + [("dispatch", "login_limited", "wang")]
    assert written(bench) == expected
    for n in range(PER_ADDRESS):
        bench.reader().log_in(f"name-{n}", "guess")
    expected += [("", "login_failed", "")] * (PER_ADDRESS - PER_NAME) + [("dispatch", "login_limited", "127.0.0.1")]
    assert written(bench) == expected


# -- sessions ----------------------------------------------------------------------------------------------------------


def test_the_cookie_is_for_this_page_alone_and_not_for_scripts(bench: Bench) -> None:
    cookie = bench.reader().log_in("wang").headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "domain" not in cookie


def test_the_database_holds_no_cookie(bench: Bench) -> None:
    reader = bench.logged_in("wang")
    assert reader.cookies[COOKIE] not in str(bench.rows())


def test_a_log_in_brings_a_new_session_and_ends_the_one_before(bench: Bench) -> None:
    reader = bench.reader()
    reader.cookies.set(COOKIE, "chosen-by-an-attacker", domain="127.0.0.1")
    reader.log_in("wang")
    first = reader.cookies[COOKIE]
    assert first != "chosen-by-an-attacker"
    thief = bench.reader()
    thief.cookies.set(COOKIE, first, domain="127.0.0.1")
    assert thief.get("/").status_code == 200
    reader.log_in("wang")
    assert reader.cookies[COOKIE] != first
    assert thief.get("/").status_code == 303


def test_passwords_are_kept_as_owasp_asks() -> None:
    kept = extract_parameters(Passwords().hash(PASSWORD))
    assert kept.type is Type.ID
    assert kept.memory_cost >= 19 * 1024  # KiB; OWASP: 19 MiB and two passes at least
    assert kept.time_cost >= 2
    for wrong in ("short", "x" * 257):
        with pytest.raises(PasswordError):
            Passwords().hash(wrong)


def test_logging_out_ends_the_session_on_the_server(bench: Bench) -> None:
    reader = bench.logged_in("wang")
    cookie = reader.cookies[COOKIE]
    assert reader.submit("/logout", page="/").headers["location"] == "/login"
    again = bench.reader()
    again.cookies.set(COOKIE, cookie, domain="127.0.0.1")
    assert again.get("/").status_code == 303


def test_a_session_ends_when_idle(bench: Bench) -> None:
    reader = bench.logged_in("wang")
    for _ in range(3):
        bench.clock.advance(IDLE_S - 1)
        assert reader.get("/").status_code == 200
    bench.clock.advance(IDLE_S)
    assert reader.get("/").status_code == 303


def test_a_session_ends_at_last_however_busy(bench: Bench) -> None:
    reader = bench.logged_in("wang")
    steps = int(ABSOLUTE_S / (IDLE_S / 2))
    codes = []
    for _ in range(steps + 1):
        bench.clock.advance(IDLE_S / 2)
        codes.append(reader.get("/overdue").status_code)
    assert codes == [200] * (steps - 1) + [303] * 2


def test_somebody_who_leaves_is_out_at_once(bench: Bench) -> None:
    case = bench.case()
    reader, by_link = bench.logged_in("wang"), bench.reader()
    by_link.post(f"/l/{bench.links.sign(case, bench.foreman, bench.clock.now())}")
    assert by_link.get(f"/cases/{case}").status_code == 200
    admin = bench.logged_in("root")
    at = f"/admin/people/{bench.foreman}"
    assert admin.submit(at, {"name": "王强", "language": "en", "active": ""}, page=at).status_code == 303
    assert reader.get("/").status_code == 303
    assert by_link.get(f"/cases/{case}").status_code == 303
    assert bench.reader().get(f"/l/{bench.links.sign(case, bench.foreman, bench.clock.now())}").status_code == 410


# -- forms from elsewhere ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "token", "code"),
    [
        ("https://evil.example", True, 403),
        ("null", True, 403),
        (None, True, 403),
        ("own", False, 403),
        ("own", True, 303),
    ],
)
def test_a_step_needs_our_origin_and_our_token(bench: Bench, origin: str | None, token: bool, code: int) -> None:
    case = bench.case()
    reader = bench.logged_in("wang")
    csrf = reader.token(f"/cases/{case}") if token else "guessed"
    if origin is None:
        del reader.headers["Origin"]
    elif origin != "own":
        reader.headers["Origin"] = origin
    assert reader.post(f"/cases/{case}/take", data={"csrf": csrf}).status_code == code
    assert bench.now(case).state == ("assigned" if code == 303 else "open")


def test_the_token_of_somebody_else_is_no_good(bench: Bench) -> None:
    case = bench.case()
    csrf = bench.logged_in("li").token(f"/cases/{case}")
    assert bench.logged_in("wang").post(f"/cases/{case}/take", data={"csrf": csrf}).status_code == 403


def test_json_needs_the_token_in_a_header(bench: Bench) -> None:
    case = bench.case()
    reader = bench.logged_in("wang")
    csrf = reader.get("/api/me", headers={"Accept": "application/json"}).json()["csrf"]
    assert reader.post(f"/api/cases/{case}/take", json={}).status_code == 403
    assert reader.post(f"/api/cases/{case}/take", json={}, headers={"X-CSRF-Token": csrf}).status_code == 200


def test_another_host_is_refused(bench: Bench) -> None:
    assert bench.reader().get("/login", headers={"Host": "evil.example"}).status_code == 421
    assert bench.reader().get("/healthz", headers={"Host": "10.0.0.1"}).text == "ok"


def test_every_answer_carries_the_headers(bench: Bench) -> None:
    case = bench.case()
    reader = bench.logged_in("wang")
    for path in ("/", f"/cases/{case}", "/login", "/nothing", "/static/page.css", "/api/me", "/healthz", "/ledger"):
        answer = reader.get(path)
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff", path
        assert answer.headers["x-frame-options"] == "DENY"
        if not path.startswith("/static"):
            assert answer.headers["cache-control"] == "no-store"


# -- links -------------------------------------------------------------------------------------------------------------


def test_a_robot_that_opens_everything_changes_nothing(bench: Bench) -> None:
    case = bench.case()
    reader = bench.logged_in("chen")
    link = f"/l/{bench.links.sign(case, bench.foreman, bench.clock.now())}"
    before = bench.rows()
    robot = bench.reader(follow=True)
    for method in ("GET", "HEAD"):
        for path in (link, link, f"/cases/{case}", f"/cases/{case}/take", "/logout", "/login", "/", f"{link}?do=take"):
            robot.request(method, path)
            reader.request(method, path)
    assert bench.rows() == before
    assert "set-cookie" not in robot.get(link).headers


def test_one_tap_from_the_message_takes_the_case(bench: Bench) -> None:
    case = bench.case()
    phone = bench.reader()
    link = f"/l/{bench.links.sign(case, bench.foreman, bench.clock.now())}"
    assert "It is mine" in phone.get(link).text
    answer = phone.post(link, data={"do": "take"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/cases/{case}")
    assert (bench.now(case).owner, bench.now(case).state) == (bench.foreman, "assigned")
    assert phone.submit(f"/cases/{case}/done", {"text": "done"}).status_code == 303
    assert bench.now(case).result == "done"
    assert phone.get(link).headers["location"] == f"/cases/{case}"  # a session is there already


def test_a_link_after_somebody_was_faster_shows_who(bench: Bench) -> None:
    case = bench.case()
    bench.logged_in("li").submit(f"/cases/{case}/take")
    phone = bench.reader(follow=True)
    page = phone.post(f"/l/{bench.links.sign(case, bench.foreman, bench.clock.now())}", data={"do": "take"})
    assert page.status_code == 200
    assert "李敏" in page.text
    assert bench.now(case).owner == bench.second


def test_a_link_shows_its_case_and_nothing_else(bench: Bench) -> None:
    alarm, other = bench.alarm(), bench.alarm()
    case, foreign = bench.case_of(alarm).id, bench.case_of(other).id
    mine, others = bench.keep(alarm, b"\xff\xd8\xff" + b"a" * 20), bench.keep(other, b"\xff\xd8\xff" + b"b" * 20)
    phone = bench.reader()
    phone.post(f"/l/{bench.links.sign(case, bench.officer, bench.clock.now())}")
    assert phone.get(f"/cases/{case}").status_code == 200
    assert phone.get(f"/evidence/{alarm}/{mine}").status_code == 200
    csrf = phone.token(f"/cases/{case}")
    for path in (f"/cases/{foreign}", f"/evidence/{other}/{others}"):
        assert phone.get(path).status_code == 404, path
    for path in ("/ledger", "/ledger.csv", "/handover", "/admin", "/admin/audit", f"/admin/people/{bench.admin}"):
        assert phone.get(path).status_code == 403, path
    assert phone.post(f"/cases/{foreign}/take", data={"csrf": csrf}).status_code == 404
    assert phone.get("/").headers["location"] == f"/cases/{case}"
    api = phone.get("/api/cases", headers={"Accept": "application/json"}).json()
    assert [c["id"] for c in api["cases"]] == [case]


def _deactivate(bench: Bench) -> None:
    with transaction(bench.engine) as db:
        db.execute(update(Person).where(Person.id == bench.foreman).values(active=False))


def _drop_roles(bench: Bench) -> None:
    admin = bench.logged_in("root")
    fields = {"person": bench.foreman, "role": "foreman"}
    assert admin.submit("/admin/sites/north/members/remove", fields, page="/admin/sites/north").status_code == 303


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda b: b.clock.advance(LINK_S), id="expired"),
        pytest.param(_deactivate, id="person-left"),
        pytest.param(_drop_roles, id="no-role-on-the-site"),
    ],
)
def test_a_link_opens_nothing_once(bench: Bench, spoil: Callable[[Bench], object]) -> None:
    case = bench.case()
    link = f"/l/{bench.links.sign(case, bench.foreman, bench.clock.now())}"
    assert bench.reader().get(link).status_code == 200
    spoil(bench)
    assert bench.reader().get(link).status_code == 410
    assert bench.reader().post(link, data={"do": "take"}).status_code == 410
    assert bench.now(case).state == "open"


def test_a_session_of_a_link_ends_after_a_day(bench: Bench) -> None:
    case = bench.case()
    phone = bench.reader()
    phone.post(f"/l/{bench.links.sign(case, bench.foreman, bench.clock.now())}")
    for _ in range(3):
        bench.clock.advance(LINK_SESSION_S / 4)
        assert phone.get(f"/cases/{case}").status_code == 200
    bench.clock.advance(LINK_SESSION_S / 4)
    assert phone.get(f"/cases/{case}").status_code == 303


def test_old_sessions_are_swept_away(bench: Bench) -> None:
    bench.logged_in("wang")
    bench.clock.advance(ABSOLUTE_S)
    bench.logged_in("li")
    with reading(bench.engine) as db:
        assert list(db.scalars(select(Session.person))) == [bench.second]


# -- own password ------------------------------------------------------------------------------------------------------

NEW = "another long enough phrase"


def new_password(reader: Reader, **fields: str) -> httpx.Response:
    return reader.submit("/me/password", {"old": PASSWORD, "password": NEW, "again": NEW} | fields, page="/me")


@pytest.mark.parametrize("login", ["wang", "chen", "zhao", "root"])
def test_everybody_gives_themselves_a_new_password(bench: Bench, login: str) -> None:
    here, elsewhere = bench.logged_in(login), bench.logged_in(login)
    other = bench.logged_in("li")
    answer = new_password(here)
    assert (answer.status_code, answer.headers["location"]) == (303, "/me?changed=1")
    assert "The new password holds" in here.get("/me?changed=1").text
    assert elsewhere.get("/").status_code == 303, "every other session of that person has ended"
    assert other.get("/").status_code == 200
    assert bench.reader().log_in(login).status_code == 403
    assert bench.reader().log_in(login, NEW).status_code == 303
    with reading(bench.engine) as db:
        assert "own_password_set" in db.scalars(select(Audit.action)).all()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"old": "not the old one"}, 403),
        ({"again": "something else entirely"}, 422),
        ({"password": "short", "again": "short"}, 422),
    ],
)
def test_a_new_password_that_is_not_taken(bench: Bench, fields: dict[str, str], code: int) -> None:
    reader, elsewhere = bench.logged_in("wang"), bench.logged_in("wang")
    assert new_password(reader, **fields).status_code == code
    assert elsewhere.get("/").status_code == 200
    assert bench.reader().log_in("wang").status_code == 303


def test_guessing_the_old_password_is_slowed_down_and_written_down(bench: Bench) -> None:
    reader = bench.logged_in("wang")
    codes = [new_password(reader, old=f"guess {n}").status_code for n in range(9)]
    assert codes == [403] * 8 + [429]
    late = new_password(reader)
    assert (late.status_code, late.headers["retry-after"]) == (429, "901")
    bench.clock.advance(15 * 60 + 1)
    assert new_password(reader).status_code == 303
    with reading(bench.engine) as db:
        assert db.scalars(select(Audit.action)).all().count("own_password_failed") == 8


def test_a_link_is_no_way_to_a_password(bench: Bench) -> None:
    case, reader = bench.case(), bench.reader()
    reader.post(f"/l/{bench.links.sign(case, bench.foreman, START)}")
    assert reader.get(f"/cases/{case}").status_code == 200
    assert reader.get("/me").status_code == 403
    token = reader.token(f"/cases/{case}")
    fields = {"csrf": token, "old": PASSWORD, "password": NEW, "again": NEW}
    assert reader.post("/me/password", data=fields).status_code == 403


# -- limits ------------------------------------------------------------------------------------------------------------


def test_a_link_that_is_used_again_and_again_has_one_session(bench: Bench) -> None:
    case = bench.case()
    link = f"/l/{bench.links.sign(case, bench.foreman, START)}"
    readers = [bench.reader() for _ in range(5)]
    for reader in readers:
        assert reader.post(link).status_code == 303
    assert len(bench.rows()["session"]) == 1
    assert [reader.get(f"/cases/{case}").status_code for reader in readers] == [200] * 5
    later = f"/l/{bench.links.sign(case, bench.foreman, START + 60)}"
    readers[0].post(later)
    assert readers[0].get(f"/cases/{case}").status_code == 200


def test_a_session_of_a_link_that_was_ended_is_opened_by_the_link_anew(bench: Bench) -> None:
    case, reader = bench.case(), bench.reader()
    link = f"/l/{bench.links.sign(case, bench.foreman, START)}"
    reader.post(link)
    bench.clock.advance(25 * 3600)
    assert reader.get(f"/cases/{case}").status_code == 303
    assert reader.post(link).status_code == 303
    assert reader.get(f"/cases/{case}").status_code == 200


@pytest.mark.parametrize("what", ["step", "photo", "export", "link", "links_of_address"])
def test_what_may_be_done_so_often_only(bench: Bench, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setitem(auth.MOST, what, 2)
    case = bench.case()
    foreman, officer, guest = bench.logged_in("wang"), bench.logged_in("chen"), bench.reader()
    foreman.submit(f"/cases/{case}/take") if what == "photo" else None
    link = f"/l/{bench.links.sign(case, bench.foreman, START)}"

    def once(n: int) -> httpx.Response:
        if what == "step":
            return foreman.submit(f"/cases/{case}/note", {"text": f"remark {n}"})
        if what == "photo":
            photo = {"photo": ("a.jpg", b"not a picture", "image/jpeg")}
            return foreman.submit(f"/cases/{case}/done", {"text": "done"}, files=photo)
        if what == "export":
            return officer.get("/ledger.csv")
        return guest.post(link if what == "link" else f"/l/{n}")

    codes = [once(n).status_code for n in range(4)]
    assert codes[2:] == [429, 429]
    assert 429 not in codes[:2]
    bench.clock.advance(15 * 60 + 1)
    assert once(9).status_code != 429


def raw(bench: Bench, path: str, size: int, cookie: str = "", patience: float = 10.0) -> bytes:
    """The answer to a form of which only the head was sent."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{bench.port}\r\nOrigin: {bench.url}\r\nAccept: text/html\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {size}\r\nCookie: banksman={cookie}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", bench.port), timeout=patience) as connection:
        connection.sendall(head.encode())
        return connection.recv(4096)


def test_a_large_form_is_read_of_somebody_who_is_logged_in_only(bench: Bench) -> None:
    """The answer comes before a byte of the body was sent."""
    case = bench.case()
    assert raw(bench, f"/cases/{case}/done", 10 << 20).startswith(b"HTTP/1.1 303")
    assert raw(bench, f"/cases/{case}/done", 10 << 20, "wrong").startswith(b"HTTP/1.1 303")
    cookie = bench.logged_in("wang").cookies["banksman"]
    with pytest.raises(TimeoutError):  # the server waits for the rest
        raw(bench, f"/cases/{case}/done", 10 << 20, cookie, patience=1.0)
    assert raw(bench, f"/cases/{case}/done", 17 << 20, cookie).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("path", ["/cases/{case}/note", "/cases/{case}/take", "/l/x", "/login", "/me/password"])
def test_ordinary_forms_are_small(bench: Bench, path: str) -> None:
    cookie = bench.logged_in("wang").cookies["banksman"]
    assert raw(bench, path.format(case=bench.case()), 100_000, cookie).startswith(b"HTTP/1.1 413")


def test_the_page_of_a_link_shows_the_picture_of_its_case_and_no_other(bench: Bench) -> None:
    alarm, elsewhere = bench.alarm(), bench.alarm()
    case, bare = bench.case_of(alarm).id, bench.case()
    mine = f"evidence/{alarm}/{bench.keep(alarm, jpeg())}"
    foreign = f"evidence/{elsewhere}/{bench.keep(elsewhere, jpeg(shade=90))}"
    film = f"evidence/{alarm}/{bench.keep(alarm, clip(), 'clip')}"
    link = f"/l/{bench.links.sign(case, bench.foreman, START)}"
    before, stranger = bench.rows(), bench.reader()
    assert f'src="{link}/{mine}"' in stranger.get(link).text
    picture = stranger.get(f"{link}/{mine}")
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")
    assert Image.open(io.BytesIO(picture.content)).size == (800, 450)
    other = f"/l/{bench.links.sign(bare, bench.foreman, START)}"
    assert "/evidence/" not in stranger.get(other).text
    assert bench.rows() == before
    of_outsider = f"/l/{bench.links.sign(case, bench.outsider, START)}"
    for gone in (f"{other}/{mine}", f"/l/x/{mine}", f"{of_outsider}/{mine}", f"{link}/{foreign}", f"{link}/{film}"):
        assert stranger.get(gone).status_code == 404, gone
    bench.clock.advance(LINK_S)
    assert stranger.get(f"{link}/{mine}").status_code == 404
