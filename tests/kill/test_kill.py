"""SIGKILL at random moments while alarms are raised: nothing that the journal accepted is lost, and nothing is twice.

Three kills in `make test`, thirty in `make proof`. That the test can fail is tested as well.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kill.harness import Killing
from tests.mqtt.builders import Observer

SEED = 20_261_124


@pytest.mark.timeout(900)
def test_nothing_accepted_is_lost_or_twice(tmp_path: Path, proof: bool) -> None:
    count = Killing(tmp_path, SEED).run(30 if proof else 3)
    print(count)
    assert count.faults == {}, str(count)
    assert count.accepted > 20 * count.kills, "it was not busy enough to prove anything"
    assert sum(w > 0 for w in count.waiting_at_kills) >= count.kills / 3, "the kills came when nothing was under way"


def test_a_killed_node_is_offline_by_its_last_will(tmp_path: Path) -> None:
    killing = Killing(tmp_path, SEED)
    with killing.broker, Observer(killing.broker.port, user=None) as dispatch:
        node = killing.life(0)
        assert dispatch.status()["state"] == "online"
        node.end()
        told = dispatch.status()
        assert (told["state"], told["since"]) == ("offline", None)


SABOTAGE = {
    "puback is delivery": "missing",
    "dispatch acknowledges first": "missing",
    "accepted before it is on disk": "lost_by_journal",
    "open alarms are forgotten": "judged_too_early",
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("sabotage", SABOTAGE)
def test_the_test_finds_what_is_wrong(tmp_path: Path, proof: bool, sabotage: str) -> None:
    """Each of these is a mistake that somebody could make; within some rounds it must show."""
    if not proof:
        pytest.skip("part of the full-size run: make proof")
    for attempt in range(6):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        count = Killing(folder, SEED + attempt, sabotage).run(6)
        if SABOTAGE[sabotage] in count.faults:
            return
    pytest.fail(f"{sabotage}: nothing found")
