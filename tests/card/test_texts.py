"""Every error of a card has its text in both languages, and none is there for nothing."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from deploy.card import errors
from deploy.text import LANGUAGES, catalogue

SOURCES = {path: path.read_text(encoding="utf-8") for path in sorted(Path(errors.__file__).parent.glob("*.py"))}
RAISED = {code for text in SOURCES.values() for code in re.findall(r'CardError\(\s*"([a-z0-9_.]+)"', text)}
BY_VARIABLE = {"drive.busy", "drive.no_right", "drive.read_only", "drive.gone", "flash.gone", "flash.unwritable"}
TOPICS = ("fat", "disk", "drive", "image", "flash", "download")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_error_has_a_text(language: str) -> None:
    missing = {code for code in RAISED | BY_VARIABLE if f"card.{code}" not in catalogue(language)}
    assert not missing


def test_no_text_without_an_error() -> None:
    texts = {key.removeprefix("card.") for key in catalogue("en").texts if key.startswith("card.")}
    assert {key for key in texts if key.split(".")[0] in TOPICS} <= RAISED | BY_VARIABLE


def test_both_languages_say_the_same_things_with_the_same_fields() -> None:
    def fields(language: str) -> dict[str, set[str]]:
        return {
            key: {name for _, name, _, _ in string.Formatter().parse(text) if name}
            for key, text in catalogue(language).texts.items()
        }

    assert fields("zh-CN") == fields("en")
