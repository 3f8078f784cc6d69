"""The hand-over report from a real ledger: what was so at the shift's end, in both languages, whenever it is made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, update
from sqlalchemy.orm import Session

from broker.dispatch import cases, desk, leaving, report, roster, tables
from broker.dispatch.cases import (
    Action,
    Answer,
    CaseValues,
    Change,
    Close,
    Dissatisfied,
    Done,
    EventValues,
    FalseAlarm,
    Give,
    Hold,
    Important,
    NotAllowed,
    Note,
    Take,
)
from broker.dispatch.database import migrate, open_engine, transaction
from broker.dispatch.norm.calendar import GapReason, ShiftAt
from broker.dispatch.norm.handover import Crews, HandoverReport
from broker.dispatch.text import LANGUAGES, catalogue
from tests.dispatch.norm.builders import at

MONDAY = "2026-06-01"


def event(now: float, name: str = "a", what: str = "raised", **more: Any) -> EventValues:
    """An event of the alarm `name` at the place of that name."""
    standard: dict[str, Any] = {
        "id": f"{name}-{now}",
        "site": "south",
        "node": "gate",
        "source": "cam",
        "place": name,
        "rule": "helmet",
        "alarm": name,
        "seq": int(now),
        "event": what,
        "severity": "warning",
        "verdict": "ok" if what == "cleared" else "violation",
        "reason": "",
        "subjects": 1,
        "at": now,
        "received_at": now,
        "first_seen": now,
        "last_seen": now,
    }
    return EventValues(**(standard | more))


# -- the ledger tells the whole state --------------------------------------------------------------------------------

Step = Callable[[CaseValues, float], Change]


def act(action: Action, actor: str) -> Step:
    return lambda case, now: cases.act(case, action, actor, now)


def told(what: str, alarm: str, **more: Any) -> Step:
    return lambda case, now: cases.on_event(case, event(now, "a", what, **({"alarm": alarm} | more)), now)


ACTIONS: tuple[Action, ...] = (
    Take(),
    Give("li"),
    Give("wang"),
    Done("mended"),
    Answer("told"),
    Close("in spite of it"),
    FalseAlarm("a bucket"),
    Dissatisfied("not good"),
    Important(True),
    Important(False),
    Hold(True),
    Note("a remark"),
)
events = st.builds(
    told,
    st.sampled_from(["raised", "updated", "cleared"]),
    st.sampled_from(["a", "b"]),
    severity=st.sampled_from(["warning", "critical"]),
    verdict=st.sampled_from(["violation", "unknown", "ok"]),
)


def silence(case: CaseValues, _now: float) -> Change:
    return cases.mark_unverified(case, "will")


def leaves(case: CaseValues, now: float) -> Change:
    return cases.release(case, "root", now)


def steps(case: CaseValues) -> st.SearchStrategy[Step]:
    """What can happen to a case next; mostly what people may do, so that it gets around."""
    possible = [action for action in ACTIONS if case.state in cases.ALLOWED[type(action)]]
    people = st.builds(act, st.sampled_from(possible), st.sampled_from(["li", "wang"]))
    return people | events | st.just(silence) | st.just(leaves)


class Case:
    """A case that goes its way; after each step its lines must tell what its row does."""

    def __init__(self, what: str = "raised", verdict: str = "violation") -> None:
        self.now, self.lines = 1000.0, list[tables.Ledger]()
        self.take_up(cases.on_event(None, event(self.now, what=what, verdict=verdict), self.now, "case"))

    def step(self, step: Step) -> None:
        self.now += 60
        self.take_up(step(self.row, self.now))

    def take_up(self, change: Change) -> None:
        self.row = change.case
        for line in change.lines:
            n, detail = len(self.lines), dict(line.detail)
            self.lines.append(tables.Ledger(n=n, at=self.now, actor=line.actor, action=line.action, detail=detail))
        row, facts = self.row, report.case_at(tables.Case(**self.row.columns()), self.lines, {})
        for name in ("severity", "state", "alarm_state", "owner", "opened_at", "review_from", "assigned_at", "late"):
            assert getattr(facts, name) == getattr(row, name), name
        for name in ("resolved_at", "result", "answered_at", "false_alarm_reason", "unverified"):
            assert getattr(facts, name) == getattr(row, name), name
        assert (facts.over_at, facts.marked_important) == (row.closed_at, row.important)
        assert facts.reopened == (row.reopened > 0)


@given(st.data(), st.integers(5, 30), st.sampled_from(["raised", "cleared"]), st.sampled_from(["violation", "unknown"]))
def test_the_lines_of_a_case_tell_all_that_its_row_does(data: st.DataObject, n: int, first: str, verdict: str) -> None:
    case = Case(first, verdict)
    for _ in range(n):
        with suppress(NotAllowed):  # somebody else has it, or it has not been answered
            case.step(data.draw(steps(case.row)))


TAKE, DONE = act(Take(), "li"), act(Done("mended"), "li")
AGAIN = act(Dissatisfied("not good"), "wang")


@pytest.mark.parametrize(
    "way",
    [
        [silence, TAKE, DONE],
        [silence, act(FalseAlarm("a bucket"), "li"), AGAIN],
        [silence, told("updated", "a", verdict="unknown"), told("updated", "a")],
        [act(Give("li"), "wang"), act(Give("wang"), "li"), DONE],
        [TAKE, DONE, act(Answer("told"), "li"), act(Close("so"), "li"), AGAIN, TAKE],
        [TAKE, DONE, told("raised", "b", severity="critical")],
        [TAKE, leaves, TAKE, DONE, leaves],
        [TAKE, DONE, AGAIN, leaves, TAKE, leaves],
        [act(Important(True), "li"), act(Important(False), "li")],
    ],
)
def test_ways_that_chance_may_not_find(way: list[Step]) -> None:
    case = Case()
    for step in way:
        case.step(step)


# -- a whole shift ---------------------------------------------------------------------------------------------------


class Shop:
    """A site with a database, on which things happen at a time of day on Monday."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.store(
            tables.Site(id="south", name="南门 *工地*\n@all https://evil.example"),
            *(
                tables.Person(id=p, login=p, name=n, created_at=0.0)
                for p, n in (("li", "李工"), ("wang", "Wang"), ("chief", "Chief"))
            ),
            tables.Membership(person="chief", site="south", role="officer"),
            tables.Membership(person="li", site="south", role="foreman"),
            tables.Membership(person="wang", site="south", role="foreman"),
            tables.Shift(id="d", site="south", name="白班", start=480, end=1200),
            tables.Shift(id="n", site="south", name="night", start=1200, end=480),
            tables.Duty(id="1", shift="d", person="li"),
            tables.Duty(id="2", shift="n", person="wang", rule="gas"),
            tables.Node(site="south", id="pit", heard_at=at(f"{MONDAY} 18:07"), silent=True),
            tables.Node(site="south", id="gate", heard_at=at(f"{MONDAY} 18:07")),
        )

    def store(self, *rows: tables.Base) -> None:
        with transaction(self.engine) as session:
            for row in rows:
                session.add(row)
                session.flush()

    def alarm(self, time: str, name: str, **more: Any) -> None:
        now = at(f"{MONDAY} {time}")
        with transaction(self.engine) as session:
            held = desk.locked(session, tables.Case.place == name)
            change = cases.on_event(held[0] if held else None, event(now, name, **more), now, name)
            desk.write(session, [change], now)

    def do(self, time: str, name: str, action: Action, actor: str = "li") -> None:
        with transaction(self.engine) as session:
            desk.do(session, name, action, actor, at(f"{MONDAY} {time}"))

    def shift(self, name: str = "d", day: str = MONDAY) -> ShiftAt:
        with Session(self.engine) as session:
            calendar = roster.read(session, "south").calendar
        return next(s for s in calendar.starting(date.fromisoformat(day)) if s.shift.id == name)

    def report(self, name: str = "d", now: str = f"{MONDAY} 23:59", day: str = MONDAY) -> HandoverReport:
        shift = self.shift(name, day)
        with Session(self.engine) as session:
            return report.gather(session, "south", shift, at(now))

    def leaves(self, person: str, now: str) -> None:
        with transaction(self.engine) as session:
            session.execute(delete(tables.Membership).where(tables.Membership.person == person))
            leaving.end(session, person, "chief", at(now))


