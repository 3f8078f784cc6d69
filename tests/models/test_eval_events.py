"""Scenes with known truth, and the alarms of the real node on them."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.rules import RULES as NODE_RULES
from edge.site.load import check
from models.data import DataError
from models.data.merge import merge
from models.eval.events import RULES, Outcome, Played, play, poisson_upper, site_file, summed, table, wilson
from models.eval.scenes import (
    FPS,
    LOOKS,
    ROOM,
    TRUTH,
    VIEW,
    Scene,
    closed,
    corrected,
    free_part,
    of_clips,
    of_photos,
    pan,
    told,
    write_pictures,
)
from tests.conftest import need
from tests.detect.shipped import SHIPPED
from tests.models.photos import Mark, photo, picture

HEADS = ("helmet", "no_helmet")
BARE: Mark = ("no_helmet", 0.5, 0.3, 0.1, 0.1)
HAT: Mark = ("helmet", 0.7, 0.3, 0.1, 0.1)


@pytest.mark.parametrize(
    ("marks", "wanted"),
    [
        pytest.param([BARE], {"helmet": "no_helmet as labelled"}, id="bare head"),
        pytest.param([BARE, HAT], {"helmet": "no_helmet as labelled"}, id="one of two"),
        pytest.param([HAT], {"helmet": None}, id="hat"),
        pytest.param([], {}, id="nobody: tells nothing"),
        pytest.param([("no_helmet", 0.5, 0.3, 0.01, 0.01)], {}, id="too small to ask for"),
        pytest.param([("no_helmet", 0.5, 0.3, 0.01, 0.01), HAT], {}, id="too small, so not in order either"),
        pytest.param([("no_helmet", 0.98, 0.3, 0.04, 0.1)], {}, id="leaves the picture during the pan"),
    ],
)
def test_what_labels_tell(marks: list[Mark], wanted: dict[str, str | None]) -> None:
    assert told(photo(Path("a.png"), marks, complete=HEADS), 400, 300) == wanted


def test_labels_tell_nothing_where_not_all_is_labelled() -> None:
    assert told(photo(Path("a.png"), [BARE], complete=["no_helmet"]), 400, 300) == {}
    assert told(photo(Path("a.png"), [HAT], complete=HEADS, ignore=[BARE]), 400, 300) == {}


def test_pans_are_drawn_of_photos_that_tell_something(tmp_path: Path) -> None:
    photos = [photo(picture(tmp_path / f"p{n}.png", seed=n), [HAT] if n % 2 else [], complete=HEADS) for n in range(12)]
    scenes = of_photos(photos, 4)
    assert len(scenes) == 4
    assert all(int(scene.name[1:]) % 2 for scene in scenes)
    assert scenes == of_photos(photos, 4)
    assert scenes != of_photos(photos, 4, seed=1)
    assert len(of_photos(photos, 99)) == 6


@pytest.mark.parametrize(
    ("labels", "eye", "wanted"),
    [
        pytest.param({"helmet": None}, {}, {"helmet": None}, id="nobody looked"),
        pytest.param({"helmet": None}, {"helmet": "the man in front"}, {"helmet": "the man in front"}, id="a breach"),
        pytest.param({"helmet": None}, {"helmet": "unclear: too dark"}, {}, id="unclear: not judged"),
        pytest.param({"helmet": None}, {"hi_vis": "the man in front"}, {"helmet": None}, id="only what labels tell"),
        pytest.param(
            {"helmet": None, "hi_vis": None}, {"hi_vis": "unclear: cut"}, {"helmet": None}, id="each rule by itself"
        ),
    ],
)
def test_the_eye_corrects_labels(
    labels: dict[str, str | None], eye: dict[str, str], wanted: dict[str, str | None]
) -> None:
    assert corrected(labels, eye) == wanted


def test_pans_know_what_the_eye_corrected(tmp_path: Path) -> None:
    truth = tmp_path / "truth.json"
    seen = {"p0": {"helmet": "the man in front"}, "p1": {"helmet": "unclear: too dark"}}
    truth.write_text(json.dumps({"photos": seen, "nobody": ["p3"]}), encoding="utf-8")
    photos = [photo(picture(tmp_path / f"p{n}.png", seed=n), [HAT], complete=HEADS) for n in range(3)]
    photos += [photo(picture(tmp_path / f"p{n}.png", seed=n)) for n in (3, 4)]
    scenes = {scene.name: scene.breaches for scene in of_photos(photos, 9, truth=truth)}
    assert scenes == {
        "p0": {"helmet": "the man in front"},
        "p2": {"helmet": None},
        "p3": {"helmet": None, "hi_vis": None, "intrusion@closed": None},
    }


SOMEBODY: Mark = ("person", 0.25, 0.5, 0.2, 0.4)
CLOSED = {"intrusion@closed": "person as labelled"}
FREE = {"intrusion@free": None}


@pytest.mark.parametrize(
    ("marks", "ignore", "wanted"),
    [
        pytest.param([SOMEBODY], [], CLOSED | FREE, id="somebody, and a part without"),
        pytest.param([("person", 0.25, 0.5, 0.01, 0.02)], [], FREE, id="too small to ask for"),
        pytest.param([], [("person", 0.25, 0.5, 0.2, 0.4)], FREE, id="perhaps somebody: not there is free"),
        pytest.param([("person", 0.5, 0.5, 0.86, 0.86)], [], CLOSED, id="no part without"),
    ],
)
def test_where_nobody_may_enter(marks: list[Mark], ignore: list[Mark], wanted: dict[str, str | None]) -> None:
    zones, found = closed(photo(Path("a.png"), marks, complete=["person"], ignore=ignore), 400, 300)
    assert found == wanted
    assert [f"intrusion@{zone['id']}" for zone in zones] == list(wanted)
    assert closed(photo(Path("a.png"), marks), 400, 300) == ((), {})  # where people are not labelled


def test_a_part_without_anybody_stays_so_while_the_pan_slides() -> None:
    (_, zone), _ = closed(photo(Path("a.png"), [SOMEBODY], complete=["person"]), 400, 300)
    left, right = (f(x for x, _ in zone["polygon"]) for f in (min, max))
    top, bottom = (f(y for _, y in zone["polygon"]) for f in (min, max))
    assert 0 <= left < right <= 1
    assert 0 <= top < bottom <= 1
    edge = 0.35  # of the labelled person
    for slid in (0.0, 1 - VIEW):
        assert left * VIEW + slid >= edge
        assert right * VIEW + slid <= 1 + 1e-3


spans = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


@given(st.lists(st.tuples(spans, spans), max_size=6))
def test_the_part_without_anybody_touches_nobody_and_none_is_larger(
    people: list[tuple[list[float], list[float]]],
) -> None:
    taken = np.array([(x[0], y[0], x[1], y[1]) for x, y in people]).reshape(-1, 4)
    left, top, right, bottom = free_part(taken)
    assert 0 <= left <= right <= 1
    assert 0 <= top <= bottom <= 1
    for x1, y1, x2, y2 in taken:
        assert right <= x1 or left >= x2 or bottom <= y1 or top >= y2 or right == left
    low, high = taken[:, :2].min(axis=0, initial=1), taken[:, 2:].max(axis=0, initial=0)
    strips = (*(low - ROOM), *(1 - high - ROOM))  # along the edges of the photo, whose other side is 1
    assert (right - left) * (bottom - top) >= max(0, *strips) - 1e-9


def test_corrections_are_of_held_out_photos_and_judged_rules(shared: Path) -> None:
    seen = json.loads(TRUTH.read_text(encoding="utf-8"))["photos"]
    photos = merge(shared / "data")  # also validation photos are held out: of training
    assert seen.keys() <= {photo.name for photo in photos if photo.split in {"val", "test"}}
    assert {rule for one in seen.values() for rule in one} <= {"helmet", "hi_vis", "intrusion@closed", "intrusion@free"}
    unlabelled = {photo.name for photo in photos if photo.split in {"val", "test"} and "person" not in photo.complete}
    assert set(json.loads(TRUTH.read_text(encoding="utf-8"))["nobody"]) <= unlabelled


def test_a_pan_slides_over_the_photo(tmp_path: Path) -> None:
    image = np.asarray(cv2.imread(str(picture(tmp_path / "a.png", 100, 50))), np.uint8)
    frames = list(pan(image))
    assert len(frames) == LOOKS
    assert {frame.shape for frame in frames} == {(47, 94, 3)}
    assert (frames[0] == image[:47, :94]).all()
    assert (frames[-1] == image[3:, 6:]).all()


def test_a_part_of_a_clip_five_times_a_second(tmp_path: Path) -> None:
    clip = tmp_path / "clip.avi"
    video = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (64, 48))
    for n in range(60):
        video.write(np.full((48, 64, 3), n * 4, np.uint8))
    video.release()
    found = [int(frame.mean()) // 4 for frame in Scene("a", "clip", clip, {}, 1.0, 2.0).pictures()]
    assert found == pytest.approx([20, 24, 28, 32, 36], abs=1)
    with pytest.raises(DataError, match=r"has no pictures from 9\.0 s on"):
        write_pictures(Scene("a", "clip", clip, {}, 9.0), tmp_path / "pictures")
    with pytest.raises(DataError, match="not a video that can be read"):
        list(Scene("a", "clip", tmp_path / "gone.avi", {}).pictures())


def test_the_truth_table_is_one_that_a_node_can_play(shared: Path, tmp_path: Path) -> None:
    need((shared / "data" / "clips").is_dir(), "clips not found")
    scenes = of_clips(shared / "data" / "clips")
    assert len({scene.name for scene in scenes}) == len(scenes)
    site = tmp_path / "site.yaml"
    site.write_text(json.dumps(site_file(scenes, SHIPPED, "onnx", 1)), encoding="utf-8")
    assert check(site, NODE_RULES, "en") == []
    assert set(RULES) <= set(NODE_RULES)
    assert {rule for scene in scenes for rule in scene.breaches} == set(RULES)
    for rule in ("hi_vis", "intrusion"):  # breached and kept, else neither recall nor false alarms could be told
        kept = {scene.breaches[rule] is None for scene in scenes if rule in scene.breaches}
        assert kept == {True, False}


def test_a_clip_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ppe-1\.mp4: no such file, though truth\.json tells"):
        of_clips(tmp_path, TRUTH)


def test_the_real_node_tells_who_is_where_nobody_may_be(shared: Path) -> None:
    clips = shared / "data" / "clips"
    need(clips.is_dir(), "clips not found")
    wanted = {"ppe-2", "ppe-1-outside", "worker-zone-inside"}
    played = play([scene for scene in of_clips(clips) if scene.name in wanted], SHIPPED, threads=1)
    found = {(o.scene, o.rule): (o.who is not None, o.raised) for o in played.outcomes}
    assert found == {
        ("ppe-1-outside", "intrusion"): (False, False),
        ("ppe-2", "helmet"): (False, False),
        ("ppe-2", "hi_vis"): (True, True),
        ("worker-zone-inside", "intrusion"): (True, True),
    }
    assert {o.seconds for o in played.outcomes if o.scene == "ppe-2"} == {14 / FPS}
    assert played.judged["hi_vis"] > 0


def test_a_node_that_fails_says_why(tmp_path: Path) -> None:
    scene = Scene("a", "pan", picture(tmp_path / "a.png", 320, 240), {"helmet": None})
    with pytest.raises(DataError, match=r"the node ended with 2: .*no model folder at"):
        play([scene], tmp_path / "gone", threads=1)


def outcome(who: str | None, raised: bool, rule: str = "helmet", kind: str = "pan") -> Outcome:
    return Outcome("a", kind, rule, who, raised, 36.0)


def test_sums() -> None:
    told_right, missed = [outcome("x", True)] * 3, [outcome("x", False)]
    quiet, false = [outcome(None, False)] * 5, [outcome(None, True)]
    sums = summed(told_right + missed + quiet + false)
    assert (sums["breaches"], sums["found"], sums["false"]) == (4, 3, 1)
    assert (sums["recall"], sums["precision"]) == (0.75, 0.75)
    assert sums["hours"] == pytest.approx(0.06)  # where somebody breaks the rule, no alarm can be false
    assert sums["false_per_hour"] == pytest.approx(1 / 0.06, abs=0.001)
    assert sums["false_per_hour_below"] == pytest.approx(4.744 / 0.06, abs=0.01)
    nothing = summed(quiet)
    assert (nothing["recall"], nothing["precision"], nothing["recall_interval"]) == (None, None, None)
    assert (summed(missed)["false_per_hour"], summed(missed)["false_per_hour_below"]) == (None, None)


def test_the_table_keeps_kinds_and_rules_apart() -> None:
    rows = (outcome("x", True), outcome(None, True, "hi_vis"), outcome("x", False, kind="clip"))
    found = table(Played(rows, unknown=Counter(helmet=3), judged=Counter(helmet=12)))
    assert found["kinds"]["pan"]["rules"]["helmet"]["recall"] == 1.0
    assert found["kinds"]["pan"]["rules"]["hi_vis"]["false"] == 1
    assert found["kinds"]["clip"]["rules"]["helmet"]["recall"] == 0.0
    assert found["unknown_share"] == {"helmet": 0.25}
    assert len(found["rows"]) == 3


@pytest.mark.parametrize(("count", "upper"), [(0, 2.996), (1, 4.744), (5, 10.513), (100, 118.08)])
def test_bound_of_a_rate(count: int, upper: float) -> None:
    assert poisson_upper(count) == pytest.approx(upper, rel=1e-3)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_interval_of_a_share(seen: tuple[int, int]) -> None:
    low, high = wilson(*seen)
    assert 0 <= low <= seen[0] / seen[1] + 1e-12
    assert seen[0] / seen[1] - 1e-12 <= high <= 1
    assert high > low


def test_bounds_rise_with_what_was_seen() -> None:
    uppers = [poisson_upper(count) for count in range(30)]
    assert all(a < b for a, b in itertools.pairwise(uppers))
