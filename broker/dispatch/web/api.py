"""JSON for programs: cases, their history, the steps on them. The same rights and sessions as the pages have.

Log in with `POST /api/login`; keep the cookie, and send `csrf` of the answer as `X-CSRF-Token` with every change.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import and_, func, select, true

from broker.dispatch.database import reading
from broker.dispatch.tables import Case, CaseState, Ledger
from broker.dispatch.web.auth import same_csrf
from broker.dispatch.web.entry import sign_in
from broker.dispatch.web.pages import LONGEST_TEXT, OVER, CaseId, Known, Web, overdue_at, visible
from broker.dispatch.web.rights import Visitor
from broker.dispatch.web.steps import take_step

_OVERDUE = (
    "Only what is not over and nobody has taken in five minutes. The list *Overdue* of the pages has more: what has no "
    "result, no answer, or is not closed in time."
)


class Credentials(BaseModel):
    """Who logs in."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(min_length=1, max_length=64, description="The log-in name.")]
    password: Annotated[str, Field(min_length=1, max_length=256)]


class Me(BaseModel):
    """Who is logged in."""

    id: str
    name: str
    roles: dict[str, list[str]] = Field(description="By site; `*` means all.")
    csrf: str = Field(description="To be sent as X-CSRF-Token with every change.")


class SiteOut(BaseModel):
    """A site."""

    model_config = ConfigDict(from_attributes=True)
    id: str
    name: str
    time_zone: str


class CaseOut(BaseModel):
    """A case. Times are Unix seconds."""

    model_config = ConfigDict(from_attributes=True)
    id: str
    site: str
    node: str
    source: str
    place: str
    rule: str
    clause: list[str]
    state: str
    severity: str
    alarm: str
    alarm_state: str
    verdict: str
    reason: str
    subjects: int
    subjects_peak: int
    first_seen: float
    last_seen: float
    opened_at: float
    review_from: float
    cleared_at: float | None
    owner: str | None
    assigned_at: float | None
    resolved_at: float | None
    result: str | None
    answered_at: float | None
    answer: str | None
    closed_at: float | None
    false_alarm_reason: str | None
    reopened: int
    late: bool
    unverified: bool
    hold: bool
    important: bool
    ledger_n: int = Field(description="Number of its last ledger line; send it as `after` with a step.")
    version: int


class CasePage(BaseModel):
    """Some cases. `total`: how many there are of this kind."""

    total: int
    cases: list[CaseOut]


class FileOut(BaseModel):
    """A file of a case; its bytes are at `/evidence/{alarm}/{sha256}`."""

    model_config = ConfigDict(from_attributes=True)
    alarm: str
    sha256: str
    kind: str
    bytes: int
    received_at: float


class LineOut(BaseModel):
    """A line of the ledger."""

    model_config = ConfigDict(from_attributes=True)
    n: int
    at: float
    actor: str
    action: str
    detail: dict[str, Any]
    previous: str
    hash: str


class StepIn(BaseModel):
    """A step on a case."""

    model_config = ConfigDict(extra="forbid")
    text: Annotated[str, Field(max_length=LONGEST_TEXT)] = Field("", description="Result, answer, reason or remark.")
    person: Annotated[str, Field(max_length=64)] = Field("", description="To whom it is given.")
    on: bool = Field(True, description="Of hold and important.")
    after: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        None, description="The last ledger line that was seen: the same step sent twice counts once."
    )


class Problem(BaseModel):
    """What went wrong."""

    detail: Any


StepName = Literal[
    "take", "give", "done", "answer", "close", "false_alarm", "dissatisfied", "hold", "important", "note"
]
Name = Annotated[str, Query(pattern=r"^[0-9a-z_-]{1,64}$")]


def _with_token(visitor: Known, x_csrf_token: Annotated[str | None, Header(max_length=128)] = None) -> Visitor:
    if not same_csrf(visitor, x_csrf_token):
        raise HTTPException(403, "csrf")
    return visitor


WithToken = Annotated[Visitor, Depends(_with_token)]


