"""Rows of a real database as the values of the norm's clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from broker.dispatch import roster, tables
from broker.dispatch.database import migrate, open_engine, transaction
from broker.dispatch.norm import NormError
from broker.dispatch.norm.calendar import Duty, Holiday, Shift
from broker.dispatch.norm.repeat import QuietHours
from broker.dispatch.norm.review import Found, Step, escalation
from tests.dispatch.norm.builders import at


def person(name: str, *roles: str, site: str = "south", active: bool = True) -> list[tables.Base]:
    return [
        tables.Person(id=name, login=name, name=name.title(), created_at=0.0, active=active),
        *(tables.Membership(person=name, site=site, role=role) for role in roles),
    ]


def duty(shift: str, who: str, **more: Any) -> tables.Duty:
    return tables.Duty(id=f"{shift}-{who}", shift=shift, person=who, **more)


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'dispatch.db'}"


def store(engine: Engine, *rows: tables.Base) -> None:
    with transaction(engine) as session:
        for row in rows:  # one by one: each may name the ones before
            session.add(row)
            session.flush()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Two sites, so that what belongs to the other one shows where it leaks."""
    engine = open_engine(url(tmp_path))
    migrate(engine)
    store(
        engine,
        tables.Site(id="south", name="South"),
        tables.Site(id="north", name="North"),
        *person("li", "foreman"),
        *person("wang", "foreman"),
        *person("chief", "admin", site="*"),
        *person("zhao", "officer"),
        *person("gone", "officer", "foreman", active=False),
        *person("stranger", "officer", "foreman", site="north"),
        tables.Shift(id="d", site="south", name="day", start=480, end=1200, weekdays=31, on_holidays=False),
        tables.Shift(id="n", site="south", name="night", start=1200, end=480),
        tables.Shift(id="x", site="north", name="all", start=0, end=0),
        tables.Holiday(site="south", day="2026-10-01", name="国庆节"),
        tables.Holiday(site="south", day="2026-10-10", working=True),
        tables.Holiday(site="north", day="2026-12-25"),
        duty("d", "wang", position=1),
        duty("d", "li", rule="gas", position=2, from_day="2026-06-01", to_day="2026-06-30"),
        duty("d", "gone"),
        duty("n", "gone"),
        duty("x", "stranger"),
        tables.ChainStep(id="north", site="north", after_s=400, role="officer"),
    )
    yield engine
    engine.dispose()


def chain(*steps: tuple[int, str | None, str | None]) -> list[tables.ChainStep]:
    return [
        tables.ChainStep(id=str(n), site="south", after_s=after, person=who, role=role)
        for n, (after, who, role) in enumerate(steps)
    ]


def test_the_calendar_has_what_the_site_has_and_nothing_of_others(engine: Engine) -> None:
    with Session(engine) as session:
        calendar = roster.read(session, "south").calendar
    assert calendar.zone == "Asia/Shanghai"
    assert set(calendar.shifts) == {Shift("d", "day", 480, 1200, 31, on_holidays=False), Shift("n", "night", 1200, 480)}
    assert set(calendar.holidays) == {
        Holiday(date(2026, 10, 1), "国庆节"),
        Holiday(date(2026, 10, 10), working=True),
    }
    assert set(calendar.duties) == {
        Duty("d", "wang", position=1),
        Duty("d", "li", "gas", 2, date(2026, 6, 1), date(2026, 6, 30)),
    }


def test_roles_of_the_chain_become_people_and_those_who_left_are_left_out(engine: Engine) -> None:
    store(engine, *chain((900, None, "admin"), (300, None, "foreman"), (600, "zhao", None), (700, "gone", None)))
    with Session(engine) as session:
        found = roster.read(session, "south")
    assert found.chain == (
        Step(300, ("li", "wang"), "foreman"),
        Step(600, ("zhao",)),
        Step(700, ()),
        Step(900, (), "admin"),  # they see, and may take nothing
    )
    assert found.members == ("zhao", "li", "wang", "chief")


def test_a_site_without_a_chain_still_escalates(engine: Engine) -> None:
    with Session(engine) as session:
        found = roster.read(session, "south")
    assert found.chain == (Step(300, ("zhao", "li", "wang", "chief")),)


def test_a_chain_that_has_nobody_in_it_is_none(engine: Engine) -> None:
    store(engine, *chain((300, "gone", None), (600, None, "admin"), (900, "stranger", None)))
    with Session(engine) as session:
        found = roster.read(session, "south")
    assert found.chain == (Step(300, ("zhao", "li", "wang", "chief")),)


