"""The same with the real node, `banksman run`, on pictures of a street: bare heads come and go."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import street_photos
from tests.kill.harness import KillingNode
from tests.servers import HOST

SEED = 11
FPS = 4.0
SEEN_S, GONE_S = 1.5, 3.0  # a person is known for 2 s after the last look: only then does the alarm end
QUICK = {"confirm_s": 0.1, "clear_s": 0.2, "quiet_s": 0, "min_height_px": 20}


def street(folder: Path, shift: int) -> Path:
    """A folder of pictures, shown in a circle: people without helmets and vests, then nobody."""
    people = cv2.imread(str(street_photos() / "bus.jpg"))
    assert people is not None
    coarse = np.random.default_rng(1).integers(60, 200, (27, 20, 3), dtype=np.uint8)
    nobody = cv2.resize(coarse, (people.shape[1], people.shape[0]))
    pictures = [people] * int(SEEN_S * FPS) + [nobody] * int(GONE_S * FPS)
    folder.mkdir()
    for n, picture in enumerate(pictures[shift:] + pictures[:shift]):
        assert cv2.imwrite(str(folder / f"{n:02d}.jpg"), picture)
    return folder


def site_file(folder: Path, port: int) -> Path:
    """JSON is YAML too."""
    everywhere = [[0, 0], [1, 0], [1, 1], [0, 1]]
    content = {
        "site": {"id": "north-yard", "latitude": 39.91, "longitude": 116.4},
        "node": {"id": "gate-03", "data_dir": ".", "clock_trusted": True},
        "cameras": [
            {
                "id": f"cam-{n}",
                "source": {
                    "type": "folder",
                    "path": str(street(folder / f"street-{n}", 7 * n)),
                    "fps": FPS,
                    "loop": True,
                },
                "judge_fps": 8,
                "zones": [{"id": "yard", "kind": "work", "polygon": everywhere}],
            }
            for n in range(2)
        ],
        "detector": {"threads": 1},
        "rules": {"helmet": QUICK, "hi_vis": QUICK},
        "uplinks": {"mqtt": {"host": HOST, "port": port, "tls": False, "resend_s": 1}},
        "page": None,
    }
    path = folder / "site.yaml"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.timeout(1800)
def test_nothing_that_the_real_node_accepted_is_lost_or_twice(tmp_path: Path, proof: bool) -> None:
    killing = KillingNode(tmp_path, SEED, tmp_path / "site.yaml")
    site_file(tmp_path, killing.broker.port)
    kills = 30 if proof else 3
    count = killing.run(kills, alive_s=(0.05, 5.0), least=3 * kills)
    print(count)
    assert count.faults == {}, str(count)
    assert count.accepted >= 3 * kills, "it was not busy enough to prove anything"
