"""From an alarm message to a robot's request: who is told, when, how often, and what if it does not arrive."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete
from sqlalchemy.orm import Session

from broker.dispatch import jobs, leaving, watch
from broker.dispatch.cases import Answer as TellReporter
from broker.dispatch.cases import Close, Done, FalseAlarm, Give, Take
from broker.dispatch.database import transaction
from broker.dispatch.notify import asking, post
from broker.dispatch.notify.asking import EVERY_SITE
from broker.dispatch.tables import Contact, Membership, Node, Person, Shift, Site
from broker.pki import names
from broker.pki.authority import Pki
from broker.pki.certificates import PRIVATE
from tests.dispatch.due import run_due
from tests.dispatch.notify.stubs import Answer, Request
from tests.dispatch.notify.yard import BAD_TOKEN, BUSY, OK, Yard

JPEG = b"\xff\xd8\xff"
HELMET = "【警告】未戴安全帽 1人｜东门工地 pit-1"


def titles(yard: Yard, person: str) -> list[str]:
    return yard.told().get(person, [])


# -- who, and when -----------------------------------------------------------------------------------------------------


def test_whoever_is_on_shift_is_told_after_three_seconds(yard: Yard) -> None:
    case = yard.event()
    yard.run(2.9)
    assert yard.told() == {}
    yard.run(0.1)
    assert yard.told() == {"li": [HELMET]}
    assert f"]({yard.links.case(case, 'li', yard.clock.now())})" in yard.text(yard.far.requests[0])
    assert yard.deliveries() == [("li", "raised", "sent", "ok")]
    assert ("told", {"about": "raised", "person": "li", "channel": "dingtalk"}) in yard.ledger(case)


def by_wecom(yard: Yard) -> None:
    """li's robot is one that takes pictures."""
    yard.change(Contact, "c-li", channel="wecom", address=f"{yard.far.origin}/cgi-bin/webhook/send?key=li")


def test_a_critical_one_goes_as_soon_as_its_picture_is_there(yard: Yard) -> None:
    by_wecom(yard)
    yard.event(severity="critical", alarm="a")
    yard.picture("a", JPEG + b"of a")
    yard.run(1.0)
    assert yard.told() == {"li": ["【危急】未戴安全帽 1人｜东门工地 pit-1", "(picture of a)"]}


@pytest.mark.parametrize(("severity", "word"), [("critical", "危急"), ("warning", "警告")])
@pytest.mark.parametrize(("comes_after", "picture"), [(2.0, ["(picture of b)"]), (4.0, []), (None, [])])
def test_an_alarm_that_joins_a_case_waits_for_its_own_picture_and_goes_with_no_other(
    yard: Yard, severity: str, word: str, comes_after: float | None, picture: list[str]
) -> None:
    by_wecom(yard)
    case = yard.event(severity=severity, alarm="a")
    yard.picture("a", JPEG + b"of a")
    yard.run(60)
    yard.clear(severity=severity, alarm="a")
    yard.run(60)
    yard.told()
    assert yard.event(severity=severity, alarm="b") == case
    yard.run(min(comes_after or 2.9, 2.9))
    assert yard.told() == {}
    if comes_after == 2.0:
        yard.picture("b", JPEG + b"of b")
    yard.run(3.0 - min(comes_after or 2.9, 2.9))
    assert yard.told() == {"li": [f"【{word}】未戴安全帽 1人｜东门工地 pit-1", *picture]}
    if comes_after == 4.0:
        yard.run(1.0)
        yard.picture("b", JPEG + b"of b")
    yard.run(30)
    assert yard.told() == {}


def test_ten_helmets_are_one_message(yard: Yard) -> None:
    for n in range(10):
        yard.event(place=f"pit-{n}")
        yard.run(0.2)
    yard.run(60)
    assert yard.told() == {"li": ["【警告】未戴安全帽 10人｜东门工地 10 处"]}
    assert [state for _, _, state, _ in yard.deliveries()] == ["sent"] * 10
    assert len(yard.linked("li")) == 1
    assert len(yard.linked("li")[0]) == 10


def test_nobody_on_duty_the_next_in_line_is_told_and_told_why(yard: Yard) -> None:
    with yard.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM duty")
    yard.event()
    yard.run(3)
    assert yard.told() == {"chen": [HELMET]}
    assert "当前无人值班，由您接手或转交。" in yard.text(yard.far.requests[0])


