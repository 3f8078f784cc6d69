"""`banksman pki` and `banksman broker`, as an administrator uses them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from typer.testing import CliRunner

from broker.embedded import free_port
from broker.pki import certificates as certs
from deploy.pki import app

BANKSMAN = Path(sys.executable).with_name("banksman")


def banksman(*words: str | Path, code: int = 0) -> str:
    """What it says. code: how it must end."""
    done = subprocess.run([BANKSMAN, *map(str, words)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("admin") / "pki"
    banksman("pki", "init", folder, "--name", "Works", "--permit", "works.example")
    return folder


def test_from_nothing_to_a_checked_broker_and_a_node(pki: Path, tmp_path: Path) -> None:
    broker = tmp_path / "broker"
    said = banksman("broker", "init", broker, "--pki", pki, "--host", "broker.works.example", "--host", "127.0.0.1",
                    "--siren", "north-yard", "--port", str(free_port()), "--workers", "3")  # fmt: skip
    for name in ("dispatch", "dispatch-2", "dispatch-3"):
        assert f"services/{name}.pem" in said
        assert (
            f"user -/{name}\ntopic read banksman/1/#\ntopic write banksman/1/+/+/ack\n" in (broker / "acl").read_text()
        )
    assert banksman("broker", "check", broker) == ""
    assert banksman("broker", "update", broker, "--pki", pki) == "nothing has changed\n"

    key, request = certs.new_key(), tmp_path / "node.csr"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "north-yard/gate-03")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    request.write_bytes(csr.public_bytes(serialization.Encoding.PEM))
    said = banksman("pki", "issue", pki, "node", "north-yard/gate-03", "--csr", request, "--days", "60")
    assert "secret" not in said  # no key was made here
    assert banksman("pki", "check", pki) == ""
    assert "node north-yard/gate-03: ends on" in banksman("pki", "check", pki, "--days", "61", code=1)

    assert "revoked" in banksman("pki", "revoke", pki, "node", "north-yard/gate-03")
    assert "reload the broker" in banksman("broker", "update", broker, "--pki", pki)
    listed = banksman("pki", "list", pki)
    assert "authority 1" in listed
    assert [line for line in listed.splitlines() if line.startswith("revoked") and "gate-03" in line]


BAD = [
    (("issue", "node", "+/+"), "site '+' does not match"),
    (("issue", "node", "a/b", "c/d"), "one node at a time"),
    (("issue", "service", "a/b"), "service 'a/b'"),
    (("issue", "server", "*.works.example"), "neither a host name"),
    (("issue", "server", "elsewhere.example"), "signs for"),
    (("issue", "node", "a/b", "--csr", "/nowhere"), "No such file"),
    (("issue", "node", "a/b", "--days", "10000"), "--days"),
    (("issue", "person", "a"), "person"),
    (("renew", "node", "a/b"), "no certificate that could be renewed"),
    (("revoke", "node", "a/b"), "no certificate that could be revoked"),
    (("retire", "1"), "must be an old one"),
    (("init", "--permit", "10.0.0.0/99"), "--permit 10.0.0.0/99"),
    (("init",), "never overwritten"),
]


@pytest.mark.parametrize(("words", "says"), BAD, ids=lambda v: " ".join(v) if isinstance(v, tuple) else "")
def test_bad_input_gets_one_clear_line(pki: Path, words: tuple[str, ...], says: str) -> None:
    command, *rest = words
    done = CliRunner().invoke(app, [command, str(pki), *rest])
    assert (done.exit_code, says in done.output) == (2, True), done.output


def test_a_folder_without_settings_says_what_to_do(tmp_path: Path) -> None:
    assert "banksman broker init" in banksman("broker", "check", tmp_path, code=2)
