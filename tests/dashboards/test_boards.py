"""Boards: valid for Grafana 13, nothing hidden behind something else, every number explained, in both languages."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft7Validator

from broker.dispatch.text import catalogue as of_dispatch
from dashboards import colours
from dashboards.boards import BOARDS
from dashboards.boards.sensors import DEFAULTS
from dashboards.panels import DATASOURCE, Setup
from dashboards.text import Language, catalogue, rule_names
from edge.text import catalogue as of_node
from tests.conftest import REPO, need

LANGUAGES: tuple[Language, ...] = ("zh-CN", "en")
SCHEMAS = REPO / ".cache" / "grafana"
SETUP = Setup(dispatch="https://site.example:8090", zone="Asia/Shanghai")
CONFIRMED = replace(SETUP, limits={"h2s": (5.0,), "noise": (45.0, 65.0)})
"""Somebody has set two of the limits."""
MADE = [
    pytest.param(make(language, SETUP), id=f"{uid}-{language}")
    for uid, make in BOARDS.items()
    for language in LANGUAGES
]
every_board = pytest.mark.parametrize("board", MADE)


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (panel for panel in board["panels"] if panel["type"] != "row")


def schema(name: str) -> dict[str, Any]:
    path = SCHEMAS / f"{name}.json"
    need(path.exists(), f"{path} is not there (make tools, with npm)")
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def faults(schema: dict[str, Any], value: object) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in Draft7Validator(schema).iter_errors(value)]


# -- Grafana -----------------------------------------------------------------------------------------------------------


@every_board
def test_a_board_is_what_grafana_13_takes(board: dict[str, Any]) -> None:
    types = schema("dashboard-13.2.3")
    # Grafana's own remark there: "this should be a regular DataQuery". InfluxDB's has its text and columns in it.
    types["definitions"]["AnnotationTarget"]["additionalProperties"] = True
    assert faults(types, board) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schemaVersion",), "42"),
        (("panels", 0, "gridPos"), "0,0,4,4"),
        (("panels", 0, "fieldConfig", "defaults", "thresholds", "mode"), "relative"),
        (("templating", "list", 0, "hide"), 7),
        (("nobody-knows-this",), True),
    ],
)
def test_the_schema_finds_what_is_wrong(path: tuple[str | int, ...], value: object) -> None:
    board = BOARDS["banksman-site"]("en")
    inner: Any = board
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    assert faults(schema("dashboard-13.2.3"), board)


@every_board
def test_what_panels_are_told_is_what_their_kind_knows(board: dict[str, Any]) -> None:
    wrong = []
    for panel in panels(board):
        kind = {"status-history": "statushistory"}.get(panel["type"], panel["type"])
        if kind == "geomap":
            continue  # its types cannot be made into a schema (schema.sh)
        wrong += faults(schema(f"{kind}-Options"), panel["options"])
        if custom := panel["fieldConfig"]["defaults"].get("custom"):
            wrong += faults(schema(f"{kind}-FieldConfig"), custom)
    assert wrong == []


@every_board
def test_numbers_of_panels_differ_and_none_lies_over_another(board: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken: dict[tuple[int, int], str] = {}
    for panel in board["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for cell in itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])):
            assert cell not in taken, f"{panel['title']} lies over {taken[cell]}"
            taken[cell] = panel["title"]
    for y in {y for _, y in taken}:
        row = [panel for panel in board["panels"] if panel["type"] == "row" and panel["gridPos"]["y"] == y]
        assert row or len({x for x, other in taken if other == y}) == 24, f"a gap in line {y}"


@every_board
def test_every_panel_says_what_it_shows_how_that_is_made_in_what_unit_and_when_there_is_none(
    board: dict[str, Any],
) -> None:
    for panel in panels(board):
        defaults = panel["fieldConfig"]["defaults"]
        texts = [panel["title"], panel["description"], defaults["noValue"]]
        assert all(text.strip() for text in texts), panel["title"]
        assert len(panel["description"]) > len(panel["title"])
        assert defaults["unit"], panel["title"]
        assert panel["datasource"]["uid"] == DATASOURCE


@every_board
def test_every_variable_that_is_used_exists_and_every_one_that_exists_is_used(board: dict[str, Any]) -> None:
    defined = {variable["name"] for variable in board["templating"]["list"]}
    told = json.dumps([board["panels"], board["annotations"], board["links"]])
    told += json.dumps([variable.get("query") for variable in board["templating"]["list"]])
    used = {a or b for a, b in re.findall(r"\$(?:\{(\w+)[^}]*\}|(\w+))", told)}
    used = {name for name in used if not name.startswith(("__", "tag_", "col", "timeFilter")) and not name.isdigit()}
    assert used == defined


@every_board
def test_grafana_would_not_escape_the_word_for_all_in_a_regular_expression(board: dict[str, Any]) -> None:
    """It leaves the text for "all" alone where a variable offers that; other variables it escapes there."""
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    texts = [target["query"] for panel in panels(board) for target in panel["targets"]]
    for name in {name for text in texts for name in re.findall(r"=~ /\^\$(\w+)\$/", text)}:
        one = variables[name]
        assert (one["multi"], one["includeAll"], one.get("allValue")) in {(True, True, ".*"), (False, False, None)}
    for text in texts:
        assert "/" not in text.partition("$zone")[2], "a constant between slashes is escaped, a zone has a slash itself"


@every_board
def test_only_a_board_of_one_site_takes_its_choice_along_to_others(board: dict[str, Any]) -> None:
    (site,) = (variable for variable in board["templating"]["list"] if variable["name"] == "site")
    (boards,) = (link for link in board["links"] if link["type"] == "dashboards")
    assert boards["includeVars"] is not site["multi"]
    assert boards["keepTime"]


@every_board
def test_compliance_is_not_shown_without_what_could_not_be_judged(board: dict[str, Any]) -> None:
    shown = [
        (panel["type"], column)
        for panel in panels(board)
        for column in ("compliance", "unknown_share")
        if any(f'"{column}"' in target["query"] for target in panel["targets"])
        and (
            panel["type"] in ("table", "geomap")
            or column in json.dumps([panel["options"], panel.get("transformations")])
        )
    ]
    kinds = {kind for kind, _ in shown}
    for kind in kinds:
        of_kind = [column for k, column in shown if k == kind]
        assert of_kind.count("compliance") == of_kind.count("unknown_share"), kind


@every_board
def test_where_nothing_was_judged_a_level_is_neither_good_nor_bad(board: dict[str, Any]) -> None:
    """Grafana gives what is null the lowest level's colour, unless null is mapped; history panels leave it out."""
    shares = {"compliance", "unknown_share"}
    for panel in panels(board):
        looks = [panel["fieldConfig"]["defaults"]] if panel["type"] in ("stat", "geomap") else []
        looks += [
            {prop["id"]: prop["value"] for prop in override["properties"]}
            for override in panel["fieldConfig"]["overrides"]
            if panel["type"] == "table" and override["matcher"]["options"] in shares
        ]
        for look in looks:
            if look["unit"] == "percentunit" and len((look.get("thresholds") or {"steps": []})["steps"]) > 1:
                (nothing,) = (one["options"] for one in look["mappings"] if one["type"] == "special")
                assert (nothing["match"], nothing["result"]["color"]) == ("null", colours.UNKNOWN)