def test_given_to_somebody_tells_them(yard: Yard) -> None:
    case = yard.event()
    yard.run(3)
    yard.do(case, Give("wang"), "li")
    yard.run(0)
    assert titles(yard, "wang") == ["【警告·交给您】未戴安全帽 1人｜东门工地 pit-1"]


def test_the_reader_s_language(yard: Yard) -> None:
    yard.change(Person, "li", language="en")
    yard.event()
    yard.run(3)
    assert titles(yard, "li") == ["Warning: No hard hat, 1 person | 东门工地, pit-1"]


# -- who has no role on the site any more ------------------------------------------------------------------------------


def removed(yard: Yard, person: str, role: str | None = None) -> None:
    """Of the site, or to another role, with duties and steps left behind as databases of before have them."""
    with transaction(yard.engine) as session:
        session.execute(delete(Membership).where(Membership.person == person))
        if role:
            session.add(Membership(person=person, site="east", role=role))


@pytest.mark.parametrize("role", [None, "installer", "admin"])
def test_who_may_take_no_case_any_more_is_not_on_duty_and_the_next_in_line_hears_at_once(
    yard: Yard, role: str | None
) -> None:
    removed(yard, "li", role)
    yard.event(severity="critical")
    yard.run(5)
    assert set(yard.told()) == {"chen"}


def test_a_step_of_the_chain_who_may_take_no_case_any_more_is_passed_over(yard: Yard) -> None:
    removed(yard, "chen")
    yard.event()
    yard.run(1000)
    assert set(yard.told()) == {"li", "boss"}


def test_what_waits_for_somebody_who_is_removed_goes_to_the_next_in_line(yard: Yard) -> None:
    yard.event(severity="critical")  # whose picture is waited for
    yard.run(0.5)
    assert yard.deliveries(state="waiting") == [("li", "raised", "waiting", "")]
    removed(yard, "li")
    yard.run(5)
    assert set(yard.told()) == {"chen"}
    assert ("li", "raised", "dropped", "no_role") in yard.deliveries()


def test_cases_of_who_left_are_told_to_those_on_duty_like_new_ones(yard: Yard) -> None:
    """Without anybody pressing a button: whoever left before dispatch knew of it, or was given one while leaving."""
    case = yard.event()
    yard.run(10)
    yard.do(case, Give("wang"), "li")
    yard.run(4000)
    yard.told()
    leaving.give_back(yard.engine, yard.clock.now())
    yard.run(400)
    assert yard.told() == {}, "wang is there"
    removed(yard, "wang")
    leaving.give_back(yard.engine, yard.clock.now())
    assert ("released", {"from": "wang"}) in yard.ledger(case)
    yard.run(10)
    assert yard.told() == {"li": [HELMET]}
    yard.run(300)
    assert yard.told() == {"chen": ["【升级·警告】未戴安全帽 1人｜东门工地 pit-1"]}


# -- the life of an alarm ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"subjects": 3}, ["【警告·加重】未戴安全帽 3人｜东门工地 pit-1"]),
        ({"severity": "critical"}, ["【危急·加重】未戴安全帽 1人｜东门工地 pit-1"]),
        ({"subjects": 1}, []),
        ({"subjects": 0}, []),
    ],
)
def test_more_people_or_worse_tells_again(yard: Yard, change: dict[str, Any], again: list[str]) -> None:
    yard.event(alarm="a")
    yard.run(10)
    yard.told()
    yard.event(alarm="a", event="updated", **change)
    yard.run(10)
    assert titles(yard, "li") == again


def test_cleared_goes_to_those_who_heard_that_it_was_raised(yard: Yard) -> None:
    yard.event(alarm="a")
    yard.run(60)
    assert yard.told() == {"li": [HELMET]}
    yard.clear(alarm="a")
    yard.run(60)
    assert yard.told() == {"li": ["【已解除】未戴安全帽｜东门工地 pit-1"]}


def test_cleared_goes_to_nobody_else_even_after_the_shift_changed(yard: Yard) -> None:
    yard.clock.advance(9 * 3600 + 54 * 60)  # 06:59
    yard.event(alarm="a")
    yard.run(30)
    yard.told()
    yard.run(120)  # wang's shift
    yard.clear(alarm="a")
    yard.run(30)
    assert yard.told() == {"li": ["【已解除】未戴安全帽｜东门工地 pit-1"]}


