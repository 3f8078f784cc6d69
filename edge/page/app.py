"""The node's own page: live picture, zones, alarms, compliance, health. Server-rendered, no build step.

Blocking calls of the view run in worker threads; a long poll holds one for at most `SLICE_S` at a time, so that
stopping the page, or a reader who went away, ends it soon.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from collections.abc import Iterable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args
from urllib.parse import parse_qs, urlencode

import anyio.to_thread
import jinja2
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi import Path as PathParam
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse
from pydantic import TypeAdapter, ValidationError

from edge.clock import Clock
from edge.page.security import Guard, LoginGate, Sessions, local_path
from edge.page.view import LiveView, NodeView
from edge.page.words import Words
from edge.site.load import SiteFileError
from edge.site.model import Camera, Page, SiteFile, Zone, ZoneKind
from edge.text import LANGUAGES, catalogue
from edge.values import MEDIA_TYPES, CameraStatus, PlaceState

HERE = Path(__file__).parent
SESSION_COOKIE, LANGUAGE_COOKIE = "banksman", "banksman-lang"
SLICE_S, SLICES = 1.0, 10  # a long poll: ten looks of a second
_LIVE_THREADS = 16  # waiting long polls; they sleep
_MAX_BODY = 256 * 1024  # 32 zones of 64 corners are some 60 kB
_STATIC_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_PERIODS = (1, 8, 24, 168, 720)  # hours
_ZONES: TypeAdapter[tuple[Zone, ...]] = TypeAdapter(tuple[Zone, ...])

Ident = Annotated[str, PathParam(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
Sha256 = Annotated[str, PathParam(pattern=r"^[0-9a-f]{64}$")]
AlarmId = Annotated[str, PathParam(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


def _language_of(request: Request) -> dict[str, str]:
    """The language that an address asks for, as a query for another address."""
    return {k: v for k, v in request.query_params.items() if k == "lang"}


class LoginNeededError(Exception):
    """Nobody is logged in."""


@cache
def _static() -> dict[str, tuple[bytes, str, str]]:
    """Name -> content, media type, version."""
    files = {}
    for file in sorted((HERE / "static").iterdir()):
        if file.suffix in _STATIC_TYPES:
            content = file.read_bytes()
            files[file.name] = (content, _STATIC_TYPES[file.suffix], hashlib.sha256(content).hexdigest()[:12])
    return files


@cache
def _templates() -> jinja2.Environment:
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals["static"] = lambda name: f"/static/{name}?v={_static()[name][2]}"
    return env


def zones_version(camera: Camera) -> str:
    """Changes with every change of a camera's zones; two who edit at once find out by it."""
    return hashlib.sha256(_ZONES.dump_json(tuple(camera.zones))).hexdigest()[:16]


def form_data(told: Any, jpeg: bytes | None) -> Response:
    """What is told and the picture it is about in one answer, so that they cannot come apart: `multipart/form-data`,
    which browsers take apart by themselves."""
    boundary = secrets.token_hex(16)
    parts = [("told", "application/json", json.dumps(told, ensure_ascii=False).encode())]
    if jpeg is not None:
        parts.append(("picture", "image/jpeg", jpeg))
    body = bytearray()
    for name, kind, content in parts:
        file = f'; filename="{name}"' if kind.startswith("image/") else ""  # a file is kept as bytes
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n'.encode()
        body += f"Content-Type: {kind}\r\n\r\n".encode() + content + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    return Response(bytes(body), media_type=f"multipart/form-data; boundary={boundary}")


