"""The model explains itself, in both languages, and what it says is true."""

from __future__ import annotations

import json
import re
from datetime import time
from types import NoneType
from typing import Any, get_args

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from edge.site import model
from edge.site.explain import field_texts
from edge.site.model import Page, Site, SiteFile, Strict, TimeSpan, Zone
from edge.site.schema import schema_file, schema_text
from edge.site.tree import plain, read
from edge.text import LANGUAGES, catalogue
from tests.site.builders import full, site

SECTIONS = [
    s for s in vars(model).values() if isinstance(s, type) and issubclass(s, Strict) and s is not Strict
]  # fmt: skip
FIELDS = [(s, name, field) for s in SECTIONS for name, field in s.model_fields.items()]
IDS = [f"{s.__name__}.{name}" for s, name, _ in FIELDS]


@pytest.mark.parametrize(("section", "name", "field"), FIELDS, ids=IDS)
def test_every_field_is_explained_with_an_example_that_is_right(
    section: type[Strict], name: str, field: FieldInfo
) -> None:
    assert field.title
    assert field.description
    assert field.examples
    title, description = field_texts("zh-CN")[section.__name__][name]
    assert title
    assert description.endswith("。")
    # Alone, in a copy of its section's field, so that what belongs together need not be in every example.
    kind: Any = section.__annotations__.get(name, field.annotation)
    adapter = TypeAdapter(eval(kind, vars(model)) if isinstance(kind, str) else kind)  # noqa: S307
    for example in field.examples:
        assert example not in ([], {}, None), "an example shows something"
        adapter.validate_json(json.dumps(example), strict=True)


def test_no_field_is_explained_that_is_not_there() -> None:
    assert {s: set(f) for s, f in field_texts("zh-CN").items()} == {s.__name__: set(s.model_fields) for s in SECTIONS}


def test_both_catalogues_say_the_same_things_about_the_same_fields() -> None:
    chinese, english = ({k: v for k, v in catalogue(c).texts.items() if k.startswith("site.")} for c in LANGUAGES)
    assert chinese.keys() == english.keys()
    for key, text in english.items():
        assert set(re.findall(r"{(\w+)}", text)) == set(re.findall(r"{(\w+)}", chinese[key])), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_committed_schema_is_current(language: str) -> None:
    assert schema_file(language).read_text(encoding="utf-8") == schema_text(language), "run `make schemas`"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_schema_is_one_and_accepts_the_full_file(language: str) -> None:
    schema = json.loads(schema_text(language))
    jsonschema.Draft202012Validator.check_schema(schema)
    tree, _ = read(full())
    assert tree
    jsonschema.validate(plain(tree), schema)


def test_the_full_file_uses_every_section_and_every_field() -> None:
    """So that the tests which change it reach everything."""
    seen: set[tuple[str, str]] = set()

    def walk(value: object) -> None:
        if isinstance(value, Strict):
            seen.update((type(value).__name__, name) for name in value.model_fields_set)
            for name in type(value).model_fields:
                walk(getattr(value, name))
        elif isinstance(value, list | dict):
            for item in value.values() if isinstance(value, dict) else value:
                walk(item)

    walk(site(full()))
    assert {(s.__name__, name) for s, name, _ in FIELDS} - seen == set()


def test_values_that_may_be_secret_never_show() -> None:
    loaded = site(full())
    assert "long%23phrase" not in repr(loaded)
    assert "hush" not in repr(loaded)
    with pytest.raises(ValidationError) as caught:
        Page.model_validate({"port": 1, "password": "hush", "tls_key": 7})
    assert "hush" not in str(caught.value)


def test_an_optional_section_can_be_left_out_as_null() -> None:
    assert NoneType in get_args(SiteFile.model_fields["page"].annotation)
    assert site(full()[: full().index("page:")] + "page: null\n").page is None


@pytest.mark.parametrize("zone", ["Asia/Peking", "", "../../etc/passwd", "/etc/passwd", "Asia/Shanghai\0"])
def test_only_real_time_zones(zone: str) -> None:
    with pytest.raises(ValidationError, match="IANA"):
        Site(id="a", latitude=0, longitude=0, timezone=zone)


def test_zones_survive_json() -> None:
    """The page sends them through the browser and back."""
    for zone in site(full()).cameras[0].zones:
        assert Zone.model_validate(zone.model_dump(mode="json")) == zone
        assert Zone.model_validate_json(zone.model_dump_json(), strict=True) == zone


minutes = st.integers(0, 24 * 60 - 1)


def clock_time(minute: int) -> time:
    return time(minute // 60, minute % 60)


@given(start=minutes, end=minutes, moment=minutes)
def test_a_span_runs_from_its_start_to_its_end_over_midnight_if_need_be(start: int, end: int, moment: int) -> None:
    """The oracle walks: starting at `start`, the end must not be met before the moment; a whole day if start is end."""
    span = TimeSpan(start=clock_time(start), end=clock_time(end))
    length = (end - start) % (24 * 60) or 24 * 60
    assert span.holds(clock_time(moment)) == ((moment - start) % (24 * 60) < length)


@pytest.mark.parametrize(
    ("start", "end", "inside", "outside"),
    [
        ("07:00", "19:00", ["07:00", "18:59:59"], ["06:59:59", "19:00", "23:00"]),
        ("19:00", "06:00", ["19:00", "23:59:59", "00:00", "05:59:59"], ["06:00", "12:00", "18:59:59"]),
        ("18:00", "00:00", ["18:00", "23:59:59"], ["00:00", "17:59:59"]),
        ("00:00", "00:00", ["00:00", "12:00", "23:59:59"], []),
        ("07:00", "07:00", ["06:59:59", "07:00"], []),
    ],
)
def test_hours(start: str, end: str, inside: list[str], outside: list[str]) -> None:
    span = TimeSpan.model_validate({"start": start, "end": end})
    assert [m for m in (*inside, *outside) if span.holds(time.fromisoformat(m))] == inside


@given(start=minutes, end=minutes)
def test_hours_survive_json(start: int, end: int) -> None:
    span = TimeSpan(start=clock_time(start), end=clock_time(end))
    assert TimeSpan.model_validate_json(span.model_dump_json(), strict=True) == span