def test_raised_and_cleared_in_one_breath_is_one_message_that_says_both(yard: Yard) -> None:
    yard.event(alarm="a")
    yard.run(1)
    yard.clear(alarm="a")
    yard.run(60)
    assert yard.told() == {"li": [HELMET]}
    assert "自行解除，仍须复核" in yard.text(yard.far.requests[0])
    assert yard.deliveries() == [("li", "raised", "sent", "ok"), ("li", "cleared", "dropped", "merged")]


def test_each_raise_of_a_case_has_its_clear(yard: Yard) -> None:
    for alarm in ("a", "b"):
        yard.event(alarm=alarm)
        yard.run(60)
        yard.clear(alarm=alarm)
        yard.run(60)
    cleared = "【已解除】未戴安全帽｜东门工地 pit-1"
    assert titles(yard, "li") == [HELMET, cleared, HELMET, cleared]


def test_a_resolved_case_that_is_raised_again_is_told_as_reopened(yard: Yard) -> None:
    case = yard.event(alarm="a")
    yard.run(5)
    yard.do(case, Take(), "li")
    yard.do(case, Done("叫他戴上了"), "li")
    yard.told()
    yard.event(alarm="b")
    yard.run(5)
    assert yard.told() == {"li": ["【警告·重开】未戴安全帽 1人｜东门工地 pit-1"]}


# -- repeats and the chain ---------------------------------------------------------------------------------------------


def test_an_unanswered_case_is_told_again_at_the_site_s_minutes(yard: Yard) -> None:
    yard.change(Site, "east", repeat_min=[2, 4, 20])
    case = yard.event()
    yard.run(4.5 * 60)
    again = "【警告·无人接手】未戴安全帽 1人｜东门工地 pit-1"
    assert yard.told() == {"li": [HELMET, again, again]}
    yard.do(case, Take(), "li")
    yard.run(3600)
    assert yard.told() == {}


def test_a_repeat_goes_to_whoever_is_on_shift_by_then(yard: Yard) -> None:
    yard.change(Site, "east", repeat_min=[4])
    yard.clock.advance(9 * 3600 + 52 * 60)  # 06:57
    yard.event()
    yard.run(4.5 * 60)
    assert yard.told() == {"li": [HELMET], "wang": ["【警告·无人接手】未戴安全帽 1人｜东门工地 pit-1"]}


def test_a_case_that_nobody_takes_goes_up_the_chain(yard: Yard) -> None:
    case = yard.event()
    yard.run(299)
    yard.told()
    up = "【升级·警告】未戴安全帽 1人｜东门工地 pit-1"
    yard.run(2)
    assert yard.told() == {"chen": [up]}
    assert ("escalated", {"people": ["chen"]}) in yard.ledger(case)
    yard.run(598)
    assert yard.told() == {}
    yard.run(10)
    assert yard.told() == {"boss": [up]}
    yard.run(86_400)
    assert yard.told() == {}


def test_a_case_that_is_taken_does_not_go_up(yard: Yard) -> None:
    case = yard.event()
    yard.run(200)
    yard.do(case, Take(), "li")
    yard.told()
    yard.run(86_400)
    assert yard.told() == {}


def test_dispatch_that_was_down_tells_each_missed_step_once(yard: Yard) -> None:
    yard.event()
    yard.run(5)
    yard.told()
    yard.clock.advance(7200)
    yard.run(60)
    up = "【升级·警告】未戴安全帽 1人｜东门工地 pit-1"
    assert yard.told() == {"chen": [up], "boss": [up]}


# -- quiet hours, storms, late -----------------------------------------------------------------------------------------


def test_quiet_hours_hold_what_is_not_critical_until_they_end(yard: Yard) -> None:
    yard.change(Site, "east", quiet_start=21 * 60, quiet_end=22 * 60)
    yard.event()
    yard.event(rule="intrusion", severity="critical")
    yard.run(1800)
    assert {person: [t for t in told if "安全帽" in t] for person, told in yard.told().items()} == {
        "li": [],
        "chen": [],
        "boss": [],
    }
    yard.run(1600)  # 22:01
    assert [t for t in titles(yard, "li") if "安全帽" in t] == [HELMET]


