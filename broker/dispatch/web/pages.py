"""What all routes share: who asks, what they may see, how a page is made."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import jinja2
from fastapi import Depends, Form, HTTPException, Query, Request, Response
from fastapi import Path as PathParam
from fastapi.responses import HTMLResponse
from sqlalchemy import ColumnElement, Engine, and_, case, false, func, or_, select, true
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.orm import Session as Transaction

from broker.dispatch import roster
from broker.dispatch.clock import Clock
from broker.dispatch.database import reading, transaction
from broker.dispatch.evidence import Store
from broker.dispatch.norm.calendar import SiteCalendar
from broker.dispatch.norm.feedback import overdue_before
from broker.dispatch.norm.result import overdue_before as over_before
from broker.dispatch.norm.review import REVIEW_S
from broker.dispatch.tables import Case, CaseState, Event, Evidence, Person, Site
from broker.dispatch.text import LANGUAGES, Catalogue, catalogue
from broker.dispatch.web.auth import Attempts, Passwords, Sessions, same_csrf, spend
from broker.dispatch.web.links import Links
from broker.dispatch.web.photo import THUMBNAIL, HideFaces, PhotoError, thumbnail
from broker.dispatch.web.rights import EVERYWHERE, Right, Visitor
from broker.dispatch.web.words import CaseWords, FileWords, Words

HERE = Path(__file__).parent
LANGUAGE_COOKIE = "banksman-lang"
PER_PAGE = 50
LONGEST_TEXT = 2000
FORM, PHOTO_FORM = 64 << 10, 16 << 20
"""Bytes of a form, and of one with a photo."""
PHOTO_PATHS = re.compile(r"/cases/[^/]+/done")
"""Where a form may have a photo."""
OVER = [state.value for state in CaseState if state.over]
_WORST_FIRST = case((Case.severity == "critical", 0), (Case.severity == "warning", 1), else_=2)
_STATIC_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")

ID = r"^[0-9A-Za-z][0-9A-Za-z-]{0,63}$"
CaseId = Annotated[str, PathParam(pattern=ID)]
Ident = Annotated[str, PathParam(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
Sha256 = Annotated[str, PathParam(pattern=r"^[0-9a-f]{64}$")]
Page = Annotated[int, Query(ge=1, le=10_000)]


class LoginNeededError(Exception):
    """Nobody is logged in."""


class FormError(Exception):
    """What a person entered cannot be taken; `key` of the catalogue says why and what would be right.

    status: of HTTP, for a page.
    """

    def __init__(self, key: str, *, status: int = 422, **fields: object) -> None:
        super().__init__(key)
        self.key = key
        self.status = status
        self.fields = fields


@cache
def static_files() -> dict[str, tuple[bytes, str, str]]:
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
    env.globals["static"] = lambda name: f"/static/{name}?v={static_files()[name][2]}"
    return env


def cleaned(text: str, longest: int = LONGEST_TEXT, *, lines: bool = True) -> str:
    """What somebody wrote, without control and direction characters. Raises FormError for nothing, and for too much."""
    text = text.replace("\r\n", "\n").strip()
    kept = "".join(
        c for c in text if (lines and c == "\n") or (unicodedata.category(c) not in ("Cc", "Cs") and c not in _BIDI)
    ).strip()
    if not kept:
        raise FormError("web.error.empty")
    if len(kept) > longest:
        raise FormError("web.error.too_long", longest=longest)
    return kept


def overdue_at(now: float) -> ColumnElement[bool]:
    """Cases that nobody has taken within the norm's five minutes."""
    return and_(Case.state.not_in(OVER), Case.assigned_at.is_(None), Case.review_from < now - REVIEW_S)


def _unanswered_at(db: Transaction, now: float, visitor: Visitor) -> ColumnElement[bool]:
    """Cases with a result of which nobody was told by the time that the norm gives (`norm.feedback`)."""
    zones: dict[str, list[str]] = {}
    for site, zone in db.execute(select(Site.id, Site.time_zone).where(_seen(visitor, Site.id))):
        zones.setdefault(zone, []).append(site)
    of_zone = [
        and_(Case.site.in_(sites), Case.resolved_at < overdue_before(now, SiteCalendar(zone)))
        for zone, sites in zones.items()
    ]
    return and_(Case.state == CaseState.RESOLVED.value, or_(false(), *of_zone))


