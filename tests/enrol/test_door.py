"""The boxes' door: what a token gets, once; and what nobody gets."""

from __future__ import annotations

import base64
import logging
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr
from sqlalchemy import Engine, select

from broker import files
from broker.dispatch.database import reading
from broker.dispatch.enrol.authorizations import Authorizations
from broker.dispatch.settings import Influx as InfluxSettings
from broker.dispatch.tables import Audit
from broker.dispatch.web.auth import MOST
from broker.dispatch.web.enrol import AT_ONCE
from broker.pki import certificates
from broker.pki.certificates import MAX_CSR_BYTES
from tests.enrol.builders import HOUR_S, NAME, NODE, SITE, Box, Place, code
from tests.enrol.influx2 import ADMIN, ORG, Influx2Stub
from tests.waiting import until

# -- what a token gets -------------------------------------------------------------------------------------------------


def test_a_box_gets_the_certificate_of_its_node_and_a_token_that_may_write_one_bucket(place: Place) -> None:
    assert place.stub is not None
    place.stub.buckets["another"] = "0c0c0c0c0c0c0c0c"
    box = Box()
    got = place.enrol(box)
    assert (got["site"], got["node"]) == (SITE, NODE)
    assert got["ca"] == place.pki.ca_file.read_text()
    cert = x509.load_pem_x509_certificate(got["certificate"].encode())
    assert box.owns(got["certificate"])
    assert certificates.common_name(cert) == NAME
    assert certificates.signed_by(cert, place.pki.authorities()[-1].cert)
    influx = got["influx"]
    assert {k: v for k, v in influx.items() if k != "token"} == {
        "url": "https://influx.local:8086", "org": ORG, "bucket": "banksman",
    }  # fmt: skip
    assert [place.stub.may_write(influx["token"], b) for b in ("banksman", "another")] == [True, False]
    (made,) = place.stub.authorizations.values()
    assert [p["action"] for p in made["permissions"]] == ["write"]


def test_with_a_bucket_a_site_a_token_may_write_that_of_its_site_alone(place: Place) -> None:
    stub = place.stub
    assert stub is not None
    stub.buckets = {SITE: "0c0c0c0c0c0c0c0c", "south-yard": "0d0d0d0d0d0d0d0d"}
    settings = InfluxSettings(url=stub.url, org=ORG, token=SecretStr("dispatchs-own"), bucket="{site}")
    with Authorizations(settings, ADMIN) as api:
        made = api.make(SITE, NODE, "mark")
        assert api.bucket(SITE) == SITE
    assert [stub.may_write(made.token, b) for b in (SITE, "south-yard")] == [True, False]


def test_without_influxdb_there_is_no_token_for_it(tmp_path: Path, both: Engine) -> None:
    with Place(tmp_path, both) as place:
        assert place.enrol(Box())["influx"] is None


def test_a_lost_answer_is_given_again_until_the_token_expires(place: Place) -> None:
    box, token = Box(), place.token()
    first = place.ask(token, box.csr()).json()
    place.clock.advance(71 * HOUR_S)
    assert place.ask(token, box.csr()).json() == first
    assert place.states() == ["valid"]
    assert place.stub is not None
    assert len(place.stub.authorizations) == 1
    place.clock.advance(HOUR_S)
    assert code(place.ask(token, box.csr())) == (410, "expired")


def test_what_was_kept_for_a_lost_answer_is_forgotten_when_the_token_expires(place: Place) -> None:
    place.enrol(Box())
    assert place.rows()[0].influx_token
    place.clock.advance(73 * HOUR_S)
    assert place.office.settle(place.clock.now()) == ()
    assert place.rows()[0].influx_token is None
    assert place.rows()[0].influx_id


# -- what nobody gets --------------------------------------------------------------------------------------------------


def test_another_box_gets_nothing_for_a_used_token(place: Place) -> None:
    box, token = Box(), place.token()
    assert place.ask(token, box.csr()).status_code == 200
    assert code(place.ask(token, Box().csr())) == (403, "used")
    assert place.states() == ["valid"]
    assert place.ask(token, box.csr()).status_code == 200


def test_an_unknown_token_gets_nothing(place: Place) -> None:
    token = place.token()
    for wrong in ("x" * 32, token[:-1], token + "A", token.swapcase()):
        assert code(place.ask(wrong, Box().csr())) == (403, "unknown_token"), wrong
    assert place.states() == []