def test_what_is_over_when_quiet_hours_end_is_not_told(yard: Yard) -> None:
    yard.change(Site, "east", quiet_start=21 * 60, quiet_end=22 * 60)
    case = yard.event()
    yard.run(60)
    yard.do(case, FalseAlarm("helmet under the hood"), "li")
    yard.run(3600)
    assert yard.told() == {}
    assert yard.deliveries() == [("li", "raised", "dropped", "over")]


def test_above_the_rate_there_are_digests(yard: Yard) -> None:
    yard.change(Site, "east", storm_per_10min=5)
    for n in range(12):
        yard.event(rule=f"rule_{n}")
        yard.run(4)
    yard.run(240)
    told = titles(yard, "li")
    assert len(told) == 5
    yard.run(400)
    digests = titles(yard, "li")
    assert digests[0] == "【汇总】短时间内 7 项告警，0 项危急｜东门工地"
    assert yard.deliveries(state="waiting") == []


def test_in_a_storm_a_critical_one_comes_within_a_minute(yard: Yard) -> None:
    yard.change(Site, "east", storm_per_10min=3)
    for n in range(8):
        yard.event(rule=f"rule_{n}")
        yard.run(4)
    yard.told()
    yard.event(rule="intrusion", severity="critical")
    yard.run(60)
    assert titles(yard, "li") == ["【汇总】短时间内 6 项告警，1 项危急｜东门工地"]


def test_what_comes_late_is_one_digest_a_site(yard: Yard) -> None:
    yard.event(place="another")
    yard.run(30)
    yard.told()
    yard.event(place="a", age_s=1200)
    yard.event(place="b", rule="barrier", age_s=1100)
    yard.clear(place="c", age_s=900)
    yard.run(120)
    assert yard.told() == {"li": ["【断网补报】3 项告警，2 项未解除｜东门工地"]}


def test_late_and_already_cleared_tells_nobody(yard: Yard) -> None:
    yard.event(alarm="a", age_s=1200)
    yard.clear(alarm="a", age_s=900)
    yard.event(alarm="b", rule="intrusion", severity="critical", age_s=1200)
    yard.clear(alarm="b", rule="intrusion", severity="critical", age_s=900)
    yard.run(3600)
    assert yard.told() == {}, "nor does it go up the chain"


def test_when_it_comes_back_the_five_minutes_begin(yard: Yard) -> None:
    yard.event(alarm="a", age_s=1200)
    yard.clear(alarm="a", age_s=900)
    yard.run(3600)
    yard.event(alarm="b")
    yard.run(10)
    assert list(yard.told()) == ["li"]
    yard.clear(alarm="b")
    yard.run(280)
    assert list(yard.told()) == ["li"]
    yard.run(20)
    assert list(yard.told()) == ["chen"]


def test_late_but_active_and_critical_tells_as_usual(yard: Yard) -> None:
    yard.event(rule="intrusion", severity="critical", age_s=1200)
    yard.run(60)
    assert yard.told() == {"li": ["【危急】有人进入禁入区 1人｜东门工地 pit-1"]}
    yard.run(60)
    assert yard.told() == {}


# -- feedback and hand-over --------------------------------------------------------------------------------------------


def answered(yard: Yard) -> None:
    case = yard.event()
    yard.run(301)  # li was told, and chen
    yard.do(case, Take(), "wang")
    yard.do(case, Done("戴上了"), "wang")
    yard.told()
    yard.do(case, TellReporter("done, thank you"), "wang")


def test_those_who_heard_of_a_case_are_told_what_came_of_it(yard: Yard) -> None:
    answered(yard)
    yard.run(5)
    assert yard.told() == {name: ["【已答复】未戴安全帽｜东门工地 pit-1"] for name in ("li", "chen")}
    assert "处理结果：戴上了" in yard.text(yard.far.requests[-1])


def test_who_was_removed_meanwhile_is_not_told_what_came_of_it(yard: Yard) -> None:
    answered(yard)
    removed(yard, "chen")
    yard.run(24 * 3600)
    assert set(yard.told()) == {"li"}
    assert ("chen", "feedback", "dropped", "no_role") in yard.deliveries()


