"""What the doctor examines: settings, and a model folder to be damaged."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.doctor.result import Result
from edge.site.model import Mqtt
from tests.detect.shipped import SHIPPED

SITE, NODE = "north-yard", "gate-03"
NAME = f"{SITE}/{NODE}"
ACL = "pattern readwrite banksman/1/%u/#\n"


def code(result: Result) -> str:
    return f"{result.organ}.{result.code}"


def mqtt(port: int, **more: Any) -> Mqtt:
    return Mqtt.model_validate({"host": "127.0.0.1", "port": port, "tls": False, **more})


class ModelFolder:
    """A copy of the shipped model. What is changed in it keeps a right checksum unless a test says otherwise."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "model"
        shutil.copytree(SHIPPED, self.path)

    @property
    def manifest(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.path / "manifest.json").read_text())
        return content

    def write_manifest(self, **changes: Any) -> None:
        (self.path / "manifest.json").write_text(json.dumps(self.manifest | changes))

    def only(self, *runtimes: str) -> None:
        self.write_manifest(files={r: f for r, f in self.manifest["files"].items() if r in runtimes})

    def change(self, file: str, how: Callable[[bytes], bytes], *, checksum: bool = True) -> None:
        path = self.path / file
        path.write_bytes(how(path.read_bytes()))
        if checksum:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            files = self.manifest["files"]
            self.write_manifest(
                files={r: {n: digest if n == file else s for n, s in f.items()} for r, f in files.items()}
            )
