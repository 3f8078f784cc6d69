"""The node on a Raspberry Pi, as far as its processor and system go: what it installs, loads and sees there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from deploy.release.wheels import fetch
from edge.detect.parity import compare
from edge.values import Detections
from tests.arm.board import Board, board
from tests.conftest import REPO
from tests.house.test_imports import HEAVY, SERVER

pytestmark = pytest.mark.timeout(600)

DOWNLOAD_MB, INSTALLED_MB = 150, 400
TAR_NAME = 100
"""Bytes of a file's name in a plain tar, which a release file is."""
NOT_ON_A_NODE = (HEAVY | SERVER | {"argon2_cffi", "psycopg", "weasyprint", "prometheus_client", "itsdangerous"}) - {
    "influxdb_client"
}
LOOK = Path(__file__).with_name("look.py")
PIXELS, CONFIDENCE = 0.01, 0.0001
"""The same runtime on the same numbers: what two orders of adding them up may change."""
GREY_LEVEL = 0.02
"""What a closer look's chances may differ by where OpenCV has scaled the cut-out: on ARM it does so by other code."""


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return fetch(tmp_path_factory.mktemp("wheels"), "aarch64-cp313")


@pytest.fixture(scope="session")
def pi(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Board:
    return board(wheels[0].parent, tmp_path_factory.mktemp("pi") / "packages")


@pytest.fixture(scope="session")
def pictures(street: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """`fitting` has the size of the network's input, `camera` is scaled down to it."""
    whole = cv2.imread(str(street / "bus.jpg"))
    assert whole is not None
    folder = tmp_path_factory.mktemp("pictures")
    pictures = {"fitting": whole[400:720, 100:740], "camera": whole[380:720]}  # parts: emulated, a look takes long
    for name, picture in pictures.items():
        assert cv2.imwrite(str(folder / f"{name}.png"), picture)
    return {name: str(folder / f"{name}.png") for name in pictures}


def told(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate()
    assert process.returncode == 0, err  # 128 + 4 is an instruction that the processor has not
    return dict(json.loads(out))


@dataclass(frozen=True)
class Seen:
    """By name of the picture. closer: what a closer look makes of a place in it, by what may be worn there."""

    runtime: str
    machine: str
    looks: Mapping[str, Detections]
    closer: Mapping[str, Mapping[str, list[float]]]


def seen(process: subprocess.Popen[str], pictures: Mapping[str, str]) -> Seen:
    answer = told(process)
    looks = {
        name: Detections.build(
            np.array(look["xyxy"], np.float32).reshape(-1, 4),
            np.array(look["confidence"], np.float32),
            np.array(look["class_id"], np.int32),
            tuple(answer["names"]),
        )
        for name, look in zip(pictures, answer["looks"], strict=True)
    }
    print(f"\n{answer['runtime']} on {answer['machine']}: {answer['seconds']:.1f} s")
    return Seen(answer["runtime"], answer["machine"], looks, dict(zip(pictures, answer["closer"], strict=True)))


@pytest.fixture(scope="session")
def answers(pi: Board, pictures: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """All that takes long, beside each other: imports, and what either runtime sees on either processor."""

    def both(there: str, here: str, *names: str) -> tuple[Seen, Seen]:
        chosen = {name: pictures[name] for name in names}
        command, pipe = [sys.executable, str(LOOK), here, *chosen.values()], subprocess.PIPE
        native = subprocess.Popen(command, env={"PYTHONPATH": str(REPO)}, text=True, stdout=pipe, stderr=pipe)
        return seen(pi.start(str(LOOK), there, *chosen.values()), chosen), seen(native, chosen)

    jobs = {
        "ncnn": lambda: both("auto", "ncnn", "fitting", "camera"),
        "onnx": lambda: both("onnx", "onnx", "fitting"),
        "import": lambda: told(pi.start(str(LOOK), "import")),
    }
    with ThreadPoolExecutor(2) as pool:
        begun = {name: pool.submit(job) for name, job in jobs.items()}
        yield {name: job.result() for name, job in begun.items()}


def test_the_download_is_small_and_holds_nothing_of_the_server_or_of_training(wheels: list[Path]) -> None:
    size = sum(wheel.stat().st_size for wheel in wheels)
    print(f"\ndownload: {len(wheels)} wheels, {size / 1e6:.1f} MB")
    names = {re.sub(r"[-.]+", "_", wheel.name.partition("-")[0]).lower() for wheel in wheels}
    assert {"banksman", "ncnn", "onnxruntime", "opencv_python_headless"} <= names
    assert not NOT_ON_A_NODE & names
    assert size <= DOWNLOAD_MB * 1e6
    assert max(len(wheel.name) for wheel in wheels) <= TAR_NAME


def test_what_is_installed_is_small(pi: Board) -> None:
    size = sum(file.stat().st_size for file in pi.packages.rglob("*") if file.is_file())
    print(f"\ninstalled: {size / 1e6:.1f} MB")
    assert size <= INSTALLED_MB * 1e6


def test_every_module_of_the_node_loads_on_the_processor_of_a_pi_4(answers: Mapping[str, Any]) -> None:
    answer = answers["import"]
    print(f"\n{len(answer['modules'])} modules on {answer['machine']}: {answer['seconds']:.1f} s")
    assert answer["machine"] == "aarch64"
    assert {"edge.node", "edge.detect.runtimes.ncnn", "edge.detect.runtimes.onnx", "deploy.cli"} <= {*answer["modules"]}
    assert not HEAVY & {*answer["loaded"]}


@pytest.mark.parametrize("runtime", ["ncnn", "onnx"])  # what a Pi picks, and what others are held against
def test_the_shipped_model_sees_on_a_pi_what_it_sees_here(answers: Mapping[str, Any], runtime: str) -> None:
    there, here = answers[runtime]
    assert (there.runtime, here.runtime) == (runtime, runtime)
    assert there.machine == "aarch64"
    a, b = there.looks["fitting"], here.looks["fitting"]
    assert len(a) >= 5
    assert a.class_id.tolist() == b.class_id.tolist()
    pixels, gap = np.abs(a.xyxy - b.xyxy).max(), np.abs(a.confidence - b.confidence).max()
    print(f"\n{runtime}: {len(a)} boxes, worst {pixels:.5f} px, {gap:.6f} of confidence")
    assert pixels <= PIXELS
    assert gap <= CONFIDENCE
    for part, chances in here.closer["fitting"].items():
        assert there.closer["fitting"][part] == pytest.approx(chances, abs=GREY_LEVEL), part
    assert here.closer["fitting"]


def test_a_picture_of_a_camera_gives_the_same_boxes_on_a_pi(answers: Mapping[str, Any]) -> None:
    """OpenCV scales it by other code on ARM, a grey level off in a fifth of the pixels; the project's parity holds."""
    there, here = answers["ncnn"]
    parity = compare(there.looks["camera"], here.looks["camera"])
    print(f"\ncamera: {parity}")
    assert parity.pairs >= 5
    assert parity.holds
