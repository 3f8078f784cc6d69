"""Install, switch, probation and the way back, on real folders with real virtual environments."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.update import guard
from edge.update.guard import MAX_STARTS, Refused
from tests.conftest import need
from tests.update.builders import Box, Maker, release_json

CRASHES = "raise SystemExit(3)"


def test_a_release_that_crashes_is_rolled_back_after_three_starts(box: Box, maker: Maker) -> None:
    """Though an earlier install of it was cut off by the power."""
    root, key = box.root, maker.public_key
    box.old_program("0.1.0", 1)
    assert (hello(box), box.inuse(), box.last) == ((0, "hello\n"), "releases/0.1.0", ("good", "ok"))
    assert box.state.probation is None, "there is nothing to go back to"

    for left_over in ("releases/.new-0.2.0/wheels", "releases/0.2.0/bin/banksman", "releases/0.2.0/x"):
        (root / left_over).mkdir(parents=True)
    done = box.run("install", maker.app("0.2.0", 2, CRASHES), key, root, "--var", box.var)
    assert (done.returncode, box.inuse(), box.last) == (0, "releases/0.2.0", ("trying", "ok")), done.stderr
    assert {p.name for p in (root / "releases").iterdir()} == {"0.1.0", "0.2.0"}
    assert not {"wheels", "x"} & {p.name for p in (root / "releases/0.2.0").iterdir()}
    for _ in range(MAX_STARTS):
        assert box.run("start", root, "--var", box.var).returncode == 0
        assert (hello(box)[0], box.inuse()) == (3, "releases/0.2.0")
    done = box.run("start", root, "--var", box.var)
    assert (hello(box), box.inuse(), box.last) == ((0, "hello\n"), "releases/0.1.0", ("rolled_back", "starts"))
    assert "last update: banksman 0.2.0 rolled_back: starts" in done.stdout


def hello(box: Box) -> tuple[int, str]:
    """What the program in use says."""
    done = subprocess.run([box.root / "current/bin/banksman"], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_a_release_without_its_dependencies_leaves_nothing_behind(box: Box, maker: Maker) -> None:
    wheel = maker.folder / "broken/banksman-0.3.0-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(b"no wheel")
    data = {"wheels/banksman-0.3.0-py3-none-any.whl": wheel.read_bytes()}
    values = release_json(data, kind="app", name="banksman", version="0.3.0", target=guard.machine())
    with pytest.raises(Refused):
        box.install(maker.raw(data, values))
    assert (box.inuse(), list((box.root / "releases").iterdir())) == (None, [])
    assert box.last[0] == "refused"


# -- what is the same for both kinds, with models, which need no virtual environment -----------------------------------


@pytest.fixture
def proven(box: Box, maker: Maker) -> Box:
    """A box on which version 1 is good, and version 2 on probation."""
    box.install(maker.model("1", 1))
    box.says(well=True)
    box.start()
    assert (box.inuse("current-model"), box.last) == ("models/site-v1-1", ("good", "ok"))
    box.install(maker.model("2", 2))
    assert (box.inuse("current-model"), box.last) == ("models/site-v1-2", ("trying", "ok"))
    return box


def test_a_first_model_that_fails_goes_back_to_the_shipped_one(box: Box, maker: Maker) -> None:
    box.install(maker.model("1", 1))
    box.says(well=False, code="camera", message="gate is blind")
    box.start()
    assert (box.inuse("current-model"), box.last) == (None, ("rolled_back", "camera"))


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


ENDS: dict[str, tuple[Callable[[Box], object], str, tuple[str, str]]] = {
    "well": (lambda box: box.says(well=True), "models/site-v1-2", ("good", "ok")),
    "not well": (
        lambda box: box.says(well=False, code="broker", message="away"), "models/site-v1-1", ("rolled_back", "broker"),
    ),
    "said by root": (lambda box: box.run("healthy", box.root), "models/site-v1-2", ("good", "ok")),
    "silent": (lambda _: None, "models/site-v1-2", ("trying", "ok")),
    "garbage": (lambda box: (box.var / guard.VERDICT).write_bytes(b"[" * 4000), "models/site-v1-2", ("trying", "ok")),
    "no such code": (lambda box: box.says(well=False, code="A B"), "models/site-v1-2", ("trying", "ok")),
    "a link": (lambda box: linked(box.var / guard.VERDICT), "models/site-v1-2", ("trying", "ok")),
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_what_the_node_says_decides(proven: Box, end: str) -> None:
    says, folder, last = ENDS[end]
    says(proven)
    proven.start()
    assert (proven.inuse("current-model"), proven.last) == (folder, last)


def test_a_verdict_on_an_earlier_try_counts_for_nothing(proven: Box, maker: Maker) -> None:
    proven.says(well=False, code="camera")
    proven.start()
    proven.install(maker.model("2", 2))
    proven.start()
    assert (proven.inuse("current-model"), proven.last) == ("models/site-v1-2", ("trying", "ok"))


def test_starts_are_counted_until_it_is_found_well(proven: Box) -> None:
    for _ in range(MAX_STARTS):
        proven.start()
    proven.says(well=True)
    for _ in range(MAX_STARTS + 1):
        proven.start()
    assert (proven.inuse("current-model"), proven.last) == ("models/site-v1-2", ("good", "ok"))


REFUSED: dict[str, tuple[str, Callable[[Maker], Path]]] = {
    "older": ("older", lambda maker: maker.model("0.9", 1)),
    "as new, but another": ("older", lambda maker: maker.model("2b", 2)),
    "the same version again, with other content": ("version", lambda maker: maker.model("2", 3, other=b"x")),
    "another while one is tried": ("on_probation", lambda maker: maker.model("3", 3)),
    "for another machine": ("target", lambda maker: maker.app("0.9.0", 9, target="riscv64-cp313")),
    "for another Python": ("target", lambda maker: maker.app("0.9.0", 9, target=f"{os.uname().machine}-cp399")),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_refused_and_changes_nothing(proven: Box, maker: Maker, what: str) -> None:
    code, make = REFUSED[what]
    before = proven.state
    with pytest.raises(Refused) as refused:
        proven.install(make(maker))
    assert (refused.value.code, proven.inuse("current-model")) == (code, "models/site-v1-2")
    assert (proven.state.taken, proven.state.probation) == (before.taken, before.probation)
    assert proven.last == ("refused", code)
    assert sorted(p.name for p in (proven.root / "models").iterdir()) == ["site-v1-1", "site-v1-2"]


def test_what_is_in_use_is_never_written_over_even_if_it_is_damaged(box: Box, maker: Maker) -> None:
    box.install(maker.model("1", 1))
    box.says(well=True)
    box.start()
    (box.root / "current-model/release.json").unlink()
    with pytest.raises(Refused, match=r"version: .*a new release needs a new version"):
        box.install(maker.model("1", 1))
    assert (box.root / "current-model/model.bin").read_bytes() == b"weights of 1"
    box.install(maker.model("2", 2))
    assert box.inuse("current-model") == "models/site-v1-2"


def test_a_sequence_that_was_rolled_back_is_not_given_up(proven: Box, maker: Maker) -> None:
    """The newest that was ever taken counts, not what is in use; and it may be tried again."""
    proven.says(well=False, code="camera")
    proven.start()
    with pytest.raises(Refused, match="older"):
        proven.install(maker.model("1", 1))
    proven.install(maker.model("2", 2))
    assert (proven.inuse("current-model"), proven.last) == ("models/site-v1-2", ("trying", "ok"))


def test_installing_again_what_is_tried_gives_it_all_its_starts_again(proven: Box, maker: Maker) -> None:
    """After a power cut the request is still there, and costs one start more."""
    proven.start()
    proven.install(maker.model("2", 2))
    assert proven.state.probation is not None
    assert proven.state.probation.starts == 0


def test_what_is_not_in_use_goes_before_something_new_comes(proven: Box, maker: Maker) -> None:
    proven.says(well=True)
    proven.install(maker.model("3", 3))
    assert sorted(p.name for p in (proven.root / "models").iterdir()) == ["site-v1-2", "site-v1-3"]


def test_a_damaged_state_stops_updates_but_not_the_node(proven: Box, maker: Maker) -> None:
    (proven.root / "state.json").write_text('{"taken": {"site-v1": "2"}}')
    done = proven.run("start", proven.root, "--var", proven.var)
    assert (done.returncode, proven.inuse("current-model")) == (0, "models/site-v1-2")
    assert "state.json is damaged" in done.stderr
    with pytest.raises(Refused, match=r"state: .*damaged"):
        proven.install(maker.model("3", 3))


def test_two_installs_do_not_meet(proven: Box, maker: Maker) -> None:
    with guard.locked(proven.root, "install", wait=False), pytest.raises(Refused, match="busy"):
        proven.install(maker.model("2", 2))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system with these options."""
    need(os.geteuid() == 0, "a small disk can only be mounted by root")
    place = tmp_path / "small"
    place.mkdir()
    mounted = []

    def mount(options: str) -> Path:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False)
        need(done.returncode == 0, f"cannot mount a small disk: {done.stderr.decode()}")
        mounted.append(place)
        return place

    yield mount
    for one in mounted:
        subprocess.run(["umount", one], check=True)


