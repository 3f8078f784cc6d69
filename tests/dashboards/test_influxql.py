"""The reader of InfluxDB: long answers whole, and every trouble in plain words without secrets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dashboards import influxql
from dashboards.influxql import Influx as Reader
from dashboards.influxql import InfluxError
from tests.dashboards.conftest import DATABASE
from tests.dashboards.world import World
from tests.influx import TOKEN, Influx
from tests.servers import HOST, Authority


def test_an_answer_in_many_pieces_is_put_together(
    influx: Influx, read: Reader, month: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = 'SELECT "ok_s" FROM "compliance_1h" GROUP BY "site", "rule"'
    whole = read.rows(question)
    monkeypatch.setattr(influxql, "CHUNK", 7)
    with Reader(influx.url, DATABASE, TOKEN) as slowly:
        assert slowly.rows(question) == whole
    assert sum(len(series.values) for series in whole) == len(month.hour)
    assert len(whole) == len(month.hour.drop_duplicates(["site", "rule"]))


def test_what_is_not_there_is_no_series(read: Reader) -> None:
    assert read.rows('SELECT "x" FROM "nothing"') == []


@pytest.mark.parametrize(
    ("database", "token", "question", "why"),
    [
        (DATABASE, "wrong-token", "SHOW DATABASES", "the token may not read database 'banksman' .401"),
        (DATABASE, None, "SHOW DATABASES", "the token may not read"),
        ("nowhere", TOKEN, 'SELECT "x" FROM "y"', "database 'nowhere': database not found"),
        (DATABASE, TOKEN, "SELECT", "the query is not understood .400: error parsing query"),
        (DATABASE, TOKEN, 'SELECT mean("site") FROM (SELECT "ok_s" FROM', "the query is not understood"),
    ],
)
def test_trouble_is_told(influx: Influx, database: str, token: str | None, question: str, why: str) -> None:
    with Reader(influx.url, database, token) as reader, pytest.raises(InfluxError, match=why) as told:
        reader.rows(question)
    assert str(token) not in str(told.value)


@pytest.mark.parametrize(
    ("url", "token", "why"),
    [
        ("http://127.0.0.1:1", "s3cret\n", "the token for InfluxDB is none: it must be one word"),
        ("http://127.0.0.1:1", "s3cr\u00e9t", "one word"),
        ("http://127.0.0.1:1", "s3cret word", "one word"),
        ("http://127.0.0.1:1", "", "one word"),
        ("http://me:s3cret@127.0.0.1:1", TOKEN, "the address of InfluxDB is none: give it as https://host:8086"),
        ("http://[s3cret", TOKEN, "address"),
        ("http://influx:s3cret", TOKEN, "address"),
        ("influx:8086", TOKEN, "address"),
    ],
)
def test_an_address_or_a_token_that_is_none_is_told_and_not_shown(url: str, token: str, why: str) -> None:
    """HTTP's own words for a token with a line's end at its end are the token."""
    with pytest.raises(InfluxError, match=why) as told:
        Reader(url, "d", token).rows("SHOW DATABASES")
    assert "s3cr" not in str(told.value)


def test_nobody_there(unused_port: int) -> None:
    with Reader(f"http://{HOST}:{unused_port}", "d", TOKEN) as reader, pytest.raises(InfluxError, match="be reached"):
        reader.rows("SHOW DATABASES")


@contextmanager
def answering(
    status: int, body: bytes, promised: int | None = None, wait: threading.Event | None = None
) -> Iterator[str]:
    """A server of one answer. promised: its length as it says; wait: for this before it says anything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if wait is not None:
                wait.wait(10)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if promised is None else promised))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """No noise."""

    server = ThreadingHTTPServer((HOST, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{HOST}:{server.server_port}"
    finally:
        if wait is not None:
            wait.set()
        server.shutdown()
        server.server_close()


PIECE = (
    b'{"results":[{"series":[{"name":"m","columns":["time","x"],"values":[[1,2]],"partial":true}],"partial":true}]}\n'
)


@pytest.mark.parametrize(
    ("status", "body", "promised", "why"),
    [
        (200, b"<html>hello</html>", None, "what answers there is not InfluxDB"),
        (200, b"[1, 2]", None, "is not InfluxDB"),
        (200, b"", None, "is not InfluxDB"),  # nothing at all is not "no series"
        (200, b'{"status":"ok"}', None, "is not InfluxDB"),
        (200, b'{"results":[{"series":[{"name":"m"}]}]}', None, "is not InfluxDB"),
        (200, PIECE + b'{"results":[{"error":"query interrupted"}]}\n', None, "query interrupted"),
        (200, PIECE + b'{"error":"engine is closed"}\n', None, "engine is closed"),
        (200, PIECE, 5000, "cannot be reached"),
        (200, PIECE, None, "in the middle"),
        (404, b'{"code":"not found","message":"bucket not found"}', None, "no DBRP mapping.*bucket not found"),
        (503, b"<html>later</html>", None, "it failed .503: Service Unavailable"),
    ],
)
def test_half_an_answer_is_none(status: int, body: bytes, promised: int | None, why: str) -> None:
    with answering(status, body, promised) as url, Reader(url, "d") as reader, pytest.raises(InfluxError, match=why):
        reader.rows("SHOW DATABASES")


def test_too_slow() -> None:
    with (
        answering(200, b"{}", wait=threading.Event()) as url,
        Reader(url, "d", read_s=0.05) as reader,
        pytest.raises(InfluxError, match="too slow"),
    ):
        reader.rows("SHOW DATABASES")


def test_its_certificate_must_be_of_the_authority(tmp_path: Path) -> None:
    ours, foreign = Authority(tmp_path / "ours"), Authority(tmp_path / "foreign")
    with Influx(tmp_path / "influx", ours.issue("influx", host=HOST)) as server:
        with Reader(server.url, "d", TOKEN, ours.cert) as reader:
            assert reader.rows("SHOW DATABASES") != []
        with Reader(server.url, "d", TOKEN, foreign.cert) as reader, pytest.raises(InfluxError, match="CERTIFICATE"):
            reader.rows("SHOW DATABASES")
    with pytest.raises(InfluxError, match="no certificate can be read there"):
        Reader("https://x", "d", TOKEN, tmp_path / "nothing")