def test_an_expired_token_gets_nothing(place: Place) -> None:
    token = place.token(hours=1)
    place.clock.advance(HOUR_S)
    assert code(place.ask(token, Box().csr())) == (410, "expired")
    assert place.states() == []


def forged() -> str:
    """Somebody else's key under a signature that is not theirs."""
    head, *lines, tail = Box().csr().strip().splitlines()
    der = bytearray(base64.b64decode("".join(lines)))
    der[-1] ^= 1
    return "\n".join([head, base64.encodebytes(bytes(der)).decode().strip(), tail, ""])


def odd_curve() -> str:
    """A key on a curve that nobody knows; found by the fuzz."""
    head, *lines, tail = Box().csr().strip().splitlines()
    der = base64.b64decode("".join(lines)).replace(
        b"\x2a\x86\x48\xce\x3d\x03\x01\x07", b"\x2a\x86\x48\xce\x3d\x03\x01\x7f"
    )
    return "\n".join([head, base64.encodebytes(der).decode().strip(), tail, ""])


@pytest.mark.parametrize(
    ("csr", "told"),
    [
        (lambda: Box().csr("north-yard/gate-04"), "for north-yard/gate-04, not for north-yard/gate-03"),
        (lambda: Box().csr("-/dispatch"), "for -/dispatch"),
        (lambda: Box(ec.SECP521R1()).csr(), "P-256 or P-384"),
        (lambda: "hello", "BEGIN CERTIFICATE REQUEST"),
        (lambda: "", "BEGIN CERTIFICATE REQUEST"),
        (forged, "signature does not match"),
        (odd_curve, "BEGIN CERTIFICATE REQUEST"),
    ],
)  # fmt: skip
def test_a_bad_request_gets_nothing_and_does_not_use_the_token_up(place: Place, csr: object, told: str) -> None:
    assert callable(csr)
    token = place.token()
    answer = place.ask(token, csr())
    assert code(answer) == (400, "bad_csr")
    assert told in answer.json()["message"]
    assert place.states() == []
    assert place.ask(token, Box().csr()).status_code == 200


def test_too_large_a_request_is_not_read(place: Place) -> None:
    assert code(place.ask(place.token(), "A" * (MAX_CSR_BYTES + 1))) == (400, "bad_request")
    with httpx.Client(verify=_context(place), trust_env=False) as client:
        answer = client.post(f"{place.url}/enrol", content=b"[" * 40_000, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"token": 1, "csr": ""}', b'{"token": "\\ud800", "csr": ""}', b"\xff"]
)
def test_what_is_no_request_is_said_to_be_none(place: Place, body: bytes) -> None:
    answer = place.client.post("/enrol", content=body, headers={"Content-Type": "application/json"})
    assert code(answer) == (400, "bad_request")


def test_one_address_asks_so_often_and_no_more(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MOST, "enrol", 10)
    answers = [place.ask("x" * 32, "") for _ in range(11)]
    assert {a.status_code for a in answers[:-1]} == {403}
    assert code(answers[-1]) == (429, "too_many")
    assert int(answers[-1].headers["Retry-After"]) > 0
    token = place.token()
    assert place.ask(token, Box().csr()).status_code == 429
    place.clock.advance(15 * 60)
    assert place.ask(token, Box().csr()).status_code == 200


def _context(place: Place) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(place.pki.ca_file))


def test_nothing_older_than_tls_1_3(place: Place) -> None:
    context = _context(place)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", place.server.port)) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_no_secret_is_logged_or_kept(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    box, token = Box(), place.token()
    got = place.ask(token, box.csr()).json()
    refused = [place.ask(token, Box().csr()), place.ask(token + "x", box.csr()), place.ask(token + "!", box.csr())]
    until(lambda: place.rows()[0].settled_at)
    assert place.stub is not None
    secrets = [token, got["influx"]["token"], "operator-token-of-the-test"]
    with reading(place.engine) as session:
        kept = [str(vars(row)) for row in (*place.rows(), *session.scalars(select(Audit)))]
    for secret in secrets:
        assert secret not in caplog.text
        assert not any(secret in row for row in kept)
        assert not any(secret in answer.text for answer in refused)
        assert secret.encode() not in (place.folder / "dispatch.db").read_bytes()
    assert [row.action for row in _audit(place)] == ["enrol_token", "enrol_use", "enrol_done"]


def _audit(place: Place) -> list[Audit]:
    with reading(place.engine) as session:
        return list(session.scalars(select(Audit).order_by(Audit.id)))


# -- at once -----------------------------------------------------------------------------------------------------------


