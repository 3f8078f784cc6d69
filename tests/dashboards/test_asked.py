"""Every query of every board and alert rule, asked of a real InfluxDB as Grafana would ask it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from dashboards.alerts import rules
from dashboards.boards import BOARDS
from dashboards.influxql import Influx as Reader
from dashboards.influxql import Series
from dashboards.panels import Setup
from dashboards.text import rule_names
from tests.dashboards.test_boards import panels
from tests.dashboards.world import DAY, MONTH
from tests.influx import Influx

ZONE = "Asia/Shanghai"
ABSENT = ("co", "ch4", "noise", "temperature")
"""Quantities that no sensor of `world` measures."""


@dataclass(frozen=True)
class Chosen:
    """What somebody chose on a board. values: none of a name means all."""

    start: int
    stop: int
    every: str
    values: Mapping[str, Sequence[str]]

    def put_in(self, query: str) -> str:
        """What Grafana's data source makes of it: several values are a regular expression, "all" is what it says."""
        found = query.replace("$timeFilter", f"time >= {self.start * 1000}ms and time <= {self.stop * 1000}ms")
        found = found.replace("$__interval", self.every).replace("$zone", ZONE)
        for name in ("site", "source", "rule", "place", "node"):
            values = [re.sub(r"[\\^$*+?.()|\[\]{}/]", r"\\\g<0>", value) for value in self.values.get(name, ())]
            found = found.replace(f"${name}", {0: ".*", 1: "".join(values)}.get(len(values), f"({'|'.join(values)})"))
        assert "$" not in found.replace("^", "").replace("$/", "/"), f"not put in: {found}"
        return found


ALL = Chosen(*MONTH, "1h", {})
SOME = Chosen(*DAY, "1m", {"site": ["s-1", "0-"], "rule": ["helmet", "x" * 64], "source": ["cam-0", "cam-1"]})
ONE = Chosen(*DAY, "5m", {"site": ["s-1"], "node": ["n-1"]})
chosen = pytest.mark.parametrize(
    "what", [pytest.param(ALL, id="all"), pytest.param(SOME, id="some"), pytest.param(ONE, id="one")]
)

MADE = {uid: make("en", Setup(zone=ZONE)) for uid, make in BOARDS.items()}
PANELS = [
    pytest.param(panel, id=f"{uid.removeprefix('banksman-')}-{panel['title']}")
    for uid, board in MADE.items()
    for panel in panels(board)
]


def answers(read: Reader, panel: dict[str, Any], what: Chosen) -> Iterator[tuple[dict[str, Any], list[Series]]]:
    return ((target, read.rows(what.put_in(target["query"]))) for target in panel["targets"])


@chosen
@pytest.mark.parametrize("panel", PANELS)
def test_a_panels_queries_are_answered_with_what_the_panel_shows(
    read: Reader, panel: dict[str, Any], what: Chosen
) -> None:
    called: set[str] = set()
    for target, found in answers(read, panel, what):
        there = not any(f"'{quantity}'" in target["query"] for quantity in ABSENT)
        assert what is not ALL or bool(found) == there, target["query"]
        for one in found:
            assert_chosen(one, what)
            if target["resultFormat"] == "table":
                called |= {"Time", *one.columns[1:], *one.tags}
            else:  # each column is a series, called as `alias` says
                name = target["alias"]
                for tag, value in one.tags.items():
                    name = re.sub(rf"\$tag_{tag}\b", value, name)
                called |= {name.replace("$col", column) for column in one.columns[1:]}
    if what is ALL and called:
        assert_named(panel, called)


def assert_chosen(one: Series, what: Chosen) -> None:
    """Nothing is shown that was not chosen."""
    for name, values in what.values.items():
        shown = {one.tags[name]} if name in one.tags else set()
        if name in one.columns:
            shown |= {str(row[one.columns.index(name)]) for row in one.values}
        assert shown <= set(values)


def assert_named(panel: dict[str, Any], called: set[str]) -> None:
    """What a panel says about columns is about columns that there are."""
    for override in panel["fieldConfig"]["overrides"]:
        name = override["matcher"]["options"]
        if panel["type"] == "status-history":
            assert name in rule_names("en"), name
        else:
            assert name in called, f"{name}: there are {sorted(called)[:20]}"
    if panel["type"] == "stat":
        pattern = panel["options"]["reduceOptions"]["fields"].strip("/")
        assert any(re.search(pattern, name) for name in called)
    for step in panel.get("transformations", ()):
        if step["id"] == "filterFieldsByName":
            pattern = step["options"]["include"]["pattern"].strip("/")
            assert any(re.search(pattern, name) for name in called)
        if step["id"] == "joinByField":
            assert step["options"]["byField"] in called


@pytest.mark.parametrize("uid", MADE)
def test_variables_have_the_values_that_there_are(read: Reader, uid: str) -> None:
    for variable in MADE[uid]["templating"]["list"]:
        if variable["type"] != "query":
            continue
        (found,) = read.rows(ALL.put_in(variable["query"]["query"]))
        assert len(found.values) > 0
        assert {key for key, _ in found.values} == {variable["name"]}
        assert len(set(found.values)) == len(found.values)