@pytest.mark.parametrize("language", LANGUAGES)
def test_where_there_are_no_figures_nothing_more_is_claimed(language: Language) -> None:
    """Points may be missing because nothing happened, because whoever writes them was silent, or because the period is
    shorter than an hour.
    """
    text, unheard = catalogue(language), {"en": "silent|heard|tallied|judged", "zh-CN": "没有消息|记录|判断"}[language]
    hours = {"en": "hours begun", "zh-CN": "开始的各小时"}[language]
    for make in BOARDS.values():
        for panel in panels(make(language, SETUP)):
            told, nothing = panel["description"], panel["fieldConfig"]["defaults"]["noValue"]
            asked = "".join(target["query"] for target in panel["targets"])
            by_hours = '"compliance_1h"' in asked
            assert told.endswith(text("hours.whole")) is by_hours, panel["title"]
            if by_hours and panel["type"] != "geomap":
                assert hours in nothing, panel["title"]
            if by_hours or "case_state" in asked:
                assert panel["type"] == "geomap" or re.search(unheard, nothing), panel["title"]


def test_the_comparison_of_sites_has_what_it_says_and_nothing_that_pushes_cases_off_the_screen() -> None:
    (panel,) = (p for p in panels(BOARDS["banksman-sites"]("en", SETUP)) if p["type"] == "table")
    (order,) = (t["options"] for t in panel["transformations"] if t["id"] == "organize")
    asked = {name for t in panel["targets"] for name in re.findall(r'AS "(\w+)"', t["query"])}
    shown = {"compliance", "unknown_share", "breach_s", "open", "overdue", "oldest_s"}
    assert asked - order["excludeByName"].keys() == shown


