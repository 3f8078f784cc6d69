"""The label on a node's box: its name, and a code that opens its page."""

from __future__ import annotations

import base64
import html
import io
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import segno

from deploy.card.errors import CardError
from deploy.card.node import Node
from deploy.text import catalogue

PAGE_PORT = 8080
SIZES: Final[Mapping[str, tuple[float, float]]] = {"a6": (148, 105), "100x50": (100, 50), "62x29": (62, 29)}
"""Width and height in mm: a sheet, and what label printers take."""
_FONTS = "'Noto Sans CJK SC', 'Microsoft YaHei', 'PingFang SC', sans-serif"


@dataclass(frozen=True, slots=True)
class Label:
    """name: for people, may be empty; node: its id. url: what the code opens; says: what that is, below `label` of the
    catalogues. password: of the node's page, or empty.
    """

    name: str
    node: str
    url: str
    says: str
    password: str = ""


def of_node(node: Node, page_url: str | None = None, password: str = "") -> Label:
    """page_url: of the site server, where the code is to open that instead of the node's own page."""
    url, says = (page_url, "case") if page_url else (f"http://{node.host}.local:{PAGE_PORT}/", "scan")
    return Label(node.name, node.id, url, says, password)


def svg(label: Label, size: str, language: str) -> str:
    """Black on white, in mm. Raises CardError for a size that there is not."""
    if size not in SIZES:
        raise CardError("label.size", known=", ".join(SIZES))
    width, height = SIZES[size]
    edge = height * 0.07
    side = min(height - 2 * edge, width * 0.45)
    left = 2 * edge + side
    room = width - left - edge
    say = catalogue(language)
    lines = [(label.name, 0.2, 700), (label.node, 0.11, 400)] if label.name else [(label.node, 0.2, 700)]
    lines += [(say(f"label.{label.says}"), 0.065, 400), (label.url, 0.065, 400)]
    if label.password:
        lines.append((say("label.password", password=label.password), 0.08, 700))
    texts, y = [], (height - side) / 2 - height * 0.03
    for text, share, weight in lines:
        high = min(height * share, room / _ems(text))
        y += high * 1.15 + height * 0.02
        texts.append(
            f'<text x="{left:.2f}" y="{y:.2f}" font-size="{high:.2f}" font-weight="{weight}">{html.escape(text)}</text>'
        )
    code = segno.make(label.url, error="q", micro=False)
    modules = code.symbol_size(border=0)[0]
    path = "".join(f"M{x} {row}h1v1h-1z" for row, line in enumerate(code.matrix) for x, dark in enumerate(line) if dark)
    top = (height - side) / 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}mm" height="{height:g}mm" '
        f'viewBox="0 0 {width:g} {height:g}" lang="{language}"><rect width="100%" height="100%" fill="#fff"/>'
        f'<path transform="translate({edge:.3f} {top:.3f}) scale({side / modules:.5f})" d="{path}"/>'
        f'<g font-family="{_FONTS}">{"".join(texts)}</g></svg>\n'
    )


def _ems(text: str) -> float:
    """About how wide a text is, in heights of its letters: Chinese are square, others half of it or a bit more."""
    return sum(1.0 if unicodedata.east_asian_width(letter) in "WF" else 0.62 for letter in text)


def pdf(label: Label, size: str, language: str) -> bytes:
    """Raises CardError where weasyprint is missing, or for a size that there is not."""
    drawn = base64.b64encode(svg(label, size, language).encode()).decode()
    try:
        from weasyprint import HTML  # noqa: PLC0415 a laptop that only flashes cards has it not
    except (ImportError, OSError) as error:  # OSError: Pango is missing
        raise CardError("label.lacks") from error
    width, height = SIZES[size]
    page = (
        f"<html lang='{language}'><style>@page {{ size: {width}mm {height}mm; margin: 0 }} body {{ margin: 0 }} "
        f"img {{ width: {width}mm; height: {height}mm; display: block }}</style>"
        f"<title>{html.escape(label.node)}</title><img src='data:image/svg+xml;base64,{drawn}'></html>"
    )
    return bytes(HTML(string=page).write_pdf())


def png(label: Label, size: str, language: str, dpi: int = 300) -> bytes:
    """Raises CardError as `pdf`."""
    try:
        import pypdfium2  # noqa: PLC0415
    except ImportError as error:
        raise CardError("label.lacks") from error
    with pypdfium2.PdfDocument(pdf(label, size, language)) as document:
        picture = document[0].render(scale=dpi / 72).to_pil()
    out = io.BytesIO()
    picture.convert("L").save(out, "PNG", dpi=(dpi, dpi))
    return out.getvalue()


WRITERS: Final[Mapping[str, Callable[[Label, str, str], bytes]]] = {
    ".svg": lambda label, size, language: svg(label, size, language).encode(),
    ".pdf": pdf,
    ".png": png,
}