def _unfinished_at(db: Transaction, now: float, visitor: Visitor) -> ColumnElement[bool]:
    """Cases that were taken and have no result, or were answered and are not closed, by the end of that shift
    (`norm.result`)."""
    waiting = Case.state.in_([CaseState.ASSIGNED.value, CaseState.ANSWERED.value])
    since = case((Case.state == CaseState.ANSWERED.value, Case.answered_at), else_=Case.assigned_at)
    sites = db.scalars(select(Case.site).where(waiting, _seen(visitor, Case.site)).distinct())
    calendars = roster.calendars(db, sites)
    of_site = [and_(Case.site == site, since < over_before(now, calendar)) for site, calendar in calendars.items()]
    return and_(waiting, or_(false(), *of_site))


def _late_at(db: Transaction, now: float, visitor: Visitor) -> ColumnElement[bool]:
    """What is in the list *Overdue* of the sites that somebody sees; of others it says nothing that could be used."""
    return or_(overdue_at(now), _unanswered_at(db, now, visitor), _unfinished_at(db, now, visitor))


def visible(visitor: Visitor) -> ColumnElement[bool]:
    """Cases that somebody may see."""
    if visitor.cases is not None:
        return and_(Case.id.in_(visitor.cases), _seen(visitor, Case.site))
    return _seen(visitor, Case.site)


def _seen(visitor: Visitor, site: InstrumentedAttribute[str]) -> ColumnElement[bool]:
    """Rows of the sites that somebody sees."""
    if visitor.may(Right.SEE, EVERYWHERE):
        return true()
    return site.in_(visitor.among(Right.SEE, visitor.roles))


def more_of(total: int, page: int) -> str:
    """Address of the next page of a list, from this one; empty where it ends."""
    return f"?page={page + 1}" if page * PER_PAGE < total else ""


def small_picture(path: Path, headers: Mapping[str, str], longest: int = THUMBNAIL) -> Response:
    """A thumbnail as an answer. Raises HTTPException 404 for what is no picture: a node may send anything."""
    try:
        content = thumbnail(path, longest)
    except PhotoError as error:
        raise HTTPException(404, "no thumbnail of this") from error
    return Response(content, media_type="image/jpeg", headers=dict(headers))


