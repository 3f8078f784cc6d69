"""What was changed, and who logged in."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, HTTPException, Query, Request, Response
from sqlalchemy import select, true

from broker.dispatch.database import reading
from broker.dispatch.tables import Audit
from broker.dispatch.web.pages import PER_PAGE, Known, Web
from broker.dispatch.web.rights import EVERYWHERE, Right


def add(app: FastAPI, web: Web) -> None:
    @app.get("/admin/audit", include_in_schema=False)
    def written_down(request: Request, visitor: Known, page: Annotated[int, Query(ge=1, le=100_000)] = 1) -> Response:
        if not visitor.anywhere(Right.MANAGE):
            raise HTTPException(403, "for administrators")
        t = web.text(request, visitor)
        with reading(web.engine) as db:
            managed = [site.id for site in web.sites(db, visitor, Right.MANAGE)]
            mine = true() if visitor.may(Right.MANAGE, EVERYWHERE) else Audit.site.in_(managed)
            rows = db.scalars(
                select(Audit).where(mine).order_by(Audit.at.desc(), Audit.id.desc()).limit(PER_PAGE + 1)
                .offset((page - 1) * PER_PAGE)
            ).all()  # fmt: skip
            words = web.words(db, t)
        lines = [
            (words.stamp(row.at, row.site), words.person(row.actor), row.action, row.subject, row.site, row.detail)
            for row in rows[:PER_PAGE]
        ]
        return web.render(
            request, "audit.html", "admin", visitor, t=t, lines=lines, page=page, more=len(rows) > PER_PAGE
        )
