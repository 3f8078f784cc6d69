"""Certificates and keys: each way of being wrong has its name."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from edge.doctor.certificate import examine_certificates, examine_pair, read_pem
from edge.site.model import SiteFile
from tests.doctor.builders import NAME
from tests.servers import Authority

KEY = ec.generate_private_key(ec.SECP256R1())


class Files(NamedTuple):
    cert: Path
    key: Path


def issued(authority: Authority, name: str = NAME, **more: object) -> Files:
    made = authority.issue(name, **more)  # type: ignore[arg-type]
    return Files(made.cert, made.key)


def rewritten(files: Files, *, cert: bytes | None = None, key: bytes | None = None, mode: int = 0o600) -> Files:
    if cert is not None:
        files.cert.write_bytes(cert)
    if key is not None:
        files.key.write_bytes(key)
    files.key.chmod(mode)
    return files


def gone(files: Files, which: str) -> Files:
    getattr(files, which).unlink()
    return files


CASES: dict[str, tuple[Callable[[Authority], Files], list[str]]] = {
    "in order": (lambda a: issued(a, days=(-1, 90)), ["ok"]),
    "ends next week": (lambda a: issued(a, days=(-1, 7)), ["ends_soon"]),
    "ended": (lambda a: issued(a, days=(-9, -2)), ["expired"]),
    "of tomorrow": (lambda a: issued(a, days=(1, 90)), ["not_yet"]),
    "another node's": (lambda a: issued(a, "north-yard/gate-04", days=(-1, 90)), ["other_name"]),
    "another's key": (lambda a: Files(issued(a, days=(-1, 90)).cert, issued(a).key), ["mismatch"]),
    "locked key": (lambda a: issued(a, days=(-1, 90), password=b"word"), ["locked"]),
    "key is text": (lambda a: rewritten(issued(a, days=(-1, 90)), key=b"hello"), ["bad_key"]),
    "no key": (lambda a: gone(issued(a, days=(-1, 90)), "key"), ["bad_key"]),
    "key for all to read": (lambda a: rewritten(issued(a, days=(-1, 90)), mode=0o644), ["ok", "open_key"]),
    "no certificate": (lambda a: gone(issued(a), "cert"), ["missing"]),
    "certificate is text": (lambda a: rewritten(issued(a), cert=b"hello"), ["no_pem"]),
    "certificate is empty": (lambda a: rewritten(issued(a), cert=b""), ["no_pem"]),
    "swapped": (lambda a: Files(*reversed(issued(a))), ["no_pem"]),
    "folder": (lambda a: Files(a.cert.parent, issued(a).key), ["unreadable"]),
    "chain whose CA ends first": (
        lambda a: (f := issued(a, days=(-1, 90)), rewritten(f, cert=f.cert.read_bytes() + a.cert.read_bytes()))[1],
        ["ends_soon"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_pair_of_files(authority: Authority, case: str) -> None:
    make, codes = CASES[case]
    cert, key = make(authority)
    assert [r.code for r in examine_pair(cert, key, time.time(), NAME)] == codes


def test_each_file_is_named_once(authority: Authority, tmp_path: Path) -> None:
    files = issued(authority, days=(-1, 90))
    same = {"ca": str(authority.cert), "cert": str(files.cert), "key": str(files.key)}
    page = authority.issue("page", host="127.0.0.1", days=(-1, 90))
    site = SiteFile.model_validate(
        {
            "site": {"id": "north-yard", "latitude": 39.91, "longitude": 116.4},
            "node": {"id": "gate-03"},
            "cameras": [{"id": "gate", "source": {"type": "usb"}}],
            "uplinks": {"mqtt": {"host": "broker", **same}, "evidence": {"url": "https://server", **same}},
            "page": {"tls_cert": str(page.cert), "tls_key": str(page.key)},
        }
    )
    results = list(examine_certificates(site, time.time()))
    # The test's CA holds for 30 days, so it ends first.
    assert [(r.about, r.code) for r in results] == [
        (str(authority.cert), "ends_soon"),
        (str(files.cert), "ok"),
        (str(page.cert), "ok"),
    ]


moments = st.datetimes(min_value=dt.datetime(1950, 1, 1), max_value=dt.datetime(9999, 12, 30)).map(  # noqa: DTZ001
    lambda t: t.replace(microsecond=0, tzinfo=dt.UTC)
)
names = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=16)  # at most 64 bytes


@given(names, names, moments, moments)
def test_name_and_dates_as_another_library_wrote_them(name: str, issuer: str, a: dt.datetime, b: dt.datetime) -> None:
    begins, ends = sorted((a, b))
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, issuer), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .sign(KEY, hashes.SHA256())
    )
    (read,) = read_pem(b"a line before\n" + made.public_bytes(serialization.Encoding.PEM))
    assert (read.name, read.begins, read.ends) == (name, begins.timestamp(), ends.timestamp())


@given(st.binary(max_size=200), st.integers(0, 300))
def test_damage_is_an_error_with_a_name(authority: Authority, noise: bytes, at: int) -> None:
    der = base64.b64decode(b"".join(authority.cert.read_bytes().split(b"\n")[1:-2]))
    damaged = base64.b64encode(der[:at] + noise + der[at + len(noise) :])
    with contextlib.suppress(ValueError):
        read_pem(b"-----BEGIN CERTIFICATE-----\n" + damaged + b"\n-----END CERTIFICATE-----\n")
