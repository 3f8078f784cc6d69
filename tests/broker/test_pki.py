"""What the authority promises: who gets a certificate, for what, how long, and what is never overwritten."""

from __future__ import annotations

import datetime as dt
import ssl
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from broker.messages import NodeTopics
from broker.pki import certificates as certs
from broker.pki import names
from broker.pki.authority import MAX_DAYS, Handed, Pki, Reason, State
from broker.pki.check import AHEAD_S, DAY_S, Expiring, expiring, problems
from broker.pki.names import Kind, PkiError, Subject

NOW = 1_800_000_000.0
NODE, OTHER = names.node("north-yard/gate-03"), names.node("north-yard/gate-04")
SERVER = names.server("broker.local", "192.168.1.5")


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki.create(tmp_path / "pki", "Test", certs.PRIVATE, NOW)


def read(handed: Handed) -> x509.Certificate:
    return x509.load_pem_x509_certificate(handed.cert.read_bytes())


def states(pki: Pki, now: float = NOW) -> list[State]:
    return [entry.state for entry in pki.entries(now)]


# -- names -------------------------------------------------------------------------------------------------------------

BAD_NODES = ["", "gate-03", "/", "north-yard/", "/gate-03", "+/+", "#", "north-yard/#", "north-yard/+", "../..",
             "north-yard/..", "north-yard/-", "-/dispatch", "north-yard/gate-03/x", "North/gate", "north yard/gate",
             "north-yard/gate-03\n", "north-yard/gate\x00", "north-yard/" + "g" * 33, "北/门", "north-yard/%u",
             "$SYS/broker", f"{'s' * 32}/{'n' * 32}"]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NODES)
def test_no_node_has_a_name_that_no_topic_may_hold(name: str) -> None:
    with pytest.raises(PkiError):
        names.node(name)


@given(st.text(max_size=70))
def test_whatever_is_a_node_is_one_site_and_one_node_of_a_topic(name: str) -> None:
    try:
        subject = names.node(name)
    except PkiError:
        return
    site, node = subject.name.split("/")
    assert NodeTopics(site, node).base == f"banksman/1/{name}"


@pytest.mark.parametrize("name", ["", "-", "a/b", "+", "#", "Dispatch", "d" * 33, "dispatch\n"])
def test_no_service_has_a_name_with_a_meaning_of_its_own(name: str) -> None:
    with pytest.raises(PkiError):
        names.service(name)


BAD_HOSTS = ["", "*", "*.local", "BROKER.local", "a..local", "-a.local", "a-.local", "a_b.local", "1.2.3", "host:8883",
             "a" * 64 + ".local", "broker.local\n", "192.168.1.0/24"]  # fmt: skip


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_no_server_is_called_by_a_pattern_or_by_what_is_no_name(host: str) -> None:
    with pytest.raises(PkiError):
        names.server(host)


@pytest.mark.parametrize("host", ["www.example.com", "8.8.8.8", "evil-local", "locals", "2001:db8::1"])
def test_an_authority_signs_for_private_names_and_networks_only(pki: Pki, host: str) -> None:
    with pytest.raises(PkiError, match="--permit"):
        pki.issue(names.server(host), NOW)
    assert states(pki) == []


def test_what_was_permitted_when_it_was_made_it_may_sign_for_also_after_a_rotation(tmp_path: Path) -> None:
    pki = Pki.create(tmp_path / "pki", "Test", ("example.com",), NOW)
    for _ in range(2):
        pki.issue(names.server("broker.example.com"), NOW, replace=True)
        with pytest.raises(PkiError):
            pki.issue(names.server("broker.local"), NOW)
        pki.rotate(NOW)


