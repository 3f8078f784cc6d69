"""`python -m broker` writes the JSON Schemas of the wire contract as they are committed."""

from __future__ import annotations

from pathlib import Path

from broker.messages import export

if __name__ == "__main__":
    export(Path(__file__).parent / "schema")
