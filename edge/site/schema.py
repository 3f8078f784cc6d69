"""The JSON Schemas of the site file that editors complete from, in English and in Chinese."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edge.site.explain import field_texts
from edge.site.model import json_schema
from edge.text import LANGUAGES

HERE = Path(__file__).parent


def schema_file(language: str) -> Path:
    return HERE / ("schema.json" if language == "en" else f"schema.{language}.json")


def schema_text(language: str) -> str:
    """The file's text; titles and descriptions in `language`."""
    schema = json_schema()
    if language != "en":
        for name, section in {**schema["$defs"], schema["title"]: schema}.items():
            _translate(section, field_texts(language).get(name, {}))
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _translate(section: dict[str, Any], texts: dict[str, tuple[str, str]]) -> None:
    for name, (title, description) in texts.items():
        section["properties"][name] |= {"title": title, "description": description}


def write() -> list[Path]:
    """Write all of them; the paths written."""
    written = []
    for language in LANGUAGES:
        schema_file(language).write_text(schema_text(language), encoding="utf-8")
        written.append(schema_file(language))
    return written