def add(app: FastAPI, web: Web) -> None:
    failures: dict[int | str, dict[str, Any]] = {
        code: {"model": Problem} for code in (400, 401, 403, 404, 409, 413, 422, 429)
    }
    api = APIRouter(prefix="/api", responses=failures, tags=["cases"])

    @api.post("/login", tags=["log-in"])
    def login(request: Request, credentials: Credentials) -> Me:
        cookie, wait = sign_in(web, request, credentials.name, credentials.password)
        if cookie is None:
            if wait:
                raise HTTPException(429, "too many attempts", headers={"Retry-After": str(int(wait) + 1)})
            raise HTTPException(403, "the name or the password is wrong")
        with reading(web.engine) as db:
            found = web.sessions.find(db, cookie, web.clock.now())
        if found is None:
            raise HTTPException(403, "not active any more")
        response = JSONResponse(_me(found[0]).model_dump())
        web.set_cookie(response, cookie)
        return response  # type: ignore[return-value]  # FastAPI passes a Response on; the annotation is for OpenAPI

    @api.get("/me", tags=["log-in"])
    def me(visitor: Known) -> Me:
        return _me(visitor)

    @api.get("/sites")
    def sites(visitor: Known) -> list[SiteOut]:
        with reading(web.engine) as db:
            return [SiteOut.model_validate(site) for site in web.sites(db, visitor)]

    @api.get("/cases")
    def cases(
        *,
        visitor: Known,
        site: Name | None = None,
        rule: Name | None = None,
        state: CaseState | None = None,
        owner: Annotated[str | None, Query(max_length=64, description="A person's id.")] = None,
        over: Annotated[bool | None, Query(description="Closed or a false alarm, or neither.")] = None,
        overdue: Annotated[bool, Query(description=_OVERDUE)] = False,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    ) -> CasePage:
        """Cases, the newest first."""
        where = and_(
            visible(visitor),
            Case.site == site if site else true(),
            Case.rule == rule if rule else true(),
            Case.state == state.value if state else true(),
            Case.owner == owner.replace("\0", "") if owner else true(),
            true() if over is None else Case.state.in_(OVER) if over else Case.state.not_in(OVER),
            overdue_at(web.clock.now()) if overdue else true(),
        )
        with reading(web.engine) as db:
            total = db.scalar(select(func.count()).select_from(Case).where(where)) or 0
            rows = db.scalars(
                select(Case).where(where).order_by(Case.opened_at.desc(), Case.id).limit(limit).offset(offset)
            )
            return CasePage(total=total, cases=[CaseOut.model_validate(row) for row in rows])

    @api.get("/cases/{case_id}")
    def case(visitor: Known, case_id: CaseId) -> CaseOut:
        with reading(web.engine) as db:
            return CaseOut.model_validate(web.case(db, visitor, case_id))

    @api.get("/cases/{case_id}/history")
    def history(visitor: Known, case_id: CaseId) -> list[LineOut]:
        """Every line of the ledger, first to last, with its hash."""
        with reading(web.engine) as db:
            web.case(db, visitor, case_id)
            rows = db.scalars(select(Ledger).where(Ledger.case == case_id).order_by(Ledger.n))
            return [LineOut.model_validate(row) for row in rows]

    @api.get("/cases/{case_id}/evidence")
    def evidence(visitor: Known, case_id: CaseId) -> list[FileOut]:
        with reading(web.engine) as db:
            web.case(db, visitor, case_id)
            return [FileOut.model_validate(row) for row in web.store.files_of(db, case_id)]

    @api.post("/cases/{case_id}/{step}")
    def step(visitor: WithToken, case_id: CaseId, step: StepName, body: StepIn) -> CaseOut:
        """Take a step; gives the case as it is then. 409: not possible now, or a text or person is missing."""
        fields = {"text": body.text, "person": body.person, "on": "1" if body.on else "0"}
        take_step(web, visitor, case_id, step, fields, after=body.after)
        with reading(web.engine) as db:
            return CaseOut.model_validate(web.case(db, visitor, case_id))

    @app.get("/api/openapi.json", include_in_schema=False)
    def schema(_: Known) -> Response:
        return JSONResponse(app.openapi())

    app.include_router(api)


def _me(visitor: Visitor) -> Me:
    roles = {site: sorted(role.value for role in roles) for site, roles in visitor.roles.items()}
    return Me(id=visitor.id, name=visitor.name, roles=roles, csrf=visitor.csrf)
