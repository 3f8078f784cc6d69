"""Read, check and change site files.

Everything that is wrong is told at once, with line and column, and never by quoting a value (it may be a password).
Editors complete and check while typing if the first line of the file is

    # yaml-language-server: $schema=<folder of edge>/site/schema.json

Relative paths in a site file are relative to its folder; what `load` returns has them joined to it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from pydantic import ValidationError

from edge.site.explain import explain, find, nearest, problem
from edge.site.model import FileSource, FolderSource, PanSource, SiteFile
from edge.site.problem import Problem, SiteFileError, report
from edge.site.tree import MAX_BYTES, Map, Node, mark_at, plain, read
from edge.text import Catalogue, catalogue

__all__ = [
    "MAX_PROBLEMS",
    "Problem",
    "SiteFileError",
    "check",
    "file_hash",
    "load",
    "missing_files",
    "parse",
    "read_bytes",
    "report",
]

MAX_PROBLEMS = 100
"""More are not listed: a file that is wrong in so many places is wrong in few ways."""


def load(path: Path, known_rules: Collection[str], language: str = "en") -> SiteFile:
    """The site file at `path`. Raises SiteFileError with everything that is wrong, told in `language`."""
    return parse(read_bytes(path, language), path, known_rules, language)


def check(path: Path, known_rules: Collection[str], language: str = "en") -> list[Problem]:
    """All that is wrong with the file, in the order of its lines; empty: nothing."""
    try:
        load(path, known_rules, language)
    except SiteFileError as error:
        return list(error.problems)
    return []


def file_hash(path: Path) -> str:
    """SHA-256 of the file's bytes, hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_bytes(path: Path, language: str = "en") -> bytes:
    """The bytes of a site file, as far as it is one: a regular file, readable, not too big. Raises SiteFileError."""
    say = catalogue(language)

    def refuse(key: str, **fields: object) -> SiteFileError:
        advice = f"site.file_do.{key}"
        hint = say(advice) if advice in say else ""
        return SiteFileError([Problem(str(path), 0, 0, "", say(f"site.file.{key}", **fields), hint)], language)

    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # opening a pipe would wait for whoever writes to it
            raise refuse("folder" if stat.S_ISDIR(mode) else "special")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise refuse("missing") from None
    except OSError as error:
        raise refuse("unreadable", why=error.strerror or type(error).__name__) from None
    except ValueError:  # a zero byte in the path
        raise refuse("missing") from None
    if len(data) > MAX_BYTES:
        raise refuse("too_big", kb=MAX_BYTES // 1024)
    return data


def parse(data: bytes, path: Path, known_rules: Collection[str], language: str = "en") -> SiteFile:
    """The site file in `data`. `path` names it in problems, and its folder is where relative paths begin.

    Raises SiteFileError.
    """
    say = catalogue(language)
    root, problems = _tree(data, path, say)
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


def _tree(data: bytes, path: Path, say: Catalogue) -> tuple[Node | None, list[Problem]]:
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


def missing_files(site: SiteFile, path: Path, language: str = "en") -> list[Problem]:
    """Files and folders that the site file at `path` names and that are not there, or may not be read by this user.

    `site` is what `load(path)` gave. A model that is given by a bare name ships with Banksman and is not looked for.
    """
    say = catalogue(language)
    root, _ = _tree(read_bytes(path, language), path, say)
    if root is None:
        return []
    problems = []
    for loc, wanted, is_folder in _named_paths(site):
        if key := _absent(wanted, is_folder=is_folder):
            spot = find(root, loc, ())
            hint = say(f"site.path_do.{'rights' if key == 'unreadable' else 'relative'}")
            problems.append(problem(str(path), spot.node.start, spot.path, say(f"site.path.{key}"), hint))
    return sorted(problems)


def _named_paths(site: SiteFile) -> Iterator[tuple[tuple[str | int, ...], Path, bool]]:
    """Where in the file a path stands, the path, and whether it is a folder."""
    for index, camera in enumerate(site.cameras):
        source = camera.source
        if isinstance(source, FileSource | FolderSource | PanSource):
            yield ("cameras", index, "source", source.type, "path"), source.path, not isinstance(source, FileSource)
    if len(site.detector.model.parts) > 1:
        yield ("detector", "model"), site.detector.model, True
    certificates = (
        (("uplinks", "mqtt"), site.uplinks.mqtt, ("ca", "cert", "key")),
        (("uplinks", "evidence"), site.uplinks.evidence, ("ca", "cert", "key")),
        (("page",), site.page, ("tls_cert", "tls_key")),
    )
    for loc, section, names in certificates:
        for name in names:
            if (file := getattr(section, name, None)) is not None:
                yield (*loc, name), file, False


def _absent(path: Path, *, is_folder: bool) -> str | None:
    """What is wrong with a path, as a key of the catalogue."""
    kind = "folder" if is_folder else "file"
    if not path.exists():
        return f"missing_{kind}"
    if not (path.is_dir() if is_folder else path.is_file()):
        return f"not_{kind}"
    if not os.access(path, os.R_OK | (os.X_OK if is_folder else 0)):
        return "unreadable"
    return None
