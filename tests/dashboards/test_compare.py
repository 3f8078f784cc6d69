"""What counts as a change of a board, and how changes are shown."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.boards import BOARDS
from dashboards.compare import NOTHING, Change, common, differences, digest, essence, filled, holds, ordered, shown

scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=3)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3)
)


def board() -> dict[str, Any]:
    return copy.deepcopy(BOARDS["banksman-site"]("en"))


def alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return digest(essence(one)) == digest(essence(other))


def changed(*path: str | int, to: Any) -> dict[str, Any]:
    made = board()
    inner: Any = made
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return made


# -- what counts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        changed("id", to=17),
        changed("version", to=4),
        changed("links", to=[]) | {"links": board()["links"] or None},
        changed("fiscalYearStartMonth", to=0),
        changed("preload", to=False),
        changed("weekStart", to=""),
        changed("panels", 0, "pluginVersion", to="13.0.1"),
        changed("panels", 1, "transparent", to=False),
        dict(reversed(board().items())),
    ],
)
def test_what_grafana_counts_adds_or_leaves_out_is_no_change(other: dict[str, Any]) -> None:
    assert alike(other, board())


@pytest.mark.parametrize(
    "other",
    [
        changed("title", to="Mine"),
        changed("editable", to=True),
        changed("refresh", to=None),
        changed("graphTooltip", to=0),
        changed("panels", 1, "title", to="Mine"),
        changed("panels", 1, "gridPos", "x", to=0),
        changed("panels", 1, "transparent", to=True),
        changed("panels", 1, "targets", 0, "query", to="SELECT 1"),
        changed("panels", to=board()["panels"][:-1]),
        changed("templating", "list", to=board()["templating"]["list"][::-1]),
    ],
)
def test_what_people_do_is_a_change_and_is_shown(other: dict[str, Any]) -> None:
    assert not alike(other, board())
    assert list(differences(essence(other), essence(board())))


@given(values)
def test_a_value_is_as_itself_however_it_is_written(value: Any) -> None:
    def rewritten(one: Any) -> Any:
        if isinstance(one, dict):
            return {key: rewritten(inner) for key, inner in reversed(one.items())}
        if isinstance(one, list):
            return [rewritten(inner) for inner in one]
        return float(one) if isinstance(one, int) and not isinstance(one, bool) else one

    assert digest(filled(value)) == digest(filled(rewritten(value)))
    assert not list(differences(filled(value), filled(value)))


@given(values, values)
def test_what_differs_is_shown_and_nothing_else(one: Any, other: Any) -> None:
    one, other = filled(one), filled(other)
    assert bool(list(differences(one, other))) == (one != other)


# -- how it is shown ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "ours", "expected"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, [Change(("a", "b"), 1, 2)]),
        ({"a": 1}, {}, [Change(("a",), 1, NOTHING)]),
        ({}, {"a": 1}, [Change(("a",), NOTHING, 1)]),
        ([1, 2], [1, 3], [Change(("2",), 2, 3)]),
        ([1], [1, 3], [Change((), [1], [1, 3])]),
        # Items with an id or name of their own are found again wherever they stand.
        (
            [{"id": 7, "title": "Old"}, {"id": 8}],
            [{"id": 8}, {"id": 9}],
            [
                Change(("9",), NOTHING, {"id": 9}),
                Change(("“Old”",), {"id": 7, "title": "Old"}, NOTHING),
            ],
        ),
        ([{"name": "a"}, {"name": "b"}], [{"name": "b"}, {"name": "a"}], [Change(("order",), ["a", "b"], ["b", "a"])]),
        # Two of one id cannot be told apart by it.
        ([{"id": "x", "v": 1}, {"id": "x"}], [{"id": "x", "v": 2}, {"id": "x"}], [Change(("1", "v"), 1, 2)]),
    ],
)
def test_where_things_differ(there: Any, ours: Any, expected: list[Change]) -> None:
    assert list(differences(there, ours)) == expected


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (Change((), "Mine", "Ours"), ("- Mine", "+ Ours")),
        (Change((), NOTHING, [1, "工"]), ('+ [1, "工"]',)),
        (Change((), {"title": "T", "type": "stat", "targets": []}, NOTHING), ('- {"title": "T", "type": "stat"}',)),
        (Change((), True, None), ("- true", "+ null")),
    ],
)
def test_a_change_in_lines(change: Change, lines: tuple[str, ...]) -> None:
    assert shown(change) == lines


@given(st.text(min_size=200, max_size=400), st.integers(0, 199), st.text("xyz", max_size=5))
def test_of_long_texts_the_place_is_shown_where_they_differ(text: str, at: int, put: str) -> None:
    there, ours = text, f"{text[:at]}<{put}>{text[at:]}"
    lines = shown(Change((), there, ours))
    assert all(len(line) <= 330 for line in lines)
    assert f"<{put}>" in lines[1]
    assert lines[0][2:] != lines[1][2:]


# -- parts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "ours", "so"),
    [
        ({"a": 1, "id": 3}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({}, {"a": 1}, False),
        ({}, {"a": False, "b": None, "c": ""}, True),
        ({"a": True}, {"a": False}, False),
        ({"d": [{"m": {"x": 1, "y": 2}}]}, {"d": [{"m": {"x": 1}}]}, True),
        ({"d": [1, 2]}, {"d": [1]}, False),
        ({"d": {}}, {"d": [1]}, False),
    ],
)
def test_whether_a_rule_is_as_it_was_sent(there: Any, ours: Any, so: bool) -> None:
    assert holds(there, ours) is so
    assert bool(list(differences(filled(common(there, ours)), filled(ours)))) is not so


@given(values, values)
def test_reordering_loses_nothing(there: Any, ours: Any) -> None:
    assert ordered(there, ours) == there


def test_keys_come_in_our_order_and_what_is_only_there_behind_them() -> None:
    there, ours = {"z": 1, "b": {"y": 1, "x": 2}, "a": 3}, {"a": 0, "b": {"x": 0, "y": 0}}
    assert list(ordered(there, ours)) == ["a", "b", "z"]
    assert list(ordered(there, ours)["b"]) == ["x", "y"]
