"""The ledger finds what was changed, removed, cut off or rewritten."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import Engine, text

from broker.dispatch import desk, ledger
from broker.dispatch.cases import Note, on_event
from broker.dispatch.database import transaction
from tests.dispatch.core.builders import NOW, event

DAY = dt.datetime.fromtimestamp(NOW, dt.UTC).date()


def days(n: int) -> dt.date:
    return DAY + dt.timedelta(days=n)


@pytest.fixture
def kept(both: Engine) -> Engine:
    """Two cases; one with four lines over two days."""
    with transaction(both) as session:
        desk.write(session, [on_event(None, event(), NOW, "c1"), on_event(None, event(place="b"), NOW, "c2")], NOW)
        for n in range(3):
            desk.do(session, "c1", Note(f"rain {n} 雨"), "ann", NOW + n * 40_000)
    return both


def problems(engine: Engine, case: str = "c1") -> list[str]:
    with transaction(engine) as session:
        return ledger.verify(session, case)


def test_a_sound_chain(kept: Engine) -> None:
    assert (problems(kept), problems(kept, "c2")) == ([], [])
    with transaction(kept) as session:
        ledger.append(session, "c1", NOW, "dispatch", "more", {"x": [1.5, None, {"y": "z"}]})
    assert problems(kept) == []
    with transaction(kept) as session, pytest.raises(LookupError):
        ledger.append(session, "c9", NOW, "dispatch", "more", {})


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        ("UPDATE ledger SET actor = 'bo' WHERE \"case\" = 'c1' AND n = 2", "line 2 was changed"),
        ("UPDATE ledger SET at = at + 1 WHERE \"case\" = 'c1' AND n = 3", "line 3 was changed"),
        ("DELETE FROM ledger WHERE \"case\" = 'c1' AND n = 2", "line 2 is missing"),
        ("DELETE FROM ledger WHERE \"case\" = 'c1' AND n = 4", "the case knows 4 lines"),
        ("UPDATE ledger SET hash = previous WHERE \"case\" = 'c1' AND n = 1", "line 2 does not follow"),
    ],
)
def test_what_is_wrong_is_found(kept: Engine, harm: str, found: str) -> None:
    with transaction(kept) as session:
        session.execute(text(harm))
    assert any(found in one for one in problems(kept))
    assert problems(kept, "c2") == []


def check_days(engine: Engine) -> Any:
    with transaction(engine) as session:
        return ledger.verify_days(session)


def test_days_are_chained_also_those_without_a_line_and_those_left_out(kept: Engine) -> None:
    with transaction(kept) as session:
        ledger.close_day(session, DAY)
        last = ledger.close_day(session, days(4))
        assert ledger.close_day(session, days(4)) == last, "a closed day stays as it is"
        assert session.execute(text("SELECT count(*) FROM ledger_day")).scalar() == 5
    assert check_days(kept) == []


def test_a_chain_rewritten_as_a_whole_is_found_by_its_day(kept: Engine) -> None:
    with transaction(kept) as session:
        ledger.close_day(session, days(1))
    with transaction(kept) as session:
        session.execute(text("DELETE FROM ledger WHERE \"case\" = 'c2'"))
        session.execute(text("UPDATE \"case\" SET ledger_n = 0, ledger_head = '' WHERE id = 'c2'"))
        ledger.append(session, "c2", NOW, "dispatch", "opened", {"nothing": "happened"})
    assert problems(kept, "c2") == []
    assert check_days(kept) == [f"the ledger of {DAY} is not what it was"]
    with transaction(kept) as session:
        session.execute(text("DELETE FROM ledger_day WHERE day = :day"), {"day": DAY.isoformat()})
    assert any("does not follow" in one for one in check_days(kept))
