"""What links out of messages open: a case, or the cases of a message, without a password.

To look changes nothing, for robots open links too. The first button that is tapped opens a session, which sees the
cases of its link and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import FastAPI, Form, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import select

from broker.dispatch.database import reading, transaction
from broker.dispatch.tables import Case, Person
from broker.dispatch.web.auth import cases_of, roles_of
from broker.dispatch.web.guard import network_of
from broker.dispatch.web.links import Link, LinkError, Opens
from broker.dispatch.web.pages import ID, CaseId, Page, Sha256, Web, more_of, small_picture, visible
from broker.dispatch.web.photo import FOR_PHONES, THUMBNAIL
from broker.dispatch.web.rights import Visitor
from broker.dispatch.web.steps import StepRefusedError, offered, take_step

_SHORTLY = {"Cache-Control": "private, max-age=300"}


def add(app: FastAPI, web: Web) -> None:
    _add_case(app, web)
    _add_message(app, web)
    _add_pictures(app, web)


def _opened(web: Web, opens: Opens, token: str) -> tuple[Link, Visitor] | None:
    """A link and its person, who sees what it opens and nothing else; None where that is nothing (any more)."""
    try:
        link = web.links.read(token, web.clock.now(), opens)
    except LinkError:
        return None
    with reading(web.engine) as db:
        person = db.get(Person, link.person)
        if person is None or not person.active:
            return None
        cases = cases_of(db, opens, link.id, person.id)
        visitor = Visitor(person.id, person.name, person.language, roles_of(db, person.id), cases, "", "")
        sees = db.scalar(select(Case.id).where(visible(visitor)).limit(1))
    return None if sees is None else (link, visitor)


def _already(web: Web, request: Request, visitor: Visitor, cases: Sequence[Case]) -> Visitor | None:
    """Who is here and sees these cases without the link: by a log-in, or because it was opened before.

    Not by a link of somebody else: steps are taken in the name of whom the message is for.
    """
    known = web.known(request)
    if known is None or (known.linked and known.id != visitor.id):
        return None
    return known if all(known.sees(case.site, case.id) for case in cases) else None


def _gone(web: Web, request: Request) -> Response:
    t = web.text(request)
    told = t("web.link.gone")
    return web.render(request, "message.html", "login", status=410, t=t, title=t("web.link.gone_title"), told=told)


def _enter(web: Web, request: Request, opened: tuple[Link, Visitor], case: str, do: str) -> Response:
    """Open the session of a link and go to a case. do: `take` it first, or only `open` it."""
    link, visitor = opened
    cookie = web.links.cookie(link)
    web.spend("link", cookie)
    with transaction(web.engine) as db:
        if request.cookies.get(web.cookie) != cookie:
            web.sessions.close(db, request.cookies.get(web.cookie))
        web.sessions.open_link(db, link, cookie, web.clock.now())
    response = RedirectResponse(f"/cases/{case}", 303)
    web.set_cookie(response, cookie)
    if do == "take":
        try:
            take_step(web, visitor, case, "take", {}, after=None)
        except StepRefusedError:
            return response  # somebody was faster; the case says who
    return response


def _spend_of_address(web: Web, request: Request) -> None:
    web.spend("links_of_address", network_of(request.client.host if request.client else "-"))


def _add_case(app: FastAPI, web: Web) -> None:
    @app.get("/l/{token}", include_in_schema=False)
    def look(request: Request, token: str) -> Response:
        """Says what the case is about and offers buttons."""
        found = _opened(web, Opens.CASE, token)
        if found is None:
            return _gone(web, request)
        link, visitor = found
        with reading(web.engine) as db:
            case = web.case(db, visitor, link.id)
        if _already(web, request, visitor, [case]):
            return RedirectResponse(f"/cases/{case.id}", 303)
        t = web.text(request, visitor)
        with reading(web.engine) as db:
            words = web.words(db, t, [case.site])
            files = web.files(db, words, case, f"/l/{token}")
        return web.render(
            request,
            "link.html",
            "login",
            t=t,
            case=words.case(case),
            picture=next((f for f in files if f.kind == "snapshot"), None),
            token=token,
            may_take="take" in offered(visitor, case, web.clock.now()),
            who=visitor.name,
        )

    @app.post("/l/{token}", include_in_schema=False)
    def enter(request: Request, token: str, do: Annotated[str, Form()] = "open") -> Response:
        _spend_of_address(web, request)
        found = _opened(web, Opens.CASE, token)
        if found is None:
            return _gone(web, request)
        return _enter(web, request, found, found[0].id, do)


def _add_message(app: FastAPI, web: Web) -> None:
    @app.get("/m/{token}", include_in_schema=False)
    def look(request: Request, token: str, page: Page = 1) -> Response:
        """The cases of the message that its reader may see, each with its buttons."""
        found = _opened(web, Opens.MESSAGE, token)
        if found is None:
            return _gone(web, request)
        _, visitor = found
        with reading(web.engine) as db:
            cases = db.scalars(select(Case).where(visible(visitor))).all()
        known = _already(web, request, visitor, cases)
        if known is not None:
            return web.list_page(request, known, "message", lambda _: Case.id.in_([c.id for c in cases]), page)
        t, now = web.text(request, visitor), web.clock.now()
        with reading(web.engine) as db:
            total, rows = web.listed(db, visible(visitor), page)
            words = web.in_words(db, web.words(db, t, {row.site for row in rows}), rows, f"/m/{token}")
        return web.render(
            request,
            "linked.html",
            "login",
            t=t,
            cases=[(w, "take" in offered(visitor, case, now)) for w, case in zip(words, rows, strict=True)],
            total=total,
            more=more_of(total, page),
            token=token,
            who=visitor.name,
        )

    @app.post("/m/{token}", include_in_schema=False)
    def enter(
        request: Request,
        token: str,
        case: Annotated[str, Form(pattern=ID)],
        do: Annotated[str, Form()] = "open",
    ) -> Response:
        _spend_of_address(web, request)
        found = _opened(web, Opens.MESSAGE, token)
        if found is None:
            return _gone(web, request)
        with reading(web.engine) as db:
            web.case(db, found[1], case)
        return _enter(web, request, found, case, do)


def _add_pictures(app: FastAPI, web: Web) -> None:
    """Pictures of the pages above, small enough for a poor network. An address names its picture: what a page says of
    it stays true when a newer one comes."""

    def picture(opens: Opens, token: str, alarm: str, sha256: str, longest: int) -> Response:
        found = _opened(web, opens, token)
        if found is None:
            raise HTTPException(404, "no picture")
        _, visitor = found
        with reading(web.engine) as db:
            row = web.file(db, visitor, alarm, sha256)
        path = web.store.path(alarm, sha256)
        if row.kind != "snapshot" or row.deleted_at is not None or not path.exists():
            raise HTTPException(404, "no picture")
        return small_picture(path, _SHORTLY, longest)

    @app.get("/l/{token}/evidence/{alarm}/{sha256}", include_in_schema=False)
    def of_case(token: str, alarm: CaseId, sha256: Sha256) -> Response:
        return picture(Opens.CASE, token, alarm, sha256, FOR_PHONES)

    @app.get("/m/{token}/evidence/{alarm}/{sha256}", include_in_schema=False)
    def of_message(token: str, alarm: CaseId, sha256: Sha256) -> Response:
        return picture(Opens.MESSAGE, token, alarm, sha256, THUMBNAIL)
