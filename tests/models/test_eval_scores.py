"""What is measured on photos: only where a class is labelled, by source, size, light; heads, calibration, intervals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.data import Photo
from models.data.labels import CLASSES
from models.eval.network import Seen
from models.eval.page import page
from models.eval.scores import Looked, heads, reliability, scores, wearers
from tests.models.photos import Mark, boxes, photo

PPE = ("person", "helmet", "no_helmet", "vest", "no_vest")
BODY: Mark = ("person", 0.5, 0.5, 0.2, 0.6)  # 300 of 500 pixels high
HAT: Mark = ("helmet", 0.5, 0.23, 0.08, 0.06)
BARE: Mark = ("no_helmet", 0.5, 0.24, 0.08, 0.1)
FAR: Mark = ("person", 0.8, 0.5, 0.02, 0.06)  # 30 pixels


def saw(one: Photo, *seen: tuple[Mark, float], luma: float = 0.5) -> Looked:
    ordered = sorted(seen, key=lambda pair: -pair[1])
    found = Seen(boxes(*(mark for mark, _ in ordered)), np.array([c for _, c in ordered], float))
    return Looked(one, found, 500, 500, luma)


def labelled(*marks: Mark, name: str = "a", source: str = "here", complete: Sequence[str] = PPE, **more: Any) -> Photo:
    return photo(Path(f"{name}.png"), marks, source=source, complete=complete, **more)


def of(*looked: Looked, knows: Sequence[str] = CLASSES) -> dict[str, Any]:
    return scores(looked, frozenset(knows), resamples=50)


def test_a_class_counts_only_where_every_object_of_it_is_labelled() -> None:
    told = of(
        saw(labelled(BODY), (BODY, 0.5)),
        saw(labelled(name="b", complete=("helmet",)), (BODY, 0.9)),  # somebody is there, but nobody labels people
    )
    assert told["classes"]["person"]["ap50"] == 1.0
    assert told["classes"]["person"]["photos"] == 1
    counted = of(saw(labelled(BODY), (BODY, 0.5)), saw(labelled(name="b"), (BODY, 0.9)))
    assert counted["classes"]["person"]["ap50"] == 0.5


def test_what_lies_in_an_ignored_place_is_no_mistake() -> None:
    alone = labelled(BODY, ignore=[("person", 0.8, 0.5, 0.1, 0.3)])
    told = of(saw(alone, (BODY, 0.5), (("person", 0.8, 0.5, 0.08, 0.28), 0.9)))
    assert told["classes"]["person"]["ap50"] == told["classes"]["person"]["precision"] == 1.0


def test_classes_that_the_model_lacks_are_named_and_give_no_mean() -> None:
    told = of(saw(labelled(BODY, HAT), (BODY, 0.9), (HAT, 0.9)), knows=("person", "helmet"))
    assert told["unknown_classes"] == [name for name in CLASSES if name not in {"person", "helmet"}]
    assert "ppe" not in told["means"]
    assert told["means"]["all"]["ap50"] == 1.0
    assert told["heads"] is None


def test_by_source_where_the_source_labels_the_class() -> None:
    told = of(
        saw(labelled(BODY, source="rf100_cs"), (BODY, 0.9)),
        saw(labelled(BODY, name="b", source="css_v28"), (FAR, 0.9)),
        # Only rf100_cs of the two labels people.
        saw(labelled(BODY, name="c", source="rf100_cs+barrier_light"), (BODY, 0.9)),
    )
    found = {source: one["classes"].get("person") for source, one in told["sources"].items()}
    assert found["rf100_cs"]["labelled"] == 2
    assert found["rf100_cs"]["ap50"] == 1.0
    assert found["css_v28"]["ap50"] == 0.0
    assert found["barrier_light"] is None


def test_by_height_of_the_person() -> None:
    told = of(saw(labelled(BODY, HAT, FAR), (BODY, 0.9), (HAT, 0.9)))
    tall, small = told["sizes"][-1]["classes"], told["sizes"][0]["classes"]
    assert tall["person"]["ap50"] == 1.0  # the small one, not seen, does not count here
    assert tall["helmet"] == {"labelled": 1, "ap50": 1.0, "ap50_95": 1.0, "recall": 1.0}
    assert (small["person"]["labelled"], small["person"]["recall"]) == (1, 0.0)
    assert "helmet" not in small


def test_a_hat_is_of_the_smallest_person_around_it() -> None:
    behind: Mark = ("person", 0.5, 0.5, 0.9, 0.9)
    lying: Mark = ("helmet", 0.05, 0.98, 0.02, 0.02)
    one = saw(labelled(BODY, behind, HAT, lying))
    heights = wearers(one, one.pixels(one.photo.boxes.of("helmet")))
    assert heights[0] == pytest.approx(300)
    assert np.isnan(heights[1])


SMALL_HAT: Mark = ("helmet", 0.8, 0.474, 0.01, 0.006)  # on FAR, as HAT is on BODY
ASTRAY: Mark = ("helmet", 0.2, 0.1, 0.08, 0.06)  # on nobody, as large as HAT
LYING: Mark = ("helmet", 0.2, 0.9, 0.08, 0.06)


@pytest.mark.parametrize(
    ("marks", "seen", "small", "tall"),
    [
        pytest.param([HAT, SMALL_HAT], [(HAT, 0.9), (SMALL_HAT, 0.8)], 1.0, 1.0, id="both seen"),
        pytest.param([HAT], [(SMALL_HAT, 0.9), (HAT, 0.8)], None, 1.0, id="a mistake on the small one, none labelled"),
        pytest.param(
            [HAT, SMALL_HAT], [(ASTRAY, 0.9), (HAT, 0.8), (SMALL_HAT, 0.7)], 1.0, 0.5, id="on nobody, but large"
        ),
        pytest.param([HAT, LYING], [(LYING, 0.9), (HAT, 0.8)], None, 1.0, id="a hat that lies about"),
        pytest.param([HAT, LYING], [(HAT, 0.8)], None, 1.0, id="and is not seen"),
    ],
)
def test_what_is_worn_counts_by_the_height_of_its_wearer(
    marks: list[Mark], seen: list[tuple[Mark, float]], small: float | None, tall: float
) -> None:
    told = of(saw(labelled(BODY, FAR, *marks), *seen))
    bands = [told["sizes"][n]["classes"].get("helmet", {}).get("ap50") for n in (0, -1)]
    assert bands == [small, tall]


def test_by_light() -> None:
    told = of(saw(labelled(BODY), (BODY, 0.9)), saw(labelled(BODY, name="b"), luma=0.1))
    assert told["light"]["bright"]["classes"]["person"]["ap50"] == 1.0
    assert told["light"]["dark"]["classes"]["person"]["ap50"] == 0.0
    assert told["light"]["dark"]["photos"] == 1


@pytest.mark.parametrize(
    ("label", "seen", "row", "column"),
    [
        pytest.param(HAT, [(HAT, 0.9)], "helmet", "helmet", id="hat as hat"),
        pytest.param(HAT, [(BARE, 0.9)], "helmet", "no_helmet", id="hat as bare head, whose box is larger"),
        pytest.param(BARE, [(HAT, 0.9)], "no_helmet", "helmet", id="bare head as hat"),
        pytest.param(HAT, [(HAT, 0.6), (BARE, 0.5)], "helmet", "helmet", id="the surer one decides"),
        pytest.param(HAT, [(HAT, 0.2)], "helmet", "nothing", id="too unsure to be judged by"),
        pytest.param(HAT, [], "helmet", "nothing", id="not seen"),
    ],
)
def test_helmet_or_bare_head(label: Mark, seen: list[tuple[Mark, float]], row: str, column: str) -> None:
    found = heads([saw(labelled(label), *seen)])
    assert found[row][column] == 1
    assert sum(sum(cells.values()) for cells in found.values()) == 1


def test_heads_where_none_is_labelled() -> None:
    found = heads([saw(labelled(), (HAT, 0.9)), saw(labelled(complete=("person",)), (HAT, 0.9))])
    assert found["elsewhere"] == {"helmet": 1, "no_helmet": 0}


def test_calibration() -> None:
    honest = np.array([0.75] * 4), np.array([1.0, 1.0, 1.0, 0.0])
    assert reliability(*honest)[0] == 0.0
    error, bins = reliability(np.array([0.95, 0.95, 0.15, 0.15]), np.array([1.0, 0.0, 0.0, 0.0]))
    assert error == pytest.approx((2 * 0.45 + 2 * 0.15) / 4)
    assert [(one["from"], one["count"], one["right"]) for one in bins] == [(0.1, 2, 0.0), (0.9, 2, 0.5)]
    assert reliability(np.zeros(0), np.zeros(0)) == (None, [])
    assert reliability(np.ones(1), np.ones(1))[1][0]["from"] == 0.9  # a whole 1 falls out of no bin


def test_intervals_draw_whole_groups() -> None:
    good, bad = saw(labelled(BODY), (BODY, 0.9)), saw(labelled(BODY, name="z"))

    def interval(groups: Sequence[str]) -> list[float]:
        some = [
            replace(one, photo=replace(one.photo, name=f"p{n}", group=group))
            for n, (one, group) in enumerate(zip([good, bad] * 10, groups, strict=True))
        ]
        found: list[float] = of(*some)["classes"]["person"]["ap50_interval"]
        return found

    each_by_itself = interval([f"g{n}" for n in range(20)])
    pairs = interval([f"g{n // 2}" for n in range(20)])
    assert each_by_itself[0] < 0.5 < each_by_itself[1]
    assert pairs[1] - pairs[0] < 0.02  # in each pair one is found and one is not, whichever are drawn


def test_the_report_needs_nothing_from_anywhere_and_shows_all_of_it() -> None:
    told = {
        "model": "<odd> & name",
        "runtime": "onnx",
        "image_size": 416,
        "about": "measured on x",
        "photos": of(saw(labelled(BODY, HAT, source="rf100_cs"), (BODY, 0.9), (BARE, 0.9))),
    }
    json.dumps(told)
    text = page(told, [])
    assert "&lt;odd&gt; &amp; name" in text
    assert "<odd>" not in text
    for forbidden in ("http:", "https:", 'src="/', "<script", "<link"):
        assert forbidden not in text
    for wanted in ("rf100_cs", "Calibration", "no_helmet", "<svg", "from 160 px"):
        assert wanted in text