async def _body(request: Request) -> bytes:
    """The body. Raises HTTPException 413 for one that is too long, before it is all in memory."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY:
            raise HTTPException(413, "too long", headers={"Connection": "close"})  # the rest is not even read
    return bytes(body)


class _Pages:
    """What all routes share."""

    def __init__(self, view: NodeView, page: Page, clock: Clock) -> None:
        self.view = view
        self.page = page
        self.clock = clock
        self.sessions = Sessions(clock)
        self.gate = LoginGate(page.password.get_secret_value(), clock) if page.password else None
        self.stopping = threading.Event()

    def language(self, request: Request, site: SiteFile) -> str:
        wanted = request.query_params.get("lang"), request.cookies.get(LANGUAGE_COOKIE)
        return next((w for w in wanted if w in LANGUAGES), site.language)

    def words(self, request: Request) -> Words:
        site = self.view.site()
        return Words(catalogue(self.language(request, site)), site, self.clock.now())

    def render(self, request: Request, template: str, active: str, status: int = 200, **values: Any) -> Response:
        words: Words = values.pop("words", None) or self.words(request)
        t = words.text
        rest = [(k, v) for k, v in request.query_params.multi_items() if k != "lang"]
        html = (
            _templates()
            .get_template(template)
            .render(
                t=t,
                words=words,
                site=words.site,
                active=active,
                locked=self.gate is not None,
                languages={code: f"?{urlencode([*rest, ('lang', code)])}" for code in LANGUAGES},
                site_error=self.view.site_error() if self.known(request) else None,
                **values,
            )
        )
        response = HTMLResponse(html, status)
        if request.query_params.get("lang") in LANGUAGES:
            response.set_cookie(LANGUAGE_COOKIE, t.language, max_age=31_536_000, httponly=True, samesite="strict")
        return response

    def known(self, request: Request) -> bool:
        """Whether this reader may see the page."""
        return self.gate is None or self.sessions.valid(request.cookies.get(SESSION_COOKIE))

    def logged_in(self, request: Request) -> None:
        if not self.known(request):
            raise LoginNeededError

    def status(self, camera: str) -> CameraStatus:
        for status in self.view.cameras():
            if status.camera == camera:
                return status
        raise HTTPException(404, "no such camera")

    def camera(self, site: SiteFile, camera: str) -> Camera:
        for known in site.cameras:
            if known.id == camera:
                return known
        raise HTTPException(404, "no such camera")


def create_app(view: NodeView, page: Page, clock: Clock) -> FastAPI:
    """The page as an application; `PageServer` serves it. `app.state.stopping` (an Event) ends its long polls."""
    app = FastAPI(title="Banksman", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    pages = _Pages(view, page, clock)
    app.state.stopping = pages.stopping
    app.add_middleware(Guard, page=page)
    _add_login(app, pages)
    _add_live(app, pages)
    _add_zones(app, pages)
    _add_reading(app, pages)
    return app


def _add_login(app: FastAPI, pages: _Pages) -> None:
    @app.exception_handler(LoginNeededError)
    def to_login(request: Request, _: Exception) -> Response:
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            query = f"?{request.url.query}" if request.url.query else ""
            asked = {"next": request.url.path + query} | _language_of(request)
            return RedirectResponse(f"/login?{urlencode(asked)}", 303)
        return JSONResponse({"error": "login"}, 401)

    @app.exception_handler(404)
    @app.exception_handler(RequestValidationError)  # an address that no page of ours leads to
    def not_found(request: Request, _: Exception) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return pages.render(request, "missing.html", "", status=404)
        return JSONResponse({"error": "not found"}, 404)

    @app.get("/static/{name}")
    async def static(name: str) -> Response:
        if name not in _static():
            raise HTTPException(404, "no such file")
        content, kind, _ = _static()[name]
        return Response(content, media_type=kind, headers={"Cache-Control": "public, max-age=31536000, immutable"})

    @app.get("/login")
    def login(request: Request) -> Response:
        if pages.known(request):
            return RedirectResponse(local_path(request.query_params.get("next")), 303)
        return pages.render(request, "login.html", "login", next=local_path(request.query_params.get("next")), error="")

    @app.post("/login")
    async def log_in(request: Request) -> Response:
        body = (await _body(request)).decode(errors="replace")
        try:
            form = parse_qs(body, max_num_fields=8)
        except ValueError as too_many:
            raise HTTPException(400, "not our form") from too_many
        after = local_path(form.get("next", [""])[0])
        if pages.gate is None:
            return RedirectResponse(after, 303)
        address = request.client.host if request.client else "-"
        words = await anyio.to_thread.run_sync(pages.words, request)
        wait = pages.gate.wait_s(address)
        if wait > 0:
            error = words.text("page.login.wait", wait=words.duration(wait + 1))
            refused = pages.render(request, "login.html", "login", 429, words=words, next=after, error=error)
            refused.headers["Retry-After"] = str(int(wait) + 1)
            return refused
        if not pages.gate.admits(address, form.get("password", [""])[0]):
            error = words.text("page.login.wrong")
            return pages.render(request, "login.html", "login", 403, words=words, next=after, error=error)
        response = RedirectResponse(after, 303)
        response.set_cookie(
            SESSION_COOKIE,
            pages.sessions.issue(),
            httponly=True,
            samesite="strict",
            secure=pages.page.tls_cert is not None,
        )
        return response

    @app.post("/logout")
    async def log_out(request: Request) -> Response:
        pages.sessions.revoke(request.cookies.get(SESSION_COOKIE))
        response = RedirectResponse("/login", 303)
        response.delete_cookie(SESSION_COOKIE)
        return response


def open_alarms(states: Iterable[PlaceState]) -> int:
    return len({s.alarm for s in states if s.alarm})


def _add_live(app: FastAPI, pages: _Pages) -> None:
    inside = [Depends(pages.logged_in)]
    live_threads = anyio.CapacityLimiter(_LIVE_THREADS)
    encoder = anyio.CapacityLimiter(1)  # one picture at a time: the page takes at most one core from the detector

    @app.get("/", dependencies=inside)
    def live_page(request: Request) -> Response:
        words = pages.words(request)
        states = pages.view.states()
        statuses = pages.view.cameras()
        cards = [
            {"id": s.camera, "name": words.camera(s.camera), "status": words.status(s), "width": s.width or 16,
             "height": s.height or 9, "places": words.states(states, s.camera)}
            for s in statuses
        ]  # fmt: skip
        headline = words.headline(open_alarms(states), statuses)
        return pages.render(request, "live.html", "live", words=words, cards=cards, headline=headline)

    def tell(request: Request, status: CameraStatus, view: LiveView | None) -> dict[str, Any]:
        words = pages.words(request)
        states = pages.view.states()
        told: dict[str, Any] = {
            "camera": status.camera,
            "status": asdict(words.status(status)),
            "places": [asdict(p) for p in words.states(states, status.camera)],
            "headline": asdict(words.headline(open_alarms(states), pages.view.cameras())),
            "view": None,
        }
        if view is not None:
            told["view"] = {
                "seq": view.seq,
                "width": view.width,
                "height": view.height,
                "time": words.time(view.stamp),
                "boxes": [asdict(b) for b in words.boxes(view)],
            }
        return told

    @app.get("/live/{camera}", dependencies=inside)
    async def live(
        request: Request,
        camera: Ident,
        after: Annotated[int, Query(ge=0)] = 0,
        state: Annotated[str, Query(max_length=32)] = "",
    ) -> Response:
        """Waits for another frame than `after`, or for a camera state other than `state`."""
        status, view = await anyio.to_thread.run_sync(pages.status, camera), None
        for _ in range(SLICES):
            if view or status.state.value != state or pages.stopping.is_set() or await request.is_disconnected():
                break
            view = await anyio.to_thread.run_sync(pages.view.live, camera, after, SLICE_S, limiter=live_threads)
            status = await anyio.to_thread.run_sync(pages.status, camera)
        if view is None and status.state.value != state:
            view = await anyio.to_thread.run_sync(pages.view.live, camera, after, 0.0, limiter=live_threads)
        jpeg = await anyio.to_thread.run_sync(view.jpeg, limiter=encoder) if view else None
        return form_data(await anyio.to_thread.run_sync(tell, request, status, view), jpeg)

    @app.get("/live/{camera}/now.jpg", dependencies=inside)
    async def now(camera: Ident) -> Response:
        """The newest picture, to draw zones on; waits a moment for the first one."""
        view = await anyio.to_thread.run_sync(pages.view.live, camera, 0, SLICE_S, limiter=live_threads)
        if view is None:
            raise HTTPException(404, "no picture yet")
        return Response(await anyio.to_thread.run_sync(view.jpeg, limiter=encoder), media_type="image/jpeg")


def _add_zones(app: FastAPI, pages: _Pages) -> None:
    inside = [Depends(pages.logged_in)]

    @app.get("/zones", dependencies=inside)
    def zones(request: Request) -> Response:
        query = urlencode(_language_of(request))
        return RedirectResponse(f"/zones/{pages.view.site().cameras[0].id}{query and '?'}{query}", 303)

    @app.get("/zones/{camera}", dependencies=inside)
    def zones_of(request: Request, camera: Ident) -> Response:
        words = pages.words(request)
        known = pages.camera(words.site, camera)
        status = pages.status(camera)
        editor = {
            "camera": camera,
            "base": zones_version(known),
            "width": status.width or 1280,
            "height": status.height or 720,
            "zones": _ZONES.dump_python(tuple(known.zones), mode="json"),
            "fixtures": words.outlines(known),
            "text": {k: words.text.texts[f"page.editor.{k}"] for k in _EDITOR_TEXTS},
        }
        return pages.render(
            request, "zones.html", "zones", words=words, camera=camera, editor=editor, kinds=get_args(ZoneKind)
        )

    one_at_a_time = threading.Lock()

    def save(request: Request, camera: str, asked: Any) -> Response:
        words = pages.words(request)
        try:
            with one_at_a_time:  # or two who began from the same zones would both be let through
                known = pages.camera(pages.view.site(), camera)
                pages.view.save_zones(camera, read_zones(words, known, asked), words.text.language)
                return JSONResponse({"base": zones_version(pages.camera(pages.view.site(), camera))})
        except RefusedError as refused:
            return JSONResponse({"errors": refused.errors}, refused.status)
        except SiteFileError as error:
            return JSONResponse({"errors": [words.text("page.zone_error.file", problem=str(error))]}, 422)
        except OSError as error:
            problem = error.strerror or str(error)
            return JSONResponse({"errors": [words.text("page.zone_error.disk", problem=problem)]}, 500)

    @app.post("/zones/{camera}", dependencies=inside)
    async def save_zones(request: Request, camera: Ident) -> Response:
        body = await _body(request)
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            asked = None
        return await anyio.to_thread.run_sync(save, request, camera, asked)


_EDITOR_TEXTS = (
    "point", "zone", "add_point", "unsaved", "saved", "saving", "failed", "login", "bad_id", "twice", "new_zone",
    "no_picture",
)  # fmt: skip


class RefusedError(Exception):
    """Zones that cannot be saved: the HTTP status, and what is wrong in the reader's words."""

    def __init__(self, status: int, *errors: str) -> None:
        super().__init__(*errors)
        self.status = status
        self.errors = errors


