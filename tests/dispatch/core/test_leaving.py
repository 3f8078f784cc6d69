"""What somebody has ends with the role that it needs, on both databases; what others have stays."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, select

from broker.dispatch import desk, leaving
from broker.dispatch.cases import Done, Take, on_event
from broker.dispatch.database import reading, transaction
from broker.dispatch.tables import Base, Case, ChainStep, Duty, Ledger, Membership, Person, Shift, Site
from tests.dispatch.core.builders import NODE, NOW, event


@pytest.fixture
def engine(both: Engine) -> Engine:
    """`ann` may take no case (any more), `bo` may; both have a duty, a step, a case taken and one done."""
    rows: list[Base] = [Site(id=NODE.site, name="North"), Shift(id="day", site=NODE.site, name="day", start=0, end=0)]
    for name in ("ann", "bo"):
        rows += [
            Person(id=name, login=name, name=name, created_at=0.0),
            Duty(id=f"duty-{name}", shift="day", person=name),
            ChainStep(id=f"step-{name}", site=NODE.site, after_s=600, person=name),
        ]
    rows.append(Membership(person="bo", site=NODE.site, role="foreman"))
    with transaction(both) as session:
        for row in rows:
            session.add(row)
            session.flush()
        for name in ("ann", "bo"):
            for what in ("taken", "done"):
                key = f"{name}-{what}"
                desk.write(session, [on_event(None, event(place=key, alarm=key, id=key), NOW, key)], NOW)
                desk.do(session, key, Take(), name, NOW)
            desk.do(session, f"{name}-done", Done("hat on"), name, NOW)
    return both


def owners(engine: Engine) -> dict[str, tuple[str | None, str]]:
    with reading(engine) as session:
        return {case.id: (case.owner, case.state) for case in session.scalars(select(Case))}


def duties(engine: Engine) -> dict[str, str | None]:
    with reading(engine) as session:
        return dict(session.execute(select(Duty.id, Duty.to_day)).all())


TODAY, YESTERDAY = "2026-09-21", "2026-09-20"
"""At NOW it is a quarter past ten in the evening there."""
KEPT = {"bo-taken": ("bo", "assigned"), "bo-done": ("bo", "resolved")}
ANNS = {"ann-taken": ("ann", "assigned"), "ann-done": ("ann", "resolved")}
GIVEN_BACK = {"ann-taken": (None, "open"), "ann-done": (None, "resolved")}


def test_what_hangs_on_the_role_ends_with_it(engine: Engine) -> None:
    with transaction(engine) as session:
        ended = leaving.end(session, "ann", "root", NOW + 60)
        again = leaving.end(session, "ann", "root", NOW + 60)
        assert leaving.end(session, "bo", "root", NOW + 60) == ()
    assert {(what.what, what.site, what.name) for what in ended} == {
        ("duty", NODE.site, "day"), ("step", NODE.site, "600"),
        ("case", NODE.site, "ann-taken"), ("case", NODE.site, "ann-done"),
    }  # fmt: skip
    assert again == ()
    assert owners(engine) == KEPT | GIVEN_BACK
    with reading(engine) as session:
        assert dict(session.execute(select(Duty.id, Duty.to_day)).all()) == {"duty-ann": TODAY, "duty-bo": None}
        assert session.scalars(select(ChainStep.id)).all() == ["step-bo"]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_duty_that_was_stood_is_closed_and_one_to_come_is_gone(engine: Engine, at_once: bool) -> None:
    with transaction(engine) as session:
        session.add(Shift(id="night", site=NODE.site, name="night", start=23 * 60, end=6 * 60))
        session.flush()
        for key, shift, from_day, to_day in (
            ("to come", "day", "2026-09-22", None),
            ("tonight", "night", TODAY, "2026-09-30"),
            ("nights", "night", "2026-09-01", "2026-09-30"),
            ("over", "day", "2026-08-01", "2026-08-31"),
        ):
            session.add(Duty(id=key, shift=shift, person="ann", from_day=from_day, to_day=to_day))
    for _ in range(2):
        if at_once:
            with transaction(engine) as session:
                leaving.end(session, "ann", "root", NOW)
        else:
            leaving.give_back(engine, NOW)
        assert duties(engine) == {"duty-ann": TODAY, "duty-bo": None, "nights": YESTERDAY, "over": "2026-08-31"}


def test_a_manager_of_another_site_ends_nothing_here(engine: Engine) -> None:
    with transaction(engine) as session:
        assert leaving.end(session, "ann", "root", NOW, site="south-yard") == ()
    assert duties(engine) == {"duty-ann": None, "duty-bo": None}
    assert owners(engine) == KEPT | ANNS


@pytest.mark.parametrize(
    ("roles", "active", "gone"),
    [
        ([], True, True),
        ([(NODE.site, "admin"), ("*", "installer"), ("south-yard", "officer")], True, True),
        ([(NODE.site, "officer")], False, True),
        ([(NODE.site, "officer")], True, False),
        ([("*", "foreman")], True, False),
    ],
)
def test_cases_of_who_may_take_none_are_given_back_by_themselves(
    engine: Engine, roles: list[tuple[str, str]], active: bool, gone: bool
) -> None:
    with transaction(engine) as session:
        session.add_all([Membership(person="ann", site=site, role=role) for site, role in roles])
        session.get_one(Person, "ann").active = active
    for later in (60, 120):
        leaving.give_back(engine, NOW + later)
    assert owners(engine) == KEPT | (GIVEN_BACK if gone else ANNS)
    with reading(engine) as session:
        lines = session.execute(select(Ledger.case, Ledger.actor, Ledger.at).where(Ledger.action == "released")).all()
    assert {tuple(line) for line in lines} == ({(case, "dispatch", NOW + 60) for case in ANNS} if gone else set())
