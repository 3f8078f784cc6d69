"""Who gets in: password, sessions, guessing, foreign hosts and origins, headers, long bodies, certificates."""

from __future__ import annotations

import datetime as dt
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from broker.embedded import free_port
from edge.clock import ManualClock
from edge.page.app import create_app
from edge.page.security import SESSION_S, Sessions, local_path
from edge.page.server import PageError, PageServer
from edge.site.model import Page
from tests.page.builders import HELMET, PASSWORD, BenchNode, serving
from tests.page.conftest import Reader

PAGES = ("/", "/zones", "/zones/gate", "/alarms", "/compliance", "/health")
UNKNOWN_ALARM = "01890a5d-ac96-774b-bcce-b302099a8057"
DATA = ("/live/gate", "/live/gate/now.jpg", f"/alarms/{UNKNOWN_ALARM}", f"/alarms/{UNKNOWN_ALARM}/{'ab' * 32}")


@pytest.mark.parametrize("path", [*PAGES, *DATA])
def test_nothing_is_shown_without_login(stranger: Reader, path: str) -> None:
    page = stranger.get(path)
    assert page.status_code == 303
    assert page.headers["location"].startswith("/login?next=%2F")
    data = stranger.get(path, headers={"Accept": "application/json"})
    assert data.status_code == 401
    assert data.json() == {"error": "login"}


def test_zones_cannot_be_saved_without_login(stranger: Reader, node: BenchNode) -> None:
    before = node.path.read_bytes()
    answer = stranger.post("/zones/gate", json={"base": "x", "zones": []})
    assert answer.status_code == 401
    assert node.path.read_bytes() == before


def test_login_leads_back_and_logout_ends_the_session(stranger: Reader) -> None:
    answer = stranger.log_in(after="/alarms?limit=3")
    assert (answer.status_code, answer.headers["location"]) == (303, "/alarms?limit=3")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    session = stranger.cookies["banksman"]
    assert stranger.get("/alarms").status_code == 200
    assert stranger.get("/login").headers["location"] == "/"
    assert stranger.post("/logout").status_code == 303
    stranger.cookies.set("banksman", session)  # a thief who has copied it
    assert stranger.get("/alarms").status_code == 303


def test_session_ends_by_itself(stranger: Reader, clock: ManualClock) -> None:
    stranger.log_in()
    clock.advance(SESSION_S - 1)
    assert stranger.get("/health").status_code == 200
    clock.advance(2)
    assert stranger.get("/health").status_code == 303


def test_wrong_password_says_so_and_never_shows_either(stranger: Reader) -> None:
    answer = stranger.log_in("not the <b>password</b>")
    assert answer.status_code == 403
    assert "That is not the password" in answer.text
    assert PASSWORD not in answer.text
    assert "not the &lt;b&gt;" not in answer.text
    assert "banksman=" not in answer.headers.get("set-cookie", "")


def test_guessing_is_slowed_down_even_for_the_right_password(stranger: Reader, clock: ManualClock) -> None:
    assert [stranger.log_in(f"guess {n}").status_code for n in range(5)] == [403] * 5
    refused = stranger.log_in(PASSWORD)
    assert refused.status_code == 429
    assert 55 <= int(refused.headers["retry-after"]) <= 61
    clock.advance(61)
    assert stranger.log_in(PASSWORD).status_code == 303


def test_right_password_forgives_earlier_mistakes(stranger: Reader) -> None:
    for _ in range(3):
        assert [stranger.log_in("guess").status_code for _ in range(4)] == [403] * 4
        assert stranger.log_in(PASSWORD).status_code == 303


@pytest.mark.parametrize("cookie", ["", "x", "9999999999.aa.bb", "9999999999.aa." + "0" * 64, ".", "ü.ü", "9999999999"])
def test_made_up_cookies_open_nothing(stranger: Reader, cookie: str) -> None:
    answer = stranger.get("/health", headers={b"Cookie": f"banksman={cookie}".encode()})
    assert answer.status_code == 303


@given(st.text(max_size=80))
def test_no_made_up_cookie_is_a_session(cookie: str) -> None:
    assert not Sessions(ManualClock()).valid(cookie)


@given(st.one_of(st.text(), st.sampled_from(["//evil.example", "/\\evil.example", "http://evil.example", "/a\r\nb"])))
def test_login_never_leads_to_another_host(wanted: str) -> None:
    path = local_path(wanted)
    assert httpx.URL("http://node.local").join(path).host == "node.local"
    assert path in ("/", wanted)
    assert "\n" not in path
    assert "\\" not in path


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", 200),
        ("localhost", 200),
        ("[::1]:8080", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:8080", 421),
        ("evil.example:127.0.0.1", 421),
        ("[", 421),
        ("", 421),
    ],
)
def test_page_without_password_answers_to_loopback_names_only(reader: Reader, host: str, status: int) -> None:
    assert reader.get("/health", headers={"Host": host}).status_code == status