MANY: dict[str, Any] = {f"w{n}": b"x" * 500_000 for n in range(20)}


@pytest.mark.parametrize("options", ["size=70m", "size=200m,nr_inodes=26"], ids=["seen before", "found on the way"])
def test_a_full_disk_leaves_the_old_release_and_room(maker: Maker, disk: Callable[[str], Path], options: str) -> None:
    box = good_on(disk(options), maker)
    with pytest.raises(Refused, match="disk_full"):
        box.install(maker.model("2", 2, **MANY))
    assert (box.inuse("current-model"), box.last) == ("models/site-v1-1", ("refused", "disk_full"))
    assert [p.name for p in (box.root / "models").iterdir()] == ["site-v1-1"]


def test_a_disk_without_room_even_for_the_refusal_refuses_as_well(maker: Maker, disk: Callable[[str], Path]) -> None:
    box = good_on(disk("size=200m,nr_inodes=40"), maker)
    subprocess.run(["touch", *(box.folder / str(n) for n in range(40))], check=False, capture_output=True)
    assert not (box.folder / "39").exists()
    with pytest.raises(Refused, match="disk_full"):
        box.install(maker.model("2", 2))
    assert (box.inuse("current-model"), box.last) == ("models/site-v1-1", ("good", "ok"))


def good_on(place: Path, maker: Maker) -> Box:
    box = Box(place / "box", maker)
    box.install(maker.model("1", 1))
    box.says(well=True)
    box.start()
    return box