def test_at_the_end_of_a_shift_both_crews_get_the_report(yard: Yard) -> None:
    yard.ask("handover", EVERY_SITE, yard.clock.now())
    case = yard.event(severity="critical")
    yard.run(30)
    yard.do(case, Take(), "li")
    yard.told()
    yard.run(9 * 3600 + 50 * 60)
    assert yard.told() == {}
    yard.run(600)  # 07:05
    told = yard.told()
    assert {name: len(found) for name, found in told.items()} == {"li": 1, "wang": 1}
    assert "东门工地" in told["li"][0]
    assert "未戴安全帽" in yard.text(yard.far.requests[-1])
    assert sorted(yard.deliveries(about="handover")) == [
        ("li", "handover", "sent", "ok"),
        ("wang", "handover", "sent", "ok"),
    ]
    yard.run(12 * 3600)
    assert set(yard.told()) == {"li", "wang"}, "and at the end of the next one"


def test_after_days_of_being_down_only_the_last_shift_is_reported(yard: Yard) -> None:
    yard.ask("handover", EVERY_SITE, yard.clock.now())
    yard.run(1)
    yard.clock.advance(3 * 86_400)
    yard.run(1)
    assert {name: len(found) for name, found in yard.told().items()} == {"li": 1, "wang": 1}


@pytest.mark.parametrize("fails", [1, 3, 8])
def test_a_hand_over_that_fails_is_tried_again_about_the_same_shift(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, fails: int
) -> None:
    """8: for 21 minutes, and over a look at the rosters."""
    yard.ask("handover", EVERY_SITE, yard.clock.now())
    yard.run(9 * 3600)
    broken = asking._put

    def put(session: Session, rows: Any, *args: Any) -> None:
        nonlocal fails
        broken(session, rows, *args)  # all is written, and then the connection dies
        if rows and rows[0]["about"] == "handover" and fails:
            fails -= 1
            raise OSError("connection lost")

    monkeypatch.setattr(asking, "_put", put)
    yard.run(80 * 60)  # 07:25, and the shift ended at 07:00
    yard.ask("handover", EVERY_SITE, yard.clock.now())
    yard.run(3600)
    titles = [title for told in yard.told().values() for title in told]
    assert sorted(titles) == ["交接班：东门工地，night，2026-11-26 19:00 – 07:00"] * 2
    assert fails == 0
    yard.run(11 * 3600)
    titles = [title for told in yard.told().values() for title in told]
    assert sorted(titles) == ["交接班：东门工地，day，2026-11-27 07:00 – 19:00"] * 2, "the next one in its turn"


def test_a_hand_over_asked_for_by_the_version_before_is_told(yard: Yard) -> None:
    yard.ask("handover", "east", yard.clock.now() + 9 * 3600 + 55 * 60)  # with nothing in its body
    yard.run(10 * 3600)
    assert set(yard.told()) == {"li", "wang"}


def test_a_shift_that_ends_earlier_now_is_handed_over_then(yard: Yard) -> None:
    yard.ask("handover", EVERY_SITE, yard.clock.now())
    yard.run(60)
    yard.change(Shift, "night", end=6 * 60)
    yard.run(9 * 3600)  # 06:06
    assert set(yard.told()) == {"li", "chen"}, "nobody is on the next shift yet"
    assert len(yard.deliveries(about="handover")) == 2


# -- what does not arrive ----------------------------------------------------------------------------------------------


def test_a_refused_contact_is_followed_by_the_next_at_once(yard: Yard) -> None:
    yard.contact("li", "li-second", position=1)
    yard.answers["li"] = [BAD_TOKEN]
    yard.event()
    yard.run(3)
    assert yard.told() == {"li": [HELMET], "li-second": [HELMET]}
    assert sorted(yard.deliveries()) == [
        ("li", "raised", "failed", "bad_token:300001"),
        ("li", "raised", "sent", "ok"),
    ]


def test_all_contacts_of_one_position_are_used(yard: Yard) -> None:
    yard.contact("li", "li-too")
    yard.contact("li", "li-later", position=1)
    yard.event()
    yard.run(3)
    assert set(yard.told()) == {"li", "li-too"}


def test_a_passing_fault_is_tried_again(yard: Yard) -> None:
    yard.answers["li"] = [BUSY, BUSY, OK]
    yard.event()
    yard.run(3 + 5)
    assert titles(yard, "li") == [HELMET] * 2
    yard.run(15)
    assert titles(yard, "li") == [HELMET]
    yard.run(240)
    assert yard.told() == {}
    assert yard.deliveries()[0] == ("li", "raised", "sent", "ok")


