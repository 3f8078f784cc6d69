"""URLs of cameras: taken apart, shown, used."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.capture.source import SourceError
from edge.capture.url import _WANTED, CameraUrl
from edge.values import CameraCause


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://10.0.0.20/stream2", "rtsp://10.0.0.20:554/stream2"),
        ("rtsp://viewer:secret@10.0.0.20:8554/stream2", "rtsp://10.0.0.20:8554/stream2"),
        ("rtsp://viewer:sec@ret@10.0.0.20/a", "rtsp://10.0.0.20:554/a"),
        ("rtsps://viewer:secret@cam.local/a", "rtsps://cam.local:322/a"),
        ("http://cam/video.cgi?user=viewer&pwd=secret", "http://cam:80/video.cgi"),
        ("rtsp://cam/user=viewer_password=secret_channel=1.sdp", "rtsp://cam:554/…"),
        ("https://viewer:secret@[fe80::1]:8443", "https://[fe80::1]:8443/"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    parsed = CameraUrl.parse(url)
    assert str(parsed) == repr(parsed) == shown


@given(st.text(min_size=6), st.sampled_from(["rtsp", "http"]))
def test_no_password_is_ever_shown(password: str, scheme: str) -> None:
    try:
        shown = repr(CameraUrl.parse(f"{scheme}://viewer:{password}@camera.local/stream"))
    except SourceError as error:
        shown = f"{error.detail} {error.__cause__}".replace(_WANTED, "")
    assert password not in shown.replace("camera.local", "")


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://",
        "rtsp://:554/a",
        "rtsp://cam:port/secret",
        "http://cam:99999/",
        "rtsp://me:1/2@cam/a",
        "rtsp://me:#1@cam",
    ],
)
def test_a_url_that_leads_nowhere_is_a_coded_error(url: str) -> None:
    with pytest.raises(SourceError, match=r"must look like scheme://\[user:password@\]host") as caught:
        CameraUrl.parse(url)
    assert caught.value.cause is CameraCause.FORMAT


def test_user_and_password_may_be_written_with_percent_signs() -> None:
    url = CameraUrl.parse("http://us%40er:pa%3Ass@cam/")
    assert url.authorization("Basic realm=x", "GET", "/") == "Basic dXNAZXI6cGE6c3M="


def test_digest_as_in_the_standards_example() -> None:
    """RFC 2617, section 3.5, without qop as in RFC 2069 (errata: 1949323746fe6a43ef61f9606e7febea)."""
    url = CameraUrl.parse("http://Mufasa:CircleOfLife@cam/dir/index.html")
    challenge = (
        'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
        'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    answer = url.authorization(challenge, "GET", "/dir/index.html")
    assert answer is not None
    assert 'response="1949323746fe6a43ef61f9606e7febea"' in answer
    assert 'opaque="5ccc069c403ebaf9f0171e9517f40e41"' in answer


@pytest.mark.parametrize(
    "challenge", ["", "Negotiate", 'Digest realm="x"', 'Digest realm="x", nonce="y", algorithm=SHA-512-256']
)
def test_a_challenge_that_cannot_be_answered(challenge: str) -> None:
    assert CameraUrl.parse("http://a:b@cam/").authorization(challenge, "GET", "/") is None
