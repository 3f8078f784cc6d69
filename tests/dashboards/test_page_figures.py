"""The node's page and the boards say the same of the same seconds: one from the journal, the other from InfluxDB."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboards.influxql import Influx as Reader
from dashboards.queries import By, Scope, Table, compliance
from edge.clock import ManualClock
from edge.journal.journal import Journal
from edge.page.view import Figures, figures
from edge.site.model import InfluxUplink as Settings
from edge.site.model import JournalSettings
from edge.text import LANGUAGES, catalogue
from edge.uplink.influx import InfluxWriter
from edge.values import Instance, Tally
from tests.conftest import REPO
from tests.influx import TOKEN, Influx

SITE, NODE, DB = "north-yard", "gate-03", "page-figures"
START = 1_790_000_000 // 3600 * 3600
HOURS = 3
INSTANCES = [Instance(source, place, rule) for source in ("gate", "pit") for place in ("-", "trench") for rule in "ab"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Journal, Reader]]:
    """A journal with some hours in it, one instance never judged, all of it written to an InfluxDB."""
    folder = tmp_path_factory.mktemp("page")
    clock = ManualClock(wall=START + HOURS * 3600 + 90.0)
    dice = random.Random(1)  # noqa: S311 not cryptography
    journal = Journal(folder / "journal.db", clock, JournalSettings(), confirm_points=True)
    for minute in range(START, START + HOURS * 3600, 60):
        for n, instance in enumerate(INSTANCES):
            ok, bad = (0, 0) if n == 0 else (dice.randrange(120), dice.choice((0, 0, 0, 17)))
            journal.tallies([Tally(instance, minute, ok, bad, dice.randrange(9), min(bad, 11), 3)])
    journal.flush()
    token = folder / "token"
    token.write_text(TOKEN)
    with Influx(folder / "influx") as server, Reader(server.url, DB, TOKEN) as reader:
        server.create(DB)
        writer = InfluxWriter(Settings(url=server.url, bucket=DB, token_file=token), SITE, NODE, journal, clock)
        while not writer.turn():
            pass
        writer.close()
        yield journal, reader
    journal.close()


GROUPS = {
    "rule": lambda i: (i.rule,),
    "source": lambda i: (SITE, i.source),
    "place": lambda i: (SITE, i.source, i.place),
    "site": lambda _: (SITE,),
    "node": lambda _: (SITE, NODE),
}


@pytest.mark.parametrize("table", ["compliance", "compliance_1h"])
@pytest.mark.parametrize("by", GROUPS)
@pytest.mark.parametrize("since", range(HOURS))
def test_the_same_seconds_give_the_same_figures(kept: tuple[Journal, Reader], by: By, table: Table, since: int) -> None:
    journal, reader = kept
    start = START + since * 3600
    page = figures(journal.compliance(start), by=GROUPS[by])
    query = compliance(Scope.of(start=start, stop=START + HOURS * 3600), by=by, table=table)
    board = {}
    for series in reader.rows(query.text):
        (row,) = [dict(zip(series.columns, values, strict=True)) for values in series.values]
        its = Figures(*(int(row[name] or 0) for name in ("ok_s", "violation_s", "unknown_s", "breach_s")))
        board[tuple(series.tags[tag] for tag in query.tags)] = its
        assert row["compliance"] == pytest.approx(its.compliance)
        assert row["unknown_share"] == pytest.approx(its.unknown_share)
    assert page == board
    assert page


def test_what_nobody_judged_has_no_compliance_on_either(kept: tuple[Journal, Reader]) -> None:
    journal, _ = kept
    first = figures(journal.compliance(START), by=lambda i: i)[INSTANCES[0]]
    assert (first.compliance, first.unknown_share) == (None, 1.0)
    assert (Figures().compliance, Figures().unknown_share) == (None, None)


@pytest.mark.parametrize("language", LANGUAGES)
def test_they_have_the_same_names(language: str) -> None:
    text = catalogue(language)
    boards = tomllib.loads(Path(REPO, "dashboards", "text", language, "boards.toml").read_text(encoding="utf-8"))
    names = {"ok": "ok_s", "violation": "violation_s", "unknown": "unknown_share", "breach": "breach_s"}
    assert {word: text(f"page.compliance.{word}") for word in names} == {
        word: boards["column"][column] for word, column in names.items()
    }
