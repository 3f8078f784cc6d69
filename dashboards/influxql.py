"""Reads InfluxDB: one InfluxQL query over `/query`, which versions 1, 2 and 3 have alike."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from broker.addresses import is_token, is_web_address

CONNECT_S: Final = 5.0
READ_S: Final = 60.0
"""Until the next piece of an answer; a month of many sites takes a while to begin."""
CHUNK: Final = 10_000
"""Rows of a piece: InfluxDB sends long answers in pieces, and needs no memory for the whole."""
_MAX_SAID: Final = 300

Value = str | float | int | bool | None


class InfluxError(Exception):
    """InfluxDB did not answer the question. The text says why, in plain words, and holds no secrets."""


@dataclass(frozen=True, slots=True)
class Series:
    """Rows of one group. columns: the first of a SELECT is `time`, in ms since 1970 UTC."""

    name: str
    tags: Mapping[str, str]
    columns: tuple[str, ...]
    values: list[tuple[Value, ...]] = field(default_factory=list)


class Influx:
    """One database (in version 2 a bucket with its mapping). token: may read it. ca: who signs its certificate."""

    def __init__(
        self, url: str, database: str, token: str | None = None, ca: Path | None = None, *, read_s: float = READ_S
    ) -> None:
        _check(url, token)
        try:
            verify: ssl.SSLContext | bool = True if ca is None else ssl.create_default_context(cafile=str(ca))
        except (OSError, ssl.SSLError) as error:
            raise InfluxError(f"{ca}: no certificate can be read there ({error})") from error
        self.database = database
        self._where = f"InfluxDB at {url}"
        self._client = httpx.Client(
            base_url=url.rstrip("/"),
            verify=verify,
            headers={} if token is None else {"Authorization": f"Token {token}"},
            timeout=httpx.Timeout(read_s, connect=CONNECT_S),
        )

    def rows(self, query: str) -> list[Series]:
        """The answer, in the order of the database. Raises InfluxError, and nothing else."""
        params = {"db": self.database, "q": query, "epoch": "ms", "chunked": "true", "chunk_size": str(CHUNK)}
        try:
            with self._client.stream("GET", "/query", params=params) as answer:
                if answer.status_code != HTTPStatus.OK:
                    answer.read()
                    raise self._refused(answer)
                return self._read(line for line in answer.iter_lines() if line)
        except httpx.TimeoutException as error:
            raise InfluxError(f"{self._where} is too slow: no answer in time ({type(error).__name__})") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise InfluxError(f"{self._where} cannot be reached: {error}") from error

    def _read(self, lines: Iterable[str]) -> list[Series]:
        found: list[Series] = []
        more = answered = False
        for line in lines:
            try:
                piece = json.loads(line)
                results = piece["results"] if "error" not in piece else ()
                errors = [e for e in (piece.get("error"), *(r.get("error") for r in results)) if e]
                answered = True
                more = any(r.get("partial", False) for r in results)
                for result in results:
                    for series in result.get("series", ()):
                        _add(found, series)
            except (ValueError, AttributeError, KeyError, TypeError) as error:
                raise InfluxError(f"{self._where}: what answers there is not InfluxDB: {line[:80]!r}") from error
            if errors:
                raise InfluxError(f"{self._where}, database {self.database!r}: {errors[0][:_MAX_SAID]}")
        if not answered:  # "nothing" would read as: no breach, no case
            raise InfluxError(f"{self._where}: what answers there is not InfluxDB: it says nothing at all")
        if more:
            raise InfluxError(f"{self._where} ended its answer in the middle")
        return found

    def _refused(self, answer: httpx.Response) -> InfluxError:
        said = _said(answer)
        match answer.status_code:
            case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
                why = f"the token may not read database {self.database!r}"
            case HTTPStatus.NOT_FOUND:
                why = f"there is no database {self.database!r} (in version 2: no DBRP mapping of a bucket to it)"
            case HTTPStatus.BAD_REQUEST:
                why = "the query is not understood"
            case _:
                why = "it failed"
        return InfluxError(f"{self._where}: {why} ({answer.status_code}: {said})")

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _check(url: str, token: str | None) -> None:
    """Raises InfluxError: an address that is none or holds a password, a token that HTTP cannot carry."""
    if not is_web_address(url):
        raise InfluxError("the address of InfluxDB is none: give it as https://host:8086, without user and password")
    if token is not None and not is_token(token):
        raise InfluxError("the token for InfluxDB is none: it must be one word of ASCII letters, digits and signs")


def _add(found: list[Series], piece: Mapping[str, Any]) -> None:
    """A series may come in several pieces, one behind the other."""
    head = Series(piece.get("name", ""), piece.get("tags", {}), tuple(piece["columns"]))
    if not found or (found[-1].name, found[-1].tags, found[-1].columns) != (head.name, head.tags, head.columns):
        found.append(head)
    found[-1].values.extend(tuple(row) for row in piece.get("values", ()))


def _said(answer: httpx.Response) -> str:
    try:
        body = answer.json()
        text = body.get("message") or body.get("error") or ""
    except (ValueError, AttributeError):
        text = answer.reason_phrase
    return str(text)[:_MAX_SAID]
