"""The wheels of a release: all that `pip install --no-index banksman[node]` needs on a node, for another processor."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
"""A release is built from the sources, which also say what is pinned."""

_PARTS: Mapping[str, Sequence[str]] = {
    "edge": (),
    "deploy": (),
    "broker": ("dispatch",),
    "models": ("checkpoints", "data", "eval", "results", "*-int8"),
}
"""Packages in a node's own wheel, and what of them only the server or whoever trains has a use for."""

_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)


class WheelError(Exception):
    """No release can be made of this; the text says which package is to blame, or what is missing."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a release runs on: a Python, and a system whose C library is at least glibc 2.`glibc`.

    Wheels for an older glibc (PEP 600) run there, too. system: of Raspberry Pi OS, as its images are named.
    """

    system: str
    python: str
    glibc: int

    @property
    def abi(self) -> str:
        return f"cp{self.python.replace('.', '')}"

    @property
    def platforms(self) -> list[str]:
        """Newest first; PEP 600 begins with glibc 2.17, for which PEP 599 had another name."""
        return [*(f"manylinux_2_{minor}_aarch64" for minor in range(self.glibc, 16, -1)), "manylinux2014_aarch64"]


TARGETS: Mapping[str, Target] = {
    "aarch64-cp313": Target("trixie", "3.13", 40),  # which has glibc 2.41; uv knows platforms up to 2.40
    "aarch64-cp311": Target("bookworm", "3.11", 36),
}
CURRENT = "aarch64-cp313"


def target_of(image: str) -> str:
    """What a release for an official image has as its target, by the image's file name: the older system is there only
    where it says so."""
    return next((name for name, target in TARGETS.items() if target.system in image.lower()), CURRENT)


def fetch(folder: Path, target: str, checkout: Path = CHECKOUT) -> list[Path]:
    """Put the wheels of `banksman[node]` for a target into an empty or new folder; their paths, sorted.

    Versions are those of requirements.txt, checked against the hashes that the registry gave when they were resolved.
    Takes wheels only: a node has no compiler. Raises WheelError.
    """
    if target not in TARGETS:
        raise WheelError(f"target {target!r}: unknown; choose {', '.join(TARGETS)}")
    if not (checkout / "requirements.txt").is_file():
        raise WheelError(
            f"{checkout}: no requirements.txt; a release is built from a checkout: pip install -c requirements.txt "
            "-e '.[release]' there, with -e"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise WheelError(f"{folder}: is not empty; wheels of an older release would get into this one")
    with tempfile.TemporaryDirectory(prefix="banksman-wheels-") as work:
        lock = Path(work) / "lock.txt"
        lock.write_text(resolve(TARGETS[target], checkout), encoding="utf-8")
        _download(lock, folder, TARGETS[target])
        _build(checkout, Path(work) / "source", folder)
    return sorted(wheel.rename(wheel.with_name(_one_platform(wheel.name))) for wheel in [*folder.glob("*.whl")])


def resolve(target: Target, checkout: Path = CHECKOUT) -> str:
    """`banksman[node]` as requirements with hashes, for the target's markers. Raises WheelError.

    uv, not pip, which evaluates markers for the machine that it runs on, whatever its --platform.
    """
    pins = checkout / "requirements.txt"
    lock = _run(
        _uv(), "pip", "compile", str(checkout / "pyproject.toml"), "--extra=node", f"--constraints={pins}",
        f"--python={sys.executable}",  # else it looks for the target's Python here, for seconds
        f"--python-version={target.python}", f"--python-platform=aarch64-manylinux_2_{target.glibc}",
        "--only-binary=:all:", "--generate-hashes", "--no-header", "--no-annotate", "--quiet",
        told=f"no wheels of Python {target.python} on aarch64 for all that banksman[node] asks for",
    )  # fmt: skip
    pinned = {_normal(name) for name, _ in _PINNED.findall(pins.read_text(encoding="utf-8"))}
    loose = sorted(f"{name}=={version}" for name, version in _PINNED.findall(lock) if _normal(name) not in pinned)
    if loose:
        raise WheelError(f"not pinned in requirements.txt, so that no two releases would be alike: {', '.join(loose)}")
    return lock


def _download(lock: Path, folder: Path, target: Target) -> None:
    _run(
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", f"--dest={folder}",
        "--no-deps", "--require-hashes", "--only-binary=:all:", f"--python-version={target.python}",
        "--implementation=cp", *(f"--abi={abi}" for abi in (target.abi, "abi3", "none")),
        *(f"--platform={platform}" for platform in target.platforms), f"--requirement={lock}",
        told="the wheels cannot be downloaded",
    )  # fmt: skip


def _build(checkout: Path, source: Path, folder: Path) -> None:
    """Banksman's own wheel, of a copy: setuptools would leave its work in the checkout, and take up what lies there."""
    for name, foreign in _PARTS.items():
        shutil.copytree(checkout / name, source / name, ignore=shutil.ignore_patterns("__pycache__", *foreign))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(checkout / name, source / name)
    _run(
        _uv(), "build", "--quiet", "--wheel", f"--python={sys.executable}", f"--out-dir={folder}", str(source),
        told="Banksman cannot be built",
    )  # fmt: skip


def _one_platform(wheel: str) -> str:
    """A wheel's file name with one of the platforms that it fits: a plain tar takes names of at most 100 bytes."""
    rest, _, platforms = wheel.removesuffix(".whl").rpartition("-")
    return f"{rest}-{platforms.partition('.')[0]}.whl"


def _uv() -> str:
    try:
        import uv  # noqa: PLC0415 - an extra that only whoever builds releases has
    except ImportError as error:
        raise WheelError("uv is not there; in the checkout: pip install -c requirements.txt -e '.[release]'") from error
    return str(uv.find_uv_bin())


def _run(*command: str, told: str) -> str:
    """Its output. Raises WheelError with `told` and what the program says itself."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own arguments
    if done.returncode:
        raise WheelError(f"{told}: {_said(done.stderr.splitlines())}")
    return done.stdout


def _said(lines: Sequence[str]) -> str:
    return "\n".join(line for line in lines if line.strip() and not line.startswith("WARNING:"))[-2000:]


def _normal(name: str) -> str:
    """A package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
