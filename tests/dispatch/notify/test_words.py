"""What people read: golden files for every kind of message, and nothing from outside that could be more than text.

`BANKSMAN_GOLDEN=write pytest tests/dispatch/notify/test_words.py` writes the golden files anew, to be read by a person.
"""

from __future__ import annotations

import os
import re
import tomllib
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.dispatch import text as texts
from broker.dispatch.notify.channels.feishu import card
from broker.dispatch.notify.channels.wecom import MAX_BYTES
from broker.dispatch.notify.formats import MAX_SHORT, html, markdown, plain, short
from broker.dispatch.notify.message import About, Message, Section, words
from broker.dispatch.notify.words import MAX_WORD, harmless
from broker.dispatch.text import LANGUAGES, catalogue
from broker.dispatch.web.links import Opens
from tests.dispatch.notify.builders import CASE, LETTER, LINK, NOW, READER, item, message, sheet
from tests.dispatch.notify.builders import LINKS as SIGNED

GOLDEN = Path(__file__).parent / "golden"

EAST = item()
MESSAGES: dict[str, dict[str, Any]] = {
    "raised": {},
    "raised-ten": {"items": [item(case=f"c{n}", place=f"pit-{n}", since=NOW - n) for n in range(10)]},
    "raised-fixture": {
        "items": [
            item(
                rule="barrier", clauses=("I.6.3", "II.P6"), severity="warning", place="-", subjects=1, since=NOW - 7300
            )
        ]
    },
    "raised-unknown-rule": {"items": [item(rule="laser_fence", clauses=())]},
    "raised-nobody-on-duty": {"items": [item(stand_in=True)]},
    "raised-cleared-since": {"items": [item(cleared_at=NOW - 2)]},
    "raised-late": {"items": [item(late=True, since=NOW - 90_000, rule="intrusion", clauses=("I.6.3",))]},
    "updated": {"about": About.UPDATED, "items": [item(subjects=3)]},
    "updated-cannot-judge": {"about": About.UPDATED, "items": [item(unknown="too_dark")]},
    "reopened": {"about": About.REOPENED},
    "given": {"about": About.GIVEN, "items": [item(taken=True)]},
    "repeat": {"about": About.REPEAT, "items": [item(opened_at=NOW - 900, since=NOW - 905)]},
    "escalation": {"about": About.ESCALATION, "items": [item(opened_at=NOW - 300, since=NOW - 305, unverified=True)]},
    "cleared": {"about": About.CLEARED, "items": [item(cleared_at=NOW - 5)]},
    "cleared-taken": {"about": About.CLEARED, "items": [item(cleared_at=NOW - 5, taken=True)]},
    "feedback": {"about": About.FEEDBACK, "items": [item(result="已让工人戴好安全帽，班前会再次交底。")]},
    "unanswered": {"about": About.UNANSWERED, "items": [item(result="已让工人戴好安全帽。", taken=True)]},
    "raised-no-roster": {"items": [item(no_roster=True)]},
    "raised-certificate": {
        "items": [item(rule="certificate", clauses=(), severity="warning", place="-", subjects=1, ends_at=NOW + 2.6e6)]
    },
    "late": {
        "about": About.LATE,
        "sections": (
            Section(
                "late_open",
                (item(rule="barrier", severity="warning"), item(case="c2", rule="helmet", severity="warning")),
            ),
            Section("late_cleared", (item(case="c3", rule="signs", severity="info", cleared_at=NOW - 300),)),
        ),
    },
    "late-one": {"about": About.LATE, "sections": (Section("late_open", (item(rule="barrier", severity="warning"),)),)},
    "digest": {
        "about": About.DIGEST,
        "sections": (
            Section(
                "raised",
                (
                    *(item(case=f"c{n}", rule="hi_vis", severity="warning", place=f"gate-{n}") for n in range(13)),
                    item(rule="intrusion", site_name="西环路抢修"),
                ),
            ),
            Section("escalation", (item(rule="gas", place="manhole-2"),)),
            Section("cleared", (item(rule="signs", cleared_at=NOW),)),
        ),
    },
}


def build(name: str, language: str) -> Message:
    spec = dict(MESSAGES[name])
    return message(*spec.pop("items", ()), language=language, **spec)


@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_has_a_signed_link_to_all_that_it_names(name: str) -> None:
    for language in LANGUAGES:
        made = build(name, language)
        of_one = len({i.case for i in made.items}) == 1
        sheet_of = words(made)
        for text in (short(sheet_of), markdown(sheet_of, MAX_BYTES), plain(sheet_of), html(sheet_of)):
            (found,) = re.findall(r"https://dispatch\.example/([lm])/([\w.-]+)", text)
            link = SIGNED.read(found[1], NOW, Opens(found[0]))
            assert (link.opens, link.id) == ((Opens.CASE, CASE) if of_one else (Opens.MESSAGE, LETTER))
            assert link.person == READER
        assert (sheet_of.link_word == catalogue(language)("notify.link.list")) is not of_one


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_read_as_they_should(name: str) -> None:
    found = []
    for language in LANGUAGES:
        words_of = words(build(name, language))
        found += [
            f"===== {language}, SMS",
            short(words_of),
            f"===== {language}, Markdown",
            markdown(words_of, MAX_BYTES),
        ]
        found += [f"===== {language}, plain", plain(words_of)]
    text = "\n".join(found) + "\n"
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("BANKSMAN_GOLDEN") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def test_a_mail_reads_as_it_should() -> None:
    file = GOLDEN / "raised.html"
    if os.environ.get("BANKSMAN_GOLDEN") == "write":
        file.write_text(html(sheet()), encoding="utf-8")
    assert html(sheet()) == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", [n for n in MESSAGES if not n.startswith(("late", "digest"))])
