"""Files of the node, written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from edge.site.disk import replace


def put(path: Path, data: bytes, mode: int) -> None:
    """mode: of a new file. One that holds it already keeps its owner, and the card its life. Raises OSError."""
    if not path.exists():
        replace(path, data, mode)
    elif path.read_bytes() != data:
        replace(path, data)
