"""What every guide promises: both languages alike, one page where it says so, nothing named that is not there."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from markdown_it.token import Token
from pypdf import PdfReader

import broker.dispatch.text
import dashboards.text
import deploy.text
import edge.text
from deploy.cli import app
from docs.guides.build import GUIDES, LANGUAGES, ONE_PAGE, PICTURES, parsed, pdf, source
from docs.guides.screenshots import pattern
from edge.signal.codes import Sign

MOST_BYTES = 1_500_000
"""Of all pictures together."""
FILES = [(guide, language) for guide in GUIDES for language in LANGUAGES]
OTHERS = {"Banksman"}
"""Quoted, and of no page of ours: the folder in Grafana."""

each_file = pytest.mark.parametrize(("guide", "language"), FILES)
each_guide = pytest.mark.parametrize("guide", GUIDES)


def text(guide: str, language: str) -> str:
    return source(guide, language).read_text(encoding="utf-8")


def walked(tokens: Iterable[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from walked(token.children or [])


def commands(guide: str, language: str) -> list[str]:
    """Everything in it that is typed and begins with `banksman `."""
    typed = (t.content for t in walked(parsed(text(guide, language))) if t.type in ("code_inline", "fence"))
    return [line for said in typed for line in said.splitlines() if line.startswith("banksman ")]


# -- both languages say the same -------------------------------------------------------------------------------------


def outline(guide: str, language: str) -> list[str]:
    """Headings, steps with their numbers, rows of tables, code and pictures in order, without words."""
    said: list[str] = []
    for token in walked(parsed(text(guide, language))):
        match token.type:
            case "ordered_list_open":
                said.append(f"steps from {token.attrs.get('start', 1)}")
            case "heading_open" | "list_item_open" | "th_open" | "td_open" | "blockquote_open" | "strong_open":
                said.append(token.tag)
            case "fence":
                said.append(token.content)
            case "image":
                said.append(str(token.attrs["src"]).replace(f"/{language}/", "/LANGUAGE/"))
    return said


@each_guide
def test_both_languages_have_the_same_headings_steps_tables_commands_and_pictures(guide: str) -> None:
    of = {language: outline(guide, language) for language in LANGUAGES}
    assert of["zh-CN"] == of["en"]
    assert len(of["en"]) > 20


@each_guide
def test_steps_are_numbered_through(guide: str) -> None:
    for language in LANGUAGES:
        numbers = [int(n) for n in re.findall(r"^(\d+)\. ", text(guide, language), re.MULTILINE)]
        assert numbers == list(range(1, len(numbers) + 1)), language


# -- what is named is there ------------------------------------------------------------------------------------------


@each_file
def test_links_lead_somewhere_and_pictures_are_there(guide: str, language: str) -> None:
    tokens = list(walked(parsed(text(guide, language))))
    named = [str(t.attrs["src"]) for t in tokens if t.type == "image"]
    named += [str(t.attrs["href"]) for t in tokens if t.type == "link_open"]
    assert [n for n in named if not (source(guide, language).parent / n).is_file()] == []


@each_file
def test_pictures_of_pages_say_what_they_show(guide: str, language: str) -> None:
    pictures = [t for t in walked(parsed(text(guide, language))) if t.type == "image"]
    assert [t.attrs["src"] for t in pictures if not t.content and "light-" not in str(t.attrs["src"])] == []


def helped(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What `banksman WORDS --help` prints. Fails where there is no such command."""
    with pytest.raises(SystemExit) as ended:
        app([*words, "--help"], prog_name="banksman")
    said = capsys.readouterr()
    assert ended.value.code == 0, f"banksman {' '.join(words)}: {said.err}"
    return said.out


@each_file
def test_every_command_is_one_of_the_program(
    guide: str, language: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for command in commands(guide, language):
        words = shlex.split(command)[1:]
        told, way = "COMMAND [ARGS]", list[str]()
        while words and "COMMAND [ARGS]" in told:
            way.append(words.pop(0))
            told = helped(way, capsys)
        for option in (word for word in words if word.startswith("--")):
            assert re.search(rf"{option}\b", told), f"{command}: no option {option}"


@pytest.mark.parametrize("guide", sorted(ONE_PAGE))
def test_whoever_stands_on_a_ladder_types_nothing(guide: str) -> None:
    assert commands(guide, "en") == []


# -- in the words of the pages ---------------------------------------------------------------------------------------


def quoted(guide: str, language: str) -> list[str]:
    """What it says that somebody reads on a page: in curved quotes in Chinese, emphasised in English."""
    if language == "zh-CN":
        return re.findall(r"“([^”]+)”", text(guide, language))
    told: list[str] = []
    for token in walked(parsed(text(guide, language))):
        if token.type == "inline":
            told += re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", re.sub(r"\*\*[^*]*\*\*", "", token.content))
    return told


def texts(language: str) -> set[str]:
    """All texts of all pages."""
    boards = (broker.dispatch.text.load(Path(path), language).texts for path in dashboards.text.__path__)
    pages = (part.catalogue(language).texts for part in (broker.dispatch.text, deploy.text))
    node = edge.text.catalogue(language).texts
    return {one for told in (*pages, *boards, node) for one in told.values()}


def shown(said: str, known: set[str]) -> bool:
    """Whether a text of the pages, with its fields filled in, is or holds what is quoted."""
    if any(said in one for one in known):
        return True
    return any(
        re.search(re.sub(r"\\\{\w+\\\}", ".+", re.escape(one.strip())), said)
        for one in known
        if "{" in one and len(re.sub(r"\{\w+\}", "", one)) >= 4
    )


@each_file
def test_what_is_quoted_stands_on_a_page(guide: str, language: str) -> None:
    known = texts(language)
    said = quoted(guide, language)
    assert [one for one in said if one not in OTHERS and not shown(one, known)] == []
    assert len(said) >= 8


# -- on paper --------------------------------------------------------------------------------------------------------


@each_file
def test_it_fits_on_its_paper(guide: str, language: str) -> None:
    pages = PdfReader(io.BytesIO(pdf(guide, language))).pages
    assert len(pages) <= (1 if guide in ONE_PAGE else 5)
    width, height = (round(float(length) / 72 * 25.4) for length in pages[0].mediabox.upper_right)
    assert (width, height) == (210, 297)
    assert text(guide, language).split("\n", 1)[0].removeprefix("# ")[:4] in pages[0].extract_text()


# -- pictures --------------------------------------------------------------------------------------------------------


def test_pictures_are_small_and_each_is_used() -> None:
    pictures = {p for p in PICTURES.rglob("*") if p.is_file()}
    used = {
        (source(guide, language).parent / str(token.attrs["src"])).resolve()
        for guide, language in FILES
        for token in walked(parsed(text(guide, language)))
        if token.type == "image"
    }
    assert {p.name for p in pictures - used} == set()
    assert sum(p.stat().st_size for p in pictures) <= MOST_BYTES


@pytest.mark.parametrize("sign", Sign)
def test_the_light_is_drawn_as_it_blinks(sign: Sign) -> None:
    assert (PICTURES / f"light-{sign}.svg").read_text(encoding="utf-8") == pattern(sign)