@pytest.mark.parametrize("hosts", [("127.0.0.1",), ("::1",), ("127.0.0.1", "localhost"), ("localhost",)])
def test_a_server_is_believed_under_each_of_its_names_by_openssl(tmp_path: Path, hosts: tuple[str, ...]) -> None:
    pki = Pki.create(tmp_path / "pki", "Test", certs.PRIVATE, time.time())  # OpenSSL has a clock of its own
    made = pki.issue(names.server(*hosts), time.time())
    assert made.key is not None
    serves = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serves.load_cert_chain(made.cert, made.key)
    asks = ssl.create_default_context(cafile=pki.ca_file)
    for host in hosts:
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = serves.wrap_bio(up, down, server_side=True)
        client = asks.wrap_bio(down, up, server_hostname=host)
        for end in (client, server):
            with pytest.raises(ssl.SSLWantReadError):
                end.do_handshake()
        client.do_handshake()  # raises where it does not believe it


# -- what is in them ---------------------------------------------------------------------------------------------------


def test_a_certificate_says_who_for_what_and_how_long(pki: Pki) -> None:
    cert = read(pki.issue(NODE, NOW, days=90))
    assert certs.common_name(cert) == "north-yard/gate-03"
    assert cert.not_valid_after_utc.timestamp() == NOW + 90 * DAY_S
    assert cert.not_valid_before_utc.timestamp() == NOW - DAY_S
    key = cert.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"


@pytest.mark.parametrize("subject", [NODE, names.service("dispatch"), SERVER], ids=lambda s: s.kind)
def test_a_certificate_gives_back_whom_it_was_issued_to(pki: Pki, subject: Subject) -> None:
    assert certs.subject_of(read(pki.issue(subject, NOW))) == subject


def handshake(server: Handed, client: Handed, ca: Path, host: str) -> str:
    """TLS 1.3 in memory, certificates on both sides; what went wrong, or an empty string."""
    ends = {
        True: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        False: ssl.create_default_context(cafile=ca),
    }
    ends[True].verify_mode = ssl.CERT_REQUIRED
    ends[True].load_verify_locations(ca)
    pipes = {True: ssl.MemoryBIO(), False: ssl.MemoryBIO()}
    for is_server, handed in ((True, server), (False, client)):
        assert handed.key is not None
        ends[is_server].load_cert_chain(handed.cert, handed.key)
    talks = {
        False: ends[False].wrap_bio(pipes[False], pipes[True], server_hostname=host),
        True: ends[True].wrap_bio(pipes[True], pipes[False], server_side=True),
    }
    for _ in range(4):
        for talk in talks.values():
            try:
                talk.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                return str(error)
    return ""


def test_a_node_is_no_server_and_a_server_is_no_client(tmp_path: Path) -> None:
    now = dt.datetime.now(dt.UTC).timestamp()
    pki = Pki.create(tmp_path / "pki", "Test", certs.PRIVATE, now)
    server, node = pki.issue(SERVER, now), pki.issue(NODE, now)
    assert handshake(server, node, pki.ca_file, "broker.local") == ""
    assert handshake(server, node, pki.ca_file, "192.168.1.5") == ""
    assert "mismatch" in handshake(server, node, pki.ca_file, "other.local")
    assert "purpose" in handshake(node, node, pki.ca_file, "broker.local")
    assert "verify failed" in handshake(server, server, pki.ca_file, "broker.local")


