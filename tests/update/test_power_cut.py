"""Power cuts: SIGKILL before every single step of install, switch, start and way back.

After each the old or the new release is in use, whole; the node starts; and asking again brings the new one.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edge.update import guard
from tests.update.builders import Box, Maker
from tests.update.cutting import cut


def at_each_step(box: Box, copies: Path, *arguments: str) -> list[tuple[str, Box]]:
    """The box as it is after each power cut, with the step that was not done."""
    root = str(box.root)

    def again(number: int) -> tuple[list[str], Box]:
        copy = Box(copies / str(number), box.maker)
        shutil.rmtree(copy.folder)
        shutil.copytree(box.folder, copy.folder, symlinks=True)
        given = [one.replace(root, str(copy.root)).replace(str(box.var), str(copy.var)) for one in arguments]
        return cut(copy, number, *given), copy

    steps, done = again(10_000)
    cuts = [again(number) for number in range(1, len(steps) + 1)]
    assert [got[-1].partition(" ")[0] for got, _ in cuts] == [step.partition(" ")[0] for step in steps]
    return [("all done", done), *((step, copy) for step, (_, copy) in zip(steps, cuts, strict=True))]


@pytest.fixture
def old(box: Box, maker: Maker) -> Box:
    """Version 1 of a model is in use and good."""
    box.install(maker.model("1", 1))
    box.says(well=True)
    box.start()
    return box


def test_install_and_switch(old: Box, maker: Maker, tmp_path: Path) -> None:
    new = maker.model("2", 2)
    arguments = ("install", str(new), str(maker.public_key), str(old.root), "--var", str(old.var))
    seen = set()
    for step, box in at_each_step(old, tmp_path / "cuts", *arguments):
        before = box.inuse("current-model")
        assert before in ("models/site-v1-1", "models/site-v1-2"), step
        seen.add(before)
        box.start()
        assert box.inuse("current-model") == before, step
        box.install(new)
        assert (box.inuse("current-model"), box.last) == ("models/site-v1-2", ("trying", "ok")), step
        assert sorted(p.name for p in (box.root / "models").iterdir()) == ["site-v1-1", "site-v1-2"], step
        for _ in range(guard.MAX_STARTS + 1):
            box.start()
        assert (box.inuse("current-model"), box.last) == ("models/site-v1-1", ("rolled_back", "starts")), step
    assert seen == {"models/site-v1-1", "models/site-v1-2"}, "no cut before, or none behind the switch"


@pytest.mark.parametrize("well", [True, False])
def test_start_after_a_verdict(old: Box, maker: Maker, tmp_path: Path, well: bool) -> None:
    old.install(maker.model("2", 2))
    old.start()
    old.says(well=well, code="camera")
    for step, box in at_each_step(old, tmp_path / "cuts", "start", str(old.root), "--var", str(old.var)):
        box.start()
        wanted = ("models/site-v1-2", "good") if well else ("models/site-v1-1", "rolled_back")
        assert (box.inuse("current-model"), box.last[0]) == wanted, step


def test_start_that_goes_back_for_good(old: Box, maker: Maker, tmp_path: Path) -> None:
    old.install(maker.model("2", 2))
    for _ in range(guard.MAX_STARTS):
        old.start()
    for step, box in at_each_step(old, tmp_path / "cuts", "start", str(old.root), "--var", str(old.var)):
        box.start()
        assert (box.inuse("current-model"), box.last[0]) == ("models/site-v1-1", "rolled_back"), step


@pytest.mark.timeout(1800)
def test_a_whole_program(box: Box, maker: Maker, proof: bool) -> None:
    """Virtual environments take their time."""
    if not proof:
        pytest.skip("part of the full-size run: make proof")
    box.install(maker.app("0.1.0", 1))
    new = maker.app("0.2.0", 2)
    steps: list[str] = []
    for number in itertools.count(1):
        steps = cut(box, number, "install", new, maker.public_key, box.root, "--var", box.var)
        before = box.inuse()
        assert before in ("releases/0.1.0", "releases/0.2.0"), steps[-1]
        box.start()
        assert box.inuse() == before, steps[-1]
        assert subprocess.run([box.root / "current/bin/banksman"], check=True, capture_output=True).stdout == b"hello\n"
        half = box.root / "releases/0.2.0"
        if (half / guard.RELEASE_JSON).exists():
            assert subprocess.run([half / "bin/banksman"], check=False, capture_output=True).returncode == 0, steps[-1]
        if len(steps) < number:
            break
        if before == "releases/0.2.0":  # as it was before, whole or not
            box.says(well=False, code="again")
            box.start()
        shutil.rmtree(box.root / "releases/0.2.0", ignore_errors=True)
    assert (box.inuse(), sum("Popen" in step for step in steps)) == ("releases/0.2.0", 3), "openssl, venv, pip"
    print(f"{len(steps)} steps")


def test_everything_is_on_the_disk_before_it_counts(old: Box, maker: Maker) -> None:
    """What a SIGKILL cannot show: nothing is named before its bytes, and no link leads to what is not synced."""
    arguments = ("install", str(maker.model("2", 2)), str(maker.public_key), str(old.root), "--var", str(old.var))
    steps = [step.replace("opt/", "") for step in cut(old, 10_000, *arguments)]
    last_file = max(n for n, step in enumerate(steps) if step.startswith("write models/.new-2/"))
    for wanted in (
        "sync",
        "os.rename models/.new-2 models/site-v1-2",
        "fsync models",
        "fsync .state.json.new",
        "os.rename .state.json.new state.json",
        "fsync opt",
        "os.rename .current-model.new current-model",
        "fsync opt",
    ):
        rest = [step.strip() for step in steps[last_file + 1 :]]
        assert wanted in rest, f"{wanted} is not among {rest}"
        last_file += 1 + rest.index(wanted)
    assert last_file == len(steps) - 1, "the last thing is that the link is on the disk"
    assert os.readlink(old.root / "current-model") == "models/site-v1-2"  # noqa: PTH115 as it is read
