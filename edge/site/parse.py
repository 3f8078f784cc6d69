"""From the bytes of a site file to a `SiteFile`, or to everything that is wrong with them."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from edge.site.explain import explain, nearest, problem
from edge.site.model import SiteFile, repeats
from edge.site.problem import Problem, SiteFileError
from edge.site.tree import Map, Node, mark_at, plain, read
from edge.text import Catalogue, catalogue

MAX_PROBLEMS = 100
"""More are not listed: a file that is wrong in so many places is wrong in few ways."""


def parse(data: bytes, path: Path, known_rules: Collection[str], language: str = "en") -> SiteFile:
    """The site file in `data`. `path` names it in problems, and its folder is where relative paths begin.

    Raises SiteFileError.
    """
    say = catalogue(language)
    root, problems = tree(data, path, say)
    site = None
    if root is not None:
        found, site = _validated(root, path, known_rules, say)
        problems += found
    if problems:
        problems = sorted(set(problems))
        if len(problems) > MAX_PROBLEMS:
            last = Problem(str(path), 0, 0, "", say("site.too_many", n=MAX_PROBLEMS))
            problems = [*problems[:MAX_PROBLEMS], last]
        raise SiteFileError(problems, language)
    assert site is not None  # noqa: S101 - no problems, hence a site file
    return site


def decode(data: bytes) -> tuple[str, int | None]:
    """The text of a file, and the byte from where on it is no UTF-8."""
    content = data.removeprefix(BOM_UTF8)
    try:
        return content.decode(), None
    except UnicodeDecodeError as error:
        return content[: error.start].decode(), len(data) - len(content) + error.start


def tree(data: bytes, path: Path, say: Catalogue) -> tuple[Node | None, list[Problem]]:
    text, broken = decode(data)
    if broken is not None:
        mark = mark_at(text, len(text))
        return None, [problem(str(path), mark, "", say("site.file.encoding"), say("site.file_do.encoding"))]
    root, flaws = read(text)
    return root, [problem(str(path), f.mark, "", f.message(say), f.hint(say)) for f in flaws]


def _validated(
    root: Node, path: Path, known_rules: Collection[str], say: Catalogue
) -> tuple[list[Problem], SiteFile | None]:
    """Problems, and the site file where the types are right. Read as JSON and strictly: what is accepted is what the
    JSON Schema describes, without Pydantic's guesses (a port "8080", a latitude `true`)."""
    problems = [*_unknown_rules(root, path, known_rules, say), *_taken(root, path, known_rules, say)]
    try:
        site = SiteFile.model_validate_json(
            json.dumps(plain(root)), strict=True, context={"base": path.absolute().parent}
        )
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)[: MAX_PROBLEMS + 1]
        told = (explain(d, root, str(path), known_rules, say) for d in details)
        return problems + [p for p in told if p is not None], None
    return problems, site


def _taken(root: Node, path: Path, known_rules: Collection[str], say: Catalogue) -> Iterator[Problem]:
    """Ids and devices that are given twice: every one, whatever else is wrong. The model stops at the first."""
    cameras = _list(plain(root), "cameras")
    found: list[tuple[str, tuple[int | str, ...]]]
    found = [("camera_twice", ("cameras", n, "id")) for n in repeats(_text(c, "id") for c in cameras)]
    found += [("device_twice", ("cameras", n, "source")) for n in repeats(_device(c) for c in cameras)]
    for n, camera in enumerate(cameras):
        places = [(kind, i, thing) for kind in ("zones", "fixtures") for i, thing in enumerate(_list(camera, kind))]
        for at in repeats(_text(thing, "id") for *_, thing in places):
            found.append(("place_twice", ("cameras", n, *places[at][:2], "id")))
    for code, loc in found[: MAX_PROBLEMS + 1]:
        wrong: ErrorDetails = {
            "type": "value_error", "loc": loc, "msg": "", "input": None, "ctx": {"code": code, "fields": {}},
        }  # fmt: skip
        told = explain(wrong, root, str(path), known_rules, say)
        if told is not None:
            yield told


def _list(section: Any, key: str) -> list[Any]:
    """The list below a key of raw data; empty where there is something else, which the model says."""
    value = section.get(key) if isinstance(section, dict) else None
    return value if isinstance(value, list) else []


def _text(section: Any, key: str) -> str | None:
    value = section.get(key) if isinstance(section, dict) else None
    return value if isinstance(value, str) else None


def _device(camera: Any) -> tuple[str, int] | None:
    """The device that a camera opens: kind and number."""
    source = camera.get("source") if isinstance(camera, dict) else None
    kind = _text(source, "type")
    if kind not in ("usb", "csi") or not isinstance(source, dict):
        return None
    index = source.get("index", 0)
    return (kind, index) if isinstance(index, int) else None


def _unknown_rules(root: Node, path: Path, known_rules: Collection[str], say: Catalogue) -> Iterator[Problem]:
    rules = root.pairs["rules"][1] if isinstance(root, Map) and "rules" in root.pairs else None
    if not isinstance(rules, Map):
        return
    unknown = [key for name, (key, _) in rules.pairs.items() if name not in known_rules]
    for key in unknown[: MAX_PROBLEMS + 1]:
        near = nearest(key.text, known_rules)
        known = say("site.hint.known", names=", ".join(sorted(known_rules)))
        hint = say("site.hint.near", name=near) if near else known
        yield problem(str(path), key.start, "rules", say("site.rule.unknown"), hint)