@contextmanager
def opened(folder: Path) -> Iterator[Shop]:
    engine = open_engine(f"sqlite:///{folder / 'dispatch.db'}")
    migrate(engine)
    try:
        yield Shop(engine)
    finally:
        engine.dispose()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with opened(tmp_path) as shop:
        yield shop


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Monday's day shift, to be looked at only."""
    with opened(tmp_path_factory.mktemp("monday")) as shop:
        yield monday(shop)


def monday(shop: Shop) -> Shop:
    shop.alarm("07:00", "before")
    shop.do("07:10", "before", Take())
    shop.alarm("09:00", "done")
    shop.do("09:01", "done", Take())
    shop.do("09:20", "done", Done("围挡已补齐"))
    shop.do("09:21", "done", Answer("told"))
    shop.do("09:22", "done", Close("no clear yet"))
    shop.alarm("10:00", "bucket")
    shop.do("10:08", "bucket", Take())
    shop.do("10:09", "bucket", FalseAlarm("a [bucket](https://evil.example)"))
    shop.alarm("11:00", "gas", rule="gas", severity="critical")
    shop.do("11:02", "gas", Take())
    shop.do("11:30", "gas", Done("aired\n@all see www.evil.example"))
    shop.alarm("12:00", "again")
    shop.do("12:01", "again", Take())
    shop.do("12:05", "again", Done("swept"))
    shop.do("12:06", "again", Dissatisfied("still dirty"))
    shop.alarm("19:57", "fresh")
    return shop