def test_the_worst_places_are_told_a_line_a_rule() -> None:
    (panel,) = (p for p in panels(BOARDS["banksman-site"]("en", SETUP)) if '"breach_s" > 0' in p["targets"][0]["query"])
    assert 'GROUP BY "site", "source", "place", "rule"' in panel["targets"][0]["query"]
    assert "a line for each rule" in panel["description"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_limits_that_nobody_has_confirmed_say_so_in_title_and_description(language: Language) -> None:
    text = catalogue(language)
    for setup in (SETUP, CONFIRMED):
        drawn = [p for p in panels(BOARDS["banksman-sensors"](language, setup)) if p["type"] == "timeseries"]
        for (quantity, known), panel in zip(DEFAULTS.items(), drawn, strict=True):
            marks = setup.limits.get(quantity, known.marks)
            levels = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
            assert levels == [None, *marks]
            assert text("limit.and").join(f"{mark:g}" for mark in marks) in panel["description"]
            named = text(f"panel.sensors.{quantity}.source") in panel["description"]
            ours = quantity not in setup.limits
            assert (text("limit.mark") in panel["title"], named) == (ours, ours), quantity
            assert (text("limit.own") in panel["description"]) is not ours
            names = [t["options"]["renamePattern"] for t in panel["transformations"] if t["id"] == "renameByRegex"]
            many = [f"$1 {text(f'column.{column}')}" for column in known.columns]
            assert names == (many if len(many) > 1 else ["$1"])


# -- texts -------------------------------------------------------------------------------------------------------------


def test_both_languages_say_the_same_things() -> None:
    chinese, english = (catalogue(language).texts for language in LANGUAGES)
    assert chinese.keys() == english.keys()
    assert all(text.strip() for texts in (chinese, english) for text in texts.values())
    assert not [key for key, text in english.items() if re.search("[\u4e00-\u9fff]", text)]
    for key, text in chinese.items():
        figures = re.findall(r"\d+(?:\.\d+)?", text)
        assert sorted(figures) == sorted(re.findall(r"\d+(?:\.\d+)?", english[key])), f"{key}: figures differ"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_board_says_everything_in_its_language(language: Language) -> None:
    other = catalogue("en" if language == "zh-CN" else "zh-CN").texts
    mine = set(catalogue(language).texts.values())
    for make in BOARDS.values():
        told = json.dumps(make(language), ensure_ascii=False)
        for key, text in other.items():
            if len(text) > 5 and text not in mine:
                assert f'"{text}"' not in told, key


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_is_left_over(language: Language) -> None:
    made = [make(language, setup) for make in BOARDS.values() for setup in (SETUP, CONFIRMED)]
    told = "".join(json.dumps(board, ensure_ascii=False) for board in made)
    boards = ("board.", "row.", "panel.", "variable.", "annotation.", "column.", "link.", "map.", "limit.", "hours.")
    texts = {key: text for key, text in catalogue(language).texts.items() if key.startswith(boards)}
    parts = {key: re.split(r"\{\w+\}", json.dumps(text, ensure_ascii=False)[1:-1]) for key, text in texts.items()}
    assert [key for key, pieces in parts.items() if not all(piece in told for piece in pieces)] == []


@pytest.mark.parametrize(
    ("zh", "others"),
    [("事项", "案件|工单"), ("违规时长", "违规时间"), ("关闭", "办结"), ("无法判断", "不能判断|无法判定")],
)
def test_a_thing_has_one_name_on_boards_in_the_report_and_at_dispatch(zh: str, others: str) -> None:
    texts = [*catalogue("zh-CN").texts.items(), *of_dispatch("zh-CN").texts.items()]
    assert any(zh in text for _, text in texts)
    assert [key for key, text in texts if re.search(others, text)] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_rules_are_called_as_on_the_nodes_page(language: Language) -> None:
    names = rule_names(language)
    node = {k.split(".")[1]: v for k, v in of_node(language).texts.items() if re.fullmatch(r"rule\.\w+\.name", k)}
    assert {rule: names[rule] for rule in node} == node


# -- colours -----------------------------------------------------------------------------------------------------------

# Severity 1.0 of Machado, Oliveira and Fernandes (2009), for linear RGB.
SEEN_WITH = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
JUST_SEEN = 2.3
"""CIE76 distance of two colours that people just tell apart."""


def linear(color: str) -> list[float]:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]


