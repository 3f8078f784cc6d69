"""Links of messages about several cases: exactly these, each to be opened and taken, without a password."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import delete, update

from broker.dispatch.database import transaction
from broker.dispatch.notify import channels, deliver
from broker.dispatch.notify.channels.wecom import WeCom
from broker.dispatch.tables import Contact, Duty, Membership, Person, Role, Shift
from broker.dispatch.web.auth import LINK_SESSION_S
from broker.dispatch.web.links import LINK_S, Opens
from broker.dispatch.web.pages import PER_PAGE
from tests.dispatch.due import run_due
from tests.dispatch.notify.stubs import Answer, Service, service
from tests.dispatch.web.builders import START, Bench, Reader, jpeg


@pytest.fixture
def far() -> Iterator[Service]:
    """WeCom, which takes everything."""
    with service() as stub:
        stub.decide = lambda _: Answer.of({"errcode": 0, "errmsg": "ok"})
        yield stub


def shown(page: str) -> list[str]:
    """Ids of the cases on the page of a link, in their order."""
    return re.findall(r'name="case" value="([^"]+)"', page)


def listed(page: str) -> list[str]:
    """Ids of the cases of a list, each of which is a tap away."""
    return re.findall(r'<a class="card case[^"]*" href="/cases/([^"]+)"', page)


# -- from the alarm to the tap -----------------------------------------------------------------------------------------


def test_from_two_cameras_that_see_the_same_bare_head_to_both_cases_taken(bench: Bench, far: Service) -> None:
    address = f"{far.origin}/cgi-bin/webhook/send?key=wang"
    with transaction(bench.engine) as db:
        db.add(Shift(id="always", site="north", name="always", start=0, end=0))
        db.add(Contact(id="robot", person=bench.foreman, channel="wecom", address=address))
        db.flush()
        db.add(Duty(id="duty", shift="always", person=bench.foreman))
    handlers = deliver.handlers(
        {**channels.standard(), "wecom": WeCom(frozenset({far.origin}))}, bench.links, bench.store.picture_of
    )

    def pass_by(seconds: float) -> None:
        while run_due(bench.engine, handlers, bench.clock, 20):
            pass
        bench.clock.advance(seconds)

    cases = []
    for camera in ("gate", "yard"):
        cases.append(bench.case(source=camera, place="zone-1"))
        pass_by(2)
    assert far.requests == []
    pass_by(1)
    pass_by(0)
    (request,) = far.requests
    text = json.loads(request.body)["markdown"]["content"]
    (link,) = re.findall(r"\]\((\S+)\)", text)
    phone = bench.reader(follow=True)
    assert sorted(shown(phone.get(link).text)) == cases
    taken = phone.post(link, data={"case": cases[1], "do": "take"})
    assert taken.url.path == f"/cases/{cases[1]}"
    back = re.search(r'class="back" href="([^"]+)"', taken.text)
    assert back is not None
    assert listed(phone.get(back[1]).text) == cases, "what waits for somebody comes first"
    assert "It is mine" in phone.get(f"/cases/{cases[0]}").text
    assert phone.submit(f"/cases/{cases[0]}/take").status_code == 200
    assert [(bench.now(c).owner, bench.now(c).state) for c in cases] == [(bench.foreman, "assigned")] * 2
    assert phone.submit(f"/cases/{cases[0]}/done", {"text": "done"}).status_code == 200
    assert bench.now(cases[0]).result == "done"


# -- what it opens -----------------------------------------------------------------------------------------------------


def test_a_robot_that_opens_everything_changes_nothing(bench: Bench) -> None:
    alarm = bench.alarm()
    case = bench.case_of(alarm).id
    sha256 = bench.keep(alarm, jpeg())
    link = f"/m/{bench.message(bench.foreman, case, bench.case())}"
    picture = f"{link}/evidence/{alarm}/{sha256}"
    before = bench.rows()
    robot = bench.reader(follow=True)
    for method in ("GET", "HEAD"):
        for path in (link, f"{link}?do=take&case={case}", f"{link}?page=2", picture, f"{picture}?small=1", "/"):
            robot.request(method, path)
    assert bench.rows() == before
    answer = robot.get(link)
    assert (answer.status_code, "set-cookie" in answer.headers) == (200, False)
    assert f'src="{picture}' in answer.text
    assert robot.get(picture).headers["content-type"] == "image/jpeg"


def test_it_shows_the_cases_of_its_message_and_nothing_else(bench: Bench) -> None:
    alarms = [bench.alarm() for _ in range(3)]
    cases = [bench.case_of(alarm).id for alarm in alarms]
    files = [bench.keep(alarm, jpeg(shade=n)) for n, alarm in enumerate(alarms)]
    mine, foreign = cases[:2], cases[2]
    bench.message(bench.officer, cases[0], foreign)  # another message of the same person
    bench.message(bench.foreman, *cases)
    token = bench.message(bench.officer, *mine)
    link = f"/m/{token}"
    phone = bench.reader()
    assert sorted(shown(phone.get(link).text)) == mine
    for do in ("take", "open"):
        assert phone.post(link, data={"case": foreign, "do": do}).status_code == 404
    assert phone.post(link, data={"case": "'\0", "do": "take"}).status_code == 422
    assert phone.get(f"{link}/evidence/{alarms[2]}/{files[2]}").status_code == 404
    assert bench.rows()["session"] == [], "none of this opened one"
    assert phone.post(link, data={"case": cases[0]}).headers["location"] == f"/cases/{cases[0]}"
    csrf = phone.token(f"/cases/{cases[0]}")
    for n, code in enumerate((200, 200, 404)):
        assert phone.get(f"/cases/{cases[n]}").status_code == code
        assert phone.get(f"/cases/{cases[n]}/picture").status_code == code
        assert phone.get(f"/evidence/{alarms[n]}/{files[n]}").status_code == code
        assert phone.get(f"/api/cases/{cases[n]}/evidence").status_code == code
        answer = phone.post(f"/cases/{cases[n]}/note", data={"csrf": csrf, "text": "seen"})
        assert answer.status_code == (303 if code == 200 else 404)
    for path in ("/ledger", "/ledger.csv", "/handover", "/admin", "/admin/audit", "/me"):
        assert phone.get(path).status_code == 403, path
    assert sorted(listed(phone.get("/").text)) == mine
    for path in ("/open", "/overdue"):
        assert phone.get(path).headers["location"] == "/"
    api = phone.get("/api/cases", headers={"Accept": "application/json"}).json()
    assert sorted(c["id"] for c in api["cases"]) == mine


def test_a_case_that_is_over_stays_in_the_list_of_its_message(bench: Bench) -> None:
    cases = [bench.case(), bench.case()]
    link = f"/m/{bench.message(bench.foreman, *cases)}"
    bench.logged_in("wang").submit(f"/cases/{cases[0]}/false_alarm", {"text": "a mannequin"})
    page = bench.reader().get(link).text
    assert shown(page) == [cases[1], cases[0]]
    assert page.count("It is mine") == 1


def test_many_cases_come_in_pages(bench: Bench) -> None:
    cases = [bench.case() for _ in range(PER_PAGE + 2)]
    link = f"/m/{bench.message(bench.foreman, *cases)}"
    phone = bench.reader()
    first, second = phone.get(link).text, phone.get(f"{link}?page=2").text
    assert 'href="?page=2"' in first
    assert "?page=3" not in second
    assert sorted(shown(first) + shown(second)) == sorted(cases)
    phone.post(link, data={"case": cases[0]})
    assert sorted(listed(phone.get("/").text) + listed(phone.get("/?page=2").text)) == sorted(cases)


def test_nobody_but_the_reader_of_the_message(bench: Bench) -> None:
    cases = [bench.case(), bench.case()]
    link = bench.links.read(bench.message(bench.foreman, *cases), START, Opens.MESSAGE)
    for person in (bench.second, bench.outsider, "nobody"):
        token = bench.links.sign(link.id, person, START, Opens.MESSAGE)
        assert bench.reader().get(f"/m/{token}").status_code == 410
        assert bench.reader().post(f"/m/{token}", data={"case": cases[0]}).status_code == 410
    assert bench.reader().get(f"/l/{bench.links.sign(link.id, bench.foreman, START)}").status_code == 410


# -- until when --------------------------------------------------------------------------------------------------------


def _left(bench: Bench) -> None:
    with transaction(bench.engine) as db:
        db.execute(update(Person).where(Person.id == bench.foreman).values(active=False))


def _off_the_site(bench: Bench) -> None:
    with transaction(bench.engine) as db:
        db.execute(delete(Membership).where(Membership.person == bench.foreman, Membership.site == "north"))


SPOILT = [
    pytest.param(lambda b: b.clock.advance(LINK_S), id="expired"),
    pytest.param(_left, id="person-left"),
    pytest.param(_off_the_site, id="no-role-on-the-site"),
]


@pytest.mark.parametrize("spoil", SPOILT)
def test_it_opens_nothing_once(bench: Bench, spoil: Callable[[Bench], object]) -> None:
    alarm = bench.alarm()
    cases = [bench.case_of(alarm).id, bench.case()]
    picture = f"evidence/{alarm}/{bench.keep(alarm, jpeg())}"
    link = f"/m/{bench.message(bench.foreman, *cases)}"
    phone = bench.reader()
    assert phone.get(link).status_code == phone.get(f"{link}/{picture}").status_code == 200
    phone.post(link, data={"case": cases[0]})
    assert "No hard hat" in phone.get(f"/cases/{cases[1]}").text
    spoil(bench)
    for reader in (bench.reader(), phone):
        assert reader.get(link).status_code == 410
        assert reader.post(link, data={"case": cases[0], "do": "take"}).status_code == 410
        assert reader.get(f"{link}/{picture}").status_code == 404
    for path in ("/", f"/cases/{cases[0]}", f"/{picture}"):
        answer = phone.get(path, follow_redirects=True)
        assert "No hard hat" not in answer.text
        assert answer.url.path == "/login" or answer.status_code == 404 or "nothing here for you" in answer.text
    assert [bench.now(case).state for case in cases] == ["open"] * 2


def test_of_a_message_about_two_sites_it_shows_the_one_that_the_reader_still_belongs_to(bench: Bench) -> None:
    both = bench.person("two", "Two", ("north", Role.FOREMAN), ("south", Role.FOREMAN))
    here, there = bench.case("north"), bench.case("south")
    link = f"/m/{bench.message(both, here, there)}"
    phone = bench.reader()
    assert sorted(shown(phone.get(link).text)) == [here, there]
    phone.post(link, data={"case": here})
    with transaction(bench.engine) as db:
        db.execute(delete(Membership).where(Membership.person == both, Membership.site == "north"))
    assert shown(bench.reader().get(link).text) == [there]
    assert listed(phone.get("/").text) == [there]
    assert phone.get(f"/cases/{here}").status_code == 404
    assert bench.reader().post(link, data={"case": here, "do": "take"}).status_code == 404


def test_its_session_ends_after_a_day_and_is_opened_by_it_anew(bench: Bench) -> None:
    cases = [bench.case(), bench.case()]
    link = f"/m/{bench.message(bench.foreman, *cases)}"
    phones = [bench.reader() for _ in range(3)]
    for phone in phones:
        phone.post(link, data={"case": cases[0]})
    assert len(bench.rows()["session"]) == 1
    for _ in range(3):
        bench.clock.advance(LINK_SESSION_S / 4)
        assert phones[0].get(f"/cases/{cases[1]}").status_code == 200
    bench.clock.advance(LINK_SESSION_S / 4)
    assert phones[0].get(f"/cases/{cases[1]}").headers["location"].startswith("/login")
    assert shown(phones[0].get(link).text) == cases
    phones[0].post(link, data={"case": cases[1]})
    assert phones[0].get(f"/cases/{cases[1]}").status_code == 200


# -- a phone that has been here before ---------------------------------------------------------------------------------


def _case_link(bench: Bench, phone: Reader, person: str, case: str) -> None:
    phone.post(f"/l/{bench.links.sign(case, person, bench.clock.now())}")


def _message_link(bench: Bench, phone: Reader, person: str, case: str) -> None:
    phone.post(f"/m/{bench.message(person, case, bench.case())}", data={"case": case})


@pytest.mark.parametrize("before", [_case_link, _message_link])
@pytest.mark.parametrize("what", ["another case", "one of the cases", "somebody else's"])
def test_an_older_link_never_stands_before_a_newer_one(
    bench: Bench, before: Callable[[Bench, Reader, str, str], None], what: str
) -> None:
    cases = [bench.case(), bench.case()]
    phone = bench.reader()
    older = cases[0] if what == "one of the cases" else bench.case()
    before(bench, phone, bench.second if what == "somebody else's" else bench.foreman, older)
    link = f"/m/{bench.message(bench.foreman, *cases)}"
    assert shown(phone.get(link).text) == cases
    phone.post(link, data={"case": cases[1], "do": "take"})
    assert bench.now(cases[1]).owner == bench.foreman
    assert sorted(listed(phone.get("/").text)) == cases
    if older not in cases:
        assert phone.get(f"/cases/{older}").status_code == 404
    single = bench.case()
    newer = f"/l/{bench.links.sign(single, bench.foreman, bench.clock.now())}"
    assert phone.get(newer).status_code == 200
    phone.post(newer)
    assert phone.get("/").headers["location"] == f"/cases/{single}"


def test_a_link_is_never_opened_in_somebody_elses_name(bench: Bench) -> None:
    """A phone that goes from hand to hand: its session is li's, the message is for wang."""
    cases = [bench.case(), bench.case()]
    for link, fields in (
        (f"/m/{bench.message(bench.foreman, *cases)}", {"case": cases[0], "do": "take"}),
        (f"/l/{bench.links.sign(cases[1], bench.foreman, START)}", {"do": "take"}),
    ):
        phone = bench.reader()
        phone.post(f"/m/{bench.message(bench.second, *cases)}", data={"case": cases[0]})
        assert phone.get(link).status_code == 200
        assert "This link is for 王强" in phone.get(link).text
        phone.post(link, data=fields)
    assert [bench.now(case).owner for case in cases] == [bench.foreman] * 2


def test_whoever_is_in_already_stays_so_and_sees_the_same_list(bench: Bench) -> None:
    cases = [bench.case(), bench.case()]
    bench.case()
    link = f"/m/{bench.message(bench.foreman, *cases)}"
    wang, phone = bench.logged_in("wang"), bench.reader()
    phone.post(link, data={"case": cases[0]})
    for reader in (wang, phone):
        page = reader.get(link).text
        assert listed(page) == cases
        assert shown(page) == []
    assert len(listed(wang.get("/open").text)) == 3, "the log-in is as it was"


def test_the_log_in_is_not_what_an_older_link_opened(bench: Bench) -> None:
    """It is what messages about no case lead to."""
    phone = bench.reader()
    _case_link(bench, phone, bench.foreman, bench.case())
    path = bench.links.pages().removeprefix(bench.url)
    assert 'name="password"' in phone.get(path).text
    assert bench.logged_in("wang").get(path).headers["location"] == "/"
