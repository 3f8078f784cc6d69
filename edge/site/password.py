"""A new password for the node's page, in its site file and nothing else in it."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from pydantic import SecretStr

from edge.site.disk import read_bytes, replace
from edge.site.parse import decode, parse
from edge.site.problem import Problem, SiteFileError
from edge.site.tree import Map, Scalar, read
from edge.text import catalogue


def save_password(path: Path, password: str, known_rules: Collection[str], language: str = "en") -> None:
    """Write it to `page.password` of the site file, which is replaced at once or not at all.

    Raises SiteFileError where the file is not right or has no section `page` of the usual form, OSError where it
    cannot be written.
    """
    target = path.resolve()  # a link stays a link
    before = read_bytes(target, language)
    old = parse(before, path, known_rules, language)
    after = _with_password(before, password)
    if old.page is None or after is None:
        raise _refusal(path, language)
    page = old.page.model_copy(update={"password": SecretStr(password)})
    try:
        new = parse(after, path, known_rules, language)
    except SiteFileError:  # of lines that only the new file has
        raise _refusal(path, language) from None
    if new != old.model_copy(update={"page": page}):
        raise _refusal(path, language)
    replace(target, after)


def _with_password(data: bytes, password: str) -> bytes | None:
    """The file, which is right, with it; None where there is no place for it."""
    text, _ = decode(data)
    bom = data[: len(data) - len(text.encode())]
    windows = "\r\n" in text
    text = text.replace("\r\n", "\n")
    root, _ = read(text)
    page = root.pairs["page"][1] if isinstance(root, Map) and "page" in root.pairs else None
    if not isinstance(page, Map):
        return None
    quoted = json.dumps(password, ensure_ascii=False)
    if "password" in page.pairs:
        key, value = page.pairs["password"]
        if not isinstance(value, Scalar):
            return None
        colon = text.find(":", key.end.index) + 1
        if not colon:
            return None
        text = f"{text[:colon]} {quoted}{text[max(colon, value.end.index) :]}"
    elif not page.flow:
        first = next(iter(page.pairs.values()))[0].start
        text = f"{text[: first.index]}password: {quoted}\n{' ' * first.column}{text[first.index :]}"
    else:
        return None
    return bom + (text.replace("\n", "\r\n") if windows else text).encode()


def _refusal(path: Path, language: str) -> SiteFileError:
    say = catalogue(language)
    problem = Problem(str(path), 0, 0, "page", say("site.file.no_page"), say("site.file_do.no_page"))
    return SiteFileError([problem], language)
