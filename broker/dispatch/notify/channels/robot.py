"""What the three group robots have in common: JSON there and back, and an error code in what says HTTP 200."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from broker.dispatch.notify.channels.base import DEADLINE_S, Failed, Why
from broker.dispatch.notify.message import Sheet

MAX_ANSWER = 64 * 1024

for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)  # below it they write whole addresses, which hold the tokens


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """A robot's address taken apart. secret: for signatures, or None. No repr: all of it is secret."""

    url: str
    path: str
    query: Mapping[str, str]
    secret: str | None


def read_address(address: str, origins: frozenset[str]) -> Address | None:
    """`https://host/path?token[#secret]` as copied from the robot's page; None where it is not of these origins.

    Only the service's own origins: an address is typed in by people, and what may be reached is not theirs to choose.
    """
    try:
        parts = urlsplit(address.strip())
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
    except ValueError:
        return None
    if f"{parts.scheme}://{parts.netloc}" not in origins or not address.isprintable():
        return None
    url = parts._replace(fragment="").geturl()
    return Address(url, parts.path, query, parts.fragment.strip() or None)


async def _post(url: str, payload: bytes, params: Mapping[str, str]) -> tuple[int, float | None, bytes]:
    async with (
        asyncio.timeout(DEADLINE_S),  # of the whole: httpx' own begins anew with every byte that trickles in
        httpx.AsyncClient(timeout=DEADLINE_S, follow_redirects=False) as client,
        client.stream(
            "POST",
            httpx.URL(url).copy_merge_params(params),
            content=payload,
            headers={"Content-Type": "application/json; charset=utf-8", "Accept-Encoding": "identity"},
        ) as answer,
    ):
        body = b""
        async for chunk in answer.aiter_raw():
            body += chunk
            if len(body) > MAX_ANSWER:
                break
        return answer.status_code, _seconds(answer.headers.get("Retry-After")), body


def _seconds(header: str | None) -> float | None:
    return float(header) if header is not None and header.isascii() and header.isdigit() else None


def post(url: str, payload: Mapping[str, Any], params: Mapping[str, str] | None = None) -> dict[str, Any] | Failed:
    """Post JSON; the JSON object that came back with HTTP 200, or why there is none."""
    try:
        status, wait, body = asyncio.run(_post(url, json.dumps(payload, ensure_ascii=False).encode(), params or {}))
    except (TimeoutError, httpx.InvalidURL, httpx.TransportError) as error:
        return Failed(_of_error(error))
    if status != httpx.codes.OK:
        return Failed(_of_status(status), status, wait)
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return Failed(Why.GARBAGE)
    return answer if isinstance(answer, dict) else Failed(Why.GARBAGE)


def _of_error(error: Exception) -> Why:
    match error:
        case TimeoutError() | httpx.TimeoutException():
            return Why.TIMEOUT
        case httpx.InvalidURL():
            return Why.BAD_ADDRESS
        case httpx.RemoteProtocolError():
            return Why.GARBAGE
    return Why.UNREACHABLE


def _of_status(status: int) -> Why:
    if status in {401, 403, 404}:
        return Why.BAD_TOKEN
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return Why.RATE_LIMIT
    return Why.BUSY if status >= 500 or status == httpx.codes.REQUEST_TIMEOUT else Why.REFUSED


def unmentioned(sheet: Sheet) -> Sheet:
    """A sheet in whose texts no robot finds somebody to call, whatever they came from.

    DingTalk calls people for `@` and a number or id in the text together with `at.atMobiles`, `at.atUserIds` (we send
    neither) or `at.isAtAll`; WeCom for `<@userid>` in Markdown; Feishu for `<at …>` in `lark_md`: ours is `plain_text`.
    """

    def safe(text: str) -> str:
        return text.replace("@", "＠").replace("<at", "＜at")

    blocks = tuple(replace(b, heading=safe(b.heading), lines=tuple(map(safe, b.lines))) for b in sheet.blocks)
    return replace(sheet, title=safe(sheet.title), blocks=blocks)


def number(answer: Mapping[str, Any], *names: str) -> int | None:
    """The first of these fields that is there, if it is a whole number."""
    for name in names:
        if name in answer:
            value = answer[name]
            return value if isinstance(value, int) and not isinstance(value, bool) else None
    return None
