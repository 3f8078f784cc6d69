"""Read, check and change site files.

Everything that is wrong is told at once, with line and column, and never by quoting a value (it may be a password).
Editors complete and check while typing if the first line of the file is

    # yaml-language-server: $schema=<folder of edge>/site/schema.json

Relative paths in a site file are relative to its folder; what `load` returns has them joined to it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from edge.site.disk import read_bytes
from edge.site.edit import save_zones
from edge.site.explain import find, problem
from edge.site.model import FileSource, FolderSource, PanSource, SiteFile
from edge.site.parse import parse, tree
from edge.site.problem import Problem, SiteFileError, report
from edge.text import catalogue

__all__ = ["Problem", "SiteFileError", "check", "load", "missing_files", "report", "save_zones"]


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


def missing_files(site: SiteFile, path: Path, language: str = "en") -> list[Problem]:
    """Files and folders that the site file at `path` names and that are not there, or may not be read by this user.

    `site` is what `load(path)` gave. A model that is given by a bare name ships with Banksman and is not looked for.
    """
    say = catalogue(language)
    root, _ = tree(read_bytes(path, language), path, say)
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
        (("uplinks", "influx"), site.uplinks.influx, ("ca", "token_file")),
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
