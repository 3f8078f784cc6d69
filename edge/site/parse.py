"""From the bytes of a site file to a `SiteFile`, or to everything that is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path

from pydantic import ValidationError

from edge.site.explain import explain, nearest, problem
from edge.site.model import SiteFile
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
    try:
        return data.decode("utf-8-sig"), None
    except UnicodeDecodeError as error:
        return data[: error.start].decode("utf-8-sig"), error.start


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
    problems = list(_unknown_rules(root, path, known_rules, say))
    try:
        site = SiteFile.model_validate_json(
            json.dumps(plain(root)), strict=True, context={"base": path.absolute().parent}
        )
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)[: MAX_PROBLEMS + 1]
        told = (explain(d, root, str(path), known_rules, say) for d in details)
        return problems + [p for p in told if p is not None], None
    return problems, site


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
