"""The nodes' door for evidence: `PUT /evidence/{alarm}/{sha256}` over TLS with the node's certificate.

Who sends is what the TLS layer says (CN = `{site}/{node}`), never a header: the listener is our own (`server.py`), and
a balancer before it must pass TCP through. What answers mean to the node: 201 stored, or there already; 403 not known;
other 4xx this file is not taken; 408, 429, 5xx later.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request, Response
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from broker.dispatch.clock import Clock
from broker.dispatch.database import reading, transaction
from broker.dispatch.evidence import LIMITS, EvidenceError, Incoming, Refusal, Store
from broker.dispatch.web.pages import CaseId, Sha256
from broker.dispatch.web.releases import add as add_releases

log = logging.getLogger(__name__)

KINDS = {"image/jpeg": "snapshot", "video/mp4": "clip"}
CHUNK_S = 30.0
"""A line that brings nothing for so long is given up."""
AT_ONCE = 4
"""Files of one node at a time; it sends one after the other."""
_STATUS = {
    Refusal.NOT_THEIRS: HTTPStatus.NOT_FOUND,
    Refusal.KIND: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Refusal.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Refusal.HASH: HTTPStatus.UNPROCESSABLE_ENTITY,
    Refusal.FULL: HTTPStatus.INSUFFICIENT_STORAGE,
}


@dataclass(frozen=True, slots=True)
class Peer:
    """A node as its certificate names it. serial: of the certificate."""

    site: str
    node: str
    serial: int


def create(
    engine: Engine, store: Store, clock: Clock, revoked: Callable[[int], bool], releases: Path | None = None
) -> FastAPI:
    """revoked: whether the certificate of this serial number has been taken back; asked at every request.

    releases: folder of releases that nodes may fetch; without one there are none.
    """
    door = _Door(engine, store, clock, revoked)
    app = FastAPI(
        title="Banksman evidence",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        max_body_size=max(LIMITS.values()),
    )

    @app.head("/evidence/")
    def knock(request: Request) -> Response:
        """For `banksman doctor` on the node."""
        door.peer_of(request)
        return Response()

    @app.put("/evidence/{alarm}/{sha256}", status_code=HTTPStatus.CREATED)
    async def put(request: Request, alarm: CaseId, sha256: Sha256) -> Response:
        await door.put(request, alarm, sha256)
        return Response(status_code=HTTPStatus.CREATED, headers={"ETag": f'"{sha256}"'})

    if releases is not None:
        add_releases(app, releases, door.peer_of)
    return app


class _Door:
    def __init__(self, engine: Engine, store: Store, clock: Clock, revoked: Callable[[int], bool]) -> None:
        self._engine = engine
        self._store = store
        self._clock = clock
        self._revoked = revoked
        self._under_way: Counter[Peer] = Counter()

    def peer_of(self, request: Request) -> Peer:
        """Raises HTTPException 403."""
        peer = getattr(request.state, "peer", None)
        if not isinstance(peer, Peer) or self._revoked(peer.serial):
            raise HTTPException(HTTPStatus.FORBIDDEN, "no node's certificate, or one that was taken back")
        return peer

    async def put(self, request: Request, alarm: str, sha256: str) -> None:
        """Raises HTTPException."""
        peer = await run_in_threadpool(self.peer_of, request)
        if self._under_way[peer] >= AT_ONCE:
            raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS, "one file after the other", headers={"Retry-After": "5"})
        self._under_way[peer] += 1
        try:
            await self._take(request, peer, alarm, sha256)
        except EvidenceError as error:
            log.warning("evidence of %s/%s refused: %s", peer.site, peer.node, error)
            await _read_out(request)
            raise HTTPException(_STATUS[error.code], str(error)) from error
        finally:
            self._under_way -= Counter([peer])  # forgets those of whom nothing is left

    async def _take(self, request: Request, peer: Peer, alarm: str, sha256: str) -> None:
        kind = KINDS.get(request.headers.get("content-type", "").partition(";")[0].strip())
        if kind is None:
            raise EvidenceError(Refusal.KIND, f"send {' or '.join(KINDS)}")
        length = request.headers.get("content-length", "")
        if not length.isdigit() or "transfer-encoding" in request.headers:  # which would have the last word
            raise HTTPException(HTTPStatus.LENGTH_REQUIRED, "say the Content-Length")
        await run_in_threadpool(self._admit, peer, alarm, kind, int(length))
        with self._store.incoming(alarm, sha256, kind) as incoming:
            await _receive(request, incoming)
            await run_in_threadpool(self._keep, peer, alarm, sha256, kind, incoming)

    def _admit(self, peer: Peer, alarm: str, kind: str, size: int) -> None:
        with reading(self._engine) as db:
            self._store.admit(db, site=peer.site, node=peer.node, alarm=alarm, kind=kind, size=size)

    def _keep(self, peer: Peer, alarm: str, sha256: str, kind: str, incoming: Incoming) -> None:
        size = incoming.keep()
        now = self._clock.now()
        with transaction(self._engine) as db:
            self._store.put(
                db, site=peer.site, node=peer.node, alarm=alarm, sha256=sha256, kind=kind, size=size, now=now
            )


async def _receive(request: Request, incoming: Incoming) -> None:
    """Every byte of the body. Raises HTTPException for a line that dies, EvidenceError for too many."""
    stream = aiter(request.stream())
    try:
        while True:
            async with asyncio.timeout(CHUNK_S):
                chunk = await anext(stream)
            incoming.add(chunk)
    except StopAsyncIteration:
        return
    except TimeoutError as error:
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, "nothing came", headers={"Connection": "close"}) from error
    except ClientDisconnect as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "cut short") from error


async def _read_out(request: Request) -> None:
    """What is still on its way of a file that is not taken, so that the node gets to read our answer; not more than any
    file may have."""
    got = 0
    try:
        async with asyncio.timeout(CHUNK_S):
            async for chunk in request.stream():
                got += len(chunk)
                if got > max(LIMITS.values()):
                    return
    except (TimeoutError, ClientDisconnect, RuntimeError):  # RuntimeError: it was read to its end already
        return