def test_the_first_line_alone_says_what_and_where(name: str, language: str) -> None:
    made = build(name, language)
    title = words(made).title
    text = catalogue(language)
    rule = made.items[0].rule
    assert (text(f"rule.{rule}.alarm") if f"rule.{rule}.alarm" in text else "laser") in title
    assert "东门工地" in title
    if made.about not in {About.CLEARED, About.FEEDBACK}:
        assert text("severity.critical") in title or text("severity.warning") in title
    assert len(title) <= 80


# -- catalogues --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", ["notify.toml", "rule.toml"])
def test_both_languages_have_the_same_texts_with_the_same_fields(topic: str) -> None:
    folder = Path(texts.__file__).parent

    def fields(language: str) -> dict[str, list[str]]:
        tree = tomllib.loads((folder / language / topic).read_text(encoding="utf-8"))
        return {key: sorted(re.findall(r"{(\w+)}", value)) for key, value in texts._flatten(tree).items()}

    assert fields("en") == fields("zh-CN")


def test_a_language_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="'de'; there are zh-CN, en"):
        catalogue("de")


# -- hostile text ------------------------------------------------------------------------------------------------------

HOSTILE = [
    "<@all>",
    "@all @所有人",
    "<at user_id='all'>所有人</at>",
    "[click](https://evil.example)",
    "![x](https://evil.example/p.png)",
    "https://evil.example/login",
    "evil.example",
    "www.evil.example/path",
    "javascript:alert(1)",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a\n# CRITICAL\n> quote",
    "a\r\nBcc: everybody@example.org",
    "a\u2028b\u2029c\x00d\x1be\x85f",
    "\u202eabc\u202c\u200b\u2066",
    "**bold** _it_ `code` ~~x~~ | a | b |",
    "&lt;@all&gt; &#64;all",
    "{severity} {0} %s %(x)s",
    "x" * 500,
    "\ud800",
    "😀 宽字符 ＠",
]
MARKUP = re.compile(r"[<>\[\]*_`~|\\@&]")
LINKS = re.compile(r"(?i)\b[a-z][a-z0-9+.-]*://|\bwww\.[a-z]|[a-z0-9]\.[a-z]{2,}")


def safe(text: str) -> None:
    assert "\n" not in text
    assert not MARKUP.search(text), text
    assert not LINKS.search(text), text
    assert not [c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}], text


@pytest.mark.parametrize("text", HOSTILE)
def test_what_comes_from_outside_is_one_line_of_plain_text(text: str) -> None:
    found = harmless(text)
    safe(found)
    assert len(found) <= MAX_WORD
    assert harmless(found) == found


@given(st.text(max_size=200), st.integers(2, 100))
def test_any_text_from_outside(text: str, limit: int) -> None:
    found = harmless(text, limit)
    safe(found)
    assert len(found) <= limit


@pytest.mark.parametrize("text", ["东门工地", "East Gate (north)", "pit-1", "cam-2", "3.5 m", "Müller & Söhne"])
def test_usual_names_can_still_be_read(text: str) -> None:
    assert unicodedata.normalize("NFKC", harmless(text)) == text


NAMES = st.text(min_size=1, max_size=80).filter(lambda name: name != "-")  # `-` is the whole picture: it has no line


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"href", "src"}]


@given(st.one_of(st.sampled_from(HOSTILE), NAMES), st.sampled_from(sorted(set(About) - {"handover", "certificates"})))
def test_no_message_is_more_than_its_text_whatever_the_names(text: str, about: About) -> None:
    nasty = item(site_name=text, place=text, source=text, result=text, rule=text, clauses=(text,))
    honest = item(site_name="x", place="x", source="x", result="x", rule="x", clauses=("x",))
    heading = "raised" if about is About.DIGEST else ""
    sections = [(Section(heading, (i, i, i)),) for i in (nasty, honest)]
    for shape in ((nasty, honest), None):
        if shape is not None and about not in {About.LATE, About.DIGEST}:
            bad, good = (words(message(i, about=about)) for i in shape)
        else:
            bad, good = (words(message(about=about, sections=s)) for s in sections)
        assert len(markdown(bad, 10**6).splitlines()) == len(markdown(good, 10**6).splitlines())
        assert re.findall(r"\]\((.*?)\)", markdown(bad, 10**6)) == [LINK]
        assert "<" not in markdown(bad, 10**6)
        assert "@" not in markdown(bad, 10**6)
        assert len(short(bad).splitlines()) == 1
        assert len(short(bad)) <= MAX_SHORT + 1 + len(LINK)
        parsed = [Tags(), Tags()]
        for parser, made in zip(parsed, (bad, good), strict=True):
            parser.feed(html(made))
        assert parsed[0].tags == parsed[1].tags
        assert parsed[0].links == [LINK]
        assert len(card(bad)["elements"]) == len(card(good)["elements"])  # type: ignore[arg-type]


@pytest.mark.parametrize(("language", "word"), [("zh-CN", "断网补报"), ("en", "eported late")])
def test_what_came_late_is_called_the_same_everywhere(language: str, word: str) -> None:
    t = catalogue(language)
    keys = ("notify.title.late", "notify.line.late", "web.note.late", "web.filter.late", "handover.mark.late")
    assert [key for key in keys if word not in t(key, n=1, open=1, site="x")] == []