def test_of_two_boxes_at_once_with_one_token_exactly_one_wins(tmp_path: Path, both: Engine) -> None:
    with Place(tmp_path, both) as place:
        for _ in range(5):
            boxes, token, gate = [Box() for _ in range(4)], place.token(), threading.Barrier(4)

            def ask(box: Box, token: str = token, gate: threading.Barrier = gate) -> httpx.Response:
                with httpx.Client(verify=_context(place), trust_env=False, timeout=20) as client:
                    body = {"token": token, "csr": box.csr()}
                    client.get(f"{place.url}/")  # the connection stands
                    gate.wait()
                    return client.post(f"{place.url}/enrol", json=body)

            with ThreadPoolExecutor(4) as threads:
                answers = list(threads.map(ask, boxes))
            won = [(box, a) for box, a in zip(boxes, answers, strict=True) if a.status_code == 200]
            assert len(won) == 1, [a.text for a in answers]
            assert won[0][0].owns(won[0][1].json()["certificate"])
            assert sorted(code(a) for a in answers if a.status_code != 200) == [(403, "used")] * 3


def test_one_box_that_asks_twice_at_once_gets_one_certificate_and_a_token_that_works(place: Place) -> None:
    box, token = Box(), place.token()
    with ThreadPoolExecutor(4) as threads:
        answers = [a.json() for a in threads.map(lambda _: place.ask(token, box.csr()), range(4))]
    assert all(a == answers[0] for a in answers)
    assert place.states() == ["valid"]
    assert place.stub is not None
    assert place.stub.may_write(answers[0]["influx"]["token"])
    assert len(place.stub.authorizations) == 1


def test_more_boxes_than_there_is_room_for_come_again(place: Place) -> None:
    tokens = [place.token(f"gate-{n}") for n in range(AT_ONCE + 2)]
    with ThreadPoolExecutor(len(tokens)) as threads:
        with files.locked(place.pki.folder / ".enrol"):  # nobody's turn comes
            asked = [threads.submit(place.ask, token, Box().csr(f"{SITE}/gate-{n}")) for n, token in enumerate(tokens)]
            until(lambda: sum(one.done() for one in asked) == 2)
        codes = sorted(one.result().status_code for one in asked)
    assert codes == [200] * AT_ONCE + [503] * 2


# -- when something does not work --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_an_answer_of_influxdb_the_box_is_told_to_come_again(place: Place, method: str) -> None:
    assert place.stub is not None
    box, token = Box(), place.token()
    place.stub.trouble[method] = 503
    answer = place.ask(token, box.csr())
    assert code(answer) == (503, "later")
    assert "Token" not in answer.text
    got = place.ask(token, box.csr()).json()
    assert place.stub.may_write(got["influx"]["token"])
    assert place.states() == ["valid"]


def test_a_token_that_influxdb_made_but_could_not_tell_is_deleted(place: Place) -> None:
    assert place.stub is not None
    box, token = Box(), place.token()
    place.stub.lose_answer.add("POST")
    assert code(place.ask(token, box.csr())) == (503, "later")
    assert len(place.stub.authorizations) == 1
    got = place.ask(token, box.csr()).json()
    assert place.stub.may_write(got["influx"]["token"])
    assert len(place.stub.authorizations) == 1


def test_a_missing_bucket_is_named_in_the_log(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    assert place.stub is not None
    place.stub.buckets.clear()
    assert code(place.ask(place.token(), Box().csr())) == (503, "later")
    assert "no bucket 'banksman' in 'banksman'" in caplog.text


def test_with_another_secret_the_token_for_influxdb_is_made_anew(
    place: Place, tmp_path: Path, influx: Influx2Stub
) -> None:
    box, token = Box(), place.token()
    first = place.ask(token, box.csr()).json()
    with Place(tmp_path, place.engine, influx, pki=place.pki, secret="another secret of 32 letters or so") as changed:  # noqa: S106
        second = changed.ask(token, box.csr()).json()
    assert second["certificate"] == first["certificate"]
    assert [influx.may_write(a["influx"]["token"]) for a in (first, second)] == [False, True]


def test_an_authority_without_its_key_is_the_servers_fault(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    key = place.pki.folder / "authorities" / "1.key"
    kept = key.read_bytes()
    key.unlink()
    box, token = Box(), place.token()
    assert code(place.ask(token, box.csr())) == (503, "later")
    assert "1.key" in caplog.text
    key.write_bytes(kept)
    assert place.ask(token, box.csr()).status_code == 200
