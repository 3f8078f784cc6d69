"""`banksman release keygen|build|sign|verify`, as the administrator types them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deploy.release import cli
from deploy.release.build import app
from edge.update import guard
from tests.conftest import REPO
from tests.detect.shipped import SHIPPED
from tests.update.builders import tiny_wheel


def banksman(*words: str | Path, typed: str = "") -> Result:
    return CliRunner().invoke(cli.app, [str(word) for word in words], input=typed)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    assert banksman("keygen", tmp_path / "keys", typed="secret\nsecret\n").exit_code == 0
    return tmp_path / "keys"


def test_from_wheels_to_a_release_that_a_node_takes(tmp_path: Path, keys: Path) -> None:
    wheels = tiny_wheel(tmp_path / "wheels", "0.4.0").parent
    built = banksman("build", tmp_path, "--wheels", wheels, "--target", guard.machine(), "--sequence", "17")
    unsigned = tmp_path / f"banksman-0.4.0-{guard.machine()}.unsigned.tar"
    assert (built.exit_code, unsigned.is_file()) == (0, True), built.output
    release = tmp_path / f"banksman-0.4.0-{guard.machine()}.tar"

    wrong = banksman("sign", unsigned, "--key", keys / "release.key", typed="wrong\n")
    assert (wrong.exit_code, "wrong password" in wrong.output, release.exists()) == (2, True, False), wrong.output
    signed = banksman("sign", unsigned, "--key", keys / "release.key", typed="secret\n")
    assert (signed.exit_code, release.is_file()) == (0, True), signed.output

    verified = banksman("verify", release, "--key", keys / "release.pub")
    assert verified.output == f"banksman 0.4.0, sequence 17, for {guard.machine()}: good\n"
    assert banksman("verify", unsigned, "--key", keys / "release.pub").exit_code == 2


def test_a_release_of_the_program_brings_guard_and_units(tmp_path: Path) -> None:
    """Below `units/` as they lie on a node below /etc."""
    files = app(tiny_wheel(tmp_path, "0.4.0").parent, "any").files
    units = {Path(path).name for path in files if path.startswith("units/systemd/system/")}
    assert {"guard.py", "wheels/banksman-0.4.0-py3-none-any.whl"} <= set(files)
    assert {"banksman-node.service", "banksman-update.path", "banksman-update.service"} <= units


def test_a_release_of_the_shipped_detector(tmp_path: Path) -> None:
    """Its sequence is the time, where none is given: what is made later is newer."""
    built = banksman("build", tmp_path, "--model", SHIPPED)
    (release,) = tmp_path.glob(f"{SHIPPED.name}-*-any.unsigned.tar")
    with release.open("rb") as file:
        listed, _ = guard.unsigned_head(file)
    assert (built.exit_code, listed.kind, listed.name) == (0, "model", SHIPPED.name), built.output
    assert {file.path for file in listed.files} == {path.name for path in SHIPPED.iterdir() if path.is_file()}
    assert 2026_01_01_00_00 < listed.sequence < 2126_01_01_00_00


def test_keys_are_made_once_and_the_secret_one_is_not_for_others(keys: Path) -> None:
    assert (keys / "release.key").stat().st_mode & 0o777 == 0o600
    before = (keys / "release.key").read_bytes()
    assert b"ENCRYPTED" in before
    again = banksman("keygen", keys, typed="\n\n")
    assert (again.exit_code, "is there already" in again.output) == (2, True)
    assert (keys / "release.key").read_bytes() == before


def test_what_was_changed_before_it_was_signed_is_not_signed(tmp_path: Path, keys: Path) -> None:
    banksman("build", tmp_path, "--model", SHIPPED)
    (unsigned,) = tmp_path.glob("*.unsigned.tar")
    data = bytearray(unsigned.read_bytes())
    data[len(data) // 2] ^= 1
    unsigned.write_bytes(data)
    signed = banksman("sign", unsigned, "--key", keys / "release.key", typed="secret\n")
    assert (signed.exit_code, "changed_file" in signed.output) == (2, True), signed.output
    assert list(tmp_path.glob("*.tar")) == [unsigned], "nothing half-signed is left"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: ["build", folder, "--wheels", folder], "one wheel of banksman must be there, not 0"),
        (lambda folder: ["build", folder, "--model", folder], "no model folder with a manifest.json"),
        (lambda folder: ["build", folder, "--target", "vax"], "unknown; choose aarch64-cp313"),
        (lambda folder: ["sign", folder / "release.tar"], "not what `banksman release build` makes"),
        (lambda folder: ["verify", folder / "release.tar"], "No such file"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, make: object, words: str) -> None:
    assert callable(make)
    done = banksman(*make(tmp_path), typed="\n")
    assert (done.exit_code, words in done.output) == (2, True), done.output


def test_units_of_updates_are_good_and_hardened() -> None:
    """`tests/service` holds the tools; here is what the two of updates promise each other and the guard."""
    units = REPO / "deploy/systemd/etc/systemd/system"
    path, service = ((units / f"banksman-update.{kind}").read_text() for kind in ("path", "service"))
    ready = "/var/lib/banksman/update/ready.tar"
    assert f"PathExists={ready}\n" in path
    assert f"guard.py install {ready} /etc/banksman/release.pub /opt/banksman\n" in service
    assert service.count(ready) == 2, "what is dealt with is removed, else it is dealt with for ever"
    assert str(guard.VAR) == "/var/lib/banksman/update"
    assert shutil.which("openssl"), "the guard's only other program"
