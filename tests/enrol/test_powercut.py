"""The power fails at each step in turn; the box is started again, and becomes its node all the same."""

from __future__ import annotations

import multiprocessing
import shutil
import signal
from pathlib import Path

import pytest

from broker.pki import names
from tests.enrol import powercut
from tests.enrol.builders import SITE, Card, Place
from tests.enrol.test_node import KEY_FILES

MOST = 100
"""More steps there are not; a run that never gets to its end fails."""


def cut(card: Card, n: int) -> bool:
    """Whether the n-th step was reached, and so the last thing that happened."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.enrol.powercut"])
    process = context.Process(target=powercut.run, args=(card.folder, card.etc, n))
    process.start()
    process.join(60)
    assert process.exitcode in {0, -signal.SIGKILL}
    return process.exitcode != 0


@pytest.mark.parametrize("mode", ["token", "key"])
def test_wherever_the_power_fails_the_box_becomes_its_node(
    place: Place, tmp_path: Path, mode: str, proof: bool
) -> None:
    for n in range(1, MOST, 1 if proof else 5):
        node = f"gate-{n}"
        card = Card(tmp_path / node, place, mode=mode, node=node)
        if mode == "token":
            card.give(place.token(node))
        else:
            place.pki.issue(names.node(f"{SITE}/{node}"), place.clock.now())
            for kept, name in zip(place.pki.files_of(names.node(f"{SITE}/{node}")), KEY_FILES, strict=False):
                shutil.copy(kept, card.folder / name)
        reached = cut(card, n)
        result = card.run()
        assert result.exit_code == 0, f"step {n}: {result.output}"
        assert f"{SITE}/{node}" in result.output
        assert [s for s in card.secrets() if s] == [], f"step {n}"
        assert (card.etc / "site.yaml").exists(), f"step {n}"
        assert [p.name for p in card.etc.rglob("*.key")] == ["node.key"], f"step {n}"
        valid = [e for e in place.pki.entries(place.clock.now()) if e.subject.name == f"{SITE}/{node}"]
        assert [e.state.value for e in valid] == ["valid"], f"step {n}: one box, one key, one certificate"
        if not reached:
            break
    assert not reached
    assert n > (25 if mode == "token" else 15)
