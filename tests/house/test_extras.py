"""What the extras for a laptop and for whoever signs releases promise, in environments that hold nothing else."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import uv

from deploy.card.payload import pack
from tests.card.builders import Office
from tests.card.images import TRIXIE
from tests.card.test_payload import everything, stock
from tests.conftest import REPO, need
from tests.house.test_install import requirements
from tests.update.builders import tiny_wheel

MAIN = "from deploy.cli import main; main()"


class Laptop:
    """A computer with one extra. It runs the checkout, so that nothing has to be built in that."""

    def __init__(self, folder: Path, extra: str) -> None:
        self.folder, self.python = folder, folder / "venv/bin/python"
        self._uv("venv", "--quiet", str(folder / "venv"))
        packages = [f"{r.name}{r.specifier}" for r in requirements(extra)]
        into = "--python", str(self.python), "--constraints", str(REPO / "requirements.txt")
        said = self._uv("pip", "install", "--quiet", *into, *packages)
        need("error sending request" not in said.lower(), "no package registry can be reached")

    @staticmethod
    def _uv(*words: str) -> str:
        return subprocess.run([uv.find_uv_bin(), *words], capture_output=True, text=True, check=False).stderr

    def run(self, *words: str, code: int = 0, lang: str = "C") -> str:
        """What `banksman WORDS` says."""
        done = subprocess.run(
            [str(self.python), "-c", MAIN, *words],
            capture_output=True, text=True, check=False, cwd=self.folder,
            env={name: value for name, value in os.environ.items() if not name.startswith("LC_")}
            | {"PYTHONPATH": str(REPO), "LANG": lang},
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    return Laptop(tmp_path_factory.mktemp("card"), "card")


@pytest.fixture(scope="module")
def signing(tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    return Laptop(tmp_path_factory.mktemp("release"), "release")


def test_a_laptop_makes_cards_with_the_extra_for_it(card: Laptop, tmp_path: Path) -> None:
    for command in ("flash", "apply", "label", "manifest", "pack", "image"):
        card.run("card", command, "--help")
    with (tmp_path / "node.zip").open("wb") as out:
        pack(Office.at(tmp_path).payload(), out)
    boot = stock(tmp_path / "bootfs", TRIXIE)
    assert "north/gate-03" in card.run("card", "apply", str(boot), "--node", str(tmp_path / "node.zip"))
    assert "banksman/install.sh" in everything(boot)
    card.run("card", "label", "--node", str(tmp_path / "node.zip"), "--out", str(tmp_path / "label.svg"))
    assert "north/gate-03" in (tmp_path / "label.svg").read_text()


def test_whoever_signs_makes_a_release_with_the_extra_for_it(signing: Laptop, tmp_path: Path) -> None:
    keys, out, wheel = tmp_path / "keys", tmp_path / "out", tiny_wheel(tmp_path / "wheels", "9.9.9", "pass\n")
    signing.run("release", "keygen", str(keys), "--password", "")
    signing.run("release", "build", str(out), "--wheels", str(wheel.parent))
    (unsigned,) = out.iterdir()
    signing.run("release", "sign", str(unsigned), "--key", str(keys / "release.key"), "--password", "")
    signed = unsigned.with_name(unsigned.name.replace(".unsigned", ""))
    assert "9.9.9" in signing.run("release", "verify", str(signed), "--key", str(keys / "release.pub"))
    asked = "from deploy.release import wheels; print(wheels.resolve(wheels.TARGETS[wheels.CURRENT]))"
    env = os.environ | {"PYTHONPATH": str(REPO)}
    done = subprocess.run([signing.python, "-c", asked], capture_output=True, text=True, check=False, env=env)
    assert "onnxruntime==" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "lang", "told"),
    [
        (("release", "keygen", "keys"), "C", "'.[release]'"),
        (("enrol", "--help"), "C", "'.[server]'"),
        (("check", "site.yaml"), "C", "'.[node]'"),
        (("check", "site.yaml"), "zh_CN.UTF-8", "没有安装"),
    ],
)
def test_what_an_extra_does_not_bring_is_said_with_the_one_that_does(
    card: Laptop, words: tuple[str, ...], lang: str, told: str
) -> None:
    said = card.run(*words, code=2, lang=lang)
    assert told in said
    assert "Traceback" not in said
