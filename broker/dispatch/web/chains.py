"""Whether the audit ledger is as it was written: for officers and administrators, of the sites that are theirs."""

from __future__ import annotations

import threading

from fastapi import FastAPI, HTTPException, Request, Response
from sqlalchemy import true

from broker.dispatch import ledger
from broker.dispatch.database import reading
from broker.dispatch.tables import Case
from broker.dispatch.web.pages import FormError, Known, Web
from broker.dispatch.web.rights import EVERYWHERE, Right

_MOST = 100
"""Broken cases that are named; the rest is a number. `banksman dispatch verify` names all."""
_one = threading.Semaphore(1)  # it reads every line


def add(app: FastAPI, web: Web) -> None:
    @app.get("/ledger/check", include_in_schema=False)
    def check(request: Request, visitor: Known) -> Response:
        rights = (Right.LEAD, Right.MANAGE)
        sites = sorted({site for right in rights for site in visitor.among(right, visitor.roles)})
        if not sites:
            raise HTTPException(403, "for safety officers and administrators")
        web.spend("export", visitor.id)
        t = web.text(request, visitor)
        if not _one.acquire(blocking=False):
            raise FormError("web.check.busy", status=503)
        try:
            with reading(web.engine) as db:
                found = ledger.verify_all(db, true() if EVERYWHERE in sites else Case.site.in_(sites))
        finally:
            _one.release()
        broken = sorted(found.problems.items())
        return web.render(
            request, "check.html", "ledger", visitor, t=t, found=found, broken=broken[:_MOST],
            more=max(0, len(broken) - _MOST),
        )  # fmt: skip
