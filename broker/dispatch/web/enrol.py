"""The boxes' door: `POST /enrol` over TLS 1.3, with a one-time token instead of a certificate.

Answers: 200 with what the box gets; 400 `bad_csr` or `bad_request`; 403 `unknown_token` or `used`; 410 `expired`; 429
and 503: ask again later. No token is repeated in an answer or in the log.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, StringConstraints
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException

from broker.dispatch.clock import Clock
from broker.dispatch.database import transaction
from broker.dispatch.enrol.office import EnrolError, Office, Refusal
from broker.dispatch.web.auth import TooManyError, spend
from broker.dispatch.web.guard import network_of
from broker.pki.certificates import MAX_CSR_BYTES

log = logging.getLogger(__name__)

BODY = MAX_CSR_BYTES * 2
"""Bytes; a request has one line of JSON about its CSR."""
AT_ONCE = 8
"""Boxes that are served or wait for their turn; the others ask again later."""
_STATUS = {
    Refusal.UNKNOWN: HTTPStatus.FORBIDDEN,
    Refusal.USED: HTTPStatus.FORBIDDEN,
    Refusal.EXPIRED: HTTPStatus.GONE,
    Refusal.CSR: HTTPStatus.BAD_REQUEST,
}


class Asked(BaseModel):
    """What a box sends. csr: PEM, for the CN `site/node`."""

    model_config = ConfigDict(strict=True)
    token: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    csr: Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e\r\n]*$", max_length=MAX_CSR_BYTES)]


def create(engine: Engine, office: Office, clock: Clock) -> FastAPI:
    app = FastAPI(
        title="Banksman enrolment", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False,
        max_body_size=BODY,
    )  # fmt: skip
    room = threading.BoundedSemaphore(AT_ONCE)

    @app.post("/enrol")
    def enrol(request: Request, asked: Asked) -> Response:
        if not room.acquire(blocking=False):
            return _later("many boxes at once")
        try:
            now = clock.now()
            address = network_of(request.client.host) if request.client else ""
            with transaction(engine) as db:
                spend(db, "enrol", address, now)
            handed = office.enrol(asked.token, asked.csr.encode(), now)
        except EnrolError as error:
            log.warning("enrolment from %s refused: %s", address, error)
            return _later(str(error)) if error.code is None else _refused(_STATUS[error.code], error.code, str(error))
        except TooManyError as error:
            log.warning("enrolments from %s: %s", address, error)
            headers = {"Retry-After": str(int(error.wait) + 1)}
            return _refused(HTTPStatus.TOO_MANY_REQUESTS, "too_many", "too many requests from this address", headers)
        finally:
            room.release()
        log.info("%s/%s enrolled from %s", handed.site, handed.node, address)
        return JSONResponse(asdict(handed), headers=_PRIVATE, background=BackgroundTask(_settle, office, clock))

    @app.exception_handler(RequestValidationError)
    def not_ours(_: Request, error: RequestValidationError) -> Response:
        """The usual answer repeats what was sent."""
        where = "; ".join(sorted({f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()}))
        return _refused(HTTPStatus.BAD_REQUEST, "bad_request", where)

    @app.exception_handler(HTTPException)
    def nothing_here(_: Request, error: HTTPException) -> Response:
        return _refused(HTTPStatus(error.status_code), "bad_request", error.detail)

    @app.exception_handler(DBAPIError)
    def no_database(_: Request, error: DBAPIError) -> Response:
        log.error("nobody can enrol, the database does not answer: %s", type(error.orig).__name__)
        return _later("the database does not answer")

    return app


_PRIVATE = {"Cache-Control": "no-store"}


def _refused(status: HTTPStatus, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"code": code, "message": message}, status, headers=_PRIVATE | (headers or {}))


def _later(why: str) -> Response:
    return _refused(HTTPStatus.SERVICE_UNAVAILABLE, "later", f"{why}; ask again later", {"Retry-After": "10"})


def _settle(office: Office, clock: Clock) -> None:
    """Behind the answer: what the node's former box had is taken back. What fails now is tried again by the worker."""
    for problem in office.settle(clock.now()):
        log.error("%s", problem)
