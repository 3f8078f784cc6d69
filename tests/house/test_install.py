"""What is installed: one OpenCV, everything pinned, a node that fits on a small card."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement

from tests.conftest import REPO, need

LIMIT_MB = 400
PI_ABIS = ("cp311", "abi3", "none")
PI_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")


def requirements(extra: str) -> list[Requirement]:
    """Of the project with an extra; extras that the extra itself names are put in their place."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(r) for r in project["dependencies"] + project["optional-dependencies"][extra]]
    inner = {name for r in wanted if r.name == project["name"] for name in r.extras}
    return [r for r in wanted if r.name != project["name"]] + [r for name in inner for r in requirements(name)]


def closure(wanted: list[Requirement]) -> dict[str, Distribution]:
    """The installed packages that these requirements bring, by normalised name."""
    found: dict[str, Distribution] = {}
    queue = [(r, "") for r in wanted]
    while queue:
        requirement, extra = queue.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = normal(requirement.name)
        if name in found:
            continue
        found[name] = distribution(requirement.name)
        more = [Requirement(r) for r in found[name].requires or []]
        queue += [(r, e) for r in more for e in (requirement.extras or {""})]
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_a_single_build_of_opencv_is_installed() -> None:
    builds = [d.name for d in distributions() if normal(d.name).startswith("opencv-")]
    assert builds == ["opencv-python-headless"]


def test_the_node_installs_on_a_raspberry_pi_and_fits_its_card(tmp_path: Path) -> None:
    """Every wheel of the `node` extra, as pip picks them for aarch64, unpacked."""
    wanted = [f"{r.name}{r.specifier}" for r in requirements("node")]
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--dest", str(tmp_path),
            "--only-binary=:all:", "--python-version=311", "--implementation=cp", *(f"--abi={a}" for a in PI_ABIS),
            *(f"--platform={p}" for p in PI_PLATFORMS), "-c", str(REPO / "requirements.txt"), *wanted,
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    need("connection" not in done.stderr.lower(), "no package registry can be reached")
    assert done.returncode == 0, done.stderr
    sizes = {}
    for wheel in tmp_path.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            # Byte code, which pip compiles at install time, takes about as much again as the sources.
            sizes[normal(wheel.name.split("-")[0])] = (
                sum(f.file_size * (2 if f.filename.endswith(".py") else 1) for f in archive.infolist()) / 1e6
            )
    total = sum(sizes.values())
    biggest = ", ".join(f"{n} {s:.0f}" for n, s in sorted(sizes.items(), key=lambda x: -x[1])[:6])
    print(f"\nnode extra on aarch64, with byte code: {total:.0f} MB ({biggest})")
    assert total <= LIMIT_MB
    assert {"opencv-python-headless", "ncnn", "onnxruntime"} <= set(sizes)
    assert not {"torch", "matplotlib", "pandas", "ultralytics"} & set(sizes)


_LOADED = """
import sys
before = {*sys.modules}
from PIL import Image
import deploy.dispatch, deploy.pages, broker.dispatch.notify.channels
deploy.pages.Faces()(Image.new("RGB", (64, 64)))
print(*{name.partition(".")[0] for name in {*sys.modules} - before})
"""


def test_the_server_extra_brings_all_that_dispatch_imports() -> None:
    """Pages with a photo, worker, channels; whatever else is installed here."""
    done = subprocess.run([sys.executable, "-c", _LOADED], cwd=REPO, capture_output=True, text=True, check=True)
    brings = {normal("banksman"), *closure(requirements("server"))}
    of_module = packages_distributions()
    foreign = {
        module: found
        for module in done.stdout.split()
        if (found := {normal(name) for name in of_module.get(module, [])}) and not found & brings
    }
    assert "onnxruntime" in done.stdout
    assert not foreign


def test_everything_is_pinned_and_the_pins_fit_the_bounds() -> None:
    lines = [line.split(" ;")[0].strip() for line in (REPO / "requirements.txt").read_text().splitlines()]
    pins = {normal(name): pin for name, _, pin in (line.partition("==") for line in lines if "==" in line)}
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    for extra in project["optional-dependencies"]:
        for requirement in requirements(extra):
            assert requirement.specifier.contains(pins[normal(requirement.name)]), requirement
    missing = [d.name for d in _installed() if normal(d.name) not in pins]
    assert not missing


def _installed() -> list[Distribution]:
    """What the node, demo and dev extras have brought here."""
    try:
        return list(closure([r for extra in ("node", "demo", "dev") for r in requirements(extra)]).values())
    except PackageNotFoundError as error:
        raise AssertionError(f"an extra is not installed whole: {error}") from error
