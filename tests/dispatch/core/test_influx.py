"""Points in a real InfluxDB: what arrives, and what becomes of them when it does not take them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, select

from broker.dispatch import desk, influx, intake, jobs, settings
from broker.dispatch.cases import Answer, Close, Done, FalseAlarm, Take
from broker.dispatch.clock import ManualClock
from broker.dispatch.database import migrate, open_engine, reading, transaction
from broker.dispatch.influx import MAX_PAUSE_S, PAUSE_S, Writer
from broker.dispatch.jobs import Retry
from broker.dispatch.runner import Periodic, again
from broker.dispatch.tables import Case, Job, Node, Person, Point, Shift, Site
from broker.embedded import free_port
from tests.dispatch.core.builders import NOW, message
from tests.dispatch.core.test_intake import alarm
from tests.dispatch.due import run_due
from tests.influx import ORG, TOKEN, Influx

SITE = "north-yard"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx]:
    with Influx(tmp_path_factory.mktemp("influx")) as running:
        yield running


@pytest.fixture
def there(server: Influx) -> Influx:
    """With nothing in it but an empty bucket of the site."""
    server.query("", f'DROP DATABASE "{SITE}"')
    server.create(SITE)
    server.bodies.clear()
    return server


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = open_engine(f"sqlite:///{tmp_path / 'dispatch.db'}")
    migrate(made)
    yield made
    made.dispose()


def writer(url: str, token: str = TOKEN, **how: Any) -> Writer:
    return Writer(settings.Influx(url=url, org=ORG, token=SecretStr(token), bucket="{site}"), **how)


@pytest.fixture
def to(there: Influx) -> Iterator[Writer]:
    made = writer(there.url, timeout_s=0.5)
    yield made
    made.close()


def lines(engine: Engine) -> list[str]:
    with reading(engine) as session:
        return list(session.scalars(select(Point.line).order_by(Point.id)))


def put(engine: Engine, *texts: str, site: str = SITE) -> None:
    with transaction(engine) as session:
        session.add_all(Point(id=f"{site}-{n:06}", site=site, line=text) for n, text in enumerate(texts))


def good(n: int) -> str:
    return f'case,site={SITE},rule=helmet,event=opened id="c{n}" {n + 1}'


def opened(engine: Engine, at: float, **changes: Any) -> str:
    """A case, by its id."""
    assert not intake.store(engine, [alarm(at, **changes)], intake.take, at).refused
    with reading(engine) as session:
        return session.scalars(select(Case.id).where(Case.place == message(**changes).place)).one()


def step(engine: Engine, case: str, action: Any, at: float) -> None:
    with transaction(engine) as session:
        if session.get(Person, "ann") is None:
            session.add(Person(id="ann", login="ann", name="Ann", created_at=NOW))
            session.flush()
        desk.do(session, case, action, "ann", at)


# -- what arrives ------------------------------------------------------------------------------------------------------


def test_a_case_from_its_alarm_to_its_end(there: Influx, to: Writer, engine: Engine) -> None:
    case = opened(engine, NOW)
    for at, action in ((60, Take()), (120, Done("barrier put up")), (180, Answer("told")), (240, Close("seen"))):
        step(engine, case, action, NOW + at)
    assert to.drain(engine, NOW) == 5
    assert lines(engine) == []
    rows = there.query(SITE, 'SELECT * FROM "case"')
    assert [(r["event"], (r["time"] // 1_000_000) / 1000 - NOW, r["review_s"], r["close_s"]) for r in rows] == [
        ("opened", 0, None, None),
        ("assigned", 60, 60, None),
        ("resolved", 120, None, None),
        ("answered", 180, None, None),
        ("closed", 240, None, 240),
    ]
    assert {(r["site"], r["rule"], r["id"]) for r in rows} == {(SITE, "helmet", case)}
    tags = {r["tagKey"] for r in there.query(SITE, 'SHOW TAG KEYS FROM "case"')}
    fields = {(r["fieldKey"], r["fieldType"]) for r in there.query(SITE, 'SHOW FIELD KEYS FROM "case"')}
    assert tags == {"site", "rule", "event"}
    assert fields == {("id", "string"), ("review_s", "float"), ("close_s", "float"), ("false_alarm", "float")}
    assert [r["false_alarm"] for r in rows] == [None, None, None, None, 0]
    assert {encoding for encoding, _ in there.bodies} == {"gzip"}


def test_the_end_of_a_case_tells_whether_it_was_a_false_alarm(there: Influx, to: Writer, engine: Engine) -> None:
    step(engine, opened(engine, NOW), FalseAlarm("a bucket"), NOW + 10)
    to.drain(engine, NOW)
    rows = there.query(SITE, 'SELECT "event", "false_alarm", "close_s" FROM "case"')
    assert [(r["event"], r["false_alarm"], r["close_s"]) for r in rows] == [("false_alarm", 1, 10)]


def test_a_point_that_is_sent_again_overwrites_itself_and_two_of_one_moment_stay_two(
    there: Influx, to: Writer, engine: Engine
) -> None:
    for n in range(8):
        opened(engine, NOW, id=f"e{n}", alarm=f"a{n}", place=f"p{n}")
    sent = lines(engine)
    for _ in range(2):
        assert to.drain(engine, NOW) == 8
        assert len(there.query(SITE, 'SELECT * FROM "case"')) == 8
        put(engine, *sent)


def test_the_state_of_every_minute(there: Influx, to: Writer, engine: Engine) -> None:
    minute = NOW // 60 * 60
    first = opened(engine, minute, id="e1", alarm="a1", place="p1")
    influx.note_state(engine, minute + 30)
    opened(engine, minute + 100, id="e2", alarm="a2", place="p2")
    for at in (130, 150, 450):
        influx.note_state(engine, minute + at)
    step(engine, first, FalseAlarm("a bucket"), minute + 500)
    for at in (510, 510 + 86_400):
        influx.note_state(engine, minute + at)
    to.drain(engine, NOW)
    rows = there.query(SITE, "SELECT * FROM case_state")
    assert [(r["time"] / 1e9 - minute, r["open"], r["overdue"], r["oldest_s"]) for r in rows] == [
        (0, 1, 0, 30),
        (120, 2, 0, 150),
        (420, 2, 2, 450),
        (480, 1, 1, 410),
        (86_880, 1, 1, 86_810),
    ], "130 s and 150 s are one minute, in which the later one counts"
    assert {(r["site"], r["rule"]) for r in rows} == {(SITE, "helmet")}


def test_a_rule_of_which_all_is_over_stands_at_nothing_for_a_day(engine: Engine) -> None:
    step(engine, opened(engine, NOW), FalseAlarm("a bucket"), NOW + 10)
    put_before = len(lines(engine))
    influx.note_state(engine, NOW + 86_000)
    assert lines(engine)[put_before:][0].partition(" ")[2].startswith("oldest_s=0,open=0i,overdue=0i")
    influx.note_state(engine, NOW + 87_000)
    assert len(lines(engine)) == put_before + 1


# -- what does not -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["garbage", f"case,site={SITE},rule=helmet,event=opened id=5 7"])
def test_one_bad_point_is_dropped_loudly_and_stops_no_other(
    there: Influx, to: Writer, engine: Engine, caplog: pytest.LogCaptureFixture, bad: str
) -> None:
    put(engine, good(99))  # so that the type of `id` is known when the bad one comes
    to.drain(engine, NOW)
    put(engine, *(bad if n == 17 else good(n) for n in range(40)))
    assert to.drain(engine, NOW) == 40
    assert lines(engine) == []
    assert len(there.query(SITE, 'SELECT id FROM "case"')) == 40
    (told,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert bad in told


def _server(there: Influx) -> Writer:
    return writer(there.url, timeout_s=0.5)


def _answers(status: int, **headers: str) -> Callable[[Influx], Writer]:
    def trouble(there: Influx) -> Writer:
        there.trouble.append((status, {name.replace("_", "-"): value for name, value in headers.items()}))
        return _server(there)

    return trouble


def _hangs(there: Influx) -> Writer:
    there.answering.clear()
    return _server(there)


def _has_no_bucket(there: Influx) -> Writer:
    there.query("", f'DROP DATABASE "{SITE}"')
    return _server(there)


@pytest.mark.parametrize(
    ("trouble", "why", "pause"),
    [
        pytest.param(lambda there: writer(there.url, "a-wrong-token"), "401 Unauthorized", PAUSE_S[0], id="token"),
        pytest.param(_has_no_bucket, "404 Not Found", PAUSE_S[0], id="bucket"),
        pytest.param(_answers(400), "400 Bad Request", PAUSE_S[0], id="not the lines"),
        pytest.param(_answers(429, Retry_After="30"), "429 Too Many Requests", 30, id="rate"),
        pytest.param(_answers(503, Retry_After="7"), "503 Service Unavailable", 7, id="busy"),
        pytest.param(_answers(503, Retry_After="9" * 30), "503", MAX_PAUSE_S, id="for ever"),
        pytest.param(_answers(503, Retry_After="soon"), "503", PAUSE_S[0], id="nonsense"),
        pytest.param(_answers(500), "500", PAUSE_S[0], id="broken"),
        pytest.param(_hangs, "ReadTimeoutError", PAUSE_S[0], id="time-out"),
        pytest.param(lambda _: writer(f"http://127.0.0.1:{free_port()}"), "NewConnectionError", PAUSE_S[0], id="away"),
    ],
)
def test_points_wait_until_they_are_stored(
    there: Influx, engine: Engine, trouble: Callable[[Influx], Writer], why: str, pause: float
) -> None:
    put(engine, *(good(n) for n in range(5)))
    before = lines(engine)
    refused = trouble(there)
    try:
        with pytest.raises(Retry, match=f"^{SITE}: {why}") as caught:
            refused.drain(engine, NOW)
        assert caught.value.at == NOW + pause
        assert "token" not in str(caught.value)
    finally:
        there.answering.set()
        refused.close()
    assert lines(engine) == before
    there.create(SITE)
    fine = _server(there)
    assert fine.drain(engine, NOW + pause) == 5
    fine.close()
    assert lines(engine) == []
    assert len(there.query(SITE, 'SELECT id FROM "case"')) == 5


def test_a_site_without_a_bucket_holds_up_no_other(there: Influx, to: Writer, engine: Engine) -> None:
    put(engine, *(good(n) for n in range(3)), site="a-first")
    put(engine, *(good(n) for n in range(3)))
    with pytest.raises(Retry, match=r"^a-first: 404"):
        to.drain(engine, NOW)
    assert len(lines(engine)) == 3
    assert len(there.query(SITE, 'SELECT id FROM "case"')) == 3


def test_it_is_asked_less_and_less_while_it_is_away(there: Influx, to: Writer, engine: Engine) -> None:
    put(engine, good(0))
    pauses = []
    there.trouble.extend([(503, {})] * 8)
    for _ in range(8):
        with pytest.raises(Retry) as caught:
            to.drain(engine, NOW)
        pauses.append(caught.value.at - NOW)
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]
    assert to.drain(engine, NOW) == 1
    put(engine, good(0))
    there.trouble.append((503, {}))
    with pytest.raises(Retry) as caught:
        to.drain(engine, NOW)
    assert caught.value.at - NOW == 2


def test_periodic_work_that_is_told_when_to_come_back_does_so_and_is_never_given_up(engine: Engine) -> None:
    clock, tries = ManualClock(NOW), []

    def work(now: float) -> None:
        tries.append(now - NOW)
        if len(tries) < 15:
            raise Retry(now + 30, "away")

    handlers = {"points": again("points", Periodic(1.0, work), clock)}
    with transaction(engine) as session:
        jobs.add(session, "points", "-", NOW, {})
    for _ in range(16 * 30):
        run_due(engine, handlers, clock, 1)
        clock.advance(1)
    assert tries[:16] == [30.0 * n for n in range(15)] + [421.0]
    with reading(engine) as session:
        assert [job.given_up_at for job in session.scalars(select(Job))] == [None]


@pytest.mark.parametrize(("keep", "left"), [(3, ["c7", "c8", "c9"]), (10, [f"c{n}" for n in range(10)]), (0, [])])
def test_what_waits_is_bounded_and_the_oldest_go(
    engine: Engine, caplog: pytest.LogCaptureFixture, keep: int, left: list[str]
) -> None:
    put(engine, *(good(n) for n in range(10)))
    influx.trim(engine, keep)
    assert [line.split('"')[1] for line in lines(engine)] == left
    assert [r.getMessage() for r in caplog.records] == (
        ["7 points dropped: more than 3 waited for InfluxDB"] if keep == 3 else []
    )


def test_shifts_of_the_last_day_stand_at_their_start_once_however_often_they_are_noted(
    there: Influx, to: Writer, engine: Engine
) -> None:
    midnight = NOW // 86_400 * 86_400
    with transaction(engine) as session:
        session.add(Site(id=SITE, name="North", time_zone="UTC"))
        session.add(Site(id="broken", name="Broken", time_zone="Nowhere/City"))
        session.flush()
        session.add_all(
            [
                Shift(id="s1", site=SITE, name='Day "A"', start=360, end=1080),
                Shift(id="s2", site=SITE, name="Night", start=1080, end=360),
                Shift(id="s3", site=SITE, name="Also by day", start=360, end=1080),
            ]
        )
    for at in (midnight + 12 * 3600, midnight + 12 * 3600 + 900):
        influx.note_shifts(engine, at)
    to.drain(engine, NOW)
    rows = there.query(SITE, 'SELECT "shift", end_ms FROM "shift" GROUP BY site')
    noted = sorted((r["time"] // 10**9 - midnight, r["shift"], r["end_ms"] / 1000 - midnight) for r in rows)
    hour = 3600
    assert noted == [
        (-18 * hour, "Also by day", -6 * hour),
        (-18 * hour, 'Day "A"', -6 * hour),
        (-6 * hour, "Night", 6 * hour),
        (6 * hour, "Also by day", 18 * hour),
        (6 * hour, 'Day "A"', 18 * hour),
    ]


def test_dispatch_says_each_minute_that_it_is_alive_for_every_site_that_is_known_or_has_a_node(
    there: Influx, to: Writer, engine: Engine, tmp_path: Path
) -> None:
    with transaction(engine) as session:
        session.add(Site(id=SITE, name="North"))
        for node, silent in (("gate-1", True), ("gate-2", True), ("gate-3", False)):
            session.add(Node(site=SITE, id=node, heard_at=NOW, silent=silent))
        session.add(Node(site="nobody-entered-it", id="gate-1", heard_at=NOW))
    for at in (NOW, NOW + 60):
        influx.note_alive(engine, tmp_path, at)
    told = [line.split()[0] for line in lines(engine)]
    assert told == ["dispatch,site=north-yard", "dispatch,site=nobody-entered-it"] * 2
    there.create("nobody-entered-it")
    to.drain(engine, NOW)
    rows = there.query(SITE, "SELECT * FROM dispatch")
    assert [(r["time"] // 10**9 - NOW, r["nodes_silent"]) for r in rows] == [(0, 2), (60, 2)]
    assert all(0 < r["disk_free"] < 1 for r in rows)


def test_minutes_go_after_35_days_and_hours_stay(there: Influx, to: Writer) -> None:
    day, now = 86_400, 1_780_000_000
    for table in ("compliance", "compliance_1h"):
        there.write(SITE, b"".join(f"{table} ok_s={d}i {(now - d * day) * 10**9}\n".encode() for d in (1, 34, 36, 400)))
    to.forget_minutes([SITE, "not-there"], float(now))
    assert [row["ok_s"] for row in there.query(SITE, "SELECT ok_s FROM compliance")] == [34, 1]
    assert [row["ok_s"] for row in there.query(SITE, "SELECT ok_s FROM compliance_1h")] == [400, 36, 34, 1]


def test_a_server_that_is_away_keeps_its_minutes_until_the_next_time(caplog: pytest.LogCaptureFixture) -> None:
    away = writer(f"http://127.0.0.1:{free_port()}", timeout_s=0.5)
    away.forget_minutes([SITE], 1_780_000_000.0)
    away.close()
    assert "old minutes were not deleted" in caplog.text