def test_a_service_that_asks_to_wait_is_waited_for(yard: Yard) -> None:
    yard.answers["li"] = [Answer(b"", 429, {"Retry-After": "40"}), OK]
    yard.event()
    yard.run(3)
    assert titles(yard, "li") == [HELMET]
    yard.run(39)
    assert yard.told() == {}
    yard.run(1)
    assert titles(yard, "li") == [HELMET]


@pytest.mark.parametrize(
    ("answers", "seconds", "code"),
    [
        ([BAD_TOKEN], 6, "bad_token:300001"),
        ([Answer.of({"errcode": 130101, "errmsg": "send too fast"})], 6, "rate_limit:130101"),
        ([BUSY], 3 + 5 + 15 + 45 + 2, "busy:-1"),
    ],
    ids=["refused", "would have to wait ten minutes", "out of order four times"],
)
def test_who_is_not_reached_is_replaced_by_the_next_in_line(
    yard: Yard, answers: list[Answer], seconds: float, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    yard.answers["li"] = answers
    case = yard.event()
    with caplog.at_level(logging.ERROR):
        yard.run(seconds)
    assert yard.told()["chen"] == ["【升级·警告】未戴安全帽 1人｜东门工地 pit-1"]
    assert ("li", "raised", "given_up", code) in yard.deliveries()
    assert ("unreached", {"about": "raised", "person": "li", "code": code}) in yard.ledger(case)
    assert f"did not reach li: {code}" in caplog.text


@pytest.mark.parametrize("how", ["no contact", "switched off", "left", "a channel that there is not"])
def test_somebody_without_a_way_is_not_reached(yard: Yard, how: str) -> None:
    yard.event()
    yard.run(1)
    match how:
        case "no contact":
            with yard.engine.begin() as connection:
                connection.exec_driver_sql("DELETE FROM contact WHERE person = 'li'")
        case "switched off":
            yard.change(Contact, "c-li", enabled=False)
        case "left":
            yard.change(Person, "li", active=False)
        case "a channel that there is not":
            yard.change(Contact, "c-li", channel="pigeon")
    yard.run(10)
    assert set(yard.told()) == {"chen"}


def test_when_nobody_can_be_reached_everybody_was_tried_and_it_ends(yard: Yard) -> None:
    for name in ("li", "wang", "chen", "boss"):
        yard.answers[name] = [BAD_TOKEN]
    yard.event()
    yard.run(60)
    assert {name for name, *_ in yard.deliveries(state="given_up")} == {"li", "wang", "chen", "boss"}
    yard.run(3600)
    assert yard.deliveries(state="waiting") == []


def test_a_site_that_nobody_entered_is_told_once_it_is(yard: Yard) -> None:
    yard.event(site="north")
    yard.run(10)
    assert yard.told() == {}
    yard.site("north", "北苑路")
    yard.person("zhao", "foreman", site="north")
    yard.run(60)
    assert yard.told()["zhao"][0].endswith("北苑路 pit-1")


def test_a_roster_that_makes_no_sense_holds_up_no_other_site(yard: Yard) -> None:
    yard.site("north", "北苑路")
    yard.add(Membership(person="li", site="north", role="foreman"))
    yard.event(site="north")
    yard.run(1)
    yard.change(Site, "north", time_zone="Asia/Shanghai", quiet_start=60)  # without an end
    yard.event()
    yard.run(30)
    assert len(titles(yard, "li")) == 2


def test_a_worker_that_dies_after_sending_sends_again_and_writes_it_down_once(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard.event()
    with monkeypatch.context() as patch:
        patch.setattr(post, "_record", _die)
        yard.run(3)
    assert titles(yard, "li") == [HELMET]
    yard.run(30)
    assert titles(yard, "li") == [HELMET]
    assert yard.deliveries() == [("li", "raised", "sent", "ok")]


def test_the_link_of_several_cases_opens_them_before_the_channel_has_answered(yard: Yard) -> None:
    cases = {yard.event(source=source) for source in ("cam-1", "cam-2")}
    found = list[set[str]]()

    def tapped(request: Request) -> Answer:
        found.append(yard.opens(request))
        return OK

    yard.far.decide = tapped
    yard.run(3)
    assert found == [cases]


@pytest.mark.parametrize("cut_off", [True, False], ids=["a worker that dies", "a robot that is out of order"])
def test_the_link_of_every_copy_of_a_message_opens_the_cases_that_it_names(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, *, cut_off: bool
) -> None:
    first = {yard.event(source=source) for source in ("cam-1", "cam-2")}
    with monkeypatch.context() as patch:
        if cut_off:
            patch.setattr(post, "_record", _die)
        else:
            yard.answers["li"] = [BUSY, OK]
        yard.run(3)
    third = yard.event(source="cam-3")
    yard.run(60)
    assert yard.linked("li") == [first, first | {third}]
    states = [(state, code) for _, _, state, code in yard.deliveries()]
    assert sorted(states) == [("failed", "cut_off" if cut_off else "busy:-1")] * 2 + [("sent", "ok")] * 3


def test_repeats_digests_and_escalations_of_several_cases_open_these_cases(yard: Yard) -> None:
    yard.change(Site, "east", repeat_min=[2], storm_per_10min=1)
    cases = {yard.event(source=source) for source in ("cam-1", "cam-2")}
    yard.run(900)
    assert {frozenset(c) for c in yard.linked("li") + yard.linked("chen")} == {frozenset(cases)}
    assert {about for _, about, state, _ in yard.deliveries() if state == "sent"} == {"raised", "repeat", "escalation"}


def test_a_message_about_no_case_leads_to_the_log_in(yard: Yard) -> None:
    """And not to `/`, which may be what an older link opened on this phone."""
    yard.ask("handover", EVERY_SITE, yard.clock.now())
    yard.run(12 * 3600)
    assert f"]({yard.links.pages()})" in yard.text(yard.far.requests[0])
    assert yard.links.pages() == "https://dispatch.example/login"


def _die(*_: object) -> None:
    raise RuntimeError("power cut")


def test_two_workers_tell_everything_once(yard: Yard) -> None:
    for n in range(15):
        yard.event(rule=f"rule_{n}")
    yard.change(Site, "east", storm_per_10min=50)
    while run_due(yard.engine, yard.handlers, yard.clock, 20):
        pass
    yard.clock.advance(3)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while run_due(yard.engine, yard.handlers, yard.clock, 2):
                pass
        except BaseException as error:  # noqa: BLE001 told below
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    yard.run(1)
    assert not failures
    told = titles(yard, "li")
    assert len(told) == len(set(told)) == 15


def test_no_address_in_any_log(yard: Yard, caplog: pytest.LogCaptureFixture) -> None:
    yard.contact("li", "SuperSecretToken123", position=0)
    yard.answers["SuperSecretToken123"] = [BUSY]
    with caplog.at_level(logging.DEBUG):
        yard.event()
        yard.run(120)
    assert "SuperSecretToken123" not in caplog.text


def test_closing_needs_no_message(yard: Yard) -> None:
    answered(yard)
    yard.run(5)
    yard.told()
    case = yard.event(place="other")
    yard.do(case, Take(), "li")
    yard.do(case, Done("x"), "li")
    yard.do(case, TellReporter("x"), "li")
    yard.do(case, Close("seen to"), "li")
    yard.run(60)
    assert yard.told() == {}


def test_a_job_whose_turn_comes_late_is_left_to_whoever_claims_it_next(yard: Yard) -> None:
    """Jobs are claimed by the dozen: behind slow ones, the last would be told twice when its lease ran out."""
    tried: list[str] = []

    def slow(_engine: Any, job: jobs.JobValues, _now: float) -> None:
        tried.append(job.key)
        yard.clock.advance(40)

    for n in range(4):
        yard.ask("slow", f"job-{n}", yard.clock.now())
    run_due(yard.engine, {"slow": slow}, yard.clock, 20)
    assert tried == ["job-0", "job-1"]
    run_due(yard.engine, {"slow": slow}, yard.clock, 20)
    assert sorted(tried) == ["job-0", "job-1", "job-2", "job-3"]


def test_owner_and_chain_are_told_once_that_an_answer_is_overdue(yard: Yard) -> None:
    case = yard.event()  # 21:05
    yard.do(case, Take(), "li")
    yard.do(case, Done("戴好了"), "li")
    yard.run(12 * 3600)  # 09:05
    yard.told()
    yard.run(3600)
    title = ["【答复逾期·警告】未戴安全帽｜东门工地 pit-1"]
    assert {who: told for who, told in yard.told().items() if who in {"li", "chen"}} == {"li": title, "chen": title}
    assert ("answer_overdue", {"people": ["li", "chen"]}) in yard.ledger(case)
    yard.run(24 * 3600)
    assert not any("答复逾期" in told for titles in yard.told().values() for told in titles)


def test_an_answer_in_time_tells_nobody_that_it_is_overdue(yard: Yard) -> None:
    case = yard.event()
    yard.do(case, Take(), "li")
    yard.do(case, Done("戴好了"), "li")
    yard.run(3600)
    yard.do(case, TellReporter("told"), "li")
    yard.run(24 * 3600)
    assert not any("答复逾期" in told for titles in yard.told().values() for told in titles)


# -- a site that nobody has entered ------------------------------------------------------------------------------------


def test_alarms_of_a_site_without_a_roster_reach_the_administrators(yard: Yard) -> None:
    yard.person("root", "admin", site="*")
    case = yard.event(site="nowhere", severity="critical")
    yard.run(5)
    assert yard.told() == {"root": ["【危急】未戴安全帽 1人｜nowhere pit-1"]}
    assert "尚未设置" in yard.text(yard.far.requests[-1])
    yard.run(300)
    assert yard.told() == {"root": ["【升级·危急】未戴安全帽 1人｜nowhere pit-1"]}
    assert ("escalated", {"people": ["root"]}) in yard.ledger(case)
    assert "job_given_up" not in [action for action, _ in yard.ledger(case)]


def test_an_escalation_that_nobody_could_be_told_of_waits_for_somebody(
    yard: Yard, caplog: pytest.LogCaptureFixture
) -> None:
    case = yard.event(site="nowhere", severity="critical")
    yard.run(30 * 3600)
    assert "goes up no chain" in caplog.text
    assert ("escalate", case) in yard.jobs(), "it was not given up"
    yard.person("root", "admin", site="*")
    yard.run(3700)
    assert titles(yard, "root") == ["【升级·危急】未戴安全帽 1人｜nowhere pit-1"]


def test_a_roster_that_makes_no_sense_holds_nothing_back(yard: Yard) -> None:
    yard.person("root", "admin", site="*")
    yard.change(Site, "east", quiet_start=60)
    yard.event()
    yard.run(5)
    assert yard.told() == {"root": [HELMET]}


# -- certificates ------------------------------------------------------------------------------------------------------


def test_the_message_about_a_nodes_certificate_has_its_end(yard: Yard, tmp_path: Path) -> None:
    now = yard.clock.now()
    pki = Pki.create(tmp_path / "pki", "Test", PRIVATE, now)
    pki.issue(names.node("east/gate-03"), now, days=20)
    yard.add(Node(site="east", id="gate-03", heard_at=now))
    watch.certificates(yard.engine, now, pki.folder)
    yard.run(5)
    assert len(titles(yard, "li")) == 1
    assert "证书于 2026-12-16 到期。" in yard.text(yard.far.requests[-1])


def test_certificates_of_server_and_services_are_told_to_the_administrators_once(yard: Yard, tmp_path: Path) -> None:
    yard.person("root", "admin", site="*")
    now = yard.clock.now()
    pki = Pki.create(tmp_path / "pki", "Test", PRIVATE, now)
    pki.issue(names.server("dispatch.local"), now, days=20)
    pki.issue(names.service("grafana"), now, days=25)
    for _ in range(3):
        watch.certificates(yard.engine, yard.clock.now(), pki.folder)
        yard.run(3600)
    assert yard.told() == {"root": ["服务器有 2 个证书即将到期"]}
    text = yard.text(yard.far.requests[-1])
    assert "server dispatch．local：有效至 2026-12-16" in text
    assert "service -/grafana：有效至 2026-12-21" in text
    pki.renew(names.server("dispatch.local"), yard.clock.now(), days=15)
    watch.certificates(yard.engine, yard.clock.now(), pki.folder)
    yard.run(5)
    assert yard.told() == {"root": ["服务器有 1 个证书即将到期"]}
