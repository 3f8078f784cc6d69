"""The ledger finds what was changed, removed, cut off or rewritten."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from broker.dispatch import desk, ledger
from broker.dispatch.cases import Note, on_event
from broker.dispatch.database import migrate, open_engine, reading, transaction
from broker.dispatch.tables import Case
from deploy.dispatch import app
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


def check_all(engine: Engine, which: Any = None) -> ledger.Checked:
    with reading(engine) as session:
        return ledger.verify_all(session, which)


def test_all_chains_and_days_at_once(kept: Engine) -> None:
    with transaction(kept) as session:
        last = ledger.close_day(session, days(1))
    found = check_all(kept)
    assert found.sound
    assert (found.cases, found.lines, found.last_day, found.last_hash) == (2, 5, days(1).isoformat(), last)


@pytest.mark.parametrize(
    ("harm", "cases", "days_too"),
    [
        ("UPDATE ledger SET actor = 'bo' WHERE \"case\" = 'c1' AND n = 2", {"c1": "line 2 was changed"}, False),
        ("DELETE FROM ledger WHERE \"case\" = 'c2'", {"c2": "the case knows 1 lines; the ledger has 0"}, True),
        ("UPDATE ledger_day SET cases = 7", {}, True),
    ],
)
def test_all_chains_say_which_case_and_day(kept: Engine, harm: str, cases: dict[str, str], *, days_too: bool) -> None:
    with transaction(kept) as session:
        ledger.close_day(session, days(1))
        session.execute(text(harm))
    found = check_all(kept)
    assert not found.sound
    assert found.problems.keys() == cases.keys()
    assert all(found.problems[case][0].startswith(said) for case, said in cases.items())
    assert bool(found.days) is days_too


def test_only_the_cases_asked_for(kept: Engine) -> None:
    with transaction(kept) as session:
        session.execute(text("UPDATE ledger SET actor = 'bo' WHERE \"case\" = 'c1' AND n = 2"))
    assert check_all(kept, Case.id == "c2").problems == {}


def command(tmp_path: Path, *more: str) -> Any:
    settings = tmp_path / "dispatch.yaml"
    settings.write_text(
        f"database: sqlite:///{tmp_path / 'dispatch.db'}\nmqtt: {{host: h, share_group: {'g' * 32}}}\n"
        f"web: {{host: 127.0.0.1, url: 'http://127.0.0.1:1', secret: {'s' * 32}}}\n"
    )
    settings.chmod(0o600)
    return CliRunner().invoke(app, ["verify", str(settings), *more])


def test_the_command_says_what_is_broken(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'dispatch.db'}")
    migrate(engine)
    with transaction(engine) as session:
        desk.write(session, [on_event(None, event(), NOW, "c1"), on_event(None, event(place="b"), NOW, "c2")], NOW)
        last = ledger.close_day(session, DAY)
    sound = command(tmp_path)
    assert (sound.exit_code, last in sound.output) == (0, True), sound.output
    with transaction(engine) as session:
        session.execute(text("UPDATE ledger SET actor = 'bo' WHERE \"case\" = 'c2'"))
        session.execute(text("UPDATE ledger_day SET cases = 7"))
    broken = command(tmp_path)
    assert broken.exit_code == 1
    assert broken.output.splitlines()[0] == "case c2: line 1 was changed"
    assert f"the ledger of {DAY} is not what it was" in broken.output
    assert command(tmp_path, "--case", "c1").exit_code == 0
    assert command(tmp_path, "--case", "c2").output == "case c2: line 1 was changed\n"
    assert command(tmp_path, "--case", "c9").output == "case c9: the case is missing\n"
    engine.dispose()