def read_zones(words: Words, known: Camera, asked: Any) -> tuple[Zone, ...]:
    """The zones that an editor sent for a camera. Raises RefusedError."""
    if not isinstance(asked, dict) or set(asked) != {"base", "zones"}:
        raise RefusedError(422, words.text("page.zone_error.request"))
    if asked["base"] != zones_version(known):
        raise RefusedError(409, words.text("page.zone_error.changed"))
    try:
        zones = _ZONES.validate_python(asked["zones"])
    except ValidationError as error:
        raise RefusedError(422, *zone_errors(words, asked["zones"], error)) from error
    taken = [z.id for z in zones] + [f.id for f in known.fixtures]
    twice = sorted({i for i in taken if taken.count(i) > 1})
    if twice:
        raise RefusedError(422, words.text("page.zone_error.twice", ids=", ".join(twice)))
    return zones


def zone_errors(words: Words, asked: Any, error: ValidationError) -> list[str]:
    """What is wrong with zones, in the reader's words: which zone, which field, what would be right."""
    told: list[str] = []
    for problem in error.errors(include_url=False):
        place = problem["loc"]
        index = place[0] if place and isinstance(place[0], int) else None
        field = str(place[1]) if len(place) > 1 else ""
        zone = asked[index] if isinstance(asked, list) and index is not None and index < len(asked) else None
        name = zone.get("id") if isinstance(zone, dict) else None
        kind = field if field in ("id", "name", "kind", "polygon") else "format"
        wrong = problem.get("ctx", {}) if field == "polygon" and problem["type"] == "value_error" else {}
        if wrong.get("code") == "crossing":  # in the words of `banksman check`
            line = words.text("site.wrong.crossing", **wrong["fields"])
        else:
            kind = "area" if wrong else kind
            line = words.text(f"page.zone_error.{kind}", zone=str(name or (index or 0) + 1))
        if line not in told:
            told.append(line)
    return told


