"""`banksman model …`: one list of commands, and nothing is loaded before it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from models.cli import COMMANDS
from models.data import write_set
from tests.detect.shipped import SHIPPED
from tests.models.command import REPO, model
from tests.models.photos import photo, picture

HEAVY = ("torch", "torchvision", "ultralytics", "onnx", "pnnx")


def without_train_extra(*words: str) -> subprocess.CompletedProcess[str]:
    """`banksman` on a machine that lacks the packages of the `train` extra."""
    code = f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r})); sys.argv[0] = 'banksman'\n"
    code += "from deploy.cli import main; main()"
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=REPO)


def test_the_front_door_loads_nothing_of_the_models() -> None:
    code = "import sys, deploy.cli; print([m for m in sys.modules if m.split('.')[0] in ('models', 'torch', 'numpy')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPO)
    assert done.stdout.strip() == "[]"


def test_the_list_of_commands() -> None:
    done = without_train_extra("model", "--help")
    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        assert f" {name} " in done.stdout


@pytest.mark.parametrize(
    "command", [[name] for name in COMMANDS if name not in {"train", "closer"}] + [["data", "pseudo"]]
)
def test_help_needs_no_train_extra(command: list[str]) -> None:
    done = without_train_extra("model", *command, "--help")
    assert done.returncode == 0, done.stderr
    assert f"Usage: banksman model {' '.join(command)}" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["train", "--help"], id="its module is built on torch"),
        pytest.param(["eval", "{tmp}/a.pt", "{tmp}/set", "--out", "{tmp}/out"], id="only these weights need it"),
        pytest.param(["data", "pseudo", "{tmp}/set", "{tmp}/a.pt", "{tmp}/out"], id="a teacher"),
        pytest.param(["export", "{tmp}/a.pt", "{tmp}/out"], id="export"),
        pytest.param(["quantize", str(SHIPPED), "{tmp}/set", "{tmp}/out"], id="int8"),
    ],
)
def test_a_missing_extra_is_named(words: list[str], tmp_path: Path) -> None:
    pictures = [photo(picture(tmp_path / f"{part}.png"), split=part) for part in ("train", "test")]
    write_set(pictures, tmp_path / "set")
    (tmp_path / "a.pt").write_bytes(b"weights")
    done = without_train_extra("model", *(word.format(tmp=tmp_path) for word in words))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "`train` extra" in done.stderr


def test_options_reach_the_command(tmp_path: Path) -> None:
    write_set([photo(picture(tmp_path / "a.png"), [("cone", 0.5, 0.5, 0.2, 0.2)], complete=["cone"])], tmp_path / "set")
    done = model("data", "report", tmp_path / "set", "--json")
    assert done.returncode == 0, done.stderr
    assert '"cone": 1' in done.stdout
    wrong = model("data", "report", tmp_path / "set", "--jsn")
    assert wrong.returncode == 2
    assert "No such option: --jsn" in wrong.stderr
    assert "banksman model data report" in wrong.stderr