class Web:
    """The parts that routes work with. base: address under which people reach the pages, e.g. `https://host`."""

    def __init__(
        self,
        *,
        engine: Engine,
        store: Store,
        clock: Clock,
        links: Links,
        base: str,
        hide_faces: HideFaces,
        passwords: Passwords,
    ) -> None:
        self.engine = engine
        self.store = store
        self.clock = clock
        self.links = links
        self.base = base.rstrip("/")
        self.hide_faces = hide_faces
        self.secure = base.startswith("https:")
        # __Host-: bound to this host and to TLS by the browser itself.
        self.cookie = "__Host-banksman" if self.secure else "banksman"
        self.sessions = Sessions()
        self.attempts = Attempts()
        self.passwords = passwords
        self.cards = False
        """Whether cards of nodes are made here; the pages for that are not part of this package."""

    # -- who asks ------------------------------------------------------------------------------------------------------

    def known(self, request: Request) -> Visitor | None:
        """Who asks, if they are logged in."""
        cookie = request.cookies.get(self.cookie)
        if cookie is None:
            return None
        now = self.clock.now()
        with reading(self.engine) as db:
            found = self.sessions.find(db, cookie, now)
        if found is None:
            return None
        visitor, stale = found
        if stale:
            with transaction(self.engine) as db:
                self.sessions.seen(db, visitor.key, now)
        return visitor

    def spend(self, what: str, who: str) -> None:
        """Count something that may be done so often only (`auth.MOST`). Raises TooManyError."""
        with transaction(self.engine, durable=False) as db:
            spend(db, what, who, self.clock.now())

    def set_cookie(self, response: Response, value: str) -> None:
        # Lax: a link in a message must find the session; changes are kept apart by token and Origin.
        response.set_cookie(self.cookie, value, httponly=True, samesite="lax", secure=self.secure, path="/")

    # -- what they see -------------------------------------------------------------------------------------------------

    def case(self, db: Transaction, visitor: Visitor, case_id: str, right: Right = Right.SEE) -> Case:
        """Raises HTTPException 404, as for one that does not exist, and 403 for one that may only be looked at."""
        case = db.get(Case, case_id)
        if case is None or not visitor.sees(case.site, case.id):
            raise HTTPException(404, "no such case")
        if not visitor.may(right, case.site):
            raise HTTPException(403, "not yours to change")
        return case

    def sites(self, db: Transaction, visitor: Visitor, right: Right = Right.SEE) -> list[Site]:
        """The sites where somebody may do something, by name."""
        rows = db.scalars(select(Site).order_by(Site.name, Site.id))
        return [site for site in rows if visitor.may(right, site.id)]

    def words(self, db: Transaction, text: Catalogue, of: Iterable[str] = ()) -> Words:
        """of: ids of the sites of whose cases it says how the norm's clock stands."""
        sites = {site.id: site for site in db.scalars(select(Site))}
        people = dict(db.execute(select(Person.id, Person.name)).all())
        return Words(text, self.clock.now(), sites, people, roster.calendars(db, of))

    def listed(self, db: Transaction, where: ColumnElement[bool], page: int) -> tuple[int, list[Case]]:
        """How many there are, and those of a page (from 1): what waits for somebody and is worst first."""
        total = db.scalar(select(func.count()).select_from(Case).where(where)) or 0
        order = (Case.state.in_(OVER), Case.assigned_at.is_not(None), _WORST_FIRST, Case.opened_at, Case.id)
        rows = db.scalars(select(Case).where(where).order_by(*order).limit(PER_PAGE).offset((page - 1) * PER_PAGE))
        return total, list(rows)

    def in_words(self, db: Transaction, words: Words, cases: Iterable[Case], base: str = "") -> list[CaseWords]:
        """Cases for a list, each with a thumbnail of its newest alarm. base: as of `Words.file`."""
        rows = list(cases)
        pictures = db.scalars(
            select(Evidence)
            .where(
                Evidence.alarm.in_([c.alarm for c in rows]),
                Evidence.kind == "snapshot",
                Evidence.deleted_at.is_(None),
            )
            .order_by(Evidence.received_at)
        )
        small = {(row.site, row.node, row.alarm): words.file(row, base).small for row in pictures}
        return [words.case(c, small.get((c.site, c.node, c.alarm), "")) for c in rows]

    def files(self, db: Transaction, words: Words, of: Case, base: str = "") -> list[FileWords]:
        """The files of a case, its newest alarm's first; those of earlier ones say so. base: as of `Words.file`."""
        rows = self.store.files_of(db, of.id)
        earlier = {row.alarm for row in rows if row.node is not None and row.alarm != of.alarm}
        began = select(Event.alarm, func.min(Event.at)).where(Event.case == of.id, Event.alarm.in_(earlier))
        begun: dict[str, float] = dict(db.execute(began.group_by(Event.alarm)).all()) if earlier else {}
        return [words.file(row, base, begun[row.alarm] if row.alarm in earlier else None) for row in rows]

    def file(self, db: Transaction, visitor: Visitor, alarm: str, sha256: str) -> Evidence:
        """Raises HTTPException 404, as for one that does not exist."""
        row = db.get(Evidence, (alarm, sha256))
        if row is None or not visitor.may(Right.SEE, row.site):
            raise HTTPException(404, "no such file")
        if visitor.cases is not None and visitor.cases.isdisjoint(self.store.cases_with(db, row)):
            raise HTTPException(404, "no such file")
        return row

    def late(self, request: Request, db: Transaction, visitor: Visitor) -> ColumnElement[bool]:
        """What is in the list *Overdue* of who asks; worked out once a request, for the list as for its count."""
        found: ColumnElement[bool] | None = getattr(request.state, "late", None)
        if found is None:
            found = request.state.late = and_(_late_at(db, self.clock.now(), visitor), visible(visitor))
        return found

    def counts(self, request: Request, db: Transaction, visitor: Visitor) -> dict[str, int]:
        """For the navigation: what is mine, what is overdue."""
        mine = and_(Case.owner == visitor.id, Case.state.not_in(OVER), visible(visitor))
        late = self.late(request, db, visitor)
        return {
            name: db.scalar(select(func.count()).select_from(Case).where(which)) or 0
            for name, which in (("mine", mine), ("overdue", late))
        }

    # -- pages ---------------------------------------------------------------------------------------------------------

    def text(self, request: Request, visitor: Visitor | None = None, language: str | None = None) -> Catalogue:
        """The catalogue of the reader's language: asked for, chosen before, their own, the browser's."""
        wanted: Sequence[str | None] = (
            request.query_params.get("lang"),
            request.cookies.get(LANGUAGE_COOKIE),
            visitor.language if visitor else language,
            "zh-CN" if request.headers.get("accept-language", "zh").lower().startswith("zh") else "en",
        )
        return catalogue(next(w for w in wanted if w in LANGUAGES))

    def list_page(
        self,
        request: Request,
        visitor: Visitor,
        name: str,
        which: Callable[[Transaction], ColumnElement[bool]],
        page: int,
    ) -> HTMLResponse:
        """Those of these cases that somebody may see, each a tap away. name: of the list."""
        t = self.text(request, visitor)
        with reading(self.engine) as db:
            total, rows = self.listed(db, and_(which(db), visible(visitor)), page)
            found = self.in_words(db, self.words(db, t, {row.site for row in rows}), rows)
        return self.render(
            request, "list.html", name, visitor, t=t, cases=found, total=total, more=more_of(total, page)
        )

    def render(
        self,
        request: Request,
        template: str,
        active: str,
        visitor: Visitor | None = None,
        status: int = 200,
        **values: Any,
    ) -> HTMLResponse:
        t: Catalogue = values.pop("t", None) or self.text(request, visitor)
        counts = {}
        if visitor is not None and not visitor.linked:
            with reading(self.engine) as db:
                counts = self.counts(request, db, visitor)
        rest = [(k, v) for k, v in request.query_params.multi_items() if k != "lang"]
        html = (
            _templates()
            .get_template(template)
            .render(
                t=t,
                active=active,
                visitor=visitor,
                counts=counts,
                leads=visitor is not None and visitor.anywhere(Right.LEAD),
                manages=visitor is not None and visitor.anywhere(Right.MANAGE),
                installs=self.cards and visitor is not None and visitor.anywhere(Right.INSTALL),
                languages={code: f"?{urlencode([*rest, ('lang', code)])}" for code in LANGUAGES}
                if request.method == "GET"
                else {},
                **values,
            )
        )
        response = HTMLResponse(html, status)
        if request.query_params.get("lang") in LANGUAGES:
            response.set_cookie(
                LANGUAGE_COOKIE, t.language, max_age=31_536_000, httponly=True, samesite="lax", secure=self.secure
            )
        return response


# -- dependencies; at this level, because here alone FastAPI finds what annotations name ------------------------------


def _visitor(request: Request) -> Visitor:
    web: Web = request.app.state.web
    visitor = web.known(request)
    if visitor is None:
        raise LoginNeededError
    return visitor


Known = Annotated[Visitor, Depends(_visitor)]
"""Who is logged in."""


def _changing(visitor: Known, csrf: Annotated[str, Form(max_length=128)] = "") -> Visitor:
    if not same_csrf(visitor, csrf):
        raise HTTPException(403, "csrf")
    return visitor


Changing = Annotated[Visitor, Depends(_changing)]
"""Who changes something with a form: it must be of this session."""
