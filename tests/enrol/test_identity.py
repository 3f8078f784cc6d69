"""The node's key and certificate, as openssl makes and compares them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from broker.pki import certificates, names
from broker.pki.authority import Pki
from broker.pki.certificates import PRIVATE
from edge.enrol import identity
from edge.enrol.error import EnrolError
from tests.enrol.builders import NAME

DAY_S = 86_400.0


@dataclass
class Files:
    key: bytes
    certificate: bytes
    ca: bytes

    def check(self, **other: bytes) -> None:
        given = {"key": self.key, "certificate": self.certificate, "ca": self.ca} | other
        identity.check(**given, name=NAME)


def made(folder: Path, name: str = NAME, at: float = 0.0) -> Files:
    """By an authority of its own, `at` seconds from now."""
    pki = Pki.create(folder, "Test", PRIVATE, time.time() + at)
    key = identity.new_key()
    cert = pki.enrol(names.node(name), identity.request(key, name).encode(), time.time() + at)
    return Files(key, certificates.pem(cert), pki.ca_file.read_bytes())


def test_a_key_is_p256_and_its_request_is_what_the_authority_takes() -> None:
    key = serialization.load_pem_private_key(identity.new_key(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert identity.new_key() != identity.new_key()
    pem = identity.new_key()
    public = certificates.read_csr(identity.request(pem, NAME).encode(), names.node(NAME))
    loaded = serialization.load_pem_private_key(pem, None)
    assert public == loaded.public_key()


@pytest.mark.parametrize("days", [0, 400, -500])
def test_what_belongs_together_does_whatever_the_clock_says(tmp_path: Path, days: int) -> None:
    made(tmp_path / "pki", at=days * DAY_S).check()


def test_an_authority_among_others_is_enough(tmp_path: Path) -> None:
    files, other = made(tmp_path / "a"), made(tmp_path / "b")
    files.check(ca=other.ca + files.ca)


def locked(key: bytes) -> bytes:
    return serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word")
    )


def test_what_does_not_belong_together_is_told(tmp_path: Path) -> None:
    files, other, elsewhere = made(tmp_path / "a"), made(tmp_path / "b"), made(tmp_path / "c", "north-yard/gate-04")
    for given, told in (
        ({"key": other.key}, "identity.key"),
        ({"ca": other.ca}, "identity.ca"),
        ({"ca": b"hello"}, "identity.ca"),
        ({"certificate": elsewhere.certificate}, "identity.name"),
        ({"certificate": b"hello"}, "identity.no_pem"),
        ({"key": b"hello"}, "identity.no_pem"),
        ({"key": locked(files.key)}, "identity.no_pem"),
    ):
        with pytest.raises(EnrolError) as error:
            files.check(**given)
        assert error.value.key == told, given
        assert not error.value.later


def test_without_openssl_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnrolError, match=r"identity\.openssl"):
        identity.new_key()
