"""Two workers, one of which dies every 20 s, and a broker that dies twice: every event is stored, and stored once.

200,000 events in `make proof`, some hundred in `make test`. That the test can fail is tested as well.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dispatch.kill.harness import Killing
from tests.dispatch.kill.hasty import HastyWorkers
from tests.servers import Postgres

SEED = 20_261_126


@pytest.mark.timeout(3600)
def test_every_event_is_stored_once(tmp_path: Path, proof: bool, request: pytest.FixtureRequest) -> None:
    if proof:
        with Postgres() as server:
            killing = Killing(tmp_path, SEED, server)
            count = killing.run((100, 200, 400, 600, 800, 1000), 200_000, kill_every_s=20, broker_kills=2)
    else:
        # Nobody kills the database here; one that does not wait for the disk keeps the same promises.
        killing = Killing(tmp_path, SEED, request.getfixturevalue("postgres"))
        count = killing.run((40, 80), 480, kill_every_s=3, broker_kills=1)
    print(count)
    assert count.faults == {}, str(count)
    assert count.kills >= (10 if proof else 2), "too few kills to prove anything"


@pytest.mark.timeout(900)
def test_the_test_finds_who_acknowledges_too_early(tmp_path: Path, proof: bool, request: pytest.FixtureRequest) -> None:
    if not proof:
        pytest.skip("part of the full-size run: make proof")
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        server = request.getfixturevalue("postgres")
        count = Killing(folder, SEED + attempt, server, HastyWorkers).run((200,), 4000, kill_every_s=2, broker_kills=1)
        if count.missing:
            return
    pytest.fail("nothing found")