def test_what_the_day_shift_hands_over(busy: Shop) -> None:
    found = busy.report()
    lists = {
        name: [case.id for case in getattr(found, name)]
        for name in ("important", "open", "overdue", "to_answer", "reopened", "false_alarms", "unverified")
    }
    assert lists == {
        "important": ["gas"],
        "open": ["before", "gas", "again", "fresh"],
        "overdue": ["again"],
        "to_answer": ["gas"],
        "reopened": ["again"],
        "false_alarms": ["bucket"],
        "unverified": [],
    }
    assert (found.received, found.closed, found.reviewed_late) == (5, 1, 1)
    assert [node.id for node in found.silent_nodes] == ["pit"]
    assert (found.crews.outgoing, found.crews.incoming, found.crews.gap) == (("李工",), ("Wang",), None)
    assert found.open[1].owner == "李工"


def test_made_later_it_says_the_same(shop: Shop) -> None:
    """Dispatch was down at eight; before it wrote the report, the night shift had done this and that."""
    busy = monday(shop)
    before = busy.report()
    busy.do("20:01", "fresh", Take(), "wang")
    busy.do("20:02", "gas", Answer("told"))
    busy.do("20:03", "gas", Close("measured"))
    busy.do("20:04", "before", FalseAlarm("nothing there"))
    busy.do("20:05", "done", Dissatisfied("not good"))
    busy.do("20:06", "again", Take(), "wang")
    busy.alarm("20:07", "later")
    assert busy.report() == before
    assert {case.id for case in busy.report("n").open} == {"done", "again", "fresh", "later"}


