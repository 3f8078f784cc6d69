"""Every query, executed on a real InfluxDB, gives what pandas computes from the same month by other arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest

from dashboards.boards import rows
from dashboards.influxql import Influx as Reader
from dashboards.queries import (
    GRAFANA,
    QUERIES,
    Query,
    QueryError,
    Scope,
    alarms,
    compliance,
    node_health,
    open_cases,
    overdue,
    sensor_history,
    tag_values,
    worst_places,
)
from tests.dashboards import truth
from tests.dashboards.conftest import Server
from tests.dashboards.truth import TRUTH, Picked
from tests.dashboards.world import BERLIN, DAY, KATHMANDU, MONTH, RULES, TABLES, TAGS, Oddities, World, site_names, unix

SPANS = {
    "the month, by days of Berlin": Picked(*MONTH, zone=BERLIN, every="1d"),
    "the month of Kathmandu, whose clock is 5 h 45 min ahead": Picked(
        unix(2026, 2, 28, 18) + 900, unix(2026, 3, 31, 18) + 900, {"site": "s-2"}, KATHMANDU, "1d"
    ),
    "one site whose name another begins with, odd rules, by hours": Picked(
        *MONTH, {"site": "s-1", "rule": ("0", "a_-_", "x" * 64, "helmet")}
    ),
    "the day that has 23 hours": Picked(*DAY, zone=BERLIN),
    "by quarters of that day": Picked(*DAY, zone=BERLIN, every="6h"),
    "whole pictures only, from the middle of an hour": Picked(
        MONTH[0] + 1800, MONTH[1] - 1800, {"place": "-", "source": ("cam-0", "cam-2")}, every="12h"
    ),
    "a node that took over": Picked(*MONTH, {"node": "n-2"}, BERLIN, "1d"),
    "a site where nobody could be judged": Picked(*MONTH, {"site": Oddities.blind_site}, every="1d"),
    "a site of zeros": Picked(*MONTH, {"site": Oddities.idle_site}, every="1d"),
    "a site that was silent for two days": Picked(*MONTH, {"site": Oddities.silent_site}, every="6h"),
    "no such site": Picked(*MONTH, {"site": "s"}),
}
OF_STATES = [
    "the month, by days of Berlin",
    "one site whose name another begins with, odd rules, by hours",
    "by quarters of that day",
    "no such site",
]
STATES = {"open_cases", "open_cases_hourly", "overdue", "overdue_hourly"}


def table(reader: Reader, query: Query) -> pd.DataFrame:
    """Indexed by tags, and for a history by `time` behind them. null is NaN."""
    answered: list[dict[str, Any]] = []
    for series in reader.rows(query.text):
        assert series.columns == ("time", *query.columns)
        assert set(series.tags) == set(query.tags)
        answered += [dict(series.tags) | dict(zip(series.columns, row, strict=True)) for row in series.values]
    keys = [*query.tags, *(["time"] if query.history else [])]
    found = pd.DataFrame(answered, columns=[*query.tags, "time", *query.columns])
    return found.set_index(keys) if keys else found


def equal(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    found, expected = (t[list(expected.columns)].astype(float).sort_index() for t in (found, expected))
    assert list(found.index) == list(expected.index)
    pd.testing.assert_frame_equal(found, expected, check_names=False, check_index_type=False, rtol=1e-9, atol=1e-12)


def test_every_query_has_a_truth() -> None:
    assert set(TRUTH) | STATES | {"worst_places"} == set(QUERIES)


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("name", TRUTH)
def test_a_query_gives_what_pandas_computes(read: Reader, month: World, name: str, span: str) -> None:
    picked = SPANS[span]
    query = QUERIES[name](picked.scope)
    found, expected = table(read, query), TRUTH[name](month, picked)
    if not query.tags:  # one row for all, and none where there is nothing
        assert found[list(query.columns)].to_numpy().tolist() == expected[list(query.columns)].to_numpy().tolist()
        return
    if query.history:  # a step without points is a row of nothing: 0 alarms, or a gap
        empty = (found == 0).all(axis=1) if name.startswith("alarms") else found.isna().all(axis=1)
        found = found[~empty]
    equal(found, expected)


@pytest.mark.parametrize("span", OF_STATES)
@pytest.mark.parametrize("kind", [open_cases, overdue])
@pytest.mark.parametrize("history", [False, True])
def test_states_of_cases_are_what_happened_to_them(
    read: Reader, month: World, kind: Callable[..., Query], history: bool, span: str
) -> None:
    picked = SPANS[span]
    query = kind(picked.scope, hourly=history)
    found = table(read, query).dropna()[list(query.columns)]
    expected = truth.open_cases(month, picked, history=history)[list(query.columns)]
    quiet = found[~found.index.isin(expected.index)]
    assert (quiet == 0).all(axis=None), "where no case was open there may be a row, of zeros"
    equal(found[found.index.isin(expected.index)], expected)


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("limit", [1, 10, 1000])
def test_worst_places(read: Reader, month: World, limit: int, span: str) -> None:
    picked = SPANS[span]
    found = table(read, worst_places(picked.scope, limit)).set_index(["site", "source", "place", "rule"])
    expected = truth.worst(month, picked)
    assert list(found["breach_s"]) == list(expected["breach_s"].head(limit)), "longest first; which of equals is open"
    equal(found, expected.loc[found.index])


# -- promises --------------------------------------------------------------------------------------------------------


def test_what_was_not_judged_is_null_and_never_a_number(read: Reader) -> None:
    rows = table(read, compliance(Picked(*MONTH).scope, by="site"))
    shares = {site: rows.loc[[site], ["compliance", "unknown_share"]].to_numpy(float)[0] for site in rows.index}
    assert shares[Oddities.blind_site] == pytest.approx((math.nan, 1), nan_ok=True)
    assert shares[Oddities.idle_site] == pytest.approx((math.nan, math.nan), nan_ok=True)
    others = rows.drop([Oddities.blind_site, Oddities.idle_site])
    assert others["compliance"].between(0.5, 1, inclusive="neither").all()
    assert others["unknown_share"].between(0, 0.9, inclusive="neither").all()


@pytest.mark.parametrize("by", ["rule", "site", "source", "place", "node"])
@pytest.mark.parametrize("hourly", [False, True])
def test_minutes_and_hours_agree(read: Reader, month: World, by: Any, hourly: bool) -> None:
    picked = Picked(*DAY, zone=BERLIN)
    minutes, hours = (
        table(read, compliance(picked.scope, by=by, hourly=hourly, table=name)).dropna(how="all")
        for name in ("compliance", "compliance_1h")
    )
    equal(minutes, hours)
    equal(minutes, truth.compliance(month, picked, by=by, history=hourly, table="minute"))


def test_the_worst_places_by_minutes_and_by_hours_agree(read: Reader) -> None:
    minutes, hours = (
        table(read, worst_places(Picked(*DAY).scope, 1000, table=name)).set_index(["site", "source", "place", "rule"])
        for name in ("compliance", "compliance_1h")
    )
    equal(minutes.drop(columns="time"), hours.drop(columns="time"))


def test_parts_add_up_to_the_whole(read: Reader) -> None:
    """The days of a month, and its sites, rules and places, are the same seconds."""
    scope = Picked(*MONTH, zone=BERLIN, every="1d").scope
    sums = [
        table(read, compliance(scope, by=by, hourly=hourly))[["ok_s", "violation_s", "unknown_s"]].sum().tolist()
        for by in ("rule", "site", "source", "place", "node")
        for hourly in (False, True)
    ]
    assert all(s == sums[0] for s in sums)


def test_a_gap_is_a_gap(read: Reader) -> None:
    """Steps without points are there, with nothing in them: a line drawn over an outage would be a lie."""
    scope = Picked(*MONTH, {"site": Oddities.silent_site}, every="6h").scope
    rows = table(read, compliance(scope, by="site", hourly=True)).reset_index("site", drop=True)
    silent = rows.loc[unix(2026, 3, 17) * 1000 : unix(2026, 3, 19) * 1000 - 1]
    assert len(silent) == 8
    assert silent.isna().all(axis=None)
    site, camera = Oddities.gone_camera
    gone = table(read, compliance(Picked(*MONTH, {"site": site}, every="1d").scope, by="source", hourly=True))
    gone = gone.reset_index().query(f"time >= {unix(2026, 3, 10) * 1000}").set_index("source")[["ok_s", "unknown_s"]]
    assert gone.loc[[camera]].isna().all(axis=None)
    assert gone.loc[["cam-1"]].notna().any(axis=None)


def test_points_at_the_very_edges(read: Reader, month: World) -> None:
    """What stands at the start counts, what stands at the end does not; every instance of this site has both."""
    scope = Picked(*DAY, {"site": "s-1"})
    found = table(read, compliance(scope.scope, by="place", hourly=True, table="compliance")).dropna(how="all")
    times = found.reset_index()["time"]
    assert times.min() == DAY[0] * 1000
    assert times.max() == (DAY[1] - 3600) * 1000
    minutes = month.minute[month.minute["site"] == "s-1"]
    for edge in (*DAY, DAY[0] - 60, DAY[1] - 60):
        assert (minutes["time"] == edge * 10**9).sum() == len(minutes.drop_duplicates(["source", "place", "rule"]))


@pytest.mark.parametrize("quantity", ["o2", "h2s"])
@pytest.mark.parametrize("span", ["the day that has 23 hours", "by quarters of that day", "no such site"])
def test_sensor_histories(read: Reader, month: World, quantity: str, span: str) -> None:
    picked = SPANS[span]
    found = table(read, sensor_history(picked.scope, quantity)).dropna(how="all")
    equal(found, truth.sensor(month, picked, quantity=quantity))
    assert (found["max"] < 50).all(), "readings of bad quality say 99"


@pytest.mark.parametrize(("measurement", "key"), [(m, key) for m, tags in TAGS.items() for key in tags if m != "shift"])
def test_values_of_tags(read: Reader, month: World, measurement: str, key: str) -> None:
    for site in (None, "s-1"):
        scope = None if site is None else Scope.of(start=0, stop=1, site=site)
        answer = read.rows(tag_values(key, measurement, scope).text)
        points = getattr(month, TABLES[measurement])
        points = points if site is None else points[points["site"] == site]
        found = {value for series in answer for _, value in series.values}
        assert found == set(points[key])


def test_a_name_that_begins_like_another_is_not_taken_for_it(read: Reader) -> None:
    names = site_names(20)
    for site in ("0", "s-1"):
        assert sum(name.startswith(site) for name in names) > 1
        rows = table(read, compliance(Picked(*MONTH, {"site": site}).scope, by="site"))
        assert list(rows.index) == [site]
    rules = table(read, compliance(Picked(*MONTH, {"rule": "helmet"}).scope, by="rule"))
    assert list(rules.index) == ["helmet"]
    assert set(table(read, compliance(Picked(*MONTH).scope, by="rule")).index) == set(RULES)


# -- rows of boards --------------------------------------------------------------------------------------------------

ROWS: dict[str, tuple[Callable[[Scope], Query], str, list[str], str | None]] = {
    # what is asked, of which table, the newest of each of which; None: every row
    "positions": (rows.positions, "node", ["site"], None),
    "nodes": (rows.nodes, "node", ["site", "node"], None),
    "last_readings": (rows.last_readings, "sensor", ["site", "node", "sensor", "quantity"], None),
    "shifts": (rows.shifts, "shift", ["site", "time"], None),
    "newest_cases": (lambda scope: rows.newest_cases(scope, 20), "case", ["id"], "event == 'opened'"),
}


@pytest.mark.parametrize("span", ["the month, by days of Berlin", "the day that has 23 hours", "no such site"])
@pytest.mark.parametrize("name", ROWS)
def test_rows_of_boards_are_the_newest_points(read: Reader, month: World, name: str, span: str) -> None:
    ask, of, keys, only = ROWS[name]
    points = SPANS[span].of(getattr(month, of)).assign(picture=lambda t: t.get("id"), case=lambda t: t.get("id"))
    points = points if only is None else points.query(only)
    newest = points.sort_values("time", ascending=False).drop_duplicates(keys)
    query = ask(SPANS[span].scope)
    found = table(read, query).reset_index()
    if name == "newest_cases":
        newest = newest.head(20)
        assert list(found["case"]) == list(newest["case"]), "newest first"
    columns = [*query.tags, "time", *query.columns]
    expected = newest.assign(time=newest["time"] // 10**6)[columns]
    as_rows = [t[columns].astype(object).where(t[columns].notna(), None) for t in (found, expected)]
    assert sorted(map(tuple, as_rows[0].to_numpy()), key=str) == sorted(map(tuple, as_rows[1].to_numpy()), key=str)


# -- by hand ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(influx: Server, request: pytest.FixtureRequest) -> Iterator[Callable[..., Reader]]:
    """A database of one's own: `small(*lines)`."""
    name = f"small-{abs(hash(request.node.name))}"
    influx.create(name)

    def filled(*lines: str) -> Reader:
        influx.write(name, "\n".join(lines).encode())
        return Reader(influx.url, name, influx.token)

    yield filled
    influx.drop(name)


