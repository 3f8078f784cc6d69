"""Saving zones changes the zones and nothing else, whole or not at all."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.site import disk, edit
from edge.site.load import SiteFileError, load, save_zones
from edge.site.model import Zone
from tests.site.builders import RULES, full

NEW = Zone(id="new", name='a: "b" # c', kind="pit", polygon=[(0.0, 0.0), (1.0, 0.0), (0.25, 1.0), (1e-05, 0.5)])
CAMERAS = ("gate", "yard", "van", "mast", "replay")  # block list, flow list, flow camera, empty list, no list


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "site.yaml"
    file.write_bytes(full().encode())
    return file


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")


def test_a_new_zone_adds_its_lines_only(path: Path) -> None:
    before = lines(path)
    save_zones(path, "gate", [*load(path, RULES).camera("gate").zones, NEW], RULES)
    after = lines(path)
    added = [
        "      - id: new",
        '        name: "a: \\"b\\" # c"',
        "        kind: pit",
        "        polygon: [[0.0, 0.0], [1.0, 0.0], [0.25, 1.0], [1e-05, 0.5]]",
    ]
    at = before.index("    # What must stand there.")
    assert after == before[:at] + added + before[at:]


def test_a_moved_corner_changes_its_lines_only(path: Path) -> None:
    before = path.read_text(encoding="utf-8")
    trench, pit = load(path, RULES).camera("gate").zones
    moved = trench.model_copy(update={"polygon": NEW.polygon, "name": ""})
    save_zones(path, "gate", [moved, pit.model_copy(update={"polygon": NEW.polygon})], RULES)
    points = "[[0.0, 0.0], [1.0, 0.0], [0.25, 1.0], [1e-05, 0.5]]"
    expected = before.replace("[[0.1, 0.4], [0.9, 0.4], [0.9, 1.0], [0.1, 1.0]]", points).replace("沟槽", '""')
    block = "polygon:\n          - [0.2, 0.5]\n          - [0.4, 0.5]\n          - [0.3, 0.8]"
    assert path.read_text(encoding="utf-8") == expected.replace(block, f"polygon: {points}")


def test_a_removed_zone_takes_the_comment_above_it_along(path: Path) -> None:
    before = lines(path)
    save_zones(path, "gate", load(path, RULES).camera("gate").zones[1:], RULES)
    first, behind = before.index("      # Where they dig this week."), before.index("      # Closed to everybody.")
    assert lines(path) == before[:first] + before[behind - 1 :]


def test_the_same_zones_leave_every_byte(path: Path) -> None:
    before, inode = path.read_bytes(), path.stat().st_ino
    for camera in CAMERAS:
        save_zones(path, camera, load(path, RULES).camera(camera).zones, RULES)
    assert path.read_bytes() == before
    assert path.stat().st_ino == inode


zone_texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=12)
corner = st.floats(0, 1, allow_subnormal=False)
spans = st.fixed_dictionaries(
    {"start": st.sampled_from(["07:00", "19:30"]), "end": st.sampled_from(["06:00", "00:00"])}
)
zones = st.builds(
    lambda zone_id, name, kind, x, hours: Zone.model_validate(
        {"id": zone_id, "name": name, "kind": kind, "polygon": [[x, 0], [1, 0.5], [0, 1]], "hours": hours}
    ),
    st.sampled_from(["trench", "pit", "bay", "null", "12", "1e5", "0x1f", "true", "a-b"]),
    zone_texts,
    st.sampled_from(["work", "no_entry"]),
    corner,
    st.lists(spans, max_size=2),
)
zone_lists = st.lists(zones, max_size=4, unique_by=lambda z: z.id)
HEAD = """\
site: {id: a, latitude: 1, longitude: 2}   # where
node: {id: n}
cameras:
  - id: one # an eye
    source: {type: usb}
"""
BLOCK = """\
    zones:
    - id: trench
      kind: work # why
      polygon: [[0, 0], [1, 0], [1, 1]]
"""
REMARKS = """\
    zones: # all of them
        # first
        -   polygon: # corners
            - [0, 0]
            - [1, 0]
            - [1, 1]
            kind: work
            id: trench
            # name: later
        # second

        - {id: pit, kind: work, polygon: [[0, 0], [1, 0],
            [1, 1]]} # a pit
        # last