def test_whoever_left_since_still_was_on_it(shop: Shop) -> None:
    """On Wednesday at noon both go: Monday's report is as it was, as is that of the night; nobody new is told."""
    noon = "2026-06-03 12:00"
    days = {name: shop.report(name, noon) for name in ("d", "n")}
    night = shop.report("n", noon, "2026-06-02")
    for person in ("li", "wang"):
        shop.leaves(person, noon)
    assert {name: shop.report(name, noon) for name in ("d", "n")} == days
    assert days["d"].crews == Crews(outgoing=("李工",), incoming=("Wang",))
    assert shop.report("n", noon, "2026-06-02") == night
    assert night.crews == Crews(outgoing=("Wang",), incoming=("李工",))
    running = shop.report("d", noon, "2026-06-03")
    assert running.crews == Crews(outgoing=(), incoming=("Chief",), gap=GapReason.NOBODY_ON_SHIFT)
    after = shop.report("d", "2026-06-04 21:00", "2026-06-04")
    assert after.crews == Crews(outgoing=(), incoming=("Chief",), gap=GapReason.NOBODY_ON_SHIFT)


@pytest.mark.parametrize(
    ("last_day", "incoming", "gap"),
    [(None, ("Wang",), None), ("2026-05-31", ("Chief", "Wang", "李工"), GapReason.NOBODY_ON_SHIFT)],
)
def test_who_takes_over_or_why_nobody_does(
    shop: Shop, last_day: str | None, incoming: tuple[str, ...], gap: GapReason | None
) -> None:
    with transaction(shop.engine) as session:
        session.execute(update(tables.Duty).where(tables.Duty.id == "2").values(to_day=last_day))
    crews = shop.report().crews
    assert (crews.incoming, crews.gap) == (incoming, gap)


@pytest.mark.parametrize(
    ("language", "words"),
    [
        (
            "en",
            [
                "2026-06-01 08:00 – 20:00",
                "received 5, closed 1, false alarms 1, reviewed after more than 5 minutes 1",
                "open 4, important 1, overdue 1, taken without a result 1, without an answer 1, not closed 0",
                "No hard hat, before, since 06-01 07:00, taken, with: 李工; no result yet",
                "Handing over: 李工",
                "Important: go through one by one (1)",
                "- CRITICAL: Gas beyond its limit, gas, since 06-01 11:00, done, with: 李工;",
                "whoever reported it has no answer yet",
                "Other open cases (3)",
                "reopened, nobody on it, with: 李工; was reopened; OVERDUE since 06-01 12:11",
                "No hard hat, fresh, since 06-01 19:57, open, with: nobody",
                "- pit, last heard 06-01 18:07",
            ],
        ),
        (
            "zh-CN",
            [
                "交接班：南门",
                "本班：收到 5 项，关闭 1 项，误报 1 项，超过 5 分钟才审核 1 项",
                "交班：李工",
                "已接手未出结果 1 项，待答复 1 项，待关闭 0 项，",
                "已接手，负责人：李工；尚无处理结果",
                "重点事项，须逐项专题交接（1）",
                "【危急】",
                "已处理，负责人：李工；尚未答复反映人；处理结果：",
                "自 06-01 12:11 起超时",
            ],
        ),
    ],
)
def test_in_words(busy: Shop, language: str, words: list[str]) -> None:
    text = report.write(busy.report(), language).text()
    for word in words:
        assert word in text, text


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_people_wrote_cannot_pass_for_anything_else(busy: Shop, language: str) -> None:
    written = report.write(busy.report(), language)
    assert not re.search(r"https?://|www\.evil|evil\.example|@all|[\[\]*]", written.text())
    single = [written.title, *written.summary, *(entry.text for part in written.parts for entry in part.entries)]
    assert all("\n" not in line for line in single)
    assert written.parts[0].entries[0].case == "gas"


@pytest.mark.parametrize(("language", "nothing"), [("en", "Nothing to hand over."), ("zh-CN", "无待交接事项。")])
def test_a_quiet_shift_says_so(shop: Shop, language: str, nothing: str) -> None:
    with transaction(shop.engine) as session:
        session.execute(update(tables.Node).values(silent=False))
    assert nothing in report.write(shop.report(), language).text()


def test_both_languages_have_the_same_texts_with_the_same_fields() -> None:
    def shapes(language: str) -> dict[str, set[str]]:
        texts = catalogue(language).texts
        return {k: set(re.findall(r"\{\w+\}", v)) for k, v in texts.items() if k.startswith("handover.")}

    assert shapes("zh-CN") == shapes("en")
