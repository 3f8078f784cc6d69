"""Getting in: log-in, log-out; and what needs nobody: static files, health."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import FastAPI, Form, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException as AnyHTTPException

from broker.dispatch.database import reading, transaction
from broker.dispatch.tables import Person
from broker.dispatch.web import audit
from broker.dispatch.web.auth import TooManyError
from broker.dispatch.web.guard import local_path
from broker.dispatch.web.pages import Changing, FormError, LoginNeededError, Web, static_files
from broker.dispatch.web.steps import StepRefusedError

_LONGEST_FIELD = 256


def is_api(request: Request) -> bool:
    return request.url.path.startswith("/api/") or "text/html" not in request.headers.get("accept", "")


def add(app: FastAPI, web: Web) -> None:
    _add_errors(app, web)
    _add_login(app, web)

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        if name not in static_files():
            raise HTTPException(404, "no such file")
        content, kind, _ = static_files()[name]
        return Response(content, media_type=kind, headers={"Cache-Control": "public, max-age=31536000, immutable"})

    @app.get("/healthz", include_in_schema=False)
    def health() -> Response:
        """200 while the database answers, else 503."""
        try:
            with reading(web.engine) as db:
                db.execute(select(1))
        except SQLAlchemyError:
            return PlainTextResponse("database", 503)
        return PlainTextResponse("ok")


def _add_errors(app: FastAPI, web: Web) -> None:
    @app.exception_handler(LoginNeededError)
    def to_login(request: Request, _: Exception) -> Response:
        if is_api(request):
            return JSONResponse({"detail": "login"}, 401)
        query = f"?{request.url.query}" if request.url.query else ""
        after = request.url.path + query if request.method == "GET" else "/"
        return RedirectResponse(f"/login?{urlencode({'next': after})}", 303)

    @app.exception_handler(FormError)
    def wrong_form(request: Request, error: FormError) -> Response:
        visitor = web.known(request)
        t = web.text(request, visitor)
        told = t(error.key, **error.fields)
        if is_api(request):
            return JSONResponse({"detail": told, "code": error.key.rpartition(".")[2]}, 409)
        return web.render(
            request, "message.html", "", visitor, error.status, t=t, title=t("web.error.title"), told=told
        )

    @app.exception_handler(TooManyError)
    def too_many(request: Request, error: TooManyError) -> Response:
        headers = {"Retry-After": str(int(error.wait) + 1)}
        if is_api(request):
            return JSONResponse({"detail": "too many", "code": "too_many"}, 429, headers=headers)
        visitor = web.known(request)
        t = web.text(request, visitor)
        told = t("web.error.wait", n=int(error.wait / 60) + 1)
        page = web.render(request, "message.html", "", visitor, 429, t=t, title=t("web.error.title"), told=told)
        page.headers.update(headers)
        return page

    @app.exception_handler(StepRefusedError)
    def refused(request: Request, error: StepRefusedError) -> Response:
        visitor = web.known(request)
        t = web.text(request, visitor)
        key = f"web.refused.{error.code}"
        told = t(key) if key in t else str(error)
        if is_api(request):
            return JSONResponse({"detail": told, "code": error.code}, 409)
        back = f"/cases/{error.case}"
        return web.render(
            request, "message.html", "", visitor, 409, t=t, title=t("web.refused.title"), told=told, back=back
        )

    @app.exception_handler(AnyHTTPException)
    def failed(request: Request, error: AnyHTTPException) -> Response:
        if is_api(request):
            return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)
        visitor = web.known(request)
        t = web.text(request, visitor)
        key = f"web.http.{'csrf' if error.detail == 'csrf' else error.status_code}"
        told = t(key) if key in t else t("web.http.other", code=error.status_code)
        return web.render(
            request, "message.html", "", visitor, error.status_code, t=t, title=t("web.error.title"), told=told
        )

    @app.exception_handler(RequestValidationError)
    def not_ours(request: Request, error: RequestValidationError) -> Response:
        if is_api(request):
            problems = [{"where": ".".join(map(str, e["loc"])), "what": e["msg"]} for e in error.errors()]
            return JSONResponse({"detail": problems}, 422)
        of_address = all(e["loc"][0] == "path" for e in error.errors())
        return failed(request, AnyHTTPException(404 if of_address else 422))


def _add_login(app: FastAPI, web: Web) -> None:
    @app.get("/login", include_in_schema=False)
    def login(request: Request) -> Response:
        after = local_path(request.query_params.get("next"))
        visitor = web.known(request)
        if visitor is not None and not visitor.linked:
            return RedirectResponse(after, 303)
        return web.render(request, "login.html", "login", next=after, error="", name="")

    @app.post("/login", include_in_schema=False)
    def log_in(
        request: Request,
        name: Annotated[str, Form()] = "",
        password: Annotated[str, Form()] = "",
        next: Annotated[str, Form()] = "",  # noqa: A002 the field's name
    ) -> Response:
        after = local_path(next)
        cookie, wait = sign_in(web, request, name, password)
        if cookie is None:
            t = web.text(request)
            error = t("web.login.wait", n=int(wait / 60) + 1) if wait else t("web.login.wrong")
            status = 429 if wait else 403
            page = web.render(
                request, "login.html", "login", status=status, t=t, next=after, error=error, name=name[:64]
            )
            if wait:
                page.headers["Retry-After"] = str(int(wait) + 1)
            return page
        response = RedirectResponse(after, 303)
        web.set_cookie(response, cookie)
        return response

    @app.post("/logout", include_in_schema=False)
    def log_out(request: Request, _: Changing) -> Response:
        with transaction(web.engine) as db:
            web.sessions.close(db, request.cookies.get(web.cookie))
        response = RedirectResponse("/login", 303)
        response.delete_cookie(web.cookie, path="/", secure=web.secure, httponly=True)
        return response


def sign_in(web: Web, request: Request, name: str, password: str) -> tuple[str | None, float]:
    """The cookie of a new session, or None and the seconds to wait (0: the name or the password is wrong)."""
    now = web.clock.now()
    address = request.client.host if request.client else "-"
    name = name.replace("\0", "").strip()[:_LONGEST_FIELD]  # PostgreSQL takes no zero byte
    with transaction(web.engine) as db:
        wait = web.attempts.begin(db, name, address, now)
        row = db.execute(
            select(Person.id, Person.login, Person.password, Person.active).where(
                func.lower(Person.login) == name.lower()
            )
        ).first()
    if wait:
        return None, wait
    # Outside of any transaction: argon2 takes its time.
    kept = row.password if row is not None and row.active else None
    if not web.passwords.right(kept, password) or row is None:
        with transaction(web.engine) as db:
            # Of names that nobody has none is written: it may be a password in the wrong field.
            login = row.login if row is not None else ""
            audit.note(db, now, audit.UNKNOWN, "login_failed", login, address=address)
            for what in web.attempts.spent(db, name, address):
                audit.note(db, now, "dispatch", "login_limited", login if what == "name" else address)
        return None, 0.0
    with transaction(web.engine) as db:
        audit.note(db, now, row.id, "login", row.login, address=address)
        web.attempts.succeeded(db, name, address)
        web.sessions.close(db, request.cookies.get(web.cookie))  # whatever the browser had before the log-in
        return web.sessions.open(db, row.id, now), 0.0
