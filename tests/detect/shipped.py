"""The model that a node takes when its site file names none, and the checkpoint that it was exported from."""

from __future__ import annotations

from pathlib import Path

from edge.detect import find_model
from edge.site.model import SHIPPED_MODEL as NAME
from tests.conftest import REPO

SHIPPED = find_model(Path(NAME), Path())
CHECKPOINT = REPO / "models" / "checkpoints" / f"{NAME}.pt"
"""For export and parity; no part of the installed package."""

__all__ = ["CHECKPOINT", "NAME", "SHIPPED"]
