"""The administrator: who may, what is written down, what is never shown, what makes no sense."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select
from uuid6 import uuid7

from broker.dispatch.database import reading, transaction
from broker.dispatch.tables import Audit, ChainStep, Contact, Duty, Holiday, Job, Membership, Person, Role, Shift, Site
from broker.dispatch.web.bootstrap import set_admin
from tests.dispatch.web.builders import PASSWORD, Bench, Reader

NORTH = "/admin/sites/north"
SECRET = "ntfy://token-that-nobody-may-read@ntfy.example/topic"  # noqa: S105 of a test
SITE = {
    "name": "North", "time_zone": "Asia/Shanghai", "language": "zh-CN", "retention_days": "60", "storm_per_10min": "9",
    "repeat_min": "10, 5，30", "quiet_start": "22:00", "quiet_end": "06:00", "hold": "1",
}  # fmt: skip


def new() -> str:
    return str(uuid7())


def actions(bench: Bench) -> list[str]:
    with reading(bench.engine) as db:
        return list(db.scalars(select(Audit.action).order_by(Audit.at, Audit.id)))


def test_a_site_is_set_up_from_nothing(bench: Bench) -> None:
    admin = bench.logged_in("root")
    at, shift = "/admin/sites/west", new()
    added = {"id": "west", "name": "西区", "time_zone": "Asia/Shanghai", "language": "zh-CN"}
    assert admin.submit("/admin/sites", added, page="/admin").headers["location"] == at
    for path, fields in (
        ("members", {"login": "wang", "role": "foreman"}),
        ("shifts", {"id": shift, "name": "夜班", "start": "20:00", "end": "08:00", "weekdays": ["0", "6"]}),
        ("duties", {"id": new(), "shift": shift, "person": bench.foreman, "rule": "helmet", "position": "1"}),
        ("chain", {"id": new(), "after_min": "10", "role": "officer"}),
        ("holidays", {"day": "2026-10-10", "name": "调休", "working": "1"}),
        ("holidays/fill", {"country": "cn", "year": "2026"}),
    ):
        assert admin.submit(f"{at}/{path}", fields, page=at).status_code == 303, path
    assert admin.submit(at, SITE, page=at).status_code == 303
    with reading(bench.engine) as db:
        site = db.get_one(Site, "west")
        assert (site.name, site.retention_days, site.hold, site.repeat_min) == ("North", 60, True, [5, 10, 30])
        assert (site.quiet_start, site.quiet_end) == (22 * 60, 6 * 60)
        row = db.scalars(select(Shift).where(Shift.site == "west")).one()
        assert (row.start, row.end, row.weekdays, row.on_holidays) == (1200, 480, 0b1000001, False)
        assert db.scalars(select(Duty)).one().rule == "helmet"
        assert db.scalars(select(ChainStep)).one().after_s == 600
        days = {h.day: h.working for h in db.scalars(select(Holiday).where(Holiday.site == "west"))}
    assert days["2026-10-01"] is False
    assert days["2026-10-10"] is True
    assert actions(bench) == [
        "site_added", "member_added", "shift_added", "duty_added", "step_added", "holiday_added", "holidays_filled",
        "site_changed",
    ]  # fmt: skip
    for path in ("shifts", "duties", "chain"):
        page = admin.get(at).text
        assert f"{at}/{path}/remove" in page or path == "duties"
    assert admin.submit(f"{at}/shifts/remove", {"id": shift}, page=at).status_code == 303
    with reading(bench.engine) as db:
        assert db.scalars(select(Duty)).all() == []  # went with its shift


def test_a_form_sent_twice_makes_one_row(bench: Bench) -> None:
    admin = bench.logged_in("root")
    fields = {"id": new(), "name": "白班", "start": "08:00", "end": "20:00", "weekdays": ["0"]}
    for _ in range(3):
        assert admin.submit(f"{NORTH}/shifts", fields, page=NORTH).status_code == 303
    with reading(bench.engine) as db:
        assert len(db.scalars(select(Shift)).all()) == 1


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("shifts", {"name": "x", "start": "25:00", "end": "08:00", "weekdays": ["0"]}),
        ("shifts", {"name": "x", "start": "07:00", "end": "08:00"}),  # on no weekday
        ("shifts", {"name": "", "start": "07:00", "end": "08:00", "weekdays": ["0"]}),
        ("duties", {"shift": "none", "person": "none"}),
        ("chain", {"after_min": "10"}),
        ("chain", {"after_min": "10", "role": "king"}),
        ("chain", {"after_min": "1", "role": "officer"}),  # the norm's five minutes come first
        ("chain", {"after_min": "10", "person": "nobody"}),
        ("holidays", {"day": "2026-02-30"}),
        ("holidays/fill", {"country": "XX", "year": "2026"}),
        ("members", {"login": "nobody", "role": "foreman"}),
        ("members", {"login": "wang", "role": "king"}),
        ("", SITE | {"quiet_end": ""}),
        ("", SITE | {"time_zone": "Mars/Base"}),
        ("", SITE | {"retention_days": "0"}),
        ("", SITE | {"repeat_min": "5, soon"}),
    ],
)
def test_what_makes_no_sense_is_told_and_not_kept(bench: Bench, path: str, fields: dict[str, object]) -> None:
    admin = bench.logged_in("root")
    before = bench.rows()
    answer = admin.submit(f"{NORTH}/{path}".rstrip("/"), {"id": new()} | fields, page=NORTH)
    assert answer.status_code == 422
    assert {k: v for k, v in bench.rows().items() if k != "session"} == {
        k: v for k, v in before.items() if k != "session"
    }


def test_addresses_and_passwords_go_in_and_never_come_out(bench: Bench) -> None:
    admin = bench.logged_in("root")
    at = f"/admin/people/{bench.foreman}"
    contact = {"id": new(), "channel": "ntfy", "address": SECRET}
    assert admin.submit(f"{at}/contacts", contact, page=at).status_code == 303
    assert admin.submit(f"{at}/password", {"password": "another long phrase"}, page=at).status_code == 303
    with reading(bench.engine) as db:
        assert db.scalars(select(Contact.address)).one() == SECRET
        kept = db.get_one(Person, bench.foreman).password
    assert kept is not None
    assert kept.startswith("$argon2id$")
    pages = "".join(admin.get(p).text for p in (at, "/admin", NORTH, "/admin/audit"))
    assert "token-that-nobody" not in pages
    assert "argon2" not in pages
    with reading(bench.engine) as db:
        written = str([(a.action, a.subject, a.detail) for a in db.scalars(select(Audit))])
    assert "token-that-nobody" not in written
    assert "another long phrase" not in written
    assert actions(bench) == ["contact_added", "password_set"]


def test_a_new_password_ends_the_log_ins_made_with_the_old_one(bench: Bench) -> None:
    old = bench.logged_in("wang")
    admin = bench.logged_in("root")
    at = f"/admin/people/{bench.foreman}"
    admin.submit(f"{at}/password", {"password": "another long phrase"}, page=at)
    assert old.get("/").status_code == 303
    assert bench.reader().log_in("wang").status_code == 403
    assert bench.reader().log_in("wang", "another long phrase").status_code == 303


def everything(bench: Bench) -> list[tuple[str, dict[str, str]]]:
    person = f"/admin/people/{bench.foreman}"
    return [
        ("/admin/sites", {"id": "x", "name": "x", "time_zone": "Asia/Shanghai", "language": "en"}),
        ("/admin/people", {"id": new(), "login": "new", "name": "x", "language": "en"}),
        (person, {"name": "x", "language": "en", "active": "1"}),
        (f"{person}/password", {"password": "x" * 20}),
        (f"{person}/contacts", {"id": new(), "channel": "ntfy", "address": "ntfy://x"}),
        (f"{person}/roles", {"site": "*", "role": "admin"}),
        ("/admin/sites/south", SITE),
        ("/admin/sites/south/members", {"login": "wang", "role": "admin"}),
    ]


@pytest.mark.parametrize("login", ["wang", "chen", "zhao", "site-admin"])
def test_others_change_nothing_of_people_or_foreign_sites(bench: Bench, login: str) -> None:
    bench.person("site-admin", "Site", ("north", Role.ADMIN))
    reader: Reader = bench.logged_in(login)
    csrf = reader.token("/")
    before = bench.rows()
    for path, fields in everything(bench):
        assert reader.post(path, data={"csrf": csrf} | fields).status_code in (403, 404), path
    for path in (f"/admin/people/{bench.admin}", "/admin/sites/south"):
        assert reader.get(path).status_code in (403, 404), path
    assert bench.rows() == before


def test_an_administrator_of_a_site_manages_that_site(bench: Bench) -> None:
    bench.person("site-admin", "Site", ("north", Role.ADMIN))
    reader = bench.logged_in("site-admin")
    assert reader.submit(f"{NORTH}/members", {"login": "smith", "role": "foreman"}, page=NORTH).status_code == 303
    assert "South yard" not in reader.get("/admin").text
    with reading(bench.engine) as db:
        assert db.get(Membership, (bench.outsider, "north", "foreman")) is not None


def test_rows_of_another_site_are_out_of_reach(bench: Bench) -> None:
    bench.person("site-admin", "Site", ("south", Role.ADMIN))
    shift = new()
    fields = {"id": shift, "name": "白班", "start": "08:00", "end": "20:00", "weekdays": ["0"]}
    bench.logged_in("root").submit(f"{NORTH}/shifts", fields, page=NORTH)
    reader = bench.logged_in("site-admin")
    south = "/admin/sites/south"
    reader.submit(f"{south}/shifts/remove", {"id": shift}, page=south)
    duty = {"id": new(), "shift": shift, "person": bench.outsider}
    assert reader.submit(f"{south}/duties", duty, page=south).status_code == 422
    with reading(bench.engine) as db:
        assert db.get(Shift, shift) is not None
        assert db.scalars(select(Duty)).all() == []


def test_the_last_administrator_stays(bench: Bench) -> None:
    admin = bench.logged_in("root")
    at = f"/admin/people/{bench.admin}"
    for path, fields in (
        (at, {"name": "Admin", "language": "en", "active": ""}),
        (f"{at}/roles/remove", {"site": "*", "role": "admin"}),
    ):
        assert admin.submit(path, fields, page=at).status_code == 422
    assert admin.get("/admin").status_code == 200


def test_the_first_administrator_is_made_on_the_command_line(idle: Bench) -> None:
    assert set_admin(idle.engine, "First", "First", "a very long phrase", idle.clock.now()) is True
    assert set_admin(idle.engine, "first", "First", "a very new phrase!", idle.clock.now()) is False
    assert actions(idle) == ["admin_set", "admin_set"]
    assert PASSWORD not in str(idle.rows()["audit"])


def test_no_log_in_comes_with_the_installation(bench: Bench) -> None:
    for name in ("admin", "root", "banksman"):
        for password in ("", "admin", "password", "banksman", "changeme"):
            if name != "root":
                assert bench.reader().log_in(name, password).status_code in (403, 429)


def test_days_and_members_are_removed_each_by_its_own_route(bench: Bench) -> None:
    admin = bench.logged_in("root")
    assert admin.submit(f"{NORTH}/holidays", {"day": "2026-10-01", "name": "国庆节"}, page=NORTH).status_code == 303
    for what, fields in (
        ("holidays", {"day": "2026-10-01"}),
        ("members", {"person": bench.second, "role": "foreman"}),
    ):
        assert admin.submit(f"{NORTH}/{what}/remove", fields, page=NORTH).status_code == 303
    with reading(bench.engine) as db:
        assert db.scalars(select(Holiday)).all() == []
        assert db.scalars(select(Membership).where(Membership.person == bench.second)).all() == []
    assert admin.submit(f"{NORTH}/cases/remove", {"id": "1"}, page=NORTH).status_code == 404


def crew(bench: Bench) -> dict[str, str]:
    """A shift, a duty and a step of the chain of the north; ids by path."""
    ids = {path: new() for path in ("shifts", "duties", "chain")}
    with transaction(bench.engine) as db:
        db.add(Shift(id=ids["shifts"], site="north", name="白班", start=480, end=1200))
        db.flush()
        db.add(Duty(id=ids["duties"], shift=ids["shifts"], person=bench.foreman, rule="helmet", from_day="2026-09-01"))
        db.add(ChainStep(id=ids["chain"], site="north", after_s=600, role="officer"))
    return ids


def test_shifts_duties_and_steps_are_changed_where_they_stand(bench: Bench) -> None:
    ids, admin = crew(bench), bench.logged_in("root")
    forms: dict[str, dict[str, Any]] = {
        "shifts": {"name": "早班", "start": "07:00", "end": "15:30", "weekdays": ["0", "1"]},
        "duties": {"shift": ids["shifts"], "person": bench.second, "position": "2", "to_day": "2026-12-31"},
        "chain": {"after_min": "20", "person": bench.officer},
    }
    for path, fields in forms.items():
        assert admin.submit(f"{NORTH}/{path}", {"id": ids[path], "change": "1"} | fields, page=NORTH).status_code == 303
    with reading(bench.engine) as db:
        shift, duty, step = (
            db.scalars(select(Shift)).one(),
            db.scalars(select(Duty)).one(),
            db.scalars(select(ChainStep)).one(),
        )
        assert (shift.id, shift.name, shift.start, shift.end, shift.weekdays, shift.on_holidays) == (
            ids["shifts"], "早班", 420, 930, 0b11, False,
        )  # fmt: skip
        assert (duty.person, duty.rule, duty.position, duty.from_day, duty.to_day) == (
            bench.second, None, 2, None, "2026-12-31",
        )  # fmt: skip
        assert (step.after_s, step.person, step.role) == (1200, bench.officer, None)
        lines = db.scalars(select(Audit).order_by(Audit.at, Audit.id)).all()
    assert [line.action for line in lines] == ["shift_changed", "duty_changed", "step_changed"]
    assert (lines[0].detail["start"], lines[0].detail["start_before"]) == (420, 480)
    assert lines[2].detail["role_before"] == "officer"


def test_the_form_of_a_change_holds_what_is_there(bench: Bench) -> None:
    crew(bench)
    page = bench.logged_in("root").get(NORTH).text
    for shown in (
        'value="白班"',
        'name="start" value="08:00"',
        'name="from_day" value="2026-09-01"',
        'value="10" required',
    ):
        assert shown in page, shown
    assert page.count('name="change" value="1"') == 3


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"start": "25:00"}, 422),
        ({"weekdays": []}, 422),  # the whole would make no sense
        ({"id": "00000000-0000-0000-0000-000000000000"}, 409),
    ],
)
def test_a_change_that_makes_no_sense_changes_nothing(bench: Bench, fields: dict[str, object], code: int) -> None:
    ids, admin = crew(bench), bench.logged_in("root")
    good = {"id": ids["shifts"], "change": "1", "name": "x", "start": "07:00", "end": "15:30", "weekdays": ["0"]}
    assert admin.submit(f"{NORTH}/shifts", good | fields, page=NORTH).status_code == code
    with reading(bench.engine) as db:
        assert db.scalars(select(Shift)).one().name == "白班"
    assert actions(bench) == []


def test_what_is_of_another_site_is_not_changed(bench: Bench) -> None:
    ids, admin = crew(bench), bench.logged_in("root")
    south = "/admin/sites/south"
    forms: dict[str, dict[str, Any]] = {
        "shifts": {"name": "x", "start": "07:00", "end": "15:30", "weekdays": ["0"]},
        "chain": {"after_min": "20", "role": "officer"},
    }
    for path, fields in forms.items():
        answer = admin.submit(f"{south}/{path}", {"id": ids[path], "change": "1"} | fields, page=south)
        assert answer.status_code == 409, path


# -- who may take no cases any more ------------------------------------------------------------------------------------


def on_duty(bench: Bench, person: str) -> None:
    """Alone on the night shift of the north, and a step of its chain; on duty in the south, too, if they may."""
    with transaction(bench.engine) as db:
        for site in ("north", "south"):
            db.add(Shift(id=f"night-{site}", site=site, name=f"夜班 {site}", start=1200, end=480))
            db.flush()
            db.add(Duty(id=f"duty-{site}", shift=f"night-{site}", person=person))
            db.add(ChainStep(id=f"step-{site}", site=site, after_s=600, person=person))


def left(bench: Bench) -> set[str]:
    with reading(bench.engine) as db:
        return {*db.scalars(select(Duty.id).where(Duty.to_day.is_(None))), *db.scalars(select(ChainStep.id))}


def leave(bench: Bench, how: str, person: str) -> tuple[Reader, str]:
    """A form of an administrator; gives the page that it leads to."""
    admin = bench.logged_in("root")
    at = f"/admin/people/{person}"
    forms: dict[str, tuple[str, dict[str, str], str]] = {
        "removed from the site": (f"{NORTH}/members/remove", {"person": person, "role": "foreman"}, NORTH),
        "role taken": (f"{at}/roles/remove", {"site": "north", "role": "foreman"}, at),
        "role everywhere taken": (f"{at}/roles/remove", {"site": "*", "role": "foreman"}, at),
        "left": (at, {"name": "X", "language": "en", "active": ""}, at),
    }
    path, fields, page = forms[how]
    answer = admin.submit(path, fields, page=page)
    assert answer.status_code == 303
    return admin, answer.headers["location"]


@pytest.mark.parametrize("how", ["removed from the site", "role taken", "left"])
def test_with_the_role_end_duty_chain_and_cases_and_the_page_says_so(bench: Bench, how: str) -> None:
    bench.logged_in("root").submit("/admin/sites/south/members", {"login": "wang", "role": "officer"}, NORTH)
    on_duty(bench, bench.foreman)
    case, over = bench.case(), bench.case()
    foreman = bench.logged_in("wang")
    for one in (case, over):
        foreman.submit(f"/cases/{one}/take")
    foreman.submit(f"/cases/{over}/false_alarm", {"text": "a bucket"})
    bench.clock.advance(3600)
    admin, page = leave(bench, how, bench.foreman)
    everywhere = how == "left"
    assert left(bench) == (set() if everywhere else {"duty-south", "step-south"})
    assert (bench.now(case).state, bench.now(case).owner) == ("open", None)
    assert bench.now(case).review_from == bench.clock.now()
    assert bench.now(over).owner == bench.foreman, "what is over keeps its owner"
    assert bench.ledger(case) == ["opened", "taken", "released"]
    with reading(bench.engine) as db:
        lines = db.scalars(select(Audit).where(Audit.action.like("%ended") | Audit.action.like("%back"))).all()
        told = {(line.action, line.site, line.detail["name"], line.actor) for line in lines}
        asked = db.scalars(select(Job.asked).where(Job.key.in_([f"{case}:raised", case]))).all()
    of_north = {
        ("duty_ended", "north", "夜班 north", bench.admin), ("step_ended", "north", "600", bench.admin),
        ("case_given_back", "north", case, bench.admin),
    }  # fmt: skip
    of_south = {("duty_ended", "south", "夜班 south", bench.admin), ("step_ended", "south", "600", bench.admin)}
    assert told == (of_north | of_south if everywhere else of_north)
    assert asked == [2, 2], "those on duty are told, and the chain, as of a new alarm"
    duties = 2 if everywhere else 1
    for language, ended, empty in (
        (
            "en",
            f"With it ended: {duties} duties, {duties} escalation steps; 1 cases",
            "Nobody is on duty for all rules",
        ),
        ("zh-CN", f"随之结束：值班 {duties} 项，升级 {duties} 级；手上的 1 个事项", "以下班次无人值守全部规则："),
    ):
        shown = admin.get(f"{page}&lang={language}").text
        assert ended in shown
        assert empty in shown
        assert "夜班 north" in shown
        assert ("夜班 south" in shown) == everywhere
    assert "夜班 north" in admin.get(NORTH).text
    assert "Nobody is on duty" in admin.get(f"{NORTH}?lang=en").text, "as long as it is so"


def test_a_role_on_all_sites_that_is_taken_ends_what_hung_on_it_everywhere(bench: Bench) -> None:
    key = bench.person("sun", "Sun", ("*", Role.FOREMAN), ("north", Role.OFFICER))
    on_duty(bench, key)
    leave(bench, "role everywhere taken", key)
    assert left(bench) == {"duty-north", "step-north"}


def test_who_keeps_another_role_that_takes_cases_keeps_all(bench: Bench) -> None:
    with transaction(bench.engine) as db:
        db.add(Membership(person=bench.foreman, site="north", role="officer"))
    on_duty(bench, bench.foreman)
    case = bench.case()
    bench.logged_in("wang").submit(f"/cases/{case}/take")
    _, page = leave(bench, "removed from the site", bench.foreman)
    assert left(bench) == {"duty-north", "step-north", "duty-south", "step-south"}, "no other site is touched"
    assert bench.now(case).owner == bench.foreman
    assert page == NORTH


def test_a_done_case_of_who_left_is_anybodys_to_answer(bench: Bench) -> None:
    case = bench.case()
    first, second = bench.logged_in("wang"), bench.logged_in("li")
    first.submit(f"/cases/{case}/take")
    first.submit(f"/cases/{case}/done", {"text": "helmets handed out"})
    assert second.submit(f"/cases/{case}/answer", {"text": "told"}).status_code == 409
    leave(bench, "left", bench.foreman)
    assert bench.now(case).state == "resolved"
    assert second.submit(f"/cases/{case}/answer", {"text": "told"}).status_code == 303
    assert bench.now(case).state == "answered"


@pytest.mark.parametrize("path", ["duties", "chain"])
@pytest.mark.parametrize(
    ("who", "said"),
    [
        ("installer", {"en": "an active foreman or safety officer", "zh-CN": "只有可以接手事项的人"}),
        ("admin", {"en": "an active foreman or safety officer", "zh-CN": "只有可以接手事项的人"}),
        ("outsider", {"en": "does not belong to the site", "zh-CN": "此人不属于本工地"}),
    ],
)
def test_only_who_may_take_a_case_is_put_on_duty_or_in_the_chain(
    bench: Bench, path: str, who: str, said: dict[str, str]
) -> None:
    crew(bench)
    admin = bench.logged_in("root")
    with reading(bench.engine) as db:
        shift = db.scalars(select(Shift.id)).one()
    before = left(bench)
    fields = {"id": new(), "person": getattr(bench, who), "shift": shift, "after_min": "10"}
    for language, words in said.items():
        answer = admin.submit(f"{NORTH}/{path}?lang={language}", fields, page=NORTH)
        assert answer.status_code == 422
        assert words in answer.text
    assert left(bench) == before
    fields["person"] = bench.second
    assert admin.submit(f"{NORTH}/{path}", fields, page=NORTH).status_code == 303


@pytest.mark.parametrize(("role", "code"), [("installer", 422), ("admin", 422), ("foreman", 303), ("officer", 303)])
def test_a_chain_is_made_of_roles_that_take_cases(bench: Bench, role: str, code: int) -> None:
    admin = bench.logged_in("root")
    fields = {"id": new(), "after_min": "10", "role": role}
    assert admin.submit(f"{NORTH}/chain", fields, page=NORTH).status_code == code


def test_what_was_left_behind_is_marked_on_the_page(bench: Bench) -> None:
    on_duty(bench, bench.installer)
    page = bench.logged_in("root").get(f"{NORTH}?lang=en").text
    assert "does not count: may take no cases here" in page
    assert "nobody on duty for all rules" in page
    assert "nobody takes cases here" in page
