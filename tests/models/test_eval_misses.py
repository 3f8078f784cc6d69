"""The worst mistakes: which they are, and that their pictures show them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from models.data import Photo
from models.eval.misses import shown, worst
from models.eval.network import Seen
from models.eval.scores import Looked
from tests.models.photos import Mark, boxes, photo, picture

SMALL: Mark = ("cone", 0.2, 0.5, 0.1, 0.1)
LARGE: Mark = ("cone", 0.7, 0.5, 0.3, 0.4)
NOWHERE: Mark = ("cone", 0.4, 0.1, 0.1, 0.1)


def saw(one: Photo, *seen: tuple[Mark, float]) -> Looked:
    found = Seen(boxes(*(mark for mark, _ in seen)), np.array([c for _, c in seen], float))
    return Looked(one, found, 640, 480, 0.5)


def cones(folder: Path, *marks: Mark, complete: tuple[str, ...] = ("cone",)) -> Photo:
    grey = np.full((480, 640, 3), 128, np.uint8)
    path = picture(folder / "a.png")
    assert cv2.imwrite(str(path), grey)
    return photo(path, marks, complete=complete)


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        pytest.param([(SMALL, 0.9), (LARGE, 0.8)], [], id="all seen"),
        pytest.param([(SMALL, 0.9), (LARGE, 0.2)], [("missed", 0.7)], id="too unsure to be judged by"),
        pytest.param([], [("missed", 0.7)], id="of two that are missed the larger"),
        pytest.param([(NOWHERE, 0.9), (SMALL, 0.8), (LARGE, 0.7)], [("wrong", 0.4)], id="where none is"),
        pytest.param([(SMALL, 0.9), (LARGE, 0.8), (NOWHERE, 0.3)], [], id="wrong, but too unsure"),
    ],
)
def test_which_they_are(seen: list[tuple[Mark, float]], wanted: list[tuple[str, float]], tmp_path: Path) -> None:
    found = worst([saw(cones(tmp_path, SMALL, LARGE), *seen)], frozenset({"cone"}))
    assert [str(miss.kind) for miss in found] == [kind for kind, _ in wanted]
    assert [(miss.box[0] + miss.box[2]) / 2 / 640 for miss in found] == pytest.approx([x for _, x in wanted])


def test_none_where_the_class_is_not_completely_labelled(tmp_path: Path) -> None:
    assert worst([saw(cones(tmp_path, complete=("person",)), (NOWHERE, 0.9))], frozenset({"cone"})) == []


@pytest.mark.parametrize("mark", [pytest.param(SMALL, id="scaled up"), pytest.param(LARGE, id="scaled down")])
def test_the_box_is_drawn_where_it_is_and_as_thick_in_every_picture(mark: Mark, tmp_path: Path) -> None:
    (miss,) = worst([saw(cones(tmp_path, mark))], frozenset({"cone"}))
    tile = cv2.imdecode(np.frombuffer(shown(miss), np.uint8), cv2.IMREAD_COLOR)
    assert tile is not None
    assert max(tile.shape) == 240
    drawn = np.abs(tile.astype(int) - [0, 200, 255]).max(axis=2) < 70  # yellow: missed
    middle = drawn[tile.shape[0] // 2]
    assert 2 <= middle.sum() <= 8  # two sides, each of a few pixels
    assert np.flatnonzero(middle).min() < tile.shape[1] / 2 < np.flatnonzero(middle).max()
