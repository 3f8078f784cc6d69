"""Hard cases made out of good photos."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.data.hard import (
    DRESSED,
    EFFECTS,
    bucket,
    cap,
    carried_helmet,
    drawn_lamp,
    far,
    harden,
    hidden_faces,
    more_lamps,
    near,
    orange_shirt,
    painted_hat,
)
from models.data.labels import Boxes
from models.data.pictures import Pixels
from tests.models.photos import boxes

Effect: TypeAlias = Callable[[Pixels, Boxes, np.random.Generator], Pixels]


@pytest.fixture(scope="module")
def scene() -> Pixels:
    """Bright, coloured, sharp: squares on a gradient."""
    made = np.zeros((120, 160, 3), np.uint8)
    made[...] = np.linspace(60, 220, 160)[None, :, None]
    made[20:60, 20:60] = (30, 60, 220)
    made[60:110, 80:130] = (40, 200, 60)
    made[10:40, 100:140] = (230, 120, 20)
    return made


def dice(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def brightness(picture: Pixels) -> float:
    return float(picture.mean())


def colour(picture: Pixels) -> float:
    """Mean saturation."""
    return float(cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)[..., 1].mean())


def sharpness(picture: Pixels) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.CV_64F).var())


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize("seed", range(8))
def test_an_effect_changes_a_copy_and_repeats_itself(scene: Pixels, name: str, seed: int) -> None:
    before = scene.copy()
    made = EFFECTS[name](scene, dice(seed))
    assert made.shape == scene.shape
    assert made.dtype == np.uint8
    assert (scene == before).all()
    assert not (made == scene).all()
    assert (made == EFFECTS[name](scene, dice(seed))).all()
    assert not (made == EFFECTS[name](scene, dice(seed + 100))).all()


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 300, 3), (301, 7, 3)])
@pytest.mark.parametrize("value", [0, 255])
def test_odd_shapes_and_flat_photos(name: str, shape: tuple[int, int, int], value: int) -> None:
    assert EFFECTS[name](np.full(shape, value, np.uint8), dice()).shape == shape


@pytest.mark.parametrize(
    ("name", "promise"),
    [
        ("night", lambda made, was: brightness(made) < 0.7 * brightness(was)),
        ("infrared", lambda made, _: colour(made) == 0),
        ("low_light", lambda made, was: brightness(made) < 0.85 * brightness(was)),
        ("rain", lambda made, was: colour(made) < 0.95 * colour(was)),
        ("blur", lambda made, was: sharpness(made) < 0.7 * sharpness(was)),
        ("artefacts", lambda made, was: 0 < np.abs(made.astype(int) - was).mean() < 25),
        ("back_light", lambda made, was: made.max() > was.mean() > np.percentile(made, 20)),
    ],
)
@pytest.mark.parametrize("seed", range(8))
def test_what_an_effect_is_for(scene: Pixels, name: str, promise: object, seed: int) -> None:
    assert callable(promise)
    assert promise(EFFECTS[name](scene, dice(seed)), scene)


def test_a_dark_photo_is_not_made_black(scene: Pixels) -> None:
    dark = (scene * 0.1).astype(np.uint8)
    for name in ("night", "low_light"):
        for seed in range(8):
            assert np.percentile(EFFECTS[name](dark, dice(seed)), 99.5) > 70


def hue(picture: Pixels, x: int, y: int) -> int:
    return int(cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)[y, x, 0])


def test_a_shirt_becomes_orange_a_vest_does_not(scene: Pixels) -> None:
    shirt, vest = ("no_vest", 0.65, 0.7, 0.3, 0.4), ("vest", 0.25, 0.33, 0.25, 0.33)
    made = orange_shirt(scene, boxes(shirt, vest), dice())
    assert hue(scene, 104, 84) > 50  # green
    assert hue(made, 104, 84) <= 26
    assert (made[20:60, 20:60] == scene[20:60, 20:60]).all()


def test_a_shirt_behind_a_vest_is_left_alone(scene: Pixels) -> None:
    made = orange_shirt(scene, boxes(("no_vest", 0.65, 0.7, 0.3, 0.4), ("vest", 0.6, 0.6, 0.2, 0.2)), dice())
    assert (made == scene).all()


def any_of(effect: Effect, picture: Pixels, labelled: Boxes) -> Pixels:
    """The first try that did something: most effects leave out some of what they could change."""
    tries = (effect(picture, labelled, dice(seed)) for seed in range(40))
    return next(made for made in tries if not (made == picture).all())


def changed(made: Pixels, was: Pixels) -> tuple[int, int, int, int]:
    """Left, top, right, bottom around the pixels that differ."""
    rows, columns = np.nonzero((made != was).any(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


HEAD = ("no_helmet", 0.5, 0.5, 0.2, 0.4)  # 64..96 across, 36..84 down in the scene


def test_a_coloured_hat_takes_another_colour_a_grey_one_does_not(scene: Pixels) -> None:
    red, grey = ("helmet", 0.25, 0.33, 0.25, 0.33), ("helmet", 0.9, 0.8, 0.1, 0.2)
    hues = set()
    for seed in range(20):
        made = painted_hat(scene, boxes(red, grey), dice(seed))
        hues.add(hue(made, 40, 40))
        assert (made[:, 65:] == scene[:, 65:]).all()
    assert len(hues) > 5
    assert min(abs(one - 60) for one in hues) < 15  # green too


def test_a_cap_covers_the_crown_and_not_the_face(scene: Pixels) -> None:
    left, top, right, bottom = changed(any_of(cap, scene, boxes(HEAD)), scene)
    assert 64 <= left < right <= 96
    assert 36 <= top < bottom <= 36 + 13


def test_a_bucket_stands_beside_the_head_and_hides_nothing_labelled(scene: Pixels) -> None:
    for seed in range(60):
        made = bucket(scene, boxes(HEAD, ("cone", 0.2, 0.5, 0.1, 0.4)), dice(seed))
        assert (made[36:84, 64:96] == scene[36:84, 64:96]).all()
        assert (made[36:84, 24:40] == scene[36:84, 24:40]).all()
    assert any((bucket(scene, boxes(HEAD), dice(seed)) != scene).any() for seed in range(60))


def test_a_carried_helmet_is_labelled_below_the_head(scene: Pixels) -> None:
    before = boxes(("no_helmet", 0.5, 0.2, 0.1, 0.2), ("helmet", 0.25, 0.33, 0.2, 0.25))
    tries = (carried_helmet(scene, before, dice(seed)) for seed in range(40))
    made, after = next((made, after) for made, after in tries if len(after) > 2)
    assert after.classes.tolist() == [*before.classes.tolist(), before.classes[1]]
    left, top, right, bottom = np.rint(after.xyxy[-1] * [160, 120, 160, 120]).astype(int)
    x1, y1, x2, y2 = changed(made, scene)
    assert left <= x1 < x2 <= right
    assert top <= y1 < y2 <= bottom
    assert top > 0.3 * 120


@pytest.mark.parametrize("bare", [boxes(HEAD), boxes(("helmet", 0.5, 0.5, 0.2, 0.2)), boxes()])
def test_without_a_helmet_or_a_bare_head_none_is_carried(scene: Pixels, bare: Boxes) -> None:
    made, after = carried_helmet(scene, bare, dice())
    assert made is scene
    assert after is bare


def test_more_lamps_stand_on_barriers_and_are_labelled(scene: Pixels) -> None:
    lamp = np.full((12, 10, 3), 255, np.uint8)
    before = boxes(("barrier", 0.5, 0.8, 0.8, 0.3), ("person", 0.2, 0.5, 0.2, 0.4))
    for seed in range(30):
        made, after = more_lamps(scene, before, [lamp], dice(seed))
        new = after.of("warning_light").xyxy
        if not len(new):
            assert made is scene
            continue
        left, top, right, bottom = changed(made, scene)
        assert new[:, 0].min() * 160 - 1 <= left < right <= new[:, 2].max() * 160 + 1
        assert new[:, 1].min() * 120 - 1 <= top < bottom <= new[:, 3].max() * 120 + 1
        assert (np.abs(new[:, 3] - 0.65) < 0.05).all()  # the barrier's top
        assert (made[36:84, 16:48] == scene[36:84, 16:48]).all()  # the person


@pytest.mark.parametrize("seed", range(40))
def test_a_drawn_lamp_fills_its_box(seed: int) -> None:
    made, weight = drawn_lamp(dice(seed))
    assert made.shape == (*weight.shape, 3)
    assert made.min() >= 0
    assert made.max() <= 255
    assert weight.min() >= 0
    assert weight.max() == pytest.approx(1.0)
    down, across = np.nonzero(weight > 0.5)
    assert np.ptp(down) > 0.7 * len(weight)
    assert np.ptp(across) > 0.5 * weight.shape[1]


def test_lamps_are_drawn_where_no_photo_has_one(scene: Pixels) -> None:
    before = boxes(("barrier", 0.5, 0.8, 0.8, 0.3))
    added = [len(more_lamps(scene, before, [], dice(seed))[1]) - 1 for seed in range(20)]
    assert 20 <= sum(added) <= 60


@pytest.mark.parametrize(("name", "brow"), [("helmet", 0.55), ("no_helmet", 0.4)])
def test_a_hidden_face_keeps_what_is_above_the_brow(name: str, brow: float) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (120, 160, 3), np.uint8)
    made = hidden_faces(noise, boxes((name, 0.5, 0.5, 0.25, 0.4)), dice())
    left, top, right, bottom = changed(made, noise)
    assert (left, right) == (52, 108)  # a fifth of the width more at each side
    assert top == 36 + round(brow * 40)
    assert bottom > 84
    assert made[top:bottom, left:right].std() < 0.5 * noise.std()


@pytest.mark.parametrize("effect", [*DRESSED.values(), lambda p, b, r: carried_helmet(p, b, r)[0]])
@given(seed=st.integers(0, 1000), x=st.floats(0, 1), y=st.floats(0, 1), size=st.floats(0.001, 0.9))
def test_heads_anywhere_and_of_any_size(effect: Effect, seed: int, x: float, y: float, size: float) -> None:
    flat = np.full((60, 80, 3), 90, np.uint8)
    some = boxes(("no_helmet", x, y, size, size), ("helmet", y, x, size, size), ("no_vest", x, x, size, size))
    made = effect(flat, some, dice(seed))
    assert made.shape == flat.shape
    assert made.dtype == np.uint8
    assert (flat == 90).all()


@given(st.integers(0, 1000))
def test_boxes_go_where_the_photo_goes(seed: int) -> None:
    picture = np.zeros((120, 160, 3), np.uint8)
    picture[30:90, 40:120] = 255
    made, moved, (left, top, right, bottom) = far(picture, np.array([[0.5, 0.5, 0.5, 0.5]]), dice(seed))
    assert made.shape == picture.shape
    assert 0.25 < (right - left) / 160 < 0.65
    assert (made[:top] == 114).all()
    assert (made[bottom:] == 114).all()
    x, y, width, height = moved[0] * [160, 120, 160, 120]
    white = np.argwhere(made[..., 0] > 190)
    low, high = white.min(axis=0), white.max(axis=0) + 1
    assert np.abs(np.array([y - height / 2, x - width / 2]) - low).max() <= 1.5
    assert np.abs(np.array([y + height / 2, x + width / 2]) - high).max() <= 1.5


def test_none_is_made_hard_where_none_is_wanted(scene: Pixels) -> None:
    some = boxes(("no_vest", 0.65, 0.7, 0.3, 0.4))
    assert all(harden(scene, some, dice(seed), 0.0) == (scene, some) for seed in range(20))
    changed = sum(not (harden(scene, some, dice(seed), 0.5)[0] == scene).all() for seed in range(200))
    assert 95 < changed < 140  # 1 - 0.5 * 5 / 6 of 200 is 117: a lone shirt can turn orange, and be made hard


@given(seed=st.integers(0, 10_000), side=st.sampled_from([64, 96, 160]))
def test_a_window_shows_its_objects_where_they_are(seed: int, side: int) -> None:
    painted = np.zeros((120, 160, 3), np.uint8)
    painted[30:60, 40:80] = 255
    made, seen, (left, top, right, bottom) = near(
        painted, boxes(("cone", 60 / 160, 45 / 120, 0.25, 0.25)), side, dice(seed)
    )
    assert max(made.shape[:2]) == side
    assert 0 <= left < right <= 160
    assert 0 <= top < bottom <= 120
    shown = np.clip(np.array([40, 30, 80, 60]) - [left, top, left, top], 0, [right - left, bottom - top] * 2)
    share = (shown[2:] - shown[:2]).prod() / 1200
    assert len(seen) == (1 if share >= 1 / 6 else 0)
    if len(seen):
        height, width = made.shape[:2]
        a, b, c, d = np.rint(seen.xyxy[0] * [width, height, width, height]).astype(int).tolist()
        assert made[b:d, a:c].mean() > 150  # the object fills its box but for its rim
        outside = made.astype(float).sum() - made[b:d, a:c].astype(float).sum()
        assert outside <= 0.25 * made.astype(float).sum()


def test_what_stands_on_the_street_is_looked_at_more_often(scene: Pixels) -> None:
    two = boxes(("person", 0.1, 0.5, 0.1, 0.2), ("warning_light", 0.9, 0.5, 0.1, 0.2))
    shown = [near(scene, two, 64, dice(seed))[1].classes.tolist() for seed in range(200)]
    lamps, people = (sum(kind in one for one in shown) for kind in (7, 0))
    assert lamps > 2.5 * people > 0