def _add_reading(app: FastAPI, pages: _Pages) -> None:
    inside = [Depends(pages.logged_in)]

    @app.get("/alarms", dependencies=inside)
    def alarms(request: Request, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> Response:
        words = pages.words(request)
        told = [words.alarm(e, pages.view.evidence(e.alarm)) for e in pages.view.alarms(limit)]
        return pages.render(
            request, "alarms.html", "alarms", words=words,
            still_open=[a for a in told if a.open], closed=[a for a in told if not a.open],
        )  # fmt: skip

    @app.get("/alarms/{alarm}", dependencies=inside)
    def alarm(request: Request, alarm: AlarmId) -> Response:
        events = pages.view.alarm(alarm)
        if not events:
            raise HTTPException(404, "no such alarm")
        words = pages.words(request)
        told = words.alarm(events[-1], pages.view.evidence(alarm))
        history = [words.step(e) for e in reversed(events)]
        return pages.render(request, "alarm.html", "alarms", words=words, alarm=told, history=history)

    @app.get("/alarms/{alarm}/{sha256}", dependencies=inside)
    def evidence(alarm: AlarmId, sha256: Sha256) -> Response:
        file = next((e for e in pages.view.evidence(alarm) if e.ref.sha256 == sha256), None)
        if file is None or not file.path.is_file():  # a full disk, or its upload, may have taken it since
            raise HTTPException(404, "no such file")
        # Named by its content: it never changes.
        headers = {"Cache-Control": "private, max-age=3600, immutable"}
        return FileResponse(file.path, media_type=MEDIA_TYPES[file.ref.kind], headers=headers)

    @app.get("/compliance", dependencies=inside)
    def compliance(request: Request, hours: Annotated[int, Query(ge=1, le=8760)] = 24) -> Response:
        words = pages.words(request)
        shares = words.shares(pages.view.compliance(hours))
        return pages.render(
            request, "compliance.html", "compliance", words=words, shares=shares, hours=hours, periods=_PERIODS
        )

    @app.get("/health", dependencies=inside)
    def health(request: Request) -> Response:
        words = pages.words(request)
        health = pages.view.health()
        cameras = [(words.camera(s.camera), s, words.status(s)) for s in pages.view.cameras()]
        return pages.render(
            request, "health.html", "health", words=words, health=health, cameras=cameras,
            journal=words.journal(health.journal),
            broker=words.broker(health.mqtt), uploads=words.uploads(health.uploads),
            influx=words.influx(health.influx),
            disk=words.disk(health), heat=words.heat(health), power=words.power(health),
        )  # fmt: skip