def test_sources_and_rules_offered_are_those_of_the_site(read: Reader) -> None:
    texts = {
        v["name"]: v["query"]["query"] for v in MADE["banksman-site"]["templating"]["list"] if v["type"] == "query"
    }
    for name in ("source", "rule"):
        (everywhere,), (here,) = (read.rows(what.put_in(texts[name])) for what in (ALL, ONE))
        assert {value for _, value in here.values} <= {value for _, value in everywhere.values}
    assert len(here.values) < len(everywhere.values), "no site has all rules"


def test_shifts_are_events_with_a_text_an_end_and_a_site(read: Reader) -> None:
    (events,) = MADE["banksman-site"]["annotations"]["list"]
    target = events["target"]
    found = read.rows(ONE.put_in(target["query"]))
    (one,) = found
    columns = [target[key] for key in ("textColumn", "timeEndColumn", "tagsColumn")]
    assert set(columns) <= set(one.columns)
    text, end, site = (one.columns.index(column) for column in columns)
    assert {row[site] for row in one.values} == {"s-1"}
    assert {row[text] for row in one.values} == {"shift 0", "shift 1", "shift 2"}
    assert all(int(str(row[end])) - int(str(row[0])) == 8 * 3600 * 1000 for row in one.values)


def test_the_map_has_each_site_where_its_nodes_say(read: Reader) -> None:
    (panel,) = (panel for panel in panels(MADE["banksman-sites"]) if panel["type"] == "geomap")
    (_, places), (_, figures) = answers(read, panel, ALL)
    assert {s.tags["site"] for s in places} >= {s.tags["site"] for s in figures}
    for one in places:
        ((_, latitude, longitude),) = one.values
        assert 31 < float(str(latitude)) < 60
        assert 121 < float(str(longitude)) < 150
    where = panel["options"]["layers"][0]["location"]
    assert (where["latitude"], where["longitude"]) == places[0].columns[1:]
    assert panel["options"]["layers"][0]["config"]["style"]["color"]["field"] in figures[0].columns


@pytest.mark.parametrize(
    ("quantity", "usual", "peak"),
    [("o2", 20.9, 17.0), ("o2", 20.9, 25.0), ("h2s", 1.0, 30.0), ("co", 3.0, 90.0), ("ch4", 0.0, 40.0)],
)
def test_ten_seconds_of_bad_air_are_seen_on_a_board_of_a_day(
    influx: Influx, quantity: str, usual: float, peak: float
) -> None:
    """The mean of the five minutes around would be well inside the limits."""
    influx.create("air")
    lines = []
    for n in range(360):
        low, high = (min(usual, peak), max(usual, peak)) if n == 200 else (usual, usual)
        mean = (usual * 9 + peak) / 10 if n == 200 else usual
        lines.append(
            f"sensor,site=s-1,node=n-1,sensor=gas-1,quantity={quantity} "
            f'mean={mean},min={low},max={high},quality="good" {DAY[0] + 10 * n}000000000'
        )
    influx.write("air", "\n".join(lines).encode())
    panel = next(p for p in panels(MADE["banksman-sensors"]) if f"'{quantity}'" in p["targets"][0]["query"])
    marks = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"] if step["value"]]
    (shown,) = (
        s["options"]["include"]["pattern"].strip("/") for s in panel["transformations"] if "include" in s["options"]
    )
    rows = influx.query("air", Chosen(DAY[0], DAY[0] + 3600, "5m", {}).put_in(panel["targets"][0]["query"]))
    values = [row[name] for row in rows for name in row if name != "time" and re.search(shown, f"s-1 n-1 gas-1 {name}")]
    beyond = [
        value for value in values if value is not None and sum(value >= mark for mark in marks) != len(marks) // 2
    ]
    assert beyond == [peak]


def test_alert_rules_see_dispatch_alive_silent_and_its_disk_filling_up(influx: Influx) -> None:
    """One series a rule: Grafana refuses two with the same labels."""
    now = DAY[0]
    influx.create("alive")
    points = [
        f"dispatch,site={site} nodes_silent=0i,disk_free={free} {now}000000000"
        for site, free in (("a", 0.09), ("b", 0.4))
    ]
    influx.write("alive", "\n".join(points).encode())

    def fires(rule: dict[str, Any], at: int) -> bool:
        ask, _, compare = rule["data"]
        what = Chosen(at - ask["relativeTimeRange"]["from"], at, "1m", {})
        rows = influx.query("alive", what.put_in(ask["model"]["query"]))
        if not rows:
            return bool(rule["noDataState"] == "Alerting")
        (row,) = rows
        (limit,) = compare["model"]["conditions"][0]["evaluator"]["params"]
        return bool(row[next(column for column in row if column != "time")] < limit)

    by_uid = {rule["uid"]: rule for rule in rules("en")}
    found = {uid: (fires(rule, now + 60), fires(rule, now + 3600)) for uid, rule in by_uid.items()}
    assert found == {
        "banksman-dispatch-silent": (False, True),
        "banksman-influx-fails": (False, False),
        "banksman-disk-full": (True, False),
    }
    assert by_uid["banksman-influx-fails"]["execErrState"] == "Alerting"


def test_queries_on_boards_are_ascii_and_end_no_statement() -> None:
    for uid, board in MADE.items():
        for target in itertools.chain.from_iterable(panel["targets"] for panel in panels(board)):
            assert target["query"].isascii(), uid
            assert ";" not in target["query"], uid