def test_who_steals_the_authority_cannot_play_the_rest_of_the_world(tmp_path: Path) -> None:
    """The constraint stands in the authority's certificate, so that each client checks it by itself."""
    now = dt.datetime.now(dt.UTC)
    pki = Pki.create(tmp_path / "pki", "Test", certs.PRIVATE, now.timestamp())
    key = serialization.load_pem_private_key((pki.folder / "authorities/1.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    mine = certs.new_key()
    forged = certs.issue(
        certs.Signer(pki.authorities()[0].cert, key),
        names.server("www.example.com"),
        mine.public_key(),
        now=now,
        days=1,
        serial=1,
    )
    cert, key_file = tmp_path / "forged.pem", tmp_path / "forged.key"
    cert.write_bytes(certs.pem(forged))
    key_file.write_bytes(certs.key_pem(mine))
    said = handshake(Handed(cert, key_file, 0), pki.issue(NODE, now.timestamp()), pki.ca_file, "www.example.com")
    assert "permitted subtree violation" in said


@pytest.mark.parametrize("days", [0, -1, MAX_DAYS + 1])
def test_no_certificate_is_good_for_ever(pki: Pki, days: int) -> None:
    with pytest.raises(PkiError, match="days"):
        pki.issue(NODE, NOW, days=days)


def test_no_certificate_outlives_its_authority(pki: Pki) -> None:
    ends = pki.authorities()[0].not_after
    assert pki.issue(NODE, ends - 10 * DAY_S).not_after == ends
    with pytest.raises(PkiError, match="rotate"):
        pki.issue(OTHER, ends)


# -- requests that come from outside -----------------------------------------------------------------------------------

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def request(name: str, key: Key | None = None) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    asked_for = x509.BasicConstraints(ca=True, path_length=None)
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(asked_for, critical=True)
    return builder.sign(key or certs.new_key(), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_a_node_brings_its_own_key_and_gets_nothing_else_that_it_asks_for(pki: Pki) -> None:
    key = certs.new_key()
    handed = pki.issue(NODE, NOW, csr=request(NODE.name, key))
    cert = read(handed)
    assert cert.public_key() == key.public_key()
    assert not cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert handed.key is None
    assert not list(pki.folder.glob("nodes/**/*.key"))


def test_a_request_in_the_place_of_a_key_leaves_no_old_key_behind(pki: Pki) -> None:
    pki.issue(NODE, NOW)
    assert pki.issue(NODE, NOW, csr=request(NODE.name), replace=True).key is None


def broken_signature() -> bytes:
    der = bytearray(x509.load_pem_x509_csr(request(NODE.name)).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    return ssl.DER_cert_to_PEM_cert(bytes(der)).replace("CERTIFICATE", "CERTIFICATE REQUEST").encode()


BAD_REQUESTS: dict[str, Callable[[], bytes]] = {
    "for somebody else": lambda: request(OTHER.name),
    "for nobody": lambda: request(""),
    "RSA": lambda: request(NODE.name, rsa.generate_private_key(65537, 2048)),
    "a weak curve": lambda: request(NODE.name, ec.generate_private_key(ec.SECP224R1())),
    "not signed by its key": broken_signature,
    "not a request": lambda: b"hello",
    "empty": lambda: b"",
    "huge": lambda: request(NODE.name) + b"#" * 20_000,
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_a_bad_request_gets_nothing(pki: Pki, case: str) -> None:
    with pytest.raises(PkiError):
        pki.issue(NODE, NOW, csr=BAD_REQUESTS[case]())
    assert states(pki) == []


# -- the life of a certificate -----------------------------------------------------------------------------------------


def test_nothing_is_overwritten_unasked(pki: Pki) -> None:
    handed = pki.issue(NODE, NOW)
    before = handed.cert.read_bytes()
    with pytest.raises(PkiError, match="--replace"):
        pki.issue(NODE, NOW)
    with pytest.raises(PkiError, match="not empty"):
        Pki.create(pki.folder, "Test", certs.PRIVATE, NOW)
    assert handed.cert.read_bytes() == before
    assert states(pki) == [State.VALID]


def test_a_replaced_box_is_shut_out(pki: Pki) -> None:
    first = read(pki.issue(NODE, NOW))
    second = read(pki.issue(NODE, NOW, replace=True))
    assert first.public_key() != second.public_key()
    assert {e.serial: e.state for e in pki.entries(NOW)} == {
        first.serial_number: State.REVOKED,
        second.serial_number: State.VALID,
    }


def test_a_renewed_certificate_has_the_old_key_and_both_are_good(pki: Pki) -> None:
    first, later = pki.issue(NODE, NOW, days=10), NOW + 5 * DAY_S
    assert first.key is not None
    key, public = first.key.read_bytes(), read(first).public_key()
    second = pki.renew(NODE, later, days=10)
    assert second.not_after == later + 10 * DAY_S
    assert first.key.read_bytes() == key
    assert read(second).public_key() == public
    assert states(pki, later) == [State.VALID, State.VALID]
    assert states(pki, NOW + 11 * DAY_S) == [State.EXPIRED, State.VALID]


def test_an_expired_certificate_can_be_renewed_a_revoked_one_cannot(pki: Pki) -> None:
    pki.issue(NODE, NOW, days=1)
    pki.renew(NODE, NOW + 9 * DAY_S)
    pki.revoke(NODE, Reason.KEY_COMPROMISE, NOW)
    with pytest.raises(PkiError, match="issue"):
        pki.renew(NODE, NOW)
    pki.issue(NODE, NOW)


def test_what_is_revoked_stands_in_the_list_for_good_and_its_key_is_gone(pki: Pki) -> None:
    handed, other = pki.issue(NODE, NOW), pki.issue(OTHER, NOW)
    (gone,) = pki.revoke(NODE, Reason.KEY_COMPROMISE, NOW)
    pki.revoke(OTHER, Reason.CESSATION, NOW + 5)
    crl = x509.load_pem_x509_crl(pki.crl_file.read_bytes())
    assert {entry.serial_number for entry in crl} == {e.serial for e in pki.entries(NOW)}
    entry = crl.get_revoked_certificate_by_serial_number(gone.serial)
    assert entry is not None
    assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason is x509.ReasonFlags.key_compromise
    assert entry.revocation_date_utc.timestamp() == NOW
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 3
    assert handed.key is not None
    assert other.key is not None
    assert not any(path.exists() for path in (handed.cert, handed.key, other.cert, other.key))
    with pytest.raises(PkiError, match="no certificate"):
        pki.revoke(NODE, Reason.CESSATION, NOW)


def test_one_certificate_can_be_revoked_by_its_number(pki: Pki) -> None:
    first, second = read(pki.issue(NODE, NOW)), read(pki.renew(NODE, NOW))
    pki.revoke(first.serial_number, Reason.SUPERSEDED, NOW)
    assert {e.serial: e.state for e in pki.entries(NOW)}[second.serial_number] is State.VALID
    assert pki.files_of(NODE)[1].exists()


def test_a_list_is_good_as_long_as_its_authority(pki: Pki) -> None:
    """A list that ran out would shut out every node."""
    crl = x509.load_pem_x509_crl(pki.crl_file.read_bytes())
    assert crl.next_update_utc is not None
    assert crl.next_update_utc.timestamp() == pki.authorities()[0].not_after


def test_both_authorities_are_trusted_until_the_old_one_is_retired(pki: Pki) -> None:
    pki.issue(NODE, NOW)
    pki.issue(OTHER, NOW)
    assert pki.rotate(NOW).number == 2
    assert pki.ca_file.read_bytes().count(b"BEGIN CERTIFICATE") == 2
    assert pki.crl_file.read_bytes().count(b"BEGIN X509 CRL") == 2
    with pytest.raises(PkiError, match="gate-03, node north-yard/gate-04"):
        pki.retire(1, NOW)
    pki.renew(NODE, NOW)
    pki.revoke(OTHER, Reason.CESSATION, NOW)
    pki.retire(1, NOW)
    assert [a.number for a in pki.authorities()] == [2]
    assert not (pki.folder / "authorities/1.key").exists()
    assert sorted(states(pki)) == [State.UNTRUSTED, State.UNTRUSTED, State.VALID]
    assert list(problems(pki.folder, NOW)) == []
    with pytest.raises(PkiError, match="old one"):
        pki.retire(2, NOW)


# -- keys and files ----------------------------------------------------------------------------------------------------


def test_keys_are_for_their_owner_only(pki: Pki) -> None:
    for subject in (NODE, SERVER, names.service("dispatch")):
        pki.issue(subject, NOW)
    pki.rotate(NOW)
    keys = list(pki.folder.rglob("*.key"))
    assert len(keys) == 5
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    assert stat.S_IMODE(pki.folder.stat().st_mode) == 0o700
    assert not [path for path in pki.folder.rglob("*") if path.name.startswith(".") and path.name != ".lock"]


def test_a_folder_that_is_none_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(PkiError, match="pki init"):
        Pki(tmp_path)


@pytest.mark.parametrize("file", ["authorities/1.pem", "authorities/1.crl"])
def test_a_broken_file_is_named(pki: Pki, file: str) -> None:
    (pki.folder / file).write_text("hello")
    with pytest.raises(PkiError, match=file):
        pki.issue(NODE, NOW)


# -- what ends ---------------------------------------------------------------------------------------------------------


def test_what_ends_within_thirty_days_is_named_soonest_first(pki: Pki) -> None:
    pki.issue(NODE, NOW, days=40)
    pki.issue(OTHER, NOW, days=35)
    pki.issue(SERVER, NOW, days=90)
    assert expiring(pki.folder, NOW + 5 * DAY_S) == []
    assert expiring(pki.folder, NOW + 5 * DAY_S + 1) == [Expiring("node", OTHER.name, NOW + 35 * DAY_S)]
    assert [e.name for e in expiring(pki.folder, NOW + 50 * DAY_S)] == [OTHER.name, NODE.name]
    assert [e.name for e in expiring(pki.folder, NOW, 100 * DAY_S)] == [OTHER.name, NODE.name, "broker.local"]


def test_who_was_renewed_or_revoked_is_not_named(pki: Pki) -> None:
    for subject in (NODE, OTHER):
        pki.issue(subject, NOW, days=20)
    assert len(expiring(pki.folder, NOW)) == 2
    pki.renew(NODE, NOW, days=60)
    pki.revoke(OTHER, Reason.CESSATION, NOW)
    assert expiring(pki.folder, NOW) == []


def test_an_authority_is_named_a_certificates_life_ahead(pki: Pki) -> None:
    ends = pki.authorities()[0].not_after
    assert expiring(pki.folder, ends - 398 * DAY_S - AHEAD_S) == []
    assert [e.kind for e in expiring(pki.folder, ends - 398 * DAY_S - AHEAD_S + 1)] == ["authority"]
    pki.rotate(ends - 398 * DAY_S)
    assert expiring(pki.folder, ends - 398 * DAY_S) == []


def spoil_mode(pki: Pki) -> None:
    pki.files_of(NODE)[1].chmod(0o644)


def spoil_key(pki: Pki) -> None:
    pki.files_of(NODE)[1].write_bytes(certs.key_pem(certs.new_key()))


def spoil_cert(pki: Pki) -> None:
    pki.files_of(NODE)[0].unlink()


def spoil_bundle(pki: Pki) -> None:
    pki.ca_file.write_text("")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [(spoil_mode, "chmod 600"), (spoil_key, "key of something else"), (spoil_cert, "newest"), (spoil_bundle, "ca.pem")],
)
def test_what_is_wrong_with_the_files_is_said(pki: Pki, spoil: Callable[[Pki], None], says: str) -> None:
    pki.issue(NODE, NOW)
    assert list(problems(pki.folder, NOW)) == []
    spoil(pki)
    (line,) = problems(pki.folder, NOW)
    assert says in line


def test_the_newest_of_many_that_were_issued_in_the_same_second_is_known(pki: Pki) -> None:
    pki.issue(NODE, NOW)
    for days in range(50, 30, -1):
        handed = pki.renew(NODE, NOW, days=days)
        assert [entry.serial for entry in pki.current(NOW)] == [read(handed).serial_number]


def test_kinds_do_not_get_into_each_others_way(pki: Pki) -> None:
    pki.issue(names.service("dispatch"), NOW)
    pki.issue(names.server("dispatch.local"), NOW)
    pki.issue(names.node("dispatch/local"), NOW)
    assert {e.subject.kind for e in pki.current(NOW)} == set(Kind)
