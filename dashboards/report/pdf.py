"""The report as PDF for A4, by WeasyPrint. Nothing is fetched: pictures come along."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import jinja2

from dashboards.report import ReportError
from dashboards.report.printed import printed
from dashboards.report.values import Document
from dashboards.text import catalogue

FONT: Final = "Noto Sans CJK SC"
"""Latin and Chinese in one; Debian's `fonts-noto-cjk`."""
_HERE = Path(__file__).parent


def as_pdf(document: Document) -> bytes:
    """Raises ReportError where fonts or the libraries that draw are missing."""
    require_font(FONT)
    try:
        from weasyprint import CSS, HTML  # noqa: PLC0415 loads Pango, which may be missing
        from weasyprint.urls import FatalURLFetchingError, URLFetcher, URLFetcherResponse  # noqa: PLC0415
    except OSError as error:
        raise ReportError(f"PDF: {error}; install Pango (apt-get install libpango-1.0-0 libpangoft2-1.0-0)") from error

    pictures = {
        f"picture:{n}": caption.shot.picture
        for section in document.sections
        for n, caption in enumerate(section.captions)
    }

    class Pictures(URLFetcher):  # type: ignore[misc]
        """Only what the report brings along."""

        def fetch(self, url: str, headers: Mapping[str, str] | None = None) -> Any:
            del headers
            picture = pictures.get(url)
            if picture is None:
                raise FatalURLFetchingError(f"a report asks for nothing from outside, but for {url[:80]!r} it did")
            return URLFetcherResponse(url, io.BytesIO(picture), {"Content-Type": "image/jpeg"})

    html = HTML(string=page(document), url_fetcher=Pictures())
    made = html.write_pdf(stylesheets=[CSS(string=(_HERE / "page.css").read_text(encoding="utf-8"))])
    assert isinstance(made, bytes)  # noqa: S101 for the type checker: no target was given
    return made


def page(document: Document) -> str:
    """The report as HTML."""
    text = catalogue(document.language)
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    env.filters["printed"] = partial(printed, text=text)
    return env.get_template("page.html").render(
        d=document,
        page_number=text("report.page", page='" counter(page) "', pages='" counter(pages) "'),
        rest=lambda n: text("report.rest", n=n),
    )


def require_font(family: str) -> None:
    """Raises ReportError: without the font Chinese would be a row of boxes, and nobody would be told."""
    if (program := shutil.which("fc-match")) is None:
        raise ReportError("PDF: fontconfig is not installed (apt-get install fontconfig fonts-noto-cjk)")
    found = subprocess.run([program, "--format=%{family}", family], capture_output=True, text=True, check=False)  # noqa: S603
    if family not in found.stdout.split(","):
        raise ReportError(f"PDF: the font {family} is not installed (apt-get install fonts-noto-cjk)")