"""
DASH_ALONE = """\
    zones:
      -
        id: trench
        kind: work
        polygon: [[0, 0], [1, 0], [1, 1]]
      # second
      - id: pit
        kind: work
        polygon: [[0, 0], [1, 0], [1, 1]]
"""
TEXT_BLOCK = """\
    zones:
      - id: trench
        kind: work
        polygon: [[0, 0], [1, 0], [1, 1]]
        name: |-
          deep

"""
FLOW = """\
    zones: [{id: trench, kind: work, polygon: [[0, 0],
        [1, 0], [1, 1]]},
      ]   # between brackets
"""
LAYOUTS = ("", "    zones: []   # none yet\n", BLOCK, REMARKS, DASH_ALONE, TEXT_BLOCK, FLOW)
BEHIND = ("    judge_fps: 3 # calm\n", "    # the end", "page: null", "")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(LAYOUTS),
    st.sampled_from(BEHIND),
    st.tuples(zone_lists, zone_lists),
)
def test_zones_survive_in_every_layout(
    tmp_path_factory: pytest.TempPathFactory,
    newline: str,
    layout: str,
    behind: str,
    steps: tuple[list[Zone], list[Zone]],
) -> None:
    path = tmp_path_factory.mktemp("layout") / "site.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + (HEAD + layout + behind).replace("\n", newline).encode())
    for wanted in steps:
        save_zones(path, "one", wanted, RULES)
        assert load(path, RULES).camera("one").zones == wanted
        text = path.read_bytes().decode()
        assert text.startswith("\ufeff" + HEAD.replace("\n", newline)), "what stands above stays"
        assert behind.replace("\n", newline) in text, "what stands below stays"
        assert text.count("\n") == text.count(newline)


@pytest.mark.parametrize("camera", CAMERAS)
def test_every_form_of_camera_takes_and_gives_back_zones(path: Path, camera: str) -> None:
    before, old = load(path, RULES), load(path, RULES).camera(camera).zones
    for wanted in ([*old, NEW], [NEW], [], old):
        save_zones(path, camera, wanted, RULES)
        after = load(path, RULES)
        assert after.camera(camera).zones == wanted
        assert [c for c in after.cameras if c.id != camera] == [c for c in before.cameras if c.id != camera]


def test_zones_that_make_a_bad_file_are_refused_and_nothing_is_written(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(SiteFileError, match="taken by another zone or fixture"):
        save_zones(path, "gate", [NEW.model_copy(update={"id": "lamp-1"})], RULES)
    with pytest.raises(SiteFileError, match="no camera of this id"):
        save_zones(path, "door", [NEW], RULES)
    assert path.read_bytes() == before


def test_a_file_that_is_bad_already_is_not_touched(path: Path) -> None:
    path.write_text(full(("latitude: 39.91", "latitude: 399")), encoding="utf-8")
    before = path.read_bytes()
    with pytest.raises(SiteFileError, match="latitude"):
        save_zones(path, "gate", [NEW], RULES)
    assert path.read_bytes() == before


def test_mode_owner_and_link_stay(path: Path, tmp_path: Path) -> None:
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 4321)
    owner = path.stat().st_uid, path.stat().st_gid
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    save_zones(link, "gate", [NEW], RULES)
    assert link.is_symlink()
    assert load(path, RULES).camera("gate").zones == [NEW]
    assert path.stat().st_mode & 0o7777 == 0o640
    assert (path.stat().st_uid, path.stat().st_gid) == owner


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Writes fail half-way, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    was = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, was)


def test_a_full_disk_leaves_the_old_file_and_no_rubbish(path: Path) -> None:
    before = path.read_bytes()
    with no_file_larger_than(1000), pytest.raises(OSError, match="File too large"):
        save_zones(path, "gate", [NEW], RULES)
    assert path.read_bytes() == before
    assert [f.name for f in path.parent.iterdir()] == [path.name]


def test_an_edit_by_somebody_else_meanwhile_is_not_lost(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor saves between our reading and our writing."""
    theirs = full(("judge_fps: 4", "judge_fps: 3")).encode()

    def read_then_edited(file: Path, language: str) -> bytes:
        data = disk.read_bytes(file, language)
        path.write_bytes(theirs)
        return data

    monkeypatch.setattr(edit, "read_bytes", read_then_edited)
    with pytest.raises(SiteFileError, match="changed in the meantime"):
        save_zones(path, "gate", [NEW], RULES)
    assert path.read_bytes() == theirs