WHERE = "site=a,node=n,source=cam,place=-,rule=helmet"


def test_ten_people_one_bare_head_one_second(small: Callable[..., Reader]) -> None:
    """Design, section 2; beside it a second that nobody could judge."""
    read = small(
        f"compliance,{WHERE} ok_s=9i,violation_s=1i,unknown_s=0i,breach_s=1i 60000000000",
        f"compliance,{WHERE} ok_s=0i,violation_s=0i,unknown_s=1i,breach_s=0i 120000000000",
    )
    (row,) = table(read, compliance(Scope.of(start=0, stop=600), by="rule", table="compliance")).to_dict("records")
    assert row == {
        "time": 0, "ok_s": 9, "violation_s": 1, "unknown_s": 1, "breach_s": 1,
        "compliance": 0.9, "unknown_share": pytest.approx(1 / 11),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("zone", "span", "every", "counts"),
    [
        (BERLIN, ((2026, 3, 28, 23), (2026, 3, 30, 22)), "1d", [23, 24]),
        (BERLIN, ((2026, 10, 24, 22), (2026, 10, 26, 23)), "1d", [25, 24]),
        (BERLIN, ((2026, 10, 24, 22), (2026, 10, 25, 4)), "1h", [1] * 6),
        (BERLIN, ((2026, 10, 24, 22), (2026, 10, 25, 11)), "6h", [7, 6]),
        ("Asia/Shanghai", ((2026, 10, 24, 16), (2026, 10, 26, 16)), "1d", [24, 24]),
        ("America/St_Johns", ((2026, 10, 25, 3), (2026, 10, 27, 2)), "1d", [24, 23]),
    ],
)
def test_steps_are_those_of_the_clock_on_the_wall(
    small: Callable[..., Reader], zone: str, span: tuple[Any, Any], every: str, counts: list[int]
) -> None:
    first, last = (unix(*date) for date in span)
    tallies = "ok_s=1i,violation_s=0i,unknown_s=0i,breach_s=0i"
    read = small(*(f"compliance_1h,{WHERE} {tallies} {at}000000000" for at in range(first, last, 3600)))
    scope = Scope.of(start=first, stop=last, zone=zone, every=every)
    assert table(read, compliance(scope, by="rule", hourly=True))["ok_s"].tolist() == counts


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        (lambda: Scope.of(start=2, stop=2), "must end after it starts"),
        (lambda: Scope.of(start=1, stop=2, zone="Berlin"), "Asia/Shanghai"),
        (lambda: Scope.of(start=1, stop=2, zone="../etc"), "Asia/Shanghai"),
        (lambda: Scope.of(start=1, stop=2, every="hour"), "like 1h"),
        (lambda: worst_places(GRAFANA, 0), "at least 1"),
        (lambda: node_health(GRAFANA, "speed"), "a node has fps"),
        (lambda: sensor_history(GRAFANA, "o2' OR 1=1"), "digits"),
        (lambda: tag_values("site", "no such", GRAFANA), "there are compliance"),
    ],
)
def test_a_question_that_cannot_be_asked(ask: Callable[[], object], why: str) -> None:
    with pytest.raises(QueryError, match=why):
        ask()


def test_names_cannot_break_out(read: Reader) -> None:
    for name in ("a/ OR 1=1 --", "a|s-1", ".*", "a'", 'a"', "a\\"):
        scope = Scope.of(start=MONTH[0], stop=MONTH[1], site=name)
        assert read.rows(compliance(scope, by="site").text) == []
        assert read.rows(alarms(scope, "site").text) == []
