"""The foreman's pages: lists, a case, the steps on it, its pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import FastAPI, Form, HTTPException, Query, Request, Response, UploadFile
from fastapi.responses import FileResponse, RedirectResponse
from sqlalchemy import ColumnElement, and_, select, true
from sqlalchemy.orm import Session as Transaction

from broker.dispatch import ledger as chains
from broker.dispatch import roster
from broker.dispatch.database import reading
from broker.dispatch.evidence import MEDIA_TYPES
from broker.dispatch.norm import NormError
from broker.dispatch.tables import AlarmState, Case, Delivery, Ledger, Site
from broker.dispatch.web.officer import back_to
from broker.dispatch.web.pages import (
    OVER,
    PHOTO_FORM,
    CaseId,
    Changing,
    Known,
    Page,
    Sha256,
    Web,
    small_picture,
)
from broker.dispatch.web.rights import Right, Visitor
from broker.dispatch.web.steps import STEPS, offered, receivers, take_step

log = logging.getLogger(__name__)

_HISTORY = 200
_PRIVATE = "private, max-age=3600, immutable"  # an address names a hash; what is behind it never changes


Text = Annotated[str, Form()]
After = Annotated[int | None, Form(ge=0, le=2**31 - 1)]
From = Annotated[str, Form(max_length=2000)]


def add(app: FastAPI, web: Web) -> None:
    _add_lists(app, web)
    _add_case(app, web)
    _add_files(app, web)


def _add_lists(app: FastAPI, web: Web) -> None:
    def listed(
        request: Request, visitor: Visitor, name: str, which: Callable[[Transaction], ColumnElement[bool]], page: int
    ) -> Response:
        if visitor.linked:
            return RedirectResponse("/", 303)
        return web.list_page(request, visitor, name, lambda db: and_(which(db), Case.state.not_in(OVER)), page)

    @app.get("/", include_in_schema=False)
    def mine(request: Request, visitor: Known, page: Page = 1) -> Response:
        if visitor.cases is not None:
            if len(visitor.cases) == 1:
                return RedirectResponse(f"/cases/{min(visitor.cases)}", 303)
            return web.list_page(request, visitor, "message", lambda _: true(), page)
        return listed(request, visitor, "mine", lambda _: Case.owner == visitor.id, page)

    @app.get("/overdue", include_in_schema=False)
    def overdue(request: Request, visitor: Known, page: Page = 1) -> Response:
        return listed(request, visitor, "overdue", lambda db: web.late(request, db, visitor), page)

    @app.get("/open", include_in_schema=False)
    def still_open(request: Request, visitor: Known, page: Page = 1) -> Response:
        return listed(request, visitor, "open", lambda _: Case.state.not_in(OVER), page)


def _add_case(app: FastAPI, web: Web) -> None:
    @app.get("/cases/{case_id}", include_in_schema=False)
    def one(
        request: Request,
        case_id: CaseId,
        visitor: Known,
        verify: Annotated[bool, Query()] = False,
        ledger: Annotated[str, Query(max_length=2000, description="Filters of the ledger that led here.")] = "",
    ) -> Response:
        t = web.text(request, visitor)
        with reading(web.engine) as db:
            row = web.case(db, visitor, case_id)
            words = web.words(db, t, [row.site])
            files = web.files(db, words, row)
            lines = db.scalars(
                select(Ledger).where(Ledger.case == row.id).order_by(Ledger.n.desc()).limit(_HISTORY)
            ).all()
            told = db.scalars(
                select(Delivery).where(Delivery.case == row.id).order_by(Delivery.at.desc()).limit(_HISTORY)
            ).all()
            leads = visitor.may(Right.LEAD, row.site)
            values: dict[str, Any] = {
                "case": words.case(row),
                "received": words.time(row.opened_at, row.site),
                "shift": shift_of(db, row),
                "quick": words.quick(row.rule),
                "result": row.result or "",
                "answer": row.answer or "",
                "out_of_hours": words.out_of_hours(row.answered_at, row.site) if row.answered_at else "",
                "false_alarm_reason": row.false_alarm_reason or "",
                "hold": row.hold,
                "important": row.important,
                "lasts": row.alarm_state != AlarmState.CLEARED or row.unverified,
                "after": row.ledger_n,
                "steps": offered(visitor, row, web.clock.now()),
                "people": [(i, name) for i, name in receivers(db, row.site) if i != row.owner],
                "snapshots": [f for f in files if f.kind == "snapshot"],
                "clips": [f for f in files if f.kind == "clip"],
                "photos": [f for f in files if f.kind == "photo"],
                "history": [words.step(line, row.site) for line in lines],
                "told": [(words.time(d.at, row.site), words.person(d.person), d.channel, d.state, d.code) for d in told]
                if leads
                else [],
                "officer": leads,
                "several": visitor.cases is not None and len(visitor.cases) > 1,
                "back": back_to(ledger) if leads else "",
                "ledger": ledger if leads and back_to(ledger) else "",
                "problems": chains.verify(db, row.id) if verify and leads else None,
                "lines": row.ledger_n,
                "head": row.ledger_head,
            }
        return web.render(request, "case.html", "", visitor, t=t, **values)

    @app.post("/cases/{case_id}/done", include_in_schema=False, max_body_size=PHOTO_FORM)
    def done(
        *, case_id: CaseId, visitor: Changing, text: Text = "", after: After = None, ledger: From = "",
        photo: UploadFile | None = None,
    ) -> Response:  # fmt: skip
        content = photo.file.read() if photo is not None else None
        take_step(web, visitor, case_id, "done", {"text": text}, after=after, photo=content)
        return RedirectResponse(address(case_id, ledger), 303)

    @app.post("/cases/{case_id}/{step}", include_in_schema=False)
    def take(
        *, case_id: CaseId, step: str, visitor: Changing, text: Text = "",
        person: Annotated[str, Form(max_length=64)] = "", on: Annotated[str, Form(max_length=8)] = "",
        after: After = None, ledger: From = "",
    ) -> Response:  # fmt: skip
        if step not in STEPS:
            raise HTTPException(404, "no such step")
        take_step(web, visitor, case_id, step, {"text": text, "person": person, "on": on}, after=after)
        return RedirectResponse(address(case_id, ledger), 303)


def address(case_id: str, ledger: str) -> str:
    """Of a case; ledger: the filters that led to it, which the way back keeps."""
    return f"/cases/{case_id}?{urlencode({'ledger': ledger})}" if back_to(ledger) else f"/cases/{case_id}"


def shift_of(db: Transaction, row: Case) -> str:
    """The shift in charge when a case was received; empty where there was none, or nobody has entered the site."""
    site = db.get(Site, row.site)
    if site is None:
        return ""
    try:
        shift = roster.calendar_of(db, site).shift_at(row.opened_at)
    except NormError as error:
        log.warning("site %s: its roster cannot be used: %s", row.site, error)
        return ""
    return shift.shift.name if shift else ""


def _add_files(app: FastAPI, web: Web) -> None:
    @app.get("/cases/{case_id}/picture", include_in_schema=False)
    def picture(case_id: CaseId, visitor: Known) -> Response:
        """A thumbnail of the newest alarm, for boards beside these pages: they know no more than the case's id."""
        with reading(web.engine) as db:
            path = web.store.picture_of(db, web.case(db, visitor, case_id).id)
        if path is None:
            raise HTTPException(404, "no picture")
        headers = {"Cache-Control": "no-store", "Vary": "Cookie", "Cross-Origin-Resource-Policy": "same-site"}
        return small_picture(path, headers)

    @app.get(
        "/evidence/{alarm}/{sha256}",
        responses={200: {"content": {"image/jpeg": {}, "video/mp4": {}}}, 404: {}, 410: {}},
        response_class=FileResponse,
        tags=["evidence"],
    )
    def evidence(
        alarm: CaseId,
        sha256: Sha256,
        visitor: Known,
        small: Annotated[bool, Query(description="A thumbnail of a picture.")] = False,
    ) -> Response:
        """A picture, clip or photo. Clips answer ranges."""
        with reading(web.engine) as db:
            row = web.file(db, visitor, alarm, sha256)
            path, kind, deleted = web.store.path(alarm, sha256), row.kind, row.deleted_at
        if deleted is not None or not path.exists():
            raise HTTPException(410, "deleted: its time of keeping is over")
        headers = {"Cache-Control": _PRIVATE, "Content-Disposition": "inline", "Vary": "Cookie"}
        if small and kind != "clip":
            return small_picture(path, headers)
        return FileResponse(path, media_type=MEDIA_TYPES[kind], headers=headers)