def lab(rgb: list[float]) -> tuple[float, float, float]:
    xyz = [
        sum(weight * part for weight, part in zip(row, rgb, strict=True)) / white
        for row, white in (
            ((0.4124, 0.3576, 0.1805), 0.9505),
            ((0.2126, 0.7152, 0.0722), 1.0),
            ((0.0193, 0.1192, 0.9505), 1.089),
        )
    ]
    x, y, z = (v ** (1 / 3) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def distance(one: str, other: str, eyes: str) -> float:
    def seen(color: str) -> tuple[float, float, float]:
        rgb = linear(color)
        mixed = [sum(w * p for w, p in zip(row, rgb, strict=True)) for row in SEEN_WITH[eyes]]
        return lab([min(max(v, 0.0), 1.0) for v in mixed])

    return math.dist(seen(one), seen(other))


@pytest.mark.parametrize("eyes", SEEN_WITH)
def test_good_care_bad_and_unknown_look_different_to_all_eyes(eyes: str) -> None:
    told = (colours.GOOD, colours.CARE, colours.BAD, colours.UNKNOWN)
    assert min(distance(a, b, eyes) for a, b in itertools.combinations(told, 2)) > 6 * JUST_SEEN


def test_the_usual_green_and_red_would_not() -> None:
    assert distance("#73BF69", "#F2495C", "deuteranopia") < distance(colours.GOOD, colours.BAD, "deuteranopia") / 2


@every_board
def test_boards_have_no_other_colours(board: dict[str, Any]) -> None:
    told = json.dumps(board)
    palette = set(colours.SERIES)
    assert set(re.findall(r"#[0-9A-Fa-f]{6}\b", told)) <= palette
    modes = re.findall(r'"mode": "(palette-[\w-]+|continuous-[\w-]+)"', told)
    assert modes == [], "Grafana's own palettes have green beside red"
    for panel in panels(board):
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults.get("color") or panel["type"] == "table" or panel["fieldConfig"]["overrides"]
        for step in (defaults.get("thresholds") or {"steps": []})["steps"]:
            assert step["color"] in palette
