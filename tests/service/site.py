"""A site file with a camera that works, and everything else gone: a camera, the broker, InfluxDB, the site server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from broker.embedded import free_port


def write_site(
    folder: Path,
    *,
    works: bool = True,
    lost: bool = True,
    others: Sequence[str] = (),
    data: str = "data",
    seen_as: Path | None = None,
    page: dict[str, object] | None = None,
) -> Path:
    """works: whether one camera does. lost: whether one does not. others: more that do. seen_as: where the node finds
    the folder."""
    seen_as = seen_as or folder
    nobody = f"127.0.0.1:{free_port()}"
    rng = np.random.default_rng(7)
    (folder / "yard").mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "yard" / "0.jpg"), rng.integers(0, 255, (720, 1280, 3), np.uint8))
    (folder / "token").write_text("secret\n")
    pan = {"type": "pan", "path": str(seen_as / "yard"), "seconds": 10}
    zones = [{"id": "whole", "kind": "work", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]]}]
    cameras: list[object] = [{"id": "lost", "source": {"type": "rtsp", "url": f"rtsp://{nobody}/1"}}] if lost else []
    cameras += [{"id": name, "source": pan, "zones": zones} for name in [*(["yard"] if works else []), *others]]
    host, port = nobody.split(":")
    site = {
        "site": {"id": "north-yard", "latitude": 39.91, "longitude": 116.4},
        "node": {"id": "gate-03", "data_dir": data},
        "language": "en",
        "cameras": cameras,
        "detector": {"runtime": "onnx", "threads": 1},
        "uplinks": {
            "mqtt": {"host": host, "port": int(port), "tls": False},
            "influx": {"url": f"http://{nobody}", "org": "o", "bucket": "b", "token_file": str(seen_as / "token")},
        },
        "page": page,
    }
    path = folder / "site.yaml"
    path.write_text(json.dumps(site), encoding="utf-8")  # every JSON file is a YAML file
    return path
