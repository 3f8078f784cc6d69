"""Imports point one way, and the node stays lean."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPO

MAY_IMPORT = {
    "edge": {"edge", "broker.messages"},
    "broker": {"broker"},
    "models": {"models"},
    "dashboards": {"dashboards", "broker"},
    "deploy": {"deploy", "dashboards", "edge", "broker", "models"},
}
OURS = tuple(MAY_IMPORT)

LINE = (
    "site",
    "capture",
    "detect",
    "track",
    "evidence.heads",
    "rules",
    "alarm",
    "journal",
    "evidence",
    "uplink",
    "update",
    "page",
)
"""The steps of the node in order, each of which may import itself and what stands before it."""
SHARED = {"edge.values", "edge.beat", "edge.clock", "edge.geometry", "edge.text", "edge.site.model"}
TOGETHER = {
    "edge.line",
    "edge.post",
    "edge.judge",
    "edge.node",
    "edge.live",
    "edge.health",
    "edge.heat",
    "edge.selfwatch",
    "edge.doctor",
}
"""Files that put steps together; no step imports them."""


def modules(package: str) -> Iterator[tuple[str, Path]]:
    for path in sorted((REPO / package).rglob("*.py")):
        name = ".".join(path.relative_to(REPO).with_suffix("").parts).removesuffix(".__init__")
        yield name, path


def imports(path: Path) -> set[str]:
    """Names of our own modules that a file imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name for name in found if name.split(".")[0] in OURS}


def below(name: str, parents: set[str]) -> bool:
    return any(name == p or name.startswith(f"{p}.") for p in parents)


@pytest.mark.parametrize("package", OURS)
def test_packages_import_one_way(package: str) -> None:
    wrong = {
        name: foreign
        for name, path in modules(package)
        if (foreign := {i for i in imports(path) if not below(i, MAY_IMPORT[package])})
    }
    assert not wrong


def step_of(name: str) -> str | None:
    """The step that a module belongs to: the longest name that fits."""
    fits = [step for step in LINE if below(name, {f"edge.{step}"})]
    return max(fits, key=len, default=None)


@pytest.mark.parametrize("step", LINE)
def test_a_step_imports_only_what_stands_before_it(step: str) -> None:
    before = LINE[: LINE.index(step) + 1]
    wrong = {}
    for name, path in modules("edge"):
        if step_of(name) != step:
            continue
        for imported in imports(path):
            if not imported.startswith("edge.") or imported in SHARED:
                continue
            if imported in TOGETHER or step_of(imported) not in before:
                wrong[name] = imported
    assert not wrong


HEAVY = {"torch", "torchvision", "matplotlib", "pandas", "scipy", "polars", "ultralytics"}
SERVER = {"sqlalchemy", "alembic", "apprise", "argon2", "cryptography", "influxdb_client", "grafana_api", "openpyxl"}


@pytest.mark.parametrize(
    ("command", "foreign"),
    [
        ("import edge.node", HEAVY | SERVER),
        ("import edge.doctor", HEAVY | SERVER),
        ("import deploy.demo", HEAVY),  # node and server in one
        ("import deploy.dispatch, deploy.pages", HEAVY | {"cv2", "onnxruntime"}),
    ],
)
def test_nothing_heavy_or_of_the_other_side_is_imported(command: str, foreign: set[str]) -> None:
    code = f"{command}; import sys; print(sorted({foreign!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
