"""`make guides`: the guides as PDF on A4, to print, in a folder. Those of one page are set in columns."""

from __future__ import annotations

import html
import sys
from itertools import pairwise
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token
from weasyprint import HTML

HERE: Final = Path(__file__).resolve().parent
PICTURES: Final = HERE / "pictures"
LANGUAGES: Final = ("zh-CN", "en")
GUIDES: Final = ("installer", "foreman", "officer", "administrator")
ONE_PAGE: Final = frozenset({"installer", "foreman"})


def parsed(text: str) -> list[Token]:
    """CommonMark with tables. Paragraphs that are nothing but pictures say so, and how many."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    for opened, inline in pairwise(tokens):
        parts = inline.children or []
        pictures = sum(part.type == "image" for part in parts)
        alone = all(part.type in ("image", "softbreak") or part.content.isspace() for part in parts)
        if opened.type == "paragraph_open" and pictures and alone:
            opened.attrJoin("class", f"pictures n{pictures}")
    return tokens


def page(guide: str, language: str) -> str:
    """The guide as HTML."""
    markdown = MarkdownIt("commonmark").enable("table")
    body = markdown.renderer.render(parsed(source(guide, language).read_text(encoding="utf-8")), markdown.options, {})
    kind = "one" if guide in ONE_PAGE else "many"
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>{html.escape(guide)}</title>'
        f'<link rel="stylesheet" href="../page.css"></head><body class="{kind} {guide}">{body}</body></html>'
    )


def source(guide: str, language: str) -> Path:
    return HERE / language / f"{guide}.md"


def pdf(guide: str, language: str) -> bytes:
    """Links between guides stay as they are printed: a sheet of paper follows none."""
    document = HTML(string=page(guide, language), base_url=str(source(guide, language)))
    written = document.write_pdf(presentational_hints=True)  # `start` of a list is one
    assert isinstance(written, bytes)  # noqa: S101 without a target WeasyPrint returns the document
    return written


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for guide in GUIDES:
        for language in LANGUAGES:
            path = out / f"{guide}.{language}.pdf"
            path.write_bytes(pdf(guide, language))
            print(path)  # noqa: T201 that is what it is run for


if __name__ == "__main__":
    main()