@pytest.mark.parametrize(
    ("roles", "counts"),
    [
        ([], False),  # removed from the site; the duty stayed, as in databases of before
        ([("south", "installer")], False),
        ([("south", "admin")], False),
        ([("*", "admin")], False),
        ([("north", "officer")], False),
        ([("south", "foreman")], True),
        ([("south", "officer")], True),
        ([("*", "foreman")], True),
        ([("south", "installer"), ("south", "foreman")], True),
    ],
)
def test_duties_and_steps_count_for_who_may_take_a_case_there(
    engine: Engine, roles: list[tuple[str, str]], counts: bool
) -> None:
    store(
        engine,
        *person("sun"),
        *(tables.Membership(person="sun", site=site, role=role) for site, role in roles),
        duty("n", "sun"),
        *chain((300, "sun", None), (600, "zhao", None)),
    )
    with Session(engine) as session:
        found = roster.read(session, "south")
    line = found.in_line(at("2026-06-01 23:00"), "helmet")
    assert (line.people, line.found) == ((("sun",), Found.DUTY) if counts else (("zhao",), Found.CHAIN))
    assert found.chain[0].people == (("sun",) if counts else ())


@pytest.mark.parametrize(
    ("moment", "duties", "empty"),
    [
        ("2026-06-01 12:00", {}, {"n"}),  # wang is on `d`; who left is on `n`
        ("2026-06-01 12:00", {"n": {"person": "li"}}, set()),
        ("2026-06-01 12:00", {"n": {"person": "li", "rule": "gas"}}, {"n"}),
        ("2026-06-01 12:00", {"n": {"person": "li", "to_day": "2026-05-31"}}, {"n"}),
        ("2026-06-01 02:00", {"n": {"person": "li", "to_day": "2026-05-31"}}, set()),  # that night still runs
        ("2026-06-01 09:00", {"n": {"person": "li", "from_day": "2026-06-02"}}, {"n"}),
    ],
)
def test_which_shifts_have_nobody(
    engine: Engine, moment: str, duties: dict[str, dict[str, Any]], empty: set[str]
) -> None:
    store(engine, *(duty(shift, more.pop("person"), **more) for shift, more in duties.items()))
    with Session(engine) as session:
        found = roster.read(session, "south").calendar.unmanned(at(moment))
    assert {shift.id for shift in found} == empty


@pytest.mark.parametrize(
    ("moment", "people", "found"),
    [
        ("2026-06-01 12:00", ("wang",), Found.DUTY),
        ("2026-06-01 23:00", ("zhao",), Found.CHAIN),  # only somebody who left is on the night shift
    ],
)
def test_who_is_told_first(engine: Engine, moment: str, people: tuple[str, ...], found: Found) -> None:
    store(engine, *chain((300, None, "officer")))
    with Session(engine) as session:
        line = roster.read(session, "south").in_line(at(moment), "helmet")
    assert (line.people, line.found) == (people, found)


@pytest.mark.parametrize(
    ("start", "end", "expected"), [(None, None, None), (0, 360, QuietHours(0, 360)), (1320, 360, QuietHours(1320, 360))]
)
def test_quiet_hours(engine: Engine, start: int | None, end: int | None, expected: QuietHours | None) -> None:
    with transaction(engine) as session:
        site = session.get_one(tables.Site, "south")
        site.quiet_start, site.quiet_end = start, end
        session.flush()
        found = roster.read(session, "south")
    assert (found.quiet, found.repeat_min) == (expected, (5, 15, 30, 60))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda s: setattr(s.get_one(tables.Site, "south"), "quiet_end", 60),
            "site south: quiet hours have a start or",
        ),
        (lambda s: setattr(s.get_one(tables.Site, "south"), "time_zone", "Moon"), "time zone 'Moon' is not known"),
        (lambda s: setattr(s.get_one(tables.Shift, "d"), "weekdays", 0), "shift 'day': it runs on no weekday"),
        (lambda s: setattr(s.get_one(tables.Duty, "d-li"), "to_day", "tomorrow"), "duty of li: 'tomorrow' is no day"),
        (lambda s: s.add(tables.Holiday(site="south", day="1.10.2026")), "holiday: '1.10.2026' is no day"),
    ],
)
def test_rows_that_make_no_sense_are_said(engine: Engine, change: Any, words: str) -> None:
    with transaction(engine) as session:
        change(session)
        session.flush()
        with pytest.raises(NormError, match=words):
            roster.read(session, "south")


def test_an_unknown_site_is_said(engine: Engine) -> None:
    with Session(engine) as session, pytest.raises(LookupError, match="site 'east' is not known"):
        roster.read(session, "east")


def test_a_restart_in_the_middle_of_an_escalation_goes_on_where_it_was(engine: Engine, tmp_path: Path) -> None:
    """All that a second process has is the file: it finds the same times, and the step that is still to come."""
    store(engine, *chain((300, None, "officer"), (900, None, "foreman")))
    received = at("2026-06-01 23:55")
    with Session(engine) as session:
        before = escalation(received, roster.read(session, "south").chain, None)
    engine.dispose()

    again = open_engine(url(tmp_path))
    with Session(again) as session:
        after = escalation(received, roster.read(session, "south").chain, None)
        taken = escalation(received, roster.read(session, "south").chain, received + 400)
    again.dispose()
    assert after == before == ((at("2026-06-02 00:00"), before[0][1]), (at("2026-06-02 00:10"), before[1][1]))
    assert [step.people for _, step in after] == [("zhao",), ("li", "wang")]
    assert taken == before[:1]
