"""What counts as dark, covered and the same, on photos of real sites and on covers made from them."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edge.capture.folder import read_picture
from edge.capture.look import COVERED_STRUCTURE, Look
from edge.values import Image
from tests.capture.builders import flat, noisy, scene


def photos(shared: Path, most: int) -> list[Image]:
    """Photos of every data set, evenly drawn, as a 720p camera would give them."""
    files = sorted(shared.glob("data/*/images/*.webp"))
    return [cv2.resize(read_picture(f), (1280, 720)) for f in files[:: max(1, len(files) // most)]]  # type: ignore[misc]


def test_photos_of_sites_are_neither_dark_nor_covered(shared: Path) -> None:
    looks = [Look.of(photo) for photo in photos(shared, 100)]
    assert len(looks) >= 90
    assert not any(look.dark(already=False) or look.covered(already=True) for look in looks)
    assert min(look.structure for look in looks) > 3 * COVERED_STRUCTURE[True], "room to the limit"


@pytest.mark.parametrize("cover", ["hand", "cloth", "grease", "fog"])
def test_a_cover_is_seen_through_sensor_noise(shared: Path, cover: str) -> None:
    light = np.asarray(photos(shared, 1)[0], np.float32)
    covers: dict[str, npt.NDArray[np.float32]] = {
        "hand": np.full(light.shape, 40.0, np.float32),
        "cloth": np.full(light.shape, 90.0, np.float32)
        + np.linspace(-40, 40, light.shape[1], dtype=np.float32)[None, :, None],
        "grease": np.asarray(cv2.GaussianBlur(light, (0, 0), 70), np.float32),
        "fog": light * 0.04 + 160,
    }
    for noise in (0, 10):
        assert Look.of(noisy(covers[cover], noise)).covered(already=False)


@pytest.mark.parametrize(
    ("picture", "dark"),
    [
        (flat(0, 0), True),
        (flat(10, 4), True),
        (flat(60, 4), False),
        (scene(), False),
    ],
    ids=["black", "lens cap with noise", "dusk", "day"],
)
def test_darkness(picture: Image, dark: bool) -> None:
    assert Look.of(picture).dark(already=False) is dark


def test_a_night_street_with_one_lamp_is_not_dark() -> None:
    picture = flat(8, 2, 1280, 720)
    cv2.circle(picture, (600, 300), 60, (255, 255, 255), -1)
    assert not Look.of(picture).dark(already=True)


def moved(picture: Image) -> Image:
    """Somebody small walks by."""
    changed = picture.copy()
    changed[100:180, 140:160] = 250
    return changed


STILL = scene(noise=0)


@pytest.mark.parametrize(
    ("now", "same"),
    [
        (STILL.copy(), True),
        (noisy(STILL, 1), False),
        (moved(STILL), False),
        (np.clip(STILL * 0.99, 0, 255).astype(np.uint8), False),
        (scene(noise=0, width=640, height=480), False),
    ],
    ids=["identical", "sensor noise", "a walker", "a cloud", "another size"],
)
def test_only_the_very_same_picture_has_the_same_fingerprint(now: Image, same: bool) -> None:
    assert (Look.of(now).fingerprint == Look.of(STILL).fingerprint) is same


@pytest.mark.parametrize("size", [(32, 32), (48, 640), (1921, 1081)], ids=str)
def test_pictures_of_any_size_can_be_looked_at(size: tuple[int, int]) -> None:
    look = Look.of(scene(width=size[0], height=size[1]))
    assert not look.dark(already=True)
    assert not look.covered(already=True)


def test_a_look_costs_less_than_ten_copies_of_the_picture() -> None:
    """Against a plain copy of the picture in the same run, so that a busy machine does not matter."""
    picture = scene(width=1280, height=720)

    def least(what: object) -> float:
        assert callable(what)
        times = []
        for _ in range(15):
            began = time.perf_counter()
            what()
            times.append(time.perf_counter() - began)
        return min(times)

    def whole() -> bool:
        look = Look.of(picture)
        return look.dark(already=False) or look.covered(already=False)

    assert least(whole) < 10 * least(lambda: picture.astype(np.int16))