def test_page_with_password_answers_to_any_name(stranger: Reader) -> None:
    assert stranger.get("/login", headers={"Host": "node.site.example"}).status_code == 200


@pytest.mark.parametrize("origin", ["null", "", "http://evil.example", "https://127.0.0.1", "http://127.0.0.1:1", None])
@pytest.mark.parametrize("path", ["/zones/gate", "/login", "/logout"])
def test_no_change_from_another_origin(reader: Reader, node: BenchNode, path: str, origin: str | None) -> None:
    before = node.path.read_bytes()
    request = reader.build_request("POST", path, json={})
    del request.headers["origin"]
    if origin is not None:
        request.headers["origin"] = origin
    assert reader.send(request).status_code == 403
    assert node.path.read_bytes() == before


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(reader: Reader, method: str) -> None:
    assert reader.request(method, "/zones/gate").status_code == 405


@pytest.mark.parametrize("path", [*PAGES, "/login", "/nothing", "/live/gate/now.jpg", "/static/page.css"])
def test_every_answer_forbids_foreign_scripts_frames_and_sniffing(reader: Reader, path: str) -> None:
    headers = reader.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == policy["form-action"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    if not path.startswith("/static/"):
        assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/zones/gate", "/login"])
def test_long_bodies_are_refused_before_they_are_read(stranger: Reader, path: str) -> None:
    stranger.log_in()
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 64 * 1024 * 1024:
            sent += 65_536
            yield b"x" * 65_536

    try:
        answer = stranger.post(path, content=endless())
    except (httpx.WriteError, httpx.RemoteProtocolError):  # hung up on, in the middle
        pass
    else:
        assert answer.status_code == 413
    assert sent < 32 * 1024 * 1024
    assert stranger.get("/health").status_code == 200


def test_many_form_fields_are_refused(stranger: Reader) -> None:
    assert stranger.post("/login", content=b"&".join(b"a=1" for _ in range(1000))).status_code == 400


def test_names_from_the_site_file_and_journal_are_text_never_markup(
    reader: Reader, node: BenchNode, tmp_path: Path
) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'"
    text = node.path.read_text(encoding="utf-8").replace("name: Main gate", f"name: {json.dumps(evil)}")
    folder = tmp_path / "evil"
    folder.mkdir()
    bad = BenchNode(folder, node.clock, text.replace("name: Trench", f"name: {json.dumps(evil)}"))
    bad.broken = evil
    alarm = bad.raise_alarm(HELMET)
    bad.tally(HELMET, 10, 1, 1)
    with serving(bad, bad.clock) as url, Reader(url) as visitor:
        for path in (*PAGES, f"/alarms/{alarm.alarm}"):
            html = visitor.get(path, follow_redirects=True).text
            assert "<script>alert" not in html, path
            assert "<img src=x" not in html, path
            assert "onerror" in html, path  # it is shown, as text
    bad.journal.close()


def test_page_off_loopback_needs_a_password() -> None:
    with pytest.raises(ValidationError, match="need a page password"):
        Page(host="0.0.0.0")  # noqa: S104
    with pytest.raises(ValidationError, match="eight characters"):
        Page(password="short")  # noqa: S106


def test_address_in_use_is_a_clear_error(node: BenchNode) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        page = Page(port=taken.getsockname()[1])
        with pytest.raises(PageError, match=rf"cannot listen on 127\.0\.0\.1:{page.port}: Address already in use"):
            PageServer(create_app(node, page, node.clock), page).start()


def test_certificate_that_is_not_there_is_a_clear_error(node: BenchNode, tmp_path: Path) -> None:
    page = Page(port=free_port(), tls_cert=tmp_path / "page.pem", tls_key=tmp_path / "page.key")
    with pytest.raises(PageError, match=r"cannot use the certificate .*page\.pem"):
        PageServer(create_app(node, page, node.clock), page).start()


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    start = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "page.pem", folder / "page.key"
    cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert, private


def test_https_keeps_the_session_cookie_off_plain_http(node: BenchNode, tmp_path: Path) -> None:
    cert, key = _certificate(tmp_path)
    with serving(node, node.clock, password=PASSWORD, tls_cert=cert, tls_key=key) as url:
        assert url.startswith("https://")
        with httpx.Client(base_url=url, verify=False, headers={"Origin": url}, trust_env=False) as visitor:  # noqa: S501 made here
            answer = visitor.post("/login", data={"password": PASSWORD})
            assert answer.status_code == 303
            assert "secure" in answer.headers["set-cookie"].lower()
            assert visitor.get("/health").status_code == 200
