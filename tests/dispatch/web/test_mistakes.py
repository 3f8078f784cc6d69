"""Pictures of false alarms on their way out of dispatch's store, into the labels of the next training."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select
from typer.testing import CliRunner, Result

from broker.dispatch.database import transaction
from broker.dispatch.tables import Evidence
from deploy.dispatch import app
from models.eval.network import Seen
from models.harvest import harvest, read_marks
from tests.dispatch.web.builders import Bench, jpeg
from tests.models.photos import boxes

DAY_S = 86400.0


def take_out(bench: Bench, folder: Path, *more: str) -> Result:
    settings = bench.folder / "dispatch.yaml"
    settings.write_text(
        f"database: sqlite:///{bench.folder / 'dispatch.db'}\nmqtt: {{host: h, share_group: {'g' * 32}}}\n"
        f"web: {{host: 127.0.0.1, url: 'http://127.0.0.1:1', secret: {'s' * 32}}}\n"
    )
    settings.chmod(0o600)
    return CliRunner().invoke(app, ["false-alarms", str(settings), str(folder), *more])


def false_alarm(bench: Bench, shade: int, login: str = "wang", site: str = "north", why: str = "戴着帽子") -> str:
    """A case with a picture that somebody called false; gives the picture's hash."""
    alarm = bench.alarm(site)
    sha256 = bench.keep(alarm, jpeg(shade=shade), site=site)
    reader, case = bench.logged_in(login), bench.case_of(alarm).id
    assert reader.submit(f"/cases/{case}/take").status_code == 303
    assert reader.submit(f"/cases/{case}/false_alarm", {"text": why}).status_code == 303
    assert bench.now(case).state == "false_alarm"
    return sha256


def test_what_people_called_false_becomes_a_queue_of_labels(bench: Bench, tmp_path: Path) -> None:
    false = false_alarm(bench, 120)
    bench.keep(bench.alarm(), jpeg(shade=60))  # of a case that is still open
    done = take_out(bench, tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "1 pictures and marks.json are in" in done.output
    (mark,) = json.loads((tmp_path / "out" / "marks.json").read_text(encoding="utf-8"))
    assert mark == {
        "sha256": false, "rule": "helmet", "reason": "戴着帽子", "site": "north", "node": "gate-03",
        "at": bench.clock.now(),
    }  # fmt: skip

    def look(*_: object) -> Seen:
        return Seen(boxes(("person", 0.5, 0.6, 0.3, 0.7), ("no_helmet", 0.8, 0.2, 0.1, 0.1)), np.array([0.9, 0.5]))

    (queued,) = harvest(tmp_path / "out", read_marks(tmp_path / "out" / "marks.json"), look, tmp_path / "queue")
    assert (queued.outcome, queued.labels, queued.accused) == ("queued", 1, 1)


@pytest.mark.parametrize(
    ("more", "shades"),
    [
        ((), [10, 20, 30]),
        (("--site", "south"), [20]),
        (("--since", "2026-09-25"), [30]),
        (("--site", "south", "--since", "2026-09-25"), []),
    ],
)
def test_of_which_site_and_since_when(bench: Bench, tmp_path: Path, more: tuple[str, ...], shades: list[int]) -> None:
    known = {false_alarm(bench, 10): 10, false_alarm(bench, 20, "smith", "south"): 20}
    bench.clock.advance(datetime(2026, 9, 25, 12, tzinfo=UTC).timestamp() - bench.clock.now())
    known[false_alarm(bench, 30)] = 30
    done = take_out(bench, tmp_path / "out", *more)
    assert done.exit_code == 0, done.output
    assert sorted(known[path.stem] for path in (tmp_path / "out").glob("*.jpg")) == shades


def test_what_retention_has_taken_is_not_there(bench: Bench, tmp_path: Path) -> None:
    false_alarm(bench, 10)
    kept = false_alarm(bench, 20)
    with transaction(bench.engine) as db:
        rows = db.scalars(select(Evidence).order_by(Evidence.sha256 == kept)).all()
        rows[0].deleted_at = bench.clock.now()
    lost = false_alarm(bench, 30)
    with transaction(bench.engine) as db:
        row = db.scalars(select(Evidence).where(Evidence.sha256 == lost)).one()
        bench.store.path(row.alarm, lost).unlink()
    assert take_out(bench, tmp_path / "out").exit_code == 0
    assert [mark["sha256"] for mark in json.loads((tmp_path / "out" / "marks.json").read_text("utf-8"))] == [kept]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{kept}.jpg", "marks.json"}


@pytest.mark.parametrize(
    ("more", "says"), [((), "is not an empty folder"), (("--site", "west"), "site west: is not known")]
)
def test_what_is_wrong_is_said_and_nothing_is_touched(
    bench: Bench, tmp_path: Path, more: tuple[str, ...], says: str
) -> None:
    false_alarm(bench, 10)
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    if more:
        shutil.rmtree(folder)
    done = take_out(bench, folder, *more)
    assert (done.exit_code, says in done.output) == (2, True), done.output
    assert [path.name for path in tmp_path.glob("out/*")] == ([] if more else ["mine.txt"])
