"""The plain values keep what they promise."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.values import Detections

NAMES = ("person", "helmet", "vest")


def some(count: int, seed: int = 0) -> Detections:
    random = np.random.default_rng(seed)
    boxes = random.uniform(0, 500, (count, 4))
    seen = Detections.build(boxes, random.uniform(0, 1, count), random.integers(0, len(NAMES), count), NAMES)
    return seen.with_tracks(random.integers(-1, 50, count).astype(np.int32))


@given(st.lists(st.booleans(), max_size=12), st.integers(0, 9))
def test_picked_rows_are_what_the_whole_check_would_pass(mask: list[bool], seed: int) -> None:
    seen = some(len(mask), seed)
    part = seen[np.array(mask, dtype=np.bool_)]
    checked = replace(part)  # goes through every check again
    for field in fields(Detections):
        assert np.array_equal(getattr(part, field.name), getattr(checked, field.name))
    assert len(part) == sum(mask)
    assert np.array_equal(part.track_id, seen.track_id[np.array(mask, dtype=np.bool_)])


@given(st.integers(0, 6), st.integers(0, 6))
def test_joined_rows_keep_their_order(a: int, b: int) -> None:
    first, second = some(a), some(b, 1)
    both = first.joined(second)
    assert np.array_equal(both.xyxy, np.concatenate([first.xyxy, second.xyxy]))
    assert np.array_equal(both[: len(first)].confidence, first.confidence)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"xyxy": np.zeros((2, 3), np.float32)}, "xyxy"),
        ({"xyxy": np.full((2, 4), np.nan, np.float32)}, "finite"),
        ({"confidence": np.zeros(3, np.float32)}, "confidence"),
        ({"class_id": np.array([0, 9], np.int32)}, "class_id"),
        ({"track_id": np.zeros(1, np.int32)}, "track_id"),
    ],
)
def test_what_is_not_parallel_or_not_finite_is_named(change: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(some(2), **change)  # type: ignore[arg-type]


def test_detections_of_two_models_are_not_joined() -> None:
    with pytest.raises(ValueError, match="different models"):
        some(1).joined(Detections.empty(("cone",)))
